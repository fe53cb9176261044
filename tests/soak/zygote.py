"""Starts the child processes of the soak: forked from one that has the heavy libraries loaded, so that each is quick.

Reads one JSON object a line: a configuration for `child`, or `{"orphans": true}`. Answers each with a line: the process
id, and once that has ended its wait status; or what outlived the children. It adopts the orphans of its children, so
whatever a child leaves running is seen here.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_SECONDS_FOR_ORPHANS = 5.0


def main() -> None:
    """Serve until standard input closes."""
    if "libfaketime" in os.environ.get("LD_PRELOAD", ""):
        # Its `clock_nanosleep` refuses an end that was reckoned on the monotonic clock, which it leaves as it is.
        time.sleep = lambda seconds: select.select([], [], [], seconds) and None
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _preload()
    say({"ready": os.getpid()})
    for line in sys.stdin:
        asked = json.loads(line)
        if "orphans" in asked:
            say({"orphans": orphans()})
            continue
        started = [fork(config) for config in asked["children"]]
        say({"pids": started})
        say({"statuses": wait_for(started)})
    os._exit(0)  # what was loaded takes a while to be taken down


def fork(config: dict[str, Any]) -> int:
    """Start a child."""
    pid = os.fork()
    if pid:
        return pid
    log = os.open(config["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, log), (2, log)):
        os.dup2(source, descriptor)
    import child

    child.main(config)  # what follows is the end of a process like any other
    sys.exit(0)


def wait_for(pids: list[int]) -> list[int]:
    """The wait statuses of some children, in their order; orphans that end meanwhile are cleared away."""
    statuses: dict[int, int] = {}
    while not set(pids) <= set(statuses):
        pid, status = os.waitpid(-1, 0)
        statuses[pid] = status
    return [statuses[pid] for pid in pids]


def orphans() -> list[str]:
    """The command lines of what still runs below this process a few seconds after its children ended."""
    end = time.monotonic() + _SECONDS_FOR_ORPHANS
    while found := _below():
        if time.monotonic() > end:
            for pid in found:
                os.kill(pid, signal.SIGKILL)
            return list(found.values())
        time.sleep(0.02)
    return []


def _below() -> dict[int, str]:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return {}
    found = {}
    for pid in map(int, Path("/proc/self/task", str(os.getpid()), "children").read_text().split()):
        found[pid] = Path("/proc", str(pid), "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def say(answer: dict[str, Any]) -> None:
    """Answer with a line."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _preload() -> None:
    """Load what starts no thread: a thread would not be there in a forked process."""
    for name in ("jinja2", "litellm", "pandas", "pandera.pandas", "pyarrow.parquet"):
        importlib.import_module(name)


if __name__ == "__main__":
    main()
