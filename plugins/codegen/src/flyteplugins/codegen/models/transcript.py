"""The conversation with the models, in order: kept in memory, and as JSON lines on disk."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flyteplugins.codegen.core.usage import StepUsage
from flyteplugins.codegen.models.completion import Completion
from flyteplugins.codegen.models.step import Message

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One call of a model.

    Attributes:
        step: Name of the step.
        attempt: The attempt it belongs to, counted from 1; 0 before the first.
        messages: What was sent, the whole conversation of the step.
        answer: What came back, word for word.
        finish_reason: Why the answer ended.
        input_tokens: Tokens sent.
        output_tokens: Tokens received.
        cost: US dollars, None where the price is not known.
        seconds: Wall time of the call, retries included.
        model: The model that answered.
        cached_tokens: Those of the tokens sent that the provider had in its cache.
        key: What the answer is recorded under; empty where it is not.
        form: The form that it was asked for in, as `Completion` has it.
        form_left: Whether the model has shown that this form does not suit it.
        next_model: How many models are passed over to ask the next one; 0 where there is none.
    """

    step: str
    attempt: int
    messages: list[Message]
    answer: str
    finish_reason: str
    input_tokens: int
    output_tokens: int
    cost: float | None
    seconds: float
    model: str
    cached_tokens: int = 0
    key: str = ""
    form: str = ""
    form_left: bool = False
    next_model: int = 0

    @classmethod
    def of(cls, step: str, attempt: int, messages: Sequence[Message], completion: Completion, key: str = "") -> Entry:
        """The entry for an answer.

        Args:
            step: Name of the step.
            attempt: The attempt it belongs to.
            messages: What was sent.
            completion: What came back.
            key: What it is recorded under.

        Returns:
            The entry.
        """
        return cls(
            step=step,
            attempt=attempt,
            messages=[dict(message) for message in messages],
            answer=completion.text,
            finish_reason=completion.finish_reason,
            input_tokens=completion.input_tokens,
            output_tokens=completion.output_tokens,
            cost=completion.cost,
            seconds=round(completion.seconds, 3),
            model=completion.model,
            cached_tokens=completion.cached_tokens,
            key=key,
            form=completion.form,
            form_left=completion.form_left,
            next_model=completion.next_model,
        )

    def line(self) -> str:
        """The entry as one line of JSON, with its line end."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


class Transcript:
    """The calls of one generation; each is on disk before its answer is used.

    Args:
        path: File to append to; its folder is made where it is missing. None keeps the calls in memory alone.
        on_trouble: Told, in a sentence, that the file can't be written.
    """

    def __init__(self, path: str | Path | None = None, on_trouble: Callable[[str], None] | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.entries: list[Entry] = []
        self._on_trouble = on_trouble or logger.warning
        self._lock = threading.Lock()

    async def record(self, entry: Entry) -> None:
        """Add a call, and write its line where there is a file.

        Args:
            entry: The call.
        """
        self.entries.append(entry)
        await self._write(entry.line())

    async def record_failure(
        self, step: str, attempt: int, messages: Sequence[Message], error: str, key: str = ""
    ) -> None:
        """Write the line of a call that brought no answer; a replay passes over it.

        Args:
            step: Name of the step.
            attempt: The attempt it belongs to.
            messages: What was sent.
            error: What went wrong.
            key: What its answer would have been recorded under.
        """
        line = {"step": step, "attempt": attempt, "key": key, "messages": list(messages), "error": error}
        await self._write(json.dumps(line, ensure_ascii=False) + "\n")

    async def _write(self, line: str) -> None:
        if self.path is None:
            return
        try:
            await asyncio.to_thread(self._append, self.path, line)
        except OSError as error:
            self._on_trouble(f"The transcript {self.path} can't be written: {error}. It is kept in memory alone.")

    def text(self) -> str:
        """All calls so far as JSON lines, as they are in the file and as `replay:FILE` reads them."""
        return "".join(entry.line() for entry in self.entries)

    def _append(self, path: Path, line: str) -> None:
        with self._lock:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Closing the file flushes it, so a crash after this loses nothing that was paid for.
            with path.open("a", encoding="utf-8") as file:
                file.write(line)


def usage_of(entry: Entry) -> StepUsage:
    """What a call used.

    Args:
        entry: The call.

    Returns:
        Its tokens, cost and seconds.
    """
    return StepUsage(
        calls=1,
        input_tokens=entry.input_tokens,
        output_tokens=entry.output_tokens,
        cached_tokens=entry.cached_tokens,
        cost=entry.cost,
        seconds=entry.seconds,
    )


def transcript_of(history: Iterable[dict[str, Any]]) -> str:
    """The transcript of a generation from its `conversation_history`, as JSON lines that can be replayed.

    Args:
        history: What `Model.history` holds: messages with the `call` they belong to, and answers with their usage.

    Returns:
        One line a call.
    """
    sent: dict[int, list[Message]] = {}
    lines = []
    for item in history:
        message = {"role": str(item["role"]), "content": str(item["content"])}
        if "finish_reason" not in item:
            sent.setdefault(item["call"], []).append(message)
            continue
        entry = Entry(
            messages=sent.pop(item["call"], []),
            answer=message["content"],
            **{name: item[name] for name in _ANSWER_FIELDS if name in item},
        )
        lines.append(entry.line())
    return "".join(lines)


_ANSWER_FIELDS = (
    "step",
    "attempt",
    "finish_reason",
    "input_tokens",
    "output_tokens",
    "cost",
    "seconds",
    "model",
    "cached_tokens",
    "key",
    "form",
    "form_left",
    "next_model",
)


def history_of_answer(call: int, entry: Entry) -> dict[str, Any]:
    """An answer as an item of `conversation_history`.

    Args:
        call: Number of the call, counted from 1.
        entry: The call.

    Returns:
        Plain data.
    """
    return {
        "call": call,
        "role": "assistant",
        "content": entry.answer,
        **{name: getattr(entry, name) for name in _ANSWER_FIELDS},
    }
