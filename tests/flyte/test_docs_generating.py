"""The programs of `docs/cluster.md` on generating, as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from endpoint import Endpoint
from handmade import add_up

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
GENERATES, SETS = (text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "AutoCoderAgent(" in text)
RUNS = """
flyte.with_runcontext(mode="local").run(generate, File(path="sales.csv"))
"""


def run(program: str, folder: Path, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.isolation
def test_the_task_that_generates(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.respond = add_up
    (tmp_path / "sales.csv").write_text("amount\n1\n2.5\n")
    told = run(GENERATES + RUNS, tmp_path, OPENAI_API_KEY="key", OPENAI_BASE_URL=endpoint.url)
    assert "(3.5, 2)" in told
    assert len(endpoint.requests) == 3


def test_the_settings_for_a_ready_image(tmp_path: Path) -> None:
    assert run(SETS, tmp_path) == "install\n"
