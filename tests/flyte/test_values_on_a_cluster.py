"""Values cannot break out of what a container runs; the command of the serialised task is run as it is."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from flyte.extras import serialize
from flyte.io import File
from handmade import TYPES, made_result
from staged import run_staged

from flyteplugins.codegen.core.contract import VALUE_TYPES

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
    task = await task_of(**{f"in_{name}": kind for name, kind in VALUE_TYPES.items() if kind is not File})
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
