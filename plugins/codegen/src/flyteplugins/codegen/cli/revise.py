"""`codegen revise`, and what it has in common with `codegen edit`."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from flyteplugins.codegen import AutoCoderAgent, CodeGenEvalResult
from flyteplugins.codegen.backends.origin import settings_of
from flyteplugins.codegen.cli import output
from flyteplugins.codegen.cli.console import FAILED, Screen
from flyteplugins.codegen.cli.generate import refuse_to_lose_edits, run_and_keep, tell
from flyteplugins.codegen.core.errors import CodegenError
from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.report.live import View
from flyteplugins.codegen.results import saved

_OF_ONE_MODEL: Final = ("api_base", "api_key", "litellm_params", "fallback_models")
"""Settings that belong to a model: with another one they do not hold any more."""


def revise(
    screen: Screen,
    folder: Path,
    prompt: str,
    out: Path | None,
    no_run: bool,
    review: tuple[str, ...],
    no_review: bool,
    **chosen: Any,
) -> None:
    """Change the code by a follow-up request and save it; the arguments are those of the command."""
    before = saved.load(folder)
    target = saved.check_folder(out or folder)
    if out is not None and target != folder.absolute():
        refuse_to_lose_edits(target)
    view = View(screen.console)
    agent = agent_for(before, view, review=[] if no_review else list(review) or None, **chosen)
    with view:
        result = before.revise(prompt, agent=agent)
    if not result.success and target == folder.absolute():
        # The code that stands there is as good as it was.
        target = target.with_name(f"{target.name}.failed")
    keep_and_tell(screen, result, folder, target, no_run=no_run)


def agent_for(before: CodeGenEvalResult, view: View, *, asks: bool = True, **chosen: Any) -> AutoCoderAgent:
    """The agent of a generation, with what was chosen for this command.

    Args:
        before: The generation.
        view: Is told of what happens.
        asks: Whether a model will be asked.
        **chosen: Settings by name; None leaves the generation's.

    Returns:
        An agent with all of its settings checked.
    """
    given = {name: value for name, value in chosen.items() if value is not None}
    settings = settings_of(before, asks=asks and "model" not in given)
    values = {field.name: getattr(settings, field.name) for field in fields(Settings) if field.init}
    if given.get("model", settings.model) != settings.model:
        values |= dict.fromkeys(_OF_ONE_MODEL)
    return AutoCoderAgent(**{**values, **given, "on_event": view.on_event})


def keep_and_tell(screen: Screen, result: CodeGenEvalResult, folder: Path, target: Path, *, no_run: bool) -> None:
    """Save a revision, run it on the samples, and print what came of it.

    Args:
        screen: Where to.
        result: The revision.
        folder: The saved generation that it comes from.
        target: Where to save it; over the old generation, that one is kept under `revisions/`.
        no_run: Whether not to run it.
    """
    kept = saved.keep_version(folder) if target == folder.absolute() else None
    saved.save(result, target)
    screen.say()
    screen.say(result.summary())
    screen.say()
    for line in output.revision_lines(result.revisions[-1], len(result.revisions)):
        screen.say(line)
    if kept:
        screen.say(f"The version before is kept in {kept}")
    try:
        runs = result.success and result.tests is not None and not no_run
        values = run_and_keep(result, target) if runs else {}
    except CodegenError:
        screen.say(f"\nSaved in {target}. Its run on the samples failed:")
        raise
    tell(screen, result, target, values)
    if not result.success:
        sys.exit(FAILED)
