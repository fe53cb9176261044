"""Runs the tests of a saved generation again, in the sandbox and in the environments that its lock and tests name."""

from __future__ import annotations

import asyncio
from typing import Any

import flyte

from flyteplugins.codegen import CodeGenEvalResult
from flyteplugins.codegen.backends.workshop import packages_of_tests
from flyteplugins.codegen.checks.subject import Bench, Subject
from flyteplugins.codegen.checks.suite import run_suite
from flyteplugins.codegen.core import pinned
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.settings import CHECK_SECONDS
from flyteplugins.codegen.core.verdict import SuiteRun
from flyteplugins.codegen.data.cut import cut
from flyteplugins.codegen.data.samples import take_in
from flyteplugins.codegen.packages.spec import environment_spec
from flyteplugins.codegen.sandbox.select import choose
from flyteplugins.codegen.tasks.executor import Executor
from flyteplugins.codegen.tasks.limits import limits_of
from flyteplugins.codegen.tasks.local_run import in_run
from flyteplugins.codegen.tasks.secrets import read


def run_tests(result: CodeGenEvalResult) -> tuple[SuiteRun | None, str | None]:
    """Run the tests of a result; nothing of an earlier run is served.

    Args:
        result: A result with code, tests and lock.

    Returns:
        The run, None where a limit ended it, and why it does not pass, None if it does.

    Raises:
        InvalidRequestError: The result has no tests.
        SandboxUnavailableError: Nothing here can run them.
    """
    return asyncio.run(in_run(lambda: _run(result)))


async def _run(result: CodeGenEvalResult) -> tuple[SuiteRun | None, str | None]:
    if result.solution is None or not result.tests or result.lock is None:
        raise InvalidRequestError("This generation has no tests that could be run.")
    defaults, store = result.defaults, pinned.store()
    runtime, _ = await choose(defaults.sandbox)
    executor = Executor(runtime, cache="disable", name=defaults.name, secrets=read(defaults.secrets))
    tools = environment_spec(result.lock.python, packages_of_tests(result.tests))
    environment, tools_environment = await asyncio.gather(executor.restore(result.lock), executor.build(tools))
    samples = await take_in(result.original_samples, store)
    subject = Subject(
        code=result.solution.code,
        tests=result.tests,
        contract=result.contract,
        samples={name: (await cut(file, store))[0] for name, file in samples.items()},
        examples=result.input_examples,
        environment=environment,
    )
    amounts: dict[str, Any] = {"cpu": defaults.cpu, "memory": defaults.memory}
    bench = Bench(
        executor=executor,
        tools=tools_environment,
        limits=limits_of(flyte.Resources(**amounts), defaults.timeout or CHECK_SECONDS),
        env=defaults.env_vars,
        network=not defaults.block_network,
        store=store,
        on_event=lambda event: None,
        attempt=1,
    )
    suite = await run_suite(subject, bench)
    return suite.run, suite.failure.message if suite.failure else None
