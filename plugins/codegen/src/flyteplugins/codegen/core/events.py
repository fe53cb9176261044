"""What is told while a generation runs. The live view, the log and `on_event` all read these."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from flyteplugins.codegen.core.result import CodeGenEvalResult


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        attempt: The attempt it belongs to, counted from 1; 0 before the first.
        at: Seconds since the generation began.
    """

    attempt: int
    at: float = field(default=0.0, kw_only=True)


@dataclass(frozen=True)
class StepStarted(Event):
    """A step began: `profile`, `plan`, `code`, `tests`, `constraints`, `diagnosis`, `environment`, `checks`, ..."""

    step: str


@dataclass(frozen=True)
class ModelAnswered(Event):
    """A model step has its answer; tokens and cost (US dollars, None where unknown) are of all its calls.

    `served` says that the record had the answer and nothing was asked; the figures are those of when it was.
    """

    step: str
    input_tokens: int
    output_tokens: int
    cost: float | None
    seconds: float
    cached_tokens: int = 0
    model: str = ""
    served: bool = False


@dataclass(frozen=True)
class ModelRetried(Event):
    """A model call failed in a way that may pass; it is made again after a wait, or of another model."""

    step: str
    model: str
    reason: str
    wait_seconds: float = 0.0


@dataclass(frozen=True)
class EnvironmentReady(Event):
    """An environment can be used; `image` is what the runtime calls it."""

    image: str
    packages: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class CheckFinished(Event):
    """A check of the solution is done; `stage` is `static`, `contract`, `tests` or `mutants`."""

    stage: str
    passed: bool
    detail: str
    seconds: float = 0.0


@dataclass(frozen=True)
class ReviewAsked(Event):
    """A person is asked to approve something; the generation's clock stands still until they answer.

    `kind` is `plan`, `code` or `packages`, `number` says which version of it, `channel` how they are asked: `callback`,
    `flyte` or `terminal`.
    """

    kind: str
    number: int
    channel: str


@dataclass(frozen=True)
class ReviewAnswered(Event):
    """What was decided; `verdict` is `approved`, `rejected` or `edited`.

    `by` is who decided where that is known, `seconds` how long they took. `timed_out` says that nobody answered and
    the default decision was taken; `served` that the record had a person's decision on the very same.
    """

    kind: str
    verdict: str
    reason: str
    by: str
    channel: str
    seconds: float
    timed_out: bool = False
    served: bool = False


@dataclass(frozen=True)
class AttemptFinished(Event):
    """An attempt is judged; `error_type` is None where it passed."""

    passed: bool
    error_type: Literal["logic", "environment", "test_error"] | None
    reason: str
    added_packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class GenerationFinished(Event):
    """The generation is over; `served` says that the record had all of it and nothing was done."""

    success: bool
    error: str | None
    calls: int
    input_tokens: int
    output_tokens: int
    cost: float | None
    seconds: float
    served: bool = False

    @classmethod
    def of(cls, result: CodeGenEvalResult, *, served: bool = False) -> GenerationFinished:
        """The end of the generation that gave a result.

        Args:
            result: The result.
            served: Whether the record had all of it.

        Returns:
            The event.
        """
        total = result.usage.total
        return cls(
            attempt=result.attempts,
            success=result.success,
            error=result.error,
            calls=total.calls,
            input_tokens=total.input_tokens,
            output_tokens=total.output_tokens,
            cost=total.cost,
            seconds=result.receipt.seconds,
            served=served,
        )


@dataclass(frozen=True)
class Note(Event):
    """Something a person should know and need not act on, such as the runtime that was chosen and why."""

    message: str
