"""Other models in the place of one that does not answer, over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint import Endpoint, Received, Reply
from pydantic import BaseModel

from flyteplugins.codegen.core.errors import (
    ContextTooLongError,
    InvalidAnswerError,
    InvalidRequestError,
    MissingCredentialError,
    ModelUnavailableError,
)
from flyteplugins.codegen.core.events import Event, ModelAnswered, ModelRetried
from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.models import Account, Answers, Model, Step, Transcript, provider_for
from flyteplugins.codegen.models.endpoint import Retries
from flyteplugins.codegen.models.fallback import FallbackProvider
from flyteplugins.codegen.models.litellm_provider import LiteLLMProvider
from flyteplugins.codegen.record import LocalShelf, Record

pytestmark = pytest.mark.slow

SECRET = "sk-loopback-0123456789"  # noqa: S105 # opens nothing
HELLO = [{"role": "system", "content": "You plan."}, {"role": "user", "content": "Sum the column."}]


class Plan(BaseModel):
    description: str


PLAN = Step("plan", Plan)


@pytest.fixture
def other() -> Iterator[Endpoint]:
    """A second endpoint."""
    with Endpoint() as server:
        yield server


def by(description: str) -> Reply:
    return Reply(json.dumps({"description": description}))


def first_and(*endpoints: Endpoint) -> FallbackProvider:
    return FallbackProvider(
        [
            LiteLLMProvider(
                f"openai/m{place}", api_base=server.url, call_timeout=5, retries=Retries(tries=2, base_seconds=0.01)
            )
            for place, server in enumerate(endpoints)
        ]
    )


def model_of(provider: FallbackProvider, told: list[Event] | None = None, answers: Answers | None = None) -> Model:
    events = told if told is not None else []
    return Model(provider, Account(), Transcript(), events.append, answers=answers)


@pytest.mark.parametrize(
    "fault",
    [
        Reply(status=503, error="overloaded"),
        Reply(status=429, error="slow down"),
        Reply(status=429, error="You exceeded your quota: insufficient_quota"),
        Reply(status=401, error="no such key"),
        Reply(status=404, error="no such model"),
        Reply(status=400, error="content_policy_violation"),
        Reply(hang_up=True),
    ],
    ids=["unavailable", "busy", "no quota", "key", "model", "filtered", "hung up"],
)
async def test_the_next_model_answers_where_one_does_not(endpoint: Endpoint, other: Endpoint, fault: Reply) -> None:
    endpoint.respond = lambda request: fault
    other.respond = lambda request: by("the other")
    told: list[Event] = []
    model = model_of(first_and(endpoint, other), told)

    assert (await model.ask(PLAN, HELLO)).description == "the other"

    retried = [event for event in told if isinstance(event, ModelRetried) and event.wait_seconds == 0]
    assert [(event.step, event.model) for event in retried] == [("plan", "openai/m0")]
    assert retried[0].reason.endswith("Asking openai/m1 instead.")
    (answered,) = [event for event in told if isinstance(event, ModelAnswered)]
    assert answered.model == "m1"
    assert [entry.model for entry in model.transcript.entries] == ["m1"]


async def test_a_model_that_gives_no_usable_answer_is_followed_by_the_next(endpoint: Endpoint, other: Endpoint) -> None:
    endpoint.respond = lambda request: Reply('{"description": 7}')
    other.respond = lambda request: by("the other")
    told: list[Event] = []
    model = model_of(first_and(endpoint, other), told)

    assert (await model.ask(PLAN, HELLO)).description == "the other"

    assert len(endpoint.requests) == 2
    assert other.requests[0].messages == HELLO, "it is asked from the beginning"
    (retried,) = [event for event in told if isinstance(event, ModelRetried)]
    assert retried.reason == "It gave no usable answer. Asking openai/m1 instead."
    assert model.usage.total.calls == 3


async def test_a_model_that_is_gone_is_not_asked_again_and_one_with_a_bad_answer_is(
    endpoint: Endpoint, other: Endpoint
) -> None:
    endpoint.respond = lambda request: Reply(status=401)
    other.respond = lambda request: by("the other")
    model = model_of(first_and(endpoint, other))
    for _ in range(3):
        await model.ask(PLAN, HELLO)
    assert (len(endpoint.requests), len(other.requests)) == (1, 3)

    endpoint.respond = lambda request: Reply("No." if len(endpoint.requests) < 10 else '{"description": "the first"}')
    model = model_of(first_and(endpoint, other))
    assert (await model.ask(PLAN, HELLO)).description == "the other"
    assert (await model.ask(PLAN, HELLO)).description == "the first"


async def test_where_no_model_answers_the_error_has_what_each_said(endpoint: Endpoint, other: Endpoint) -> None:
    endpoint.respond = lambda request: Reply(status=401, error="no such key")
    other.respond = lambda request: Reply(status=503, error="overloaded")
    with pytest.raises(ModelUnavailableError, match=r"openai/m1.*overloaded.*And before: .*openai/m0.*no such key"):
        await model_of(first_and(endpoint, other)).ask(PLAN, HELLO)


async def test_where_no_answer_is_usable_the_last_models_error_is_told(endpoint: Endpoint, other: Endpoint) -> None:
    endpoint.respond = other.respond = lambda request: Reply('{"description": 7}')
    with pytest.raises(InvalidAnswerError, match="The model m1 gave no usable answer"):
        await model_of(first_and(endpoint, other)).ask(PLAN, HELLO)
    assert (len(endpoint.requests), len(other.requests)) == (2, 2)


async def test_a_prompt_that_is_too_long_for_one_model_goes_to_the_next_and_the_first_stays(
    endpoint: Endpoint, other: Endpoint
) -> None:
    endpoint.say(Reply(status=400, error="context_length_exceeded"), by("the first"))
    other.respond = lambda request: by("the other")
    model = model_of(first_and(endpoint, other))
    assert (await model.ask(PLAN, HELLO)).description == "the other"
    assert (await model.ask(PLAN, HELLO)).description == "the first"


async def test_a_prompt_that_is_too_long_for_one_is_told_as_such_though_the_last_has_another_trouble(
    endpoint: Endpoint, other: Endpoint
) -> None:
    endpoint.respond = lambda request: Reply(status=400, error="context_length_exceeded")
    other.respond = lambda request: Reply(status=401)
    with pytest.raises(ContextTooLongError, match=r"openai/m0.*And before: .*openai/m1"):
        await model_of(first_and(endpoint, other)).ask(PLAN, HELLO)


async def test_answers_are_on_record_under_the_model_that_gave_them_and_served_without_asking_the_first(
    endpoint: Endpoint, other: Endpoint, tmp_path: Path
) -> None:
    record = Record(LocalShelf(tmp_path))
    endpoint.respond = lambda request: Reply(status=503)
    other.respond = lambda request: by("the other")
    await model_of(first_and(endpoint, other), answers=Answers(record)).ask(PLAN, HELLO)
    asked = len(endpoint.requests)

    endpoint.respond = lambda request: by("the first, back again")
    assert (await model_of(first_and(endpoint, other), answers=Answers(record)).ask(PLAN, HELLO)).description == (
        "the other"
    )
    assert (len(endpoint.requests), len(other.requests)) == (asked, 1)


async def test_unusable_answers_and_what_followed_are_served_in_their_order(
    endpoint: Endpoint, other: Endpoint, tmp_path: Path
) -> None:
    record = Record(LocalShelf(tmp_path))
    endpoint.respond = lambda request: Reply('{"description": 7}')
    other.respond = lambda request: by("the other")
    for _ in range(2):
        model = model_of(first_and(endpoint, other), answers=Answers(record))
        assert (await model.ask(PLAN, HELLO)).description == "the other"
        assert model.usage.total.calls == 3
    assert (len(endpoint.requests), len(other.requests)) == (2, 1)


async def test_a_transcript_with_a_fallback_replays(endpoint: Endpoint, other: Endpoint, tmp_path: Path) -> None:
    saved = tmp_path / "transcript.jsonl"
    endpoint.respond = lambda request: Reply('{"description": 7}')
    other.respond = lambda request: by("the other")
    live = Model(first_and(endpoint, other), Account(), Transcript(saved))
    await live.ask(PLAN, HELLO)
    replay = Model(provider_for(Settings(model=f"replay:{saved}")), Account(), Transcript())
    assert (await replay.ask(PLAN, HELLO)).description == "the other"
    assert replay.usage == live.usage


async def test_questions_side_by_side_fall_back_each_for_itself(endpoint: Endpoint, other: Endpoint) -> None:
    endpoint.respond = lambda request: Reply(status=401, delay=0.05)
    other.respond = lambda request: by("the other")
    model = model_of(first_and(endpoint, other))
    answers = await asyncio.gather(*[model.ask(PLAN, HELLO) for _ in range(4)])
    assert {answer.description for answer in answers} == {"the other"}


# ---- what a setting means


def settings(endpoint: Endpoint, *others: Any, **more: Any) -> Settings:
    given = {"model": "openai/first", "api_base": endpoint.url, **more}
    return Settings(**given, fallback_models=list(others), call_timeout=5)


async def test_a_name_of_the_same_provider_shares_key_address_and_parameters(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def respond(request: Received) -> Reply:
        return by("shared") if request.body["model"] == "second" else Reply(status=404)

    monkeypatch.setenv("MY_KEY", SECRET)
    endpoint.respond = respond
    provider = provider_for(settings(endpoint, "openai/second", api_key="MY_KEY", litellm_params={"temperature": 0.2}))
    assert (await Model(provider, Account(), Transcript()).ask(PLAN, HELLO)).description == "shared"
    assert [request.key for request in endpoint.requests] == [SECRET, SECRET]
    assert [request.body["temperature"] for request in endpoint.requests] == [0.2, 0.2]
    assert SECRET not in json.dumps(list(provider.identities))


async def test_a_name_of_another_provider_has_that_ones_usual_variables(
    endpoint: Endpoint, other: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-the-other")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", other.root)
    endpoint.respond = lambda request: Reply(status=401)
    other.respond = lambda request: by("the other")
    provider = provider_for(settings(endpoint, "anthropic/claude-sonnet-4-5", api_key="MY_KEY"))
    assert (await Model(provider, Account(), Transcript()).ask(PLAN, HELLO)).description == "the other"
    assert [request.key for request in other.requests] == ["sk-the-other"]


@pytest.mark.parametrize(
    ("model", "fallback", "shares"),
    [
        ("gpt-4.1", "gpt-4o", True),
        ("gpt-4.1", "openai/gpt-4o", True),
        ("gpt-4.1", "claude-sonnet-4-5", False),
        ("anthropic/claude-sonnet-4-5", "claude-haiku-4-5", True),
        ("openrouter/a/b", "openrouter/c/d", True),
        ("openrouter/openai/gpt-4o", "openai/gpt-4o", False),
    ],
)
def test_the_provider_of_a_name_decides_what_it_shares(
    endpoint: Endpoint, model: str, fallback: str, shares: bool
) -> None:
    first, second = provider_for(settings(endpoint, fallback, model=model)).identities
    assert (second["api_base"] == first["api_base"]) is shares


async def test_a_dict_has_all_that_its_model_needs_and_shares_nothing(
    endpoint: Endpoint, other: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", "sk-the-other")
    endpoint.respond = lambda request: Reply(status=401)
    other.respond = lambda request: by("the other")
    entry = {
        "model": "openai/second",
        "api_key": "OTHER_KEY",
        "api_base": other.url,
        "litellm_params": {"max_tokens": 99},
    }
    provider = provider_for(settings(endpoint, entry, litellm_params={"temperature": 0.2}))
    await Model(provider, Account(), Transcript()).ask(PLAN, HELLO)
    (request,) = other.requests
    assert (request.key, request.body["max_tokens"], "temperature" in request.body) == ("sk-the-other", 99, False)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (7, "must be the name of a model, or a dict"),
        ("", "needs the name of a model"),
        ({}, "needs the name of a model"),
        ("replay:t.jsonl", "needs the name of a model"),
        ({"model": "gpt-4o", "key": "X"}, "has key, and may have model, api_key, api_base, litellm_params"),
        ({"model": "gpt-4o", "api_base": 7}, "api_base must be a text"),
        ({"model": "gpt-4o", "litellm_params": [1]}, "litellm_params must be a dict"),
    ],
)
def test_an_entry_that_cannot_be_used_is_an_error_before_any_call(endpoint: Endpoint, entry: Any, said: str) -> None:
    with pytest.raises(InvalidRequestError, match=rf"fallback_models\[1\].*{said}"):
        provider_for(settings(endpoint, "openai/second", entry))


def test_fallback_models_must_be_a_list(endpoint: Endpoint) -> None:
    with pytest.raises(InvalidRequestError, match="must be a list"):
        provider_for(Settings(model="gpt-4.1", fallback_models="gpt-4o"))  # type: ignore[arg-type] # what users write


@pytest.mark.parametrize(
    ("entry", "kind", "said"),
    [
        ({"model": "openai/x", "api_key": "NO_SUCH_KEY"}, MissingCredentialError, "NO_SUCH_KEY"),
        ("anthropic/claude-sonnet-4-5", MissingCredentialError, "ANTHROPIC_API_KEY"),
        ({"model": "my-own-model"}, InvalidRequestError, "my-own-model"),
    ],
)
def test_a_fallback_that_could_not_be_called_is_a_problem_before_any_call(
    endpoint: Endpoint, entry: Any, kind: type[Exception], said: str
) -> None:
    problem = provider_for(settings(endpoint, "openai/second", entry)).problem()
    assert isinstance(problem, kind)
    assert str(problem).startswith("fallback_models[1]: ")
    assert said in str(problem)


def test_without_fallbacks_nothing_is_wrapped(endpoint: Endpoint) -> None:
    assert isinstance(provider_for(settings(endpoint)), LiteLLMProvider)
