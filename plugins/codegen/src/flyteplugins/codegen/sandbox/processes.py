"""The processes below a process: which they are, what memory they hold, and their end. The mark of a process."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def mark(pid: int | None = None) -> str:
    """What tells a process from all others on this machine, also from a later one with its number.

    Args:
        pid: Its process id, seen from here; this process's if None.

    Returns:
        Process id, time of its start and namespace of its id, joined by dots.
    """
    pid = pid or os.getpid()
    start = int(_fields(pid)[19]) if sys.platform == "linux" else 0
    return f"{pid}.{start}.{_namespace()}"


def is_gone(marked: str) -> bool:
    """Whether a process that was marked has ended; False where that can't be told from here.

    Args:
        marked: What `mark` gave for it.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", marked):
        return False
    pid, start, namespace = map(int, marked.split("."))
    if namespace != _namespace():
        return False
    try:
        os.kill(pid, 0)
        return start != 0 and int(_fields(pid)[19]) != start
    except (ProcessLookupError, FileNotFoundError):
        return True
    except OSError:
        return False


def descendants(root: int) -> list[int]:
    """Process ids below `root`, parents before their children; empty where it has none or is gone."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    level = [root]
    while level:
        level = [child for parent in level for child in children.get(parent, ())]
        found += level
    return found


def resident_bytes(pids: list[int], limit: int) -> int:
    """Memory that the processes hold together.

    Args:
        pids: Process ids; those that are gone count nothing.
        limit: Only a sum above this is counted a second time with shared pages divided, which is slower.

    Returns:
        Bytes; 0 where the system has no `/proc`.
    """
    resident = sum(_resident(pid) for pid in pids)
    return min(resident, sum(_proportional(pid) for pid in pids)) if resident > limit else resident


def threads(pids: list[int]) -> int:
    """How many threads the processes have together, which is what the kernel counts; 0 without `/proc`."""
    count = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError):
            count += int(_fields(pid)[17])
    return count


def end_below(root: int) -> None:
    """End every process below `root`. All are stopped first, so that none can start another meanwhile."""
    stopped: list[int] = []
    while new := [pid for pid in descendants(root) if pid not in stopped]:
        for pid in new:
            _send(pid, signal.SIGSTOP)
        stopped += new
    for pid in stopped:
        _send(pid, signal.SIGKILL)


def _namespace() -> int:
    with contextlib.suppress(OSError):
        return (_PROC / "self/ns/pid").stat().st_ino
    return 0


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _parents() -> list[tuple[int, int]]:
    if sys.platform != "linux":
        listing = subprocess.run(["/bin/ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=False)
        return [(int(pid), int(parent)) for pid, parent in (line.split() for line in listing.stdout.splitlines())]
    found = []
    for name in os.listdir(_PROC):  # noqa: PTH208 # names only, many times a second
        if name.isdigit():
            with contextlib.suppress(OSError):
                found.append((int(name), int(_fields(int(name))[1])))
    return found


def _fields(pid: int) -> list[bytes]:
    """The fields of `/proc/PID/stat` from the third on: the command before may hold spaces and brackets."""
    with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # noqa: PTH123 # of every process, many times a second
        return file.read().rpartition(b")")[2].split()


def _resident(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int((_PROC / str(pid) / "statm").read_bytes().split()[1]) * _PAGE
    return 0


def _proportional(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) << 10
    return _resident(pid)
