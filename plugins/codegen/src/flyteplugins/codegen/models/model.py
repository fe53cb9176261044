"""Asking a model for a typed answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import flyte

from flyteplugins.codegen.core.errors import AnswerCutOffError, InvalidAnswerError
from flyteplugins.codegen.core.events import Event, ModelAnswered, ModelRetried, StepStarted
from flyteplugins.codegen.models.answer import BadAnswerError, read_answer, schema_of
from flyteplugins.codegen.models.budget import Budget
from flyteplugins.codegen.models.completion import CUT_OFF, REFUSED, Completion, Provider, Waits
from flyteplugins.codegen.models.step import A, Message, Step
from flyteplugins.codegen.models.transcript import Entry, Transcript, history_of_answer

_QUOTED_CHARACTERS: Final = 40_000
"""How much of an unusable answer is sent back with the question for another."""


@dataclass(frozen=True)
class Usage:
    """What a model was used for so far.

    Attributes:
        calls: Answers received.
        input_tokens: Tokens sent.
        output_tokens: Tokens received.
        cost: US dollars, None where the price of any call is not known.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = 0.0

    def plus(self, completion: Completion) -> Usage:
        """The use with one more answer."""
        known = self.cost is not None and completion.cost is not None
        return Usage(
            calls=self.calls + 1,
            input_tokens=self.input_tokens + completion.input_tokens,
            output_tokens=self.output_tokens + completion.output_tokens,
            cost=(self.cost or 0.0) + (completion.cost or 0.0) if known else None,
        )


class Model:
    """A model that gives typed answers, within a budget, with every word on record.

    Several steps may be asked at once.

    Args:
        provider: Where answers come from.
        budget: What may be used.
        transcript: Where each call is recorded before its answer is used.
        on_event: Told of each step that starts and each that is answered.

    Attributes:
        usage: What was used so far.
        history: Every message to and from the model, in order, as plain data.
    """

    def __init__(
        self,
        provider: Provider,
        budget: Budget,
        transcript: Transcript,
        on_event: Callable[[Event], None] | None = None,
    ) -> None:
        self.provider = provider
        self.budget = budget
        self.transcript = transcript
        self.usage = Usage()
        self.history: list[dict[str, Any]] = []
        self._on_event = on_event or (lambda event: None)
        self._calls = 0

    async def ask(self, step: Step[A], messages: Sequence[Message], *, attempt: int = 0) -> A:
        """Ask for an answer; an unusable one is asked for again once, quoting what was wrong.

        Args:
            step: What is asked, and the type of its answer.
            messages: The conversation so far.
            attempt: The attempt it belongs to, counted from 1; 0 before the first.

        Returns:
            The validated answer.

        Raises:
            InvalidAnswerError: Both answers were unusable.
            AnswerCutOffError: Both answers were unusable and the second was cut off.
            BudgetExceededError: A limit is reached.
            ModelUnavailableError: No answer within the deadline and the retries.
            ModelRefusedError: The endpoint refuses the key, the model, the address or the request.
            ReplayError: A recording has no more answers for the step.
        """
        self._on_event(StepStarted(attempt, step.name))
        started, spent = time.monotonic(), Usage()
        schema = schema_of(step.answer_type)
        conversation = [dict(message) for message in messages]
        new = conversation
        for last in (False, True):
            completion = await self._call(step.name, attempt, conversation, new, schema)
            spent = spent.plus(completion)
            try:
                answer = _read(completion, step)
                break
            except BadAnswerError as error:
                if last:
                    raise _unusable(step.name, completion, error) from None
                conversation = [*conversation, *_ask_again(completion, error, schema)]
                # The answer that it quotes is in the history already.
                new = conversation[-1:]
        self._on_event(
            ModelAnswered(
                attempt, step.name, spent.input_tokens, spent.output_tokens, spent.cost, time.monotonic() - started
            )
        )
        return answer

    async def _call(
        self,
        step: str,
        attempt: int,
        messages: Sequence[Message],
        new: Sequence[Message],
        schema: dict[str, Any],
    ) -> Completion:
        self.budget.start_call()
        self._calls += 1
        call = self._calls
        self.history += [{"call": call, "step": step, "attempt": attempt, **message} for message in new]
        try:
            completion = await asyncio.wait_for(
                _traced_call(self.provider, step, messages, schema, self._waits(step, attempt)),
                self.budget.seconds_left,
            )
        except asyncio.TimeoutError:
            raise self.budget.exceeded(f"max_seconds={self.budget.max_seconds:g}") from None
        self.budget.spend(completion.input_tokens + completion.output_tokens)
        self.usage = self.usage.plus(completion)
        entry = Entry.of(step, attempt, messages, completion)
        self.history.append(history_of_answer(call, entry))
        await self.transcript.record(entry)
        return completion

    def _waits(self, step: str, attempt: int) -> Waits:
        return Waits(
            seconds_left=lambda: self.budget.seconds_left,
            tell=lambda model, reason, seconds: self._on_event(ModelRetried(attempt, step, model, reason, seconds)),
        )


async def _traced_call(
    provider: Provider, step: str, messages: Sequence[Message], schema: dict[str, Any], waits: Waits
) -> Completion:
    """Call the provider; inside a Flyte task as a trace, so that a retry on a cluster does not pay again."""

    async def ask_model(request: str) -> str:
        asked = json.loads(request)
        completion = await provider.complete(asked["step"], asked["messages"], asked["schema"], asked["step"], waits)
        return json.dumps(asdict(completion))

    # Flyte shows a trace under the name of its function.
    ask_model.__name__ = f"ask_{step}"
    # The request is the trace's key, so it says everything that decides the answer, and no secret.
    request = {"step": step, "model": provider.model, "messages": list(messages), "schema": schema}
    answer: str = await flyte.trace(ask_model)(json.dumps(request, sort_keys=True))
    return Completion(**json.loads(answer))


def _read(completion: Completion, step: Step[A]) -> A:
    if completion.finish_reason == CUT_OFF:
        raise BadAnswerError(
            "Your answer was cut off at the limit of its length, so it is incomplete. Give a complete answer that is "
            "shorter: no comments or explanations that can be left out."
        )
    if completion.finish_reason in REFUSED:
        raise BadAnswerError(f"The request was refused: {completion.text[:500] or completion.finish_reason}")
    return read_answer(completion.text, step.answer_type)


def _ask_again(completion: Completion, error: BadAnswerError, schema: dict[str, Any]) -> list[Message]:
    return [
        # Some endpoints refuse an empty message.
        {"role": "assistant", "content": _shortened(completion.text) or "(no answer)"},
        {
            "role": "user",
            "content": (
                f"That answer can't be used:\n{error}\n\nGive the whole answer again, corrected, as one JSON object "
                f"that fits this JSON schema and nothing else:\n{json.dumps(schema, ensure_ascii=False)}"
            ),
        },
    ]


def _shortened(text: str) -> str:
    if len(text) <= _QUOTED_CHARACTERS:
        return text
    half = _QUOTED_CHARACTERS // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


def _unusable(step: str, completion: Completion, error: BadAnswerError) -> InvalidAnswerError | AnswerCutOffError:
    if completion.finish_reason == CUT_OFF:
        return AnswerCutOffError(
            f"The model {completion.model} was cut off in its answer to the step {step!r}, also when it was asked for "
            f"a shorter one ({completion.output_tokens} tokens). Raise max_tokens in litellm_params=, or ask for less."
        )
    return InvalidAnswerError(
        f"The model {completion.model} gave no usable answer to the step {step!r}, also when it was asked again. "
        f"Last: {error} Try another model, or word the request otherwise."
    )
