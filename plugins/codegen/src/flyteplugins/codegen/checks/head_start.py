"""What the checks will run, started before the code and the tests are there: the interpreters and their imports."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Final

from flyteplugins.codegen.checks import session
from flyteplugins.codegen.checks.fixture import constant_files
from flyteplugins.codegen.checks.harness.early_imports import SLOW, STANDARD, bears_early_imports, slow_imports
from flyteplugins.codegen.checks.subject import SUITE_ROOT
from flyteplugins.codegen.core.contract import Contract
from flyteplugins.codegen.sandbox.contract import Argument, Limits, Python, Start
from flyteplugins.codegen.tasks.executor import Environment, Executor

OTHER_ORDER: Final = {"PYTHONHASHSEED": "1"}
"""Variables of the second run: another order of sets."""

_MOST_RUNS: Final = 3
_ALONG: Final = {"pandas": {"numpy"}, "scipy": {"numpy"}, "sklearn": {"numpy", "scipy"}}
"""What a slow module imports of the others."""


async def start_early(
    executor: Executor,
    contract: Contract,
    solution: Environment,
    tools: Environment,
    packages: Iterable[str],
    *,
    limits: Limits,
    env: Mapping[str, str],
    network: bool,
) -> None:
    """Start the sandboxes of the first checks of a draft, where the runtime can.

    Args:
        executor: Will run the checks.
        contract: What the solution takes and gives.
        solution: The environment that the solution will probably have.
        tools: The one that its tests will probably have.
        packages: What the solution will probably import.
        limits: What one run may use.
        env: The environment variables that programs see.
        network: Whether programs may open connections.
    """
    slow = _with_their_own({_module(package) for package in packages} & SLOW)
    command = session.command(solution.image)
    tests = Start(
        python=session.python(tools.image),
        prelude=_for_tests(slow),
        arguments=(Python(solution.image), *command),
        program=command,
        env=env,
        limits=limits_of_tests(limits),
        network=network,
    )
    await executor.start_early(tests, {f"{SUITE_ROOT}/{name}": text for name, text in constant_files().items()})
    # One for the samples and one for each probe, as far as that goes, and one for the second run.
    runs: list[Mapping[str, Argument]] = [env] * min(1 + 2 * len(contract.samples), _MOST_RUNS)
    if contract.outputs:
        runs.insert(1, {**env, **OTHER_ORDER})
    for variables in runs:
        start = Start((Python(solution.image),), _for_solution(slow), env=variables, limits=limits, network=network)
        await executor.start_early(start, {})


def limits_of_tests(limits: Limits) -> Limits:
    """The limits of a session of tests: pytest has a processor beside those of the solution."""
    return dataclasses.replace(limits, cpus=limits.cpus + 1)


def preludes(code: str) -> tuple[str, ...]:
    """What may run before a solution, the most useful first; nothing for one that would notice."""
    return tuple(_for_solution(modules) for modules in _bearable(code))


def preludes_of_tests(code: str) -> tuple[str, ...]:
    """What may run before the tests of a solution, the most useful first."""
    return tuple(_for_tests(modules) for modules in _bearable(code))


@functools.lru_cache(maxsize=64)
def _bearable(code: str) -> tuple[tuple[str, ...], ...]:
    """The sets of slow modules that a program imports in any case, the largest first."""
    if not bears_early_imports(code):
        return ()
    slow = sorted(_with_their_own({name.partition(".")[0] for name in slow_imports(code)}))
    return tuple(some for count in range(len(slow), -1, -1) for some in combinations(slow, count))


def _for_solution(slow: Iterable[str]) -> str:
    return "".join(f"import {name}\n" for name in (*STANDARD, *sorted(slow)))


def _for_tests(slow: Iterable[str]) -> str:
    return f"""\
import importlib.util, sys
def load(name):
    spec = importlib.util.spec_from_file_location(name, f"{SUITE_ROOT}/{{name}}.py")
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
python, _, _, *options = arguments
load("solution_runner").served.start_server(python, {sorted(slow)})
load("solution_session").begin(options, wait)
"""


def _with_their_own(modules: set[str]) -> set[str]:
    return modules.union(*(_ALONG.get(name, set()) for name in modules))


def _module(package: str) -> str:
    name = re.split(r"[^\w.-]", package.strip(), maxsplit=1)[0].lower()
    return {"scikit-learn": "sklearn"}.get(name, name)
