"""Model calls inside a Flyte run: each is a trace of its own, and no key is in what Flyte records."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import flyte
import pytest
from endpoint import Endpoint, Reply
from flyte._persistence._run_store import RunStore
from pydantic import BaseModel

from flyteplugins.codegen.core.errors import ModelRefusedError
from flyteplugins.codegen.models import Account, Model, Step, Transcript
from flyteplugins.codegen.models.endpoint import Retries
from flyteplugins.codegen.models.litellm_provider import LiteLLMProvider

SECRET = "sk-loopback-0123456789"  # noqa: S105 # opens nothing
env = flyte.TaskEnvironment(name="models_in_a_run")


class Plan(BaseModel):
    description: str


class Suite(BaseModel):
    source: str


def _model(base: str) -> Model:
    provider = LiteLLMProvider("openai/any", "MY_KEY", base, {}, 5.0, retries=Retries(base_seconds=0.01))
    return Model(provider, Account(), Transcript())


@env.task
async def ask_twice(base: str) -> str:
    model = _model(base)
    plan, tests = await asyncio.gather(
        model.ask(Step("plan", Plan), [{"role": "user", "content": "plan"}]),
        model.ask(Step("tests", Suite), [{"role": "user", "content": "tests"}]),
    )
    return f"{plan.description}, {tests.source}, {model.usage.total.calls} calls"


@env.task
async def ask_in_vain(base: str) -> str:
    try:
        await _model(base).ask(Step("plan", Plan), [{"role": "user", "content": "plan"}])
    except ModelRefusedError as error:
        return f"refused: {error}"
    return "answered"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MY_KEY", SECRET)
    flyte.init(local_persistence=True)
    return tmp_path


def _everything_under(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_two_steps_side_by_side_are_answered_inside_a_task(endpoint: Endpoint, own_home: Path) -> None:
    endpoint.say_to("plan", "not JSON", {"description": "a plan"})
    endpoint.say_to("tests", Reply(json.dumps({"source": "assert True"}), delay=0.05))

    run = await flyte.with_runcontext(mode="local", raw_data_path=str(own_home / "raw")).run.aio(
        ask_twice, endpoint.url
    )

    assert run.outputs()[0] == "a plan, assert True, 3 calls"
    assert {request.key for request in endpoint.requests} == {SECRET}
    records = [
        record
        for started in RunStore.list_runs_sync()
        if started.task_name == "models_in_a_run.ask_twice"
        for record in RunStore.list_actions_for_run_sync(started.run_name)
    ]
    asked = [record for record in records if record.task_name != "models_in_a_run.ask_twice"]
    assert sorted(str(record.task_name) for record in asked) == ["ask_plan", "ask_plan", "ask_tests"]
    assert SECRET not in repr(records)
    assert SECRET.encode() not in _everything_under(own_home)


async def test_an_error_leaves_the_trace_as_it_was_raised(endpoint: Endpoint) -> None:
    endpoint.respond = lambda request: Reply(status=401, error="bad key")
    run = await flyte.with_runcontext(mode="local").run.aio(ask_in_vain, endpoint.url)
    assert run.outputs()[0].startswith("refused:")
    assert "MY_KEY (api_key)" in run.outputs()[0]
    assert len(endpoint.requests) == 1
