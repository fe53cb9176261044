"""Programs of this machine: run to their end, and ended with all that they started when the caller is."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flyteplugins.codegen.core.commands import run_command

CALLER = """
import asyncio, sys
from flyteplugins.codegen.core.commands import run_command
asyncio.run(run_command(["/bin/sh", "-c", sys.argv[1]]))
"""

FAMILY = 'sleep 61 & child=$!; sh -c \'sleep 62 & echo "$! $$ $0" >"$1"; wait\' "$child" "{}" & wait'
"""A program with children of its own, which write down who they are."""


def family(pids: Path) -> list[int]:
    """The processes of the family, once it is there."""
    for _ in range(500):
        if pids.exists() and (found := pids.read_text().split()):
            return [int(pid) for pid in found]
        time.sleep(0.01)
    raise AssertionError("the program did not start")


def ended(pids: list[int]) -> bool:
    for _ in range(500):
        if not [pid for pid in pids if Path("/proc", str(pid), "cmdline").exists() and alive(pid)]:
            return True
        time.sleep(0.01)
    return False


def alive(pid: int) -> bool:
    try:
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_it_gives_back_the_exit_status_and_what_was_printed() -> None:
    done = await run_command(["/bin/sh", "-c", "cat; echo problem >&2; exit 7"], stdin="in\nand out")
    assert (done.exit_code, done.stdout, done.stderr) == (7, "in\nand out", "problem\n")


async def test_arguments_arrive_as_they_are() -> None:
    arguments = ["a b", "$HOME", "'", '"', "*", "", "\n"]
    done = await run_command([sys.executable, "-I", "-S", "-c", "import sys; print(sys.argv[1:])", *arguments])
    assert done.stdout.strip() == str(arguments)


async def test_the_environment_is_the_one_that_is_named_and_the_folder_too(tmp_path: Path) -> None:
    done = await run_command(["/bin/sh", "-c", "echo $ONE $HOME; pwd"], env={"ONE": "1"}, cwd=tmp_path)
    assert done.stdout.split() == ["1", str(tmp_path)]


async def test_what_is_no_program_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match="/nowhere/uv"):
        await run_command(["/nowhere/uv"])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_cancelled_one_ends_with_all_that_it_started(tmp_path: Path) -> None:
    running = asyncio.ensure_future(run_command(["/bin/sh", "-c", FAMILY.format(tmp_path / "pids")]))
    pids = await asyncio.to_thread(family, tmp_path / "pids")
    assert all(map(alive, pids))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await asyncio.to_thread(ended, pids)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_ends_with_a_caller_that_is_killed_and_so_does_all_that_it_started(tmp_path: Path) -> None:
    caller = subprocess.Popen([sys.executable, "-c", CALLER, FAMILY.format(tmp_path / "pids")])
    pids = family(tmp_path / "pids")
    assert all(map(alive, pids))
    caller.send_signal(signal.SIGKILL)
    caller.wait()
    assert ended(pids)
