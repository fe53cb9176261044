"""What a raw container of Flyte 1 can't carry by itself: tables, JSON, folders and lists of files, in workflows."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from crossing import INPUTS, crossing
from eager_queue import placed
from flytekit import current_context, dynamic, task, workflow
from flytekit.configuration import ImageConfig, SerializationSettings
from flytekit.tools.translator import get_serializable
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
def made(rows: int) -> tuple[pd.DataFrame, dict]:  # type: ignore[type-arg]  # so flytekit knows it
    return pd.DataFrame({"n": range(rows)}), {"rows": rows, "deep": [1, 2.5, None, {"ü": "O'Brien"}]}


@task
def written(name: str) -> FlyteFile:
    path = Path(current_context().working_directory) / f"{name}.csv"
    path.write_text(name)
    return FlyteFile(str(path))


@pytest.mark.isolation
@pytest.mark.parametrize("around", [workflow, dynamic])
def test_every_type_crosses(around: Any, everything: CodeGenEvalResult, folder: Path, files: list[FlyteFile]) -> None:
    code = everything.as_task()

    @around  # type: ignore[untyped-decorator] # flytekit has no types
    def through(
        rows: int,
        items: str,
        day: datetime.date,
        folder: FlyteDirectory,
        files: list[FlyteFile],
        # flytekit knows `dict` without its types
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
    assert given.table.open(pd.DataFrame).all().shape == (2, 2)


@pytest.mark.isolation
def test_promises_in_a_list_of_files_are_a_node(everything: CodeGenEvalResult, folder: Path, tmp_path: Path) -> None:
    code = everything.as_task()

    @workflow
    def of_made_files(rows: int, folder: FlyteDirectory) -> tuple[str, dict]:  # type: ignore[type-arg]  # so flytekit knows it
        files = [written(name="x"), written(name="y")]
        table, _ = made(rows=rows)
        given = code(table=table, options={"a": 1}, items=[], day=datetime.date(2026, 1, 1), folder=folder, files=files)
        return given.items, given.options

    assert sum("folder_of" in node.flyte_entity.name for node in of_made_files.nodes) == 1
    assert not any("json_of" in node.flyte_entity.name for node in of_made_files.nodes)
    items, options = of_made_files(rows=1, folder=FlyteDirectory(str(folder)))
    assert json.loads(items) == [[], ["x.csv", "y.csv"]]
    assert options == {"given": {"a": 1}}


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


def staged(result: CodeGenEvalResult, place: Path, *, under_address: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the container's command with inputs as Flyte 1's sidecar stages them: a folder under its whole address."""
    inputs, outputs = place / "inputs", place / "outputs"
    outputs.mkdir(parents=True)
    parts = {"folder": {"a.txt": "a", "inner/b.txt": "b"}, "files": {f"{n}/week.csv": f"{n}" for n in (10, 2, 1)}}
    for name, files in parts.items():
        for path, content in files.items():
            target = inputs / name / (f"raw/x/{name}" if under_address else "") / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content)
    (inputs / "options").write_text('{"a": [1, null]}')
    (inputs / "items").write_text("[1]")
    (inputs / "day").write_text("2026-02-28T00:00:00Z")
    pd.DataFrame({"n": [1, 2]}).to_parquet(inputs / "table")
    settings = SerializationSettings(image_config=ImageConfig(default_image=None))
    task = result.as_task(image="registry.example/codegen:1")
    template = get_serializable(OrderedDict(), settings, task).to_flyte_idl().template
    command = placed(template, place, {name: f"s3://bucket/raw/x/{name}" for name in INPUTS})
    return subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, check=False, cwd=place)


@pytest.mark.parametrize("under_address", [True, False])
def test_the_container_finds_what_flyte_1_stages(
    everything: CodeGenEvalResult, tmp_path: Path, under_address: bool
) -> None:
    done = staged(everything, tmp_path / "pod", under_address=under_address)
    assert done.returncode == 0, done.stderr
    outputs = tmp_path / "pod" / "outputs"
    assert json.loads((outputs / "items").read_text()) == [[1], ["week.csv"] * 3]
    assert json.loads((outputs / "options").read_text()) == {"given": {"a": [1, None]}}
    assert (outputs / "day").read_text() == "2026-02-28T00:00:00+00:00"
    assert list(pd.read_parquet(outputs / "frame")["n"]) == [1, 2]
    assert sorted(path.name for path in (outputs / "folder").iterdir()) == ["a.txt", "b.txt"]


async def test_a_container_that_would_lose_folders_says_so(tmp_path: Path) -> None:
    result = await crossing('(outputs / "folder").mkdir()', '(outputs / "folder" / "deep").mkdir(parents=True)')
    done = staged(result, tmp_path / "pod")
    assert done.returncode == 1
    assert "Output 'folder': it has folders in it" in done.stderr


async def test_files_of_a_list_keep_their_order(tmp_path: Path) -> None:
    result = await crossing("Path(path).name for path in args.files", "Path(path).read_text() for path in args.files")
    done = staged(result, tmp_path / "pod")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "pod" / "outputs" / "items").read_text())[1] == ["1", "2", "10"]
