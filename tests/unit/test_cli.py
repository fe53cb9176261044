from __future__ import annotations

import json
from pathlib import Path

import pytest
from click import Context
from click.testing import CliRunner, Result
from flyte.io import File

from flyteplugins.codegen import CodeGenEvalResult
from flyteplugins.codegen.cli.main import main
from flyteplugins.codegen.core.receipt import Receipt
from flyteplugins.codegen.core.solution import CodePlan, CodeSolution
from flyteplugins.codegen.results.saved import save


def codegen(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    (tmp_path / "sales.csv").write_text("units\n3\n")
    result = CodeGenEvalResult(
        success=True,
        solution=CodeSolution(code="print()\n"),
        attempts=1,
        original_samples={"sales": File(path=str(tmp_path / "sales.csv"))},
        plan=CodePlan(description="Counts the sales\nover a threshold.", approach="count"),
        declared_inputs={"sales": File, "threshold": float},
        declared_outputs={"count": int},
        input_examples={"threshold": "0.5"},
        receipt=Receipt(isolation="bubblewrap", calls=4),
    )
    return save(result, tmp_path / "saved")


@pytest.mark.parametrize("command", ["generate", "run", "test", "show", "demo", "doctor"])
def test_every_command_says_what_it_does(command: str) -> None:
    assert codegen(command, "--help").exit_code == 0
    assert command in codegen("--help").output


@pytest.mark.slow
def test_in_the_command_line_of_flyte_it_is_the_same_group_of_commands() -> None:
    from flyte.cli.main import main as flyte

    assert flyte.get_command(Context(flyte), "codegen") is main
    shown = CliRunner().invoke(flyte, ["codegen", "--help"])
    assert shown.exit_code == 0
    assert all(f" {name} " in shown.output for name in main.commands)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "x", "--sample", "sales.csv"], "Write it as name=value"),
        (["generate", "x", "--sample", "a=1.csv", "--sample", "a=2.csv"], "a is given twice"),
        (["generate", "x", "--output", "total"], "Write it as name:type"),
        (
            ["generate", "x", "--output", "total:decimal"],
            "timedelta, date, dict, list, File, Dir, DataFrame",
        ),
        (["generate", "x", "--example", "threshold=1"], "there is no --input of that name"),
        (["generate", "x", "--input", "t:float", "--example", "t=much"], "'much' is not a number"),
        (["generate", "x", "--backend", "magic"], "backend='magic' is unknown"),
        (["generate", "x", "--sandbox", "hope"], "sandbox='hope' is unknown"),
        (["generate", "x", "--cache", "maybe"], "cache='maybe' is unknown"),
        (["generate", "x", "--max-iterations", "0"], "at least 1"),
        (["generate", "x", "--max-seconds", "0"], "must be more than 0"),
        (["show", "{tmp}"], "is no saved generation"),
        (["run", "{saved}", "threshold"], "Write it as name=value"),
        (["run", "{saved}", "threshold=low"], "'low' is not a number"),
        (["run", "{saved}", "treshold=1"], "Its inputs: sales=File, threshold=float"),
        (["run", "{saved}", "sales=nowhere.csv"], "there is no file 'nowhere.csv'"),
        (["run", "{saved}", "--sandbox", "hope"], "is unknown"),
    ],
)
def test_wrong_usage_ends_with_status_2_and_one_sentence(
    arguments: list[str], message: str, saved: Path, tmp_path: Path
) -> None:
    filled = [argument.format(saved=saved, tmp=tmp_path) for argument in arguments]
    outcome = codegen(*filled)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    assert outcome.stderr.startswith("Error: ")
    assert "Traceback" not in outcome.output


def test_an_option_that_there_is_none_of_ends_with_status_2() -> None:
    assert codegen("generate", "x", "--no-such-option").exit_code == 2


def test_for_machines_an_error_is_one_document_on_standard_output() -> None:
    outcome = codegen("generate", "x", "--output", "total", "--json")
    document = json.loads(outcome.stdout)
    assert outcome.exit_code == 2
    assert document["success"] is False
    assert document["error_type"] == "InvalidRequestError"
    assert "total" in document["error"]


def test_a_saved_generation_is_shown_with_its_contract_and_its_receipt(saved: Path) -> None:
    lines = codegen("show", str(saved)).stdout.splitlines()
    assert lines[:5] == [
        "Inputs            sales: File, threshold: float",
        "                  for example threshold=0.5",
        "Outputs           count: int",
        "Does              Counts the sales over a threshold.",
        "",
    ]
    assert "Isolation         bubblewrap" in lines
    assert lines[-1] == f"{saved}: generation.json, report.html, samples/, solution.py, transcript.jsonl"


def test_the_report_of_a_saved_generation_is_written_from_what_is_there_now(saved: Path) -> None:
    report, solution = saved / "report.html", saved / "solution.py"
    report.unlink()
    solution.write_text(solution.read_text() + "\nprint('edited & kept')\n")
    assert codegen("show", str(saved), "--html").stdout == f"{report}\n"
    page = report.read_text()
    assert page.startswith("<!doctype html>")
    assert "edited &amp; kept" in page
    assert "solution.py was edited after the generation" in page
    assert json.loads(codegen("show", str(saved), "--html", "--json").stdout) == {"report": str(report)}


def test_a_saved_generation_is_shown_to_machines_as_a_document(saved: Path) -> None:
    document = json.loads(codegen("show", str(saved), "--json").stdout)
    assert document["inputs"] == {"sales": "File", "threshold": "float"}
    assert document["outputs"] == {"count": "int"}
    assert document["receipt"]["calls"] == 4


def test_a_generation_is_not_written_over_code_that_was_edited_by_hand(saved: Path) -> None:
    (saved / "solution.py").write_text("print('mine')\n")
    outcome = codegen("generate", "Count", "--out", str(saved), "--model", "openai/any", "--api-base", "http://[::1]:1")
    assert outcome.exit_code == 2
    assert "edited by hand" in outcome.stderr
    assert (saved / "solution.py").read_text() == "print('mine')\n"
