"""The checks of a draft with inputs and outputs of every other type: folders, tables, documents, dates, many files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from flyte.io import Dir, File

from flyteplugins.codegen.checks.check import Bench, Subject, check
from flyteplugins.codegen.core.contract import Contract
from flyteplugins.codegen.core.environment import EnvironmentSpec
from flyteplugins.codegen.core.errors import SandboxUnavailableError
from flyteplugins.codegen.core.paths import HOME_VARIABLE, home
from flyteplugins.codegen.core.pinned import pin
from flyteplugins.codegen.packages.spec import python_version
from flyteplugins.codegen.sandbox.contract import Limits
from flyteplugins.codegen.sandbox.select import choose
from flyteplugins.codegen.tasks.executor import Environment, Executor
from flyteplugins.codegen.tasks.given import take_in

CONTRACT = Contract(
    inputs={
        "sales": "File",
        "parts": "list[File]",
        "notes": "Dir",
        "prices": "DataFrame",
        "options": "dict",
        "order": "list",
        "day": "date",
    },
    outputs={
        "summary": "dict",
        "regions": "list",
        "by_region": "pandas.DataFrame",
        "pages": "Dir",
        "next_day": "date",
    },
    samples=("sales",),
)

CODE = """
import argparse
import datetime
import json
from pathlib import Path

import pandas as pd


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sales", required=True)
    parser.add_argument("--parts", required=True, action="append")
    parser.add_argument("--notes", required=True)
    parser.add_argument("--prices", required=True)
    parser.add_argument("--options", required=True, type=json.loads)
    parser.add_argument("--order", required=True, type=json.loads)
    parser.add_argument("--day", required=True, type=datetime.date.fromisoformat)
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    sales = pd.read_csv(args.sales)
    if sales.empty or "amount" not in sales:
        raise SystemExit("the sales have no rows or no column 'amount'")
    prices = pd.read_parquet(args.prices)
    sums = sales.groupby("region", sort=True)["amount"].sum() * prices["factor"].iloc[0]
    notes = sorted(path.relative_to(args.notes).as_posix() for path in Path(args.notes).rglob("*.txt"))
    folder = Path(args.outputs)
    (folder / "pages" / "deep").mkdir(parents=True, exist_ok=True)
    for region, amount in sums.items():
        (folder / "pages" / "deep" / f"{region}.txt").write_text(f"{region}: {amount}")
    summary = {
        "total": float(sums.sum()),
        "parts": [Path(path).read_text() for path in args.parts],
        "notes": notes,
        "options": args.options,
    }
    (folder / "summary").write_text(json.dumps(summary, allow_nan=False), encoding="utf-8")
    (folder / "regions").write_text(json.dumps([name for name in args.order if name in sums.index]))
    sums.reset_index().to_parquet(folder / "by_region", index=False)
    (folder / "next_day").write_text((args.day + datetime.timedelta(days=1)).isoformat())


if __name__ == "__main__":
    main()
"""

TESTS = """
import datetime

import pandas as pd
import pytest


@pytest.fixture
def given(tmp_path):
    sales = tmp_path / "sales.csv"
    sales.write_text("region,amount\\nb,1\\na,3\\nb,5\\n")
    (tmp_path / "notes" / "sub").mkdir(parents=True)
    (tmp_path / "notes" / "sub" / "n.txt").write_text("note")
    (tmp_path / "1.txt").write_text("first")
    (tmp_path / "2.txt").write_text("second")
    return {
        "sales": sales,
        "parts": [tmp_path / "2.txt", tmp_path / "1.txt"],
        "notes": tmp_path / "notes",
        "prices": pd.DataFrame({"factor": [2.0]}),
        "options": {"deep": [1, None, {"ü": "\\n"}]},
        "order": ["b", "zzz", "a"],
        "day": datetime.date(2024, 2, 28),
    }


def test_everything(run_solution, given):
    run = run_solution(**given)
    assert run.exit_code == 0, run.stderr
    assert sorted(run.outputs) == ["by_region", "next_day", "pages", "regions", "summary"]
    assert run.outputs["summary"] == {
        "total": 18.0,
        "parts": ["second", "first"],
        "notes": ["sub/n.txt"],
        "options": given["options"],
    }
    assert run.outputs["regions"] == ["b", "a"]
    expected = pd.DataFrame({"region": ["a", "b"], "amount": [6.0, 12.0]})
    pd.testing.assert_frame_equal(run.outputs["by_region"], expected, check_dtype=False)
    assert (run.outputs["pages"] / "deep" / "b.txt").read_text() == "b: 12.0"
    assert run.outputs["next_day"] == datetime.date(2024, 2, 29)


def test_the_sample_and_the_examples_are_there(run_solution, samples):
    run = run_solution(options={}, order=[], day=datetime.date(2026, 12, 31))
    assert run.outputs["next_day"] == datetime.date(2027, 1, 1)
    assert run.outputs["summary"]["total"] == pytest.approx(pd.read_csv(samples["sales"])["amount"].sum() * 3)
    assert len(samples["parts"]) == len(run.outputs["summary"]["parts"]) == 2
    assert samples["notes"].is_dir()


@pytest.mark.parametrize(("wrong", "said"), [({"parts": []}, "at least one path"), ({"options": {"a": {1}}}, "JSON")])
def test_what_can_not_be_passed_is_said(run_solution, given, wrong, said):
    with pytest.raises(TypeError, match=said):
        run_solution(**{**given, **wrong})
"""


@pytest.fixture(scope="module")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Executor, Environment, Environment]]:
    async def build() -> tuple[Executor, Environment, Environment]:
        runtime, _ = await choose("bubblewrap")
        executor = Executor(runtime)
        tables = ("pandas", "pyarrow")
        environment, tools = await asyncio.gather(
            executor.build(EnvironmentSpec(python=python_version(), packages=tables)),
            executor.build(EnvironmentSpec(python=python_version(), packages=("pytest", *tables))),
        )
        return executor, environment, tools

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(tmp_path_factory.mktemp("codegen-home")))
        try:
            built = asyncio.run(build())
        except SandboxUnavailableError as error:
            pytest.skip(f"bubblewrap: {error}")
        yield built


@pytest.fixture
def bench(_built: tuple[Executor, Environment, Environment]) -> Bench:
    return Bench(
        executor=_built[0],
        tools=_built[2],
        limits=Limits(seconds=120, memory_bytes=1 << 30),
        env={},
        network=False,
        store=home() / "files",
        on_event=lambda event: None,
        attempt=1,
    )


@pytest.fixture
def subject(_built: tuple[Executor, Environment, Environment], tmp_path: Path) -> Subject:
    sales = tmp_path / "sales.csv"
    sales.write_text("region,amount\nnorth,10\nsouth,2.5\nnorth,7\n")
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part.txt").write_text(name)  # two files of one name
    (tmp_path / "notes" / "sub").mkdir(parents=True)
    (tmp_path / "notes" / "sub" / "n.txt").write_text("note")

    async def given() -> dict[str, object]:
        return {
            "sales": pin(sales),
            "parts": await take_in("parts", "list[File]", [File(path=str(tmp_path / n / "part.txt")) for n in "xy"]),
            "notes": await take_in("notes", "Dir", Dir(path=str(tmp_path / "notes"))),
            "prices": await take_in("prices", "DataFrame", pd.DataFrame({"factor": [3.0]})),
        }

    examples = {"options": '{"a": 1}', "order": '["south"]', "day": "2026-02-28"}
    return Subject(CODE, TESTS, CONTRACT, asyncio.run(given()), examples, _built[1])  # type: ignore[arg-type] # each is one


def changed(old: str, new: str) -> str:
    assert old in CODE
    return CODE.replace(old, new)


def test_a_right_solution_with_good_tests_passes_and_every_output_is_named(subject: Subject, bench: Bench) -> None:
    verdict = asyncio.run(check(subject, bench))
    assert verdict.failure is None, verdict.failure
    assert [check.name for check in verdict.checks if not check.passed] == []
    assert [check.name for check in verdict.checks if check.name.startswith("output")] == [
        "output `summary` exists and is of type dict",
        "output `regions` exists and is of type list",
        "output `by_region` exists and is a table in Parquet",
        "output `pages` exists and is a folder with files",
        "output `next_day` exists and is of type date",
    ]
    assert "a second run gives the same outputs" in [check.name for check in verdict.checks]
    assert verdict.proof is not None
    assert (verdict.proof.stubs, verdict.proof.stubs_failed) == (2, 2)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("json.dumps(summary, allow_nan=False)", 'json.dumps({"total": float("nan")})', "JSON has no NaN"),
        ("json.dumps(summary, allow_nan=False)", "json.dumps([summary])", "is not a JSON object: it is an array"),
        ("sums.reset_index().to_parquet(", "sums.reset_index().to_csv(", "can't be read as Parquet"),
        ("sums.reset_index().to_parquet(", "sums.to_frame()[[]].to_parquet(", "it has no columns"),
        (
            '(folder / "pages" / "deep" / f"{region}.txt").write_text(f"{region}: {amount}")',
            "pass",
            "`<outputs>/pages/` has no regular file",
        ),
        (
            '(folder / "pages" / "deep" / f"{region}.txt").write_text(f"{region}: {amount}")',
            '(folder / "pages" / region).symlink_to("/etc/hostname")',
            "`<outputs>/pages/` has no regular file",
        ),
        (".isoformat())\n", ".strftime('%d.%m.%Y'))\n", "is not a date in ISO 8601"),
    ],
)
def test_an_output_that_is_none_of_its_type_is_named(
    old: str, new: str, said: str, subject: Subject, bench: Bench
) -> None:
    verdict = asyncio.run(check(replace(subject, code=changed(old, new), tests=None), bench))
    assert verdict.failure is not None
    assert (verdict.failure.stage, verdict.failure.error_type) == ("contract", "logic")
    assert said in verdict.failure.message


def test_a_folder_a_table_and_a_document_that_come_out_otherwise_are_advice(subject: Subject, bench: Bench) -> None:
    code = changed('f"{region}: {amount}")', "str(__import__('time').time_ns()))")
    code = code.replace('"total": float(sums.sum())', '"total": __import__("random").random()')
    code = code.replace("sums.reset_index()", "sums.reset_index().assign(when=__import__('time').time_ns())")
    verdict = asyncio.run(check(replace(subject, code=code, tests=None), bench))
    assert verdict.failure is None
    (advice,) = [check for check in verdict.checks if not check.passed]
    assert advice.detail.startswith("summary, by_region, pages came out otherwise")
