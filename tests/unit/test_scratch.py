"""Temporary folders: gone after use, left alone while in use, and cleared where their owner was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flyteplugins.codegen.core.scratch import PREFIX, scratch, scratch_in, sweep

HOLDER = """
import sys, time
from pathlib import Path
from flyteplugins.codegen.core.scratch import scratch
with scratch(Path(sys.argv[1])) as folder:
    (folder / "half-written").write_text("x")
    (folder / "closed").mkdir(mode=0o000)
    print(folder.name, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def left(tmp_path: Path) -> str:
    """The name of a scratch folder whose owner was killed."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout
    name = holder.stdout.readline().strip()
    assert sweep(tmp_path) == []
    assert (tmp_path / name).exists()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    return name


def test_it_is_private_and_gone_after_the_block(tmp_path: Path) -> None:
    with scratch(tmp_path / "made" / "where missing") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("x")
    assert not folder.exists()


def test_one_that_is_renamed_stays_under_its_new_name(tmp_path: Path) -> None:
    with scratch(tmp_path) as folder:
        (folder / "file").write_text("x")
        folder.rename(tmp_path / "published")
    assert [path.name for path in tmp_path.iterdir()] == ["published"]


async def test_in_threads_it_is_the_same(tmp_path: Path) -> None:
    async with scratch_in(tmp_path) as folder:
        assert sweep(tmp_path) == []
        assert folder.is_dir()
    assert not folder.exists()


@pytest.mark.slow
def test_what_a_killed_process_left_is_swept_and_what_a_living_one_holds_is_not(tmp_path: Path, left: str) -> None:
    (tmp_path / "anything else").mkdir()
    with scratch(tmp_path) as folder:
        assert sweep(tmp_path) == [left]
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["anything else", folder.name])


@pytest.mark.slow
def test_two_sweeps_and_many_new_folders_at_once_do_no_harm(tmp_path: Path, left: str) -> None:
    def use(_: int) -> bool:
        with scratch(tmp_path) as folder:
            (folder / "file").write_text("x")
            return (folder / "file").exists()

    with ThreadPoolExecutor(8) as pool:
        sweeps = [pool.submit(sweep, tmp_path) for _ in range(200)]
        assert all(pool.map(use, range(400)))
    # A sweep may take a folder in the moment between its making and its locking: another is made then.
    assert left in [name for done in sweeps for name in done.result()]
    assert not list(tmp_path.iterdir())


def test_a_link_of_that_name_is_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(kept)
    assert sweep(tmp_path) == []
    assert kept.is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_a_folder_of_another_user_stays(tmp_path: Path) -> None:
    folder = tmp_path / f"{PREFIX}theirs"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    assert sweep(tmp_path) == []
    assert folder.is_dir()


def test_a_place_that_does_not_exist_has_nothing_to_sweep(tmp_path: Path) -> None:
    assert sweep(tmp_path / "nothing here") == []
