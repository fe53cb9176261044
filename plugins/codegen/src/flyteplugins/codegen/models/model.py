"""Asking a model for a typed answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from typing import Any

import flyte

from flyteplugins.codegen.core.errors import CodegenError
from flyteplugins.codegen.core.events import Event, ModelAnswered, ModelRetried, StepStarted
from flyteplugins.codegen.core.usage import StepUsage, Usage
from flyteplugins.codegen.models.account import Account
from flyteplugins.codegen.models.answers import Answer, Answers, Question
from flyteplugins.codegen.models.asking import usable_answer
from flyteplugins.codegen.models.completion import Completion, Provider, Waits
from flyteplugins.codegen.models.schema import schema_of
from flyteplugins.codegen.models.step import A, Message, Step
from flyteplugins.codegen.models.transcript import Entry, Transcript, history_of_answer, usage_of


class Model:
    """A model that gives typed answers, within a budget, with every word on record.

    Several steps may be asked at once.

    Args:
        provider: Where answers come from.
        account: What was used, and what may be.
        transcript: Where each call is written down before its answer is used.
        on_event: Told of each step that starts and each that is answered.
        answers: Serves what was answered before and records what is answered now; nothing is recorded if None.
        hide: Takes secrets out of a text; each message passes through it before it is sent.

    Attributes:
        history: Every message to and from the model, in order, as plain data.
    """

    def __init__(
        self,
        provider: Provider,
        account: Account,
        transcript: Transcript,
        on_event: Callable[[Event], None] | None = None,
        *,
        answers: Answers | None = None,
        hide: Callable[[str], str] | None = None,
    ) -> None:
        self.provider = provider
        self.account = account
        self.transcript = transcript
        self.history: list[dict[str, Any]] = []
        self._on_event = on_event or (lambda event: None)
        self._answers = answers or Answers()
        self._hide = hide or (lambda text: text)
        self._calls = 0

    @property
    def usage(self) -> Usage:
        """What was used so far."""
        return self.account.usage

    async def ask(self, step: Step[A], messages: Sequence[Message], *, attempt: int = 0) -> A:
        """Ask for an answer; an unusable one is asked for again: see `asking.usable_answer`.

        Args:
            step: What is asked, and the type of its answer.
            messages: The conversation so far.
            attempt: The attempt it belongs to, counted from 1; 0 before the first.

        Returns:
            The validated answer.

        Raises:
            InvalidAnswerError: No answer was usable.
            AnswerCutOffError: No answer was usable and the last was cut off.
            BudgetExceededError: A limit is reached.
            ModelUnavailableError: No answer within the deadline and the retries.
            ModelRefusedError: The endpoint refuses the key, the model, the address or the request.
            ReplayError: A recording has no more answers for the step.
        """
        self._on_event(StepStarted(attempt, step.name))
        schema = schema_of(step.answer_type)
        conversation = [{**message, "content": self._hide(message["content"])} for message in messages]
        given: list[Answer] = []

        async def call(told: Sequence[Message], new: Sequence[Message], passed_over: int) -> Entry:
            given.append(await self._call(step.name, attempt, told, new, schema, passed_over))
            return given[-1].entry

        try:
            answer = await usable_answer(step, conversation, call)
        except BaseException:
            self._remember(given, usable=False)
            raise
        self._remember(given, usable=True)
        self._on_event(_answered(step.name, attempt, given))
        return answer

    async def withdraw(self, keep: Collection[str] = ()) -> None:
        """Withdraw the answers that the last attempt was given: whoever asks again asks anew from there on.

        Args:
            keep: Steps whose answers stay on record, unless they could not be used.
        """
        await self._answers.withdraw(keep)

    async def _call(
        self,
        step: str,
        attempt: int,
        messages: Sequence[Message],
        new: Sequence[Message],
        schema: dict[str, Any],
        passed_over: int,
    ) -> Answer:
        identities = self.provider.identities
        question = self._answers.question(step, attempt, messages, schema, identities, passed_over)
        self.account.start_call()
        self._calls += 1
        call = self._calls
        self.history += [{"call": call, "step": step, "attempt": attempt, **message} for message in new]
        try:
            answer = await asyncio.wait_for(self._traced(question, passed_over), self.account.seconds_left)
        except BaseException as error:
            self.account.call_failed()
            late = isinstance(error, asyncio.TimeoutError) and self.account.seconds_left == 0
            failure = self.account.out_of_time() if late else error
            if isinstance(failure, CodegenError):
                key = question.keys[0] if question.keys else ""
                await self.transcript.record_failure(step, attempt, question.messages, str(failure), key)
            raise failure from None
        self.account.advance(answer.elapsed)
        self.account.spend(step, usage_of(answer.entry))
        self.history.append(history_of_answer(call, answer.entry))
        await self.transcript.record(answer.entry)
        return answer

    async def _traced(self, question: Question, passed_over: int) -> Answer:
        """Look the answer up, or ask; inside a Flyte task as a trace, which a retry on a cluster is served from."""

        async def ask() -> Completion:
            waits = replace(self._waits(question.step, question.attempt), passed_over=passed_over)
            completion = await self.provider.complete(
                question.step, question.messages, question.schema, question.step, waits
            )
            return replace(completion, identity=completion.identity - passed_over)

        async def ask_model(request: str) -> str:
            return json.dumps(asdict(await self._answers.get(question, ask, lambda: self.account.seconds)))

        # Flyte shows a trace under the name of its function.
        ask_model.__name__ = f"ask_{question.step}"
        # The request is the trace's key, so it says everything that decides the answer, and no secret.
        answer = json.loads(await flyte.trace(ask_model)(json.dumps(asdict(question), sort_keys=True)))
        return Answer(**{**answer, "entry": Entry(**answer["entry"])})

    def _remember(self, given: Sequence[Answer], *, usable: bool) -> None:
        for answer in given:
            self._answers.gave(answer, usable=usable)

    def _waits(self, step: str, attempt: int) -> Waits:
        return Waits(
            seconds_left=lambda: self.account.seconds_left,
            tell=lambda model, reason, seconds: self._on_event(ModelRetried(attempt, step, model, reason, seconds)),
        )


def _answered(step: str, attempt: int, given: Sequence[Answer]) -> ModelAnswered:
    used = StepUsage()
    for answer in given:
        used = used.plus(usage_of(answer.entry))
    return ModelAnswered(
        attempt,
        step,
        used.input_tokens,
        used.output_tokens,
        used.cost,
        used.seconds,
        cached_tokens=used.cached_tokens,
        model=given[-1].entry.model,
        served=all(answer.served for answer in given),
    )
