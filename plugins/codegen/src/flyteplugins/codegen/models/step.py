"""A step: one kind of question to a model, and the type of its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

A = TypeVar("A", bound=BaseModel)

Message = dict[str, str]
"""`{"role": "system" | "user" | "assistant", "content": ...}`"""


@dataclass(frozen=True)
class Step(Generic[A]):
    """One kind of question.

    Attributes:
        name: What it is called in events, transcripts and recordings, such as `plan` or `repair_code`.
        answer_type: A pydantic model; its validators decide what a valid answer is.
    """

    name: str
    answer_type: type[A]
