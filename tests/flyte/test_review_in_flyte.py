"""A person approves through a condition of Flyte: a real local run, answered where its TUI would answer."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import flyte
import pytest
from endpoint import Endpoint
from flyte.cli._tui._tracker import ActionTracker  # what the TUI shows, and answers through
from flyte.io import File
from handmade import ADD_UP, STRICT_TOTAL, coded

from flyteplugins.codegen import AutoCoderAgent, CodeGenEvalResult

pytestmark = pytest.mark.isolation

OTHER = STRICT_TOTAL.replace("import argparse", "import argparse  # as asked for")
MINE = STRICT_TOTAL.replace("import argparse", "import argparse  # mine")

env = flyte.TaskEnvironment(name="tests-of-review")


@env.task
async def generates(address: str, sales: File, review: list[str], timeout: float) -> CodeGenEvalResult:
    agent = AutoCoderAgent(
        name="total",
        model="openai/scripted",
        api_base=address,
        review=review,  # type: ignore[arg-type] # of a task's input it is known that it is a list of texts
        review_timeout=timeout or None,
    )
    return await agent.generate.aio(
        "Add up the amounts and count the rows.",
        samples={"sales": sales},
        outputs={"total": float, "rows": int},
    )


class Watcher:
    """Answers the conditions that the tracker of a run shows, in a thread beside the run, and keeps their prompts."""

    def __init__(self, *replies: str) -> None:
        self.tracker = ActionTracker()
        self.prompts: list[str] = []
        self._replies = list(replies)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            for condition in self.tracker.get_all_pending_conditions() if self._replies else ():
                self.prompts.append(condition.prompt)
                self.tracker.resolve_condition(condition.action_id, self._replies.pop(0))

    def run(self, *inputs: Any) -> CodeGenEvalResult:
        run = flyte.with_runcontext(mode="local", _tracker=self.tracker).run(generates, *inputs)
        (result,) = run.outputs()
        assert isinstance(result, CodeGenEvalResult)
        return result


@pytest.fixture
def sales(tmp_path: Path) -> File:
    path = tmp_path / "sales.csv"
    path.write_text("amount\n1\n2.5\n")
    return File(path=str(path))


@pytest.fixture
def scripted(endpoint: Endpoint) -> Endpoint:
    for step, answer in ADD_UP.items():
        endpoint.say_to(step, answer)
    endpoint.say_to("repair_code", coded(OTHER))
    return endpoint


def test_a_plan_and_code_are_approved_and_rejected_through_conditions(scripted: Endpoint, sales: File) -> None:
    with Watcher("approve", "reject: Say that it was asked for.", "Approve.") as person:
        result = person.run(scripted.url, sales, ["plan", "code"], 0.0)
    assert result.success, result.error
    assert [(review.kind, review.verdict, review.channel) for review in result.reviews] == [
        ("plan", "approved", "flyte"),
        ("code", "rejected", "flyte"),
        ("code", "approved", "flyte"),
    ]
    assert result.solution is not None
    assert "# as asked for" in result.solution.code
    plan, first, second = person.prompts
    assert ADD_UP["plan"]["approach"] in plan
    assert " | def main():" in first
    assert "Say that it was asked for." in second
    names = {node.task_name for node in person.tracker.snapshot()[2].values()}
    assert any(name.startswith("approve-plan-1-") for name in names)


def test_code_is_edited_in_the_reply_and_a_reply_that_says_nothing_is_asked_for_again(
    scripted: Endpoint, sales: File
) -> None:
    with Watcher("looks good to me, but", f"edit\n```python\n{MINE}\n```\n") as person:
        result = person.run(scripted.url, sales, ["code"], 0.0)
    assert result.success, result.error
    assert result.history[0].by == "person"
    assert result.solution is not None
    assert "# mine" in result.solution.code
    assert "was not understood" in person.prompts[1]


def test_a_condition_that_nobody_signals_in_time_ends_the_generation(scripted: Endpoint, sales: File) -> None:
    with Watcher() as nobody:
        result = nobody.run(scripted.url, sales, ["code"], 0.5)
    assert not result.success
    assert "Nobody answered within 0.5 s" in (result.error or "")
    assert result.solution is not None


def test_in_a_local_run_that_nobody_watches_it_is_said_at_once(scripted: Endpoint, sales: File) -> None:
    with pytest.raises(flyte.errors.RuntimeUserError, match="nobody is there to ask"):
        flyte.with_runcontext(mode="local").run(generates, scripted.url, sales, ["code"], 0.0)
    assert scripted.requests == []
