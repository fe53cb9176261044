"""Asking a model for a typed answer."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, replace
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

logger = logging.getLogger(__name__)


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
        warn: Told, in a sentence, of a limit on money that can't hold.
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
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.provider = provider
        self.account = account
        self.transcript = transcript
        self._on_event = on_event or (lambda event: None)
        self._answers = answers or Answers()
        self._hide = hide or (lambda text: text)
        self._warn = warn or logger.warning
        self._asked: list[list[_Call]] = []

    @property
    def usage(self) -> Usage:
        """What was used so far."""
        return self.account.usage

    @property
    def history(self) -> list[dict[str, Any]]:
        """Every message to and from the model as plain data, in the order in which its questions were put.

        Which of the answers to questions side by side came first has no part in it.
        """
        calls = itertools.chain.from_iterable(self._asked)
        return [item for number, call in enumerate(calls, start=1) for item in call.items(number)]

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
        calls: list[_Call] = []
        self._asked.append(calls)

        async def call(told: Sequence[Message], new: Sequence[Message], passed_over: int) -> Entry:
            question = self._answers.question(step.name, attempt, told, schema, self.provider.identities, passed_over)
            self.account.start_call(step.name)
            calls.append(_Call(question, list(new)))
            answer = await self._call(question, passed_over)
            calls[-1].answer = answer.entry
            given.append(answer)
            return answer.entry

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

    async def _call(self, question: Question, passed_over: int) -> Answer:
        try:
            answer = await asyncio.wait_for(self._traced(question, passed_over), self.account.seconds_left)
        except BaseException as error:
            self.account.call_failed()
            late = isinstance(error, asyncio.TimeoutError) and self.account.seconds_left == 0
            failure = self.account.out_of_time() if late else error
            if isinstance(failure, CodegenError):
                asked, key = question, next(iter(question.keys), "")
                await self.transcript.record_failure(asked.step, asked.attempt, asked.messages, str(failure), key)
            raise failure from None
        self.account.advance(answer.elapsed)
        self.account.spend(question.step, usage_of(answer.entry))
        await self.transcript.record(answer.entry)
        if answer.entry.cost is None and self.account.limits.usd is not None:
            self._warn(
                f"The price of {answer.entry.model} is not known, so the limit of {self.account.limits.usd:g} US "
                "dollars can't hold. Set one on tokens: Budget(tokens=...)."
            )
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
            answer = asdict(await self._answers.get(question, ask, lambda: self.account.seconds))
            del answer["entry"]["messages"]  # they are in the request
            return json.dumps(answer)

        # Flyte shows a trace under the name of its function.
        ask_model.__name__ = f"ask_{question.step}"
        # The request is the trace's key, so it says everything that decides the answer, and no secret.
        request = asdict(question)
        if _on_a_cluster():
            # An answer that was withdrawn must not come back from its trace.
            request["withdrawn"] = await self._answers.withdrawn(question)
        answer = json.loads(await flyte.trace(ask_model)(json.dumps(request, sort_keys=True)))
        return Answer(**{**answer, "entry": Entry(**answer["entry"], messages=question.messages)})

    def _remember(self, given: Sequence[Answer], *, usable: bool) -> None:
        for answer in given:
            self._answers.gave(answer, usable=usable)

    def _waits(self, step: str, attempt: int) -> Waits:
        return Waits(
            seconds_left=lambda: self.account.seconds_left,
            tell=lambda model, reason, seconds: self._on_event(ModelRetried(attempt, step, model, reason, seconds)),
        )


def _on_a_cluster() -> bool:
    context = flyte.ctx()
    # Outside a task it is an empty one, which is false.
    return bool(context) and context.mode != "local"


@dataclass
class _Call:
    """One call, as `Model.history` tells of it: what was sent and not sent before, and what came back."""

    question: Question
    new: list[Message]
    answer: Entry | None = None

    def items(self, number: int) -> list[dict[str, Any]]:
        asked = {"call": number, "step": self.question.step, "attempt": self.question.attempt}
        sent = [{**asked, **message} for message in self.new]
        return sent if self.answer is None else [*sent, history_of_answer(number, self.answer)]


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
