"""Sandboxes that are started while the model writes: used by programs that can't tell, and gone at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from endpoint import Endpoint, Reply

from flyteplugins.codegen import AutoCoderAgent
from flyteplugins.codegen.core.paths import home

pytestmark = pytest.mark.isolation

CODE = """
import argparse
import sys


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--text", required=True)
    parser.parse_args()
    sys.exit("started early" if "statistics" in sys.modules else "started for this")


if __name__ == "__main__":
    main()
"""
QUOTED = """
def quoted(text):
    import urllib

    return urllib.parse.quote(text)
"""
NOTICES = CODE.replace("def main", f"{QUOTED}\n\ndef main")
TESTS = "def test_nothing(run_solution):\n    assert run_solution().exit_code == 0\n"


@pytest.mark.parametrize(("code", "said"), [(CODE, "started early"), (NOTICES, "started for this")])
def test_a_check_runs_in_a_sandbox_that_was_started_early_unless_the_program_would_notice(
    endpoint: Endpoint, tmp_path: Path, code: str, said: str
) -> None:
    answers: dict[str, dict[str, Any]] = {
        "plan": {"description": "Refuse.", "approach": "Say how it was started.", "packages": []},
        "code": {"code": code, "packages": [], "system_packages": [], "examples": []},
        "tests": {"code": TESTS, "packages": [], "coverage": []},
    }
    endpoint.respond = lambda request: Reply(json.dumps(answers[request.step or ""]), delay=2.0)
    (tmp_path / "text.txt").write_text("hello")
    agent = AutoCoderAgent(model="openai/scripted", api_base=endpoint.url, name="head-start", max_iterations=1)
    result = agent.generate(prompt="Refuse the text.", samples={"text": tmp_path / "text.txt"}, outputs=None)
    assert said in (result.error or "")
    assert not list((home() / "running").iterdir())
