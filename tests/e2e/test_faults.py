"""Whole generations with an endpoint in trouble: what comes out, what is kept, and what the user is told."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from endpoint import Endpoint, Received, Reply
from test_pipeline import CODE, PLAN, WRONG_CODE, code, diagnosis, generate, sales, suite

from flyteplugins.codegen import AutoCoderAgent
from flyteplugins.codegen.core.budget import Budget
from flyteplugins.codegen.core.errors import (
    BudgetExceededError,
    ContextTooLongError,
    InvalidAnswerError,
    ModelRefusedError,
    ModelUnavailableError,
)
from flyteplugins.codegen.core.events import Event, ModelRetried, Note
from flyteplugins.codegen.models.litellm_provider import LiteLLMProvider

pytestmark = pytest.mark.isolation

__all__ = ["sales"]  # the fixture

SECRET = "loopback-secret-0123456789"  # noqa: S105 # opens nothing
TOO_LONG = Reply(status=400, error="This model's maximum context length is 4096 tokens. However, you sent 5000.")


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def agent_of(endpoint: Endpoint, events: list[Event], monkeypatch: pytest.MonkeyPatch) -> Callable[..., AutoCoderAgent]:
    """Makes agents whose endpoint is the scripted one."""
    monkeypatch.setenv("MY_KEY", SECRET)

    def make(**more: Any) -> AutoCoderAgent:
        usual = {"model": "openai/scripted", "api_base": endpoint.url, "api_key": "MY_KEY", "name": "faults"}
        return AutoCoderAgent(**{**usual, "on_event": events.append, **more})

    return make


def steps(endpoint: Endpoint) -> list[str | None]:
    return [request.step for request in endpoint.requests]


def answer(endpoint: Endpoint, **by_step: Any) -> None:
    """Script the happy path, but for the steps that are given."""
    for step, said in {"plan": PLAN, "code": code(), "tests": suite(), **by_step}.items():
        endpoint.say_to(step, *(said if isinstance(said, list) else [said]))


# ---- faults that pass


def test_one_fault_at_each_step_is_waited_out_and_told(
    agent_of: Callable[..., AutoCoderAgent], endpoint: Endpoint, sales: Path, events: list[Event]
) -> None:
    busy = Reply(status=429, headers={"retry-after": "0.1"}, error="slow down")
    answer(endpoint, plan=[busy, PLAN], code=[Reply(reset=True), code()], tests=[Reply(raw="<html>"), suite()])
    result = generate(agent_of(), sales)
    assert result.success, result.error
    assert len(endpoint.requests) == 6
    assert result.usage.total.calls == 3
    told = {event.step: event for event in events if isinstance(event, ModelRetried)}
    assert told["plan"].reason == "slow down (status 429)"
    assert told["plan"].wait_seconds >= 0.1
    assert told["code"].reason == "the connection ended before the answer was complete"
    assert told["tests"].model == "openai/scripted"


def test_an_endpoint_that_fails_after_the_code_and_comes_back_goes_on_where_it_was(
    agent_of: Callable[..., AutoCoderAgent], endpoint: Endpoint, sales: Path
) -> None:
    answer(endpoint, code=code(WRONG_CODE), diagnosis=[Reply(status=503), Reply(status=503), diagnosis("logic")])
    endpoint.say_to("repair_code", code())
    result = generate(agent_of(), sales)
    assert result.success, result.error
    assert (result.attempts, steps(endpoint).count("diagnosis")) == (2, 3)


# ---- faults that last


def test_an_endpoint_that_fails_for_good_before_its_first_answer_is_an_error(
    agent_of: Callable[..., AutoCoderAgent], endpoint: Endpoint, sales: Path
) -> None:
    endpoint.respond = lambda request: Reply(status=429, headers={"retry-after": "3600"})
    with pytest.raises(ModelUnavailableError, match="It asks to wait 3600 s"):
        generate(agent_of(), sales)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Reply(status=429, headers={"retry-after": "3600"}), "Check its limits, and generate again"),
        (Reply(status=401), "Check the key and what it may use: the environment variable MY_KEY (api_key)"),
        (Reply(status=404), "Check model= and api_base="),
        (Reply(status=429, error="insufficient_quota"), "Check the account's credit and limits"),
    ],
    ids=["429", "401", "404", "no credit"],
)
def test_what_was_answered_is_kept_and_is_not_asked_again_once_the_endpoint_is_back(
    agent_of: Callable[..., AutoCoderAgent], endpoint: Endpoint, sales: Path, fault: Reply, says: str
) -> None:
    answer(endpoint, code=code(WRONG_CODE), diagnosis=fault)
    first = generate(agent_of(), sales)
    assert not first.success
    assert first.solution is not None
    assert first.solution.code.strip() == WRONG_CODE.strip()
    assert first.tests is not None
    assert says in (first.error or "")
    assert "failed at its tests" in (first.error or "")
    asked = len(endpoint.requests)
    assert asked == 4

    endpoint.say_to("diagnosis", diagnosis("logic"))
    endpoint.say_to("repair_code", code())
    second = generate(agent_of(), sales)
    assert second.success, second.error
    assert second.solution is not None
    assert second.solution.code.strip() == CODE.strip()
    assert steps(endpoint)[asked:] == ["diagnosis", "repair_code"]


@pytest.mark.parametrize("fault", [Reply(status=401), Reply(status=429, headers={"retry-after": "3600"})])
def test_code_that_is_paid_for_is_handed_back_where_the_tests_can_not_be_had(
    agent_of: Callable[..., AutoCoderAgent], endpoint: Endpoint, sales: Path, fault: Reply
) -> None:
    answer(endpoint, code=Reply(json.dumps(code()), delay=0.5), tests=fault)
    first = generate(agent_of(), sales)
    assert not first.success
    assert first.solution is not None
    assert first.solution.code.strip() == CODE.strip()
    assert (first.error or "").endswith("The code was written, and nothing of it was checked.")

    endpoint.say_to("tests", suite())
    second = generate(agent_of(), sales)
    assert second.success, second.error
    assert sorted(steps(endpoint), key=str) == ["code", "plan", "tests", "tests"]


def test_a_content_filter_in_front_of_the_plan_is_the_models_error(
    agent_of: Callable[..., AutoCoderAgent], endpoint: Endpoint, sales: Path
) -> None:
    endpoint.respond = lambda request: Reply(status=400, error="content_policy_violation: rejected")
    with pytest.raises(InvalidAnswerError, match=r"A content filter refused the step 'plan': .* another model"):
        generate(agent_of(), sales)
    assert len(endpoint.requests) == 1


def test_a_content_filter_in_front_of_the_tests_alone_leaves_the_code(
    agent_of: Callable[..., AutoCoderAgent], endpoint: Endpoint, sales: Path
) -> None:
    filtered = Reply(status=400, error="content_policy_violation: rejected")
    answer(endpoint, tests=[filtered, suite()])
    result = generate(agent_of(), sales)
    assert result.solution is not None
    assert result.solution.code.strip() == CODE.strip()
    assert result.success, result.error


# ---- time


@pytest.mark.parametrize("hanging", ["plan", "tests"])
def test_the_time_of_the_generation_ends_it_while_the_endpoint_hangs(
    agent_of: Callable[..., AutoCoderAgent], endpoint: Endpoint, sales: Path, hanging: str
) -> None:
    answer(endpoint, **{hanging: Reply("{}", stall=True)})
    # Importing litellm takes seconds, and is no part of this.
    assert LiteLLMProvider("openai/scripted", "MY_KEY", endpoint.url).problem() is None
    agent = agent_of(budget=Budget(seconds=5))
    started = time.monotonic()
    if hanging == "plan":
        with pytest.raises(BudgetExceededError, match="seconds=5"):
            generate(agent, sales)
    else:
        result = generate(agent, sales)
        assert not result.success
        assert "seconds=5" in (result.error or "")
        assert result.plan is not None
    assert time.monotonic() - started < 40  # the call itself might take 120 s, and once more


def test_a_wait_that_is_longer_than_the_generation_may_take_ends_it_at_once(
    agent_of: Callable[..., AutoCoderAgent], endpoint: Endpoint, sales: Path
) -> None:
    answer(endpoint, code=code(WRONG_CODE), diagnosis=Reply(status=429, headers={"retry-after": "50"}))
    started = time.monotonic()
    result = generate(agent_of(budget=Budget(seconds=40)), sales)
    assert not result.success
    assert "It asks to wait 50 s, and" in (result.error or "")
    assert "left of the generation's budget" in (result.error or "")
    assert time.monotonic() - started < 40


# ---- size


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    rows = [f"day {number},{number}.5,a longer remark with the number {number}" for number in range(300)]
    path.write_text("\n".join(["day,amount,remark", *rows]) + "\n")
    return path


def test_a_prompt_that_is_too_long_is_asked_again_with_less_about_the_samples(
    agent_of: Callable[..., AutoCoderAgent], endpoint: Endpoint, orders: Path, events: list[Event]
) -> None:
    scripted = endpoint.respond

    def rows(request: Received) -> int:
        return str(request.messages).count("a longer remark")

    answer(endpoint, tests=suite(TESTS_OF_ORDERS))
    endpoint.respond = lambda request: TOO_LONG if rows(request) > 10 else scripted(request)
    result = generate(agent_of(), orders)
    assert result.success, result.error
    # Fewer rows are not few enough; once no rows are, no step begins with the whole again.
    assert sorted(steps(endpoint), key=str) == ["code", "plan", "plan", "plan", "tests"]
    all_rows, fewer, none = (rows(request) for request in endpoint.requests[:3])
    assert all_rows > 3 * fewer > 30 > 10 > none
    notes = [event.message for event in events if isinstance(event, Note) and "is asked again" in event.message]
    assert [note.rsplit("leaves out ", 1)[1] for note in notes] == ["most example rows.", "the example rows."]
    assert "The step 'plan' is too long for the model openai/scripted" in notes[0]
    told = [line for line in result.receipt.warnings if "context is too short" in line]
    assert told[-1].endswith("the example rows were left out.")


def test_steps_side_by_side_that_are_too_long_ask_the_same_whichever_is_refused_first(
    agent_of: Callable[..., AutoCoderAgent], endpoint: Endpoint, orders: Path
) -> None:
    scripted = endpoint.respond

    def respond(request: Received) -> Any:
        if request.step == "plan" or str(request.messages).count("a longer remark") <= 10:
            return scripted(request)
        return dataclasses.replace(TOO_LONG, delay=0.1 if request.step == "code" else 0.0)

    answer(endpoint, tests=suite(TESTS_OF_ORDERS))
    endpoint.respond = respond
    result = generate(agent_of(), orders)
    assert result.success, result.error
    assert sorted(steps(endpoint), key=str) == ["code"] * 3 + ["plan"] + ["tests"] * 3
    assert len([line for line in result.receipt.warnings if "context is too short" in line]) == 2


TESTS_OF_ORDERS = """
def test_sample(run_solution):
    outputs = run_solution().outputs
    assert outputs["count"] == 300
    assert outputs["total"] == sum(number + 0.5 for number in range(300))


def test_one_row(run_solution, tmp_path):
    path = tmp_path / "sales.csv"
    path.write_text("day,amount,remark\\nmon,-2.5,x\\n")
    assert run_solution(sales=path).outputs == {"total": -2.5, "count": 1}
"""


def test_a_prompt_that_is_too_long_with_the_least_about_the_samples_is_an_error_that_says_what_to_cut(
    agent_of: Callable[..., AutoCoderAgent], endpoint: Endpoint, orders: Path
) -> None:
    endpoint.respond = lambda request: TOO_LONG
    with pytest.raises(ContextTooLongError, match=r"model=\), or less prompt, schema, constraints or columns"):
        generate(agent_of(), orders)
    lengths = [sum(len(message["content"]) for message in request.messages) for request in endpoint.requests]
    assert len(lengths) == 5
    assert lengths == sorted(set(lengths), reverse=True)


def test_without_samples_there_is_nothing_to_leave_out(
    agent_of: Callable[..., AutoCoderAgent], endpoint: Endpoint
) -> None:
    endpoint.respond = lambda request: TOO_LONG
    with pytest.raises(ContextTooLongError):
        agent_of().generate("Add two numbers.", inputs={"a": int, "b": int}, outputs={"sum": int})
    assert len(endpoint.requests) == 1


def test_an_answer_of_ten_megabytes_makes_no_prompt_of_ten_megabytes(
    agent_of: Callable[..., AutoCoderAgent], endpoint: Endpoint, sales: Path
) -> None:
    answer(endpoint, plan=[Reply("x" * 10_000_000), PLAN])
    result = generate(agent_of(), sales)
    assert result.success, result.error
    assert max(len(json.dumps(request.body)) for request in endpoint.requests) < 100_000
    state = Path(os.environ["FLYTEPLUGINS_CODEGEN_HOME"])
    written = [
        path for path in state.rglob("*.json*") if "environments" not in path.parts and "locks" not in path.parts
    ]
    assert written
    assert max(path.stat().st_size for path in written) < 3_000_000


# ---- secrets


def test_the_key_is_in_no_file_event_log_or_result(
    agent_of: Callable[..., AutoCoderAgent],
    endpoint: Endpoint,
    sales: Path,
    events: list[Event],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG, "flyteplugins")
    leak = Reply(status=503, error=f"the key {SECRET} has to wait")
    answer(endpoint, plan=[leak, PLAN], code=code(WRONG_CODE), diagnosis=Reply(status=401, error=f"no {SECRET}"))
    result = generate(agent_of(), sales)
    assert not result.success
    assert endpoint.requests[0].key == SECRET
    assert "[hidden]" in (result.error or "")
    printed = capfd.readouterr()
    for text in (result.model_dump_json(), repr(events), caplog.text, printed.out, printed.err):
        assert SECRET not in text
    state = Path(os.environ["FLYTEPLUGINS_CODEGEN_HOME"])
    files = [path for path in state.rglob("*") if path.is_file() and "environments" not in path.parts]
    assert any(path.suffix == ".jsonl" for path in files)
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_a_model_that_is_refused_is_no_reason_to_ask_again_and_again(
    agent_of: Callable[..., AutoCoderAgent], endpoint: Endpoint, sales: Path
) -> None:
    endpoint.respond = lambda request: Reply(status=404, error="no such model")
    with pytest.raises(ModelRefusedError, match=r"no such model\. Check model= and api_base="):
        generate(agent_of(), sales)
    assert len(endpoint.requests) == 1
