"""The log of a generation: through the standard library, under `flyteplugins.codegen`, a line an iteration."""

from __future__ import annotations

import logging
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
from flyteplugins.codegen.report.words import cost_of, count_of, decision_of, one_line, retry_of

logger: Final = logging.getLogger("flyteplugins.codegen")
# Where nobody set up logging, Python would print warnings; they are for the log, and the live view shows them anyway.
logger.addHandler(logging.NullHandler())


def log_event(event: Event) -> None:
    """Write an event to the log.

    Attempts, the end and what a person should know are INFO, waiting for a model is a WARNING, single steps are DEBUG.

    Args:
        event: What happened.
    """
    level, text = _line(event)
    # What a model or a program wrote can't begin a line of its own in the log.
    logger.log(level, "%s", one_line(text))


def _line(event: Event) -> tuple[int, str]:
    if isinstance(event, AttemptFinished):
        return logging.INFO, f"attempt {event.attempt}: {verdict_of(event)}"
    if isinstance(event, GenerationFinished):
        return logging.INFO, _ended(event)
    if isinstance(event, Note):
        return logging.INFO, event.message
    if isinstance(event, ReviewAsked):
        return logging.INFO, f"a person is asked to approve the {event.kind}, version {event.number}: {event.channel}"
    if isinstance(event, ReviewAnswered):
        return logging.INFO, f"{decision_of(event)}, after {event.seconds:.0f} s"
    if isinstance(event, ModelRetried):
        return logging.WARNING, retry_of(event)
    return logging.DEBUG, f"attempt {event.attempt}: {_step(event)}"


def verdict_of(event: AttemptFinished) -> str:
    """What an attempt came to: whether it passed, else the kind of error, the reason and the packages added.

    Args:
        event: The attempt.

    Returns:
        A line of text.
    """
    if event.passed and event.error_type is None:
        return "passed"
    added = f" (adds {', '.join(event.added_packages)})" if event.added_packages else ""
    said = f"{event.error_type or 'failed'}: {event.reason or 'no reason was given'}{added}"
    return f"passed, with advice: {said}" if event.passed else said


def _ended(event: GenerationFinished) -> str:
    outcome = "done" if event.success else f"failed: {event.error or 'no reason was given'}"
    if event.served:
        return f"{outcome}, all of it from the record"
    used = f"{count_of(event.calls, 'model call')}, {event.input_tokens:,} tokens in, {event.output_tokens:,} out"
    return f"{outcome}, {used}, {cost_of(event.cost)}, {event.seconds:.1f} s"


def _step(event: Event) -> str:
    if isinstance(event, StepStarted):
        return f"{event.step} begins"
    if isinstance(event, ModelAnswered):
        source = "the record" if event.served else event.model or "the model"
        tokens = f"{event.input_tokens:,} tokens in, {event.output_tokens:,} out"
        return f"{event.step} answered by {source}, {tokens}, {event.seconds:.1f} s"
    if isinstance(event, EnvironmentReady):
        return f"environment {event.image} with {', '.join(event.packages) or 'no packages'}, {event.seconds:.1f} s"
    if isinstance(event, CheckFinished):
        return f"{event.stage} {'passed' if event.passed else 'failed'}: {event.detail}, {event.seconds:.1f} s"
    return type(event).__name__
