"""Values cannot break out of what a container runs; the command of the serialised task is run as it is."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from flyte.extras import serialize
from flyte.io import DataFrame, Dir, File
from flyteidl2.core import types_pb2
from handmade import TYPES, made_result
from mirror import mirror
from staged import run_staged

from flyteplugins.codegen.core.contract import VALUE_TYPES
from flyteplugins.codegen.core.values import PLAIN_TYPES

HOSTILE = {
    "quotes": "O'; touch escaped; echo '\" \\",
    "lines": "first\nsecond\r\n\n",
    "substitution": "$(touch escaped) `touch escaped` ${HOME} $(PATH) $$(PATH)",
    "template": "{{.inputs.other}} {{ .outputPrefix }} {{.inputs.value}}",
    "dashes": "--outputs=/nowhere",
    "dash": "-",
    "file of a value": "</etc/hostname",
    "address of a value": "@value=/etc/hostname",
    "separator": "-- --other=x",
    "spaces": "  around and\tbetween ",
    "empty": "",
    "other scripts": "żółć 数据 🙂 \u202e",
    "percent": "%s %(x)s {x} {0}",
    "long": "0123456789" * 50_000,
}


async def task_of(**inputs: Any) -> Any:
    result = await made_result(TYPES, inputs=inputs, outputs=inputs)
    task = result.as_task(name="hostile")
    task.environment()
    return task


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_text_arrives_as_it_is_and_nothing_of_it_is_run(what: str, tmp_path: Path) -> None:
    text = HOSTILE[what]
    task = await task_of(value=str, other=str)
    done = run_staged(task, {"value": text, "other": "the other"}, tmp_path / "pod")
    assert done.returncode == 0, done.stderr[-2000:]
    written = {path.name: path.read_bytes().decode() for path in (tmp_path / "pod" / "outputs").iterdir()}
    assert written == {"value": text, "other": "the other"}
    assert not list(tmp_path.rglob("escaped"))


async def test_no_value_is_part_of_the_command() -> None:
    task = await task_of(**{f"in_{name}": VALUE_TYPES[name] for name in PLAIN_TYPES})
    arguments = list(serialize(task).task_template.container.args)
    assert not [argument for argument in arguments if "{{" in argument]  # Flyte would put a value there
    assert not [argument for argument in arguments if "$(" in argument]  # Kubernetes would put a variable there
    assert max(len(argument.encode()) for argument in arguments) < 131_072  # Linux takes no longer one


async def test_a_file_with_a_hostile_name_arrives(tmp_path: Path) -> None:
    source = tmp_path / "-rf $(touch escaped) '\";.csv"
    source.write_text("amount\n1\n")
    task = await task_of(report=File)
    done = run_staged(task, {"report": File(path=str(source))}, tmp_path / "pod")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "pod" / "outputs" / "report").read_text() == "amount\n1\n"
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize(
    ("kind", "value", "seen"),
    [
        (int, -(2**63), "-9223372036854775808"),
        (float, 1e300, str(1e300)),
        (float, float("nan"), "nan"),
        (float, float("-inf"), "-inf"),
        (bool, False, "false"),
        (datetime.datetime, datetime.datetime(2026, 3, 29, 2, 30), "2026-03-29T02:30:00+00:00"),
        (
            datetime.datetime,
            datetime.datetime(2026, 3, 29, tzinfo=datetime.timezone(datetime.timedelta(hours=5, minutes=45))),
            "2026-03-28T18:15:00+00:00",
        ),
        (datetime.timedelta, datetime.timedelta(days=-1, hours=2), "-79200s"),
        (datetime.timedelta, datetime.timedelta(days=3, hours=1, seconds=0.25), "262800.25s"),
        (datetime.timedelta, datetime.timedelta(0), "0s"),
        (datetime.timedelta, datetime.timedelta(days=9_999, microseconds=1), "863913600.000001s"),
        (datetime.timedelta, datetime.timedelta(microseconds=-1), "-0.000001s"),
    ],
)
async def test_each_kind_of_value_arrives(kind: type, value: Any, seen: str, tmp_path: Path) -> None:
    done = run_staged(await task_of(value=kind), {"value": value}, tmp_path / "pod")
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "pod" / "outputs" / "value").read_text()
    assert (str(float(written)) if kind is float else written) == seen


async def test_what_is_no_duration_fails_and_is_not_taken_as_none(tmp_path: Path) -> None:
    result = await made_result(TYPES, inputs={"value": str}, outputs={"value": datetime.timedelta})
    task = result.as_task(name="no-duration")
    task.environment()
    done = run_staged(task, {"value": "soon"}, tmp_path / "pod")
    assert done.returncode != 0
    assert "'soon' is not a duration" in done.stderr


# Folders, tables, documents, dates and several files


@pytest.fixture
def staged(tmp_path: Path) -> dict[str, Any]:
    """A value of each, with what is odd in it."""
    for name in ("a", "b"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "x.txt").write_text(name)
        (tmp_path / name / "part 'of'.csv").write_text(f"{name}\r\n")
    frame = pd.DataFrame({"d": [decimal.Decimal("1.10"), None], "f": [float("nan"), float("inf")], "t": ["ü", None]})
    frame.to_parquet(tmp_path / "table.parquet")
    return {
        "parts": [File(path=str(tmp_path / name / "part 'of'.csv")) for name in ("b", "a")],
        "folder": Dir(path=str(tmp_path / "a")),
        "table": File(path=str(tmp_path / "table.parquet")),
        "options": {"$(touch escaped)": [1, None, 0.1, "O'\n"], "ü": {}},
        "items": [[], "{{.inputs.folder}}", 2**60],
        "day": datetime.date(2024, 2, 29),
    }


TYPES_OF = {
    "parts": list[File],
    "folder": Dir,
    "table": pd.DataFrame,
    "options": dict,
    "items": list,
    "day": datetime.date,
}


async def test_folders_tables_documents_and_several_files_arrive(staged: dict[str, Any], tmp_path: Path) -> None:
    task = (await mirror(TYPES_OF)).as_task(name="mirror")
    task.environment()
    done = run_staged(task, staged, tmp_path / "pod")
    assert done.returncode == 0, done.stderr
    outputs = tmp_path / "pod" / "outputs"
    parts = {path.name: path.read_bytes() for path in (outputs / "parts").iterdir()}
    assert parts == {"0-part 'of'.csv": b"b\r\n", "1-1_part 'of'.csv": b"a\r\n"}
    assert (outputs / "folder" / "deep" / "x.txt").read_text() == "a"
    assert pd.read_parquet(outputs / "table").equals(pd.read_parquet(staged["table"].path))
    assert json.loads((outputs / "options").read_text()) == staged["options"]
    assert json.loads((outputs / "items").read_text()) == staged["items"]
    assert (outputs / "day").read_text() == "2024-02-29T00:00:00+00:00"
    assert not list(tmp_path.rglob("escaped"))


async def test_files_of_a_sidecar_that_keeps_no_names_have_their_order(tmp_path: Path) -> None:
    task = (await mirror({"parts": list[File]})).as_task(name="unnamed")
    task.environment()
    files = []
    for number in range(12):
        (tmp_path / str(number)).write_text(f"number {number}")
        files.append(File(path=str(tmp_path / str(number))))
    done = run_staged(task, {"parts": files}, tmp_path / "pod", listed_in_order=False)
    assert done.returncode == 0, done.stderr
    outputs = tmp_path / "pod" / "outputs" / "parts"
    assert [(outputs / f"{number}-{number}").read_text() for number in range(12)] == [
        f"number {number}" for number in range(12)
    ]


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (dict, '{"a": NaN}', "JSON has no NaN"),
        (list, '{"a": 1}', "is not a JSON array"),
        (datetime.date, "01.02.2026", "is not a date in ISO 8601"),
        (pd.DataFrame, "a,b\n1,2\n", "it is no Parquet file"),
        (DataFrame, "", "it is no Parquet file"),
    ],
)
async def test_what_is_none_of_its_type_fails_in_the_pod(kind: Any, text: str, said: str, tmp_path: Path) -> None:
    result = await made_result(TYPES, inputs={"value": str}, outputs={"value": kind})
    task = result.as_task(name="wrong")
    task.environment()
    done = run_staged(task, {"value": text}, tmp_path / "pod")
    assert done.returncode != 0
    assert "Output 'value': " in done.stderr
    assert said in done.stderr


async def test_a_folder_without_files_fails_in_the_pod(tmp_path: Path) -> None:
    code = 'import os, sys\n\n\ndef main():\n    os.mkdir(sys.argv[-1].partition("=")[2] + "/pages")\n\n\nmain()\n'
    task = (await made_result(code, outputs={"pages": Dir})).as_task(name="no-pages")
    task.environment()
    done = run_staged(task, {}, tmp_path / "pod")
    assert done.returncode != 0
    assert "did not write its output 'pages'" in done.stderr


async def test_a_text_of_megabytes_arrives_in_a_pod_to_the_last_white_space(tmp_path: Path) -> None:
    text = "  \n" + "0123456789 żółć\r\n" * 200_000 + "\t "
    done = run_staged(await task_of(value=str), {"value": text}, tmp_path / "pod")
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "pod" / "outputs" / "value").read_bytes().decode() == text


async def test_what_the_sidecar_can_carry_is_what_the_interface_says() -> None:
    declared = {**TYPES_OF, "text": str, "other": DataFrame}
    interface = serialize(await with_environment(declared)).task_template.interface
    inputs = {entry.key: entry.value.type for entry in interface.inputs.variables}
    outputs = {entry.key: entry.value.type for entry in interface.outputs.variables}
    assert {name: kind.WhichOneof("type") for name, kind in inputs.items()} == {
        **dict.fromkeys(("options", "items", "day", "text"), "simple"),
        **dict.fromkeys(("folder", "table", "other"), "blob"),
        "parts": "collection_type",
    }
    assert {name: kind.WhichOneof("type") for name, kind in outputs.items()} == {
        **dict.fromkeys(("parts", "folder", "table", "other", "options", "items", "text"), "blob"),
        "day": "simple",
    }
    multipart = types_pb2.BlobType.BlobDimensionality.MULTIPART
    assert [name for name, kind in outputs.items() if kind.blob.dimensionality == multipart] == ["folder", "parts"]
    assert {name: outputs[name].blob.format for name in ("table", "options", "text")} == {
        "table": "parquet",
        "options": "json",
        "text": "txt",
    }


async def with_environment(declared: dict[str, Any]) -> Any:
    task = (await mirror(declared)).as_task(name="interface")
    task.environment()
    return task
