"""How a value crosses the boundary of a script: as text, strictly parsed on the other side.

Standard library only: a copy of this module stands beside every saved generation, where the test fixture reads the
outputs of a solution with it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Final

Plain = str | int | float | bool | datetime.datetime | datetime.timedelta

PLAIN_TYPES: Final[dict[str, type]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "datetime": datetime.datetime,
    "timedelta": datetime.timedelta,
}
"""The scalar types of a contract by the name that stands for them in plain data."""

_TIMEDELTA = re.compile(
    r"(?:(?P<days>-?\d+) days?(?:, )?)?"
    r"(?:(?P<hours>\d+):(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2})(?:\.(?P<fraction>\d{1,6}))?)?"
)


def format_value(value: Plain) -> str:
    """The text that stands for `value` on a command line and in an output file.

    Args:
        value: A scalar of one of `PLAIN_TYPES`.

    Returns:
        `true` or `false` for a bool, ISO 8601 for a datetime, `str()` for the rest.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return value.isoformat()
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
    except (ValueError, OverflowError) as error:
        shown = stripped if len(stripped) <= 80 else stripped[:77] + "..."
        raise ValueError(f"{shown!r} is not {_EXPECTED[type_name]}") from error


def is_value_of(value: object, type_name: str) -> bool:
    """Whether `value` may be passed where the contract says `type_name`; an int may stand for a float."""
    if type_name == "float":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if type_name == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, PLAIN_TYPES[type_name])


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
}
_EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "'true' or 'false'",
    "datetime": "a date and time in ISO 8601",
    "timedelta": "a duration as str(timedelta) writes it, such as '1 day, 2:00:00'",
}
