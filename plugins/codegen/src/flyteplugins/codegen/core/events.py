"""What is told while a generation runs. The live view, the log and `on_event` all read these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes:
        attempt: The attempt it belongs to, counted from 1; 0 before the first.
    """

    attempt: int


@dataclass(frozen=True)
class StepStarted(Event):
    """A step began: `profile`, `plan`, `code`, `tests`, `constraints`, `diagnosis`, `environment`, `checks`, ..."""

    step: str


@dataclass(frozen=True)
class ModelAnswered(Event):
    """A model step has its answer; tokens and cost (US dollars, None where unknown) are of all its calls."""

    step: str
    input_tokens: int
    output_tokens: int
    cost: float | None
    seconds: float


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


@dataclass(frozen=True)
class AttemptFinished(Event):
    """An attempt is judged; `error_type` is None where it passed."""

    passed: bool
    error_type: Literal["logic", "environment", "test_error"] | None
    reason: str
    added_packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Note(Event):
    """Something a person should know and need not act on, such as the runtime that was chosen and why."""

    message: str
