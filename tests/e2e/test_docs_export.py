"""The commands and programs in `docs/export.md`, each run as it stands on the recorded generation."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from flyteplugins.codegen import AutoCoderAgent
from flyteplugins.codegen.cli.arguments import generate_arguments
from flyteplugins.codegen.cli.demo.request import LOOKALIKE, RECORDING

pytestmark = pytest.mark.isolation

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def run(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        arguments,
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_commands_and_programs_of_the_page_run_as_they_stand(tmp_path: Path) -> None:
    agent = AutoCoderAgent(name=LOOKALIKE.name, model=f"replay:{RECORDING}")
    result = agent.generate(**generate_arguments(LOOKALIKE))
    assert result.success, result.error
    result.save(tmp_path / "generation")
    for command in COMMANDS:
        run(["sh", "-e", "-c", command], tmp_path)
    assert (tmp_path / "script" / "solution.py").read_bytes() == (tmp_path / "lookalike" / "solution.py").read_bytes()
    size, name = (run([sys.executable, "-c", program], tmp_path).splitlines()[-1] for program in PROGRAMS)
    assert int(size) > 1000
    assert name == "lookalike-audience.lookalike_audience"
