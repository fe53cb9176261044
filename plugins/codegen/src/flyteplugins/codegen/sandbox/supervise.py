"""Start a program, watch it, and end it: what the runtimes on this machine have in common."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Literal

from flyteplugins.codegen.core.errors import (
    JobError,
    JobKilledError,
    JobOutOfMemoryError,
    JobTimedOutError,
    OutputTooLargeError,
    SandboxFailedError,
)
from flyteplugins.codegen.sandbox.capture import Capture
from flyteplugins.codegen.sandbox.contract import Limits, Outcome
from flyteplugins.codegen.sandbox.control_group import ControlGroup
from flyteplugins.codegen.sandbox.outputs import usage
from flyteplugins.codegen.sandbox.processes import descendants, end_below, resident_bytes, threads

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
    running = await begin(command, mode, program, limits)
    try:
        return await running.to_end(written)
    finally:
        await running.close()


async def begin(
    command: Sequence[str],
    mode: Literal["contain", "adopt"],
    program: Program,
    limits: Limits,
    passed: Sequence[int] = (),
) -> Running:
    """Start a program and hold it to its limits; the time is not counted yet.

    Args:
        command: As for `supervise`.
        mode: As for `supervise`.
        program: As for `supervise`.
        limits: As for `supervise`.
        passed: File descriptors that the program inherits.

    Returns:
        The program, which whoever called this has to close.

    Raises:
        SandboxFailedError: `command` ended without having started the program.
    """
    group = ControlGroup(limits)  # on the loop: half a millisecond, and no cancellation can come between
    try:
        guest = await _started([*command, mode], program, limits.output_bytes, passed)
        running = Running(guest, group, limits)
        try:
            await running.begin()
        except BaseException:
            await guest.close()
            raise
        return running
    except BaseException:
        await asyncio.to_thread(group.close)
        raise


async def _started(command: list[str], program: Program, output_cap: int, passed: Sequence[int]) -> _Guest:
    """Start a guest whole or not at all: asyncio, when it is cancelled in between, waits for orphans of its own."""
    starting = asyncio.create_task(_Guest.start(command, program, output_cap, passed))
    cancelled = None
    while not starting.done():
        try:
            await asyncio.wait([starting])
        except asyncio.CancelledError as error:  # noqa: PERF203 # at most once or twice
            cancelled = error
    if cancelled is None:
        return starting.result()
    if starting.exception() is None:
        await starting.result().close()
    raise cancelled


class _Guest:
    """The outermost process of a sandbox, with what it prints and the two pipes to the first process inside.

    Attributes:
        pid: Its process id; those of the sandbox are below it.
        capture: What it and all below it print.
    """

    def __init__(self, process: asyncio.subprocess.Process, output_cap: int, status: int, go: int) -> None:
        self.pid = process.pid
        self.capture = Capture(output_cap)
        self._process = process
        self._status_fd, self._go_fd = status, go
        self._status = asyncio.StreamReader()
        self._status_transport: asyncio.ReadTransport | None = None
        self._readers = self.capture.start(process)
        self._ended = asyncio.create_task(process.wait())

    @classmethod
    async def start(cls, command: list[str], program: Program, output_cap: int, passed: Sequence[int]) -> _Guest:
        """Start it; the program inside waits for `go`."""
        status_read, status_write = os.pipe()
        go_read, go_write = os.pipe()
        try:
            with await asyncio.to_thread(_unnamed_file, program.spec()) as spec:
                inherited = (spec.fileno(), status_write, go_read)
                process = await asyncio.create_subprocess_exec(
                    *command,
                    *map(str, inherited),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env={"PATH": os.defpath, "LANG": "C.UTF-8"},
                    pass_fds=(*inherited, *passed),
                    start_new_session=True,
                )
        except BaseException as error:
            os.close(status_read)
            os.close(go_write)
            if isinstance(error, OSError):
                raise SandboxFailedError(f"{command[0]} can't be started: {error}.") from error
            raise
        finally:
            os.close(status_write)
            os.close(go_read)
        return cls(process, output_cap, status_read, go_write)

    async def ready(self) -> None:
        """Wait until the sandbox is set up."""
        self._status_transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._status), os.fdopen(os.dup(self._status_fd), "rb", buffering=0)
        )
        # Not `wait_for`: before Python 3.12 it loses a cancellation that comes together with the result.
        line = asyncio.create_task(self.line())
        try:
            await asyncio.wait([line], timeout=_SECONDS_TO_START)
        finally:
            line.cancel()
        if not line.done():
            raise SandboxFailedError(f"The sandbox did not start within {_SECONDS_TO_START:.0f} s.")
        if line.result() != "ready":
            await self.gone()
            said = self.capture.stderr.text().strip()[-2000:] or "it said nothing"
            raise SandboxFailedError(f"The sandbox could not be set up: {said}")

    def go(self) -> None:
        """Let the program start."""
        os.write(self._go_fd, b"g")

    async def line(self) -> str:
        """The next line of the first process; empty where it is gone or, by the program's doing, writes no lines."""
        with contextlib.suppress(ValueError):
            return (await self._status.readline()).decode(errors="replace").rstrip("\n")
        return ""

    async def gone(self) -> None:
        """Wait until the outermost process has ended and all that was printed is read."""
        await asyncio.wait([self._ended], timeout=_SECONDS_TO_END)
        if not self._ended.done():
            await asyncio.to_thread(end_below, self.pid)
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await asyncio.wait([self._ended])
        await asyncio.wait(self._readers, timeout=_SECONDS_TO_END)

    async def close(self) -> None:
        """End what still runs."""
        if self._process.returncode is None:
            end_below(self.pid)  # on the loop: after a cancellation there may be no second chance to wait
        os.close(self._go_fd)  # a first process that was not yet there to be ended goes by itself
        try:
            await asyncio.shield(self.gone())
        finally:
            for reader in self._readers:
                reader.cancel()
            if self._status_transport is not None:
                self._status_transport.close()
            os.close(self._status_fd)


class Running:
    """One program from its start to its end; made by `begin`."""

    def __init__(self, guest: _Guest, group: ControlGroup, limits: Limits) -> None:
        self._guest = guest
        self._group = group
        self._limits = limits
        self._written: Sequence[Path] = ()
        self._line: asyncio.Task[str] | None = None
        self._peak = 0

    @property
    def is_quiet(self) -> bool:
        """Whether it runs, as far as anybody knows, and has printed nothing yet."""
        return self._line is not None and not self._line.done() and self._guest.capture.total == 0

    async def begin(self) -> None:
        """Let the program start, within its limits."""
        await self._guest.ready()
        await asyncio.to_thread(self._confine)
        self._line = asyncio.create_task(self._guest.line())
        self._guest.go()

    async def to_end(self, written: Sequence[Path]) -> Outcome:
        """Wait for the end of the program; its time is counted from now on. See `supervise`."""
        self._written = written
        began = time.monotonic()
        excess, line = await self._wait(self._line or asyncio.create_task(self._guest.line()))
        seconds = time.monotonic() - began
        if excess is not None:
            await asyncio.to_thread(end_below, self._guest.pid)
        await self._guest.gone()
        if excess is None:
            excess = await asyncio.to_thread(self._excess_at_end)
        if excess is not None:
            raise _excess_error(excess, self._limits, self._printed())
        return self._judge(line, seconds)

    async def close(self) -> None:
        """Leave nothing of it behind."""
        if self._line is not None:
            self._line.cancel()
        try:
            await self._guest.close()
        finally:
            await asyncio.to_thread(self._group.close)

    def _confine(self) -> None:
        below = descendants(self._guest.pid)
        first = below[-1] if below else self._guest.pid
        self._group.admit(first)
        with contextlib.suppress(OSError):
            Path(f"/proc/{first}/oom_score_adj").write_text(_MOST_LIKELY_VICTIM)
        if sys.platform == "linux":
            import resource

            resource.prlimit(first, resource.RLIMIT_CORE, (0, 0))
            # A little above the limit, so that a file that was cut off there is seen to be over it.
            largest = self._limits.disk_bytes + (1 << 20)
            resource.prlimit(first, resource.RLIMIT_FSIZE, (largest, largest))
            if below and not self._group.limits_processes and _counts_by_namespace():
                most = self._limits.processes + 1
                with contextlib.suppress(OSError, ValueError):
                    resource.prlimit(first, resource.RLIMIT_NPROC, (most, most))

    async def _wait(self, line: asyncio.Task[str]) -> tuple[Excess | None, str]:
        watch = asyncio.create_task(self._watch())
        over = asyncio.create_task(self._guest.capture.over.wait())
        tasks: list[asyncio.Task[Any]] = [line, watch, over]
        try:
            await asyncio.wait(tasks, timeout=self._limits.seconds, return_when=asyncio.FIRST_COMPLETED)
            if line.done():
                return None, line.result()
            if watch.done():
                return watch.result(), ""
            return ("output" if over.done() else "seconds"), ""
        finally:
            for task in tasks:
                task.cancel()

    async def _watch(self) -> Excess:
        looks = 0
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
            excess = await asyncio.to_thread(self._look, looks % _LOOKS_BETWEEN_DISK_COUNTS == 0)
            if excess is not None:
                return excess
            looks += 1

    def _look(self, count_disk: bool) -> Excess | None:
        limits, group = self._limits, self._group
        if group.out_of_memory():
            return "memory"
        if not (group.limits_memory and group.limits_processes):
            pids = descendants(self._guest.pid)
            resident = resident_bytes(pids, limits.memory_bytes)
            self._peak = max(self._peak, resident)
            if resident > limits.memory_bytes and not group.limits_memory:
                return "memory"
            if threads(pids) > limits.processes + 2 and not group.limits_processes:
                return "processes"
        return "disk" if count_disk and self._over_disk() else None

    def _excess_at_end(self) -> Excess | None:
        # A quick program may be through before it was looked at.
        if self._guest.capture.over.is_set():
            return "output"
        return "disk" if self._over_disk() else None

    def _over_disk(self) -> bool:
        limit = self._limits.disk_bytes
        return sum(usage(folder, limit) for folder in self._written) > limit

    def _judge(self, line: str, seconds: float) -> Outcome:
        printed = self._printed()
        word, _, rest = line.partition(" ")
        if word == "failed":
            raise SandboxFailedError(f"The program can't be started: {rest}.")
        numbers = re.fullmatch(r"exited (\d{1,5}) (\d{1,15})", line)
        status, kilobytes = map(int, numbers.groups()) if numbers else (-1, 0)
        if status != 0 and self._group.out_of_memory():
            raise _excess_error("memory", self._limits, printed)
        if numbers is None:
            raise JobKilledError("The program was ended from outside.", *printed)
        if os.WIFSIGNALED(status):
            raise JobKilledError(f"The program was ended by {_signal_name(os.WTERMSIG(status))}.", *printed)
        peak = max(self._peak, kilobytes << (10 if sys.platform == "linux" else 0))
        return Outcome(os.WEXITSTATUS(status), *printed, seconds, peak or None)

    def _printed(self) -> tuple[str, str]:
        capture = self._guest.capture
        return capture.stdout.text(), capture.stderr.text()


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
            f"The program wrote more than its limit of {limits.disk_bytes / (1 << 20):g} MiB, or too many files or too "
            "deeply nested ones.",
            *printed,
        )
    return JobKilledError(f"The program had more than its limit of {limits.processes} processes.", *printed)


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
