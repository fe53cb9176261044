"""Named moments of a generation, and the end of the process at one of them.

Nothing in the product knows of them: an audit hook sees which files are opened, renamed and linked and which programs
are started, and gives what matters a name, such as `answer-plan` or `environment-2`. The process is killed before such
an operation, or after it: at the next event of the same thread.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

_RULES: tuple[tuple[str, re.Pattern[str], str], ...] = (
    ("os.link", re.compile(r"/record/answers/[^/]+/[^/]+/\d+\.json$"), "answer"),
    ("os.link", re.compile(r"/record/runs/[^/]+/[^/]+/\d+\.json$"), "run"),
    ("os.link", re.compile(r"/record/generations/[^/]+/[^/]+/\d+\.json$"), "generation"),
    ("os.rename", re.compile(r"/environments/[0-9a-f]{64}$"), "environment"),
    ("os.rename", re.compile(r"/locks/[0-9a-f]{64}-[^/]+\.json$"), "lock"),
    ("os.rename", re.compile(r"/files/[0-9a-f]{64}/[^/]+$"), "file"),
    ("os.rename", re.compile(r"/saved/solution\.py$"), "saved-solution"),
    ("os.rename", re.compile(r"/saved/generation\.json$"), "saved-generation"),
    ("subprocess.Popen", re.compile(r"\S*/uv venv "), "uv-venv"),
    ("subprocess.Popen", re.compile(r"\S*/uv pip compile "), "uv-compile"),
    ("subprocess.Popen", re.compile(r"\S*/uv pip sync "), "uv-sync"),
    ("subprocess.Popen", re.compile(r"-m compileall "), "bytecode"),
    ("subprocess.Popen", re.compile(r"\S*bwrap .*--unshare-all"), "sandbox"),
    ("subprocess.Popen", re.compile(r"/init\.py adopt"), "process"),
    ("os.mkdir", re.compile(r"/docker/\.codegen-scratch-[0-9a-f]+$"), "container"),
    ("open", re.compile(r"/transcripts/[^/]+\.jsonl$"), "transcript"),
)


class Points:
    """Counts the named operations of this process, and kills it at one of them.

    Args:
        log: Where the names of the operations go, one a line, as they happen.
        point: Such as `before-answer-plan` or `after-sandbox-3`; None kills at none.
        delay: Seconds between the point and the kill, for what takes its time.
    """

    def __init__(self, log: Path, point: str | None = None, delay: float = 0.0) -> None:
        self._log = log.open("a", buffering=1)
        self._side, _, self._name = (point or "").partition("-")
        self._delay = delay
        self._seen: Counter[str] = Counter()
        self._inside = threading.local()
        self._armed: int | None = None
        self._lock = threading.Lock()

    def install(self) -> None:
        """From now on every operation is seen; there is no way back."""
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self._armed == threading.get_ident() and not getattr(self._inside, "busy", False):
            self._end()
        if event not in _EVENTS or getattr(self._inside, "busy", False):
            return
        self._inside.busy = True
        try:
            name = self._named(event, args)
            if name is None:
                return
            with self._lock:
                self._seen[name] += 1
                count = self._seen[name]
                self._log.write(f"{name}-{count}\n")
            if self._name in ([name] if count == 1 else []) + [f"{name}-{count}"]:
                if self._side == "before":
                    self._end()
                self._armed = threading.get_ident()
        finally:
            self._inside.busy = False

    def _named(self, event: str, args: tuple[Any, ...]) -> str | None:
        text = _EVENTS[event](args)
        if text is None:
            return None
        for kind, pattern, name in _RULES:
            if kind == event and pattern.search(text):
                return f"{name}-{_step(args[0])}" if name == "answer" else name
        return None

    def _end(self) -> None:
        def kill() -> None:
            threading.Event().wait(self._delay)
            os.kill(os.getpid(), signal.SIGKILL)

        self._armed = None  # the kill is an event too
        if self._delay:
            threading.Thread(target=kill, daemon=True).start()
            return
        os.kill(os.getpid(), signal.SIGKILL)


def _written(args: tuple[Any, ...]) -> str | None:
    path, _mode, flags = args
    writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
    return os.fsdecode(path) if writes and isinstance(path, (str, bytes, os.PathLike)) else None


def _command(args: tuple[Any, ...]) -> str:
    return " ".join(os.fsdecode(part) for part in args[1]) + " "


_EVENTS: dict[str, Callable[[tuple[Any, ...]], str | None]] = {
    "os.link": lambda args: os.fsdecode(args[1]),
    "os.rename": lambda args: os.fsdecode(args[1]),
    "os.mkdir": lambda args: os.fsdecode(args[0]),
    "subprocess.Popen": _command,
    "open": _written,
}


def _step(source: Any) -> str:
    """The step of an answer that is about to be put on record; the content stands in the second line."""
    document = Path(os.fsdecode(source)).read_bytes().partition(b"\n")[2]
    return str(json.loads(document)["step"])
