"""Kills a generation at named points and at random moments, starts it again, and looks at what came of it.

    python tests/soak/soak.py                        everything: all named points, 200 random moments, the other cases
    python tests/soak/soak.py --named 20 --random 20 what CI runs
    python tests/soak/soak.py --only after-answer-plan
    python tests/soak/soak.py --seed 7 --only random-12   the seed is printed, so that a failure can be had again

After each restart: the result is that of an undisturbed generation, no recorded answer was asked for again, no recorded
run was run again and no environment built again, and nothing is left: no temporary file, no process, no container, no
control group.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from cases import CASES
from scenario import STEPS
from worker import Outcome, Worker, uv_cache

ROOT = HERE.parents[1]
_SIDES = ("before", "after")

Job = Callable[[Worker], Outcome]

NAMED = (
    *(f"{side}-answer-{step}" for step in STEPS for side in _SIDES),
    *(f"asking-{step}" for step in STEPS),
    *(f"{side}-{name}" for name in ("file-1", "lock-1", "lock-2") for side in _SIDES),
    *(f"{side}-{name}" for name in ("environment-1", "environment-2") for side in _SIDES),
    *(f"{side}-{name}" for name in ("run-1", "run-4", "run-8") for side in _SIDES),
    *(f"after-{name}" for name in ("uv-compile-1", "uv-venv-1", "uv-sync-1", "bytecode-1", "transcript-3")),
    *("after-sandbox-2", "during-sandbox-4", "during-sandbox-7", "during-sandbox-9"),
    *("process/after-process-1", "process/during-process-2", "process/during-process-7"),
    *(f"{side}-{name}" for name in ("generation", "saved-solution", "saved-generation") for side in _SIDES),
)
"""Every point; the driver fails where one is never reached, so that a name can't outlive what it names."""

_FIRST = (
    *("before-answer-plan", "after-answer-plan", "asking-code", "before-answer-tests", "after-answer-code"),
    *("after-answer-diagnosis", "before-answer-repair_code", "asking-repair_tests", "after-answer-repair_tests"),
    *("before-lock-1", "after-uv-sync-1", "before-environment-1", "after-environment-2", "during-sandbox-4"),
    *("before-run-1", "after-run-4", "after-run-8", "before-generation", "after-generation", "after-saved-solution"),
)
"""The twenty that CI runs."""

DOCKER = ("docker/during-container-1", "docker/during-container-4", "docker/during-container-6")
"""While an image is built, and while containers run."""


@dataclass(frozen=True)
class Entry:
    """An entry of the matrix.

    Attributes:
        name: Of the point, with the runtime and a slash before it where that is not bubblewrap.
        kills: Points, or parts of the time that an undisturbed generation takes; one a start.
        sandbox: The runtime.
    """

    name: str
    kills: tuple[str | float, ...]
    sandbox: str = "bubblewrap"

    @classmethod
    def named(cls, name: str) -> Entry:
        """The entry of a named point."""
        sandbox, _, point = name.rpartition("/")
        return cls(name, (point,), sandbox or "bubblewrap")


def prepare(root: Path, source: Path) -> Path:
    """A state folder with the environment of the tests and its lock, and a uv cache with all that is needed.

    The environments of the solution are not in it: those are built in each entry.
    """
    folder = root / "template"
    code = """
import asyncio, sys
from flyteplugins.codegen.backends.workshop import TOOLS
from flyteplugins.codegen.packages.resolve import resolve
from flyteplugins.codegen.packages.spec import environment_spec
from flyteplugins.codegen.sandbox.environments import EnvironmentStore
python = f"{sys.version_info.major}.{sys.version_info.minor}"
async def build(*packages):
    await EnvironmentStore().ensure(await resolve(environment_spec(python, packages)))
packages = sys.argv[1:] or TOOLS
asyncio.run(build(*packages))
"""
    variables = {**os.environ, "PYTHONPATH": str(source), "UV_CACHE_DIR": uv_cache()}
    for home, packages in ((folder, []), (root / "other", ["iniconfig"]), (root / "other", ["iniconfig", "pluggy"])):
        variables["FLYTEPLUGINS_CODEGEN_HOME"] = str(home)
        subprocess.run([sys.executable, "-c", code, *packages], check=True, env=variables)
    shutil.rmtree(root / "other")
    return folder


def matrix(arguments: argparse.Namespace) -> list[Entry]:
    """The entries."""
    names = [*_FIRST, *(name for name in NAMED if name not in _FIRST)][: arguments.named]
    entries = [Entry.named(name) for name in names]
    chance = random.Random(arguments.seed)  # noqa: S311 # moments, no secrets
    for number in range(arguments.random):
        # Some are killed a second time while they recover.
        moments = tuple(chance.random() for _ in range(1 if chance.random() < 0.7 else 2))
        entries.append(Entry(f"random-{number + 1}", moments))
    if arguments.docker:
        entries += [Entry.named(name) for name in DOCKER]
    if arguments.only is None:
        return entries
    known = {entry.name: entry for entry in entries}
    return [known.get(name) or Entry.named(name) for name in arguments.only]


def carry_out(jobs: Sequence[Job], workers: Sequence[Worker]) -> list[Outcome]:
    """All jobs, on as many workers as there are."""
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    outcomes: list[Outcome] = []

    def work(worker: Worker) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                job = waiting.get_nowait()
                try:
                    outcome = job(worker)
                except Exception:
                    outcome = Outcome(str(job), [traceback.format_exc()])
                outcomes.append(outcome)
                tell(outcome)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def tell(outcome: Outcome) -> None:
    """One line an entry, and more where something did not hold."""
    say(f"{'FAIL' if outcome.problems else 'ok  '} {outcome.name:44} {outcome.seconds:5.1f} s")
    for problem in outcome.problems:
        say(f"     {problem}")


def say(line: str) -> None:
    """Tell a person."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Carry out the matrix; the exit status says whether all held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--named", type=int, default=len(NAMED), help="how many named points")
    parser.add_argument("--random", type=int, default=200, help="how many random moments")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="entries at a time")
    parser.add_argument("--no-docker", dest="docker", action="store_false", help="without the points in containers")
    parser.add_argument("--only", nargs="*", metavar="POINT", help="of the entries, these, and no other case")
    parser.add_argument("--cases", nargs="*", metavar="CASE", help=f"of the other cases, these: {', '.join(CASES)}")
    parser.add_argument("--keep", type=Path, help="folder for the folders of what failed")
    parser.add_argument("--source", type=Path, default=ROOT / "plugins/codegen/src", help="the product to test")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.source))
    cases = arguments.cases if arguments.cases is not None else [] if arguments.only is not None else list(CASES)
    began = time.monotonic()
    say(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, contextlib.ExitStack() as stack:
        root = Path(folder)
        template = prepare(root, arguments.source)
        workers = [
            stack.enter_context(Worker(root / f"worker-{number}", template, arguments.source, keep=arguments.keep))
            for number in range(arguments.jobs)
        ]
        with ThreadPoolExecutor() as pool:
            # The address of the model is part of a result, and each worker has a model of its own.
            first = next(iter(pool.map(Worker.undisturbed, workers)))
        say(f"undisturbed: {first.seconds:.1f} s, {first.asked} requests, {len(first.runs)} runs")
        jobs: list[Job] = [
            functools.partial(CASES[name], root=root / name, template=template, source=arguments.source)
            for name in cases
        ]
        jobs += [
            functools.partial(Worker.entry, name=e.name, kills=e.kills, sandbox=e.sandbox) for e in matrix(arguments)
        ]
        outcomes = carry_out(jobs, workers)
    failed = [outcome for outcome in outcomes if outcome.problems]
    say(
        f"{len(outcomes)} entries, {sum(outcome.kills for outcome in outcomes)} kills, "
        f"{sum(outcome.starts for outcome in outcomes)} starts, "
        f"{sum(outcome.again for outcome in outcomes)} requests repeated that were in flight, {len(failed)} failed, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
