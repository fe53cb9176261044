"""How figures and foreign text are worded wherever people read them."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from flyteplugins.codegen.core.events import ModelRetried, ReviewAnswered
from flyteplugins.codegen.core.history import Review

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")

_CONTROLS: Final = ("Cc", "Cf", "Cs")
"""Control characters, the format characters with which text can be made to read otherwise than it is, and the
surrogates, which no file can hold."""

_KEPT: Final = "\n\t\u200c\u200d"
"""Two joiners among them: some scripts are not written without them."""


def plain(text: str) -> str:
    """Text that a terminal shows and does not obey: without escape sequences and control characters.

    What a model or its code wrote reaches the user's terminal, log and report through this.

    Args:
        text: Any text.

    Returns:
        The text; line feeds and tabs stay.
    """
    return "".join(char for char in _ANSI.sub("", text) if char in _KEPT or unicodedata.category(char) not in _CONTROLS)


def one_line(text: str) -> str:
    """The text as a single line that is shown and not obeyed; white space of any length is one space."""
    return " ".join(plain(text).split())


def count_of(number: int, noun: str) -> str:
    """Such as `1 call` and `2 calls`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def cost_of(dollars: float | None) -> str:
    """US dollars as text; None is a price that is not known."""
    return "cost not known" if dollars is None else f"${dollars:.4f}"


def retry_of(event: ModelRetried) -> str:
    """A line about a call that is made again."""
    wait = f", again in {event.wait_seconds:.1f} s" if event.wait_seconds else ""
    return f"{event.step}: {event.model}: {event.reason}{wait}"


def decision_of(event: ReviewAnswered | Review) -> str:
    """A line about what a person decided."""
    who = "nobody in time" if event.timed_out else event.by or "a person"
    reason = f": {event.reason}" if event.reason else ""
    return f"{event.kind} {event.verdict} by {who}{', from the record' if event.served else ''}{reason}"
