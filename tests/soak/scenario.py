"""The generation that is killed: what is asked, what the model answers, and how the child process carries it out.

The answers make every step occur: the first code is wrong, so is one of the first tests, each is repaired, and both
versions of the code need an environment of their own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

SALES: Final = "day,amount\nmon,3.5\ntue,4.5\nwed,4\n"
PROMPT: Final = "Add up the amounts and count the rows."
CONSTRAINTS: Final = ["No amount is missing."]

_CODE: Final = """
import argparse
import csv
import sys
from pathlib import Path

IMPORTS


def total(path):
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        sys.exit(f"{path}: no rows")
    if "amount" not in rows[0]:
        sys.exit("column amount is missing")
    if not all(row["amount"] for row in rows):
        sys.exit("an amount is missing")
    return sum(float(row["amount"]) for row in rows), COUNT


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sales", required=True)
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    amount, count = total(args.sales)
    folder = Path(args.outputs)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "total").write_text(str(amount))
    (folder / "count").write_text(str(count))


if __name__ == "__main__":
    main()
"""
WRONG_CODE: Final = _CODE.replace("IMPORTS", "import iniconfig").replace("COUNT", "len(rows) + 1")
CODE: Final = _CODE.replace("IMPORTS", "import iniconfig\nimport pluggy").replace("COUNT", "len(rows)")

_TOTAL: Final = """
def test_total_adds_the_amounts(run_solution, tmp_path):
    run = run_solution(sales=write(tmp_path / "sales.csv", 1.5, 2.0, -4.25))
    assert run.exit_code == 0
    assert run.outputs["total"] == -0.75
"""
TESTS: Final = f"""
def write(path, *amounts):
    path.write_text("day,amount\\n" + "".join(f"d{{i}},{{amount}}\\n" for i, amount in enumerate(amounts)))
    return path

{_TOTAL}

def test_count_counts_the_rows(run_solution, tmp_path):
    assert run_solution(sales=write(tmp_path / "sales.csv", 5, 5, 7)).outputs["count"] == 3


def test_a_missing_amount_is_refused(run_solution, tmp_path):
    run = run_solution(sales=write(tmp_path / "sales.csv", 5, ""))
    assert run.exit_code != 0
    assert "missing" in run.stderr


def test_sample(run_solution):
    assert run_solution().outputs == {{"total": 12.0, "count": 3}}
"""
WRONG_TESTS: Final = TESTS.replace("== -0.75", "== 7.75")
_DIAGNOSIS: Final = {
    "request_quote": "Add up the amounts",
    "instructions": "Mend it.",
    "packages": [],
    "system_packages": [],
    "tests": [],
}


def answer(step: str | None, messages: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What the model says to a request, decided by its content alone; None where it says nothing."""
    asked = str(messages[-1]["content"])
    if step == "plan":
        return {"description": "Add up the amounts.", "approach": "Read all rows, sum `amount`.", "packages": []}
    if step == "constraints":
        check = {"constraint": 1, "sample": "sales", "column": "amount", "check": "not_null", "arguments": []}
        return {"checks": [check]}
    if step in {"code", "repair_code"}:
        code = WRONG_CODE if step == "code" else CODE
        return {"code": code, "packages": [], "system_packages": [], "examples": []}
    if step == "tests":
        return {"code": WRONG_TESTS, "packages": [], "coverage": [{"constraint": 1, "tests": [_REFUSED]}]}
    if step == "diagnosis" and "len(rows) + 1" in asked:
        return {**_DIAGNOSIS, "error_type": "logic", "reason": "One row too many is counted."}
    if step == "diagnosis":
        reason = "The sum keeps the sign; the test does not."
        return {**_DIAGNOSIS, "error_type": "test_error", "reason": reason, "tests": [_WRONG]}
    if step == "repair_tests":
        return {"tests": [{"name": _WRONG, "code": _TOTAL.strip()}], "imports": []}
    return None


_REFUSED: Final = "test_a_missing_amount_is_refused"
_WRONG: Final = "test_total_adds_the_amounts"

STEPS: Final = ("plan", "constraints", "code", "tests", "diagnosis", "repair_code", "diagnosis-2", "repair_tests")
"""The answers of an undisturbed generation."""


def generate(config: dict[str, Any]) -> None:
    """Carry out the generation as a user's program would, and save it.

    Args:
        config: `api_base`, `sandbox`, `folder` with the sample and for what is saved, and `budget_seconds` or None.
    """
    from flyteplugins.codegen import AutoCoderAgent
    from flyteplugins.codegen.core.budget import Budget

    folder = Path(config["folder"])
    seconds = config.get("budget_seconds")
    agent = AutoCoderAgent(
        model="openai/scripted",
        api_base=config["api_base"],
        name="soak",
        max_iterations=5,
        sandbox=config["sandbox"],
        budget=Budget(seconds=seconds) if seconds else None,
        call_timeout=20,
    )
    sales = folder / "sales.csv"
    if not sales.exists():
        sales.write_text(SALES)
    outputs = {"total": float, "count": int}
    result = agent.generate(PROMPT, constraints=CONSTRAINTS, samples={"sales": sales}, outputs=outputs)
    result.save(folder / "saved")
    document = json.dumps(result.model_dump(mode="json"), indent=1)
    (folder / "result.json").write_text(document)
