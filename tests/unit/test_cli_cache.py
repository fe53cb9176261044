"""What is kept is listed, pruned and cleared by the command, on this machine and in a store."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flyte.io import File

from flyteplugins.codegen.cli.main import main
from flyteplugins.codegen.core import pinned
from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.record import Record, key_of, open_record
from flyteplugins.codegen.sandbox.environments import EnvironmentStore

DAY = 24 * 3600.0
ANSWER = {"step": "plan", "attempt": 1, "model": "openai/some-model"}


def codegen(*arguments: str, said: str = "") -> Result:
    return CliRunner().invoke(main, arguments, input=said)


def document(*arguments: str) -> dict[str, Any]:
    outcome = codegen("cache", *arguments, "--json")
    assert outcome.exit_code == 0, outcome.output
    found: dict[str, Any] = json.loads(outcome.stdout)
    return found


def counts(*arguments: str) -> dict[str, int]:
    listed = document("list", *arguments)["kinds"]
    return {kind["kind"]: kind["count"] for kind in listed if kind["count"] and kind["kind"] != "images"}


def aged(path: Path, days: float) -> None:
    then = time.time() - days * DAY
    os.utime(path, (then, then))


@pytest.fixture(autouse=True)
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No image of whoever runs the tests is looked at."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")


@pytest.fixture
def home(codegen_home: Path) -> Path:
    """A state folder with an old answer, a newer one that was withdrawn, a run with its file, and files of nobody."""

    async def fill() -> None:
        record = open_record(None, pytest.fail)
        await record.add("answers", key_of("old"), ANSWER)
        await record.withdraw(await record.add("answers", key_of("new"), {**ANSWER, "step": "code"}))
        file = pinned.pin_text("result", "result.csv")
        await add_run(record, file)
        aged(Path(file.path).parent, 40)
        aged(next((codegen_home / "record" / "answers").rglob(f"{key_of('old')}/0000.json")), 40)
        aged(Path(pinned.pin_text("nobody's", "old.txt").path).parent, 3)
        pinned.pin_text("a moment ago", "new.txt")

    asyncio.run(fill())
    transcripts = codegen_home / "transcripts"
    transcripts.mkdir()
    (transcripts / "20260101-000000-agent.jsonl").write_text('{"step": "plan"}\n{"step": "code"}\n')
    aged(transcripts / "20260101-000000-agent.jsonl", 10)
    (codegen_home / "locks").mkdir(exist_ok=True)
    lock = Lock(python="3.11", platform="any", requirements="pandas==2.3.0 --hash=sha256:00\n")
    (codegen_home / "locks" / "abc-any.json").write_text(lock.model_dump_json())
    return codegen_home


async def add_run(record: Record, file: File) -> None:
    kept = {"name": "result.csv", "sha256": file.hash, "size": 6}
    body = {"name": "agent-run", "exit_code": 0, "outputs": {"result": kept}}
    await record.keep_file(file)
    await record.add("runs", key_of("run"), body)


def test_what_is_kept_is_listed_by_kind(home: Path) -> None:
    listed = document("list")
    assert listed["where"] == str(home)
    assert {kind["kind"]: kind["count"] for kind in listed["kinds"] if kind["kind"] != "images"} == {
        "answers": 2,
        "runs": 1,
        "generations": 0,
        "reviews": 0,
        "files": 3,
        "environments": 0,
        "locks": 1,
        "endpoints": 0,
        "transcripts": 1,
    }
    answers = listed["kinds"][0]
    assert answers["bytes"] > 100
    assert answers["oldest"] < answers["newest"]
    assert "Docker" in listed["notes"][0]
    for_people = codegen("cache", "list").stdout.splitlines()
    assert for_people[0] == str(home)
    assert for_people[1].split()[:2] == ["answers", "2"]


def test_each_thing_is_told_with_what_it_is(home: Path) -> None:
    told = {one["name"]: one["about"] for one in document("list", "--details")["entries"]}
    assert told[f"{key_of('old')[:12]}/0"] == "plan, attempt 1, openai/some-model"
    assert told[f"{key_of('new')[:12]}/0"] == "code, attempt 1, openai/some-model, withdrawn"
    assert told[f"{key_of('run')[:12]}/0"] == "agent-run, exited 0, 1 files"
    assert told["20260101-000000-agent.jsonl"] == "2 lines"
    assert told["abc-any.json"] == "Python 3.11, pandas==2.3.0"
    assert "result.csv" in told.values()
    lines = codegen("cache", "list", "answers", "--details").stdout
    assert "openai/some-model" in lines
    assert "transcripts" not in lines


def test_nothing_there_is_a_list_of_nothing(codegen_home: Path) -> None:
    assert counts() == {}
    assert document("prune")["removed"] == []
    assert codegen("cache", "clear", "--yes").exit_code == 0


def test_prune_takes_files_that_nothing_names_and_nobody_used_for_a_day(home: Path) -> None:
    left = home / "running" / ".codegen-scratch-0123456789abcdef"
    left.mkdir(parents=True)
    pruned = document("prune")
    assert [(one["kind"], one["count"]) for one in pruned["removed"]] == [("files", 1)]
    assert not left.exists()
    names = {path.name for path in (home / "files").rglob("*.*") if path.is_file()}
    assert names == {"result.csv", "new.txt"}
    assert document("prune")["removed"] == []


def test_prune_takes_what_is_older(home: Path) -> None:
    dry = document("prune", "--older-than", "30d", "--dry-run")
    assert dry["dry_run"] is True
    before = counts()
    removed = document("prune", "--older-than", "30d")["removed"]
    assert removed == dry["removed"]
    assert {one["kind"]: one["count"] for one in removed} == {"files": 2, "answers": 1}
    assert counts() == {**before, "answers": 1, "files": 1}
    assert document("prune", "--older-than", "1w")["removed"][0]["kind"] == "transcripts"


def test_prune_takes_the_oldest_until_it_fits(home: Path) -> None:
    all_of_it = sum(kind["bytes"] for kind in document("list")["kinds"])
    pruned = document("prune", "--max-size", str(all_of_it - 50))
    left = sum(kind["bytes"] for kind in document("list")["kinds"])
    assert left <= all_of_it - 50
    assert pruned["bytes"] == all_of_it - left
    assert {one["kind"] for one in pruned["removed"]} <= {"files", "answers"}
    assert counts()["transcripts"] == 1
    document("prune", "--max-size", "0")
    assert counts() == {}


def test_clear_asks_and_takes_what_it_was_told(home: Path) -> None:
    refused = codegen("cache", "clear", "answers", said="n\n")
    assert refused.exit_code == 1
    assert "2 things" in refused.stdout
    assert counts()["answers"] == 2
    assert codegen("cache", "clear", "answers", said="y\n").exit_code == 0
    assert "answers" not in counts()
    assert list((home / "record" / "answers").rglob("*.*")) == []
    assert counts()["runs"] == 1
    document("clear", "--yes")
    assert counts() == {}


async def test_what_was_cleared_is_recorded_again(home: Path) -> None:
    await asyncio.to_thread(document, "clear", "--yes")
    record = open_record(None, pytest.fail)
    entry = await record.add("answers", key_of("new"), ANSWER)
    assert await record.newest("answers", key_of("new")) == entry


def test_an_environment_in_use_stays(home: Path) -> None:
    store = EnvironmentStore()
    lock = Lock(python=f"{sys.version_info.major}.{sys.version_info.minor}", platform="any", requirements="")
    asyncio.run(store.ensure(lock))
    cleared = document("clear", "environments", "--yes")
    assert cleared["in_use"] == [{"kind": "environments", "name": lock.key}]
    assert store.path(lock.key).exists()
    assert f"in use, and kept: environments {lock.key}" in codegen("cache", "clear", "--yes").stdout
    del store
    assert document("clear", "environments", "--yes")["in_use"] == []
    assert counts() == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "answer"], "answer: no such kind here. There are: answers, runs"),
        (["prune", "--older-than", "soon"], "--older-than 'soon' is no age"),
        (["prune", "--older-than", "-1d"], "is no age"),
        (["prune", "--max-size", "much"], "--max-size 'much' is no size"),
        (["clear", "--json"], "Say --yes"),
        (["list", "--store", "ftp://host"], "ftp:// is not supported"),
        (["list", "transcripts", "--store", "{store}"], "no such kind here"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments: list[str], message: str, tmp_path: Path, codegen_home: Path) -> None:
    outcome = codegen("cache", *[argument.format(store=tmp_path) for argument in arguments])
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert "Traceback" not in outcome.output


@pytest.mark.parametrize(("text", "bytes_kept"), [("1GB", True), ("1GiB", True), ("0.001k", False), ("0", False)])
def test_sizes_are_read_as_people_write_them(text: str, bytes_kept: bool, home: Path) -> None:
    document("prune", "--max-size", text)
    assert bool(counts()) is bytes_kept


def test_a_store_has_its_own_list_and_its_own_end(home: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"

    async def fill() -> None:
        record = open_record(store, pytest.fail)
        await record.add("answers", key_of("shared"), ANSWER)
        await add_run(record, pinned.pin_text("result", "result.csv"))
        nobodys = pinned.pin_text("nobody's", "old.txt")
        await record.keep_file(nobodys)
        aged(store / "files" / str(nobodys.hash), 3)

    asyncio.run(fill())
    (store / "notes.txt").write_text("somebody's own")
    here = counts()
    assert counts("--store", str(store)) == {"answers": 1, "runs": 1, "files": 2}
    assert [one["kind"] for one in document("prune", "--store", store.as_uri())["removed"]] == ["files"]
    assert counts("--store", str(store)) == {"answers": 1, "runs": 1, "files": 1}
    document("clear", "--yes", "--store", str(store))
    assert counts("--store", str(store)) == {}
    assert (store / "notes.txt").exists()
    assert counts() == here
