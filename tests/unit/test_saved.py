from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import uv
from flyte.io import File

from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.receipt import Receipt
from flyteplugins.codegen.core.result import CodeGenEvalResult, Origin, RunDefaults
from flyteplugins.codegen.core.solution import CodePlan, CodeSolution
from flyteplugins.codegen.models.replay import ReplayProvider
from flyteplugins.codegen.results.saved import (
    EDITED,
    LARGEST_SAMPLE,
    edited,
    edits_of,
    keep_version,
    load,
    recorded,
    save,
    save_outputs,
)
from flyteplugins.codegen.results.script import changed_requirements, script

CODE = '''"""Sum the units."""

import argparse
from pathlib import Path

import pandas as pd


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sales")
    parser.add_argument("--outputs", default="/var/outputs")
    given = parser.parse_args()
    Path(given.outputs, "units").write_text(str(int(pd.read_csv(given.sales)["units"].sum())))


if __name__ == "__main__":
    main()
'''
REQUIREMENTS = "numpy==2.3.5 \\\n    --hash=sha256:00\npandas==2.3.3 \\\n    --hash=sha256:01\n"


@pytest.fixture
def result(tmp_path: Path) -> CodeGenEvalResult:
    sales = tmp_path / "data" / "sales 2026.csv"
    sales.parent.mkdir()
    sales.write_text("units\n3\n4\n")
    answer = {
        "call": 1,
        "step": "plan",
        "attempt": 0,
        "role": "assistant",
        "content": '{"description": "sum"}',
        "finish_reason": "stop",
        "input_tokens": 10,
        "output_tokens": 5,
        "cost": None,
        "seconds": 0.5,
        "model": "some/model",
    }
    return CodeGenEvalResult(
        success=True,
        solution=CodeSolution(code=CODE, packages=("pandas",)),
        tests="def test_units(run_solution):\n    assert run_solution().outputs['units'] == 7\n",
        exit_code=0,
        attempts=1,
        image="env-1",
        detected_packages=["pandas"],
        original_samples={"sales": File(path=str(sales), hash="not the content's")},
        conversation_history=[
            {"call": 1, "step": "plan", "attempt": 0, "role": "user", "content": "Sum the units — now\u2028please"},
            answer,
        ],
        plan=CodePlan(description="Sum the units.", approach="Read and sum."),
        declared_inputs={"sales": File},
        declared_outputs={"units": int},
        lock=Lock(python="3.12", platform="x86_64-unknown-linux-gnu", requirements=REQUIREMENTS),
        receipt=Receipt(isolation="bubblewrap"),
        defaults=RunDefaults(name="sum", env_vars={"REGION": "eu"}),
    )


def test_a_saved_generation_comes_back_as_it_was_with_its_samples_in_the_folder(
    result: CodeGenEvalResult, tmp_path: Path
) -> None:
    folder = save(result, tmp_path / "saved")
    read = load(folder)
    samples = {"sales": read.original_samples["sales"]} if read.original_samples else {}
    assert Path(samples["sales"].path) == folder / "samples" / "sales" / "sales 2026.csv"
    assert Path(samples["sales"].path).read_text() == "units\n3\n4\n"
    unchanged = read.model_copy(update={"original_samples": result.original_samples})
    assert unchanged == result


@pytest.mark.slow
def test_pytest_works_in_the_folder_by_hand(result: CodeGenEvalResult, tmp_path: Path) -> None:
    folder = save(result, tmp_path / "saved")
    assert pytest_in(folder).returncode == 0
    source = folder / "solution.py"
    source.write_text(source.read_text().replace(".sum()", ".max()"))
    broken = pytest_in(folder)
    assert broken.returncode == 1
    assert "assert 4 == 7" in broken.stdout


def pytest_in(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_uv_runs_the_solution_alone(result: CodeGenEvalResult, tmp_path: Path) -> None:
    # No packages, so that the test needs no index; what the block says of packages is asserted elsewhere.
    code = CODE.replace("import pandas as pd\n", "import csv\n").replace(
        'int(pd.read_csv(given.sales)["units"].sum())',
        'sum(int(row["units"]) for row in csv.DictReader(open(given.sales)))',
    )
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    alone = result.model_copy(
        update={
            "solution": CodeSolution(code=code),
            "detected_packages": [],
            "lock": Lock(python=python, platform="any", requirements=""),
        }
    )
    folder = save(alone, tmp_path / "saved")
    sample = folder / "samples" / "sales" / "sales 2026.csv"
    (tmp_path / "out").mkdir()
    command = [uv.find_uv_bin(), "run", "--offline", "--python", sys.executable, "solution.py"]
    arguments = [f"--sales={sample}", f"--outputs={tmp_path / 'out'}"]
    subprocess.run([*command, *arguments], cwd=folder, check=True)
    assert (tmp_path / "out" / "units").read_text() == "7"


def test_a_folder_that_was_moved_is_whole(result: CodeGenEvalResult, tmp_path: Path) -> None:
    save(result, tmp_path / "saved")
    shutil.rmtree(tmp_path / "data")
    (tmp_path / "saved").rename(tmp_path / "elsewhere")
    read = load(tmp_path / "elsewhere")
    assert read.original_samples
    assert Path(read.original_samples["sales"].path).is_relative_to(tmp_path / "elsewhere")
    document = (tmp_path / "elsewhere" / "generation.json").read_text()
    assert str(tmp_path / "saved") not in document
    assert str(tmp_path / "data") not in document


def test_the_solution_carries_its_dependencies_at_the_versions_that_were_tested(
    result: CodeGenEvalResult, tmp_path: Path
) -> None:
    text = (save(result, tmp_path / "saved") / "solution.py").read_text()
    assert text.startswith(
        '# /// script\n# requires-python = ">=3.12"\n# dependencies = [\n#     "pandas==2.3.3",\n# ]\n# ///\n'
    )
    assert ast.unparse(ast.parse(text)) == ast.unparse(ast.parse(CODE))


def test_a_model_that_wrote_script_metadata_itself_leaves_one_block(result: CodeGenEvalResult) -> None:
    theirs = '#!/usr/bin/env python\n# /// script\n# dependencies = ["evil"]\n# ///\n' + CODE
    text = script(result.model_copy(update={"solution": CodeSolution(code=theirs)}))
    assert len(re.findall(r"^# /// script$", text, re.MULTILINE)) == 1
    assert "evil" not in text


def test_code_that_was_edited_in_the_folder_wins_and_the_receipt_says_so(
    result: CodeGenEvalResult, tmp_path: Path
) -> None:
    folder = save(result, tmp_path / "saved")
    assert not edited(folder)
    source = folder / "solution.py"
    source.write_text(source.read_text().replace(".sum()", ".max()"))
    read = load(folder)
    assert read.solution
    assert read.solution.code == CODE.replace(".sum()", ".max()")
    assert read.receipt.warnings == [EDITED.format("solution.py")]
    assert edited(folder)
    again = load(save(read, tmp_path / "again"))
    assert again.solution == read.solution
    assert again.receipt == read.receipt
    assert not edited(tmp_path / "again")


def test_tests_that_were_edited_in_the_folder_win_and_the_receipt_says_so(
    result: CodeGenEvalResult, tmp_path: Path
) -> None:
    folder = save(result, tmp_path / "saved")
    (folder / "test_solution.py").write_text("def test_mine(): pass\n")
    read = load(folder)
    assert read.tests == "def test_mine(): pass\n"
    assert read.receipt.warnings == [EDITED.format("test_solution.py")]
    assert edited(folder)


def test_a_sample_that_was_edited_in_the_folder_has_another_hash(result: CodeGenEvalResult, tmp_path: Path) -> None:
    folder = save(result, tmp_path / "saved")
    before = load(folder).original_samples
    (folder / "samples" / "sales" / "sales 2026.csv").write_text("units\n1\n")
    after = load(folder).original_samples
    assert before
    assert after
    assert before["sales"].hash != after["sales"].hash


def test_a_sample_over_the_limit_is_referred_to_and_not_copied(result: CodeGenEvalResult, tmp_path: Path) -> None:
    large = tmp_path / "large.csv"
    with large.open("wb") as stream:
        stream.truncate(LARGEST_SAMPLE + 1)
    folder = save(result.model_copy(update={"original_samples": {"sales": File(path=str(large))}}), tmp_path / "saved")
    read = load(folder)
    assert not (folder / "samples").exists()
    assert read.original_samples
    assert read.original_samples["sales"].path == str(large)


def test_the_transcript_can_be_replayed(result: CodeGenEvalResult, tmp_path: Path) -> None:
    folder = save(result, tmp_path / "saved")
    line = json.loads((folder / "transcript.jsonl").read_text())
    assert line["messages"] == [{"role": "user", "content": "Sum the units — now\u2028please"}]
    assert ReplayProvider(folder / "transcript.jsonl").problem() is None


def test_what_an_earlier_generation_left_and_the_new_one_has_not_is_gone_and_other_files_stay(
    result: CodeGenEvalResult, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    (outputs / "units").write_text("7")
    folder = save(result, tmp_path / "saved", outputs)
    (folder / "notes.md").write_text("mine")
    assert (folder / "outputs" / "units").read_text() == "7"
    save(result.model_copy(update={"original_samples": None, "tests": None}), folder)
    assert (folder / "notes.md").read_text() == "mine"
    assert not (folder / "outputs").exists()
    assert not (folder / "samples").exists()
    assert not (folder / "test_solution.py").exists()
    assert not list(folder.glob(".*"))


def test_outputs_of_a_later_run_take_the_place_of_the_earlier_ones(result: CodeGenEvalResult, tmp_path: Path) -> None:
    folder = save(result, tmp_path / "saved")
    for value in ("7", "8"):
        outputs = tmp_path / f"outputs-{value}"
        outputs.mkdir()
        (outputs / f"units-{value}").write_text(value)
        save_outputs(folder, outputs)
    assert [path.name for path in (folder / "outputs").iterdir()] == ["units-8"]
    assert not list(folder.glob(".*"))


def test_a_generation_that_cannot_be_written_leaves_the_earlier_one_as_it_was(
    result: CodeGenEvalResult, tmp_path: Path
) -> None:
    folder = save(result, tmp_path / "saved")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    unserialisable = result.model_copy(update={"conversation_history": [{"call": object()}]})
    with pytest.raises(Exception, match="serialize"):
        save(unserialisable, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_folder_with_somebody_elses_files_of_these_names_is_refused(
    result: CodeGenEvalResult, tmp_path: Path
) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "solution.py").write_text("mine")
    with pytest.raises(InvalidRequestError, match=r"solution\.py"):
        save(result, tmp_path / "project")
    assert (tmp_path / "project" / "solution.py").read_text() == "mine"


def test_a_path_that_leads_through_a_file_is_refused(result: CodeGenEvalResult, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InvalidRequestError, match="can't be written"):
        save(result, tmp_path / "file" / "saved")


def test_variables_that_are_named_like_credentials_are_not_written(result: CodeGenEvalResult, tmp_path: Path) -> None:
    defaults = RunDefaults(env_vars={"REGION": "eu", "WAREHOUSE_TOKEN": "tok-12345", "MONKEY": "banana"})
    folder = save(result.model_copy(update={"defaults": defaults}), tmp_path / "saved")
    assert not any(b"tok-12345" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
    read = load(folder)
    assert read.defaults.env_vars == {"REGION": "eu", "MONKEY": "banana"}
    assert any("WAREHOUSE_TOKEN" in warning for warning in read.receipt.warnings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is no saved generation"),
        ("{", "can't be read"),
        ('{"success": "perhaps"}', "is not what a generation wrote"),
        ("[]", "is not what a generation wrote"),
        ('{"success": true, "original_samples": {"a": {"path": "../../secret"}}}', "outside of the folder"),
        ('{"success": true, "original_samples": {"a": {"path": "samples/a/gone.csv"}}}', "is missing"),
    ],
)
def test_a_folder_that_is_no_generation_is_an_error_that_says_so(
    tmp_path: Path, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "generation.json").write_text(content)
    with pytest.raises(InvalidRequestError, match=message):
        load(tmp_path)


def test_a_version_that_is_kept_is_a_generation_of_its_own_without_what_was_edited_since(
    result: CodeGenEvalResult, tmp_path: Path
) -> None:
    folder = save(result, tmp_path / "saved")
    source = folder / "solution.py"
    written = source.read_text()
    source.write_text(written.replace(".sum()", ".max()"))
    assert edits_of(folder) == {"solution.py": source.read_text()}
    first = keep_version(folder)
    assert first == folder / "revisions" / "1"
    assert (first / "solution.py").read_text() == written
    assert load(first).solution == recorded(folder).solution == result.solution
    assert source.read_text() != written


def test_versions_are_numbered_and_one_that_was_kept_already_is_not_kept_again(
    result: CodeGenEvalResult, tmp_path: Path
) -> None:
    folder = save(result, tmp_path / "saved")
    assert keep_version(folder) == keep_version(folder) == folder / "revisions" / "1"
    save(result.model_copy(update={"attempts": 2}), folder)
    assert keep_version(folder) == folder / "revisions" / "2"
    assert load(folder / "revisions" / "1").attempts == 1


@pytest.mark.slow
def test_pytest_by_hand_leaves_the_versions_before_alone(result: CodeGenEvalResult, tmp_path: Path) -> None:
    folder = save(result, tmp_path / "saved")
    (keep_version(folder) / "test_solution.py").write_text("def test_of_before():\n    assert False\n")
    done = pytest_in(folder)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_settings_that_were_left_out_are_told_in_the_saved_receipt(result: CodeGenEvalResult, tmp_path: Path) -> None:
    origin = Origin(prompt="Sum.", agent={"model": "some/model", "withheld": ["extra_headers"]})
    folder = save(result.model_copy(update={"origin": origin}), tmp_path / "saved")
    assert any("extra_headers of the agent was not saved" in line for line in load(folder).receipt.warnings)


@pytest.mark.parametrize(
    ("lines", "changed"),
    [
        ('# dependencies = ["pandas==2.3.3"]', ([], set())),
        ('# dependencies = [\n#     "pandas[excel]>=2",\n#     "rich",\n# ]', (["pandas[excel]>=2", "rich"], set())),
        ("# dependencies = ['rich']", (["rich"], {"pandas"})),
        ("# dependencies = []", ([], {"pandas"})),
    ],
)
def test_requirements_that_a_person_changed_in_the_script_are_found(
    result: CodeGenEvalResult, lines: str, changed: tuple[list[str], set[str]]
) -> None:
    mine = f'# /// script\n# requires-python = ">=3.12"\n{lines}\n# ///\n\n{CODE}'
    assert changed_requirements(result, mine) == changed
    assert changed_requirements(result, CODE) == ([], set())
