"""`codegen demo`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc
import pyarrow.parquet as pq

from flyteplugins.codegen import AutoCoderAgent, CodeGenEvalResult
from flyteplugins.codegen.cli.arguments import generate_arguments
from flyteplugins.codegen.cli.console import FAILED, Screen
from flyteplugins.codegen.cli.demo.request import DATA, GROUP, LOOKALIKE, OUTPUT, RECORDING, SCORE
from flyteplugins.codegen.cli.generate import run_and_keep
from flyteplugins.codegen.core.errors import InvalidRequestError, SandboxUnavailableError
from flyteplugins.codegen.report.live import View
from flyteplugins.codegen.results import saved

_GENERATION: Final = "generation"


def demo(screen: Screen, model: str | None, api_base: str | None, api_key: str | None, out: Path, sandbox: str) -> None:
    """Generate, run, and show what came of it; the arguments are the options of the command."""
    if model is None and not RECORDING.is_file():
        raise InvalidRequestError(f"The recording {RECORDING} is missing. Name a model: codegen demo --model ...")
    saved.check_folder(out / _GENERATION)
    screen.say("The request:")
    screen.say(f"  {LOOKALIKE.prompt}\n")
    screen.say(f"The data:  {', '.join(str(path) for path in LOOKALIKE.samples.values())}")
    screen.say(f"The model: {model or 'a recorded conversation; all else is real'}\n")
    settings: dict[str, Any] = {
        "name": LOOKALIKE.name,
        "model": model or f"replay:{RECORDING}",
        "api_base": api_base,
        "api_key": api_key,
    }
    try:
        result = _generate(screen, {**settings, "sandbox": sandbox})
    except SandboxUnavailableError as error:
        if sandbox != "auto" or model is not None:
            raise
        # The recording's code is known and harmless; nobody else's would be run like this.
        screen.say(f"NOTHING ISOLATES CODE HERE: {error}")
        screen.say("The demo goes on without isolation (sandbox='process'), as its code is that of the recording.\n")
        result = _generate(screen, {**settings, "sandbox": "process"})
    folder = saved.save(result, out / _GENERATION)
    screen.say(f"\n{result.summary()}")
    if not result.success:
        screen.say(f"\nThe best attempt is in {folder}, and all of it in {saved.REPORT} there.")
        _document(screen, result, folder, None, [])
        sys.exit(FAILED)
    values = run_and_keep(result, folder)
    audience = (out / f"{OUTPUT}.parquet").absolute()
    shutil.copyfile(values[OUTPUT], audience)
    groups = groups_of(audience)
    screen.say(f"\n{table(groups)}")
    screen.say(f"\nAudience    {audience}")
    screen.say(f"Generation  {folder}")
    screen.say(f"Report      {folder / saved.REPORT}")
    screen.say(f"Run it again, or on other data: codegen run {folder} [user_features=PATH] [seed=PATH]")
    _document(screen, result, folder, audience, groups)


def groups_of(audience: Path) -> list[dict[str, Any]]:
    """The groups of an audience file.

    Args:
        audience: The Parquet file.

    Returns:
        For each group its name, its number of users, its share of all users, and its lowest and highest score.
    """
    users = pq.read_metadata(DATA / "user_features.parquet").num_rows
    found = pq.read_table(audience)
    rows = []
    for group in sorted(pc.unique(found[GROUP]).to_pylist(), reverse=True):
        members = found.filter(pc.equal(found[GROUP], group))
        scores = pc.min_max(members[SCORE]).as_py()
        rows.append(
            {
                "group": group,
                "users": members.num_rows,
                "share": members.num_rows / users,
                "lowest_score": scores["min"],
                "highest_score": scores["max"],
            }
        )
    return rows


def table(groups: list[dict[str, Any]]) -> str:
    """The groups as text."""
    lines = [f"{'group':<10}{'users':>8}{'of all':>9}{'lowest score':>15}{'highest':>10}"]
    lines += [
        f"{row['group']:<10}{row['users']:>8,}{row['share']:>9.1%}{row['lowest_score']:>15.4f}{row['highest_score']:>10.4f}"
        for row in groups
    ]
    return "\n".join(lines)


def _generate(screen: Screen, settings: dict[str, Any]) -> CodeGenEvalResult:
    with View(screen.console) as view:
        return AutoCoderAgent(on_event=view.on_event, **settings).generate(**generate_arguments(LOOKALIKE))


def _document(
    screen: Screen, result: CodeGenEvalResult, folder: Path, audience: Path | None, groups: list[dict[str, Any]]
) -> None:
    screen.document(
        {
            "success": result.success,
            "error": result.error,
            "folder": str(folder),
            "audience": str(audience) if audience else None,
            "groups": groups,
            "receipt": result.receipt.model_dump(mode="json"),
        }
    )
