"""The command of a serialised task, run by hand on folders laid out as Flyte's sidecar stages them in a pod."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flyte.extras import serialize
from flyte.io import Dir, File


def run_staged(
    task: Any,
    values: Mapping[str, Any],
    folder: Path,
    env: Mapping[str, str] | None = None,
    *,
    listed_in_order: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run what a container on a cluster would.

    Args:
        task: A task of generated code in an environment.
        values: Its inputs.
        folder: An empty folder; the outputs end up in `outputs` in it.
        env: The variables of the container.
        listed_in_order: Whether `inputs.json` is there, which says in what order the files of a list are.

    Returns:
        The finished process.
    """
    inputs, outputs = folder / "inputs", folder / "outputs"
    inputs.mkdir(parents=True)
    outputs.mkdir()
    for name, value in values.items():
        stage(value, inputs / name)
    if listed_in_order:
        (inputs / "inputs.json").write_text(json.dumps({name: listed(value, name) for name, value in values.items()}))
    template = serialize(task).task_template
    arguments = [
        argument.replace("=/var/inputs", f"={inputs}").replace("=/var/outputs", f"={outputs}")
        for argument in template.container.args
    ]
    assert arguments[0] == "python"
    return subprocess.run(
        [sys.executable, *arguments[1:]], cwd=folder, capture_output=True, text=True, check=False, env=dict(env or {})
    )


def stage(value: Any, target: Path) -> None:
    """Write one input as the sidecar does: each in a file of its name, files in a folder of that name."""
    if isinstance(value, Dir):
        shutil.copytree(value.path, target)
    elif isinstance(value, File) or _is_files(value):
        files = value if isinstance(value, list) else [value]
        target.mkdir()
        for file, name in zip(files, names_of(files), strict=True):
            shutil.copy(file.path, target / name)
    else:
        target.write_bytes(text_of(value).encode())


def names_of(files: Sequence[File]) -> list[str]:
    """What the sidecar calls the files of a list: as they are called, with their number where that is taken."""
    names: list[str] = []
    for number, file in enumerate(files):
        name = Path(file.path).name
        names.append(f"{number}_{name}" if name in names else name)
    return names


def listed(value: Any, name: str) -> Any:
    """An input in `inputs.json`, which the sidecar writes beside the others."""
    if _is_files(value):
        return [f"/var/inputs/{name}/{one}" for one in names_of(value)]
    return f"/var/inputs/{name}" if isinstance(value, (File, Dir)) else text_of(value)


def _is_files(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, File) for one in value)


def text_of(value: Any) -> str:
    """A scalar as the sidecar, which is written in Go, prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(str(value)) or f"{value:f}".rstrip("0").rstrip(".")
    if isinstance(value, (dict, list)):
        return json.dumps(value)  # as the task has it: its interface says text
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return f"{value}T00:00:00Z"
    if isinstance(value, datetime.datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)
        return moment.astimezone(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
    if isinstance(value, datetime.timedelta):
        minutes, microseconds = divmod(abs(value) // datetime.timedelta(microseconds=1), 60_000_000)
        hours, minutes = divmod(minutes, 60)
        seconds = f"{microseconds / 1e6:.6f}".rstrip("0").rstrip(".")
        return f"{'-' if value < datetime.timedelta(0) else ''}{hours}h{minutes}m{seconds}s"
    return str(value)
