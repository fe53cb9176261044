"""Putting together an answer that was cut off and went on in the next."""

from __future__ import annotations

import re
from typing import Final

_OPENING: Final = re.compile(r"\A\s*(?:`{3,}|~{3,})[\w+.-]*[ \t]*\n")
_FENCE: Final = re.compile(r"^ {0,3}(?:`{3,}|~{3,})", re.MULTILINE)
_MOST_REPEATED: Final = 20
"""How many lines a model may say again when it goes on."""

_LEAST_REPEATED: Final = 12
"""How many characters make a repetition: the same bracket twice is more likely meant."""


def completed(text: str) -> str:
    """The lines of an answer that are complete; the last one is said again by who goes on.

    Args:
        text: An answer that was cut off.

    Returns:
        Its lines but the last, with their line ends; empty where there is no whole line.
    """
    return text[: text.rfind("\n") + 1]


def joined(so_far: str, more: str) -> str:
    """An answer and what it went on with.

    Models that go on often open the fenced block again, or repeat the last lines: neither is taken twice.

    Args:
        so_far: Complete lines of an answer.
        more: What came then.

    Returns:
        Both, as one text.
    """
    if len(_FENCE.findall(so_far)) % 2:
        more = _OPENING.sub("", more, count=1)
    before, after = so_far.splitlines(), more.splitlines()
    for count in range(min(_MOST_REPEATED, len(before), len(after)), 0, -1):
        repeated = after[:count]
        if before[-count:] == repeated and sum(len(line.strip()) for line in repeated) >= _LEAST_REPEATED:
            return so_far + "\n".join(after[count:])
    return so_far + more
