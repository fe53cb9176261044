"""Runs that machines share: what one ran is served on the other, with its files."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flyteplugins.codegen.core.environment import EnvironmentSpec
from flyteplugins.codegen.core.errors import StorageFailedError
from flyteplugins.codegen.record import open_record
from flyteplugins.codegen.sandbox.contract import At, Job, Outcome, Python, Runtime
from flyteplugins.codegen.sandbox.select import choose
from flyteplugins.codegen.tasks.executor import Executor, Work

pytestmark = pytest.mark.isolation

STAMP = "import os, pathlib, sys; pathlib.Path(sys.argv[1], 'stamp').write_bytes(os.urandom(64)); print('ran')"

Machine = Callable[[str], None]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Switches to the state folders of a machine of that name."""

    def switch(name: str) -> None:
        monkeypatch.setenv("FLYTEPLUGINS_CODEGEN_HOME", str(tmp_path / name))
        monkeypatch.setenv("HOME", str(tmp_path / f"{name}-home"))

    switch("one")
    return switch


async def stamp(runtime: Runtime) -> Work:
    built = await Executor(runtime).build(EnvironmentSpec(python=f"{sys.version_info.major}.{sys.version_info.minor}"))
    return Work("stamp", (Python(built.image), "-c", STAMP, At("/var/outputs")), (built.lock,))


async def test_a_run_of_another_machine_is_served_with_its_files(tmp_path: Path, machine: Machine) -> None:
    runtime, _ = await choose("auto")
    store, told = tmp_path / "store", list[str]()
    first = await Executor(runtime, record=open_record(store, told.append)).execute(await stamp(runtime))
    machine("two")
    second = await Executor(runtime, record=open_record(store, told.append)).execute(await stamp(runtime))
    assert second.served
    assert (second.exit_code, second.stdout) == (first.exit_code, first.stdout)
    content = Path(second.outputs["stamp"].path).read_bytes()
    assert second.outputs["stamp"].path.startswith(str(tmp_path / "two"))
    assert content == Path(first.outputs["stamp"].path).read_bytes()
    machine("three")
    shutil.rmtree(store / "files")
    third = await Executor(runtime, record=open_record(store, told.append)).execute(await stamp(runtime))
    assert not third.served
    assert Path(third.outputs["stamp"].path).read_bytes() != content
    assert not told


@pytest.mark.parametrize("body", [{}, {"outputs": {"stamp": {"name": "../x", "sha256": "0" * 64, "size": 1}}}])
async def test_a_record_that_is_no_run_counts_as_absent_and_is_told(
    body: dict[str, object], tmp_path: Path, machine: Machine
) -> None:
    runtime, _ = await choose("auto")
    told: list[str] = []
    executor = Executor(runtime, record=open_record(tmp_path / "store", told.append))
    work = await stamp(runtime)
    await executor.execute(work)
    (written,) = (tmp_path / "store" / "runs").rglob("0000.json")
    await executor.record.add("runs", written.parent.name, body)
    assert not (await executor.execute(work)).served
    assert "counts as absent" in told[0]
    assert (await executor.execute(work)).served


class NoRoom:
    """A real runtime on a machine whose disk fills while it works."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.name = runtime.name

    async def run(self, job: Job) -> Outcome:
        await self._runtime.run(job)
        raise OSError(28, "No space left on device")


async def test_a_disk_that_fills_is_the_machines_fault_and_nothing_is_recorded(machine: Machine) -> None:
    runtime, _ = await choose("auto")
    work = dataclasses.replace(await stamp(runtime), env={"OTHER": "1"})
    with pytest.raises(StorageFailedError, match="codegen cache prune"):
        await Executor(NoRoom(runtime)).execute(work)  # type: ignore[arg-type] # only its runs are used
    assert not (await Executor(runtime).execute(work)).served
