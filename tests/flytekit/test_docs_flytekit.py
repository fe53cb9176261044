"""The programs in `docs/flytekit.md` do what they say, each run as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from endpoint import Endpoint
from flyte.io import File
from handmade import TOTAL, add_up, made_result

pytestmark = pytest.mark.isolation

PAGE = Path(__file__).parents[2] / "docs" / "flytekit.md"
GENERATION, WORKFLOW = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


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
