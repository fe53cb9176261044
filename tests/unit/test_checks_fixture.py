"""The fixture beside a saved generation: plain pytest works there, by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flyteplugins.codegen.checks.fixture import fixture_files
from flyteplugins.codegen.core.contract import Contract

CODE = """
import argparse
from pathlib import Path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", required=True)
    parser.add_argument("--times", type=int, required=True)
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    folder = Path(args.outputs)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "length").write_text(str(len(Path(args.text).read_text()) * args.times))


if __name__ == "__main__":
    main()
"""
TESTS = """
def test_the_sample(run_solution):
    assert run_solution(times=2).outputs["length"] == 10


def test_another_file(run_solution, tmp_path):
    (tmp_path / "short.txt").write_text("ab")
    run = run_solution(text=tmp_path / "short.txt", times=1)
    assert (run.exit_code, run.outputs["length"], list(run.outputs)) == (0, 2, ["length"])
    assert run_solution(text=str(tmp_path / "short.txt"), times="many").exit_code == 2


def test_runs_do_not_share_outputs(run_solution):
    run = run_solution(times="many")
    assert "length" not in run.outputs
"""


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    contract = Contract(inputs={"text": "File", "times": "int"}, outputs={"length": "int"}, samples=("text",))
    folder = tmp_path / "generation"
    (folder / "samples").mkdir(parents=True)
    (folder / "samples" / "text.txt").write_text("hello")
    for name, text in fixture_files(contract, {"text": "samples/text.txt"}).items():
        (folder / name).write_text(text)
    (folder / "solution.py").write_text(CODE)
    (folder / "test_solution.py").write_text(TESTS)
    return folder


def run_pytest(folder: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    return subprocess.run(command, cwd=cwd or folder, capture_output=True, text=True, timeout=60, check=False)


def test_plain_pytest_runs_the_tests_of_a_saved_generation(saved: Path) -> None:
    done = run_pytest(saved)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_they_run_from_another_folder_and_inside_a_project_with_its_own_settings(saved: Path) -> None:
    (saved.parent / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = "--no-such-option"\n')
    done = run_pytest(saved, str(saved), cwd=saved.parent)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_a_failure_shows_what_was_expected_and_what_the_solution_said(saved: Path) -> None:
    (saved / "solution.py").write_text(CODE.replace("* args.times", "+ args.times"))
    done = run_pytest(saved)
    assert done.returncode == 1
    assert "assert 7 == 10" in done.stdout


def test_the_fixture_needs_nothing_but_pytest_and_the_standard_library(saved: Path) -> None:
    blocked = saved.parent / "blocked"
    blocked.mkdir()
    for name in ("flyteplugins", "flyte", "pandas", "pydantic"):
        (blocked / f"{name}.py").write_text("raise ImportError('not here')\n")
    command = [
        sys.executable,
        "-c",
        f"import sys, pytest; sys.path.insert(0, {str(blocked)!r}); sys.exit(pytest.main(['-q']))",
    ]
    done = subprocess.run(command, cwd=saved, capture_output=True, text=True, timeout=60, check=False)
    assert "3 passed" in done.stdout, done.stdout + done.stderr
