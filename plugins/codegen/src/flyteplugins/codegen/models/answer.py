"""Reading what a model wrote as the type that was asked for, in whatever form it wrote it."""

from __future__ import annotations

import ast
import contextlib
import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from flyteplugins.codegen.models.fenced import Block, fenced_blocks, without_thinking
from flyteplugins.codegen.models.json_text import Found, json_objects, mended, why_no_object
from flyteplugins.codegen.models.schema import EACH, Path, code_paths, fitted, schema_of
from flyteplugins.codegen.models.source import parsed, parses
from flyteplugins.codegen.models.step import A


class BadAnswerError(ValueError):
    """An answer that can't be used; the message is written for the model that gave it."""


def read_answer(text: str, answer_type: type[A]) -> A:
    """Read what a model wrote as the answer type.

    The JSON object may stand alone, in a Markdown fence, or with text around it. Code may stand in it, or beside it
    in fenced blocks of Python: one block for each field of code, in their order.

    Args:
        text: What the model wrote, complete.
        answer_type: The pydantic type.

    Returns:
        The validated answer.

    Raises:
        BadAnswerError: There is no answer in it, or none that is valid; the message says what is wrong with it.
    """
    if not text.strip():
        raise BadAnswerError("The answer was empty.")
    body = without_thinking(text)
    if not body.strip():
        raise BadAnswerError("The answer was empty: there was nothing after the thinking.")
    problem: str | None = None
    for value in _candidates(body, schema_of(answer_type)):
        if isinstance(value, str):
            problem = problem or value
            continue
        try:
            return answer_type.model_validate(value)
        except ValidationError as error:
            problem = problem or _what_is_wrong(error)
    raise BadAnswerError(problem or why_no_object(body))


def fields_of_code(value: dict[str, Any], schema: dict[str, Any]) -> list[str]:
    """The texts in the fields of code of an answer.

    Args:
        value: The JSON object of the answer.
        schema: The JSON schema that pydantic made.

    Returns:
        Those that are there.
    """
    slots = [slot for path in code_paths(schema) for slot in _slots(value, path)]
    return [holder[name] for holder, name in slots if isinstance(holder.get(name), str)]


def _candidates(body: str, schema: dict[str, Any]) -> Iterator[dict[str, Any] | str]:
    """What may be meant as the answer, the likeliest first; a text says why there is none."""
    paths = code_paths(schema)
    found = json_objects(body)
    blocks = _blocks_of_code(body, found) if paths else []
    beside = [one for one in found if not any(block.start < one.start and one.end <= block.end for block in blocks)]
    objects = _of_the_type(beside, schema)
    if not objects:
        objects = _of_the_type(json_objects(mended(_without(body, blocks))), schema)
    literals = _of_the_type(_literals(body, found), schema)
    if any(fields_of_code(value, schema) for value in literals) or not objects:
        objects, blocks = (literals, []) if literals else (objects, blocks)
    for value in objects:
        yield from _with_and_without_blocks(value, schema, paths, blocks)
    if not objects and blocks:
        yield from _with_blocks({}, paths, blocks)
    if not objects and beside:
        yield f"The JSON object has none of the fields that were asked for: {', '.join(schema.get('properties', {}))}."


def _literals(body: str, objects: Sequence[Found]) -> list[Found]:
    """The Python dicts in the place of JSON: with quotes of other kinds, or code between three of them."""
    found = []
    for text in (body, *(block.text for block in fenced_blocks(body))):
        tree = parsed(text.strip()) if text.lstrip().startswith("{") else None
        with contextlib.suppress(ValueError, TypeError, RecursionError, MemoryError):
            value = ast.literal_eval(tree.body[0].value) if tree and isinstance(tree.body[0], ast.Expr) else None
            if isinstance(value, dict) and not any(one.value == value for one in objects):
                found.append(Found(value, 0, len(text)))
    return found


def _blocks_of_code(body: str, objects: Sequence[Found]) -> list[Block]:
    """The fenced blocks of Python that are no part of a JSON string; those without a language where none says it."""
    blocks = [
        block
        for block in fenced_blocks(body)
        if not any(found.start < block.start and block.end <= found.end for found in objects)
    ]
    return [block for block in blocks if block.is_python] or [
        block for block in blocks if not block.language and block.text.strip() and parses(block.text)
    ]


def _without(body: str, blocks: Iterable[Block]) -> str:
    for block in sorted(blocks, key=lambda block: block.start, reverse=True):
        body = body[: block.start] + body[block.end :]
    return body


def _of_the_type(objects: Iterable[Found], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects that have a field of the type, and those inside of others, where a model wrapped the answer.

    The longest comes first: it is most likely what was meant.
    """
    fields = set(schema.get("properties", {}))
    found = []
    for value in (one.value for one in sorted(objects, key=lambda one: one.end - one.start, reverse=True)):
        if fields & set(value) or not fields:
            found.append(fitted(value, schema))
        else:
            inner = [item for item in value.values() if isinstance(item, dict) and fields & set(item)]
            found += [fitted(item, schema) for item in inner]
    return found


def _with_and_without_blocks(
    value: dict[str, Any], schema: dict[str, Any], paths: list[Path], blocks: list[Block]
) -> list[dict[str, Any] | str]:
    own = fields_of_code(value, schema)
    if not blocks:
        return [value]
    filled = list(_with_blocks(value, paths, blocks))
    if not own:
        return filled
    # A field may say no more than "see above", and a block beside a whole answer may be an example of its use.
    in_blocks, in_fields = sum(len(block.text) for block in blocks), sum(map(len, own))
    return [*filled, value] if in_blocks > in_fields else [value, *filled]


def _with_blocks(value: dict[str, Any], paths: list[Path], blocks: list[Block]) -> Iterator[dict[str, Any] | str]:
    filled = copy.deepcopy(value)
    slots = [slot for path in paths for slot in _slots(filled, path)]
    if len(slots) == len(blocks):
        for (holder, name), block in zip(slots, blocks, strict=True):
            holder[name] = block.text
        yield filled
    elif len(slots) == 1:
        # Examples of use, or a first draft, may stand beside what is meant: that is mostly the longest.
        holder, name = slots[0]
        for block in sorted(blocks, key=lambda block: len(block.text), reverse=True):
            holder[name] = block.text
            yield copy.deepcopy(filled)
    else:
        places = ", ".join(_shown(path) for path in paths)
        yield (
            f"There must be {len(slots)} fenced blocks of Python, one for {places} in the order of the JSON object, "
            f"and the answer has {len(blocks)}."
        )


def _shown(path: Path) -> str:
    """The way to a field, as people say it: `tests[].code` is "code of each of tests"."""
    *before, name = [part for part in path if part != EACH]
    return f"{name} of each of {'.'.join(before)}" if before else name


def _slots(value: Any, path: Path) -> list[tuple[dict[str, Any], str]]:
    """The objects that hold the field at the end of a path, each with the field's name."""
    holders = [value]
    for name in path[:-1]:
        if name == EACH:
            holders = [item for holder in holders if isinstance(holder, list) for item in holder]
        else:
            holders = [holder[name] for holder in holders if isinstance(holder, dict) and name in holder]
    return [(holder, path[-1]) for holder in holders if isinstance(holder, dict)]


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
