"""A hundred generations at once in one process: different ones, then all the same; an answer takes 0.1 s.

One before them loads litellm and the rest, as in a process that goes on generating; it is not counted.

make bench
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import measure
import workload
from slow_endpoint import endpoint

COUNT = 100
ANSWER = 0.1
MEMORY = 400
SHARE = 0.8
FIRST = 3  # calls of the one before


class Watch:
    """Looks at the process from a thread of its own.

    Attributes:
        threads: Most threads at one time.
        files: Most open files at one time.
    """

    def __init__(self) -> None:
        self.threads = self.files = 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.05):
            self.threads = max(self.threads, threading.active_count() - 1)
            self.files = max(self.files, sum(1 for _ in Path("/proc/self/fd").iterdir()))


async def lags(until: asyncio.Event, found: list[float]) -> None:
    """How late the loop comes to a task that is ready, every 10 ms."""
    while not until.is_set():
        began = time.perf_counter()
        await asyncio.sleep(0.01)
        found.append(time.perf_counter() - began - 0.01)


async def at_once(url: str, numbers: list[int]) -> dict[str, Any]:
    """Generate, all at once, on the loop that Flyte has for all; returns what was seen."""
    from flyteplugins.codegen import AutoCoderAgent
    from flyteplugins.codegen.checks.turns import AT_ONCE, turns

    sales = workload.sample(measure.HOME)
    agent = AutoCoderAgent(name="bench", model="openai/bench", api_base=url)
    await agent.generate.aio(**workload.request(numbers[0] - 1, sales))
    ended, late = asyncio.Event(), [0.0]
    lag = asyncio.create_task(lags(ended, late))
    busy, started = turns().busy_seconds, time.perf_counter()
    with Watch() as watch:
        results = await asyncio.gather(
            *(agent.generate.aio(**workload.request(number, sales)) for number in numbers), return_exceptions=True
        )
    seconds = time.perf_counter() - started
    ended.set()
    await lag
    wrong = [
        str(result) if isinstance(result, BaseException) else result.error or "another's code"
        for number, result in zip(numbers, results, strict=True)
        if isinstance(result, BaseException) or not result.success or f"OFFSET = {number}\n" not in result.solution.code
    ]
    return {
        "seconds": seconds,
        "wrong": wrong,
        "at_once": AT_ONCE,
        "used": (turns().busy_seconds - busy) / AT_ONCE / seconds,
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "threads": watch.threads,
        "files": watch.files,
        "lag": max(late),
        "usual_lag": sorted(late)[len(late) // 2],
    }


def in_one_process(url: str, same: bool) -> dict[str, Any]:
    """Generate in a new process."""
    _, printed = measure.process(str(Path(__file__)), url, "same" if same else "different")
    seen: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return seen


def tell(seen: dict[str, Any], calls: int, expected: int) -> None:
    """Print what was seen."""
    right = COUNT - len(seen["wrong"])
    measure.told("seconds", f"{seen['seconds']:.1f}")
    measure.told("each with its own answer", f"{right} of {COUNT}", right == COUNT)
    measure.told("model calls", f"{calls}", calls == expected)
    measure.told("peak memory of the process, MB", f"{seen['memory']:.0f} (limit {MEMORY})", seen["memory"] < MEMORY)
    measure.told("most threads, most open files", f"{seen['threads']}, {seen['files']}")
    measure.told("lag of the event loop, median and longest", f"{seen['usual_lag']:.3f}, {seen['lag']:.3f}")
    for line in seen["wrong"][:3]:
        measure.say(f"  {line[:200]}")


def main() -> None:
    measure.set_up()
    with endpoint(0.0) as warm_up:  # builds what is missing
        in_one_process(warm_up.url, True)
    with endpoint(ANSWER) as server:
        seen = in_one_process(server.url, False)
    measure.say(f"\n{COUNT} generations at once in one process, an answer takes {ANSWER:g} s: all different")
    tell(seen, sum(server.calls.values()) - FIRST, 3 * COUNT)
    measure.told(
        f"use of the sandbox's concurrency of {seen['at_once']}",
        f"{seen['used']:.0%} (at least {SHARE:.0%})",
        seen["used"] >= SHARE,
    )
    measure.told("generations a second", f"{COUNT / seen['seconds']:.2f}")
    measure.set_up()
    with endpoint(ANSWER) as server:
        seen = in_one_process(server.url, True)
    measure.say(f"\n{COUNT} generations at once in one process: all the same")
    tell(seen, sum(server.calls.values()) - FIRST, 3)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        from flyteplugins.codegen.core.sync import BoundTwoFaced

        numbers = [1] * COUNT if sys.argv[2] == "same" else list(range(1000, 1000 + COUNT))
        sys.stdout.write(json.dumps(BoundTwoFaced(at_once)(sys.argv[1], numbers)) + "\n")
    else:
        main()
