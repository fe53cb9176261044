"""Texts that people and models get to see: within a budget, and comparable between attempts."""

from __future__ import annotations

import hashlib
import re
from typing import Final

LONGEST_MESSAGE: Final = 6_000
"""Characters of a failure that reach a person or the model."""

_PASSING: Final = (
    (re.compile(r"0x[0-9a-fA-F]+"), "0x"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[.,\d]*(?:Z|[+-]\d\d:?\d\d)?"), "<time>"),
    (re.compile(r"(?:/[\w.@+-]+)+/(?=[\w.@+-]+)"), ""),
    (re.compile(r"\bline \d+"), "line"),
    (re.compile(r"(?<=\.py):\d+(?::\d+)?"), ""),
    (re.compile(r"\b\d+(?:\.\d+)?\s?(?:s|ms|seconds)\b"), "<seconds>"),
    (re.compile(r"\b(?:run|solution|tmp|pytest)-?\w*\d\b"), "<temporary>"),
    (re.compile(r"\s+"), " "),
)
"""What differs between two runs that fail in the same way: addresses, times, folders, line numbers."""


def shortened(text: str, longest: int = LONGEST_MESSAGE) -> str:
    """Head and tail of a text.

    Args:
        text: Any text.
        longest: Characters that it may have.

    Returns:
        The text where it is short enough, else its beginning and its end with a note between them.
    """
    if len(text) <= longest:
        return text
    note = "\n... {} characters left out ...\n"
    kept = max(0, longest - len(note) - 10)
    head, tail = kept // 3, kept - kept // 3
    return text[:head] + note.format(len(text) - kept) + text[len(text) - tail :]


def last_lines(text: str, longest: int = 3_000) -> str:
    """The end of what a program printed, where a traceback says what happened."""
    stripped = text.strip()
    return stripped if len(stripped) <= longest else "... " + stripped[-longest:]


def signature(*parts: str) -> str:
    """What tells a failure from another one; equal for the same failure in two attempts."""
    text = "\n".join(parts)
    for pattern, replacement in _PASSING:
        text = pattern.sub(replacement, text)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
