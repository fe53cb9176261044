"""The forms in which an answer of a type can be asked for: what is said, and which arguments of litellm go with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from flyteplugins.codegen.models.schema import EACH, code_paths, strict_schema, without_code
from flyteplugins.codegen.models.step import Message
from flyteplugins.codegen.prompts import render

_NO_MCP: Final = {"_skip_mcp_handler": True}
"""Else litellm, where it sees a tool, imports a package that it does not depend on."""


@dataclass(frozen=True)
class Question:
    """A question in one form.

    Attributes:
        messages: The conversation, with what the form has to say at its end.
        arguments: Arguments of litellm that go with it.
    """

    messages: list[Message]
    arguments: dict[str, Any] = field(default_factory=dict)


def in_form(form: str, messages: Sequence[Message], schema: dict[str, Any], name: str) -> Question:
    """Put a question in a form.

    Args:
        form: One of `completion.FORMS`.
        messages: The conversation so far; it says nothing of the form.
        schema: JSON schema of the answer, as pydantic makes it.
        name: What to call the schema.

    Returns:
        The question.
    """
    strict = strict_schema(schema)
    # A model that gave an answer of another form, although it had the schema, needs to be told in words.
    asked_again = any(message["role"] == "assistant" for message in messages)
    if form == "schema":
        wanted = {"type": "json_schema", "json_schema": {"name": name, "schema": strict, "strict": True}}
        told = _saying(messages, render("form_json", schema=_text(strict))) if asked_again else list(messages)
        return Question(told, {"response_format": wanted})
    if form == "tool":
        tool = {"name": name, "description": "Takes the answer.", "parameters": strict}
        chosen = {"type": "function", "function": {"name": name}}
        told = (
            _saying(messages, render("form_tool", tool=name, schema=_text(strict))) if asked_again else list(messages)
        )
        return Question(told, {"tools": [{"type": "function", "function": tool}], "tool_choice": chosen, **_NO_MCP})
    if form == "json":
        told = _saying(messages, render("form_json", schema=_text(strict)))
        return Question(told, {"response_format": {"type": "json_object"}})
    return Question(_saying(messages, _blocks_wanted(schema)))


def _blocks_wanted(schema: dict[str, Any]) -> str:
    paths = code_paths(schema)
    fields = [f"`{path[-1]}` of {'each of ' if EACH in path else ''}`{path[0]}`" if path[1:] else "" for path in paths]
    code = [place or f"`{path[0]}`" for place, path in zip(fields, paths, strict=True)]
    single = len(paths) == 1 and EACH not in paths[0]
    return render("form_text", code=code, single=single, schema=_text(strict_schema(without_code(schema))))


def _saying(messages: Sequence[Message], more: str) -> list[Message]:
    *before, last = messages
    return [*before, {**last, "content": f"{last['content']}\n\n{more}"}]


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, ensure_ascii=False)
