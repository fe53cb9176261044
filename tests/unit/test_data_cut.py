"""Files made from samples, and comparing outputs."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from flyte.io import File
from pyarrow import parquet

from flyteplugins.codegen.data.cut import compare_outputs, cut, header_only, without_column

FRAME = pd.DataFrame({"id": range(5000), "text": [f'line "{row}"\nsecond; line' for row in range(5000)]})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def written(name: str, folder: Path) -> File:
    path = folder / name
    if name.endswith(".parquet"):
        FRAME.to_parquet(path)
    elif name.endswith(".jsonl"):
        FRAME.to_json(path, orient="records", lines=True)
    elif name.endswith(".json"):
        FRAME.to_json(path, orient="records")
    else:
        FRAME.to_csv(path, index=False, sep="\t" if "tsv" in name else ",")
    return File(path=str(path))


def read(file: File | None) -> pd.DataFrame:
    assert file is not None
    if file.path.endswith(".parquet"):
        return pd.read_parquet(file.path)
    if file.path.endswith((".jsonl", ".json")):
        return pd.read_json(file.path, lines=file.path.endswith("l"))
    return pd.read_csv(file.path, sep="\t" if "tsv" in file.path else ",")


NAMES = ["s.csv", "s.tsv", "s.csv.gz", "s.parquet", "s.jsonl", "s.json"]


@pytest.mark.parametrize("name", NAMES)
async def test_a_large_file_is_cut_after_a_complete_record(name: str, store: Path, tmp_path: Path):
    file = written(name, tmp_path)
    limit = 20_000
    part, was_cut = await cut(file, store, limit)
    again, _ = await cut(file, store, limit)
    frame = read(part)
    assert was_cut
    assert part.name == name
    assert part.hash == again.hash
    assert 0 < len(frame) < 5000
    pd.testing.assert_frame_equal(frame, FRAME.head(len(frame)), check_dtype=False)


async def test_a_small_file_stays_as_it_is(store: Path, tmp_path: Path):
    file = written("s.csv", tmp_path)
    assert await cut(file, store) == (file, False)


@pytest.mark.parametrize("name", NAMES)
async def test_a_table_without_rows(name: str, store: Path, tmp_path: Path):
    empty = await header_only(written(name, tmp_path), store)
    if "json" in name:
        assert empty is None
        return
    frame = read(empty)
    assert list(frame.columns) == ["id", "text"]
    assert len(frame) == 0


@pytest.mark.parametrize("name", NAMES)
async def test_a_table_without_one_of_its_columns(name: str, store: Path, tmp_path: Path):
    file = written(name, tmp_path)
    frame = read(await without_column(file, "id", store))
    pd.testing.assert_frame_equal(frame, FRAME[["text"]], check_dtype=False)
    assert await without_column(file, "nothing", store) is None


async def test_text_has_no_header_and_no_columns(store: Path, tmp_path: Path):
    (tmp_path / "s.txt").write_text("line\n" * 100)
    file = File(path=str(tmp_path / "s.txt"))
    assert await header_only(file, store) is None
    assert await without_column(file, "line", store) is None


def pair(tmp_path: Path, first: bytes, second: bytes) -> str:
    (tmp_path / "a").write_bytes(first)
    (tmp_path / "b").write_bytes(second)
    return compare_outputs(tmp_path / "a", tmp_path / "b")


def test_equal_bytes_are_the_same(tmp_path: Path):
    assert pair(tmp_path, b"x,y\n1,2\n", b"x,y\n1,2\n") == "same"
    assert pair(tmp_path, b"", b"") == "same"


@pytest.mark.parametrize(("first", "second"), [(b"a", b"b"), (b"a", b"ab"), (b"", b"a"), (b"PAR1", b"PAR1x")])
def test_other_bytes_are_different(first: bytes, second: bytes, tmp_path: Path):
    assert pair(tmp_path, first, second) == "different"


def test_the_time_stamp_of_gzip_is_of_the_container(tmp_path: Path):
    assert pair(tmp_path, gzip.compress(b"x" * 99, mtime=1), gzip.compress(b"x" * 99, mtime=2)) == "container"
    assert pair(tmp_path, gzip.compress(b"x" * 99, mtime=1), gzip.compress(b"y" * 99, mtime=2)) == "different"


def test_parquet_is_compared_by_its_rows(tmp_path: Path):
    table = pa.table({"x": [1.0, float("nan"), None], "y": ["a", "b", "c"]})
    parquet.write_table(table, tmp_path / "a")
    parquet.write_table(table.replace_schema_metadata({"made": "now"}), tmp_path / "b", compression="gzip")
    parquet.write_table(table.slice(0, 2), tmp_path / "c")
    parquet.write_table(table.set_column(0, "x", pa.array([1.0, 2.0, None])), tmp_path / "d")
    assert compare_outputs(tmp_path / "a", tmp_path / "b") == "container"
    assert compare_outputs(tmp_path / "a", tmp_path / "c") == "different"
    assert compare_outputs(tmp_path / "a", tmp_path / "d") == "different"


def test_zip_files_are_compared_by_their_members(tmp_path: Path):
    def zipped(name: str, year: int, text: str) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            file.writestr(zipfile.ZipInfo("sheet.xml", (year, 1, 1, 0, 0, 0)), text)
        return tmp_path / name

    assert compare_outputs(zipped("a", 2001, "x"), zipped("b", 2002, "x")) == "container"
    assert compare_outputs(zipped("a", 2001, "x"), zipped("b", 2002, "y")) == "different"


def test_json_with_other_spacing_is_different(tmp_path: Path):
    assert pair(tmp_path, json.dumps({"a": 1}).encode(), json.dumps({"a": 1}, indent=1).encode()) == "different"
