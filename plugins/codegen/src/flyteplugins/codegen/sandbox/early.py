"""Sandboxes that are started before their jobs are known, so that no job waits for an interpreter and its imports."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from flyteplugins.codegen.sandbox.contract import At, Job, Outcome, Python, Start

MOST_WAITING: Final = 6
"""How many sandboxes of one event loop may wait for jobs at one time, of all runtimes together."""

_slots: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()


class DoesNotFitError(Exception):
    """A waiting sandbox can't take a job after all; the job has not begun."""


class Waiting(Protocol):
    """A sandbox that waits for its job."""

    async def run(self, job: Job) -> Outcome:
        """Run the job, as `Runtime.run` does; raises DoesNotFitError where it has not begun."""
        ...

    async def close(self) -> None:
        """Leave nothing of the sandbox behind."""
        ...


@dataclass(frozen=True)
class _Started:
    start: Start
    begun: asyncio.Event
    task: asyncio.Task[Waiting]


class EarlyStarts:
    """The waiting sandboxes of one runtime.

    Args:
        begin: Starts one.
    """

    def __init__(self, begin: Callable[[Start], Awaitable[Waiting]]) -> None:
        self._begin = begin
        self._started: list[_Started] = []

    def add(self, start: Start) -> None:
        """Start a sandbox, as soon as not too many wait."""
        begun = asyncio.Event()
        self._started.append(_Started(start, begun, asyncio.create_task(self._start(start, begun))))

    async def run(self, job: Job) -> Outcome | None:
        """Run a job in the sandbox that fits it best; None where there is none, and nothing was run."""
        for prelude in job.preludes:
            for started in self._started:
                if started.start.prelude == prelude and started.begun.is_set() and fits(started.start, job):
                    self._started.remove(started)
                    return await _run_in(started, job)
        return None

    async def close(self) -> None:
        """End those that got no job."""
        started, self._started = self._started, []
        for each in started:
            each.task.cancel()
        await asyncio.gather(*(_end(each) for each in started))

    async def _start(self, start: Start, begun: asyncio.Event) -> Waiting:
        slots = _slots_here()
        await slots.acquire()  # given back by whoever takes the sandbox
        begun.set()
        try:
            return await self._begin(start)
        except BaseException:
            slots.release()
            raise


def fits(start: Start, job: Job) -> bool:
    """Whether a sandbox that was started so can run a job, its prelude left aside."""
    count = len(start.python)
    rest = job.argv[count:]
    return (
        job.argv[:count] == start.python
        # What follows is the program, not another option of the interpreter.
        and bool(rest)
        and (isinstance(rest[0], At) or rest[0] in ("-m", "-c"))
        and (not start.program or rest == start.program)
        and {part.image for part in (*job.argv, *job.env.values()) if isinstance(part, Python)} <= _images(start)
        and dict(job.env) == dict(start.env)
        and (job.limits, job.network) == (start.limits, start.network)
    )


def _images(start: Start) -> set[str]:
    shown = (*start.python, *start.arguments, *start.env.values())
    return {part.image for part in shown if isinstance(part, Python)}


async def _run_in(started: _Started, job: Job) -> Outcome | None:
    try:
        await asyncio.wait({started.task})
    except asyncio.CancelledError:
        started.task.cancel()
        await _end(started)
        raise
    if started.task.exception() is not None:
        return None
    _slots_here().release()
    waiting = started.task.result()
    try:
        return await waiting.run(job)
    except DoesNotFitError:
        return None
    finally:
        await waiting.close()


async def _end(started: _Started) -> None:
    await asyncio.wait({started.task})
    if not started.task.cancelled() and started.task.exception() is None:
        _slots_here().release()
        await started.task.result().close()


def _slots_here() -> asyncio.Semaphore:
    return _slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(MOST_WAITING))
