"""Asking a model, over real HTTP to an endpoint on loopback."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from endpoint import Endpoint, Received, Reply
from pydantic import BaseModel, field_validator

from flyteplugins.codegen.core.budget import Budget
from flyteplugins.codegen.core.errors import (
    AnswerCutOffError,
    BudgetExceededError,
    CodegenError,
    InvalidAnswerError,
    InvalidRequestError,
    MissingCredentialError,
    ModelRefusedError,
    ReplayError,
)
from flyteplugins.codegen.core.events import Event, ModelAnswered, StepStarted
from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.models import (
    Account,
    Completion,
    Model,
    Provider,
    Step,
    Transcript,
    estimate,
    provider_for,
    transcript_of,
)
from flyteplugins.codegen.models.endpoint import Retries
from flyteplugins.codegen.models.litellm_provider import LiteLLMProvider

pytestmark = pytest.mark.slow

SECRET = "sk-loopback-0123456789"  # noqa: S105 # opens nothing
HELLO = [{"role": "system", "content": "You plan."}, {"role": "user", "content": "Sum the column."}]


class Plan(BaseModel):
    description: str
    packages: list[str] = []


class Code(BaseModel):
    code: str
    examples: dict[str, str] = {}

    @field_validator("code")
    @classmethod
    def parses(cls, code: str) -> str:
        try:
            ast.parse(code)
        except SyntaxError as error:
            raise ValueError(f"the code does not parse: {error.msg} in line {error.lineno}") from None
        return code


PLAN = Step("plan", Plan)
CODE = Step("code", Code)
GOOD = {"description": "Adds up.", "packages": ["pandas"]}


def litellm_provider(base: str | None, model: str = "openai/any", **more: Any) -> LiteLLMProvider:
    more = {"api_key_name": None, "params": None, "call_timeout": 5.0, "retries": Retries(base_seconds=0.01), **more}
    return LiteLLMProvider(model, api_base=base, **more)


def model_of(provider: Provider, budget: Budget | None = None, transcript: Transcript | None = None) -> Model:
    return Model(provider, Account(budget), transcript or Transcript())


# ---- answers


async def test_an_answer_arrives_typed_with_its_usage_and_events(endpoint: Endpoint) -> None:
    endpoint.say(Reply(json.dumps(GOOD), tokens=(1000, 500)))
    events: list[Event] = []
    model = Model(litellm_provider(endpoint.url, "gpt-4.1"), Account(), Transcript(), events.append)

    answer = await model.ask(PLAN, HELLO, attempt=2)

    assert answer == Plan(description="Adds up.", packages=["pandas"])
    assert (model.usage.total.calls, model.usage.total.input_tokens, model.usage.total.output_tokens) == (1, 1000, 500)
    assert model.usage.total.cost == pytest.approx(1000 * 2e-6 + 500 * 8e-6)
    started, answered = events
    assert started == StepStarted(2, "plan")
    assert isinstance(answered, ModelAnswered)
    assert (answered.attempt, answered.step, answered.input_tokens, answered.output_tokens) == (2, "plan", 1000, 500)
    assert answered.seconds > 0


async def test_the_schema_is_sent_strict_and_mappings_come_back_as_mappings(endpoint: Endpoint) -> None:
    endpoint.say({"code": "x = 1", "examples": [{"name": "threshold", "value": "0.5"}]})

    answer = await model_of(litellm_provider(endpoint.url)).ask(CODE, HELLO)

    assert answer.examples == {"threshold": "0.5"}
    form = endpoint.requests[0].body["response_format"]["json_schema"]
    assert form["strict"] is True
    assert form["schema"]["additionalProperties"] is False
    assert form["schema"]["required"] == ["code", "examples"]
    assert form["schema"]["properties"]["examples"]["items"]["required"] == ["name", "value"]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(GOOD),
        f"```json\n{json.dumps(GOOD, indent=1)}\n```",
        f"Here is the plan {{as asked}}:\n\n{json.dumps(GOOD)}\n\nTell me if {{more}} is needed.",
        f"<think>Perhaps {json.dumps({'description': 'A draft. ' * 9})}?</think>{json.dumps(GOOD)}",
        '{"description": "Adds up.",\n "packages": ["pandas"]}',
    ],
    ids=["bare", "fenced", "surrounded", "thinking", "spread"],
)
async def test_json_is_found_wherever_the_model_puts_it(endpoint: Endpoint, text: str) -> None:
    endpoint.say(text)
    assert await model_of(litellm_provider(endpoint.url)).ask(PLAN, HELLO) == Plan(**GOOD)


async def test_code_with_fences_braces_and_raw_line_ends_in_its_string_survives(endpoint: Endpoint) -> None:
    code = 'TEXT = """```json\n{"a": 1}\n```"""\nprint({"b": "}"})\n'
    raw_line_ends = json.dumps({"code": code}).replace("\\n", "\n")
    endpoint.say(f"```json\n{raw_line_ends}\n```")
    assert (await model_of(litellm_provider(endpoint.url)).ask(CODE, HELLO)).code == code


async def test_an_invalid_answer_is_asked_for_again_once_quoting_what_was_wrong(endpoint: Endpoint) -> None:
    endpoint.say({"code": "def main(:\n  pass"}, {"code": "x = 1"})
    model = model_of(litellm_provider(endpoint.url))

    assert (await model.ask(CODE, HELLO)).code == "x = 1"

    second = endpoint.requests[1].messages
    assert second[:2] == HELLO
    assert second[2] == {"role": "assistant", "content": json.dumps({"code": "def main(:\n  pass"})}
    assert "code: Value error, the code does not parse: invalid syntax in line 1" in second[3]["content"]
    assert model.usage.total.calls == 2


async def test_an_answer_that_stays_invalid_ends_after_two_calls_and_says_why(endpoint: Endpoint) -> None:
    endpoint.say({"packages": "pandas"}, {"packages": "pandas"}, GOOD)
    with pytest.raises(InvalidAnswerError, match=r"(?s)'plan'.*description: Field required.*packages: Input should be"):
        await model_of(litellm_provider(endpoint.url)).ask(PLAN, HELLO)
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        (Reply(""), "The answer was empty"),
        (Reply("I would rather talk."), "no JSON object"),
        (Reply('{"description": "Adds'), "does not parse: Invalid control|does not parse: Unterminated string"),
        (Reply(refusal="I won't."), "refused: I won't"),
        (Reply("", finish_reason="content_filter"), "refused: content_filter"),
        (Reply(raw='{"id": "1", "object": "chat.completion", "choices": []}'), "The answer was empty"),
    ],
    ids=["empty", "prose", "half", "refusal", "filtered", "no choices"],
)
async def test_what_is_no_answer_is_told_to_the_model(endpoint: Endpoint, bad: Reply, told: str) -> None:
    endpoint.say(bad, GOOD)
    assert await model_of(litellm_provider(endpoint.url)).ask(PLAN, HELLO) == Plan(**GOOD)
    first, second = endpoint.requests
    assert len(second.messages) == len(first.messages) + 2
    assert second.messages[-2]["content"]  # some endpoints refuse an empty message
    assert re.search(told, second.messages[-1]["content"])


async def test_a_cut_off_answer_is_never_used_even_where_it_happens_to_parse(endpoint: Endpoint) -> None:
    endpoint.say(Reply(json.dumps(GOOD), finish_reason="length"), {"description": "Short."})
    assert (await model_of(litellm_provider(endpoint.url)).ask(PLAN, HELLO)).description == "Short."
    assert "cut off" in endpoint.requests[1].messages[-1]["content"]


async def test_an_answer_that_is_cut_off_twice_names_the_setting(endpoint: Endpoint) -> None:
    endpoint.say(*[Reply("{", finish_reason="length")] * 2)
    with pytest.raises(AnswerCutOffError, match="max_tokens"):
        await model_of(litellm_provider(endpoint.url)).ask(PLAN, HELLO)


async def test_a_huge_unusable_answer_is_not_sent_back_whole(endpoint: Endpoint) -> None:
    endpoint.say("x" * 1_000_000, GOOD)
    await model_of(litellm_provider(endpoint.url)).ask(PLAN, HELLO)
    assert len(json.dumps(endpoint.requests[1].body)) < 60_000


async def test_a_prompt_that_is_too_long_says_so_and_is_sent_once(endpoint: Endpoint) -> None:
    said = "This model's maximum context length is 10 tokens. However, your messages resulted in 20 tokens."
    endpoint.respond = lambda request: Reply(status=400, error=said)
    with pytest.raises(ModelRefusedError, match="too long for the model openai/any"):
        await model_of(litellm_provider(endpoint.url)).ask(PLAN, HELLO)
    assert len(endpoint.requests) == 1


# ---- Anthropic


@pytest.mark.parametrize("name", ["claude-sonnet-4-5", "claude-3-5-sonnet-20240620"], ids=["native", "by tool"])
async def test_anthropic_answers_typed_through_its_own_shape(endpoint: Endpoint, name: str) -> None:
    endpoint.say(GOOD)
    model = model_of(litellm_provider(endpoint.root, f"anthropic/{name}"))
    assert await model.ask(PLAN, HELLO) == Plan(**GOOD)
    assert endpoint.requests[0].path == "/v1/messages"
    assert (model.usage.total.input_tokens, model.usage.total.output_tokens) == (100, 20)


async def test_anthropic_overload_and_cut_off_answers_are_understood(endpoint: Endpoint) -> None:
    endpoint.say(Reply(status=529), Reply("{", finish_reason="length"), GOOD)
    assert await model_of(litellm_provider(endpoint.root, "anthropic/claude-sonnet-4-5")).ask(PLAN, HELLO) == Plan(
        **GOOD
    )
    assert "cut off" in json.dumps(endpoint.requests[2].body)


# ---- ending a question


async def test_cancelling_the_question_ends_the_request(endpoint: Endpoint) -> None:
    endpoint.respond = lambda request: Reply("{}", delay=30)
    asking = asyncio.create_task(model_of(litellm_provider(endpoint.url, call_timeout=30)).ask(PLAN, HELLO))
    await _until(lambda: len(endpoint.requests) == 1)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await _until(lambda: endpoint.abandoned == 1)


async def _until(holds: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it never came to that"
        await asyncio.sleep(0.01)


# ---- keys and addresses


def test_a_named_key_that_is_not_set_is_named_before_any_call(endpoint: Endpoint) -> None:
    problem = litellm_provider(endpoint.url, api_key_name="MY_KEY").problem()
    assert isinstance(problem, MissingCredentialError)
    assert "MY_KEY" in str(problem)


def test_an_empty_key_is_a_missing_key(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "")
    assert "MY_KEY, and it is empty" in str(litellm_provider(endpoint.url, api_key_name="MY_KEY").problem())


@pytest.mark.parametrize("key", [SECRET, "gsk_0123456789abcdef", "AIzaSyA0123456789"])
async def test_a_key_given_in_place_of_its_name_is_not_shown(endpoint: Endpoint, key: str) -> None:
    with pytest.raises(MissingCredentialError) as caught:
        await model_of(litellm_provider(endpoint.url, api_key_name=key)).ask(PLAN, HELLO)
    assert key not in str(caught.value)
    assert endpoint.requests == []


@pytest.mark.parametrize(
    ("model", "variable"), [("gpt-4.1", "OPENAI_API_KEY"), ("anthropic/claude-sonnet-4-5", "ANTHROPIC_API_KEY")]
)
def test_a_key_that_the_provider_needs_and_nobody_gave_is_a_problem(model: str, variable: str) -> None:
    problem = litellm_provider(None, model).problem()
    assert isinstance(problem, MissingCredentialError)
    assert variable in str(problem)


def test_a_model_of_no_provider_is_a_problem() -> None:
    problem = litellm_provider(None, "my-own-model").problem()
    assert isinstance(problem, InvalidRequestError)
    assert "'my-own-model'" in str(problem)


def test_no_problem_where_the_provider_needs_no_key() -> None:
    assert litellm_provider(None, "ollama/qwen3").problem() is None


def test_the_providers_own_variable_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    assert litellm_provider(None, "gpt-4.1").problem() is None


@pytest.mark.parametrize("variable", ["OPENAI_BASE_URL", "OPENAI_API_BASE"])
async def test_a_keyless_server_named_by_the_environment_is_called(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, endpoint.url)
    endpoint.say(GOOD)
    provider = litellm_provider(None, "gpt-4.1")
    assert provider.problem() is None
    assert await model_of(provider).ask(PLAN, HELLO) == Plan(**GOOD)


async def test_an_anthropic_server_named_by_the_environment_is_called_with_the_usual_key(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", endpoint.root)
    monkeypatch.setenv("ANTHROPIC_API_KEY", SECRET)
    endpoint.say(GOOD)
    assert await model_of(litellm_provider(None, "anthropic/claude-sonnet-4-5")).ask(PLAN, HELLO) == Plan(**GOOD)
    assert endpoint.requests[0].key == SECRET


async def test_two_agents_with_their_own_keys_and_endpoints_never_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRST_KEY", "sk-first-key")
    monkeypatch.setenv("SECOND_KEY", "sk-second-key")
    with Endpoint() as one, Endpoint() as two:
        for server in (one, two):
            server.respond = lambda request: Reply(json.dumps({"description": request.key}), delay=0.02)
        first = model_of(litellm_provider(one.url, "gpt-4.1", api_key_name="FIRST_KEY"))
        second = model_of(litellm_provider(two.url, "gpt-4.1", api_key_name="SECOND_KEY"))
        answers = await asyncio.gather(*[model.ask(PLAN, HELLO) for model in [first, second] * 5])
        assert [answer.description for answer in answers] == ["sk-first-key", "sk-second-key"] * 5
        assert {request.key for request in one.requests} == {"sk-first-key"}
        assert {request.key for request in two.requests} == {"sk-second-key"}


async def test_litellm_params_reach_the_endpoint(endpoint: Endpoint) -> None:
    endpoint.say(GOOD)
    provider = litellm_provider(endpoint.url, params={"temperature": 0.2, "max_tokens": 4096, "stream": True})
    await model_of(provider).ask(PLAN, HELLO)
    body = endpoint.requests[0].body
    assert (body["temperature"], body["max_tokens"], body.get("stream", False)) == (0.2, 4096, False)


async def test_an_address_and_a_key_among_litellm_params_are_used_and_the_key_is_not_shown(endpoint: Endpoint) -> None:
    endpoint.say(GOOD, Reply(status=401, error=f"not with {SECRET}"))
    model = model_of(litellm_provider(None, "gpt-4.1", params={"api_base": endpoint.url, "api_key": SECRET}))
    assert await model.ask(PLAN, HELLO) == Plan(**GOOD)
    assert endpoint.requests[0].key == SECRET
    with pytest.raises(ModelRefusedError) as caught:
        await model.ask(PLAN, HELLO)
    assert SECRET not in str(caught.value)


# ---- what a fresh process contacts, and what it costs to import

_FRESH = """
import asyncio, os, sys
seen = []
def hook(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        seen.append(str(args[1:] if event == "socket.connect" else args[:2]))
sys.addaudithook(hook)
import flyteplugins.codegen.models as models
from flyteplugins.codegen.models.step import Step
from flyteplugins.codegen.core.settings import Settings
from pydantic import BaseModel
assert "litellm" not in sys.modules
class Plan(BaseModel):
    description: str
async def main():
    for name, path in (("openai/llama-3", "/v1"), ("anthropic/claude-sonnet-4-5", "")):
        settings = Settings(model=name, api_base=os.environ["BASE"] + path)
        model = models.Model(models.provider_for(settings), models.Account(), models.Transcript())
        await model.ask(Step("plan", Plan), [{"role": "user", "content": "hello"}])
        models.estimate(name, [{"role": "user", "content": "hello"}])
before = dict(os.environ)
asyncio.run(main())
assert dict(os.environ) == before, "the environment changed"
print([place for place in seen if "127.0.0.1" not in place])
"""


@pytest.mark.slow
def test_no_endpoint_but_the_configured_one_is_ever_contacted(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.respond = lambda request: Reply(json.dumps({"description": "x"}), tokens=None)
    (tmp_path / ".env").write_text("OPENAI_API_KEY=sk-from-a-file\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LITELLM")}
    done = subprocess.run(
        [sys.executable, "-c", _FRESH],
        env={**environment, "BASE": endpoint.root},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


# ---- budget


async def test_the_budget_of_calls_counts_second_questions(endpoint: Endpoint) -> None:
    endpoint.say("no", GOOD)
    with pytest.raises(BudgetExceededError, match=r"max_calls=1.* 1 model calls, 120 tokens"):
        await model_of(litellm_provider(endpoint.url), Budget(calls=1)).ask(PLAN, HELLO)
    assert len(endpoint.requests) == 1


async def test_calls_side_by_side_do_not_overdraw_the_budget(endpoint: Endpoint) -> None:
    endpoint.respond = lambda request: Reply(json.dumps(GOOD), delay=0.05)
    model = model_of(litellm_provider(endpoint.url), Budget(calls=2))
    asked = await asyncio.gather(*[model.ask(PLAN, HELLO) for _ in range(4)], return_exceptions=True)
    assert [type(answer).__name__ for answer in asked] == ["Plan"] * 2 + ["BudgetExceededError"] * 2
    assert len(endpoint.requests) == 2


async def test_an_answer_that_crosses_the_limit_of_tokens_is_kept_and_the_next_call_refused(endpoint: Endpoint) -> None:
    endpoint.say(Reply(json.dumps(GOOD), tokens=(90, 20)), GOOD)
    model = model_of(litellm_provider(endpoint.url), Budget(tokens=100))
    assert await model.ask(PLAN, HELLO) == Plan(**GOOD)
    with pytest.raises(BudgetExceededError, match=r"max_tokens_total=100.* 110 tokens"):
        await model.ask(PLAN, HELLO)
    assert len(endpoint.requests) == 1


async def test_the_limit_of_seconds_ends_a_call_that_runs(endpoint: Endpoint) -> None:
    endpoint.respond = lambda request: Reply("{}", delay=30)
    started = time.monotonic()
    with pytest.raises(BudgetExceededError, match=r"max_seconds=0\.3"):
        await model_of(litellm_provider(endpoint.url), Budget(seconds=0.3)).ask(PLAN, HELLO)
    assert time.monotonic() - started < 3


async def test_tokens_are_counted_here_where_the_endpoint_does_not(endpoint: Endpoint) -> None:
    endpoint.say(Reply(json.dumps(GOOD), tokens=None))
    model = model_of(litellm_provider(endpoint.url, "gpt-4.1"))
    await model.ask(PLAN, HELLO)
    assert 5 < model.usage.total.input_tokens < 20
    assert 5 < model.usage.total.output_tokens < 30
    assert model.usage.total.cost is None


async def test_one_unknown_price_makes_the_cost_unknown(endpoint: Endpoint) -> None:
    endpoint.say(GOOD)
    model = model_of(litellm_provider(endpoint.url, "openai/my-own"))
    await model.ask(PLAN, HELLO)
    assert model.usage.total.cost is None


def test_an_estimate_counts_tokens_and_caps_the_cost() -> None:
    known = estimate("gpt-4.1", [{"role": "user", "content": "word " * 1000}], max_tokens=1000)
    assert 1000 <= known.input_tokens < 1100
    assert known.cost is not None
    assert known.cost >= known.input_tokens * 2e-6 + 1000 * 8e-6
    assert estimate("gpt-4.1", HELLO).max_output_tokens == 32768
    assert estimate("openai/my-own", HELLO).cost is None


# ---- transcript, history, replay


async def test_the_transcript_has_every_call_before_its_answer_is_used_and_no_secret(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    path = tmp_path / "new" / "transcript.jsonl"
    endpoint.say("no JSON", GOOD)
    lines_at_events: list[int] = []
    model = Model(
        litellm_provider(endpoint.url, api_key_name="MY_KEY"),
        Account(),
        Transcript(path),
        lambda event: lines_at_events.append(len(path.read_text().splitlines()) if path.exists() else 0),
    )
    await model.ask(PLAN, HELLO, attempt=1)

    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert lines_at_events == [0, 2]
    assert (first["step"], first["attempt"], first["messages"], first["answer"]) == ("plan", 1, HELLO, "no JSON")
    assert (second["answer"], second["finish_reason"], second["input_tokens"]) == (json.dumps(GOOD), "stop", 100)
    assert len(second["messages"]) == 4
    assert second["model"] == "any"
    assert path.read_text() == model.transcript.text()
    assert SECRET not in path.read_text() + json.dumps(model.history)


async def test_a_transcript_that_cannot_be_written_is_told_and_ends_nothing(endpoint: Endpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    endpoint.say(GOOD)
    told: list[str] = []
    transcript = Transcript(tmp_path / "file" / "transcript.jsonl", told.append)
    assert await model_of(litellm_provider(endpoint.url), transcript=transcript).ask(PLAN, HELLO) == Plan(**GOOD)
    assert len(told) == 1
    assert "transcript.jsonl can't be written" in told[0]
    assert json.loads(transcript.text())["answer"] == json.dumps(GOOD)


async def test_the_history_has_every_message_once_in_order(endpoint: Endpoint) -> None:
    endpoint.say("no JSON", GOOD)
    model = model_of(litellm_provider(endpoint.url))
    await model.ask(PLAN, HELLO)
    assert [(item["call"], item["role"]) for item in model.history] == [
        (1, "system"),
        (1, "user"),
        (1, "assistant"),
        (2, "user"),
        (2, "assistant"),
    ]
    assert model.history[2]["content"] == "no JSON"
    assert json.loads(json.dumps(model.history)) == model.history


async def test_a_question_that_got_no_answer_is_in_the_history(endpoint: Endpoint) -> None:
    endpoint.say(Reply(status=404))
    model = model_of(litellm_provider(endpoint.url))
    with pytest.raises(CodegenError):
        await model.ask(PLAN, HELLO)
    assert [item["content"] for item in model.history] == ["You plan.", "Sum the column."]


async def test_a_transcript_replays_second_questions_and_steps_side_by_side(endpoint: Endpoint, tmp_path: Path) -> None:
    def respond(request: Received) -> Reply:
        if request.step == "plan":
            return Reply(json.dumps(GOOD), delay=0.1)
        return Reply("no" if len(request.messages) == 2 else '{"code": "x = 1"}')

    endpoint.respond = respond
    recorded = tmp_path / "transcript.jsonl"
    live = model_of(litellm_provider(endpoint.url, "gpt-4.1"), transcript=Transcript(recorded))
    both = await asyncio.gather(live.ask(PLAN, HELLO), live.ask(CODE, HELLO))

    replay = provider_for(Settings(model=f"replay:{recorded}"))
    assert replay.problem() is None
    again = model_of(replay)
    assert await asyncio.gather(again.ask(PLAN, HELLO), again.ask(CODE, HELLO)) == both
    assert again.usage == live.usage
    assert len(endpoint.requests) == 3


async def test_the_history_of_a_result_makes_a_transcript_that_replays(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.say("no", GOOD)
    model = model_of(litellm_provider(endpoint.url))
    await model.ask(PLAN, HELLO)
    saved = tmp_path / "transcript.jsonl"
    saved.write_text(transcript_of(json.loads(json.dumps(model.history))))
    assert await model_of(provider_for(Settings(model=f"replay:{saved}"))).ask(PLAN, HELLO) == Plan(**GOOD)


async def test_an_exhausted_replay_names_the_step(tmp_path: Path) -> None:
    saved = tmp_path / "t.jsonl"
    saved.write_text(json.dumps({"step": "plan", "answer": json.dumps(GOOD)}) + "\n")
    model = model_of(provider_for(Settings(model=f"replay:{saved}")))
    assert await model.ask(PLAN, HELLO) == Plan(**GOOD)
    with pytest.raises(ReplayError, match="no more answers for the step 'plan'"):
        await model.ask(PLAN, HELLO)
    with pytest.raises(ReplayError, match="no answer for the step 'code'"):
        await model.ask(CODE, HELLO)


@pytest.mark.parametrize("content", [None, "not JSON", '{"step": "plan"}', "[]"])
def test_what_is_no_transcript_is_a_problem_before_any_call(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "t.jsonl"
    if content is not None:
        path.write_text(content)
    assert isinstance(provider_for(Settings(model=f"replay:{path}")).problem(), InvalidRequestError)


# ---- a provider of one's own


async def test_any_provider_of_completions_will_do() -> None:
    class Fixed:
        model = "fixed"
        identities = ({"model": "fixed"},)

        def problem(self) -> CodegenError | None:
            return None

        async def complete(
            self, step: str, messages: Any, schema: Any, schema_name: str, waits: Any = None
        ) -> Completion:
            return Completion(
                json.dumps({"description": f"{step}: {messages[-1]['content']}"}), "stop", 1, 1, 0.5, 0.0, "m"
            )

    model = model_of(Fixed())
    assert (await model.ask(PLAN, HELLO)).description == "plan: Sum the column."
    assert model.usage.total.cost == 0.5
