"""Builds and runs as cached Flyte tasks: what is served, what runs again, and what is raised."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flyte
import pytest
from flyte._persistence._run_store import RunStore
from flyte.io import File

from flyteplugins.codegen.core.environment import EnvironmentSpec, Lock
from flyteplugins.codegen.core.errors import (
    EnvironmentBuildError,
    JobTimedOutError,
    OutputTooLargeError,
    SandboxFailedError,
)
from flyteplugins.codegen.core.pinned import pin
from flyteplugins.codegen.sandbox.contract import At, Availability, Job, Limits, Outcome, Python, Runtime
from flyteplugins.codegen.sandbox.select import choose
from flyteplugins.codegen.tasks.executor import Environment, Executor, Work
from flyteplugins.codegen.tasks.local_run import in_run

pytestmark = pytest.mark.isolation

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

STAMP = "import pathlib, sys, time; pathlib.Path(sys.argv[1], 'stamp').write_text(str(time.time_ns()))"
"""Writes something else each time it runs."""


class Watched:
    """A real runtime that counts the jobs that reach it, and can fail the first of them as a machine would."""

    def __init__(self, runtime: Runtime, failures: int = 0) -> None:
        self._runtime = runtime
        self._failures = failures
        self.name = runtime.name
        self.isolates = runtime.isolates
        self.installs_system_packages = runtime.installs_system_packages
        self.jobs = 0

    async def probe(self) -> Availability:
        return await self._runtime.probe()

    async def python_problem(self, version: str) -> str | None:
        return await self._runtime.python_problem(version)

    async def prepare(self, lock: Lock) -> str:
        return await self._runtime.prepare(lock)

    async def run(self, job: Job) -> Outcome:
        self.jobs += 1
        if self.jobs <= self._failures:
            raise SandboxFailedError(f"failure {self.jobs} of the machine")
        return await self._runtime.run(job)


@pytest.fixture(autouse=True)
def own_homes(codegen_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flyte's cache, too, is this test's own."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    monkeypatch.setenv("UV_CACHE_DIR", os.environ.get("UV_CACHE_DIR", str(cache / "uv")))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
async def runtime(own_homes: None) -> Watched:
    return Watched((await choose("auto"))[0])


@pytest.fixture
async def environment(runtime: Watched) -> Environment:
    return await Executor(runtime).build(EnvironmentSpec(python=PYTHON))


@pytest.fixture
def stamp(environment: Environment) -> Work:
    return program(environment, STAMP)


def program(environment: Environment, code: str, **more: Any) -> Work:
    return Work(
        name="contract-check",
        argv=(Python(environment.image), "-c", code, At("/var/outputs")),
        locks=(environment.lock,),
        **more,
    )


def stamped(execution: Any) -> str:
    return Path(execution.outputs["stamp"].path).read_text()


async def test_the_same_work_runs_once_inside_a_run_and_across_runs(runtime: Watched, stamp: Work) -> None:
    executor = Executor(runtime)

    async def thrice() -> list[str]:
        return [stamped(await executor.execute(stamp)) for _ in range(3)]

    stamps = [*await in_run(thrice), *await in_run(thrice), stamped(await Executor(runtime).execute(stamp))]
    assert len(set(stamps)) == 1
    assert runtime.jobs == 1


async def test_the_same_work_at_the_same_time_runs_once(runtime: Watched, stamp: Work) -> None:
    executions = await asyncio.gather(*(Executor(runtime).execute(stamp) for _ in range(8)))
    assert runtime.jobs == 1
    assert sorted(execution.served for execution in executions) == [False] + [True] * 7


STAMPED_ELSEWHERE = """if True:
        import asyncio, pathlib, sys
        from flyteplugins.codegen.core.environment import EnvironmentSpec
        from flyteplugins.codegen.sandbox.contract import At, Python
        from flyteplugins.codegen.sandbox.select import choose
        from flyteplugins.codegen.tasks.executor import Executor, Work

        async def main():
            python, code = sys.argv[1:]
            executor = Executor((await choose("auto"))[0])
            built = await executor.build(EnvironmentSpec(python=python))
            argv = (Python(built.image), "-c", code, At("/var/outputs"))
            execution = await executor.execute(Work("stamp", argv, (built.lock,)))
            print(pathlib.Path(execution.outputs["stamp"].path).read_text())

        asyncio.run(main())
"""


def test_two_processes_that_want_the_same_at_the_same_time_run_it_once() -> None:
    command = [sys.executable, "-c", STAMPED_ELSEWHERE, PYTHON, STAMP]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [child.communicate(timeout=120) for child in children]
    assert [child.returncode for child in children] == [0, 0], answers
    assert len({answer for answer, _ in answers}) == 1


CHANGES: dict[str, Callable[[Work], Work]] = {
    "argument": lambda work: dataclasses.replace(work, argv=(*work.argv, "--more")),
    "text of a file": lambda work: dataclasses.replace(work, files={"/var/inputs/a/a.csv": "2\n"}),
    "path of a file": lambda work: dataclasses.replace(work, files={"/var/inputs/b/a.csv": "1\n"}),
    "variable": lambda work: dataclasses.replace(work, env={"REGION": "us"}),
    "secret": lambda work: dataclasses.replace(work, secrets={"TOKEN": "another-secret"}),
    "limit": lambda work: dataclasses.replace(work, limits=Limits(seconds=99)),
    "network": lambda work: dataclasses.replace(work, network=True),
    "lock": lambda work: dataclasses.replace(
        work, locks=(*work.locks, Lock(python="3.9", platform="any", requirements=""))
    ),
    "wanted outputs": lambda work: dataclasses.replace(work, collect=("stamp",)),
}


@pytest.mark.parametrize("changed", CHANGES)
async def test_work_that_differs_in_anything_is_other_work(runtime: Watched, stamp: Work, changed: str) -> None:
    work = dataclasses.replace(
        stamp, files={"/var/inputs/a/a.csv": "1\n"}, env={"REGION": "eu"}, secrets={"TOKEN": "secret"}
    )
    before = stamped(await Executor(runtime).execute(work))
    assert stamped(await Executor(runtime).execute(CHANGES[changed](work))) != before
    assert stamped(await Executor(runtime).execute(dataclasses.replace(work, name="another-name"))) == before


async def test_a_file_that_changed_at_its_path_is_other_work(
    runtime: Watched, environment: Environment, tmp_path: Path
) -> None:
    path = tmp_path / "data.csv"
    code = "import pathlib; print(pathlib.Path('/var/inputs/data/data.csv').read_text())"
    if runtime.name == "process":
        pytest.skip("nothing here mounts files at the paths of the contract")
    for content in ("one", "two", "one"):
        path.write_text(content)
        work = program(environment, code, files={"/var/inputs/data/data.csv": File(path=str(path))})
        assert (await Executor(runtime).execute(work)).stdout.strip() == content
    assert runtime.jobs == 2


async def test_an_output_that_is_gone_or_altered_is_made_again(runtime: Watched, stamp: Work) -> None:
    executor = Executor(runtime)
    first = await executor.execute(stamp)
    path = Path(first.outputs["stamp"].path)
    path.unlink()
    second = await executor.execute(stamp)
    assert not second.served
    altered = Path(second.outputs["stamp"].path)
    altered.chmod(0o644)
    altered.write_text("9" * len(stamped(second)))
    third = await executor.execute(stamp)
    assert not third.served
    assert stamped(third) not in (stamped(second), "9" * len(stamped(third)))
    Path(third.outputs["stamp"].path).touch()
    assert (await executor.execute(stamp)).served  # the same content, only touched


async def test_override_renews_the_record_and_disable_leaves_it_alone(runtime: Watched, stamp: Work) -> None:
    async def under(cache: str) -> str:
        return stamped(await Executor(runtime, cache=cache).execute(stamp))

    async def story() -> list[str]:
        modes = ["auto", "disable", "auto", "override", "auto", "override", "auto", "disable", "auto"]
        return [await under(mode) for mode in modes]

    stamps = await in_run(story)
    first, _, same, renewed, served, again, last, _, kept = stamps
    assert first == same
    assert served == renewed
    assert last == again == kept
    assert len(set(stamps)) == 5


async def test_a_failed_program_is_an_outcome_and_is_served(runtime: Watched, environment: Environment) -> None:
    work = program(environment, "import sys; print('so far'); sys.exit('went wrong')")
    executor = Executor(runtime, retries=2)
    first, second = await executor.execute(work), await executor.execute(work)
    assert (first.exit_code, first.stdout.strip(), first.stderr.strip()) == (1, "so far", "went wrong")
    assert second == dataclasses.replace(first, served=True)
    assert runtime.jobs == 1


async def test_a_time_limit_is_raised_as_it_is_and_never_served(runtime: Watched, environment: Environment) -> None:
    work = program(environment, "import time; print('so far', flush=True); time.sleep(60)", limits=Limits(seconds=1))
    for attempt in (1, 2):
        with pytest.raises(JobTimedOutError) as caught:
            await Executor(runtime, retries=2).execute(work)
        assert caught.value.stdout.strip() == "so far"
        assert runtime.jobs == attempt


async def test_a_failure_of_the_machine_is_tried_again_and_never_served(stamp: Work) -> None:
    real, _ = await choose("auto")
    recovers = Watched(real, failures=1)
    assert stamped(await Executor(recovers, retries=1).execute(stamp))
    assert recovers.jobs == 2
    other = dataclasses.replace(stamp, env={"OTHER": "1"})
    fails = Watched(real, failures=2)
    with pytest.raises(SandboxFailedError, match="failure 2 of the machine"):
        await Executor(fails, retries=1).execute(other)
    assert not (await Executor(fails).execute(other)).served


async def test_a_package_that_does_not_exist_fails_once_and_says_so(runtime: Watched) -> None:
    spec = EnvironmentSpec(python=PYTHON, packages=("no-such-distribution-for-the-tests-of-this",))
    with pytest.raises(EnvironmentBuildError, match="no-such-distribution"):
        await Executor(runtime, retries=3).build(spec)


EXPECTED_FAILURES = """if True:
        import asyncio, sys
        from flyteplugins.codegen.core.environment import EnvironmentSpec
        from flyteplugins.codegen.core.errors import CodegenError
        from flyteplugins.codegen.sandbox.contract import Limits, Python
        from flyteplugins.codegen.sandbox.select import choose
        from flyteplugins.codegen.tasks.executor import Executor, Work
        from flyteplugins.codegen.tasks.local_run import in_run

        async def attempts():
            executor = Executor((await choose("auto"))[0], retries=1)
            python = sys.argv[1]
            built = await executor.build(EnvironmentSpec(python=python))
            failing = Work("tests", (Python(built.image), "-c", "raise SystemExit(1)"), (built.lock,))
            slow = Work(
                "tests", (Python(built.image), "-c", "import time; time.sleep(9)"), limits=Limits(seconds=0.5)
            )
            assert (await executor.execute(failing)).exit_code == 1
            for attempt in (
                lambda: executor.execute(slow),
                lambda: executor.build(EnvironmentSpec(python=python, packages=("no-such-distribution-at-all",))),
            ):
                try:
                    await attempt()
                except CodegenError as error:
                    print(type(error).__name__)

        asyncio.run(in_run(attempts))
"""


def test_what_is_expected_to_fail_makes_no_noise() -> None:
    command = [sys.executable, "-c", EXPECTED_FAILURES, PYTHON]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 2


async def test_only_regular_files_come_out(runtime: Watched, environment: Environment, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.write_text("the host's")
    code = f"""if True:
        import os, pathlib, sys
        out = pathlib.Path(sys.argv[1])
        (out / "deep" / "er").mkdir(parents=True)
        (out / "deep" / "er" / "data.parquet").write_bytes(b"\\0\\xff")
        (out / "link").symlink_to({str(private)!r})
        (out / "folder").symlink_to("/etc")
        (out / os.fsdecode(b"bad\\xff")).write_text("")
        os.mkfifo(out / "pipe")
        (out / "closed").mkdir()
        (out / "closed" / "data").write_text("x")
        (out / "closed" / "data").chmod(0)
        (out / "closed").chmod(0)
    """
    execution = await Executor(runtime).execute(program(environment, code))
    assert execution.exit_code == 0, execution.stderr
    assert set(execution.outputs) == {"deep/er/data.parquet", "closed/data"}
    parquet = execution.outputs["deep/er/data.parquet"]
    assert Path(parquet.path).name == "data.parquet"
    assert Path(parquet.path).read_bytes() == b"\0\xff"
    assert pin(Path(parquet.path)).hash == parquet.hash


async def test_only_what_is_wanted_comes_out(runtime: Watched, environment: Environment) -> None:
    code = "import pathlib, sys; [pathlib.Path(sys.argv[1], n).write_text(n) for n in 'abc']"
    execution = await Executor(runtime).execute(program(environment, code, collect=("b",)))
    assert set(execution.outputs) == {"b"}


async def test_sparse_giants_are_refused_before_they_are_read(runtime: Watched, environment: Environment) -> None:
    code = "import sys; [open(f'{sys.argv[1]}/{n}', 'w').truncate(3 << 30) for n in range(9)]"
    started = time.monotonic()
    with pytest.raises(OutputTooLargeError):
        await Executor(runtime).execute(program(environment, code))
    assert time.monotonic() - started < 20


async def test_no_secret_is_written_down_or_printed(
    runtime: Watched, environment: Environment, codegen_home: Path, tmp_path: Path
) -> None:
    flyte.init(local_persistence=True)
    work = program(environment, "import os; print('token', os.environ['TOKEN'])")
    execution = await Executor(runtime, secrets={"TOKEN": "hunter2-hunter2"}).execute(work)
    assert execution.stdout.strip() == "token <secret TOKEN>"
    slow = program(environment, "import os, time; print(os.environ['TOKEN'], flush=True); time.sleep(60)")
    with pytest.raises(JobTimedOutError) as caught:
        await Executor(runtime, secrets={"TOKEN": "hunter2-hunter2"}).execute(
            dataclasses.replace(slow, limits=Limits(seconds=1))
        )
    assert caught.value.stdout.strip() == "<secret TOKEN>"
    written = b"".join(
        path.read_bytes()
        for folder in (codegen_home, tmp_path / "home")
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )
    assert b"<secret TOKEN>" in written
    assert b"hunter2" not in written


async def test_people_find_builds_and_runs_by_name(runtime: Watched, stamp: Work) -> None:
    flyte.init(local_persistence=True)
    executor = Executor(runtime, name="sales")

    async def work() -> None:
        await executor.build(EnvironmentSpec(python=PYTHON))
        await executor.execute(stamp)
        await executor.execute(stamp)

    await in_run(work, "summarize-sales")
    [run] = [run for run in RunStore.list_runs_sync() if run.task_name == "summarize-sales"]
    actions = RunStore.list_actions_for_run_sync(run.run_name)
    shown = [(action.task_name, action.cache_hit) for action in actions if action.task_name != "summarize-sales"]
    assert sorted(shown) == [
        ("sales-contract-check", False),
        ("sales-contract-check", True),
        ("sales-environment", False),
    ]
    outputs = json.dumps([str(action.outputs) for action in actions])
    assert "exited 0" in outputs


async def test_cancelling_ends_the_program(runtime: Watched, environment: Environment) -> None:
    marker = f"sleeper-{os.getpid()}-{time.time_ns()}"
    work = program(environment, "import time; time.sleep(300)", env={"MARKER": marker})
    task = asyncio.create_task(Executor(runtime).execute(work))
    await until(lambda: bool(processes_with(marker)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 20)
    assert not processes_with(marker)
    again = asyncio.create_task(Executor(runtime).execute(work))  # the lock was given back
    await until(lambda: bool(processes_with(marker)))
    again.cancel()
    await asyncio.wait([again], timeout=20)


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def processes_with(marker: str) -> list[str]:
    """Processes that have the marker in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"MARKER={marker}".encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found
