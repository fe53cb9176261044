"""`codegen revise` and `codegen edit` as they are typed: the model is a transcript, the editor a script."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from test_cli_generation import CODE, CODED, PLAN, REQUEST, TESTED, Shell

from flyteplugins.codegen import CodeGenEvalResult

pytestmark = pytest.mark.isolation

FOLLOW_UP = "Count the sales at the threshold as well."
CHANGED = CODE.replace("> given.threshold", ">= given.threshold")
NEW_TEST = """
def test_the_threshold_itself_counts(run_solution, tmp_path):
    run = run_solution(sales=sales(tmp_path, 1, 5, 5.5, 9), threshold=5.0)
    assert run.outputs["count"] == 3
    assert run.outputs["report"].read_text() == "5\\n5.5\\n9\\n"
"""
REVISED_TESTS = {
    "dropped": [
        {
            "name": "test_counts_what_is_over_the_threshold",
            "quote": "at the threshold as well",
            "reason": "It leaves 5 out at the threshold 5.",
        }
    ],
    "code": NEW_TEST,
    "packages": [],
    "coverage": [],
}
REVISED_PLAN = {**PLAN, "description": "Counts the sales from the threshold on.", "unmet": ""}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A folder with a good generation, `first`."""
    folder = tmp_path_factory.mktemp("shell")
    (folder / "sales.csv").write_text("amount\n1\n2.5\n30\n")
    shell = Shell(folder)
    done = shell("generate", *REQUEST, shell.model("first.jsonl", plan=PLAN, code=CODED, tests=TESTED), "--out=first")
    assert done.returncode == 0, done.stdout + done.stderr
    shell.model("revised.jsonl", **answers())
    return shell


def answers(**more: Any) -> dict[str, Any]:
    """What the model says to the follow-up."""
    coded = {**CODED, "code": CHANGED}
    return {"revise_plan": REVISED_PLAN, "revise_code": coded, "revise_tests": REVISED_TESTS, **more}


@pytest.fixture
def saved(shell: Shell, request: pytest.FixtureRequest) -> Path:
    """A copy of the generation, of this test's own."""
    name = request.node.name.removeprefix("test_")[:60]
    shutil.copytree(shell.folder / "first", shell.folder / name)
    return shell.folder / name


def editor(shell: Shell, name: str, *commands: str) -> str:
    """A script that stands in for an editor; `$1` is the file."""
    path = shell.folder / name
    path.write_text("\n".join(["#!/bin/sh", "set -e", *commands]) + "\n")
    path.chmod(0o755)
    return str(path)


def test_a_follow_up_replaces_the_generation_and_keeps_the_version_before(shell: Shell, saved: Path) -> None:
    before = (saved / "solution.py").read_text()
    done = shell("revise", saved.name, FOLLOW_UP, "--model=replay:revised.jsonl")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f'Revision 1: "{FOLLOW_UP}"' in done.stdout
    assert "  1 test kept" in done.stdout
    assert "dropped test_counts_what_is_over_the_threshold: It leaves 5 out" in done.stdout
    assert "added test_the_threshold_itself_counts" in done.stdout
    assert "  count = 2" in done.stdout  # 2.5 and 30, at the example threshold 2.5
    assert ">= given.threshold" in (saved / "solution.py").read_text()
    assert (saved / "revisions" / "1" / "solution.py").read_text() == before
    assert (saved / "revisions" / "1" / "outputs" / "count").read_text() != (saved / "outputs/count").read_text()
    assert CodeGenEvalResult.load(saved / "revisions" / "1").success
    shown = shell("show", saved.name)
    assert f'Revision 1: "{FOLLOW_UP}"' in shown.stdout
    assert "Counts the sales from the threshold on." in shown.stdout
    assert json.loads(shell("show", saved.name, "--json").stdout)["revisions"][0]["kept"] == ["test_the_sample"]
    assert "2 of 2 tests passed" in shell("test", saved.name).stdout


def test_with_out_the_generation_stays_as_it_was(shell: Shell, saved: Path) -> None:
    before = contents(saved)
    done = shell("revise", saved.name, FOLLOW_UP, "--model=replay:revised.jsonl", "--out=elsewhere", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert document["folder"] == str(shell.folder / "elsewhere")
    assert document["revisions"][0]["added"] == ["test_the_threshold_itself_counts"]
    assert document["outputs"]["count"] == 2
    assert contents(saved) == before
    assert not (shell.folder / "elsewhere" / "revisions").exists()


def test_a_revision_that_fails_goes_beside_the_generation(shell: Shell, saved: Path) -> None:
    before = contents(saved)
    model = shell.model("unchanged.jsonl", **answers(revise_code=CODED))
    done = shell("revise", saved.name, FOLLOW_UP, model, "--max-iterations=1")
    assert done.returncode == 1
    assert "test_the_threshold_itself_counts" in done.stdout
    assert contents(saved) == before
    assert json.loads((saved.with_name(f"{saved.name}.failed") / "generation.json").read_text())["success"] is False


def test_the_model_of_the_generation_is_asked_where_none_is_named(shell: Shell, saved: Path) -> None:
    done = shell("revise", saved.name, FOLLOW_UP)
    assert done.returncode == 1
    assert "first.jsonl has no answer for the step 'revise_plan'" in done.stdout + done.stderr


def test_an_edit_is_checked_and_saved_with_its_receipt(shell: Shell, saved: Path) -> None:
    mine = editor(shell, "mine", 'sed -i "s/has no rows/has not a single row/" "$1"')
    done = shell("edit", saved.name, VISUAL=mine, EDITOR="false")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Revision 1: the code was changed by a person" in done.stdout
    assert "  2 tests kept" in done.stdout
    result = CodeGenEvalResult.load(saved)
    assert result.success
    assert not any("edited" in warning for warning in result.receipt.warnings)
    assert "has not a single row" in (saved / "solution.py").read_text()
    before = CodeGenEvalResult.load(saved / "revisions" / "1")
    assert before.solution
    assert before.solution.code.strip() == CODE.strip()
    assert shell("run", saved.name, "threshold=2").returncode == 0


def test_an_edit_that_breaks_a_test_ends_with_status_1_and_stands_to_be_mended(shell: Shell, saved: Path) -> None:
    wrong = editor(shell, "wrong", 'sed -i "s/> given.threshold/< given.threshold/" "$1"')
    done = shell("edit", saved.name, EDITOR=wrong)
    assert done.returncode == 1
    assert "test_counts_what_is_over_the_threshold" in done.stdout
    assert "< given.threshold" in (saved / "solution.py").read_text()
    assert shell("run", saved.name, "threshold=2").returncode == 2
    assert shell("edit", saved.name, "--no-editor").returncode == 1
    mended = editor(shell, "mended", 'sed -i "s/< given.threshold/> given.threshold/" "$1"')
    assert shell("edit", saved.name, EDITOR=mended).returncode == 0
    assert [revision.by for revision in CodeGenEvalResult.load(saved).revisions] == ["person", "person"]
    assert shell("run", saved.name, "threshold=2").returncode == 0


def test_what_was_edited_already_is_checked_without_an_editor(shell: Shell, saved: Path) -> None:
    source = saved / "solution.py"
    source.write_text(source.read_text().replace("def main", "def main("))
    done = shell("edit", saved.name, "--no-editor", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert "does not parse" in document["error"]
    assert "def main(()" in source.read_text()
    source.write_text(source.read_text().replace("def main(", "def main"))
    done = shell("edit", saved.name, "--no-editor")
    assert done.returncode == 0, done.stdout


def test_a_package_that_is_added_in_the_metadata_is_installed(shell: Shell, saved: Path) -> None:
    source = saved / "solution.py"
    text = source.read_text().replace("# dependencies = [", '# dependencies = [\n#     "markupsafe<3",')
    source.write_text(text.replace("import csv", "import csv\nfrom markupsafe import escape"))
    done = shell("edit", saved.name, "--no-editor")
    assert done.returncode == 0, done.stdout
    assert CodeGenEvalResult.load(saved).detected_packages == ["markupsafe<3"]
    assert '"markupsafe==2' in source.read_text()


def test_weaker_tests_are_not_enough(shell: Shell, saved: Path) -> None:
    weak = editor(shell, "weak", r'printf "def test_it(run_solution):\n    run_solution(threshold=1.0)\n" > "$1"')
    done = shell("edit", saved.name, "--tests", EDITOR=weak)
    assert done.returncode == 1
    assert "dropped test_the_sample" in done.stdout
    assert "def test_it" in (saved / "test_solution.py").read_text()


def test_an_editor_that_changes_nothing_or_fails_leaves_all_as_it_was(shell: Shell, saved: Path) -> None:
    before = contents(saved)
    done = shell("edit", saved.name, EDITOR="true")
    assert (done.returncode, done.stdout) == (0, "Nothing was changed.\n")
    failed = shell("edit", saved.name, EDITOR="false")
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert contents(saved) == before


def test_a_folder_that_is_no_generation_is_wrong_usage(shell: Shell, tmp_path: Path) -> None:
    for command in (["revise", str(tmp_path), FOLLOW_UP], ["edit", str(tmp_path)]):
        done: subprocess.CompletedProcess[str] = shell(*command, EDITOR="false")
        assert done.returncode == 2
        assert "no saved generation" in done.stderr


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_tests_that_do_not_parse_any_more_are_told_as_such(shell: Shell, saved: Path) -> None:
    (saved / "test_solution.py").write_text("def test_it(run_solution:\n")
    for command in ("test", "edit"):
        done = shell(command, saved.name, *(["--no-editor"] if command == "edit" else []))
        assert done.returncode == 1
        assert "do not parse" in done.stdout
        assert "Traceback" not in done.stderr
