"""Prompts begin with the same bytes from call to call, marked where the provider wants that; over real HTTP."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from endpoint import Endpoint, Reply
from pydantic import BaseModel

from flyteplugins.codegen.backends.draft import Draft
from flyteplugins.codegen.backends.messages import Messages
from flyteplugins.codegen.core.contract import Contract
from flyteplugins.codegen.core.request import Request
from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.core.solution import CodePlan, CodeSolution
from flyteplugins.codegen.models import Account, Model, Step, Transcript
from flyteplugins.codegen.models.litellm_provider import LiteLLMProvider
from flyteplugins.codegen.models.step import Message

pytestmark = pytest.mark.slow

PROFILE = "\n".join(f"column_{number}: number, {number} nulls, from 0 to {number * 7}" for number in range(200))


class Anything(BaseModel):
    answer: str


GOOD = Reply(json.dumps({"answer": "yes"}), tokens=(5000, 20), cached=4000)


def messages_of_steps() -> dict[str, list[Message]]:
    """What a generation says in its steps, two of them of one kind."""
    request = Request(
        prompt="Sum the amounts by country.",
        contract=Contract(inputs={"sales": "File"}, outputs={"total": "float"}, samples=("sales",)),
    )
    messages = Messages(request=request, settings=Settings(), profiles={}, data_context=PROFILE)
    plan = CodePlan(description="Adds up.", approach="Read, group, add, write.")
    draft = Draft(plan=plan, solution=CodeSolution(code="x = 1\n"), tests="def test_x(): ...\n")
    return {
        "plan": messages.plan(),
        "code": messages.code(plan),
        "tests": messages.tests(plan, [], None),
        "repair_code": messages.repair_code(draft, "The total is wrong."),
        "repair_code again": messages.repair_code(draft, "The total is still wrong."),
    }


async def sent(endpoint: Endpoint, base: str, name: str) -> list[dict[str, Any]]:
    endpoint.respond = lambda request: GOOD
    model = Model(LiteLLMProvider(name, api_base=base), Account(), Transcript())
    for step, messages in messages_of_steps().items():
        await model.ask(Step(step.split(" ", 1)[0], Anything), messages)
    assert model.usage.total.cached_tokens == 4000 * len(endpoint.requests)
    assert model.usage.total.input_tokens == 5000 * len(endpoint.requests)
    return [request.body for request in endpoint.requests]


async def test_each_call_begins_with_the_same_bytes_up_to_the_step(endpoint: Endpoint) -> None:
    bodies = await sent(endpoint, endpoint.url, "openai/any")
    conversations = [json.dumps(body["messages"]) for body in bodies]
    shared = os.path.commonprefix(conversations)  # noqa: RUF071 - of characters is what is meant
    assert PROFILE.splitlines()[-1] in shared, "all that is known of the data is in the shared part"
    assert len(shared) > 0.7 * max(map(len, conversations))
    assert [[message["role"] for message in body["messages"]] for body in bodies] == [["system", "user"]] * len(bodies)
    assert "cache_control" not in json.dumps(bodies), "OpenAI's endpoints need no mark, and some refuse one"


async def test_anthropic_gets_the_mark_behind_the_part_that_all_steps_share(endpoint: Endpoint) -> None:
    bodies = await sent(endpoint, endpoint.root, "anthropic/claude-sonnet-4-5")
    prefixes = set()
    for body in bodies:
        (message,) = body["messages"]
        shared, step = message["content"]
        assert shared["cache_control"] == {"type": "ephemeral"}
        assert "cache_control" not in step
        assert PROFILE.splitlines()[-1] in shared["text"]
        prefixes.add(json.dumps([body["system"], shared]))
    assert len(prefixes) == 1, "what is cached is the same bytes in each call"


async def test_a_question_that_is_put_again_keeps_the_marked_part(endpoint: Endpoint) -> None:
    endpoint.say("No.", GOOD)
    model = Model(LiteLLMProvider("anthropic/claude-sonnet-4-5", api_base=endpoint.root), Account(), Transcript())
    await model.ask(Step("plan", Anything), messages_of_steps()["plan"])
    first, second = (request.body for request in endpoint.requests)
    assert second["messages"][0] == first["messages"][0]
    assert second["system"] == first["system"]
    assert [message["role"] for message in second["messages"]] == ["user", "assistant", "user"]


async def test_an_endpoint_that_refuses_the_mark_is_asked_without_it_from_then_on(endpoint: Endpoint) -> None:
    said = "messages.0.content.0.cache_control: Extra inputs are not permitted"
    endpoint.respond = lambda request: (
        Reply(status=400, error=said) if "cache_control" in json.dumps(request.body) else GOOD
    )
    model = Model(LiteLLMProvider("anthropic/claude-sonnet-4-5", api_base=endpoint.root), Account(), Transcript())
    for _ in range(2):
        await model.ask(Step("plan", Anything), messages_of_steps()["plan"])
    assert ["cache_control" in json.dumps(request.body) for request in endpoint.requests] == [True, False, False]


async def test_the_transcript_has_no_mark_and_the_shared_part_once(endpoint: Endpoint) -> None:
    endpoint.respond = lambda request: GOOD
    model = Model(LiteLLMProvider("anthropic/claude-sonnet-4-5", api_base=endpoint.root), Account(), Transcript())
    messages = messages_of_steps()["plan"]
    await model.ask(Step("plan", Anything), messages)
    (entry,) = model.transcript.entries
    assert entry.messages == messages
    assert entry.cached_tokens == 4000
