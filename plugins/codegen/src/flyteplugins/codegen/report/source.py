"""Source text as HTML: highlighted, line by line, and as a difference."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from flyteplugins.codegen.report.words import plain

_LONGEST: Final = 200_000
"""Characters of one text that are shown; code is far from that, and a page must stay one that opens."""

_DIFFERENCE_LINES: Final = 3_000


def cut(text: str) -> str:
    """The text as a page shows it: without control characters, and not longer than a page can take."""
    shown = plain(text)
    if len(shown) <= _LONGEST:
        return shown
    return f"{shown[:_LONGEST]}\n... {len(shown) - _LONGEST:,} more characters are not shown"


def python_lines(code: str) -> list[str]:
    """Python source as highlighted HTML, one piece a line, each with its own elements closed.

    Args:
        code: Any text; what is no Python is shown as it is.

    Returns:
        Escaped HTML in which `span` elements have the classes of Pygments.
    """
    from pygments import highlight  # type: ignore[import-untyped]  # ships no types
    from pygments.formatters.html import HtmlFormatter  # type: ignore[import-untyped]  # ships no types
    from pygments.lexers.python import PythonLexer  # type: ignore[import-untyped]  # ships no types

    # The formatter escapes all text; nothing of it comes through as an element.
    marked: str = highlight(cut(code), PythonLexer(stripnl=False), HtmlFormatter(nowrap=True))
    return marked.rstrip("\n").split("\n")


@dataclass(frozen=True)
class DiffLine:
    """A line of a difference.

    Attributes:
        kind: What it is.
        text: The line with its sign, `+`, `-` or a space; of a hunk, where it stands.
    """

    kind: Literal["added", "removed", "same", "hunk"]
    text: str


def difference(before: str, after: str) -> list[DiffLine]:
    """What changed, as a unified difference.

    Args:
        before: The earlier text.
        after: The later text.

    Returns:
        Its lines without the names of files; none where both are equal.
    """
    lines = difflib.unified_diff(cut(before).splitlines(), cut(after).splitlines(), lineterm="", n=3)
    changed = list(itertools.islice(_marked(lines), _DIFFERENCE_LINES + 1))
    if len(changed) > _DIFFERENCE_LINES:
        changed[-1] = DiffLine("hunk", "... the rest is not shown")
    return changed


def _marked(lines: Iterator[str]) -> Iterator[DiffLine]:
    for line in itertools.islice(lines, 2, None):
        if line.startswith("@@"):
            yield DiffLine("hunk", line)
        elif line.startswith("+"):
            yield DiffLine("added", line)
        elif line.startswith("-"):
            yield DiffLine("removed", line)
        else:
            yield DiffLine("same", line)
