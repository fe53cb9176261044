"""Putting together an answer that was cut off and went on in the next."""

from __future__ import annotations

import re
from typing import Final

_OPENING: Final = re.compile(r"\A\s*(?:`{3,}|~{3,})(?P<language>[\w+.-]+)[ \t]*\n")
_FENCE: Final = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,})(?P<language>[\w+.-]*)[ \t]*$", re.MULTILINE)
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
    open_block, opening = _open_block(so_far), _OPENING.match(more)
    if open_block and opening:
        same = opening["language"] == open_block["language"]
        more = ("" if same else f"{open_block['fence']}\n") + more[opening.end() if same else 0 :]
    before, after = so_far.splitlines(keepends=True), more.splitlines(keepends=True)
    for count in range(min(_MOST_REPEATED, len(before), len(after)), 0, -1):
        repeated = after[:count]
        if before[-count:] == repeated and sum(len(line.strip()) for line in repeated) >= _LEAST_REPEATED:
            return so_far + "".join(after[count:])
    return so_far + more


def _open_block(text: str) -> re.Match[str] | None:
    """The opening fence of the block that is not closed at the end of a text."""
    open_block: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if open_block is None:
            open_block = fence
        elif not fence["language"] and fence["fence"].startswith(open_block["fence"]):
            open_block = None
    return open_block
