"""What models put around an answer: thinking in front of it, and Markdown fences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from flyteplugins.codegen.models.source import parses

_THINKING: Final = re.compile(r"\A\s*<(think(?:ing)?)>.*?(?:</\1>|\Z)", re.DOTALL)
_END_OF_THINKING: Final = re.compile(r"</think(?:ing)?>")
_FENCE: Final = re.compile(r"^ {0,3}(?P<fence>`{3,}|~{3,})[ \t]*(?P<language>[\w+.-]*)(?P<more>[^\n`]*)$", re.MULTILINE)

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
    blocks: list[Block] = []
    position = 0
    while opening := _FENCE.search(text, position):
        block = _block(text, opening)
        blocks.append(block)
        position = max(block.end, opening.end())
    return blocks


def _block(text: str, opening: re.Match[str]) -> Block:
    language = opening["language"].lower()
    start = min(opening.end() + 1, len(text))
    fence = opening["fence"]
    closing = re.compile(rf"^ {{0,3}}{re.escape(fence[0])}{{{len(fence)},}}[ \t]*$", re.MULTILINE)
    ends = list(closing.finditer(text, start))
    if not ends:
        return Block(language, text[start:], opening.start(), len(text))
    chosen = ends[0]
    if language in _PYTHON and len(ends) > 1 and not parses(text[start : chosen.start()]):
        chosen = next((end for end in ends[1:] if parses(text[start : end.start()])), chosen)
    return Block(language, text[start : chosen.start()], opening.start(), chosen.end())
