"""The programs in `docs/revise.md` do what they say: each is run as it stands, on the recorded generation."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from endpoint import Endpoint, Received
from recorded_requests import PER_COUNTRY, RECORDINGS

from flyteplugins.codegen import AutoCoderAgent
from flyteplugins.codegen.cli.arguments import generate_arguments
from flyteplugins.codegen.cli.demo.request import LOOKALIKE, RECORDING

pytestmark = pytest.mark.isolation

PAGE = Path(__file__).parents[2] / "docs" / "revise.md"
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def generation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded generation, saved; its model knows the answers to the follow-up on the page too."""
    folder = tmp_path_factory.mktemp("docs")
    recordings = [RECORDING, RECORDINGS / f"{PER_COUNTRY.name}.jsonl"]
    (folder / "both.jsonl").write_text("".join(path.read_text(encoding="utf-8") for path in recordings))
    agent = AutoCoderAgent(name=LOOKALIKE.name, model=f"replay:{folder / 'both.jsonl'}")
    result = agent.generate(**generate_arguments(LOOKALIKE))
    assert result.success, result.error
    return result.save(folder / "generation")


def recorded(request: Received) -> str:
    """What the model said to the step in the recording."""
    lines = (RECORDINGS / f"{PER_COUNTRY.name}.jsonl").read_text(encoding="utf-8").splitlines()
    return next(entry["answer"] for entry in map(json.loads, lines) if entry["step"] == request.step)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_a_program_of_the_page_runs_as_it_stands(
    generation: Path, endpoint: Endpoint, tmp_path: Path, number: int
) -> None:
    endpoint.respond = recorded
    shutil.copytree(generation, tmp_path / "generation")
    shutil.copy(generation / "solution.py", tmp_path)
    program = PROGRAMS[number] + "\nassert revised.success, revised.error\nassert len(revised.revisions) == 1\n"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert bool(endpoint.requests) == ("openai/" in program)
