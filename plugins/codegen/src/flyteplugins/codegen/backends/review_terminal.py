"""Asking a person in the terminal: what is shown goes to standard error, what they type comes from standard input."""

from __future__ import annotations

import getpass
import select
import sys
import threading
import time
from typing import Final

from flyteplugins.codegen.backends.review_channels import in_thread
from flyteplugins.codegen.core.errors import ReviewFailedError
from flyteplugins.codegen.core.review import ReviewDecision, ReviewRequest
from flyteplugins.codegen.report.review import heading, parts, visible

_SUFFIX: Final = {"plan": ".md", "code": ".py", "packages": ".txt"}
_LOOK_AGAIN: Final = 0.2
"""Seconds after which it is looked whether the generation was ended meanwhile."""

_TURN: Final = threading.Lock()
"""There is one terminal: of generations side by side, one asks at a time."""

_HOW: Final = "[a]pprove, [r]eject, or [e]dit in $EDITOR? "


class TerminalChannel:
    """Asks in the terminal that the program was started in."""

    name = "terminal"

    async def ask(self, request: ReviewRequest, seconds: float | None) -> ReviewDecision | None:
        """Show what is to be decided and read an answer; the time is for the first key, not for the editor."""
        ended = threading.Event()
        try:
            decision: ReviewDecision | None = await in_thread(lambda: _in_turn(request, seconds, ended))
        finally:
            ended.set()
        return decision


def _in_turn(request: ReviewRequest, seconds: float | None, ended: threading.Event) -> ReviewDecision | None:
    while not _TURN.acquire(timeout=_LOOK_AGAIN):
        if ended.is_set():
            return None
    try:
        return _decision(request, seconds, ended)
    finally:
        _TURN.release()


def _decision(request: ReviewRequest, seconds: float | None, ended: threading.Event) -> ReviewDecision | None:
    deadline = None if seconds is None else time.monotonic() + seconds
    _show(request)
    while True:
        answer = _line(_HOW, deadline, ended)
        if answer is None:
            return None
        chosen = answer.strip().lower()
        if chosen in ("a", "approve"):
            return ReviewDecision.approve(by=_who())
        if chosen in ("r", "reject"):
            reason = _line("What is to be different? (nothing: end the generation) ", None, ended)
            return None if reason is None else ReviewDecision.reject(reason, by=_who())
        if chosen in ("e", "edit") and (version := _edited(request)):
            return ReviewDecision.edit(version, by=_who())


def _show(request: ReviewRequest) -> None:
    from rich.console import Console
    from rich.syntax import Syntax
    from rich.text import Text

    console = Console(stderr=True, highlight=False)
    console.rule(Text(f"To be approved: {heading(request)}"))
    for title, text, language in parts(request):
        console.print(Text(f"\n{title}", style="bold"))
        shown = visible(text).strip("\n")
        if language == "text":
            console.print(Text(shown), soft_wrap=True)
        else:
            console.print(Syntax(shown, language, line_numbers=language == "python", word_wrap=True))
    console.print()


def _line(prompt: str, deadline: float | None, ended: threading.Event) -> str | None:
    """A line that is typed; None where the time is up or the generation has ended."""
    print(prompt, end="", file=sys.stderr, flush=True)  # noqa: T201 # this is the question
    while not ended.is_set():
        left = _LOOK_AGAIN if deadline is None else min(_LOOK_AGAIN, deadline - time.monotonic())
        if left <= 0:
            break
        if select.select([sys.stdin], [], [], left)[0]:
            if line := sys.stdin.readline():
                return line
            raise ReviewFailedError("Nobody can be asked any more: standard input was closed.")
    print(file=sys.stderr)  # noqa: T201 # what comes next begins a line of its own
    return None


def _edited(request: ReviewRequest) -> str | None:
    import rich_click as click

    try:
        return click.edit(request.version, extension=_SUFFIX[request.kind])
    except click.ClickException as error:
        print(f"{error.format_message()} Name another editor in $EDITOR.", file=sys.stderr)  # noqa: T201 # as above
        return None


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        return ""
