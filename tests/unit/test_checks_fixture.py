"""The fixture beside a saved generation: plain pytest works there, by hand."""

from __future__ import annotations

import shutil
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


@pytest.mark.slow
def test_plain_pytest_runs_the_tests_of_a_saved_generation(saved: Path) -> None:
    done = run_pytest(saved)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


@pytest.mark.slow
def test_they_run_from_another_folder_and_inside_a_project_with_its_own_settings(saved: Path) -> None:
    (saved.parent / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = "--no-such-option"\n')
    done = run_pytest(saved, str(saved), cwd=saved.parent)
    assert "3 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_they_run_together_with_those_of_another_generation(saved: Path) -> None:
    other = saved.with_name("other")
    shutil.copytree(saved, other)
    (other / "solution.py").write_text(CODE.replace("* args.times", "+ args.times"))
    (other / "test_solution.py").write_text(TESTS.replace("== 10", "== 7").replace("(0, 2,", "(0, 3,"))
    together = "--import-mode=importlib"  # pytest's word for modules that have the same name
    for arguments in ([], ["--rootdir=.", "other", "generation/test_solution.py"]):
        done = run_pytest(saved.parent, together, *arguments)
        assert "6 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_an_interpreter_that_is_not_there_is_named(saved: Path) -> None:
    done = run_pytest(saved, "--solution-python=/not/there")
    assert done.returncode == 4
    assert "no tests ran" in done.stdout
    assert "ERROR: --solution-python: there is no interpreter '/not/there'.\n" in done.stderr


@pytest.mark.slow
def test_a_failure_shows_what_was_expected_and_what_the_solution_said(saved: Path) -> None:
    (saved / "solution.py").write_text(CODE.replace("* args.times", "+ args.times"))
    done = run_pytest(saved)
    assert done.returncode == 1
    assert "assert 7 == 10" in done.stdout


@pytest.mark.slow
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


SERVED = """
import argparse
import multiprocessing
import os
import pickle
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np


class Thing:
    pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", required=True)
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    folder = Path(args.outputs)
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        "name": __name__,
        "parent": os.getppid(),
        "file": Path(__file__).name == Path(sys.argv[0]).name == "solution.py",
        "pickles": type(pickle.loads(pickle.dumps(Thing()))) is Thing,
        "random": [random.random(), float(np.random.random())],
        "temporary": tempfile.gettempdir() == os.environ["TMPDIR"] == os.getcwd(),
        "stdin": sys.stdin.read(),
        "beside": sys.path[0] == str(Path(__file__).parent),
        "pytest": [name for name in os.environ if name.startswith("PYTEST")],
        "names": sorted(name for name in globals() if name in ("json", "gc", "serve", "contextlib", "annotations")),
        "seen": os.path.exists(os.path.join(tempfile.gettempdir(), "mark")),
    }
    Path(tempfile.gettempdir(), "mark").touch()
    (folder / "state").write_text(repr(state))
    print("mode", len(args.mode))
    if args.mode == "fail":
        raise RuntimeError("as asked")
    if args.mode == "refuse":
        raise SystemExit("no rows")
    if args.mode == "status":
        sys.exit(7)
    if args.mode == "_exit":
        os._exit(0)
    if args.mode == "hang":
        time.sleep(60)
    if args.mode == "kill":
        os.kill(os.getppid(), signal.SIGKILL)
    if args.mode == "thread":
        threading.Thread(target=lambda: (time.sleep(0.2), (folder / "late").write_text("here"))).start()


if __name__ == "__main__":
    main()
"""
SERVED_TESTS = """
import ast
import os

import pytest

SERVED = True


def test_it_looks_as_if_started_by_itself(run_solution):
    states = []
    for _ in range(2):
        run = run_solution(mode="plain")
        assert (run.exit_code, run.stdout, run.stderr) == (0, "mode 5\\n", "")
        state = ast.literal_eval(run.outputs["state"])
        states.append(state.pop("random"))
        assert (state.pop("parent") == os.getpid()) is not SERVED
        assert state == {
            "name": "__main__", "file": True, "pickles": True, "temporary": True, "stdin": "", "beside": True,
            "pytest": [], "names": [], "seen": False,
        }
    assert states[0][0] != states[1][0]
    assert states[0][1] != states[1][1]


def test_an_exception_has_its_own_traceback_and_no_other(run_solution):
    run = run_solution(mode="fail")
    assert run.exit_code == 1
    assert run.stderr.startswith("Traceback (most recent call last):\\n  File ")
    assert run.stderr.endswith("RuntimeError: as asked\\n")
    assert run.stderr.count("File ") == 2
    assert "raise RuntimeError" in run.stderr


def test_exit_statuses(run_solution):
    run = run_solution(mode="refuse")
    assert (run.exit_code, run.stderr) == (1, "no rows\\n")
    assert run_solution(mode="status").exit_code == 7
    assert run_solution(mode="_exit").exit_code == 0
    assert run_solution(mode="thread").outputs["late"] == "here"


def test_a_long_argument(run_solution):
    assert run_solution(mode="x" * 1_000_000).stdout == "mode 1000000\\n"


def test_after_it_killed_its_parent_it_runs_all_the_same(run_solution):
    run_solution(mode="kill")
    assert run_solution(mode="plain").exit_code == 0


def test_it_hangs(run_solution):
    with pytest.raises(Exception, match="did not end within 4 s"):
        run_solution(mode="hang")
    assert run_solution(mode="plain").exit_code == 0
"""


@pytest.mark.slow
def test_a_solution_with_slow_imports_runs_as_any_other(tmp_path: Path) -> None:
    contract = Contract(inputs={"mode": "str"}, outputs={"state": "str", "late": "str"})
    for name, text in fixture_files(contract, {}).items():
        (tmp_path / name).write_text(text)
    (tmp_path / "solution.py").write_text(SERVED)
    (tmp_path / "test_solution.py").write_text(SERVED_TESTS)
    done = run_pytest(tmp_path, "--solution-seconds=4")
    assert "6 passed" in done.stdout, done.stdout + done.stderr

    # The same without the server: what the tests say of it is true of any process.
    plain = SERVED.replace("os.kill(os.getppid()", "os.kill(os.getpid()")
    plain += "\n# It would notice what was imported before it:\nimport urllib\nurllib.parse\n"
    (tmp_path / "solution.py").write_text(plain)
    (tmp_path / "test_solution.py").write_text(SERVED_TESTS.replace("SERVED = True", "SERVED = False"))
    done = run_pytest(tmp_path, "-k", "not hangs")
    assert "5 passed" in done.stdout, done.stdout + done.stderr


CHANGING = """
from pathlib import Path

SOLUTION = Path(__file__).with_name("solution.py")


def test_each_run_is_one_of_the_program_as_it_is_then(run_solution):
    kept, said = SOLUTION.read_text(), []
    try:
        for line in ("print(1)", "print(1)", "print('\\\\d')", "print('\\\\d')", "print(", "print(1)"):
            SOLUTION.write_text(f"import numpy\\n{line}\\n")
            run = run_solution(text="")
            said.append((run.exit_code, run.stdout.strip(), run.stderr.count("Warning"), "SyntaxError" in run.stderr))
    finally:
        SOLUTION.write_text(kept)
    warned = (0, "\\\\d", WARNINGS, False)
    assert said == [(0, "1", 0, False)] * 2 + [warned] * 2 + [(1, "", 0, True), (0, "1", 0, False)]
"""


@pytest.mark.slow
def test_a_program_that_changes_warns_or_does_not_parse_runs_so_each_time(tmp_path: Path) -> None:
    contract = Contract(inputs={"text": "str"}, outputs={})
    for name, text in fixture_files(contract, {}).items():
        (tmp_path / name).write_text(text)
    (tmp_path / "solution.py").write_text("import numpy\n")
    # Of an escape that means nothing Python warns from 3.12 on; before, only where somebody asks.
    warnings = 1 if sys.version_info >= (3, 12) else 0
    (tmp_path / "test_solution.py").write_text(f"WARNINGS = {warnings}\n{CHANGING}")
    done = run_pytest(tmp_path)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
