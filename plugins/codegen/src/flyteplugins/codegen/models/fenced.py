"""What models put around an answer: thinking in front of it, and Markdown fences."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from typing import Final

from flyteplugins.codegen.models.source import parses

_THINKING: Final = re.compile(r"\A\s*<(think(?:ing)?)>.*?(?:</\1>|\Z)", re.DOTALL)
_END_OF_THINKING: Final = re.compile(r"</think(?:ing)?>")
_FENCE: Final = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w+.-]*)[ \t]*(?P<more>[^\n`]*)$", re.MULTILINE
)

_MOST_FENCES: Final = 1000
"""How many fences of a text are looked at."""

_MOST_CLOSINGS: Final = 10
"""How many more fences are tried as the end of a block of Python that does not parse before the first."""

_PYTHON: Final = frozenset({"python", "py", "python3", "pycon"})


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: What stands behind the opening fence, in lower case; empty where nothing does.
        text: What stands between the fences, with its last line end.
        start: Where the opening fence begins in the text around it.
        end: Where the closing fence ends.
    """

    language: str
    text: str
    start: int
    end: int

    @property
    def is_python(self) -> bool:
        """Whether it says that it is Python."""
        return self.language in _PYTHON


def without_thinking(text: str) -> str:
    """The answer without the thinking that some models write in front of it.

    Args:
        text: What a model wrote.

    Returns:
        What follows the thinking; an empty text where it never ends.
    """
    if _THINKING.match(text):
        return _THINKING.sub("", text, count=1)
    # Where the opening tag is a part of the prompt's template, only the closing one is in the answer.
    end = _END_OF_THINKING.search(text)
    if end and "```" not in text[: end.start()] and "{" not in text[: end.start()]:
        return text[end.end() :]
    return text


def fenced_blocks(text: str) -> list[Block]:
    """The fenced blocks of a text, in order.

    A block of Python may itself have fences in its strings: it ends at the first fence with which it parses, and at
    the first one of all where it never does. A block that is not closed goes to the end of the text.

    Args:
        text: What a model wrote.

    Returns:
        The blocks; none lies in another.
    """
    fences = list(itertools.islice(_FENCE.finditer(text), _MOST_FENCES))
    blocks: list[Block] = []
    position = 0
    while position < len(fences):
        closing = _closing(text, fences, position)
        blocks.append(_block(text, fences[position], fences[closing] if closing is not None else None))
        position = len(fences) if closing is None else closing + 1
    return blocks


def _closing(text: str, fences: list[re.Match[str]], opening: int) -> int | None:
    """Which fence closes the block that one opens."""
    opened = fences[opening]
    closing = (
        place
        for place in range(opening + 1, len(fences))
        if fences[place]["fence"].startswith(opened["fence"])
        and not (fences[place]["language"] or fences[place]["more"])
    )
    first = next(closing, None)
    others = list(itertools.islice(closing, _MOST_CLOSINGS)) if opened["language"].lower() in _PYTHON else []
    if first is None or not others:
        return first
    return next((place for place in (first, *others) if parses(_block(text, opened, fences[place]).text)), first)


def _block(text: str, opening: re.Match[str], closing: re.Match[str] | None) -> Block:
    start = min(opening.end() + 1, len(text))
    stop, end = (closing.start(), closing.end()) if closing else (len(text), len(text))
    return Block(opening["language"].lower(), text[start:stop], opening.start(), end)
