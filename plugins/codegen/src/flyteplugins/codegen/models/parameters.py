"""The parameters of a call, and those of them that a model does not take."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

CACHE_MARKS: Final = "cache_control"
"""Stands among the parameters for the marks where the shared part of a prompt ends."""

_LENGTH: Final = "max_tokens"
_NEW_LENGTH: Final = "max_completion_tokens"
"""What reasoning models call the limit of an answer."""

_NOT_TAKEN: Final = re.compile(
    r"unsupported|unexpected|unknown|unrecogni[sz]ed|deprecated|incompatible|extra (inputs|fields)|only the default"
    r"|(not|n't)[ -](be )?(support|allow|permit|recogni[sz]|expect|accept|used|set|specified)"
    r"|may only be|must be (omitted|unset)",
    re.IGNORECASE,
)
"""How endpoints say that they do not take a parameter at all. A value that they do not take is the user's to change."""


def taken(params: Mapping[str, Any], left_out: Collection[str]) -> dict[str, Any]:
    """The parameters that a model takes.

    Args:
        params: All of them.
        left_out: Names of those that it does not take.

    Returns:
        The rest; a limit of the answer's length goes by its other name where the model does not take the first.
    """
    rest = {name: value for name, value in params.items() if name not in left_out}
    if _LENGTH in left_out and _LENGTH in params:
        rest.setdefault(_NEW_LENGTH, params[_LENGTH])
    return rest


def not_taken(said: str, names: Collection[str]) -> str | None:
    """The parameter that an endpoint says it does not take.

    Args:
        said: The error.
        names: The parameters of the call.

    Returns:
        One of them, or None.
    """
    if not _NOT_TAKEN.search(said):
        return None
    if _LENGTH in names and _NEW_LENGTH in said:
        return _LENGTH
    return next((name for name in named(said, names) if name != _LENGTH), None)


def named(said: str, names: Collection[str]) -> list[str]:
    """The parameters that an error names.

    Args:
        said: The error.
        names: The parameters of the call.

    Returns:
        Those of them, in their order.
    """
    return [name for name in names if re.search(rf"\b{re.escape(name)}\b", said)]
