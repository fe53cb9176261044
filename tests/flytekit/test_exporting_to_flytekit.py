"""A generation exported to flytekit: every type, through the module as a person would have written it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from crossing import crossing

from flyteplugins.codegen.results.export import export

BIN = Path(sys.executable).parent

PROGRAM = """
import datetime, json
from pathlib import Path

import pandas as pd
from flytekit import task, workflow
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile
from flytekit.types.structured import StructuredDataset
from pipeline import crossing

Path("folder").mkdir()
Path("folder/a.txt").write_text("a")
for name in ("x.csv", "y.csv"):
    Path(name).write_text(name)


@task
def table_of(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"n": range(rows)})


@workflow
def around(rows: int, files: list[FlyteFile]) -> tuple[StructuredDataset, pd.DataFrame, dict, str, datetime.date]:
    given = crossing(
        table=table_of(rows=rows),
        options={"a": [1, None]},
        items="[1]",
        day=datetime.date(2026, 2, 28),
        folder=FlyteDirectory("folder"),
        files=files,
    )
    return given.table, given.frame, given.options, given.items, given.day


table, frame, options, items, day = around(rows=2, files=[FlyteFile("x.csv"), FlyteFile("y.csv")])
assert list(table.open(pd.DataFrame).all()["n"]) == list(frame["n"]) == [0, 1]
assert options == {"given": {"a": [1, None]}}, options
assert json.loads(items) == [[1], ["x.csv", "y.csv"]], items
assert day == datetime.date(2026, 2, 28)
"""


async def test_every_type_goes_through_an_exported_workflow(tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    export(await crossing(), folder, "flytekit")
    module = folder / "pipeline.py"
    for width in ("88", "120"):
        ruff("format", "--diff", "--line-length", width, module)
    ruff("check", "--select", "E4,E7,E9,F,B,I,UP,C4,SIM,RET,PTH", module)
    assert "flyteplugins" not in module.read_text()
    (folder / "around.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "around.py"], cwd=folder, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Its own imports take what the code did not need.
    assert '"pandas",' in module.read_text()


def ruff(command: str, *arguments: str | Path) -> None:
    """As a formatter and a linter see it that are set up otherwise than ours."""
    done = subprocess.run(
        [BIN / "ruff", command, "--isolated", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
