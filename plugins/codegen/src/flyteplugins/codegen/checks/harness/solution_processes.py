"""Processes around the tests: what a run of the solution leaves behind is ended, and this process can be copied.

Standard library only: this file stands beside the tests, in a sandbox and in a saved generation.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36


def protect() -> None:
    """Keep the solution from reading and changing this process, and take in the processes that it leaves behind."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        library.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        library.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    """The processes whose parent is this one."""
    listed = f"/proc/self/task/{os.getpid()}/children"  # which not every kernel has; all threads but one start none
    if os.path.exists(listed):  # noqa: PTH110 # many times a second
        with open(listed) as stream:  # noqa: PTH123 # as above
            return {int(pid) for pid in stream.read().split()}
    found = set()
    own = str(os.getpid())
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            # The name in brackets may have spaces; what follows is the state and the parent.
            if entry.read_text(errors="replace").rpartition(")")[2].split()[1] == own:
                found.add(int(entry.parent.name))
    return found


def end_children(others: Collection[int]) -> None:
    """End what a run left behind: orphans come to this process, as `protect` asked for.

    Args:
        others: The children of this process that go on.
    """
    going_on = set(others)
    while left := children() - going_on:
        for child in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
        going_on |= {child for child in left if Path(f"/proc/{child}").exists()}
        time.sleep(0)


def end_group(leader: int) -> None:
    """End a group of processes; nothing happens where there is none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


class Copy:
    """A copy of this process that waits, as it is now, until it is told to call a function.

    Args:
        function: What it calls; its argument and its result must survive JSON.

    Attributes:
        pid: Its process id.
        descriptor: What can be read from once it has a result, or ended.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        order_reader, self._order = os.pipe()
        self.descriptor, result_writer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._order)
                os.close(self.descriptor)
                order = _read_all(order_reader)
                if order:
                    _write_all(result_writer, json.dumps(function(json.loads(order))).encode())
            finally:
                os._exit(0)  # nothing of this process may run twice
        os.close(order_reader)
        os.close(result_writer)

    def order(self, argument: Any) -> None:
        """Let it call the function and end."""
        content = json.dumps(argument).encode()
        order, self._order = self._order, -1  # closed below, whatever happens
        with contextlib.suppress(BrokenPipeError):
            _write_all(order, content)

    def result(self) -> Any:
        """What the function returned, once it has; None if the copy ended before."""
        descriptor, self.descriptor = self.descriptor, -1  # as above
        result = _read_all(descriptor)
        return json.loads(result) if result else None

    def close(self) -> None:
        """End it, whether it was told anything or not; what it left behind is the caller's to end."""
        for descriptor in (self._order, self.descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._order = self.descriptor = -1
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def in_copies(function: Callable[[Any, int], Any], arguments: Sequence[Any], lanes: int) -> list[Any]:
    """Call a function for each argument, each time in another copy of this process.

    Where a copy ended before it had a result, another may have ended it: the function is called once more, alone.

    Args:
        function: Gets an argument and a lane, a number below `lanes` that no other call has at that time; returns
            anything but None.
        arguments: What survives JSON, as the results must.
        lanes: How many calls go on at one time.

    Returns:
        The results; None of a copy that ended, by itself, before it had one.
    """
    before, results = children(), [None] * len(arguments)
    waiting, free = list(enumerate(arguments))[::-1], list(range(lanes))
    running: dict[int, tuple[Copy, int, int]] = {}
    try:
        while waiting or running:
            while waiting and free:
                (index, argument), lane = waiting.pop(), free.pop()
                copy = Copy(lambda argument, lane=lane: function(argument, lane))  # type: ignore[misc] # as it is now
                running[copy.descriptor] = copy, index, lane
                copy.order(argument)  # before the next one is made, which would keep this one's pipe open
            for descriptor in select.select(list(running), [], [])[0]:
                copy, index, lane = running.pop(descriptor)
                results[index] = copy.result()
                copy.close()
                end_children(before | {other.pid for other, _, _ in running.values()})
                free.append(lane)
    finally:
        end_children(before)
        for copy, _, _ in running.values():
            copy.close()
    if lanes > 1:
        ended = [index for index, result in enumerate(results) if result is None]
        for index, result in zip(ended, in_copies(function, [arguments[index] for index in ended], 1), strict=True):
            results[index] = result
    return results


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


def _write_all(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
