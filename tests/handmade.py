"""Results made by hand, for tests of what can be done with a result; no model has a part in them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

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
