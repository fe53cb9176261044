"""Whole generations with models that know one form of an answer alone; sandbox and tests are real."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint import Endpoint, Received, Reply
from flyte.io import File

from flyteplugins.codegen import AutoCoderAgent
from flyteplugins.codegen.core.events import Event, ModelRetried

pytestmark = pytest.mark.isolation

FENCE = "```"

PLAN = {"description": "Add up the amounts.", "approach": "Read the CSV, sum `amount`.", "packages": []}

CODE = '''"""Adds up."""
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
    folder = Path(args.outputs)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "total").write_text(str(sum(amounts)))


if __name__ == "__main__":
    main()
'''

TESTS = """
def write(path, *amounts):
    path.write_text("day,amount\\n" + "".join(f"d{i},{amount}\\n" for i, amount in enumerate(amounts)))
    return path


def test_signs_are_kept(run_solution, tmp_path):
    assert run_solution(sales=write(tmp_path / "sales.csv", 1.5, 2.0, -4.25)).outputs["total"] == SIGNED


def test_one_row(run_solution, tmp_path):
    assert run_solution(sales=write(tmp_path / "sales.csv", 7)).outputs["total"] == ONE


def test_sample(run_solution):
    assert run_solution().outputs["total"] == 12.0
"""

RIGHT = TESTS.replace("SIGNED", "-0.75").replace("ONE", "7.0")
WRONG = TESTS.replace("SIGNED", "7.75").replace("ONE", "8.0")


def function(name: str) -> str:
    found = re.search(rf"^def {name}\(.*?(?=^def |\Z)", RIGHT, re.MULTILINE | re.DOTALL)
    assert found
    return found[0].strip() + "\n"


ANSWERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "plan": (PLAN, []),
    "code": ({"packages": [], "system_packages": [], "examples": []}, [CODE]),
    "tests": ({"packages": [], "coverage": []}, [WRONG]),
    "diagnosis": (
        {
            "error_type": "test_error",
            "reason": "The sum keeps the sign.",
            "request_quote": "Add up the amounts",
            "instructions": "Mend both.",
            "packages": [],
            "system_packages": [],
            "tests": ["test_signs_are_kept", "test_one_row"],
        },
        [],
    ),
    "repaired tests": (
        {"tests": [{"name": "test_signs_are_kept"}, {"name": "test_one_row"}], "imports": []},
        [function("test_signs_are_kept"), function("test_one_row")],
    ),
}
"""The small fields and the code of the answer to each step, by what the prompt calls the step."""


def answer(step: str, form: str) -> str:
    fields, codes = ANSWERS[step]
    if form == "text":
        blocks = [f"{FENCE}python\n{code}{FENCE}" for code in codes]
        return "\n\n".join(["Here it is.", *blocks, f"{FENCE}json\n{json.dumps(fields)}\n{FENCE}"])
    if len(codes) == 1:
        return json.dumps({"code": codes[0], **fields})
    if codes:
        tests = [{**test, "code": code} for test, code in zip(fields["tests"], codes, strict=True)]
        return json.dumps({**fields, "tests": tests})
    return json.dumps(fields)


def knowing(form: str) -> Callable[[Received], Reply]:
    """A model that knows one form."""

    def respond(request: Received) -> Reply:
        if request.form != form:
            return Reply(status=400, error=f"{request.form} is not supported")
        (step,) = re.findall(r"# Your step: the (.+)", request.messages[1]["content"])
        return Reply(answer(step, form))

    return respond


@pytest.fixture
def sales(tmp_path: Path) -> File[Any]:
    path = tmp_path / "sales.csv"
    path.write_text("day,amount\nmon,3.5\ntue,4.5\nwed,4\n")
    return File(path=str(path))


@pytest.fixture
def other() -> Iterator[Endpoint]:
    """A second endpoint."""
    with Endpoint() as server:
        yield server


@pytest.mark.parametrize("form", ["schema", "tool", "json", "text"])
def test_a_generation_with_a_repair_succeeds_in_each_form(endpoint: Endpoint, sales: File[Any], form: str) -> None:
    endpoint.respond = knowing(form)
    agent = AutoCoderAgent(model="openai/scripted", api_base=endpoint.url, name="forms", max_iterations=4)
    result = agent.generate("Add up the amounts.", samples={"sales": sales}, outputs={"total": float})
    assert result.success, result.error
    assert result.attempts == 2
    assert result.run() == 12.0
    assert result.solution is not None
    assert result.solution.code == CODE
    assert "== -0.75" in (result.tests or "")
    answers = [item for item in result.conversation_history if item["role"] == "assistant"]
    assert [item["step"] for item in answers][:1] == ["plan"]
    assert {item["form"] for item in answers} == {form}
    assert result.usage.total.calls == len(answers) == 5


def test_a_generation_goes_on_with_the_next_model_where_the_first_goes_away(
    endpoint: Endpoint, other: Endpoint, sales: File[Any]
) -> None:
    def respond(request: Received) -> Reply:
        if len(endpoint.requests) > 1:
            return Reply(status=402, error="insufficient_quota")
        return knowing("schema")(request)

    endpoint.respond, other.respond = respond, knowing("text")
    told: list[Event] = []
    agent = AutoCoderAgent(
        model="openai/scripted",
        api_base=endpoint.url,
        name="fallback",
        max_iterations=4,
        fallback_models=[{"model": "openai/other", "api_base": other.url}],
        on_event=told.append,
    )
    result = agent.generate("Add up the amounts.", samples={"sales": sales}, outputs={"total": float})
    assert result.success, result.error
    answers = [item for item in result.conversation_history if item["role"] == "assistant"]
    assert (answers[0]["step"], answers[0]["model"]) == ("plan", "scripted")
    assert {item["model"] for item in answers[1:]} == {"other"}
    retried = [event for event in told if isinstance(event, ModelRetried)]
    assert retried[0].reason.endswith("Asking openai/other instead.")
    assert len(endpoint.requests) <= 3, "code and tests were asked side by side, and nothing after them"
