"""`codegen edit`."""

from __future__ import annotations

import sys
from pathlib import Path

import rich_click as click

from flyteplugins.codegen.cli.console import FAILED, Screen
from flyteplugins.codegen.cli.revise import agent_for, keep_and_tell
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.report.live import View
from flyteplugins.codegen.results import saved


def edit(screen: Screen, folder: Path, tests: bool, no_editor: bool, no_run: bool, sandbox: str | None) -> None:
    """Let a person change the code, check it, and save it with its receipt; the arguments are those of the command."""
    before = saved.recorded(folder)
    if not no_editor:
        _open_editor(folder.absolute() / (saved.TESTS if tests else saved.SOLUTION))
    edits = saved.edits_of(folder)
    if not edits:
        screen.say("Nothing was changed.")
        screen.document({"success": before.success, "error": before.error, "folder": str(folder.absolute())})
        sys.exit(0 if before.success else FAILED)
    view = View(screen.console)
    agent = agent_for(before, view, asks=False, sandbox=sandbox)
    with view:
        result = before.revise(code=edits.get(saved.SOLUTION), tests=edits.get(saved.TESTS), agent=agent)
    keep_and_tell(screen, result, folder, folder.absolute(), no_run=no_run)


def _open_editor(path: Path) -> None:
    if not path.is_file():
        raise InvalidRequestError(f"There is no {path} that could be edited.")
    click.edit(filename=str(path))
