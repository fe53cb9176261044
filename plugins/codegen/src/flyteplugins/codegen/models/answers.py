"""The answers of one generation: on record before they are used, and served where they were paid for before."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from typing import Any, Final, TypeVar

from flyteplugins.codegen.core.settings import CacheMode
from flyteplugins.codegen.models.completion import Completion
from flyteplugins.codegen.models.step import Message
from flyteplugins.codegen.models.transcript import Entry
from flyteplugins.codegen.record import Entry as Recorded
from flyteplugins.codegen.record import Record, key_of

T = TypeVar("T")

KIND: Final = "answers"

_FORMAT: Final = 1
"""Part of every key: raised when answers that an older version recorded must not be served."""


@dataclass(frozen=True)
class Question:
    """A question to a model, with everything that decides its answer.

    Attributes:
        step: Name of the step.
        attempt: The attempt that it belongs to; no part of what decides.
        messages: The conversation so far.
        schema: JSON schema of the answer.
        number: How often this very question was asked before in this generation.
        keys: What the answer is recorded under, one for each model that may give it; empty where none is recorded.
    """

    step: str
    attempt: int
    messages: list[Message]
    schema: dict[str, Any]
    number: int
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        entry: The call, as the transcript has it.
        elapsed: The generation's clock when it came, in seconds.
        served: Whether it was on record and nothing was asked.
        version: Which of those under its key; -1 where it is not on record.
    """

    entry: Entry
    elapsed: float
    served: bool = False
    version: int = -1


class Answers:
    """Serves, records and withdraws the answers of one generation.

    Args:
        record: Where they are; None records nothing.
        cache: `auto` serves and records, `override` only records, `disable` does neither.
    """

    def __init__(self, record: Record | None = None, cache: CacheMode = "auto") -> None:
        self._record = None if cache == "disable" else record
        self._serves = cache == "auto"
        self._asked: Counter[str] = Counter()
        self._given: list[tuple[Answer, bool]] = []

    def question(
        self,
        step: str,
        attempt: int,
        messages: Sequence[Message],
        schema: dict[str, Any],
        identities: Sequence[Mapping[str, Any]],
        passed_over: int = 0,
    ) -> Question:
        """Put a question. The same one again in a generation is another one: it gets another answer.

        Args:
            step: Name of the step.
            attempt: The attempt that it belongs to.
            messages: The conversation so far.
            schema: JSON schema of the answer.
            identities: What decides the answer besides, for each model that may give it.
            passed_over: How many of these are not asked this time, counted from the first.

        Returns:
            The question.
        """
        told = [dict(message) for message in messages]
        decides = {"format": _FORMAT, "step": step, "messages": told, "schema": schema}
        of_all = key_of([decides, list(identities)])
        number = self._asked[of_all]
        self._asked[of_all] += 1
        keys = tuple(key_of({**decides, "of": identity, "n": number}) for identity in identities[passed_over:])
        return Question(step, attempt, told, schema, number, keys)

    async def get(
        self, question: Question, ask: Callable[[], Awaitable[Completion]], clock: Callable[[], float]
    ) -> Answer:
        """The answer on record, else the one that asking brings, which is on record when this returns.

        Whoever asks the same meanwhile, in this process or beside it, waits and is served.

        Args:
            question: What is asked.
            ask: Asks the model.
            clock: Gives the seconds of the generation so far.

        Returns:
            The answer.
        """
        if self._record is None or not question.keys:
            return _answer(question, await ask(), clock())
        async with self._record.lock(KIND, question.keys[0]):
            if self._serves:
                for key in question.keys:
                    recorded = await self._record.newest(KIND, key)
                    if recorded and (answer := _served(question, recorded)):
                        return answer
            completion = await ask()
            # What is paid for is recorded, also where the generation is ended meanwhile.
            return await _to_its_end(self._add(self._record, _answer(question, completion, clock()), question))

    async def withdrawn(self, question: Question) -> int:
        """How often an answer to the question was withdrawn.

        Args:
            question: What is asked.

        Returns:
            The count.
        """
        if self._record is None:
            return 0
        return sum([await self._record.withdrawals(KIND, key) for key in question.keys])

    def gave(self, answer: Answer, *, usable: bool = True) -> None:
        """Remember an answer as one that this generation used, for `withdraw`.

        Args:
            answer: The answer.
            usable: Whether it could be used.
        """
        self._given.append((answer, usable))

    async def withdraw(self, keep: Collection[str] = ()) -> None:
        """Withdraw what the last attempt was told, so that whoever asks again gets other answers from there on.

        Args:
            keep: Steps whose answers stay on record, unless it is they that failed: none of another step was asked
                for in that attempt.
        """
        if self._record is None or not self._given:
            return
        last = [(answer, usable) for answer, usable in self._given if answer.entry.attempt == self._last_attempt]
        failed = [answer for answer, usable in last if not usable or answer.entry.step not in keep]
        for answer in failed or [answer for answer, _ in last]:
            if answer.version >= 0:
                await self._record.withdraw(Recorded(KIND, answer.entry.key, answer.version, {}))

    @property
    def _last_attempt(self) -> int:
        return self._given[-1][0].entry.attempt

    @staticmethod
    async def _add(record: Record, answer: Answer, question: Question) -> Answer:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        body = {**asdict(answer.entry), "n": question.number, "elapsed": round(answer.elapsed, 3), "at": now}
        recorded = await record.add(KIND, answer.entry.key, body)
        return replace(answer, version=recorded.version)


def _answer(question: Question, completion: Completion, elapsed: float) -> Answer:
    key = question.keys[completion.identity] if question.keys else ""
    return Answer(Entry.of(question.step, question.attempt, question.messages, completion, key), elapsed)


def _served(question: Question, recorded: Recorded) -> Answer | None:
    """The recorded answer; None where it is not of this version's making."""
    body = {field.name: recorded.body[field.name] for field in fields(Entry) if field.name in recorded.body}
    try:
        entry = replace(Entry(**body), attempt=question.attempt, key=recorded.key)
        return Answer(entry, float(recorded.body["elapsed"]), served=True, version=recorded.version)
    except (KeyError, TypeError, ValueError):
        return None


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Do the work to its end, also where who waits for it is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
