"""The programs in `docs/tasks.md` do what they say: each is run as it stands, beside a saved generation."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from control_plane import ControlPlane
from flyte.io import File
from handmade import TOTAL, made_result

pytestmark = pytest.mark.isolation

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "tasks.md").read_text(encoding="utf-8")
PIPELINE, CALLS, DEPLOYS, SERIALISES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
[COMMANDS] = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A saved generation, and the files that the page speaks of."""
    place = tmp_path / "project"
    place.mkdir()
    (place / "sales.csv").write_text("amount\n1\n2.5\n")
    (place / "more.csv").write_text("amount\n10\n")
    samples = {"sales": File(path=str(place / "sales.csv"))}
    result = await made_result(TOTAL, outputs={"total": float, "rows": int}, samples=samples, name="total")
    result.save(place / "generation")
    (place / "pipeline.py").write_text(PIPELINE)
    return place


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(TESTS), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_pipeline(folder: Path) -> None:
    assert run(folder, sys.executable, "pipeline.py").split() == ["13.5"]


def test_the_commands(folder: Path) -> None:
    first, second = COMMANDS.splitlines()
    for command, total in ((first, "3.5"), (second, "10.0")):
        flyte, *arguments = shlex.split(command)
        assert total in run(folder, str(Path(sys.executable).with_name(flyte)), *arguments)


def test_the_ways_to_call_it(folder: Path) -> None:
    assert run(folder, sys.executable, "-c", CALLS).splitlines()[-3:] == ["(3.5, 2)", "(10.0, 1)", "[2, 1]"]


def test_the_deployment(folder: Path) -> None:
    with ControlPlane() as control_plane:
        # In the place of a configuration file: one can't say that the image is built already.
        told = DEPLOYS.replace(
            "flyte.init_from_config()",
            "from control_plane import BuiltElsewhere\n"
            f"flyte.init(endpoint={control_plane.endpoint!r}, insecure=True, org='o', project='p', domain='d', "
            "image_builder=BuiltElsewhere())",
        )
        assert told != DEPLOYS
        run(folder, sys.executable, "-c", told)
        assert set(control_plane.deployed) == {"add-up", "pipeline.report"}


def test_what_is_sent(folder: Path) -> None:
    told = run(folder, sys.executable, "-c", SERIALISES)
    assert told.split() == ["raw-container", "2", "['--sales=/var/inputs/sales',", "'--outputs=/var/outputs']"]
