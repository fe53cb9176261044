"""`codegen export`."""

from __future__ import annotations

from pathlib import Path

from flyteplugins.codegen.cli.console import Screen
from flyteplugins.codegen.results import export as exporting
from flyteplugins.codegen.results.saved import load


def export(screen: Screen, folder: Path, to: str, out: Path, force: bool) -> None:
    """Write a saved generation as a module of its own; the arguments are those of the command."""
    files = exporting.export(load(folder), out, to, force=force)
    target = out.expanduser().absolute()
    for file in files:
        screen.say(str(file.relative_to(target)))
    screen.say(f"\nIn {target}. How to run it stands in {exporting.README} there.")
    screen.document(
        {"success": True, "folder": str(target), "files": [str(path.relative_to(target)) for path in files]}
    )
