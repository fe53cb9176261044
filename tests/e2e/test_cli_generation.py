"""The commands as they are typed, on a generation whose model is a transcript written here; the sandbox is real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from endpoint import Endpoint, Received, Reply

pytestmark = pytest.mark.isolation

CODEGEN = Path(sys.executable).with_name("codegen")

CODE = '''"""Count the sales over a threshold."""

import argparse
import csv
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sales", required=True)
    parser.add_argument("--threshold", type=float, required=True)
    parser.add_argument("--outputs", default="/var/outputs")
    given = parser.parse_args()
    with open(given.sales, newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        sys.exit(f"{given.sales} has no rows")
    if "amount" not in rows[0]:
        sys.exit("there is no column amount")
    kept = [row for row in rows if float(row["amount"]) > given.threshold]
    outputs = Path(given.outputs)
    outputs.mkdir(parents=True, exist_ok=True)
    outputs.joinpath("count").write_text(str(len(kept)))
    outputs.joinpath("report").write_text("".join(f"{row['amount']}\\n" for row in kept))


if __name__ == "__main__":
    main()
'''
TESTS = """
def sales(tmp_path, *amounts):
    path = tmp_path / "sales.csv"
    path.write_text("amount\\n" + "".join(f"{amount}\\n" for amount in amounts))
    return path


def test_counts_what_is_over_the_threshold(run_solution, tmp_path):
    run = run_solution(sales=sales(tmp_path, 1, 5, 5.5, 9), threshold=5.0)
    assert run.exit_code == 0
    assert run.outputs["count"] == 2
    assert run.outputs["report"].read_text() == "5.5\\n9\\n"


def test_the_sample(run_solution):
    assert run_solution(threshold=0.0).outputs["count"] == 3
    assert run_solution(threshold=100.0).outputs["count"] == 0
"""
PLAN = {"description": "Counts the sales over a threshold.", "approach": "Read, compare, count.", "packages": []}
CODED = {
    "code": CODE,
    "packages": [],
    "system_packages": [],
    "examples": [{"name": "threshold", "value": "2.5"}],
}
TESTED = {"code": TESTS, "packages": [], "coverage": []}
REQUEST = (
    "Count the sales over the threshold",
    "--sample=sales=sales.csv",
    "--input=threshold:float",
    "--output=count:int",
    "--output=report:File",
)


class Shell:
    """Types commands in a folder of its own, with a state folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "FLYTEPLUGINS_CODEGEN_HOME": str(self.folder / "home"), **variables}
        return subprocess.run(
            [str(CODEGEN), *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def model(self, name: str, **answers: dict[str, Any]) -> str:
        """A model that gives each step its answer."""
        lines = [json.dumps({"step": step, "answer": json.dumps(answer)}) for step, answer in answers.items()]
        (self.folder / name).write_text("\n".join(lines))
        return f"--model=replay:{name}"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    folder = tmp_path_factory.mktemp("shell")
    (folder / "sales.csv").write_text("amount\n1\n2.5\n30\n")
    return Shell(folder)


@pytest.fixture(scope="module")
def generated(shell: Shell) -> subprocess.CompletedProcess[str]:
    """A good generation in the folder `good`."""
    model = shell.model("good.jsonl", plan=PLAN, code=CODED, tests=TESTED)
    done = shell("generate", *REQUEST, model, "--out=good")
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_a_generation_is_told_in_plain_lines_with_receipt_outputs_and_folder(
    shell: Shell, generated: subprocess.CompletedProcess[str]
) -> None:
    lines = generated.stdout.splitlines()
    assert lines[0].split() == ["attempt", "step", "elapsed", "tokens", "in", "out", "result"]
    assert "\x1b" not in generated.stdout
    assert "Done in 1 attempt." in lines
    assert "  count = 1" in lines
    assert lines[-2:] == [
        f"Saved in {shell.folder / 'good'}",
        f"Its report: {shell.folder / 'good' / 'report.html'}",
    ]
    assert generated.stderr == ""


def test_the_folder_has_the_outputs_of_the_run_with_the_example_values(
    shell: Shell, generated: subprocess.CompletedProcess[str]
) -> None:
    outputs = shell.folder / "good" / "outputs"
    assert {path.name: path.read_text() for path in outputs.iterdir()} == {"count": "1", "report": "30\n"}


def test_run_takes_typed_values_prints_outputs_and_copies_files_here(
    shell: Shell, generated: subprocess.CompletedProcess[str]
) -> None:
    done = shell("run", "good", "threshold=2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"count = 2\nreport = {shell.folder / 'report'}\n"
    assert (shell.folder / "report").read_text() == "2.5\n30\n"


def test_run_takes_another_file_and_another_folder(shell: Shell, generated: subprocess.CompletedProcess[str]) -> None:
    (shell.folder / "other.csv").write_text("amount\n7\n")
    done = shell("run", "good", "sales=other.csv", "threshold=1e0", "--out=results", "--json")
    document = json.loads(done.stdout)
    assert document == {
        "success": True,
        "outputs": {"count": 1, "report": str(shell.folder / "results" / "report")},
    }


def test_run_without_a_value_that_has_no_sample_is_wrong_usage(
    shell: Shell, generated: subprocess.CompletedProcess[str]
) -> None:
    done = shell("run", "good")
    assert done.returncode == 2
    assert "threshold" in done.stderr


def test_run_on_data_that_the_code_refuses_ends_with_status_1_and_what_it_said(
    shell: Shell, generated: subprocess.CompletedProcess[str]
) -> None:
    (shell.folder / "wrong.csv").write_text("price\n7\n")
    done = shell("run", "good", "sales=wrong.csv", "threshold=1")
    assert done.returncode == 1
    assert "there is no column amount" in done.stderr
    assert "Traceback" not in done.stderr


def test_test_runs_the_tests_on_the_code_as_it_is_now(
    shell: Shell, generated: subprocess.CompletedProcess[str]
) -> None:
    shutil.copytree(shell.folder / "good", shell.folder / "edited")
    assert "2 of 2 tests passed" in shell("test", "edited").stdout
    source = shell.folder / "edited" / "solution.py"
    source.write_text(source.read_text().replace("> given.threshold", ">= given.threshold"))
    done = shell("test", "edited")
    assert done.returncode == 1
    assert "FAILED  test_counts_what_is_over_the_threshold" in done.stdout
    assert "passed  test_the_sample" in done.stdout


def test_a_generation_that_fails_ends_with_status_1_and_leaves_the_good_one_alone(
    shell: Shell, generated: subprocess.CompletedProcess[str]
) -> None:
    wrong = {**CODED, "code": CODE.replace("> given.threshold", "< given.threshold")}
    model = shell.model("bad.jsonl", plan=PLAN, code=wrong, tests=TESTED)
    before = (shell.folder / "good" / "generation.json").read_bytes()
    done = shell("generate", *REQUEST, model, "--out=good", "--max-iterations=1")
    assert done.returncode == 1
    assert "Failed after 1 attempt." in done.stdout
    assert "test_counts_what_is_over_the_threshold" in done.stdout
    assert (shell.folder / "good" / "generation.json").read_bytes() == before
    assert "< given.threshold" in (shell.folder / "good.failed" / "solution.py").read_text()
    assert shell("run", "good.failed", "threshold=1").returncode == 2


def test_for_machines_there_is_one_document_and_progress_goes_to_standard_error(shell: Shell) -> None:
    model = shell.model("json.jsonl", plan=PLAN, code=CODED, tests=TESTED)
    done = shell("generate", *REQUEST, model, "--out=json", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert document["success"] is True
    assert document["outputs"] == {"count": 1, "report": str(shell.folder / "json" / "outputs" / "report")}
    assert document["receipt"]["tests"] == 2
    assert "plan" in done.stderr


def test_the_examples_of_the_user_win(shell: Shell) -> None:
    model = shell.model("example.jsonl", plan=PLAN, code=CODED, tests=TESTED)
    done = shell("generate", *REQUEST, model, "--out=example", "--example=threshold=0.5", "--json")
    assert json.loads(done.stdout)["outputs"]["count"] == 3


def test_limits_other_models_and_a_store_are_options_and_the_same_again_is_from_the_record(
    shell: Shell, endpoint: Endpoint
) -> None:
    def respond(request: Received) -> Any:
        if request.body["model"] == "first":
            return Reply(status=401, error="no such key")
        return {"plan": PLAN, "code": CODED, "tests": TESTED}[request.step or ""]

    endpoint.respond = respond
    options = ["--model=openai/first", "--fallback-model=openai/second", f"--api-base={endpoint.url}", "--max-usd=5"]
    done = shell("generate", *REQUEST, *options, "--store=shared", "--out=again")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "limit of 5 US dollars can't hold" in " ".join(done.stdout.split())
    asked = len(endpoint.requests)
    assert {request.body["model"] for request in endpoint.requests} == {"first", "second"}
    assert list((shell.folder / "shared" / "generations").rglob("*.json"))
    again = shell("generate", *REQUEST, *options, "--store=shared", "--out=again")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "from the record" in again.stdout
    assert "count = 1" in again.stdout
    assert len(endpoint.requests) == asked


def test_a_dry_run_shows_every_message_and_calls_nothing(shell: Shell, endpoint: Endpoint) -> None:
    (shell.folder / "format.md").write_text("report has one amount a line")
    done = shell(
        "generate",
        *REQUEST,
        "--constraint=Amounts are never negative",
        "--schema-file=format.md",
        "--model=openai/gpt-4.1",
        f"--api-base={endpoint.url}",
        "--dry-run",
        "--out=nothing",
    )
    assert done.returncode == 0, done.stderr
    for step in ("plan", "constraints", "code", "tests"):
        assert f"===== {step}: to openai/gpt-4.1 at {endpoint.url}" in done.stdout
    for sent in ("Count the sales over the threshold", "Amounts are never negative", "one amount a line", "2.5"):
        assert sent in done.stdout
    assert "44 calls with every repair" in done.stdout
    assert "$" in done.stdout
    assert endpoint.requests == []
    assert not (shell.folder / "nothing").exists()


def test_a_dry_run_of_private_samples_shows_no_value(shell: Shell) -> None:
    (shell.folder / "private.csv").write_text("amount\n31337.5\n4242.25\n")
    request = ["--sample=sales=private.csv" if part.startswith("--sample") else part for part in REQUEST]
    done = shell("generate", *request, "--dry-run", "--sample-privacy=schema", "--model=openai/gpt-4.1")
    assert done.returncode == 0, done.stderr
    assert "amount" in done.stdout
    assert "31337" not in done.stdout
    assert "4242" not in done.stdout


def test_a_key_that_is_missing_is_named_before_anything_is_called(shell: Shell) -> None:
    done = shell("generate", *REQUEST, "--model=gpt-4.1", "--out=nothing")
    assert done.returncode == 2
    assert "OPENAI_API_KEY" in done.stderr
    assert not (shell.folder / "nothing").exists()


@pytest.mark.parametrize("name", ["solution.py", "conftest.py", "pytest.ini", "samples"])
def test_a_folder_with_files_of_the_users_is_refused_before_anything_is_called(
    shell: Shell, endpoint: Endpoint, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("mine")
    done = shell("generate", *REQUEST, "--model=openai/any", f"--api-base={endpoint.url}", f"--out={tmp_path}")
    assert done.returncode == 2
    assert name in done.stderr
    assert (tmp_path / name).read_text() == "mine"
    assert endpoint.requests == []


def test_a_sample_that_is_missing_is_wrong_usage(shell: Shell) -> None:
    model = shell.model("missing.jsonl", plan=PLAN, code=CODED, tests=TESTED)
    done = shell("generate", "Count", "--sample=sales=nowhere.csv", model)
    assert done.returncode == 2
    assert "nowhere.csv" in done.stderr


def test_the_transcript_of_a_saved_generation_replays(
    shell: Shell, generated: subprocess.CompletedProcess[str]
) -> None:
    done = shell("generate", *REQUEST, "--model=replay:good/transcript.jsonl", "--out=replayed", "--no-run")
    assert done.returncode == 0, done.stdout + done.stderr
    read = (shell.folder / "replayed" / "solution.py").read_text()
    assert read == (shell.folder / "good" / "solution.py").read_text()
    assert not (shell.folder / "replayed" / "outputs").exists()
