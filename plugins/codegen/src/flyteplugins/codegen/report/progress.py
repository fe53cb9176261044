"""What a generation is doing and has done, put together from its events."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from flyteplugins.codegen.core.events import (
    AttemptFinished,
    CheckFinished,
    EnvironmentReady,
    Event,
    GenerationFinished,
    ModelAnswered,
    ModelRetried,
    Note,
    ReviewAnswered,
    ReviewAsked,
    StepStarted,
)
from flyteplugins.codegen.report.words import decision_of, retry_of

_PROFILE: Final = "profile"
"""The one step that others follow without a word of its end."""


@dataclass(frozen=True)
class Row:
    """One step, running or finished, or something to be told between the steps.

    Attributes:
        attempt: The attempt it belongs to, counted from 1; 0 before the first.
        step: Name of the step; empty for a note.
        started: When it began, in seconds on the clock of the caller.
        seconds: How long it took; None while it runs, and for what takes no time.
        running: Whether it has not ended yet.
        passed: False where it ended with something wrong.
        input_tokens: Tokens sent.
        output_tokens: Tokens received.
        detail: What came of it.
    """

    attempt: int
    step: str
    started: float
    seconds: float | None = None
    running: bool = False
    passed: bool = True
    input_tokens: int = 0
    output_tokens: int = 0
    detail: str = ""


@dataclass
class Progress:
    """Takes events in and gives the rows that are finished out.

    Attributes:
        running: The steps that run now, in the order in which they began.
        calls: Model steps that were answered.
        served: Those of them that the record had.
        input_tokens: Tokens sent so far.
        output_tokens: Tokens received so far.
        cost: US dollars so far; None once the price of an answer is not known.
        attempt: The attempt that runs.
        latest: When the latest event was.
    """

    running: list[Row] = field(default_factory=list)
    calls: int = 0
    served: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = 0.0
    attempt: int = 0
    latest: float | None = None

    def take(self, event: Event, now: float) -> list[Row]:
        """Take an event in.

        Args:
            event: What happened.
            now: When, in seconds on any clock that only goes forward.

        Returns:
            What is finished with it, in order.
        """
        self.attempt = max(self.attempt, event.attempt)
        try:
            return self._take(event, now)
        finally:
            self.latest = now

    def _take(self, event: Event, now: float) -> list[Row]:
        if isinstance(event, StepStarted):
            ended = [self._finish(event, _PROFILE, now)] if any(row.step == _PROFILE for row in self.running) else []
            self.running.append(Row(event.attempt, event.step, now, running=True))
            return ended
        if isinstance(event, ModelAnswered):
            return [self._answered(event, now)]
        if isinstance(event, ModelRetried):
            return [self._retried(event, now)]
        if isinstance(event, EnvironmentReady):
            packages = ", ".join(event.packages) or "no packages"
            return [replace(self._finish(event, "environment", now), seconds=event.seconds, detail=packages)]
        if isinstance(event, CheckFinished):
            row = self._finish(event, event.stage, now)
            return [
                replace(row, seconds=event.seconds or row.seconds, passed=event.passed, detail=event.detail),
            ]
        if isinstance(event, ReviewAsked):
            self.running.append(
                Row(event.attempt, "review", now, running=True, detail=f"{event.kind}: waits for a person")
            )
        if isinstance(event, ReviewAnswered):
            row = replace(self._finish(event, "review", now), passed=event.verdict != "rejected")
            return [replace(row, seconds=event.seconds, detail=decision_of(event))]
        if isinstance(event, AttemptFinished):
            return [*self.end(now), self._judged(event, now)]
        if isinstance(event, GenerationFinished):
            told = "All of it is from the record: nothing was asked, built or run."
            return [*self.end(now), *([Row(event.attempt, "", now, detail=told)] if event.served else [])]
        return [Row(event.attempt, "", now, detail=event.message)] if isinstance(event, Note) else []

    def end(self, now: float) -> list[Row]:
        """End the steps that still run: what they belong to is over, and none of them said that it is done.

        Args:
            now: When.

        Returns:
            Their rows.
        """
        rows = [
            replace(row, running=False, seconds=now - row.started, passed=False, detail="did not finish")
            for row in self.running
        ]
        self.running.clear()
        return rows

    def _answered(self, event: ModelAnswered, now: float) -> Row:
        self.calls += 1
        self.served += event.served
        self.input_tokens += event.input_tokens
        self.output_tokens += event.output_tokens
        self.cost = None if self.cost is None or event.cost is None else self.cost + event.cost
        return replace(
            self._finish(event, event.step, now),
            seconds=event.seconds,
            input_tokens=event.input_tokens,
            output_tokens=event.output_tokens,
            detail="from the record" if event.served else "",
        )

    def _retried(self, event: ModelRetried, now: float) -> Row:
        """What is told of a call that is made again; the step goes on and shows that it waits."""
        waits = "waits to ask again" if event.wait_seconds else "asks again"
        self.running = [replace(row, detail=waits) if row.step == event.step else row for row in self.running]
        return Row(event.attempt, "", now, detail=retry_of(event))

    def _finish(self, event: Event, step: str, now: float) -> Row:
        """The row of a step that ends; one that was not announced began when the one before it ended."""
        for row in self.running:
            if row.step == step:
                self.running.remove(row)
                return replace(row, running=False, seconds=now - row.started, detail="")
        began = now if self.latest is None else self.latest
        return Row(event.attempt, step, began, seconds=now - began)

    def _judged(self, event: AttemptFinished, now: float) -> Row:
        if event.passed:
            detail = event.reason
        else:
            at_fault = f"{event.error_type}: " if event.error_type else ""
            added = f" (adds {', '.join(event.added_packages)})" if event.added_packages else ""
            detail = f"{at_fault}{event.reason}{added}"
        return Row(event.attempt, "attempt", now, passed=event.passed, detail=detail)
