"""What a killed process leaves: its sandboxes end by themselves, and the next generation clears the rest."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flyteplugins.codegen.core.files import file_lock
from flyteplugins.codegen.core.scratch import PREFIX, scratch
from flyteplugins.codegen.sandbox.leftovers import clear_leftovers
from flyteplugins.codegen.sandbox.processes import is_gone, mark

OWNER = """
import asyncio, sys
from pathlib import Path
from flyteplugins.codegen.core.files import file_lock
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.scratch import scratch_in
from flyteplugins.codegen.sandbox.contract import Job
from flyteplugins.codegen.sandbox.select import choose

async def main():
    runtime, _ = await choose(sys.argv[1])
    async with file_lock(home() / "locks" / "some.lock"), scratch_in(home() / "running") as folder, scratch_in():
        # What it starts leaves its process group and its parent, as a daemon does.
        code = f"(setsid sleep {sys.argv[2]} &); sleep {sys.argv[2]}"
        await runtime.run(Job(("/bin/sh", "-c", code), folder / "outputs"))

asyncio.run(main())
"""


def programs(words: str) -> list[str]:
    """The command lines that hold these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found += [line] if words in line and sys.executable not in line else []
    return found


def until(condition: Callable[[], object], seconds: float = 20.0) -> bool:
    end = time.monotonic() + seconds
    while not (holds := bool(condition())) and time.monotonic() < end:
        time.sleep(0.02)
    return holds


def groups(pid: int) -> list[Path]:
    return [path for path in Path("/sys/fs/cgroup").rglob(f"codegen-{pid}.*") if path.is_dir()]


@pytest.mark.parametrize("runtime", [pytest.param("bubblewrap", marks=pytest.mark.isolation), "process"])
def test_nothing_is_left_of_a_killed_process_and_its_sandbox(
    runtime: str, codegen_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    seconds = f"9{os.getpid()}"
    owner = subprocess.Popen([sys.executable, "-c", OWNER, runtime, seconds])
    assert until(lambda: len(programs(f"sleep {seconds}")) >= 2)
    clear_leftovers()
    assert list(codegen_home.glob(f"running/{PREFIX}*"))
    assert (codegen_home / "locks" / "some.lock").exists()
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert until(lambda: not programs(f"sleep {seconds}"))
    clear_leftovers()
    assert list(codegen_home.glob(f"running/{PREFIX}*")) == []
    assert list((codegen_home / "locks").iterdir()) == []
    assert list(temporary.iterdir()) == []
    assert until(lambda: (clear_leftovers(), not groups(owner.pid))[1])


async def test_what_a_living_process_holds_stays(codegen_home: Path) -> None:
    async with file_lock(codegen_home / "locks" / "held.lock"):
        with scratch(codegen_home / "running") as folder, scratch() as temporary:
            await asyncio.gather(*(asyncio.to_thread(clear_leftovers) for _ in range(4)))
            assert folder.is_dir()
            assert temporary.is_dir()
            assert (codegen_home / "locks" / "held.lock").exists()


def test_a_state_folder_that_is_not_there_is_not_made(codegen_home: Path) -> None:
    clear_leftovers()
    assert not codegen_home.exists()


def test_a_process_is_told_from_a_later_one_with_its_number() -> None:
    own = mark()
    pid, start, namespace = own.split(".")
    assert not is_gone(own)
    assert is_gone(f"{pid}.{int(start) + 1}.{namespace}")
    with subprocess.Popen(["sleep", "60"]) as other:
        marked = mark(other.pid)
        assert not is_gone(marked)
        other.kill()
    assert is_gone(marked)


@pytest.mark.parametrize("marked", ["", "garbage", "1", "99999999", "1.2.3", "-1.2.3"])
def test_what_can_not_be_told_from_here_counts_as_alive(marked: str) -> None:
    assert not is_gone(marked)
