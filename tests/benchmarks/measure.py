"""What the benchmarks share: a state folder of their own, a table, and new processes."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
HOME = HERE.parents[1] / ".work" / "bench"
"""Kept between runs: building the environments is no part of what is measured."""

PUBLISHED = "published plugin 2.12.1, measured earlier on 2 cores"


def set_up() -> None:
    """A state folder with environments and nothing else; nothing asks a network."""
    HOME.mkdir(parents=True, exist_ok=True)
    for entry in HOME.iterdir():
        if entry.name not in {"environments", "locks"}:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    os.environ |= {
        "FLYTEPLUGINS_CODEGEN_HOME": str(HOME),
        "HOME": str(HOME / "user"),
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR") or str(Path.home() / ".cache" / "uv"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "DO_NOT_TRACK": "1",
    }
    (HOME / "user").mkdir()


def say(line: str = "") -> None:
    """Write a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def head(title: str) -> None:
    """The head of a table."""
    say(f"\n{title}\n{'':44}{'median':>9}{'min':>9}{'max':>9}{'limit':>9}")


def row(name: str, seconds: Sequence[float], limit: float | None = None) -> None:
    """A row of a table, in seconds."""
    median = statistics.median(seconds)
    verdict = "" if limit is None else f"{limit:9.3f}  {'met' if median <= limit else 'NOT MET'}"
    say(f"{name:44}{median:9.3f}{min(seconds):9.3f}{max(seconds):9.3f}{verdict}")


def told(name: str, value: str, met: bool | None = None) -> None:
    """A row that is no time."""
    say(f"{name:44}{value:>27}" + ("" if met is None else f"{'':9}  {'met' if met else 'NOT MET'}"))


def process(*arguments: str) -> tuple[float, str]:
    """Run a Python program in a new process; returns its wall time in seconds and what it printed."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True, cwd=HERE)
    return time.perf_counter() - started, done.stdout
