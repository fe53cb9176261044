"""`generate()` in all the places that people call it from, against a scripted model over HTTP."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import flyte
import pandas as pd
import pytest
from endpoint import Endpoint, Received, Reply
from flyte.io import File
from handmade import add_up

from flyteplugins.codegen import AutoCoderAgent, CodeGenEvalResult
from flyteplugins.codegen.core.errors import SolutionFailedError

pytestmark = pytest.mark.isolation


env = flyte.TaskEnvironment(name="tests-of-generating")


@pytest.fixture
def agent(endpoint: Endpoint) -> AutoCoderAgent:
    endpoint.respond = add_up
    return AutoCoderAgent(name="total", model="openai/scripted", api_base=endpoint.url)


@pytest.fixture
def sales(tmp_path: Path) -> File:
    path = tmp_path / "sales.csv"
    path.write_text("amount\n1\n2.5\n")
    return File(path=str(path))


def asked(sales: Any) -> dict[str, Any]:
    return {
        "prompt": "Add up the amounts and count the rows.",
        "samples": {"sales": sales},
        "outputs": {"total": float, "rows": int},
    }


@env.task
async def in_async_task(address: str, sales: File) -> tuple[float, int]:
    agent = AutoCoderAgent(name="total", model="openai/scripted", api_base=address)
    result = await agent.generate.aio(**asked(sales))
    run: tuple[float, int] = await result.run.aio()
    return run


@env.task
def in_sync_task(address: str, sales: File) -> tuple[float, int]:
    agent = AutoCoderAgent(name="total", model="openai/scripted", api_base=address)
    run: tuple[float, int] = agent.generate(**asked(sales)).run()
    return run


@env.task
async def hands_out(address: str, sales: File) -> CodeGenEvalResult:
    agent = AutoCoderAgent(name="total", model="openai/scripted", api_base=address)
    return await agent.generate.aio(**asked(sales))


@pytest.mark.parametrize("task", [in_async_task, in_sync_task])
def test_inside_a_task(agent: AutoCoderAgent, endpoint: Endpoint, sales: File, task: Any) -> None:
    run = flyte.with_runcontext(mode="local").run(task, endpoint.url, sales)
    assert tuple(run.outputs()) == (3.5, 2)


def test_a_result_leaves_the_task_that_made_it(agent: AutoCoderAgent, endpoint: Endpoint, sales: File) -> None:
    run = flyte.with_runcontext(mode="local").run(hands_out, endpoint.url, sales)
    (result,) = run.outputs()
    assert result.success
    assert result.run() == (3.5, 2)


async def test_in_a_running_loop(agent: AutoCoderAgent, sales: File) -> None:
    assert (await agent.generate.aio(**asked(sales))).success
    assert agent.generate(**asked(sales)).success  # as in a notebook's cell


def test_a_frame_of_any_index_is_a_sample(agent: AutoCoderAgent) -> None:
    frame = pd.DataFrame({"amount": [1, 2.5]}, index=pd.Index(["x", "y"], name="day"))
    result = agent.generate(**asked(frame))
    assert result.success, result.error
    assert result.run() == (3.5, 2)
    assert result.generated_schemas is not None
    assert "amount" in result.generated_schemas["sales"]


async def test_two_agents_at_once_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two endpoints, two keys, one name, samples of one name: each gets its own."""
    with Endpoint() as one, Endpoint() as other:
        results = []
        for number, server in ((1, one), (2, other)):
            monkeypatch.setenv(f"KEY_{number}", f"key-of-agent-{number}")
            server.respond = add_up
            frame = pd.DataFrame({"amount": [10.0**number]})
            agent = AutoCoderAgent(name="same", model="openai/m", api_base=server.url, api_key=f"KEY_{number}")
            results.append(agent.generate.aio(**asked(frame)))
        first, second = await asyncio.gather(*results)
        assert (first.run(), second.run()) == ((10.0, 1), (100.0, 1))
        assert {request.key for request in one.requests} == {"key-of-agent-1"}
        assert {request.key for request in other.requests} == {"key-of-agent-2"}
        assert "key-of-agent" not in first.model_dump_json() + second.model_dump_json()


@env.task(retries=2)
async def fails_after_generating(address: str, sales: File, times: File) -> tuple[float, int]:
    agent = AutoCoderAgent(name="total", model="openai/scripted", api_base=address)
    result = await agent.generate.aio(**asked(sales))
    tries = Path(times.path)
    tries.write_text(tries.read_text() + "x")
    if len(tries.read_text()) < 3:
        raise RuntimeError("something else in this task failed")
    run: tuple[float, int] = await result.run.aio()
    return run


@env.task(retries=1)
async def fails_while_generating(address: str, sales: File) -> bool:
    agent = AutoCoderAgent(name="total", model="openai/scripted", api_base=address)
    result = await agent.generate.aio(**asked(sales))
    if not result.success:
        raise RuntimeError(result.error)
    return result.success


def test_a_retry_of_the_task_that_generated_pays_for_nothing_again(
    agent: AutoCoderAgent, endpoint: Endpoint, sales: File, tmp_path: Path
) -> None:
    times = tmp_path / "times"
    times.write_text("")
    given = File(path=str(times), hash="same")
    run = flyte.with_runcontext(mode="local").run(fails_after_generating, endpoint.url, sales, given)
    assert tuple(run.outputs()) == (3.5, 2)
    assert times.read_text() == "xxx"
    assert sorted(request.step or "" for request in endpoint.requests) == ["code", "plan", "tests"]


def test_a_retry_of_a_task_whose_generation_was_interrupted_asks_what_was_not_answered(
    agent: AutoCoderAgent, endpoint: Endpoint, sales: File
) -> None:
    refused: list[str] = []

    def respond(request: Received) -> Any:
        if request.step == "tests" and not refused:
            refused.append("tests")
            return Reply(status=401, error="key is revoked")
        return add_up(request)

    endpoint.respond = respond
    run = flyte.with_runcontext(mode="local").run(fails_while_generating, endpoint.url, sales)
    assert run.outputs()[0] is True
    assert sorted(request.step or "" for request in endpoint.requests) == ["code", "plan", "tests", "tests"]


def test_a_changed_sample_is_another_generation(agent: AutoCoderAgent, sales: File) -> None:
    assert agent.generate(**asked(sales)).run() == (3.5, 2)
    Path(sales.path).write_text("amount\n40\n")
    assert agent.generate(**asked(sales)).run() == (40.0, 1)


def test_the_programs_failure_on_real_data_is_the_users_to_see(agent: AutoCoderAgent, sales: File) -> None:
    result = agent.generate(**asked(sales))
    empty = Path(sales.path).with_name("empty.csv")
    empty.write_text("amount\n")
    with pytest.raises(SolutionFailedError, match="no rows"):
        result.run(sales=empty)


def test_ctrl_c_stops_paying(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.respond = lambda request: Reply(delay=60)
    script = (
        "import sys; from flyteplugins.codegen import AutoCoderAgent; "
        "AutoCoderAgent(model='openai/m', api_base=sys.argv[1]).generate(prompt='Add up.')"
    )
    child = subprocess.Popen([sys.executable, "-c", script, endpoint.url], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not endpoint.requests and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == -signal.SIGINT
    deadline = time.monotonic() + 10
    while not endpoint.abandoned and time.monotonic() < deadline:
        time.sleep(0.05)
    assert endpoint.abandoned == len(endpoint.requests) == 1
