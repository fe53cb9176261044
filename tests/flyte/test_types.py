"""Values of every type go into a program and come back as they were: in each sandbox, and in each way to call a task.

The same through the container of a cluster is in `test_values_on_a_cluster.py`.
"""

from __future__ import annotations

import asyncio
import datetime
import decimal
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import flyte
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from click.testing import CliRunner
from flyte.io import DataFrame, Dir, File
from handmade import TYPES, made_result
from mirror import mirror

from flyteplugins.codegen import CodeGenEvalResult
from flyteplugins.codegen.cli import arguments
from flyteplugins.codegen.cli.main import main
from flyteplugins.codegen.core.errors import InvalidInputError, OutputInvalidError
from flyteplugins.codegen.sandbox.select import survey

pytestmark = pytest.mark.isolation

UTC = datetime.timezone.utc
KATHMANDU = datetime.timezone(datetime.timedelta(hours=5, minutes=45))
LONG = " \n" + "0123456789 żółć 🙂\r\n" * 150_000 + "\t "

PLAIN: dict[str, tuple[Any, list[Any]]] = {
    "texts": (str, ["", "\n", LONG, "NaN", "--outputs=/nowhere", "1.10", "\u2028 \ufeff"]),
    "decimals as text": (str, ["1.10", "0E-10", "-0", str(decimal.Decimal(1) / 3)]),
    "numbers": (float, [float("inf"), float("-inf"), -0.0, 5e-324, 1.7976931348623157e308, 0.1]),
    "moments": (
        datetime.datetime,
        [
            datetime.datetime(2026, 3, 29, 2, 30, 0, 1, tzinfo=KATHMANDU),
            datetime.datetime(1, 1, 1, tzinfo=UTC),
            datetime.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        ],
    ),
    "durations": (datetime.timedelta, [datetime.timedelta(days=-9_999, microseconds=1), datetime.timedelta(0)]),
    "days": (datetime.date, [datetime.date.min, datetime.date.max, datetime.date(2024, 2, 29)]),
    "objects": (
        dict[str, Any],
        [{}, {"": [None, {"ü\n\"'": 1e-300}], "big": 2**70, "long": "x" * 2_000_000}, {"half": "\ud800"}],
    ),
    "arrays": (list[Any], [[], [[[[]]], 1, 1.5, True, None, "$(id)", {"a": {}}], list(range(100_000))]),
}


def frames() -> pd.DataFrame:
    """What tables hold that is easily lost."""
    return pd.DataFrame(
        {
            "decimal": [decimal.Decimal("1.10"), None, decimal.Decimal("-99999999999999999999.01")],
            "number": [float("nan"), float("inf"), -0.0],
            "whole": np.array([-(2**63), 2**63 - 1, 0]),
            "moment": pd.to_datetime(["2026-03-29T02:30:00+05:45", None, "1970-01-01T00:00:00Z"], utc=True).tz_convert(
                "Asia/Kathmandu"
            ),
            "day": [datetime.date(2024, 2, 29), None, datetime.date(1, 1, 1)],
            "text": ["", None, "long " * 100_000],
            "word": pd.Categorical(["a", "b", None]),
            "list": [[1, 2], [], None],
            "flag": pd.array([True, None, False], dtype="boolean"),
        }
    )


@pytest.fixture(params=["bubblewrap", "docker", "process"])
async def runtime(request: pytest.FixtureRequest) -> str:
    """The name of each sandbox that is here."""
    name = str(request.param)
    for one in await survey():
        if one.name == name and not one.available:
            pytest.skip(f"{name}: {one.reason}")
    if name == "docker":
        import docker

        base = f"flyteplugins-codegen-base:py{sys.version_info.major}.{sys.version_info.minor}"
        try:
            docker.from_env().images.get(base)
        except docker.errors.ImageNotFound:
            pytest.skip(f"the Docker engine has no {base}: run images/build-base.sh")
    return name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what folders have that is odd."""
    root = tmp_path / "a folder"
    (root / "deep" / "deeper").mkdir(parents=True)
    (root / "deep" / "deeper" / "same name.txt").write_text("deep")
    (root / "same name.txt").write_text("high")
    (root / "'quoted' $(id).bin").write_bytes(bytes(range(256)))
    (root / "empty").touch()
    return root


def content(folder: Path | str) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
    }


async def test_plain_values_at_their_edges(runtime: str) -> None:
    kinds = {f"in_{number}": kind for number, (kind, _) in enumerate(PLAIN.values())}
    result = await mirror(kinds, sandbox=runtime)
    for round_ in range(max(len(values) for _, values in PLAIN.values())):
        given = {name: values[round_ % len(values)] for name, (_, values) in zip(kinds, PLAIN.values(), strict=True)}
        came = await result.run.aio(**given)
        assert dict(zip(given, came, strict=True)) == given
        assert [type(value) for value in came] == [type(value) for value in given.values()]


async def test_no_number_comes_back_as_none(runtime: str) -> None:
    result = await mirror({"number": float}, sandbox=runtime)
    assert np.isnan(await result.run.aio(number=float("nan")))


async def test_a_moment_without_a_zone_is_one_in_utc(runtime: str) -> None:
    result = await mirror({"moment": datetime.datetime}, sandbox=runtime)
    assert await result.run.aio(moment=datetime.datetime(2026, 1, 1)) == datetime.datetime(2026, 1, 1, tzinfo=UTC)


async def test_tables_folders_and_several_files(runtime: str, folder: Path) -> None:
    kinds = {"table": pd.DataFrame, "reference": DataFrame, "folder": Dir, "parts": list[File]}
    result = await mirror(kinds, sandbox=runtime)
    frame = frames()
    parts = [folder / "deep" / "deeper" / "same name.txt", folder / "same name.txt", folder / "'quoted' $(id).bin"]
    table, reference, copied, several = await result.run.aio(
        table=frame,
        reference=frame.iloc[:0],
        folder=Dir(path=str(folder)),
        parts=[File(path=str(parts[0])), *parts[1:]],
    )
    pd.testing.assert_frame_equal(table, frame)
    assert isinstance(reference, DataFrame)
    empty = await reference.open(pd.DataFrame).all()
    assert (len(empty), list(empty.columns)) == (0, list(frame.columns))
    assert empty["moment"].dtype == frame["moment"].dtype
    assert isinstance(copied, Dir)
    assert content(copied.path) == content(folder)
    assert content(several.path) == {
        "0-same name.txt": b"deep",
        "1-same name.txt": b"high",
        "2-'quoted' $(id).bin": bytes(range(256)),
    }


# Without a difference between sandboxes


async def test_tables_come_in_many_forms(tmp_path: Path) -> None:
    result = await mirror({"table": DataFrame}, {"table": pd.DataFrame})
    frame = pd.DataFrame({"a": [1, 2]})
    path = tmp_path / "table.parquet"
    frame.to_parquet(path)
    came = await result.run.aio(table=frame)
    forms = [path, str(path), File(path=str(path)), DataFrame.from_existing_remote(str(path), "parquet")]
    for form in [*forms, DataFrame.wrap_df(frame), await (await mirror({"t": DataFrame})).run.aio(t=frame)]:
        pd.testing.assert_frame_equal(await result.run.aio(table=form), came)
    indexed = await result.run.aio(table=frame.set_index("a").assign(b=0))
    assert list(indexed.columns) == ["a", "b"]


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        (pd.DataFrame, "nowhere.parquet", "there is no file"),
        (pd.DataFrame, __file__, "is no table: it can't be read as Parquet"),
        (pd.DataFrame, pd.DataFrame(), "is a DataFrame without columns"),
        (pd.DataFrame, pd.DataFrame({"a": [1, "x"]}), "can't be written as Parquet"),
        (DataFrame, {"a": [1]}, "Pass a flyte.io.File, a path or a pandas DataFrame"),
        (DataFrame, 3, "must be a DataFrame or a Parquet file, and is int"),
        (Dir, "nowhere", "there is no folder"),
        (Dir, __file__, "there is no folder"),
        (Dir, ["a"], "must be a Dir or the path of a folder, and is list"),
        (list[File], [], "must be a list of at least one File or path, and is empty"),
        (list[File], __file__, "must be a list of at least one File or path, and is str"),
        (list[File], [__file__, "nowhere"], r"'value\[1\]': there is no file nowhere"),
        (list[File], [3], r"'value\[0\]' is a int"),
        (dict, [], "must be dict, .* and is list"),
        (dict, {"a": float("nan")}, "JSON can't hold it"),
        (dict, {"a": decimal.Decimal(1)}, "JSON can't hold it: Object of type Decimal"),
        (dict, {1: "a"}, "must be dict, with keys of type str"),
        (list, [(1, 2)], "must be list, .*nothing that JSON would change"),
        (datetime.date, datetime.datetime(2026, 1, 1), "must be date, and is datetime"),
        (datetime.date, "2026-01-01", "must be date, and is str"),
    ],
)
async def test_what_is_no_such_value_is_named_before_anything_runs(kind: Any, value: Any, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        await (await mirror({"value": kind})).run.aio(value=value)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (dict, '{"a": Infinity}', "JSON has no Infinity"),
        (list, "{}", "is not a JSON array: it is an object"),
        (datetime.date, "2026-1-1", "is not a date in ISO 8601"),
        (pd.DataFrame, "a,b\n", "it can't be read as Parquet"),
        (DataFrame, "PAR1 PAR1", "it can't be read as Parquet"),
        (Dir, "no folder", "did not write its output 'value'"),
    ],
)
async def test_an_output_that_is_none_of_its_type_fails_the_run(kind: Any, text: str, said: str) -> None:
    result = await made_result(TYPES, inputs={"value": str}, outputs={"value": kind})
    with pytest.raises(OutputInvalidError, match=said):
        await result.run.aio(value=text)


async def test_what_runs_again_on_the_same_content_is_served(folder: Path, tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, uuid\n\n\ndef main():\n"
        "    pathlib.Path(sys.argv[-1].partition('=')[2], 'page').mkdir()\n"
        "    pathlib.Path(sys.argv[-1].partition('=')[2], 'page', 'p').write_text(str(uuid.uuid4()))\n\n\nmain()\n"
    )
    result = await made_result(code, {"folder": Dir, "table": DataFrame, "parts": list[File]}, {"page": Dir})
    (tmp_path / "copy").mkdir()
    again = Path(tmp_path / "copy" / folder.name)
    again.mkdir()
    for name, told in content(folder).items():
        (again / name).parent.mkdir(parents=True, exist_ok=True)
        (again / name).write_bytes(told)

    async def page(folder: Path, number: int = 1) -> bytes:
        frame = pd.DataFrame({"a": [number]})
        there = await result.run.aio(folder=folder, table=frame, parts=[folder / "empty"])
        return content(there.path)["p"]

    first = await page(folder)
    assert await page(again) == first
    assert await page(folder, 2) != first
    (again / "empty").write_text("not any more")
    assert await page(again) != first


# Ways to call it


env = flyte.TaskEnvironment(name="tests-of-types")


@env.task
async def table_from(result: CodeGenEvalResult, options: dict[str, Any]) -> pd.DataFrame:
    """A task that calls a generated one, and hands on what it gives."""
    table = await result.as_task(name="inner").aio(table=pd.DataFrame({"a": options["a"]}), options=options)
    assert isinstance(table, pd.DataFrame)
    return table


@env.task
async def rows_of(table: DataFrame) -> int:
    """A task that reads a table."""
    return len(await table.open(pd.DataFrame).all())


@env.task
async def table_to_others(result: CodeGenEvalResult) -> tuple[DataFrame, int, int]:
    """A task that hands the table of a generated one to another, and on."""
    table = await result.as_task(name="inner").aio(table=pd.DataFrame({"a": [1, 2]}))
    return table, await rows_of(table), (await table.open(pa.Table).all()).num_rows


def test_a_table_goes_on_to_other_tasks() -> None:
    result = asyncio.run(mirror({"table": DataFrame}))
    table, *rows = flyte.with_runcontext(mode="local").run(table_to_others, result).outputs()
    assert rows == [2, 2]
    again = result.run(table=table)  # now from the folder that Flyte keeps it in
    assert asyncio.run(again.open(pd.DataFrame).all())["a"].tolist() == [1, 2]


async def test_flyte_runs_the_task_and_gives_what_was_declared(folder: Path) -> None:
    result = await mirror(
        {"table": DataFrame, "options": dict, "folder": Dir, "parts": list[File], "day": datetime.date}
    )
    frame, parts = pd.DataFrame({"a": [1]}), [File(path=str(folder / "empty"))]
    given = {"options": {"a": [1]}, "folder": Dir(path=str(folder)), "parts": parts, "day": datetime.date.max}
    task = result.as_task(name="direct")
    run = await flyte.with_runcontext(mode="local").run.aio(task, table=frame, **given)
    table, options, copied, several, day = run.outputs()
    assert isinstance(table, DataFrame)
    assert (options, day) == (given["options"], given["day"])
    assert content(copied.path) == content(folder)
    assert content(several.path) == {"0-empty": b""}


def test_inside_a_task_too() -> None:
    result = asyncio.run(mirror({"table": DataFrame, "options": dict}, {"table": pd.DataFrame}))
    run = flyte.with_runcontext(mode="local").run(table_from, result, {"a": [1, 2]})
    assert run.outputs()[0]["a"].tolist() == [1, 2]


async def test_a_result_with_every_type_survives_json_saving_and_loading(tmp_path: Path, folder: Path) -> None:
    kinds = {"table": pd.DataFrame, "other": DataFrame, "options": dict, "folder": Dir, "parts": list[File]}
    result = await mirror(kinds)
    loaded = CodeGenEvalResult.model_validate_json(result.model_dump_json())
    assert loaded.declared_inputs == kinds
    loaded.save(tmp_path / "saved")
    again = CodeGenEvalResult.load(tmp_path / "saved")
    assert again.contract == result.contract
    assert again.declared_outputs["table"] is pd.DataFrame
    came = await again.run.aio(
        table=pd.DataFrame({"a": [1]}),
        other=pd.DataFrame({"a": [1]}),
        options={},
        folder=folder,
        parts=[folder / "empty"],
    )
    assert isinstance(came[0], pd.DataFrame)


async def test_the_command_line_of_flyte_takes_documents_days_and_files(folder: Path, tmp_path: Path) -> None:
    result = await mirror(
        {"options": dict, "day": datetime.date, "folder": Dir}, {"options": dict, "day": datetime.date}
    )
    result.save(tmp_path / "generation")
    (tmp_path / "pipeline.py").write_text(
        "from flyteplugins.codegen import CodeGenEvalResult\n\n"
        "echo = CodeGenEvalResult.load('generation').as_task(name='echo')\nenv = echo.environment()\n"
    )
    command = [
        *(str(Path(sys.executable).parent / "flyte"), "run", "--local", "pipeline.py", "echo"),
        *("--options", json.dumps({"a": "O'x"}), "--day", "2024-02-29", "--folder", str(folder)),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "O'x" in done.stdout
    assert "2024" in done.stdout


async def test_the_command_line_runs_code_of_every_type(folder: Path, tmp_path: Path) -> None:
    kinds = {"table": pd.DataFrame, "options": dict, "folder": Dir, "parts": list[File], "day": datetime.date}
    (await mirror(kinds)).save(tmp_path / "generation")
    frames().to_parquet(tmp_path / "t.parquet")
    given = [
        *(f"table={tmp_path / 't.parquet'}", 'options={"a": 1}', f"folder={folder}", "day=2024-02-29"),
        *(f"parts={folder / 'same name.txt'}", f"parts={folder / 'empty'}"),
    ]
    done = await asyncio.to_thread(
        CliRunner().invoke,
        main,
        ["run", str(tmp_path / "generation"), *given, "--out", str(tmp_path / "out"), "--json"],
    )
    assert done.exit_code == 0, done.output
    outputs = json.loads(done.stdout)["outputs"]
    assert (outputs["options"], outputs["day"]) == ({"a": 1}, "2024-02-29")
    assert content(outputs["folder"]) == content(folder)
    assert content(outputs["parts"]) == {"0-same name.txt": b"high", "1-empty": b""}
    pd.testing.assert_frame_equal(pd.read_parquet(outputs["table"]), frames())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("options=[1]", "is not a JSON object: it is an array"),
        ("folder=nowhere", "there is no folder 'nowhere'"),
        ("parts=nowhere", "there is no file 'nowhere'"),
        ("table=nowhere", "there is no file 'nowhere'"),
        ("day=today", "'today' is not a date in ISO 8601"),
    ],
)
async def test_the_command_line_says_what_is_no_such_value(given: str, said: str, tmp_path: Path) -> None:
    kinds = {"table": pd.DataFrame, "options": dict, "folder": Dir, "parts": list[File], "day": datetime.date}
    (await mirror(kinds)).save(tmp_path / "generation")
    done = CliRunner().invoke(main, ["run", str(tmp_path / "generation"), given])
    assert done.exit_code == 2
    assert said in done.stderr


def test_the_command_line_declares_types_by_name() -> None:
    declared = arguments.declarations(
        ["a:list[File]", "b:dataframe", "c:pandas.DataFrame", "d:dir", "e:dict"], "--input"
    )
    assert declared == {"a": list[File], "b": DataFrame, "c": pd.DataFrame, "d": Dir, "e": dict}
    examples = arguments.examples([f"a={__file__}", f"a={__file__}", 'e={"x": 1}'], declared)
    assert (len(examples["a"]), examples["e"]) == (2, {"x": 1})
