"""What `from flyteplugins.codegen import AutoCoderAgent; AutoCoderAgent()` costs over what it builds on.

    make bench

The programs take turns, so that what else the machine does falls on all of them alike.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

ROUNDS = 5
QUIET = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}  # it would ask a server for prices
BASE = "import flyte, flyte.io, flyte.sandbox"
PROGRAMS = {
    "base": BASE,
    "ours": f"{BASE}\nfrom flyteplugins.codegen import AutoCoderAgent; AutoCoderAgent()",
    "litellm": f"{BASE}\nimport litellm",
}


def seconds(program: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, env=QUIET)
    return time.perf_counter() - started


def main() -> None:
    sys.stdout.write(f"Python {sys.version.split()[0]}, {ROUNDS} rounds, seconds: median (minimum)\n")
    for program in PROGRAMS.values():
        seconds(program)  # once for the bytecode
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(ROUNDS):
        for name, program in PROGRAMS.items():
            taken[name].append(seconds(program))
    base = statistics.median(taken["base"])
    for name, runs in taken.items():
        median = statistics.median(runs)
        more = "" if name == "base" else f"  +{median - base:.2f} s, {median / base:.2f} times the base"
        sys.stdout.write(f"{name:8} {median:.2f} ({min(runs):.2f}){more}\n")


if __name__ == "__main__":
    main()
