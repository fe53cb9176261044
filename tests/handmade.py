"""Programs, what a model answers where it writes them, and results: all made by hand."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from endpoint import Received
from flyte.io import File

from flyteplugins.codegen import CodeGenEvalResult, CodeSolution
from flyteplugins.codegen.core.environment import EnvironmentSpec
from flyteplugins.codegen.core.result import RunDefaults
from flyteplugins.codegen.packages.resolve import resolve

TOTAL = """
import argparse
import csv
from pathlib import Path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sales", required=True)
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    with open(args.sales, newline="") as stream:
        amounts = [float(row["amount"]) for row in csv.DictReader(stream)]
    outputs = Path(args.outputs)
    outputs.mkdir(parents=True, exist_ok=True)
    (outputs / "total").write_text(str(sum(amounts)))
    (outputs / "rows").write_text(str(len(amounts)))


if __name__ == "__main__":
    main()
"""
"""Says nothing of a file without rows."""

STRICT_TOTAL = TOTAL.replace(
    "    outputs = Path", '    if not amounts:\n        raise SystemExit("sales: no rows")\n    outputs = Path'
)
"""The same, and refuses a file without rows."""

TESTS_OF_TOTAL = """
def test_amounts_are_added(run_solution, tmp_path):
    path = tmp_path / "sales.csv"
    path.write_text("amount\\n1.5\\n-4\\n3\\n")
    run = run_solution(sales=path)
    assert run.outputs == {"total": 0.5, "rows": 3}
"""

TOTAL_AND_COUNT = """
import argparse
import csv
import sys
from pathlib import Path


def total(path):
    with open(path, newline="") as stream:
        rows = list(csv.DictReader(stream))
    if not rows:
        sys.exit(f"{path}: no rows")
    if "amount" not in rows[0]:
        sys.exit("column amount is missing")
    amounts = [float(row["amount"]) for row in rows]
    return sum(amounts), len(rows)


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
"""Refuses a file without rows, and one without its column."""

TYPES = """
import argparse
import sys
from pathlib import Path

NAMES = []


def main():
    parser = argparse.ArgumentParser()
    for name in NAMES:
        parser.add_argument(f"--{name}")
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    for name in OUTPUTS:
        value = getattr(args, "seen") if name == "seen" else getattr(args, name)
        if name == "report":
            Path(args.outputs, name).write_bytes(Path(value).read_bytes())
        else:
            Path(args.outputs, name).write_text(str(value), encoding="utf-8")


if __name__ == "__main__":
    main()
"""
"""Gives back what it is given."""


def coded(source: str, **more: Any) -> dict[str, Any]:
    """The answer to the step that writes the code."""
    return {"code": source, "packages": [], "system_packages": [], "examples": [], **more}


PLAN: Final = {"description": "Add up the amounts.", "approach": "Read the CSV, sum `amount`.", "packages": []}

ADD_UP: Final[dict[str, dict[str, Any]]] = {
    "plan": PLAN,
    "code": coded(STRICT_TOTAL),
    "tests": {"code": TESTS_OF_TOTAL, "packages": [], "coverage": []},
}
"""What a model that knows the job says to each step of a generation whose outputs are `total` and `rows`."""


def add_up(request: Received) -> dict[str, Any]:
    """`ADD_UP` as an endpoint's `respond`."""
    return ADD_UP[request.step or ""]


async def made_result(
    code: str,
    inputs: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    *,
    samples: Mapping[str, File] | None = None,
    **defaults: Any,
) -> CodeGenEvalResult:
    """A successful result that runs `code`, a script of the standard library alone."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    declared = {**dict.fromkeys(samples or {}, File), **(inputs or {})}
    code = code.replace("NAMES = []", f"NAMES = {list(declared)}\nOUTPUTS = {list(outputs or {})}")
    return CodeGenEvalResult(
        success=True,
        solution=CodeSolution(code=code),
        lock=await resolve(EnvironmentSpec(python=python)),
        declared_inputs=declared,
        declared_outputs=dict(outputs or {}),
        original_samples=dict(samples) if samples else None,
        defaults=RunDefaults(**defaults),
    )
