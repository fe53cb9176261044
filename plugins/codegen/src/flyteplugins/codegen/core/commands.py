"""Running programs of this machine to their end, and never beyond ours."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_GUARDED: Final = (
    '(exec 9<"$0" || exit; read -r _ <&9; kill -KILL 0) </dev/null >/dev/null 2>&1 & guard=$!; '
    '"$@"; status=$?; { kill "$guard"; wait "$guard"; } 2>/dev/null; exit "$status"'
)
"""Beside the program, in its process group, a shell waits for the end of a pipe that this process holds open. It ends
when this process does, however that happens, and then the shell ends the group: the program and all that it started.
Where there is no `/dev/fd` the program runs without it."""


@dataclass(frozen=True)
class Finished:
    """What a program came to.

    Attributes:
        exit_code: Its exit status.
        stdout: What it printed.
        stderr: Its messages.
    """

    exit_code: int
    stdout: str
    stderr: str


async def run_command(
    argv: Sequence[str], *, stdin: str = "", cwd: str | Path | None = None, env: Mapping[str, str] | None = None
) -> Finished:
    """Run a program of this machine, not one of a model's.

    It ends with this process and with the call, cancelled or not, and so does all that it started.

    Args:
        argv: The program, by its absolute path, and its arguments.
        stdin: Text for its standard input.
        cwd: Its working folder; this process's if None.
        env: Its environment variables; this process's if None.

    Returns:
        Exit status and what it printed.

    Raises:
        OSError: It can't be started.
    """
    if not os.access(argv[0], os.X_OK):
        raise FileNotFoundError(f"{argv[0]} is no program")  # the shell would start
    with _guard() as pipe:
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", _GUARDED, f"/dev/fd/{pipe}", *argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=env,
            pass_fds=(pipe,),
            start_new_session=True,
        )
        try:
            stdout, stderr = await process.communicate(stdin.encode())
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
    return Finished(process.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace"))


@contextmanager
def _guard() -> Iterator[int]:
    """The end of a pipe that the guard is to read from; the other end closes after the block."""
    read, write = os.pipe()
    try:
        yield read
    finally:
        os.close(read)
        os.close(write)
