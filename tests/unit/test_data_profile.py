"""Profiles: exact, over all rows, of files as they are found."""

from __future__ import annotations

import bz2
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from flyte.io import File
from pyarrow import parquet

from flyteplugins.codegen.data.profile import Column, Profile
from flyteplugins.codegen.data.profiling import profile
from flyteplugins.codegen.data.samples import take_in


async def profile_of(path: Path, rows: int = 10) -> Profile:
    return await profile("s", File(path=str(path)), max_rows=rows)


async def profile_of_text(text: str | bytes, tmp_path: Path, name: str = "s.csv") -> Profile:
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return await profile_of(tmp_path / name)


def column_of(found: Profile, name: str) -> Column:
    column = found.column(name)
    assert column is not None, [column.name for column in found.columns]
    return column


def validated(found: Profile, path: Path) -> pd.DataFrame:
    """What the schema module makes of the file: it must run and accept the sample."""
    module: dict[str, Any] = {}
    assert found.schema_code is not None
    exec(compile(found.schema_code, "schema.py", "exec"), module)  # noqa: S102 - that it runs is what is tested
    frame: pd.DataFrame = module["schema"].validate(module["read"](path), lazy=True)
    return frame


async def test_statistics_are_exact_and_over_all_rows(tmp_path: Path):
    random = np.random.default_rng(7)
    frame = pd.DataFrame({"x": random.normal(3, 2, 200_000), "n": random.integers(-50, 50, 200_000)})
    frame.loc[199_990, "x"] = None
    frame.loc[199_991, "x"] = 1e6
    frame.to_csv(tmp_path / "s.csv", index=False)
    found = await profile_of(tmp_path / "s.csv")
    x, n = column_of(found, "x"), column_of(found, "n")
    assert found.rows == 200_000
    assert (x.dtype, x.nulls, x.max, x.min) == ("number", 1, 1e6, frame.x.min())
    assert x.distinct == frame.x.nunique()
    assert x.mean == pytest.approx(frame.x.mean(), rel=1e-14)
    assert x.std == pytest.approx(frame.x.std(), rel=1e-12)
    assert x.quartiles == pytest.approx(tuple(frame.x.quantile([0.25, 0.5, 0.75])), rel=1e-14)
    assert (n.dtype, n.min, n.max, n.distinct) == ("integer", -50, 49, 100)
    assert dict(n.top) == frame.n.value_counts().head(8).to_dict() or n.top[0][1] == frame.n.value_counts().iloc[0]


@pytest.mark.slow
async def test_text_in_the_last_row_of_a_number_column_is_seen(tmp_path: Path):
    rows = "\n".join(str(number) for number in range(2_000_000))
    found = await profile_of_text(f"x\n{rows}\nabc\n", tmp_path)
    x = column_of(found, "x")
    assert x.dtype == "text"
    assert x.odd == ("abc",)
    assert "numbers but for 1 of 2000001 values, which are other text" in x.hints
    assert x.distinct == 2_000_001


async def test_the_last_float_makes_a_column_of_whole_numbers_one_of_numbers(tmp_path: Path):
    rows = "\n".join(["1"] * 1_000_000)
    found = await profile_of_text(f"x\n{rows}\n2.5\n", tmp_path)
    assert column_of(found, "x").dtype == "number"
    assert column_of(found, "x").max == 2.5


@pytest.mark.parametrize(
    ("values", "dtype", "hint"),
    [
        (["007", "008", "120"], "text", "whole numbers with leading zeros"),
        (["true", "False", "TRUE"], "boolean", ""),
        (["0", "1"], "integer", ""),
        (["9007199254740993", "-5"], "integer", "beyond 2**53"),
        (["1", "123456789012345678901234567890"], "text", "beyond 64 bits"),
        (["0x1F", "0x20"], "text", ""),
        (["1e3", "inf", "2"], "number", ""),
        (["2024-01-31", "2024-02-01"], "text", "ISO 8601 dates"),
        (["2024-01-31T10:00:00Z", "2024-02-01 11:00"], "text", "dates with times"),
        (["31.12.2024", "1.1.2025"], "text", "day.month.year"),
        (["31/12/2024", "01/01/2025"], "text", "day/month/year"),
        (["12/31/2024", "01/01/2025"], "text", "month/day/year"),
        (["a@b.org", "c@d.net"], "text", "e-mail"),
        (['"1,5"', '"22,75"'], "text", "decimal comma"),
        (['"1,500"', '"22,750.25"'], "text", "thousands separators"),
        (["10%", "12.5 %"], "text", "percentages"),
        (["$10.00", "$1"], "text", "currency"),
        ([" a", "b "], "text", "2 of 2 values begin or end with white space"),
        (["NA", "NaN"], "null", ""),
        ([" 5", "6 "], "integer", ""),
    ],
)
async def test_what_a_column_holds_is_recognised(values: list[str], dtype: str, hint: str, tmp_path: Path):
    found = await profile_of_text("k,x\n" + "".join(f"1,{value}\n" for value in values), tmp_path)
    x = column_of(found, "x")
    assert x.dtype == dtype
    assert hint in "; ".join(x.hints)
    assert bool(x.hints) == bool(hint)
    validated(found, tmp_path / "s.csv")


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("bom.csv", b"\xef\xbb\xbfid,city\n1,K\xc3\xb6ln\n", "byte order mark"),
        ("latin.csv", "id,city\n1,Köln\n".encode("latin-1"), "latin-1"),
        ("wide.csv", "id,city\n1,Köln\n".encode("utf-16"), "UTF-16"),
        ("semi.csv", "id;city\n1;Köln\n2;a,b\n".encode(), "';'"),
        ("pipe.csv", "id|city\n1|Köln\n".encode(), "'|'"),
        ("tab.tsv", "id\tcity\n1\tKöln\n".encode(), ""),
        ("zip.csv.gz", gzip.compress("id,city\n1,Köln\n".encode(), mtime=0), ""),
        ("zip.csv.bz2", bz2.compress("id,city\n1,Köln\n".encode()), ""),
        ("hidden.csv", gzip.compress("id,city\n1,Köln\n".encode(), mtime=0), "compressed with gzip"),
        ("noextension", "id,city\n1,Köln\n2,Rom\n".encode(), ""),
    ],
)
async def test_files_are_read_as_they_are(name: str, content: bytes, note: str, tmp_path: Path):
    found = await profile_of_text(content, tmp_path, name)
    assert [column.name for column in found.columns] == ["id", "city"]
    assert found.examples[0] == ("1", "Köln")
    assert note in " ".join(found.notes)
    assert validated(found, tmp_path / name)["city"].iloc[0] == "Köln"


async def test_quotes_newlines_and_broken_records(tmp_path: Path):
    found = await profile_of_text('id,text\n1,"two\nlines, ""quoted"""\n2,b\n3,c,extra\n4\n', tmp_path)
    assert found.rows == 2
    assert found.examples[0] == ("1", 'two\nlines, "quoted"')
    assert "2 records have another number of fields" in " ".join(found.notes)


@pytest.mark.slow
async def test_a_cell_of_many_megabytes_is_read(tmp_path: Path):
    found = await profile_of_text("id,text\n1,a\n2," + "x" * 9_000_000 + "\n3,c\n", tmp_path)
    assert found.rows == 3
    assert column_of(found, "text").lengths == (1, 9_000_000)


async def test_repeated_empty_and_unusual_column_names_are_those_of_pandas(tmp_path: Path):
    found = await profile_of_text("a,a,,größe (cm),a.1,it's\n1,2,3,4,5,6\n", tmp_path)
    names = [column.name for column in found.columns]
    assert names == list(pd.read_csv(tmp_path / "s.csv").columns)
    assert "pandas calls these columns 'a.2', 'Unnamed: 2'" in " ".join(found.notes)
    validated(found, tmp_path / "s.csv")


async def test_nulls_of_every_spelling_are_counted_and_the_schema_allows_them(tmp_path: Path):
    found = await profile_of_text("i,f,t,b,e\n1,1.5,x,true,\nNA,,NULL,,\n3,nan,None,False,\n", tmp_path)
    assert {column.name: column.nulls for column in found.columns} == {"i": 1, "f": 2, "t": 2, "b": 1, "e": 3}
    frame = validated(found, tmp_path / "s.csv")
    assert str(frame["i"].dtype) == "Int64"
    module: dict[str, Any] = {}
    exec(found.schema_code or "", module)  # noqa: S102 - as above
    module["schema"].validate(pd.read_csv(tmp_path / "s.csv"))


async def test_the_schema_does_not_hold_the_observed_range(tmp_path: Path):
    found = await profile_of_text("x\n10\n20\n", tmp_path)
    assert "Check" not in (found.schema_code or "")


async def test_parquet_is_read_by_its_own_types(tmp_path: Path):
    table = pa.table(
        {
            "i": pa.array([1, None, 3], pa.int32()),
            "f": pa.array([1.5, float("nan"), None]),
            "s": pa.array(["a", "b", "a"]).dictionary_encode(),
            "t": pa.array([0, 1, None], pa.timestamp("us", tz="UTC")),
            "d": pa.array([0, 1, 2], pa.date32()),
            "l": pa.array([[1], [], None]),
            "b": pa.array([b"a", None, b"c"]),
        }
    )
    parquet.write_table(table, tmp_path / "s.parquet")
    found = await profile_of(tmp_path / "s.parquet")
    kinds = {column.name: (column.dtype, column.nulls) for column in found.columns}
    assert kinds == {
        "i": ("integer", 1),
        "f": ("number", 2),
        "s": ("text", 0),
        "t": ("datetime", 1),
        "d": ("date", 0),
        "l": ("nested", 1),
        "b": ("binary", 1),
    }
    assert dict(column_of(found, "s").top) == {"a": 2, "b": 1}
    validated(found, tmp_path / "s.parquet")


@pytest.mark.slow
async def test_json_lines_with_other_keys_and_types_in_late_rows(tmp_path: Path):
    rows = [{"a": 1, "b": "x"}] * 70_000 + [{"a": "late", "b": None, "c": [1]}, {"a": 2.5, "c": {"k": 1}}]
    (tmp_path / "s.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = await profile_of(tmp_path / "s.jsonl")
    assert found.rows == 70_002
    assert column_of(found, "a").dtype == "text"
    assert column_of(found, "b").nulls == 2
    assert column_of(found, "c").nulls == 70_000
    (tmp_path / "t.json").write_text(json.dumps([{"a": 1, "b": True}, {"a": None, "b": False}]))
    listed = await profile_of(tmp_path / "t.json")
    assert [(column.name, column.dtype, column.nulls) for column in listed.columns] == [
        ("a", "integer", 1),
        ("b", "boolean", 0),
    ]
    validated(listed, tmp_path / "t.json")


async def test_text_and_binary_are_no_tables(tmp_path: Path):
    text = await profile_of_text("one line\nanother, line\n", tmp_path, "s.txt")
    assert (text.format, text.rows, text.columns, text.schema_code) == ("text", 2, (), None)
    assert text.examples == (("one line",), ("another, line",))
    binary = await profile_of_text(bytes(range(256)) * 4, tmp_path, "s.dat")
    assert (binary.format, binary.rows, binary.columns) == ("binary", None, ())


async def test_examples_are_the_first_rows_and_some_of_the_rest(tmp_path: Path):
    (tmp_path / "s.csv").write_text("x\n" + "".join(f"{row}\n" for row in range(1000)))
    found = await profile_of(tmp_path / "s.csv", rows=6)
    rows = [int(row[0]) for row in found.examples]
    assert rows[:3] == [0, 1, 2]
    assert rows[-1] == 999
    assert len(rows) == 6
    assert (await profile_of(tmp_path / "s.csv", rows=0)).examples == ()


async def test_a_frame_with_mixed_types_and_an_index_is_profiled(tmp_path: Path):
    frame = pd.DataFrame({"a": [1, "x", None, 4]}, index=pd.date_range("2024-01-01", periods=4, name="day"))
    taken = await take_in({"s": frame}, tmp_path / "store")
    found = await profile("s", taken["s"], max_rows=3)
    assert [(column.name, column.dtype, column.nulls) for column in found.columns] == [
        ("day", "text", 0),
        ("a", "text", 1),
    ]
    validated(found, Path(taken["s"].path))
