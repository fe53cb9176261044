"""What the benchmarks ask for, and what the model answers: one request on the standard library, one on pandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_LEAN = """
import argparse
import csv
import sys
from pathlib import Path

OFFSET = {number}


def read(path):
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        sys.exit(f"{{path}}: no rows")
    if "amount" not in rows[0]:
        sys.exit("column amount is missing")
    return [float(row["amount"]) for row in rows]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sales", required=True)
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    amounts = read(args.sales)
    folder = Path(args.outputs)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "total").write_text(str(sum(amounts) + OFFSET))
    (folder / "count").write_text(str(len(amounts)))


if __name__ == "__main__":
    main()
"""

_PANDAS = """
import argparse
import sys
from pathlib import Path

import pandas as pd

OFFSET = {number}


def read(path):
    rows = pd.read_csv(path)
    if "amount" not in rows.columns:
        sys.exit("column amount is missing")
    if rows.empty:
        sys.exit(f"{{path}}: no rows")
    return rows["amount"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sales", required=True)
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    amounts = read(args.sales)
    folder = Path(args.outputs)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "total").write_text(str(float(amounts.sum()) + OFFSET))
    (folder / "count").write_text(str(len(amounts)))


if __name__ == "__main__":
    main()
"""

_TESTS = """
def write(path, *amounts):
    path.write_text("day,amount\\n" + "".join(f"d{{i}},{{amount}}\\n" for i, amount in enumerate(amounts)))
    return path


def test_total_adds_the_amounts(run_solution, tmp_path):
    run = run_solution(sales=write(tmp_path / "sales.csv", 1.5, 2.0, -4.25))
    assert run.exit_code == 0
    assert run.outputs["total"] == -0.75 + {number}


def test_count_counts_the_rows(run_solution, tmp_path):
    assert run_solution(sales=write(tmp_path / "sales.csv", 5, 5, 7)).outputs["count"] == 3


def test_no_rows_are_refused(run_solution, tmp_path):
    assert run_solution(sales=write(tmp_path / "sales.csv")).exit_code != 0


def test_sample(run_solution):
    assert run_solution().outputs["count"] == 200
"""

CONSTRAINTS = ["amounts are not negative", "the count is the number of rows"]
"""Two rules for a request with constraints: the first is a check on a column, both have tests."""

_CHECKS = {"checks": [{"constraint": 1, "sample": "sales", "column": "amount", "check": "ge", "arguments": [0]}]}


def answer(step: str, number: int, *, pandas: bool, constraints: bool) -> dict[str, Any]:
    """What the model answers to a step of request `number`."""
    packages = ["pandas"] if pandas else []
    if step == "plan":
        return {"description": "Add up the amounts.", "approach": "Read, check, sum, count.", "packages": packages}
    if step == "code":
        code = (_PANDAS if pandas else _LEAN).format(number=number)
        return {"code": code, "packages": packages, "system_packages": [], "examples": []}
    if step == "tests":
        names = ["test_total_adds_the_amounts"]
        coverage = [{"constraint": rule, "tests": names} for rule in (1, 2)] if constraints else []
        return {"code": _TESTS.format(number=number), "packages": [], "coverage": coverage}
    if step == "constraints":
        return _CHECKS
    raise ValueError(f"The happy path has no step {step!r}.")


def sample(folder: Path) -> Path:
    """The sample that goes with each request: 200 rows."""
    path = folder / "sales.csv"
    path.write_text("day,amount\n" + "".join(f"d{day},{day % 17 + 0.5}\n" for day in range(200)), encoding="utf-8")
    return path


def request(number: int, sales: Path, *, pandas: bool = False) -> dict[str, Any]:
    """The arguments of `generate()` for request `number`; the answer adds `number` to its total."""
    with_what = " with pandas" if pandas else ""
    return {
        "prompt": f"Add up the amounts{with_what}, add {number} to the total, and count the rows. Case #{number}.",
        "samples": {"sales": sales},
        "outputs": {"total": float, "count": int},
    }
