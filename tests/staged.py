"""The command of a serialised task, run by hand on folders laid out as Flyte's sidecar stages them in a pod."""

from __future__ import annotations

import datetime
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flyte.extras import serialize
from flyte.io import File


def run_staged(
    task: Any, values: Mapping[str, Any], folder: Path, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run what a container on a cluster would.

    Args:
        task: A task of generated code in an environment.
        values: Its inputs.
        folder: An empty folder; the outputs end up in `outputs` in it.
        env: The variables of the container.

    Returns:
        The finished process.
    """
    inputs, outputs = folder / "inputs", folder / "outputs"
    inputs.mkdir(parents=True)
    outputs.mkdir()
    for name, value in values.items():
        stage(value, inputs / name)
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
    """Write one input as the sidecar does: each in a file of its own name, a `File` in a folder of that name."""
    if isinstance(value, File):
        target.mkdir()
        shutil.copy(value.path, target / Path(value.path).name)
    else:
        target.write_bytes(text_of(value).encode())


def text_of(value: Any) -> str:
    """A scalar as the sidecar, which is written in Go, prints it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}.get(str(value)) or f"{value:f}".rstrip("0").rstrip(".")
    if isinstance(value, datetime.datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)
        return moment.astimezone(datetime.timezone.utc).isoformat().replace("+00:00", "Z")
    if isinstance(value, datetime.timedelta):
        minutes, microseconds = divmod(abs(value) // datetime.timedelta(microseconds=1), 60_000_000)
        hours, minutes = divmod(minutes, 60)
        seconds = f"{microseconds / 1e6:.6f}".rstrip("0").rstrip(".")
        return f"{'-' if value < datetime.timedelta(0) else ''}{hours}h{minutes}m{seconds}s"
    return str(value)
