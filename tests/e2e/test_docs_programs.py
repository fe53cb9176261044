"""The programs in the READMEs and in the pages of the documentation run as they stand, with a model on loopback."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from endpoint import Endpoint
from handmade import ADD_UP, STRICT_TOTAL, TESTS_OF_TOTAL, coded
from test_examples import EXAMPLES, ROOT, serve

pytestmark = pytest.mark.isolation

AGENT = """
import flyte
from flyte.io import File
from flyteplugins.codegen import AutoCoderAgent
agent = AutoCoderAgent(name="docs", model="gpt-4.1")
env = flyte.TaskEnvironment("docs")
"""
RUN = 'print("gave", tuple(flyte.with_runcontext(mode="local").run({}, File(path="sales.csv")).outputs()))'


@dataclass(frozen=True)
class Program:
    """A program of a page, and what it takes to run it.

    Attributes:
        told: What it must print at its end, as a regular expression.
        before: What the page has said elsewhere.
        after: What shows that it worked.
        model: Who answers: the recording of that name, or a model that writes one output of that name.
    """

    told: str
    before: str = ""
    after: str = ""
    model: str = ""


TOTALS = r"gave \(\d+\.\d+, \d+, \d+\)"
MAKES_AN_AGENT = Program("gave AutoCoderAgent", after="print('gave', type(agent).__name__)")

PROGRAMS: dict[str, list[Program]] = {
    "README.md": [
        Program(TOTALS, AGENT, "print('gave', result.run())", "summarize-sales"),
        Program("gave Image", after="print('gave', type(image).__name__)"),
        Program(TOTALS, after=RUN.format("process_data"), model="summarize-sales"),
        MAKES_AN_AGENT,
        MAKES_AN_AGENT,
    ],
    "plugins/codegen/README.md": [Program(TOTALS, after="print('gave', result.run())", model="summarize-sales")],
    "docs/cache.md": [MAKES_AN_AGENT],
    "docs/durability.md": [
        Program(r"gave 3\.5", after="print('gave', result.run())", model="revenue"),
        MAKES_AN_AGENT,
    ],
    "docs/models.md": [MAKES_AN_AGENT],
    "docs/report.md": [Program(r"gave \(3\.5,\)", AGENT, RUN.format("build"), "total")],
}


def programs_of(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_every_program_of_every_page_is_run_by_a_test() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("*/test_docs_*.py"))
    elsewhere = set(re.findall(r"`(docs/\w+\.md)`", tests))
    pages = ["README.md", "plugins/codegen/README.md", "CONTRIBUTING.md"]
    pages += [path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")]
    found = {page: len(programs) for page in pages if (programs := programs_of(page)) and page not in elsewhere}
    assert found == {page: len(programs) for page, programs in PROGRAMS.items()}


@pytest.mark.parametrize(
    ("page", "number"), [(page, number) for page, programs in PROGRAMS.items() for number in range(len(programs))]
)
def test_a_program_runs_as_it_stands(endpoint: Endpoint, tmp_path: Path, page: str, number: int) -> None:
    program = PROGRAMS[page][number]
    if program.model == "summarize-sales":
        shutil.copy(EXAMPLES / "data" / "sales.csv", tmp_path)
        serve(endpoint, program.model)
    elif program.model:
        (tmp_path / "sales.csv").write_text("amount\n1\n2.5\n")
        answers = {**ADD_UP, **writes_one_output(program.model)}
        endpoint.respond = lambda request: answers[request.step or ""]
    (tmp_path / "program.py").write_text(f"{program.before}\n{programs_of(page)[number]}\n{program.after}\n")
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        env={**os.environ, "OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(program.told, done.stdout), done.stdout


def writes_one_output(name: str) -> dict[str, dict[str, object]]:
    """Code that writes the sum under a name and nothing else, and its tests."""
    code = STRICT_TOTAL.replace('"total"', f'"{name}"').replace(
        '    (outputs / "rows").write_text(str(len(amounts)))\n', ""
    )
    tests = TESTS_OF_TOTAL.replace('"total"', f'"{name}"').replace(', "rows": 3', "")
    return {"code": coded(code), "tests": {"code": tests, "packages": [], "coverage": []}}
