"""`revise()` inside Flyte tasks, where a result comes from another task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flyte
import pytest
from endpoint import Endpoint, Received
from flyte.io import File
from handmade import ADD_UP, STRICT_TOTAL, coded

from flyteplugins.codegen import AutoCoderAgent, CodeGenEvalResult

pytestmark = pytest.mark.isolation

env = flyte.TaskEnvironment(name="tests-of-revising")

FOLLOW_UP = "Leave negative amounts out of the total."
CHANGED = STRICT_TOTAL.replace("str(sum(amounts))", "str(sum(amount for amount in amounts if amount > 0))")
NEW_TEST = """
def test_negative_amounts_are_left_out(run_solution, tmp_path):
    path = tmp_path / "sales.csv"
    path.write_text("amount\\n1.5\\n-4\\n3\\n")
    assert run_solution(sales=path).outputs == {"total": 4.5, "rows": 3}
"""
PLAN = {"description": "Add up what is not negative.", "approach": "As the follow-up says.", "packages": []}
DROPPED = {"name": "test_amounts_are_added", "quote": "Leave negative amounts out", "reason": "It adds -4."}


def said(request: Received) -> Any:
    """What a model that knows the job says to each step."""
    return {
        **ADD_UP,
        "plan": PLAN,
        "revise_plan": {**PLAN, "unmet": ""},
        "revise_code": coded(CHANGED),
        "revise_tests": {"dropped": [DROPPED], "code": NEW_TEST, "packages": [], "coverage": []},
    }[request.step or ""]


@env.task
async def generated(address: str, sales: File) -> CodeGenEvalResult:
    agent = AutoCoderAgent(name="total", model="openai/scripted", api_base=address)
    asked: dict[str, Any] = {"prompt": "Add up.", "samples": {"sales": sales}, "outputs": {"total": float, "rows": int}}
    result: CodeGenEvalResult = await agent.generate.aio(**asked)
    return result


@env.task
async def by_follow_up(result: CodeGenEvalResult) -> CodeGenEvalResult:
    revised: CodeGenEvalResult = await result.revise.aio(FOLLOW_UP)
    return revised


@env.task
def by_hand(result: CodeGenEvalResult) -> CodeGenEvalResult:
    assert result.solution
    revised: CodeGenEvalResult = result.revise(code=result.solution.code.replace("no rows", "not a single row"))
    return revised


@env.task
async def all_of_it(address: str, sales: File) -> tuple[float, int, int]:
    revised = await by_hand.aio(await by_follow_up(await generated(address, sales)))
    assert revised.success, revised.error
    total, rows = await revised.run.aio()
    return total, rows, len(revised.revisions)


def test_a_result_of_one_task_is_revised_in_others(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.respond = said
    (tmp_path / "sales.csv").write_text("amount\n1\n-2.5\n")
    sales = File(path=str(tmp_path / "sales.csv"))
    run = flyte.with_runcontext(mode="local").run(all_of_it, endpoint.url, sales)
    assert tuple(run.outputs()) == (1.0, 2, 2)
