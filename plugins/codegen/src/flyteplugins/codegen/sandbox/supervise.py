"""Start a program, watch it, and end it: what the runtimes on this machine have in common."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from flyteplugins.codegen.core.errors import (
    JobError,
    JobKilledError,
    JobOutOfMemoryError,
    JobTimedOutError,
    OutputTooLargeError,
    SandboxFailedError,
)
from flyteplugins.codegen.sandbox.capture import Capture, Kept
from flyteplugins.codegen.sandbox.contract import Limits, Outcome
from flyteplugins.codegen.sandbox.control_group import ControlGroup
from flyteplugins.codegen.sandbox.outputs import usage
from flyteplugins.codegen.sandbox.processes import descendants, end_below, resident_bytes

_SECONDS_TO_START: Final = 30.0
_SECONDS_TO_END: Final = 10.0
_SECONDS_BETWEEN_LOOKS: Final = 0.05
_LOOKS_BETWEEN_DISK_COUNTS: Final = 5
_MOST_LIKELY_VICTIM: Final = "1000"

Excess = Literal["memory", "processes", "disk", "output", "seconds"]


@dataclass(frozen=True)
class Program:
    """What the first process of a sandbox starts.

    Attributes:
        argv: The program and its arguments, as it sees them.
        env: All environment variables that it gets.
        folder: Its working folder.
    """

    argv: Sequence[str]
    env: dict[str, str]
    folder: str

    def spec(self) -> bytes:
        """The description that `guest/init.py` reads."""
        variables = [f"{name}={value}" for name, value in self.env.items()]
        fields = [self.folder, str(len(self.argv)), *self.argv, *variables]
        if any("\0" in field for field in fields):
            raise SandboxFailedError("An argument or environment variable contains a NUL character. Remove it.")
        return b"".join(os.fsencode(field) + b"\0" for field in fields)


async def supervise(
    command: Sequence[str],
    mode: Literal["contain", "adopt"],
    program: Program,
    limits: Limits,
    written: Sequence[Path],
) -> Outcome:
    """Run a program to its end and leave no process of it behind, whatever happens.

    Args:
        command: What starts `guest/init.py`, up to and including its path.
        mode: Its first argument.
        program: What it starts.
        limits: What the program may use.
        written: Folders of the host that the program writes to; counted against its disk limit.

    Returns:
        The outcome of a program that exited by itself.

    Raises:
        JobError: One of its kinds, as `Runtime.run` says.
        SandboxFailedError: `command` ended without having started the program.
    """
    run = _Run(limits, written)
    try:
        return await run.to_end(command, mode, program)
    finally:
        await run.close()


class _Run:
    """One program that runs."""

    def __init__(self, limits: Limits, written: Sequence[Path]) -> None:
        self._limits = limits
        self._written = written
        self._capture = Capture(limits.output_bytes)
        self._stdout, self._stderr = Kept(), Kept()
        self._process: asyncio.subprocess.Process | None = None
        self._group: ControlGroup | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._others: list[asyncio.Task[object]] = []
        self._go: int | None = None
        self._status_transport: asyncio.ReadTransport | None = None
        self._peak = 0

    async def to_end(self, command: Sequence[str], mode: str, program: Program) -> Outcome:
        spec = await asyncio.to_thread(_unnamed_file, program.spec())
        self._group = await asyncio.to_thread(ControlGroup, self._limits)
        with spec:
            status = await self._start([*command, mode], spec.fileno())
        await self._wait_until_ready(status)
        await asyncio.to_thread(self._confine)
        began = time.monotonic()
        assert self._go is not None
        os.write(self._go, b"g")
        excess, line = await self._wait(status)
        seconds = time.monotonic() - began
        if excess is not None:
            await self._end()
        await self._gone()
        if excess is None:
            excess = await asyncio.to_thread(self._excess_at_end)
        return self._judge(excess, line, seconds)

    async def _start(self, command: list[str], spec: int) -> asyncio.StreamReader:
        status_read, status_write = os.pipe()
        go_read, self._go = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                *map(str, (spec, status_write, go_read)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                pass_fds=(spec, status_write, go_read),
                start_new_session=True,
            )
        except OSError as error:
            os.close(status_read)
            raise SandboxFailedError(f"{command[0]} can't be started: {error}.") from error
        finally:
            os.close(status_write)
            os.close(go_read)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            asyncio.create_task(self._capture.read(self._process.stdout, self._stdout)),
            asyncio.create_task(self._capture.read(self._process.stderr, self._stderr)),
        ]
        status = asyncio.StreamReader()
        self._status_transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(status), os.fdopen(status_read, "rb", buffering=0)
        )
        return status

    async def _wait_until_ready(self, status: asyncio.StreamReader) -> None:
        try:
            line = await asyncio.wait_for(status.readline(), _SECONDS_TO_START)
        except asyncio.TimeoutError:
            raise SandboxFailedError(f"The sandbox did not start within {_SECONDS_TO_START:.0f} s.") from None
        if line != b"ready\n":
            await self._gone()
            said = self._stderr.text().strip()[-2000:] or "it said nothing"
            raise SandboxFailedError(f"The sandbox could not be set up: {said}")

    def _confine(self) -> None:
        assert self._process is not None
        assert self._group is not None
        below = descendants(self._process.pid)
        self._group.admit([self._process.pid, *below])
        first = below[-1] if below else self._process.pid
        with contextlib.suppress(OSError):
            Path(f"/proc/{first}/oom_score_adj").write_text(_MOST_LIKELY_VICTIM)
        if sys.platform == "linux":
            import resource

            resource.prlimit(first, resource.RLIMIT_CORE, (0, 0))
            # A little above the limit, so that a file that was cut off there is seen to be over it.
            largest = self._limits.disk_bytes + (1 << 20)
            resource.prlimit(first, resource.RLIMIT_FSIZE, (largest, largest))
            if first != self._process.pid and not self._group.limits_processes and _counts_by_namespace():
                most = self._limits.processes + 1
                with contextlib.suppress(OSError, ValueError):
                    resource.prlimit(first, resource.RLIMIT_NPROC, (most, most))

    async def _wait(self, status: asyncio.StreamReader) -> tuple[Excess | None, bytes]:
        line: asyncio.Task[bytes] = asyncio.create_task(status.readline())
        watch: asyncio.Task[Excess] = asyncio.create_task(self._watch())
        over = asyncio.create_task(self._capture.over.wait())
        self._others = [line, watch, over]  # type: ignore[list-item] # tasks of different results, only cancelled
        done, _ = await asyncio.wait(
            {line, watch, over}, timeout=self._limits.seconds, return_when=asyncio.FIRST_COMPLETED
        )
        if line in done:
            return None, line.result()
        if watch in done:
            return watch.result(), b""
        return ("output" if over in done else "seconds"), b""

    async def _watch(self) -> Excess:
        looks = 0
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            excess = await asyncio.to_thread(self._look, looks % _LOOKS_BETWEEN_DISK_COUNTS == 0)
            if excess is not None:
                return excess
            looks += 1

    def _look(self, count_disk: bool) -> Excess | None:
        assert self._group is not None
        assert self._process is not None
        limits = self._limits
        if self._group.out_of_memory():
            return "memory"
        if not (self._group.limits_memory and self._group.limits_processes):
            pids = descendants(self._process.pid)
            resident = resident_bytes(pids, limits.memory_bytes)
            self._peak = max(self._peak, resident)
            if resident > limits.memory_bytes and not self._group.limits_memory:
                return "memory"
            if len(pids) > limits.processes + 2 and not self._group.limits_processes:
                return "processes"
        return "disk" if count_disk and self._over_disk() else None

    def _excess_at_end(self) -> Excess | None:
        # A quick program may be through before it was looked at.
        if self._capture.over.is_set():
            return "output"
        return "disk" if self._over_disk() else None

    def _over_disk(self) -> bool:
        limit = self._limits.disk_bytes
        return sum(usage(folder, limit) for folder in self._written) > limit

    async def _end(self) -> None:
        if self._process is not None and self._process.returncode is None:
            await asyncio.to_thread(end_below, self._process.pid)

    async def _gone(self) -> None:
        """Wait for the outermost process and for the end of what it printed."""
        assert self._process is not None
        try:
            await asyncio.wait_for(asyncio.shield(self._process.wait()), _SECONDS_TO_END)
        except asyncio.TimeoutError:
            await self._end()
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await asyncio.wait(self._readers, timeout=_SECONDS_TO_END)

    def _judge(self, excess: Excess | None, line: bytes, seconds: float) -> Outcome:
        assert self._group is not None
        limits, printed = self._limits, (self._stdout.text(), self._stderr.text())
        if excess is not None:
            raise _excess_error(excess, limits, printed)
        word, _, rest = line.decode(errors="replace").strip().partition(" ")
        if word == "failed":
            raise SandboxFailedError(f"The program can't be started: {rest}.")
        out_of_memory = self._group.out_of_memory()
        if word != "exited":
            if out_of_memory:
                raise _excess_error("memory", limits, printed)
            raise JobKilledError("The program was ended from outside.", *printed)
        status, kilobytes = map(int, rest.split())
        if out_of_memory and status != 0:
            raise _excess_error("memory", limits, printed)
        if os.WIFSIGNALED(status):
            raise JobKilledError(f"The program was ended by {_signal_name(os.WTERMSIG(status))}.", *printed)
        peak = max(self._peak, kilobytes << (10 if sys.platform == "linux" else 0))
        return Outcome(os.WEXITSTATUS(status), *printed, seconds, peak or None)

    async def close(self) -> None:
        """End what still runs; also after a cancellation, and then without giving it time."""
        if self._process is not None and self._process.returncode is None:
            end_below(self._process.pid)
            await asyncio.shield(self._gone())
        for task in (*self._others, *self._readers):
            task.cancel()
        if self._status_transport is not None:
            self._status_transport.close()
        if self._go is not None:
            os.close(self._go)
        if self._group is not None:
            await asyncio.to_thread(self._group.close)


def _unnamed_file(content: bytes) -> IO[bytes]:
    # Without a name nothing is left behind, and no other program can read the values of the variables.
    file = tempfile.TemporaryFile()  # noqa: SIM115 # the caller closes it
    file.write(content)
    file.flush()
    file.seek(0)
    return file


def _counts_by_namespace() -> bool:
    # Before Linux 5.14 all processes of the user counted, those outside the sandbox too.
    major, minor = platform.release().split(".")[:2]
    return (int(major), int("".join(filter(str.isdigit, minor)) or 0)) >= (5, 14)


def _excess_error(excess: Excess, limits: Limits, printed: tuple[str, str]) -> JobError:
    if excess == "seconds":
        return JobTimedOutError(f"The program ran longer than its limit of {limits.seconds:g} s.", *printed)
    if excess == "memory":
        return JobOutOfMemoryError(
            f"The program used more than its memory limit of {limits.memory_bytes / (1 << 20):.0f} MiB.", *printed
        )
    if excess == "output":
        return OutputTooLargeError(
            f"The program printed more than its limit of {limits.output_bytes / (1 << 20):g} MiB.", *printed
        )
    if excess == "disk":
        return OutputTooLargeError(
            f"The program wrote more than its limit of {limits.disk_bytes / (1 << 20):g} MiB.", *printed
        )
    return JobKilledError(f"The program had more than its limit of {limits.processes} processes.", *printed)


def _signal_name(number: int) -> str:
    import signal

    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
