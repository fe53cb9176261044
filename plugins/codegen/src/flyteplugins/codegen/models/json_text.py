"""Finding JSON objects in what a model wrote, also where the JSON is a little wrong."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Final

_MAX_STARTS: Final = 200
"""How many opening braces are tried as the start of an object."""

# Models often put raw line ends into strings, above all into code.
_DECODER: Final = json.JSONDecoder(strict=False)

_STRING_OR_COMMA: Final = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[}\]])', re.DOTALL)
_WRONG_ESCAPE: Final = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4}|.)', re.DOTALL)


@dataclass(frozen=True)
class Found:
    """A JSON object in a text.

    Attributes:
        value: The object.
        start: Where it begins.
        end: Where it ends.
    """

    value: dict[str, Any]
    start: int
    end: int


def json_objects(text: str) -> list[Found]:
    """The JSON objects in a text, outermost only, in order.

    Args:
        text: Any text.

    Returns:
        Those that parse; raw line ends in strings are allowed.
    """
    found: list[Found] = []
    start, tried = text.find("{"), 0
    while start >= 0 and tried < _MAX_STARTS:
        tried += 1
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            end = start + 1
        else:
            found.append(Found(value, start, end))
        start = text.find("{", end)
    return found


def mended(text: str) -> str:
    r"""The JSON in a text, with the slips corrected that leave no doubt: trailing commas, and escapes of no meaning.

    A backslash before a letter that JSON gives no meaning, as in the regular expression `\d`, stands for itself.

    Args:
        text: A text with JSON in it.

    Returns:
        The text from its first brace on; strings that are well formed are unchanged.
    """

    def corrected(match: re.Match[str]) -> str:
        return "" if match[0] == "," else _WRONG_ESCAPE.sub(_as_itself, match[0])

    return _STRING_OR_COMMA.sub(corrected, text[max(0, text.find("{")) :])


def why_no_object(text: str) -> str:
    """What is wrong with a text that should have a JSON object and has none, in words for who wrote it.

    Args:
        text: What a model wrote, without its thinking.

    Returns:
        A sentence.
    """
    start = text.find("{")
    if start < 0:
        return "The answer has no JSON object."
    try:
        _DECODER.raw_decode(text, start)
    except json.JSONDecodeError as error:
        around = text[max(start, error.pos - 40) : error.pos + 40]
        return f"The JSON does not parse: {error.msg} at line {error.lineno} column {error.colno}, near {around!r}."
    except RecursionError:
        return "The JSON is nested too deeply."
    return "The answer has no JSON object."


def _as_itself(escape: re.Match[str]) -> str:
    return escape[0] if len(escape[1]) > 1 or escape[1] in '"\\/bfnrt' else "\\\\" + escape[1]
