"""A record that several machines share through an object store, and what happens where the store does not answer."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flyteplugins.codegen.core import pinned
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.record import LocalShelf, Record, key_of, open_record
from flyteplugins.codegen.record.object_shelf import ObjectShelf
from flyteplugins.codegen.record.remote import RemoteShelf

KEY = key_of({"asked": "something"})


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """A server on loopback that speaks S3."""
    server_module = pytest.importorskip("moto.server", reason="moto, which serves S3 here, is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An address in a new bucket, with the settings that Flyte's own storage has."""
    name = f"bucket-{uuid.uuid4().hex[:12]}"
    urllib.request.urlopen(urllib.request.Request(f"{s3_endpoint}/{name}", method="PUT")).close()  # noqa: S310 # a server of the test
    reach(s3_endpoint, monkeypatch)
    return f"s3://{name}/shared/record"


def reach(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYTE_AWS_ENDPOINT", endpoint)
    monkeypatch.setenv("FLYTE_AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("FLYTE_AWS_SECRET_ACCESS_KEY", "testing-secret")


@pytest.fixture(params=["memory", "file", pytest.param("s3", marks=pytest.mark.slow)])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectShelf:
    from obstore.store import LocalStore

    if request.param == "s3":
        return ObjectShelf.at(request.getfixturevalue("bucket"))
    if request.param == "file":
        return ObjectShelf(LocalStore(tmp_path / "objects", mkdir=True), "file:///objects")
    return ObjectShelf.at("memory://")


def machine(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, remote: Any, told: list[str] | None = None
) -> Record:
    """The record as a machine with a state folder of its own opens it."""
    monkeypatch.setenv("FLYTEPLUGINS_CODEGEN_HOME", str(tmp_path / name))
    trouble = told.append if told is not None else pytest.fail
    if isinstance(remote, str):
        return open_record(remote, trouble)
    return Record(LocalShelf(tmp_path / name / "record"), trouble, remote=remote)


async def test_what_is_written_once_stays_and_is_listed(shelf: ObjectShelf) -> None:
    assert await shelf.read("a/b/c") is None
    assert await shelf.create("a/b/c", b"first")
    assert not await shelf.create("a/b/c", b"second")
    assert await shelf.create("a/b/empty", b"")
    assert await shelf.create("a/b/deeper/d", b"4444")
    assert await shelf.create("a/bb/c", b"beside")
    assert await shelf.read("a/b/c") == b"first"
    assert await shelf.contents("a/b") == {"c": b"first", "empty": b""}
    assert await shelf.contents("a/nothing") == {}
    listed = await shelf.listed("a/b")
    assert [(one.path, one.size) for one in listed] == [("a/b/c", 5), ("a/b/deeper/d", 4), ("a/b/empty", 0)]
    assert all(abs(one.modified - time.time()) < 3600 for one in listed)
    assert len(await shelf.listed("")) == 4
    await shelf.delete("a/b/c")
    await shelf.delete("a/b/c")
    assert await shelf.read("a/b/c") is None


async def test_of_many_writers_of_one_file_one_succeeds(shelf: ObjectShelf) -> None:
    created = await asyncio.gather(*(shelf.create("a/b", str(number).encode()) for number in range(12)))
    assert sorted(created) == [False] * 11 + [True]
    assert await shelf.read("a/b") == str(created.index(True)).encode()


@pytest.mark.slow
async def test_large_files_travel_whole(shelf: ObjectShelf, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(11 << 20))
    assert not await shelf.give_file("files/abc", target)
    await shelf.take_file("files/abc", source)
    await shelf.take_file("files/abc", source)
    assert await shelf.give_file("files/abc", target)
    assert target.read_bytes() == source.read_bytes()


async def test_two_machines_share_what_each_recorded(
    shelf: ObjectShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = machine("one", tmp_path, monkeypatch, shelf)
    file = pinned.pin_text("result", "result.csv")
    await one.keep_file(file)
    first = await one.add("answers", KEY, {"text": "first"})
    two = machine("two", tmp_path, monkeypatch, shelf)
    assert await two.newest("answers", KEY) == first
    brought = await two.bring_file(str(file.hash), "result.csv", 6)
    assert brought is not None
    assert brought.path.startswith(str(tmp_path / "two"))
    assert Path(brought.path).read_text() == "result"
    # What was found there is kept here: without the store it is served as well.
    assert await machine("two", tmp_path, monkeypatch, None).newest("answers", KEY) == first
    # A version that the other machine has never seen does not take the place of one that it wrote.
    other = key_of("other")
    here = await two.add("answers", other, {"by": "two"})
    there = await machine("one", tmp_path, monkeypatch, shelf).add("answers", other, {"by": "one"})
    assert (here.version, there.version) == (0, 1)
    assert await machine("three", tmp_path, monkeypatch, shelf).newest("answers", other) == there


async def test_what_one_machine_withdrew_is_served_to_no_new_one(
    shelf: ObjectShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = machine("one", tmp_path, monkeypatch, shelf)
    await one.withdraw(await one.add("answers", KEY, {"text": "of no use"}))
    assert await one.newest("answers", KEY) is None
    assert await machine("two", tmp_path, monkeypatch, shelf).newest("answers", KEY) is None


async def test_a_corrupt_object_counts_as_absent_and_is_told(
    shelf: ObjectShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shelf.create(f"answers/{KEY[:2]}/{KEY}/0000.json", b"torn")
    told: list[str] = []
    record = machine("one", tmp_path, monkeypatch, shelf, told)
    assert await record.newest("answers", KEY) is None
    assert "corrupt and counts as absent" in told[0]
    added = await record.add("answers", KEY, {"text": "new"})
    assert added.version == 1
    assert await machine("two", tmp_path, monkeypatch, shelf, told).newest("answers", KEY) == added


async def test_a_corrupt_entry_here_is_served_from_there(
    shelf: ObjectShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    record = machine("one", tmp_path, monkeypatch, shelf, told)
    entry = await record.add("answers", KEY, {"text": "paid for"})
    path = tmp_path / "one" / "record" / "answers" / KEY[:2] / KEY / "0000.json"
    path.write_bytes(path.read_bytes()[:-3])
    assert await record.newest("answers", KEY) == entry
    assert "corrupt" in told[0]


@pytest.mark.slow
async def test_an_address_is_enough_and_no_credential_is_written(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = await machine("one", tmp_path, monkeypatch, bucket).add("generations", KEY, {"text": "whole"})
    assert await machine("two", tmp_path, monkeypatch, bucket).newest("generations", KEY) == entry
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"testing-secret" not in written


ADDS_SOME = """if True:
        import asyncio, sys
        from flyteplugins.codegen.record import open_record

        async def main():
            record = open_record(sys.argv[1], sys.exit)
            for number in range(8):
                await record.add("answers", sys.argv[2], {"by": sys.argv[3], "number": number})

        asyncio.run(main())
"""


@pytest.mark.slow
async def test_machines_that_write_at_the_same_time_lose_nothing(bucket: str, tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", ADDS_SOME, bucket, KEY, name],
            env={**os.environ, "FLYTEPLUGINS_CODEGEN_HOME": str(tmp_path / name)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two", "three")
    ]
    assert [child.communicate(timeout=60)[1] for child in children] == [""] * 3
    contents = await ObjectShelf.at(bucket).contents(f"answers/{KEY[:2]}/{KEY}")
    assert sorted(contents) == [f"{version:04d}.json" for version in range(24)]
    assert len(set(contents.values())) == 24


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def refusing() -> str:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{closed.getsockname()[1]}"


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["silent", "refusing", "s3_endpoint"])
async def test_a_store_that_fails_is_told_once_and_left_alone_for_a_while(
    fault: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reach(request.getfixturevalue(fault), monkeypatch)
    address = "s3://no-such-bucket-here/folder"
    told: list[str] = []
    remote = RemoteShelf(ObjectShelf.at(address), seconds=0.3)
    record = machine("one", tmp_path, monkeypatch, remote, told)
    start = time.monotonic()
    file = pinned.pin_text("result", "result.csv")
    for number in range(20):
        key = key_of(number)
        assert await record.newest("answers", key) is None
        await record.keep_file(file)
        entry = await record.add("answers", key, {"number": number})
        assert entry.version == 0
        assert await record.newest("answers", key) == entry
        await record.withdraw(entry)
        assert await record.bring_file(key, "absent") is None
    assert time.monotonic() - start < 10  # not twenty times a deadline
    assert len(told) == 1, told
    assert all(address in one and "record of this machine alone" in one for one in told)
    assert all("\n" not in one for one in told)


async def test_a_store_that_can_only_be_read_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = LocalShelf(tmp_path / "shared")
    key = key_of("theirs")
    await Record(shared).add("answers", key, {"text": "theirs"})

    class ReadOnly(LocalShelf):
        async def create(self, path: str, content: bytes, *, durable: bool = True) -> bool:
            raise PermissionError("403 Forbidden")

    told: list[str] = []
    record = machine("one", tmp_path, monkeypatch, RemoteShelf(ReadOnly(tmp_path / "shared")), told)
    await record.add("answers", KEY, {"text": "ours"})
    found = await record.newest("answers", key)
    assert found is not None
    assert found.body == {"text": "theirs"}
    assert len(told) == 1
    assert "403 Forbidden" in told[0]


@pytest.mark.parametrize("address", ["s3://bucket/folder", "gs://bucket/folder", "memory://"])
def test_opening_a_store_asks_no_network(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reach("http://127.0.0.1:9", monkeypatch)
    record = open_record(address)
    assert record.remote is not None
    assert record.remote.where.startswith(address.split("//")[0])


def test_settings_that_name_no_account_are_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(InvalidRequestError, match=r"can't be used: .*[Aa]ccount"):
        open_record("abfs://container/folder")
