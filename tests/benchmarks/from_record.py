"""The same generation again: in the same process, and in a new one.

make bench
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import measure
import workload
from slow_endpoint import endpoint

BASE = "import flyte, flyte.io, flyte.sandbox"
NUMBER = 7


def generate(url: str) -> Any:
    """The generation; returns its result."""
    from flyteplugins.codegen import AutoCoderAgent

    asked = workload.request(NUMBER, measure.HOME / "sales.csv")
    return AutoCoderAgent(name="bench", model="openai/bench", api_base=url).generate(**asked)


def main() -> None:
    measure.set_up()
    workload.sample(measure.HOME)
    with endpoint(0.0) as server:
        first = generate(server.url)
        again = []
        for _ in range(21):
            started = time.perf_counter()
            served = generate(server.url)
            again.append(time.perf_counter() - started)
        base, whole = [], []
        measure.process("-c", BASE)
        for _ in range(7):
            base.append(measure.process("-c", BASE)[0])
            whole.append(measure.process(str(Path(__file__)), server.url)[0])
    over = [one - two for one, two in zip(whole, base, strict=True)]
    measure.head("The same generation again, in seconds")
    measure.row("generate(), the same process", again, 0.05)
    measure.row("a new process", whole)
    measure.row(f"`{BASE}`", base)
    measure.row("a new process, over that", over, 0.3)
    calls = sum(server.calls.values())
    measure.told("model calls of all of these together", f"{calls}", calls == 3)
    same = served.solution == first.solution and served.tests == first.tests
    measure.told("the same code and tests", "yes" if same else "no", same)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        if not generate(sys.argv[1]).success:
            raise SystemExit("The generation failed.")
    else:
        main()
