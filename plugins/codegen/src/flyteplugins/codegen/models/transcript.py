"""The conversation with the models, in order: kept in memory, and as JSON lines on disk."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flyteplugins.codegen.core.errors import InfrastructureError
from flyteplugins.codegen.models.completion import Completion
from flyteplugins.codegen.models.step import Message


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

    @classmethod
    def of(cls, step: str, attempt: int, messages: Sequence[Message], completion: Completion) -> Entry:
        """The entry for an answer.

        Args:
            step: Name of the step.
            attempt: The attempt it belongs to.
            messages: What was sent.
            completion: What came back.

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
        )

    def line(self) -> str:
        """The entry as one line of JSON, with its line end."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


class Transcript:
    """The calls of one generation; each is on disk before its answer is used.

    Args:
        path: File to append to; its folder is made where it is missing. None keeps the calls in memory alone.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.entries: list[Entry] = []
        self._lock = threading.Lock()

    async def record(self, entry: Entry) -> None:
        """Add a call, and write its line where there is a file.

        Args:
            entry: The call.

        Raises:
            InfrastructureError: The file can't be written.
        """
        self.entries.append(entry)
        if self.path is not None:
            try:
                await asyncio.to_thread(self._append, self.path, entry.line())
            except OSError as error:
                raise InfrastructureError(
                    f"The transcript {self.path} can't be written: {error}. Nothing more is asked, for it would be "
                    "paid for and lost."
                ) from None

    def text(self) -> str:
        """All calls so far as JSON lines, as they are in the file and as `replay:FILE` reads them."""
        return "".join(entry.line() for entry in self.entries)

    def _append(self, path: Path, line: str) -> None:
        with self._lock:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Closing the file flushes it, so a crash after this loses nothing that was paid for.
            with path.open("a", encoding="utf-8") as file:
                file.write(line)


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
            **{name: item[name] for name in _ANSWER_FIELDS},
        )
        lines.append(entry.line())
    return "".join(lines)


_ANSWER_FIELDS = ("step", "attempt", "finish_reason", "input_tokens", "output_tokens", "cost", "seconds", "model")


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
