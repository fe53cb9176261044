"""What a raw container of Flyte 1 can't carry by itself: tables, JSON, folders and lists of files, in workflows."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from crossing import crossing
from flytekit import dynamic, task, workflow
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile
from flytekit.types.structured import StructuredDataset

from flyteplugins.codegen.flytekit import CodeGenEvalResult


@pytest.fixture
async def everything() -> CodeGenEvalResult:
    return await crossing()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "inner" / "b.txt").write_text("b")
    return folder


@pytest.fixture
def files(tmp_path: Path) -> list[FlyteFile]:
    paths = [tmp_path / "one" / "week.csv", tmp_path / "two" / "week.csv", tmp_path / "last of all.csv"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text(path.parent.name)
    return [FlyteFile(str(path)) for path in paths]


def test_types_of_flytekit_are_declared_as_those_of_a_contract(everything: CodeGenEvalResult) -> None:
    assert everything.contract.inputs == {
        "table": "DataFrame",
        "options": "dict",
        "items": "list",
        "day": "date",
        "folder": "Dir",
        "files": "list[File]",
    }
    assert everything.contract.outputs["frame"] == "pandas.DataFrame"


@task
def made(rows: int) -> tuple[pd.DataFrame, dict]:  # type: ignore[type-arg]
    return pd.DataFrame({"n": range(rows)}), {"rows": rows, "deep": [1, 2.5, None, {"ü": "O'Brien"}]}


@pytest.mark.isolation
@pytest.mark.parametrize("around", [workflow, dynamic])
def test_every_type_crosses(around: Any, everything: CodeGenEvalResult, folder: Path, files: list[FlyteFile]) -> None:
    code = everything.as_task()

    @around  # type: ignore[untyped-decorator] # flytekit has no types
    def through(
        rows: int, items: str, day: datetime.date, folder: FlyteDirectory, files: list[FlyteFile]
    ) -> tuple[StructuredDataset, pd.DataFrame, dict, str, datetime.date, FlyteDirectory]:  # type: ignore[type-arg]
        table, options = made(rows=rows)
        given = code(table=table, options=options, items=items, day=day, folder=folder, files=files)
        return given.table, given.frame, given.options, given.items, given.day, given.folder

    table, frame, options, items, day, out = through(
        rows=3, items="[1]", day=datetime.date(2026, 2, 28), folder=FlyteDirectory(str(folder)), files=files
    )
    assert list(table.open(pd.DataFrame).all()["n"]) == list(frame["n"]) == [0, 1, 2]
    assert options == {"given": {"rows": 3, "deep": [1, 2.5, None, {"ü": "O'Brien"}]}}
    assert type(options["given"]["deep"][0]) is int
    assert json.loads(items) == [[1], ["week.csv", "week.csv", "last of all.csv"]]
    assert day == datetime.date(2026, 2, 28)
    assert sorted(path.name for path in Path(out.download()).iterdir()) == ["a.txt", "b.txt"]


@pytest.mark.isolation
def test_values_of_python_are_taken_as_they_are(
    everything: CodeGenEvalResult, folder: Path, files: list[FlyteFile]
) -> None:
    frame = pd.DataFrame({"n": [1, 2]}, index=["x", "y"])
    given = everything.as_task()(
        frame, {"a": 1}, [1, None], datetime.date(2026, 1, 1), folder=FlyteDirectory(str(folder)), files=files
    )
    assert list(given.frame["n"]) == [1, 2]
    assert given.frame.shape == (2, 2)  # an index that says something became a column
    assert (given.options, json.loads(given.items)[0]) == ({"given": {"a": 1}}, [1, None])


@pytest.mark.isolation
async def test_run_takes_and_gives_types_of_flytekit(
    everything: CodeGenEvalResult, folder: Path, files: list[FlyteFile]
) -> None:
    table, frame, options, items, day, out = await everything.run.aio(
        table=StructuredDataset(dataframe=pd.DataFrame({"n": [7]})),
        options={},
        items=[],
        day=datetime.date(2026, 1, 1),
        folder=FlyteDirectory(str(folder)),
        files=files,
    )
    assert isinstance(table, StructuredDataset)
    assert list(table.dataframe["n"]) == list(frame["n"]) == [7]
    assert (options, items[0], day) == ({"given": {}}, [], datetime.date(2026, 1, 1))
    assert isinstance(out, FlyteDirectory)
