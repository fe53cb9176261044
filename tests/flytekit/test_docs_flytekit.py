"""The programs in `docs/flytekit.md` do what they say, each run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from endpoint import Endpoint
from flyte.io import File
from handmade import TOTAL, add_up, made_result

from flyteplugins.codegen.core.environment import EnvironmentSpec
from flyteplugins.codegen.flytekit.convert import declared
from flyteplugins.codegen.packages.resolve import resolve

pytestmark = pytest.mark.isolation

PAGE = Path(__file__).parents[2] / "docs" / "flytekit.md"
GENERATION, WORKFLOW, EAGER, TABLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


WEEKLY = """
import argparse, json
from pathlib import Path

import pandas as pd


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", required=True)
    parser.add_argument("--options", required=True)
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    outputs = Path(args.outputs)
    outputs.mkdir(parents=True, exist_ok=True)
    pd.read_parquet(args.table).groupby("week", as_index=False).sum().to_parquet(outputs / "table", index=False)
    (outputs / "options").write_text(json.dumps(json.loads(args.options)))


if __name__ == "__main__":
    main()
"""


def run(program: str, folder: Path, **variables: str) -> str:
    (folder / "pipeline.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "pipeline.py"],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_generation_in_a_task(endpoint: Endpoint, sales: Path, tmp_path: Path) -> None:
    endpoint.respond = add_up
    program = GENERATION + f'\nprint("total is", generated(sales=FlyteFile({str(sales)!r})).run())\n'
    told = run(program, tmp_path, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="none")
    assert "total is (3.5, 2)" in told


async def test_the_code_in_a_workflow(sales: Path, tmp_path: Path) -> None:
    result = await made_result(
        TOTAL, outputs={"total": float, "rows": int}, samples={"sales": File(path=str(sales))}, name="total"
    )
    result.save(tmp_path / "generated")
    (tmp_path / "more.csv").write_text("amount\n1\n2.5\n3\n")
    assert "o0=6.5, o1=3" in run(WORKFLOW, tmp_path)


def test_a_generation_in_an_eager_workflow(endpoint: Endpoint, sales: Path, tmp_path: Path) -> None:
    endpoint.respond = add_up
    program = EAGER + f'\nimport asyncio\nprint("total is", asyncio.run(pipeline(sales=FlyteFile({str(sales)!r}))))\n'
    assert "total is 3.5" in run(program, tmp_path, OPENAI_BASE_URL=endpoint.url, OPENAI_API_KEY="none")


async def test_tables_and_documents_in_a_workflow(tmp_path: Path) -> None:
    types = declared({"table": pd.DataFrame, "options": dict})
    result = await made_result(WEEKLY, inputs=types, outputs=types, name="weekly")
    lock = await resolve(EnvironmentSpec(python=result.lock.python, packages=("pandas", "pyarrow")))
    result.model_copy(update={"lock": lock}).save(tmp_path / "weekly")
    assert "week 1: 15.00" in run(TABLES, tmp_path)
