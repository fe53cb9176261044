"""`codegen demo` as it is typed: the recording as the model, everything else real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flyteplugins.codegen.cli.demo.request import DATA, GROUP, HOLDOUT, OUTPUT, RECORDING, SCORE, TARGET, USER

pytestmark = pytest.mark.skipif(not RECORDING.is_file(), reason=f"there is no recording at {RECORDING.name} yet")

CODEGEN = Path(sys.executable).with_name("codegen")


def demo(
    home: Path, out: Path, *options: str, before: tuple[str, ...] = ()
) -> tuple[subprocess.CompletedProcess[str], float]:
    environment = {**os.environ, "FLYTEPLUGINS_CODEGEN_HOME": str(home / "codegen"), "HOME": str(home)}
    # uv's cache stays where it is: the packages are the same for everybody.
    environment["UV_CACHE_DIR"] = os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv"))
    started = time.monotonic()
    done = subprocess.run(
        [*before, str(CODEGEN), "demo", "--out", str(out), *options],
        cwd=out.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, time.monotonic() - started


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """The state folder, the output folder and what was printed by a first run."""
    home = tmp_path_factory.mktemp("home")
    out = tmp_path_factory.mktemp("work") / "demo-output"
    done, _ = demo(home, out)
    assert done.returncode == 0, done.stdout + done.stderr
    return home, out, done.stdout


def test_the_audience_is_the_top_tenth_of_all_users_and_a_fifth_of_it_is_held_out(
    first: tuple[Path, Path, str],
) -> None:
    audience = pd.read_parquet(first[1] / f"{OUTPUT}.parquet")
    users = pd.read_parquet(DATA / "user_features.parquet")
    assert len(audience) == len(users) // 10
    assert audience[GROUP].value_counts().to_dict() == {TARGET: 320, HOLDOUT: 80}
    assert audience[USER].is_unique
    assert set(audience[USER]) <= set(users["user_id"])
    assert audience[SCORE].is_monotonic_decreasing
    assert audience[SCORE].notna().all()


def test_people_are_shown_each_step_the_receipt_the_groups_and_where_the_files_are(
    first: tuple[Path, Path, str],
) -> None:
    _, out, printed = first
    for step in ("plan", "code", "tests", "environment", "attempt"):
        assert any(step in line.split() for line in printed.splitlines()), step
    for part in ("Done in", "Isolation", "Contract checks", "proved able to fail", "lowest score", "10%"):
        assert part in printed
    assert str(out / f"{OUTPUT}.parquet") in printed
    assert str(out / "generation") in printed
    assert {path.name for path in (out / "generation").iterdir()} >= {
        "solution.py",
        "test_solution.py",
        "requirements.lock",
        "generation.json",
        "transcript.jsonl",
        "samples",
        "outputs",
    }


def test_the_second_run_is_quick_needs_no_network_and_gives_the_same_bytes(
    first: tuple[Path, Path, str], tmp_path: Path
) -> None:
    home, out, _ = first
    without_network = ("unshare", "--net")
    allowed = shutil.which("unshare") and subprocess.run([*without_network, "true"], check=False).returncode == 0
    done, seconds = demo(home, tmp_path / "again", before=without_network if allowed else ())
    assert done.returncode == 0, done.stdout + done.stderr
    assert seconds < 15
    name = f"{OUTPUT}.parquet"
    assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()


def test_for_machines_the_demo_prints_one_document(first: tuple[Path, Path, str], tmp_path: Path) -> None:
    done, _ = demo(first[0], tmp_path / "json", "--json")
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["success"] is True
    assert [(row["group"], row["users"]) for row in document["groups"]] == [(TARGET, 320), (HOLDOUT, 80)]
    assert document["groups"][0]["share"] == pytest.approx(0.08)


def test_the_saved_generation_of_the_demo_runs_again_from_its_folder(
    first: tuple[Path, Path, str], tmp_path: Path
) -> None:
    home, out, _ = first
    done = subprocess.run(
        [str(CODEGEN), "run", str(out / "generation"), "--out", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "FLYTEPLUGINS_CODEGEN_HOME": str(home / "codegen"), "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / f"{OUTPUT}.parquet").read_bytes() == (out / f"{OUTPUT}.parquet").read_bytes()


def test_where_nothing_isolates_the_demo_alone_goes_on_and_says_so(
    first: tuple[Path, Path, str], tmp_path: Path
) -> None:
    # A user namespace in which no other can be made, and no Docker engine.
    without = ("unshare", "-r", "sh", "-c", 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"', "sh")
    if not shutil.which("unshare") or subprocess.run([*without, "true"], check=False).returncode:
        pytest.skip("no user namespace can be made here, so that none can be forbidden")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'none'}")
        done, _ = demo(first[0], tmp_path / "open", before=without)
        asked, _ = demo(first[0], tmp_path / "asked", "--sandbox=bubblewrap", before=without)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "NOTHING ISOLATES CODE HERE" in done.stdout
    assert "Isolation         process, as asked for (plain processes of this user, no isolation)" in done.stdout
    assert (tmp_path / "open" / f"{OUTPUT}.parquet").is_file()
    assert asked.returncode == 2
    assert "bubblewrap" in asked.stderr
