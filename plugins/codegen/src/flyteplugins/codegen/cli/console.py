"""Where the commands write to, and how a command ends that failed."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from rich.console import Console

FAILED: Final = 1
"""Exit status of a generation, a run or tests that failed."""

WRONG_USAGE: Final = 2
"""Exit status of a request or a setting that can't be used; nothing was paid for."""


class Screen:
    """Standard output for people, or one JSON document for machines.

    Args:
        as_json: Whether standard output gets the document and nothing else.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        self._console: Console | None = None

    @property
    def console(self) -> Console:
        """Where progress goes: standard error where standard output is for the document."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(stderr=self.as_json, highlight=False)
        return self._console

    def say(self, text: str = "") -> None:
        """Write text for people; escape sequences in it are not obeyed, and long lines are not broken.

        Where a document was asked for nothing is written: it says the same.

        Args:
            text: Any text, of a model or its code too.
        """
        from flyteplugins.codegen.report.words import plain

        if not self.as_json:
            print(plain(text))  # noqa: T201 # this is the command's output

    def document(self, document: dict[str, Any]) -> None:
        """Write the document, where one was asked for.

        Args:
            document: Plain data.
        """
        if self.as_json:
            print(json.dumps(document, indent=2, ensure_ascii=False))  # noqa: T201 # as above

    def fail(self, error: Exception, status: int) -> NoReturn:
        """Tell an error without a traceback and end.

        Args:
            error: What happened.
            status: Exit status.
        """
        from flyteplugins.codegen.report.words import plain

        message = plain(str(error)) or type(error).__name__
        self.document({"success": False, "error": message, "error_type": type(error).__name__})
        print(f"Error: {message}", file=sys.stderr)  # noqa: T201 # as above
        sys.exit(status)
