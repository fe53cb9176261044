"""A step: one kind of question to a model, and the type of its answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, Field

from flyteplugins.codegen.models.source import says_nothing

A = TypeVar("A", bound=BaseModel)

Message = dict[str, str]
"""`{"role": "system" | "user" | "assistant", "content": ...}`"""

CODE_MARK: Final = "x-python"
"""Keyword of a JSON schema by which the forms of asking know the fields of code."""


def _no_mere_name(code: str) -> str:
    if code.strip() and says_nothing(code):
        raise ValueError(f"must be the code itself, and is {code.strip()[:80]!r}")
    return code


PythonCode = Annotated[str, Field(json_schema_extra={CODE_MARK: True}), AfterValidator(_no_mere_name)]
"""The type of a field of an answer that holds Python: code, and no name of a file in its place.

Long code in a JSON string is what models break most, so a model that does is asked for it in fenced blocks beside the
JSON."""


@dataclass(frozen=True)
class Step(Generic[A]):
    """One kind of question.

    Attributes:
        name: What it is called in events, transcripts and recordings, such as `plan` or `repair_code`.
        answer_type: A pydantic model; its validators decide what a valid answer is.
    """

    name: str
    answer_type: type[A]
