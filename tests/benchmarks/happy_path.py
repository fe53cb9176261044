"""The happy path with a model that takes 2 s an answer, and with one that answers at once.

    make bench

The model is a server on loopback, in another process; environments are built before.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import count
from pathlib import Path

import measure
import workload
from slow_endpoint import endpoint

ANSWER = 2.0
SEQUENTIAL = 2  # the plan, then the code beside the tests
MORE = 0.3
_numbers = count(int(time.time()) % 1_000_000 * 1000)  # no request is one that was made before


def generate(url: str, *, pandas: bool = False, constraints: bool = False) -> float:
    """One generation in this process; returns its seconds."""
    from flyteplugins.codegen import AutoCoderAgent

    number = next(_numbers)
    asked = workload.request(number, workload.sample(measure.HOME), pandas=pandas)
    if constraints:
        asked["constraints"] = workload.CONSTRAINTS
    started = time.perf_counter()
    result = AutoCoderAgent(name="bench", model="openai/bench", api_base=url).generate(**asked)
    seconds = time.perf_counter() - started
    if not result.success or f"OFFSET = {number}\n" not in result.solution.code:
        raise SystemExit(f"The generation failed: {result.error}")
    return seconds


def cold(url: str) -> tuple[float, float]:
    """One generation in a new process; returns the seconds of `generate()` and of the process."""
    whole, printed = measure.process(str(Path(__file__)), url)
    return float(json.loads(printed)), whole


def main() -> None:
    measure.set_up()
    limit = SEQUENTIAL * ANSWER + MORE
    with endpoint(0.0) as at_once:
        for pandas in (False, True):  # builds what is missing
            generate(at_once.url, pandas=pandas)
        measure.head("The happy path, in seconds: an answer takes no time")
        measure.row("generate(), warm", [generate(at_once.url) for _ in range(7)])
        measure.row("generate(), warm, pandas", [generate(at_once.url, pandas=True) for _ in range(5)])
        runs = [cold(at_once.url) for _ in range(2)]
        measure.row("generate(), cold", [seconds for seconds, _ in runs])
        measure.row("the whole process", [whole for _, whole in runs])
        measure.say(f"{measure.PUBLISHED}: generate() 1.0-1.2, the whole process 4.4-5.2")
    with endpoint(ANSWER) as slow:
        measure.head(f"The happy path, in seconds: an answer takes {ANSWER:g} s")
        warm = [generate(slow.url) for _ in range(3)]
        measure.row("generate(), warm", warm, limit)
        measure.row("generate(), warm, pandas", [generate(slow.url, pandas=True) for _ in range(2)])
        runs = [cold(slow.url) for _ in range(2)]
        measure.row("generate(), cold", [seconds for seconds, _ in runs])
        measure.row("the whole process", [whole for _, whole in runs])
    generations = len(warm) + 2 + len(runs)
    calls = sum(slow.calls.values()) / generations
    with endpoint(ANSWER) as slow:
        with_constraints = generate(slow.url, constraints=True)
        measure.row("generate(), warm, with constraints", [with_constraints], limit)
    measure.told("model calls", f"{calls:g}", calls <= 3)
    calls = sum(slow.calls.values())
    measure.told("model calls, with constraints", f"{calls:g}", calls <= 4)
    in_a_row = int(with_constraints / ANSWER)
    measure.told("of them one after another", f"{in_a_row}", in_a_row <= 3)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.stdout.write(json.dumps(generate(sys.argv[1])))
    else:
        main()
