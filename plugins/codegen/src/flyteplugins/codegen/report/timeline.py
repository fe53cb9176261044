"""The steps of a generation in time, put together from its events."""

from __future__ import annotations

import threading
from typing import Final, Literal, TypeAlias

from flyteplugins.codegen.core.events import (
    AttemptFinished,
    CheckFinished,
    EnvironmentReady,
    Event,
    GenerationFinished,
    ModelAnswered,
    ReviewAnswered,
    ReviewAsked,
    StepStarted,
)
from flyteplugins.codegen.core.history import Span
from flyteplugins.codegen.report.words import decision_of

_PROFILE: Final = "profile"
"""The one step that others follow without a word of its end."""

_Kind: TypeAlias = Literal["model", "environment", "check", "other"]

_KINDS: Final[dict[str, _Kind]] = {_PROFILE: "other", "environment": "environment", "checks": "check"}
"""Who does a step; those of any other name are a model's."""


class Timeline:
    """Takes events in and keeps the span of each step, also of steps side by side."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._open: list[int] = []
        self._latest = 0.0
        self._lock = threading.Lock()

    def on_event(self, event: Event) -> None:
        """Take an event in; called from whichever thread it happens in.

        Args:
            event: What happened, and when.
        """
        with self._lock:
            self._take(event)
            self._latest = max(self._latest, event.at)

    @property
    def spans(self) -> list[Span]:
        """The steps so far in the order in which they began; one that still runs ends at the latest event."""
        with self._lock:
            spans = list(self._spans)
            for index in self._open:
                spans[index] = spans[index].model_copy(update={"end": max(spans[index].start, self._latest)})
        # By the order in which they were told where they began at the same time.
        return sorted(spans, key=lambda span: span.start)

    @property
    def running(self) -> list[Span]:
        """The steps that run now, in the order in which they began."""
        with self._lock:
            return [self._spans[index] for index in self._open]

    def _take(self, event: Event) -> None:
        if isinstance(event, StepStarted):
            self._end_profile(event.at)
            kind = _KINDS.get(event.step, "model")
            self._spans.append(Span(step=event.step, kind=kind, attempt=event.attempt, start=event.at, end=event.at))
            self._open.append(len(self._spans) - 1)
        elif isinstance(event, ModelAnswered):
            self._finish(event, event.step, "model", event.seconds, _tokens(event), served=event.served)
        elif isinstance(event, EnvironmentReady):
            packages = ", ".join(event.packages) or "no packages"
            self._finish(event, "environment", "environment", event.seconds, packages)
        elif isinstance(event, CheckFinished):
            passed = "passed" if event.passed else "failed"
            detail = f"{passed}: {event.detail}" if event.detail else passed
            self._finish(event, event.stage, "check", event.seconds, detail)
        elif isinstance(event, ReviewAsked):
            self._spans.append(Span(step="review", attempt=event.attempt, start=event.at, end=event.at))
            self._open.append(len(self._spans) - 1)
        elif isinstance(event, ReviewAnswered):
            waited = "" if event.served else f", which took {event.seconds:.0f} s that are not counted"
            self._finish(event, "review", "other", 0.0, f"{decision_of(event)}{waited}", served=event.served)
        elif isinstance(event, (AttemptFinished, GenerationFinished)):
            # None of what still runs said that it is done.
            for index in self._open:
                self._close(index, event.at, detail="did not finish")
            self._open.clear()

    def _finish(
        self, event: Event, step: str, kind: _Kind, seconds: float, detail: str, *, served: bool = False
    ) -> None:
        """End a step; one that was not announced began `seconds` ago."""
        for index in self._open:
            if (self._spans[index].step, self._spans[index].attempt) == (step, event.attempt):
                self._open.remove(index)
                break
        else:
            self._spans.append(Span(step=step, attempt=event.attempt, start=max(0.0, event.at - seconds)))
            index = len(self._spans) - 1
        self._close(index, event.at, kind=kind, detail=detail, served=served)

    def _end_profile(self, at: float) -> None:
        for index in [index for index in self._open if self._spans[index].step == _PROFILE]:
            self._open.remove(index)
            self._close(index, at)

    def _close(self, index: int, at: float, **update: object) -> None:
        span = self._spans[index]
        self._spans[index] = span.model_copy(update={"end": max(span.start, at), **update})


def _tokens(event: ModelAnswered) -> str:
    return f"{event.input_tokens:,} tokens in, {event.output_tokens:,} out"
