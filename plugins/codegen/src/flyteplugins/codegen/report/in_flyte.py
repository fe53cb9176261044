"""The report in Flyte: a tab of the task that generates, which grows while it does."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Collection
from types import TracebackType
from typing import Final

from flyteplugins.codegen.core.events import AttemptFinished, Event, ModelAnswered
from flyteplugins.codegen.core.history import Attempt
from flyteplugins.codegen.core.receipt import Receipt
from flyteplugins.codegen.core.result import CodeGenEvalResult, Origin, RunDefaults
from flyteplugins.codegen.core.usage import StepUsage, Usage
from flyteplugins.codegen.report.timeline import Timeline

logger: Final = logging.getLogger("flyteplugins.codegen")

TAB: Final = "Code generation"

_SECONDS_BETWEEN: Final = 2.0
"""How long a page stands at least before a newer one takes its place; each is a file in the object store."""

_SECONDS_TO_WRITE: Final = 20.0
"""How long the last page may take: a store that does not answer holds no generation up for longer."""


class FlyteReport:
    """Shows a generation in a tab of the report of the Flyte task that it was started in; nothing outside of one.

    A context manager around the generation: one that ends with an error is shown with it.

    Flyte keeps and shows reports of tasks with `report=True`; of others what is written here is lost. A report that
    can't be made or written is told in the log and fails nothing.

    Args:
        name: Name of the agent.
        prompt: What was asked.
    """

    def __init__(self, name: str, prompt: str) -> None:
        from flyte._context import internal_ctx  # flyte has no public word for "inside a task"

        self._name = name
        self._prompt = prompt
        self._timeline = Timeline()
        self._attempts: list[Attempt] = []
        self._usage = Usage()
        self._seconds = 0.0
        self._lock = threading.Lock()
        self._writing: asyncio.Task[None] | None = None
        self._stale = False
        self._tab: str | None = None
        # Checks and builds are tasks of their own, with reports of their own; the one meant is the task around them.
        self._context = contextvars.copy_context() if internal_ctx().is_task_context() else None

    def on_event(self, event: Event) -> None:
        """Take an event in, and show it before long.

        Args:
            event: What happened.
        """
        if self._context is None:
            return
        with self._lock:
            self._take(event)
            self._stale = True
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # the next event, or the end, brings this one along
        if self._writing is None or self._writing.done():
            self._writing = self._context.run(loop.create_task, self._keep_up())

    async def finish(self, result: CodeGenEvalResult) -> None:
        """Show how it ended.

        Args:
            result: What the generation hands back.
        """
        await self._stop()
        await self._write_last(result)

    async def __aenter__(self) -> FlyteReport:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()
        if isinstance(error, Exception):
            with self._lock:
                so_far = self._so_far()
            await self._write_last(so_far.model_copy(update={"error": str(error) or type(error).__name__}))

    async def _stop(self) -> None:
        if self._writing:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
            self._writing = None

    async def _write_last(self, result: CodeGenEvalResult) -> None:
        if self._context is None:
            return
        writing = self._context.run(asyncio.get_running_loop().create_task, self._write(result, running=False))
        await asyncio.wait({writing}, timeout=_SECONDS_TO_WRITE)
        if not writing.done():
            writing.cancel()
            logger.warning("The report in Flyte could not be written within %.0f s.", _SECONDS_TO_WRITE)

    def _take(self, event: Event) -> None:
        self._timeline.on_event(event)
        self._seconds = max(self._seconds, event.at)
        if isinstance(event, ModelAnswered):
            call = StepUsage(
                calls=1,
                input_tokens=event.input_tokens,
                output_tokens=event.output_tokens,
                cached_tokens=event.cached_tokens,
                cost=event.cost,
                seconds=event.seconds,
            )
            self._usage = self._usage.plus(event.step, call)
        elif isinstance(event, AttemptFinished):
            attempt = Attempt(
                number=event.attempt,
                code="",
                passed=event.passed,
                error_type=event.error_type,
                reason=event.reason,
            )
            self._attempts.append(attempt)

    async def _keep_up(self) -> None:
        while self._stale:
            self._stale = False
            began = time.monotonic()
            with self._lock:
                so_far = self._so_far()
            await self._write(so_far, running=True)
            await asyncio.sleep(max(0.0, _SECONDS_BETWEEN - (time.monotonic() - began)))

    def _so_far(self) -> CodeGenEvalResult:
        total = self._usage.total
        return CodeGenEvalResult(
            success=False,
            attempts=len(self._attempts),
            defaults=RunDefaults(name=self._name),
            origin=Origin(prompt=self._prompt),
            timeline=self._timeline.spans,
            history=list(self._attempts),
            usage=self._usage,
            receipt=Receipt(
                calls=total.calls,
                input_tokens=total.input_tokens,
                output_tokens=total.output_tokens,
                cost=total.cost,
                seconds=self._seconds,
            ),
        )

    async def _write(self, result: CodeGenEvalResult, *, running: bool) -> None:
        """Put the page into the tab and have Flyte write its report; runs in the context of the task."""
        import flyte.report

        try:
            self._tab = self._tab or _free_tab(flyte.report.current_report().tabs)
            tab = flyte.report.get_tab(self._tab)
            tab.replace(await asyncio.to_thread(_page, result, running, self._tab))
            await flyte.report.flush.aio()
        except Exception as error:  # whatever a store or another version of Flyte does: it is not what was asked for
            logger.warning("The report in Flyte could not be written: %s", error)


def _free_tab(taken: Collection[str]) -> str:
    """A tab of its own for each generation of a task."""
    name, number = TAB, 1
    while name in taken:
        number += 1
        name = f"{TAB} {number}"
    return name


def _page(result: CodeGenEvalResult, running: bool, tab: str) -> str:
    from flyteplugins.codegen.report import html

    # All tabs are parts of one page, in which an anchor stands for one place.
    anchors = tab.lower().replace(" ", "-")
    shown = html.fragment(result, running=running, light=True, anchors=anchors)
    return f"<style>{html.stylesheet()}</style>\n{shown}"
