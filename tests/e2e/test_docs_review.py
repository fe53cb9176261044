"""The programs in `docs/review.md` do what they say: each is run as it stands, with a model over HTTP."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from endpoint import Endpoint
from handmade import add_up

from flyteplugins.codegen.cli.main import main

pytestmark = pytest.mark.isolation

PAGE = (Path(__file__).parents[2] / "docs" / "review.md").read_text(encoding="utf-8")
CALLBACK, COROUTINE, TASK = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
[COMMANDS] = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


def run(program: str, endpoint: Endpoint, folder: Path) -> str:
    endpoint.respond = add_up
    (folder / "sales.csv").write_text("amount\n1\n2.5\n")
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "none"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_callback_decides(endpoint: Endpoint, tmp_path: Path) -> None:
    assert run(CALLBACK, endpoint, tmp_path).splitlines() == ["plan approved policy ", "code approved policy "]


def test_a_coroutine_asks_elsewhere(endpoint: Endpoint, tmp_path: Path) -> None:
    (tmp_path / "answer.txt").write_text("yes\n")
    assert run(COROUTINE, endpoint, tmp_path).splitlines() == ["True"]
    assert "def main():" in (tmp_path / "to-approve.md").read_text()


def test_a_task_asks_through_flyte(endpoint: Endpoint, tmp_path: Path) -> None:
    """Started where nobody looks, it says so; a condition is answered in the tests of Flyte."""
    started = """
try:
    flyte.with_runcontext(mode="local").run(total, File(path="sales.csv"))
except flyte.errors.RuntimeUserError as error:
    print(error)
"""
    assert "nobody is there to ask" in run(TASK + started, endpoint, tmp_path)
    assert endpoint.requests == []


def test_the_commands_have_the_options_of_the_page() -> None:
    for line in COMMANDS.splitlines():
        _, command, *arguments = shlex.split(line)
        told = CliRunner().invoke(main, [command, "--help"]).output
        for option in [argument for argument in arguments if argument.startswith("--")]:
            assert option in told
