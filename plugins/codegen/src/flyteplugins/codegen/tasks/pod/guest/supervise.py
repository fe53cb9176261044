"""Runs generated code in a pod from its start to its end, and leaves nothing of it running.

Standard library only; its text is part of the command of a container on a cluster. The program gets an environment of
named variables, what it prints is passed on, and the end of it is kept for the message of the container. It and all
that it started end with its time, with SIGTERM, and with itself.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import selectors
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

# These are system calls, on paths as the kernel takes them.
# ruff: noqa: PTH123, PTH208

_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36
_KEPT_BYTES = 64 << 10
_SECONDS_BETWEEN_LOOKS = 0.5
_SPARE_PROCESSES = 16
_MEMORY_EVENTS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")


@dataclass(frozen=True)
class Ended:
    """How a program ended.

    Attributes:
        status: The exit status, minus the number of the signal that ended it; None where it never started.
        reason: `exited`, `not started`, `out of time`, `out of memory`, `too many processes` or `stopped`.
        stdout: The end of what it printed.
        stderr: The end of what it printed as errors; why it was not started.
    """

    status: int | None
    reason: str
    stdout: str = ""
    stderr: str = ""


def supervise(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    folder: str,
    confine: Callable[[], list[str]],
    seconds: float | None,
    processes: int,
) -> Ended:
    """Run a program to its end.

    Args:
        argv: The program, by its path, and its arguments.
        env: All variables that it has.
        folder: Where it starts.
        confine: What its process does before it becomes the program; gives what could not be had, which is said on
            standard error. If it raises, the program does not start.
        seconds: Wall time; None for no limit.
        processes: Processes at one time.

    Returns:
        How it ended. Nothing that it started runs any more.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # orphans come here, where they are ended
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # no other process reads this one's memory and variables
    stops: list[int] = []
    waking, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda number, _: stops.append(number))
    signal.signal(signal.SIGCHLD, lambda *_: None)
    killed_before = _killed_for_memory()
    pid, status_fd, streams = _start(argv, env, folder, confine)
    with os.fdopen(status_fd, "rb") as stream:
        refusal = stream.read().decode(errors="replace")
    if refusal:
        os.waitpid(pid, 0)
        return Ended(None, "not started", stderr=refusal)
    watch = _Watch(pid, streams, waking, time.monotonic() + seconds if seconds else None, processes, stops)
    reason = watch.to_end()
    end_descendants(lambda dead, status: watch.reaped(dead, status))
    watch.drain()
    if reason == "exited" and watch.status == -signal.SIGKILL and _killed_for_memory() > killed_before:
        reason = "out of memory"
    return Ended(watch.status, reason, *(tail.text() for tail in watch.tails))


def _start(
    argv: Sequence[str], env: Mapping[str, str], folder: str, confine: Callable[[], list[str]]
) -> tuple[int, int, list[tuple[int, int]]]:
    """Start it; its process, where its refusal to start is read from, and what it prints with where that goes."""
    pipes = [os.pipe(), os.pipe()]
    reading, writing = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            _become(argv, env, folder, [writer for _, writer in pipes], writing, confine)
        except BaseException as error:
            os.write(writing, (str(error) or repr(error)).encode())
        finally:
            os._exit(125)
    os.close(writing)
    for _, writer in pipes:
        os.close(writer)
    return pid, reading, [(reader, target) for (reader, _), target in zip(pipes, (1, 2), strict=True)]


def _become(
    argv: Sequence[str],
    env: Mapping[str, str],
    folder: str,
    streams: Sequence[int],
    kept: int,
    confine: Callable[[], list[str]],
) -> None:
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # else its entry in /proc is root's
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")  # it is to end for want of memory, not what watches it
    os.umask(0o022)
    for what in confine():
        print(f"sandbox: {what}.", file=sys.stderr, flush=True)  # noqa: T201 # it is said where the pod's log is
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for descriptor, stream in enumerate(streams, start=1):
        os.dup2(stream, descriptor)
    highest = os.sysconf("SC_OPEN_MAX")
    os.closerange(3, kept)
    os.closerange(kept + 1, highest if 0 < highest < 1 << 20 else 1 << 16)
    os.chdir(folder)
    os.execve(argv[0], list(argv), dict(env))  # noqa: S606 # no shell is what is wanted


class _Tail:
    """The end of what was printed."""

    def __init__(self) -> None:
        self._kept = b""

    def add(self, part: bytes) -> None:
        self._kept = (self._kept + part)[-_KEPT_BYTES:]

    def text(self) -> str:
        return self._kept.decode(errors="replace")


class _Watch:
    """One program from its start to its end."""

    def __init__(
        self,
        pid: int,
        streams: Sequence[tuple[int, int]],
        waking: int,
        deadline: float | None,
        processes: int,
        stops: Sequence[int],
    ) -> None:
        self.status: int | None = None
        self.tails = [_Tail() for _ in streams]
        self._pid, self._waking = pid, waking
        self._deadline, self._processes, self._stops = deadline, processes, stops
        self._selector = selectors.DefaultSelector()
        self._selector.register(waking, selectors.EVENT_READ)
        for (reader, target), tail in zip(streams, self.tails, strict=True):
            os.set_blocking(reader, False)
            self._selector.register(reader, selectors.EVENT_READ, (target, tail))

    def to_end(self) -> str:
        """Wait until the program ends, or has to; the reason."""
        looked = time.monotonic()
        while self.status is None:
            self._pass_on(_SECONDS_BETWEEN_LOOKS)
            now = time.monotonic()
            self._reap()
            if self.status is not None:
                break
            if self._stops:
                return "stopped"
            if self._deadline is not None and now >= self._deadline:
                return "out of time"
            if now - looked >= _SECONDS_BETWEEN_LOOKS:
                looked = now
                if len(_descendants()) > self._processes + _SPARE_PROCESSES:
                    return "too many processes"
        return "exited"

    def reaped(self, pid: int, status: int) -> None:
        """Take in that a process is gone."""
        if pid == self._pid:
            self.status = os.waitstatus_to_exitcode(status)

    def drain(self) -> None:
        """Pass on what was printed before the end; nobody writes any more."""
        while any(key.data for key in self._selector.get_map().values()) and self._pass_on(0):
            pass

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                self.reaped(*found)

    def _pass_on(self, longest: float) -> bool:
        """Wait for something to happen; whether anything was printed."""
        if self._deadline is not None and longest:
            longest = max(0.0, min(longest, self._deadline - time.monotonic()))
        printed = False
        for key, _ in self._selector.select(longest):
            try:
                part = os.read(key.fd, 1 << 16)
            except BlockingIOError:
                continue
            if key.data is None:
                continue
            if not part:
                self._selector.unregister(key.fd)
                continue
            target, tail = key.data
            tail.add(part)
            printed = True
            _write(target, part)
        return printed


def _write(target: int, part: bytes) -> None:
    with contextlib.suppress(OSError):  # nobody reads the log any more
        while part:
            part = part[os.write(target, part) :]


# --- the end of all that was started ---


class StillRunningError(Exception):
    """Something that the program started can't be ended."""


def end_descendants(reaped: Callable[[int, int], None]) -> None:
    """Stop all processes below this one, so that none can start another, then end them.

    Args:
        reaped: Told of each that is gone, with its wait status.

    Raises:
        StillRunningError: One is still there after five seconds.
    """
    stopped: set[int] = set()
    while new := _descendants() - stopped:
        for pid in new:
            _signal(pid, signal.SIGSTOP)
        stopped |= new
    for pid in stopped:
        _signal(pid, signal.SIGKILL)
    end = time.monotonic() + 5
    while True:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                reaped(*found)
        if not _descendants():
            return
        if time.monotonic() > end:
            raise StillRunningError(f"{len(_descendants())} of its processes can't be ended.")
        time.sleep(0.01)


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _descendants() -> set[int]:
    """All processes below this one that still run."""
    parents: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            state, parent = file.read().rpartition(b")")[2].split()[:2]
            parents[int(name)] = int(parent) if state not in b"ZX" or int(parent) == os.getpid() else 0
    found: set[int] = set()
    new = {os.getpid()}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return found


def _killed_for_memory() -> int:
    """How many processes of this container the kernel has ended for want of memory."""
    for path in _MEMORY_EVENTS:
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            if match := re.search(r"^oom_kill (\d+)$", file.read(), re.MULTILINE):
                return int(match[1])
    return 0
