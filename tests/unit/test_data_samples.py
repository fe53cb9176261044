"""Samples and inputs as stored files."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path

import pandas as pd
import pytest
from flyte.io import File

from flyteplugins.codegen.core.errors import InvalidInputError, InvalidRequestError
from flyteplugins.codegen.data.samples import take_in, take_in_file


def content(path: str | Path) -> bytes:
    return Path(path).read_bytes()


def mode(path: str) -> int:
    return Path(path).stat().st_mode


@pytest.fixture
def locked(sales: Path) -> Path:
    sales.chmod(0)
    return sales


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    path.write_text("region,amount\nnorth,1.5\n")
    return path


async def test_a_sample_is_stored_under_the_hash_of_its_content_and_keeps_its_name(sales: Path, tmp_path: Path):
    store = tmp_path / "store"
    taken = (await take_in({"sales": File(path=str(sales))}, store))["sales"]
    digest = hashlib.sha256(content(sales)).hexdigest()
    assert taken.hash == digest
    assert Path(taken.path) == store / digest / "sales.csv"
    assert content(taken.path) == content(sales)
    assert mode(taken.path) & 0o222 == 0


async def test_a_later_change_of_the_users_file_does_not_reach_the_stored_one(sales: Path, tmp_path: Path):
    before = (await take_in({"sales": sales}, tmp_path / "store"))["sales"]
    with sales.open("a") as file:
        file.write("south,2\n")
    after = (await take_in({"sales": str(sales)}, tmp_path / "store"))["sales"]
    assert b"south" not in content(before.path)
    assert before.hash != after.hash


async def test_many_callers_at_once_share_one_copy(sales: Path, tmp_path: Path):
    store = tmp_path / "store"
    taken = await asyncio.gather(*(take_in_file(sales, store) for _ in range(20)))
    assert len({file.path for file in taken}) == 1
    assert [path for path in store.rglob("*") if path.is_file()] == [Path(taken[0].path)]


async def test_a_remote_file_is_downloaded(sales: Path, tmp_path: Path):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/bucket/remote.csv", content(sales))
    taken = (await take_in({"s": File(path="memory://bucket/remote.csv")}, tmp_path / "store"))["s"]
    assert taken.name == "remote.csv"
    assert content(taken.path) == content(sales)


async def test_a_remote_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(InvalidRequestError, match=r"sample 's' can't be read from memory://bucket/none\.csv"):
        await take_in({"s": File(path="memory://bucket/none.csv")}, tmp_path / "store")


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (pd.DataFrame({"a": [1, 2]}), "a\n1\n2\n"),
        (pd.DataFrame({"a": [1, 2]}, index=["x", "y"]), "index,a\nx,1\ny,2\n"),
        (pd.DataFrame({"a": [1, 2]}, index=pd.RangeIndex(5, 7)), "index,a\n5,1\n6,2\n"),
        (pd.DataFrame({"day": [1]}, index=pd.Index(["x"], name="day")), "day_index,day\nx,1\n"),
        (
            pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_tuples([("x", 2)], names=["k", None])),
            "k,level_1,a\nx,2,1\n",
        ),
        (pd.DataFrame({"a": [1, "x", None, 2.5]}), "a\n1\nx\n\n2.5\n"),
        (pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")])), "a_b,a_c\n1,2\n"),
        (pd.DataFrame([[1, 2]], columns=[0, 1]), "0,1\n1,2\n"),
    ],
)
async def test_a_frame_with_any_index_becomes_csv(frame: pd.DataFrame, text: str, tmp_path: Path):
    taken = await take_in({"d": frame}, tmp_path / "store")
    assert taken["d"].name == "d.csv"
    # A row of one missing value is written as "" by pandas: an empty line would be no row.
    assert content(taken["d"].path).decode().replace('""', "") == text
    again = await take_in({"d": frame.copy()}, tmp_path / "other")
    assert again["d"].hash == taken["d"].hash


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.csv", b"", "is empty"),
        ("h.csv", b"a,b\n", "has no rows"),
        ("t.csv", b"a,b\n1,2,\n3,4,\n", "has 2 column names and 3 fields"),
        ("deep.jsonl", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "line 1 does not parse"),
        ("b.csv", b"\x00\x01\x02\x03" * 10, "binary, not text"),
        ("p.parquet", b"no parquet at all", "does not parse as Parquet"),
        ("j.jsonl", b'{"a": 1}\nnot json\n', "line 2 does not parse as JSON"),
        ("j.json", b'{"a": ', "does not parse as JSON"),
        ("c.csv.gz", b"\x1f\x8b\x08\x00broken", "can't be decompressed"),
    ],
)
async def test_a_sample_that_no_code_can_be_generated_from_is_an_error(
    name: str, content: bytes, message: str, tmp_path: Path
):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidRequestError, match=f"sample 's'.*{name}.*{message}"):
        await take_in({"s": tmp_path / name}, tmp_path / "store")


async def test_missing_files_folders_and_other_things_are_errors(tmp_path: Path):
    for value, message in [
        (tmp_path / "none.csv", "there is no file"),
        (tmp_path, "is a folder"),
        (7, "is a int"),
        (pd.DataFrame(), "without columns"),
        (pd.DataFrame(index=[1, 2]), "without columns"),
        (pd.DataFrame({"a": []}), "has no rows"),
    ]:
        with pytest.raises(InvalidRequestError, match=f"sample 's'.*{message}"):
            await take_in({"s": value}, tmp_path / "store")
    with pytest.raises(InvalidInputError, match=r"input 'readings'.*there is no file"):
        await take_in_file(tmp_path / "none.csv", tmp_path / "store", "readings")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
async def test_a_file_that_may_not_be_read_is_an_error(locked: Path, tmp_path: Path):
    with pytest.raises(InvalidRequestError, match="can't be read: Permission denied"):
        await take_in({"s": locked}, tmp_path / "store")


async def test_an_input_may_be_empty_and_of_any_kind(tmp_path: Path):
    (tmp_path / "x.bin").write_bytes(b"")
    assert (await take_in_file(tmp_path / "x.bin", tmp_path / "store")).name == "x.bin"
    assert (await take_in_file(pd.DataFrame({"a": []}), tmp_path / "store", "readings")).name == "readings.csv"


async def test_no_samples_are_no_files(tmp_path: Path):
    assert await take_in(None, tmp_path / "store") == {}
