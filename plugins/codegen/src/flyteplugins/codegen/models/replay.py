"""A recorded transcript as the model: the same answers in the same order, for each step."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flyteplugins.codegen.core.errors import CodegenError, InvalidRequestError, ReplayError
from flyteplugins.codegen.models.completion import Completion, Waits
from flyteplugins.codegen.models.step import Message


class ReplayProvider:
    """Answers from a transcript, a queue for each step, so that steps asked side by side find theirs.

    Tokens, costs and seconds are those of the recording.

    Args:
        path: A transcript in JSON lines.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.model = f"replay:{path}"
        self._queues: dict[str, deque[Completion]] | None = None
        self._lock = threading.Lock()

    @property
    def identities(self) -> tuple[()]:
        """None: what it answers is on record already."""
        return ()

    def problem(self) -> CodegenError | None:
        """Why nothing can be replayed: no file, or one that is no transcript."""
        try:
            self._load()
        except InvalidRequestError as error:
            return error
        return None

    async def complete(
        self,
        step: str,
        messages: Sequence[Message],
        schema: dict[str, Any] | None,
        schema_name: str,
        waits: Waits | None = None,
    ) -> Completion:
        """The next recorded answer of the step.

        Args:
            step: Name of the step.
            messages: Not looked at.
            schema: Not looked at.
            schema_name: Not looked at.
            waits: Not looked at.

        Returns:
            The answer as it was recorded.

        Raises:
            InvalidRequestError: The file is no transcript.
            ReplayError: The recording has no more answers for the step.
        """
        queues = await asyncio.to_thread(self._load)
        if not queues.get(step):
            raise ReplayError(
                f"{self.path} has no {'more answers' if step in queues else 'answer'} for the step {step!r}. "
                f"Its steps: {', '.join(queues) or 'none'}. Record the generation again: what is asked has changed."
            )
        return queues[step].popleft()

    def _load(self) -> dict[str, deque[Completion]]:
        with self._lock:
            if self._queues is None:
                self._queues = _read(self.path)
            return self._queues


def _read(path: Path) -> dict[str, deque[Completion]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(
            f"The transcript {path} can't be read: {error}. model='replay:FILE' wants a transcript in JSON lines, as a "
            "saved generation has it in transcript.jsonl."
        ) from None
    queues: dict[str, deque[Completion]] = {}
    if len(lines) > 1 and not _is_json(lines[-1]):
        # Whoever wrote it was killed in the middle of the line: every whole one ends with a line end.
        lines.pop()
    for number, line in enumerate(lines, start=1):
        if line.strip() and (parsed := _parse(path, number, line)):
            step, completion = parsed
            queues.setdefault(step, deque()).append(completion)
    return queues


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _parse(path: Path, number: int, line: str) -> tuple[str, Completion] | None:
    """The step and the answer of a line; None for a call that brought no answer."""
    try:
        entry = json.loads(line)
        if "error" in entry and "answer" not in entry:
            return None
        completion = Completion(
            text=str(entry["answer"]),
            finish_reason=str(entry.get("finish_reason", "stop")),
            input_tokens=int(entry.get("input_tokens", 0)),
            output_tokens=int(entry.get("output_tokens", 0)),
            cost=entry.get("cost"),
            seconds=float(entry.get("seconds", 0.0)),
            model=str(entry.get("model", f"replay:{path}")),
            cached_tokens=int(entry.get("cached_tokens", 0)),
            form=str(entry.get("form", "")),
            form_left=bool(entry.get("form_left", False)),
            next_model=int(entry.get("next_model", 0)),
        )
        return str(entry["step"]), completion
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidRequestError(
            f"Line {number} of {path} is no line of a transcript: {type(error).__name__}: {error}. Each line is a JSON "
            'object with at least "step" and "answer".'
        ) from None
