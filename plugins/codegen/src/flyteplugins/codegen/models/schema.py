"""Between a pydantic type and a model: the JSON schema of an answer, and where Python code stands in it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel

from flyteplugins.codegen.models.step import CODE_MARK

_NOT_IN_STRICT: Final = frozenset({"default", "title", "examples", "minLength", "maxLength", "uniqueItems", CODE_MARK})
"""Keywords that strict structured output refuses somewhere; pydantic checks what they say."""

Path = tuple[str, ...]
"""The way to a field: names of properties, and `EACH` for every entry of a list."""

EACH: Final = "[]"


@functools.lru_cache(maxsize=64)  # types are made for a question, which needs the schema more than once
def schema_of(answer_type: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of an answer.

    Args:
        answer_type: The pydantic type.

    Returns:
        The schema as pydantic makes it, which nobody is to change.
    """
    return answer_type.model_json_schema()


def strict_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema in the form that strict structured output takes.

    Every object is closed and all its properties are required. Strict output has no objects with free keys: such a
    mapping becomes a list of `{"name": ..., "value": ...}`, which `fitted` turns back.

    Args:
        schema: A JSON schema made by pydantic.

    Returns:
        Another schema; `schema` is unchanged.
    """
    strict: dict[str, Any] = _strict(schema)
    return strict


def fitted(value: Any, schema: dict[str, Any]) -> Any:
    """Turn what a model answered into what the type has, where there is no doubt about what is meant.

    Lists of name and value become the mappings that they stand for, and a list of lines the text that they make.

    Args:
        value: What a model answered.
        schema: The JSON schema that pydantic made.

    Returns:
        The value, as the type takes it.
    """
    return _fitted(value, schema, schema.get("$defs", {}))


def code_paths(schema: dict[str, Any]) -> list[Path]:
    """Where Python code stands in an answer: the fields of type `PythonCode`.

    Args:
        schema: The JSON schema that pydantic made.

    Returns:
        The ways to them, in the order of the fields.
    """
    return list(_code_paths(schema, schema.get("$defs", {}), ()))


def without_code(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of an answer whose code travels beside it.

    Args:
        schema: The JSON schema that pydantic made.

    Returns:
        Another schema, without the fields of type `PythonCode`; `schema` is unchanged.
    """
    reduced: dict[str, Any] = _without_code(schema)
    return reduced


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


def _resolved(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    resolved: dict[str, Any] = definitions.get(node["$ref"].rsplit("/", 1)[-1], {}) if "$ref" in node else node
    return resolved


def _fitted(value: Any, schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    schema = _resolved(schema, definitions)
    for choice in schema.get("anyOf", []):
        changed = _fitted(value, choice, definitions)
        if changed != value:
            return changed
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        return {name: _fitted(item, properties.get(name, {}), definitions) for name, item in value.items()}
    if isinstance(value, list):
        if _is_mapping(schema) and all(isinstance(item, dict) and set(item) == {"name", "value"} for item in value):
            inner = schema["additionalProperties"]
            return {str(item["name"]): _fitted(item["value"], inner, definitions) for item in value}
        if schema.get("type") == "string" and value and all(isinstance(item, str) for item in value):
            return "\n".join(value)
        return [_fitted(item, schema.get("items", {}), definitions) for item in value]
    return value


def _code_paths(node: dict[str, Any], definitions: dict[str, Any], path: Path) -> Iterator[Path]:
    node = _resolved(node, definitions)
    if CODE_MARK in node:
        yield path
    for name, inner in node.get("properties", {}).items():
        yield from _code_paths(inner, definitions, (*path, name))
    if isinstance(node.get("items"), dict) and path.count(EACH) == 0:
        yield from _code_paths(node["items"], definitions, (*path, EACH))


def _without_code(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_code(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: _without_code(value) for key, value in node.items()}
    if isinstance(properties := node.get("properties"), dict):
        gone = {name for name, inner in properties.items() if isinstance(inner, dict) and CODE_MARK in inner}
        kept["properties"] = {name: inner for name, inner in kept["properties"].items() if name not in gone}
        kept["required"] = [name for name in node.get("required", []) if name not in gone]
    return kept
