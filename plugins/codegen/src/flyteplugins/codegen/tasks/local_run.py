"""A local Flyte run around work that was started outside one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from flyte._context import internal_ctx  # flyte has no public word for "inside a task"

from flyteplugins.codegen.tasks.step import Step

T = TypeVar("T")


async def in_run(work: Callable[[], Awaitable[T]], name: str = "codegen") -> T:
    """Do `work` inside a Flyte run: the one that goes on, else a local one of its own.

    No `flyte.init()` is needed, and one that the user did or does later is left as it is.

    Args:
        work: What to do; it may call tasks. Where Flyte can't keep its files, it is done outside a run.
        name: What the run is called.

    Returns:
        What `work` returns; what it raises is raised as it is.
    """
    if internal_ctx().is_task_context():
        return await work()
    failure: list[Exception] = []

    async def kept() -> T | None:
        # An exception would cross Flyte as another one, with a traceback in the log; this one is the user's to see.
        try:
            return await work()
        except Exception as error:
            failure.append(error)
            return None

    result = await Step(name, kept).submit()
    if failure:
        raise failure[0]
    return result  # type: ignore[return-value] # None only where it failed, or where T is None
