"""How a value crosses the boundary of a script: as text, strictly parsed on the other side.

Standard library only: a copy of this module stands beside every saved generation, where the test fixture reads the
outputs of a solution with it.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

Plain = str | int | float | bool | datetime.datetime | datetime.timedelta | datetime.date | dict[str, Any] | list[Any]
"""A value that crosses as text; a file, a folder and a table are none."""

PLAIN_TYPES: Final[dict[str, type]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "datetime": datetime.datetime,
    "timedelta": datetime.timedelta,
    "date": datetime.date,
    "dict": dict,
    "list": list,
}
"""The types of a contract whose values cross as text, by the name that stands for them in plain data."""

JSON_TYPES: Final = ("dict", "list")
"""Those of them whose text is a JSON document."""

_TIMEDELTA = re.compile(
    r"(?:(?P<days>-?\d+) days?(?:, )?)?"
    r"(?:(?P<hours>\d+):(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2})(?:\.(?P<fraction>\d{1,6}))?)?"
)


def format_value(value: Plain) -> str:
    """The text that stands for `value` on a command line and in an output file.

    Args:
        value: A value of one of `PLAIN_TYPES`.

    Returns:
        `true` or `false` for a bool, ISO 8601 for a date and a datetime, a JSON document for a dict and a list, `str()`
        for the rest.

    Raises:
        ValueError: A dict or a list holds what JSON has no word for.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.date):  # a datetime is one as well
        return value.isoformat()
    if isinstance(value, (dict, list)):
        return _format_json(value)
    return str(value)


def parse_value(text: str, type_name: str) -> Plain:
    """Read the text of an output file, or of an argument, as a value of the declared type.

    Nothing is guessed: what is no such value is an error. Strings come back unchanged; for the other types white
    space around the value does not count.

    Args:
        text: What was written.
        type_name: A key of `PLAIN_TYPES`.

    Returns:
        The value.

    Raises:
        ValueError: The text is not a value of that type.
    """
    if type_name == "str":
        return text
    stripped = text.strip()
    try:
        return _PARSERS[type_name](stripped)
    except (ValueError, OverflowError, RecursionError) as error:
        shown = stripped if len(stripped) <= 80 else stripped[:77] + "..."
        raise ValueError(f"{shown!r} is not {_EXPECTED[type_name]}{_detail(error)}") from error


def is_value_of(value: object, type_name: str) -> bool:
    """Whether `value` may be passed where the contract says `type_name`; an int may stand for a float."""
    if type_name == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if type_name == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if type_name == "date":
        return isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)
    if type_name in JSON_TYPES:
        return isinstance(value, PLAIN_TYPES[type_name]) and _is_json(value)
    return isinstance(value, PLAIN_TYPES[type_name])


class _NotJSONError(ValueError):
    """Why a text or a value is no JSON document."""


def _detail(error: Exception) -> str:
    return f": {error}" if isinstance(error, (_NotJSONError, json.JSONDecodeError)) else ""


def _format_json(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False)  # half of a surrogate pair can only be written as an escape
    except (TypeError, ValueError, RecursionError) as error:
        raise _NotJSONError(f"JSON can't hold it: {error}") from error
    return text


def _is_json(value: Any) -> bool:
    """Whether a value is the same after it went through JSON; a tuple and a key that is no text are not."""
    try:
        return bool(json.loads(_format_json(value)) == value)
    except (ValueError, RecursionError):
        return False


def _parse_json(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse_constant, parse_float=_parse_finite, object_pairs_hook=_once_each)


def _refuse_constant(word: str) -> Any:
    raise _NotJSONError(f"JSON has no {word}; write null")


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NotJSONError(f"{text} is beyond what a float holds")
    return number


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise _NotJSONError(f"the name {twice!r} stands twice in an object")
    return found


def _parse_dict(text: str) -> dict[str, Any]:
    found = _parse_json(text)
    if not isinstance(found, dict):
        raise _NotJSONError(f"it is {_json_word(found)}")
    return found


def _parse_list(text: str) -> list[Any]:
    found = _parse_json(text)
    if not isinstance(found, list):
        raise _NotJSONError(f"it is {_json_word(found)}")
    return found


def _json_word(value: Any) -> str:
    words = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return words.get(type(value), "a number")


def _parse_bool(text: str) -> bool:
    # `str(True)` is what most scripts write; anything but the two words is an error, `0` and `1` among them.
    words = {"true": True, "false": False}
    if text.lower() not in words:
        raise ValueError(text)
    return words[text.lower()]


def _parse_int(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d+", text):
        raise ValueError(text)
    return int(text)


def _parse_datetime(text: str) -> datetime.datetime:
    # Python 3.10 does not read the `Z` that other tools write.
    return datetime.datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)


def _parse_date(text: str) -> datetime.date:
    # Python 3.11 reads more forms than 3.10.
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        raise ValueError(text)
    return datetime.date.fromisoformat(text)


def _parse_timedelta(text: str) -> datetime.timedelta:
    match = _TIMEDELTA.fullmatch(text)
    if not match or not text:
        raise ValueError(text)
    part = match.groupdict(default="0")
    return datetime.timedelta(
        days=int(part["days"]),
        hours=int(part["hours"]),
        minutes=int(part["minutes"]),
        seconds=int(part["seconds"]),
        microseconds=int(part["fraction"].ljust(6, "0")),
    )


_PARSERS: Final[dict[str, Callable[[str], Plain]]] = {
    "int": _parse_int,
    "float": float,
    "bool": _parse_bool,
    "datetime": _parse_datetime,
    "timedelta": _parse_timedelta,
    "date": _parse_date,
    "dict": _parse_dict,
    "list": _parse_list,
}
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "'true' or 'false'",
    "datetime": "a date and time in ISO 8601",
    "timedelta": "a duration as str(timedelta) writes it, such as '1 day, 2:00:00'",
    "date": "a date in ISO 8601, such as '2026-01-31'",
    "dict": "a JSON object",
    "list": "a JSON array",
}
