"""Between a pydantic type and a model: the schema that is sent, and reading what comes back."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from flyteplugins.codegen.models.step import A

_MAX_STARTS: Final = 200
"""How many opening braces are tried as the start of the answer."""

_THINKING = re.compile(r"\A\s*<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)

_NOT_IN_STRICT: Final = frozenset({"default", "title", "examples", "minLength", "maxLength", "uniqueItems"})
"""Keywords that strict structured output refuses somewhere; pydantic checks what they say."""


class BadAnswerError(ValueError):
    """An answer that can't be used; the message is written for the model that gave it."""


def schema_of(answer_type: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of an answer.

    Args:
        answer_type: The pydantic type.

    Returns:
        The schema as pydantic makes it.
    """
    return answer_type.model_json_schema()


def strict_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema in the form that strict structured output takes.

    Every object is closed and all its properties are required. Strict output has no objects with free keys: such a
    mapping becomes a list of `{"name": ..., "value": ...}`, which `read_answer` turns back.

    Args:
        schema: A JSON schema made by pydantic.

    Returns:
        Another schema; `schema` is unchanged.
    """
    strict: dict[str, Any] = _strict(schema)
    return strict


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        # Strict output allows nothing beside a reference.
        return {"$ref": node["$ref"]}
    if _is_mapping(node):
        pair = {"name": {"type": "string"}, "value": _strict(node["additionalProperties"])}
        items = {"type": "object", "properties": pair, "required": ["name", "value"], "additionalProperties": False}
        return {**_described(node), "type": "array", "items": items}
    kept = {key: value for key, value in node.items() if key not in _NOT_IN_STRICT}
    for key in ("items", "anyOf", "allOf", "oneOf"):
        if key in kept:
            kept[key] = _strict(kept[key])
    for key in ("properties", "$defs"):
        if key in kept:
            kept[key] = {name: _strict(value) for name, value in kept[key].items()}
    if kept.get("type") == "object":
        kept["additionalProperties"] = False
        kept["required"] = list(kept.setdefault("properties", {}))
    if "oneOf" in kept:
        kept["anyOf"] = kept.pop("oneOf")
        kept.pop("discriminator", None)
    return kept


def _described(node: dict[str, Any]) -> dict[str, Any]:
    return {"description": node["description"]} if "description" in node else {}


def _is_mapping(node: dict[str, Any]) -> bool:
    return node.get("type") == "object" and isinstance(node.get("additionalProperties"), dict)


def read_answer(text: str, answer_type: type[A]) -> A:
    """Read what a model wrote as the answer type.

    The JSON object may stand alone, in a Markdown fence, or with text around it.

    Args:
        text: What the model wrote, complete.
        answer_type: The pydantic type.

    Returns:
        The validated answer.

    Raises:
        BadAnswerError: There is no JSON object, or none that is valid; the message says what is wrong with it.
    """
    # Of several objects the longest is most likely the answer that was meant.
    objects = sorted(_objects(text), key=lambda found: found[0], reverse=True)
    if not objects:
        raise BadAnswerError(_why_no_object(text))
    problems: list[ValidationError] = []
    for _, value in objects:
        valid = _validated(value, answer_type, problems)
        if valid is not None:
            return valid
    raise BadAnswerError(_what_is_wrong(problems[0]))


def _validated(value: dict[str, Any], answer_type: type[A], problems: list[ValidationError]) -> A | None:
    schema = schema_of(answer_type)
    try:
        return answer_type.model_validate(_unpaired(value, schema, schema.get("$defs", {})))
    except ValidationError as error:
        problems.append(error)
        return None


def _objects(text: str) -> list[tuple[int, dict[str, Any]]]:
    """The JSON objects in a text with their lengths, outermost only, in order."""
    body = _THINKING.sub("", text, count=1)
    # Models often put raw line ends into strings, above all into code.
    decoder = json.JSONDecoder(strict=False)
    found: list[tuple[int, dict[str, Any]]] = []
    start, tried = body.find("{"), 0
    while start >= 0 and tried < _MAX_STARTS:
        tried += 1
        try:
            value, end = decoder.raw_decode(body, start)
        except (json.JSONDecodeError, RecursionError):
            end = start + 1
        else:
            found.append((end - start, value))
        start = body.find("{", end)
    return found


def _why_no_object(text: str) -> str:
    if not text.strip():
        return "The answer was empty."
    body = _THINKING.sub("", text, count=1)
    start = body.find("{")
    if start < 0:
        return "The answer has no JSON object."
    try:
        json.JSONDecoder(strict=False).raw_decode(body, start)
    except json.JSONDecodeError as error:
        around = body[max(start, error.pos - 40) : error.pos + 40]
        return f"The JSON does not parse: {error.msg} at line {error.lineno} column {error.colno}, near {around!r}."
    except RecursionError:
        return "The JSON is nested too deeply."
    return "The answer has no JSON object."


def _what_is_wrong(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_context=False)[:10]:
        where = ".".join(str(part) for part in problem["loc"]) or "the answer"
        given = repr(problem["input"])
        # A whole object as the input of a missing field says nothing new.
        shown = "" if problem["type"] == "missing" or len(given) > 200 else f" (given: {given})"
        lines.append(f"- {where}: {problem['msg']}{shown}")
    more = error.error_count() - len(lines)
    return "\n".join([*lines, f"- and {more} more"] if more > 0 else lines)


def _unpaired(value: Any, schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """Turn lists of name and value back into the mappings that the type has."""
    if "$ref" in schema:
        schema = definitions.get(schema["$ref"].rsplit("/", 1)[-1], {})
    for choice in schema.get("anyOf", []):
        changed = _unpaired(value, choice, definitions)
        if changed != value:
            return changed
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {name: _unpaired(item, properties.get(name, {}), definitions) for name, item in value.items()}
    if isinstance(value, list):
        if _is_mapping(schema) and all(isinstance(item, dict) and set(item) == {"name", "value"} for item in value):
            inner = schema["additionalProperties"]
            return {str(item["name"]): _unpaired(item["value"], inner, definitions) for item in value}
        return [_unpaired(item, schema.get("items", {}), definitions) for item in value]
    return value
