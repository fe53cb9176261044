"""What a person is shown who is asked to approve something: as Markdown, and as text.

All of it that a model or a user wrote stands where it can't be taken for anything else, letter by letter: what can't be
seen is written out, so that what is read is what will run.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Iterator
from typing import Final

from flyteplugins.codegen.core.review import ReviewRequest

_UNSEEN: Final = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
"""Control and format characters, surrogates, characters of private use, and separators that end no line of Python."""

_TITLE: Final = {"plan": "the plan", "code": "the code", "packages": "the packages"}
_LANGUAGE: Final = {"plan": "text", "code": "python", "packages": "text"}


def visible(text: str) -> str:
    """The text with every character that can't be seen written out, such as `<U+202E>`; line feeds and tabs stay.

    A terminal shows it and does not obey it, and nothing in it reads otherwise than it runs.

    Args:
        text: Any text.

    Returns:
        The text.
    """
    return "".join(
        f"<U+{ord(char):04X}>" if char not in "\n\t" and unicodedata.category(char) in _UNSEEN else char
        for char in text
    )


def fenced(text: str, language: str = "text") -> str:
    """The text in a Markdown fence that nothing in it can close.

    Args:
        text: Any text.
        language: What it is highlighted as.

    Returns:
        Markdown.
    """
    shown = visible(text).strip("\n")
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{shown}\n{fence}"


def as_markdown(request: ReviewRequest) -> str:
    """What waits for a decision, as Markdown.

    Args:
        request: The request.

    Returns:
        Markdown in which all foreign text is in fences.
    """
    return "\n\n".join(
        [
            f"# To be approved: {heading(request)}",
            *(f"## {title}\n\n{fenced(text, language)}" for title, text, language in parts(request)),
        ]
    )


def heading(request: ReviewRequest) -> str:
    """What waits for a decision, in a few words."""
    version = f", version {request.number}" if request.number > 1 else ""
    whose = " of the tests" if request.whose == "tests" else ""
    return f"{_TITLE[request.kind]}{whose}{version}{f' (attempt {request.attempt})' if request.attempt else ''}"


def parts(request: ReviewRequest) -> Iterator[tuple[str, str, str]]:
    """The parts of what is shown: title, text, and the language that it is highlighted as.

    Args:
        request: The request.

    Yields:
        Each part that there is.
    """
    if request.problem:
        yield "Why your version can't be used", request.problem, "text"
    yield "What was asked", "\n\n".join([request.prompt, *request.follow_ups]), "text"
    if request.constraints:
        yield "Constraints", "\n".join(f"{n}. {line}" for n, line in enumerate(request.constraints, 1)), "text"
    yield "The plan in short", request.plan.description, "text"
    if request.because:
        yield "Why there is another version", request.because, "text"
    title = _TITLE[request.kind].capitalize()
    yield title, request.version or "(none)", _LANGUAGE[request.kind]
    if request.resolved:
        yield "What would be installed", "\n".join(request.resolved), "text"
    if request.kind == "plan" and request.plan.packages:
        yield "Packages that the code will probably need", "\n".join(request.plan.packages), "text"
    if request.before and request.before != request.version:
        yield "What is different from the version before", _difference(request.before, request.version), "diff"


def _difference(before: str, after: str) -> str:
    lines = difflib.unified_diff(before.split("\n"), after.split("\n"), "before", "now", lineterm="")
    return "\n".join(lines)
