"""Each fault of an endpoint, over real HTTP: what the user gets, after how many requests, and what passes by itself.

`docs/faults.md` has the same table in words.
"""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from endpoint import Endpoint, Received, Reply, self_signed

from flyteplugins.codegen.core.errors import (
    CodegenError,
    ContextTooLongError,
    InvalidAnswerError,
    ModelRefusedError,
    ModelUnavailableError,
)
from flyteplugins.codegen.models import Completion, Waits
from flyteplugins.codegen.models.endpoint import LONGEST_ANSWER, Retries
from flyteplugins.codegen.models.litellm_provider import LiteLLMProvider

pytestmark = [
    pytest.mark.slow,
    # The SDK of OpenAI warns of each answer that is not of its type.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]

SECRET = "loopback-secret-0123456789"  # noqa: S105 # opens nothing
HELLO = [{"role": "user", "content": "Sum the column."}]
MODELS = {"openai": "openai/any", "anthropic": "anthropic/claude-sonnet-4-5"}


@dataclass(frozen=True)
class Case:
    """A fault, and how it ends where it lasts."""

    fault: Reply
    error: type[CodegenError]
    says: str
    requests: int = 4


def refused(status: int, message: str, code: str | None = None) -> Reply:
    """An error in a shape that both providers' clients read."""
    body = {"type": "error", "error": {"type": code or "invalid_request_error", "code": code, "message": message}}
    return Reply(status=status, raw=json.dumps(body))


BUSY = "Check its limits, and generate again"
UNREADABLE = "That is no answer of a model: check api_base="
BROKEN = "the connection ended before the answer was complete. Check that it is up and that api_base= is its address"

PASSING = {
    "408": Case(Reply(status=408), ModelUnavailableError, "last (status 408): scripted error. " + BUSY),
    "409": Case(Reply(status=409), ModelUnavailableError, "last (status 409)"),
    "425": Case(Reply(status=425), ModelUnavailableError, "last (status 425)"),
    "429": Case(Reply(status=429), ModelUnavailableError, "last (status 429): scripted error. " + BUSY),
    "500": Case(Reply(status=500), ModelUnavailableError, "last (status 500): scripted error. " + BUSY),
    "502": Case(Reply(status=502), ModelUnavailableError, "last (status 502): scripted error. " + BUSY),
    "503": Case(Reply(status=503), ModelUnavailableError, "last (status 503): scripted error. " + BUSY),
    "504": Case(Reply(status=504), ModelUnavailableError, "last (status 504): scripted error. " + BUSY),
    "529": Case(Reply(status=529), ModelUnavailableError, "last (status 529): scripted error. " + BUSY),
    "a page of a proxy": Case(
        Reply(status=502, raw="<h1>Bad gateway</h1>", headers={"content-type": "text/html"}),
        ModelUnavailableError,
        "last (status 502): <h1>Bad gateway</h1>. " + BUSY,
    ),
    "reset in the answer": Case(Reply("{}", reset=True), ModelUnavailableError, BROKEN),
    "hung up": Case(Reply("{}", hang_up=True), ModelUnavailableError, BROKEN),
    "wrong content type": Case(
        Reply(raw="<html>Sign in</html>", headers={"content-type": "text/html"}), ModelUnavailableError, UNREADABLE
    ),
    "malformed JSON": Case(Reply(raw='{"choices": ['), ModelUnavailableError, UNREADABLE),
    "no body": Case(Reply(raw=""), ModelUnavailableError, UNREADABLE),
    "not compressed as it says": Case(
        Reply("{}", headers={"content-encoding": "gzip"}), ModelUnavailableError, UNREADABLE
    ),
    "missing fields": Case(Reply(raw='{"id": "1", "model": "any"}'), ModelUnavailableError, UNREADABLE),
    "wrong types": Case(
        Reply(raw='{"id": "1", "model": "any", "choices": "none", "content": 5}'), ModelUnavailableError, UNREADABLE
    ),
    "a list": Case(Reply(raw="[1, 2]"), ModelUnavailableError, UNREADABLE),
    "null": Case(Reply(raw="null"), ModelUnavailableError, UNREADABLE),
    "an error with status 200": Case(
        Reply(raw='{"error": {"message": "upstream failed", "code": 502}}'), ModelUnavailableError, "upstream failed"
    ),
}

SLOW = {
    "never answers": Case(Reply("{}", delay=30), ModelUnavailableError, "longer call_timeout=", requests=2),
    "stalls in the answer": Case(Reply("{}", stall=True), ModelUnavailableError, "longer call_timeout=", requests=2),
    "drips": Case(Reply("{}", drip=0.05), ModelUnavailableError, "longer call_timeout=", requests=2),
}

LASTING = {
    "401": Case(Reply(status=401), ModelRefusedError, "Check the key and what it may use: the environment var", 1),
    "403": Case(Reply(status=403), ModelRefusedError, "MY_KEY (api_key), and model=", 1),
    "402": Case(Reply(status=402), ModelRefusedError, "Check the account's credit", 1),
    "404": Case(Reply(status=404), ModelRefusedError, "Check model= and api_base=", 1),
    "405": Case(Reply(status=405), ModelRefusedError, "Check model= and api_base=", 1),
    "501": Case(Reply(status=501), ModelRefusedError, "Check model= and api_base=", 1),
    "400": Case(Reply(status=400), ModelRefusedError, "(status 400): scripted error. Check model= and litellm_par", 1),
    "no credit": Case(refused(429, "You exceeded your quota.", "insufficient_quota"), ModelRefusedError, "credit", 1),
    "no balance": Case(refused(400, "Your credit balance is too low."), ModelRefusedError, "credit and limits", 1),
    "invalid key as 400": Case(refused(400, "API key not valid. Pass one."), ModelRefusedError, "Check the key", 1),
    "413": Case(Reply(status=413), ContextTooLongError, "or less prompt, schema, constraints or columns", 1),
    "context length, OpenAI's code": Case(
        refused(400, "Please shorten it.", "context_length_exceeded"), ContextTooLongError, "(model=)", 1
    ),
    "context length, vLLM": Case(
        refused(400, "This model's maximum context length is 4096 tokens. Yours is 5000."), ContextTooLongError, "", 1
    ),
    "context length, Anthropic": Case(
        refused(400, "prompt is too long: 209000 tokens > 200000 maximum"), ContextTooLongError, "209000 tokens", 1
    ),
    "context length, llama.cpp": Case(
        refused(400, "the request exceeds the available context size. try increasing it"), ContextTooLongError, "", 1
    ),
    "more than the rate allows at all": Case(
        refused(429, "Request too large for gpt-x on tokens per min: Limit 10000, Requested 12000."),
        ContextTooLongError,
        "Limit 10000",
        1,
    ),
    "content filter": Case(
        refused(400, "The response was filtered due to the prompt triggering content management policy"),
        InvalidAnswerError,
        "Word the request otherwise, or use another model",
        1,
    ),
    "safety system": Case(
        refused(400, "Your request was rejected as a result of our safety system.", "content_policy_violation"),
        InvalidAnswerError,
        "A content filter refused the step 'plan': Your request was rejected",
        1,
    ),
}


@pytest.fixture(params=MODELS)
def shape(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MY_KEY", SECRET)
    name: str = request.param
    return name


def provider_at(endpoint: Endpoint, shape: str = "openai", **more: Any) -> LiteLLMProvider:
    base = endpoint.url if shape == "openai" else endpoint.root
    settings = {"api_key_name": "MY_KEY", "call_timeout": 5.0, "retries": Retries(base_seconds=0.01), "api_base": base}
    return LiteLLMProvider(MODELS[shape], **{**settings, **more})


async def ask(provider: LiteLLMProvider, waits: Waits | None = None) -> Completion:
    return await provider.complete("plan", HELLO, None, "plan", waits)


@pytest.fixture(scope="module", autouse=True)
def first_calls() -> None:
    """The first call of a process imports for seconds, which is no part of any deadline here."""
    with Endpoint() as endpoint:
        endpoint.respond = lambda request: "fine"
        for shape in MODELS:
            asyncio.run(ask(provider_at(endpoint, shape, api_key_name=None, params={"api_key": SECRET})))


# ---- the table


@pytest.mark.parametrize("name", [*PASSING, *LASTING])
async def test_a_fault_that_lasts_is_an_error_of_its_kind_that_says_what_to_do(
    endpoint: Endpoint, shape: str, name: str
) -> None:
    case = {**PASSING, **LASTING}[name]
    endpoint.respond = lambda request: case.fault
    with pytest.raises(case.error) as caught:
        await ask(provider_at(endpoint, shape))
    assert isinstance(caught.value, ContextTooLongError) == (case.error is ContextTooLongError)
    assert case.says in str(caught.value)
    assert len(endpoint.requests) == case.requests
    assert "Traceback" not in str(caught.value)
    assert "litellm." not in str(caught.value)


@pytest.mark.parametrize("name", PASSING)
async def test_a_fault_that_passes_ends_in_an_answer(endpoint: Endpoint, shape: str, name: str) -> None:
    endpoint.say(PASSING[name].fault, "fine")
    assert (await ask(provider_at(endpoint, shape))).text == "fine"
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize("name", ["401", "429", "500", "wrong content type", "a list", "context length, vLLM", "400"])
@pytest.mark.parametrize("provider", ["azure", "deepseek", "gemini", "groq", "hosted_vllm", "mistral", "ollama_chat"])
async def test_faults_are_told_apart_through_the_clients_of_other_providers(
    endpoint: Endpoint, provider: str, name: str
) -> None:
    case = {**PASSING, **LASTING}[name]
    endpoint.any_path = True
    endpoint.respond = lambda request: case.fault
    params = {"api_key": "a-key-of-loopback", **({"api_version": "2024-02-01"} if provider == "azure" else {})}
    retries = Retries(base_seconds=0.01)
    with pytest.raises(case.error) as caught:
        await ask(LiteLLMProvider(f"{provider}/any", None, endpoint.url, params, retries=retries))
    assert isinstance(caught.value, ContextTooLongError) == (case.error is ContextTooLongError)
    asked = [request for request in endpoint.requests if not request.path.endswith("/show")]  # Ollama's capabilities
    assert len(asked) == case.requests


@pytest.mark.parametrize("name", SLOW)
async def test_an_answer_that_does_not_end_is_asked_for_once_more_and_given_up(
    endpoint: Endpoint, shape: str, name: str
) -> None:
    case = SLOW[name]
    endpoint.respond = lambda request: case.fault
    started = time.monotonic()
    with pytest.raises(case.error, match=r"after 2 tries; last: no answer within 0\.\d+ s") as caught:
        await ask(provider_at(endpoint, shape, call_timeout=0.8))
    assert case.says in str(caught.value)
    assert len(endpoint.requests) == case.requests
    assert time.monotonic() - started < 15  # not the 30 s that the endpoint would take, twice


@pytest.mark.parametrize("name", SLOW)
async def test_an_answer_that_stalls_once_is_had_at_the_second_try(endpoint: Endpoint, shape: str, name: str) -> None:
    endpoint.say(SLOW[name].fault, "fine")
    assert (await ask(provider_at(endpoint, shape, call_timeout=0.8))).text == "fine"
    assert len(endpoint.requests) == 2


async def test_the_connection_of_an_answer_that_stalled_is_closed(endpoint: Endpoint, shape: str) -> None:
    endpoint.say(Reply("{}", stall=True), "fine")
    await ask(provider_at(endpoint, shape, call_timeout=0.6))
    end = time.monotonic() + 10
    while not endpoint.abandoned:
        assert time.monotonic() < end, "the client kept the connection"
        await asyncio.sleep(0.01)


# ---- connections


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on loopback where nothing listens, and nothing will."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def test_a_refused_connection_is_tried_four_times_and_named(closed_port: int, shape: str) -> None:
    told: list[str] = []
    base = f"http://127.0.0.1:{closed_port}/v1"
    provider = LiteLLMProvider(MODELS[shape], "MY_KEY", base, retries=Retries(base_seconds=0.01))
    with pytest.raises(ModelUnavailableError, match=rf"at {base} .* after 4 tries; last: connection refused\. .*api_b"):
        await ask(provider, Waits(tell=lambda model, reason, seconds: told.append(reason)))
    assert told == ["connection refused"] * 3


async def test_an_endpoint_that_comes_up_in_the_meantime_is_found(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = asyncio.Event()
    with Endpoint() as endpoint:
        port = int(endpoint.root.rsplit(":", 1)[1])
    # The port is free again: nothing listens there until the first try has failed.
    base = f"http://127.0.0.1:{port}/v1" if shape == "openai" else f"http://127.0.0.1:{port}"
    provider = LiteLLMProvider(MODELS[shape], "MY_KEY", base, retries=Retries(base_seconds=0.2))
    asking = asyncio.ensure_future(ask(provider, Waits(tell=lambda model, reason, seconds: waiting.set())))
    await waiting.wait()
    with Endpoint(port=port) as endpoint:
        endpoint.respond = lambda request: "fine"
        assert (await asking).text == "fine"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        return self_signed(tmp_path_factory.mktemp("tls"))
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")


async def test_a_certificate_that_nobody_vouches_for_is_an_error_at_once(certificate: Path, shape: str) -> None:
    told: list[str] = []
    with Endpoint(tls=certificate) as endpoint:
        endpoint.respond = lambda request: "fine"
        with pytest.raises(ModelUnavailableError, match=r"certificate verify failed: self.signed.*SSL_CERT_FILE"):
            await ask(provider_at(endpoint, shape), Waits(tell=lambda *said: told.append(said[1])))
        assert endpoint.requests == []
        assert told == []


def test_a_certificate_in_the_file_that_ssl_cert_file_names_is_trusted(certificate: Path, shape: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from flyteplugins.codegen.models.litellm_provider import LiteLLMProvider\n"
        "provider = LiteLLMProvider(sys.argv[1], 'MY_KEY', sys.argv[2])\n"
        "print(asyncio.run(provider.complete('plan', [{'role': 'user', 'content': 'x'}], None, 'plan')).text)\n"
    )
    with Endpoint(tls=certificate) as endpoint:
        endpoint.respond = lambda request: "fine"
        base = endpoint.url if shape == "openai" else endpoint.root
        run = subprocess.run(
            [sys.executable, "-c", program, MODELS[shape], base],
            env={**os.environ, "SSL_CERT_FILE": str(certificate.with_name("certificate.pem"))},
            capture_output=True,
            text=True,
            check=False,
        )
    assert run.stdout == "fine\n", run.stderr


async def test_https_where_http_is_spoken_names_the_address(endpoint: Endpoint, shape: str) -> None:
    base = endpoint.root.replace("http:", "https:")
    with pytest.raises(ModelUnavailableError, match=r"No safe connection to https://.*Check api_base= \(https:// or "):
        await ask(provider_at(endpoint, shape, api_base=base))


async def test_nobody_answers_to_the_name(shape: str) -> None:
    provider = LiteLLMProvider(MODELS[shape], None, "http://nobody.invalid/v1", retries=Retries(base_seconds=0.01))
    with pytest.raises(ModelUnavailableError, match=r"last: its name can't be resolved\. .*api_base="):
        await ask(provider)


# ---- waiting


@pytest.mark.parametrize("form", ["seconds", "date", "milliseconds"])
async def test_what_the_endpoint_asks_to_wait_is_waited(endpoint: Endpoint, shape: str, form: str) -> None:
    def busy(request: Received) -> Reply:
        soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
        headers = {
            "seconds": {"retry-after": "0.4"},
            "date": {"retry-after": email.utils.format_datetime(soon, usegmt=True)},
            "milliseconds": {"retry-after-ms": "400"},
        }
        return Reply(status=429, headers=headers[form]) if len(endpoint.requests) == 1 else Reply("fine")

    endpoint.respond = busy
    await ask(provider_at(endpoint, shape))
    first, second = endpoint.requests
    # A date has no fractions of a second: two seconds from now may be a little more than one.
    assert second.at - first.at >= (1.0 if form == "date" else 0.4)


@pytest.mark.parametrize("asked", ["soon", "nan", "-5", "inf", "Wed, 21 Oct 2015 07:28:00 GMT", ""])
async def test_a_retry_after_that_says_nothing_is_not_waited_for(endpoint: Endpoint, asked: str) -> None:
    endpoint.say(Reply(status=429, headers={"retry-after": asked}), "fine")
    assert (await ask(provider_at(endpoint, api_key_name=None))).text == "fine"


@pytest.mark.parametrize(
    ("asked", "seconds_left", "says"),
    [
        ("3600", None, "It asks to wait 3600 s, and 60 s is the most that is waited."),
        ("30", 12.0, "It asks to wait 30 s, and 12 s are left of the generation's budget."),
        ("30", 100.0, "It asks to wait 30 s, and the call has "),
        (None, 0.001, "The next try would be in"),
    ],
    ids=["longer than is ever waited", "longer than the budget", "longer than the call", "own wait, no time left"],
)
async def test_a_wait_that_is_too_long_ends_at_once_and_says_so(
    endpoint: Endpoint, asked: str | None, seconds_left: float | None, says: str
) -> None:
    told: list[str] = []
    endpoint.respond = lambda request: Reply(status=429, headers={"retry-after": asked} if asked else {})
    waits = Waits(seconds_left=lambda: seconds_left, tell=lambda *said: told.append(said[1]))
    with pytest.raises(ModelUnavailableError) as caught:
        await ask(provider_at(endpoint, api_key_name=None, retries=Retries(base_seconds=0.1)), waits)
    assert says in str(caught.value)
    assert len(endpoint.requests) == 1
    assert told == []


async def test_each_wait_is_told_and_logged(endpoint: Endpoint, caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[str, str, float]] = []
    endpoint.say(Reply(status=429, error="slow down"), Reply(status=503, error="too busy"), "fine")
    await ask(provider_at(endpoint, api_key_name=None), Waits(tell=lambda *said: told.append(said)))
    assert [said[:2] for said in told] == [
        ("openai/any", "slow down (status 429)"),
        ("openai/any", "too busy (status 503)"),
    ]
    assert all(0 < said[2] < 1 for said in told)
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("flyteplugins")]
    assert lines == [
        f"step plan: {endpoint.url}: slow down (status 429). Trying again in 0.0 s.",
        f"step plan: {endpoint.url}: too busy (status 503). Trying again in 0.0 s.",
    ]


async def test_a_call_that_begins_while_the_endpoint_asked_another_to_wait_waits_too(endpoint: Endpoint) -> None:
    told = asyncio.Event()
    endpoint.say(Reply(status=429, headers={"retry-after": "0.5"}), "fine", "fine")
    provider = provider_at(endpoint, api_key_name=None)
    first = asyncio.ensure_future(ask(provider, Waits(tell=lambda *said: told.set())))
    await told.wait()
    await asyncio.gather(first, ask(provider))
    assert len(endpoint.requests) == 3
    assert all(later.at - endpoint.requests[0].at >= 0.5 for later in endpoint.requests[1:])


async def test_a_call_does_not_wait_for_anothers_sake_longer_than_its_generation_may_take(endpoint: Endpoint) -> None:
    told = asyncio.Event()
    endpoint.say(Reply(status=429, headers={"retry-after": "3"}), "fine")
    provider = provider_at(endpoint, api_key_name=None)
    first = asyncio.ensure_future(ask(provider, Waits(tell=lambda *said: told.set())))
    await told.wait()
    with pytest.raises(ModelUnavailableError, match=r"asked another call to wait\. .*left of the generation's budget"):
        await ask(provider, Waits(seconds_left=lambda: 1.0))
    first.cancel()
    assert len(endpoint.requests) == 1


async def test_a_call_that_waited_for_anothers_sake_has_all_of_its_own_time(endpoint: Endpoint) -> None:
    told = asyncio.Event()
    endpoint.say(Reply(status=429, headers={"retry-after": "1.2"}), Reply("fine", delay=0.3), Reply("fine", delay=0.3))
    provider = provider_at(endpoint, api_key_name=None, call_timeout=0.8)
    first = asyncio.ensure_future(ask(provider, Waits(tell=lambda *said: told.set())))
    await told.wait()
    assert (await ask(provider)).text == "fine"
    first.cancel()


def test_calls_that_are_told_to_wait_at_one_moment_come_back_at_many() -> None:
    for asked in (10.0, None):
        waits = sorted(Retries().wait(1, asked) or 0.0 for _ in range(200))
        assert waits[0] >= (asked or 0.5)
        assert waits[-1] - waits[0] > 0.8
        assert len(set(waits)) == 200


async def test_waits_grow(endpoint: Endpoint) -> None:
    told: list[float] = []
    endpoint.respond = lambda request: Reply(status=500)
    provider = provider_at(endpoint, api_key_name=None, retries=Retries(tries=5, base_seconds=0.01))
    with pytest.raises(ModelUnavailableError):
        await ask(provider, Waits(tell=lambda *said: told.append(said[2])))
    for number, wait in enumerate(told):
        assert 0.005 * 2**number <= wait <= 0.015 * 2**number


async def test_retries_together_end_within_twice_the_deadline(endpoint: Endpoint) -> None:
    endpoint.respond = lambda request: Reply(status=503, delay=0.3)
    started = time.monotonic()
    with pytest.raises(ModelUnavailableError):
        await ask(provider_at(endpoint, api_key_name=None, call_timeout=0.4, retries=Retries(100, 0.01)))
    assert time.monotonic() - started < 3  # 100 tries would take 30 s


async def test_no_other_layer_tries_again(endpoint: Endpoint, shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from flyteplugins.codegen.models.lazy_litellm import litellm

    monkeypatch.setattr(litellm(), "num_retries", 7)
    endpoint.respond = lambda request: Reply(status=500)
    params = {
        "num_retries": 5,
        "max_retries": 5,
        "retry_policy": {"InternalServerErrorRetries": 5},
        "fallbacks": ["openai/another"],
        "context_window_fallback_dict": {MODELS[shape]: "openai/another"},
    }
    with pytest.raises(ModelUnavailableError, match="after 4 tries"):
        await ask(provider_at(endpoint, shape, params=params))
    assert len(endpoint.requests) == 4
    assert len({json.dumps(request.body, sort_keys=True) for request in endpoint.requests}) == 1


# ---- size


async def test_an_answer_of_ten_megabytes_is_cut_and_counts_as_cut_off(endpoint: Endpoint, shape: str) -> None:
    endpoint.say("x" * 10_000_000)
    completion = await ask(provider_at(endpoint, shape))
    assert completion.finish_reason == "length"
    assert len(completion.text) == LONGEST_ANSWER


async def test_a_long_error_is_shown_in_a_few_words(endpoint: Endpoint, shape: str) -> None:
    endpoint.respond = lambda request: Reply(status=500, error="word " * 50_000)
    with pytest.raises(ModelUnavailableError) as caught:
        await ask(provider_at(endpoint, shape, retries=Retries(tries=1)))
    assert len(str(caught.value)) < 1000


# ---- secrets


@pytest.mark.parametrize("form", [SECRET, json.dumps(f'a "{SECRET}"'), f"https://host/?key={SECRET}&x=1"])
@pytest.mark.parametrize("status", [200, 400, 401, 404, 429, 500])
async def test_a_key_that_the_endpoint_repeats_is_shown_nowhere(
    endpoint: Endpoint,
    shape: str,
    status: int,
    form: str,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG, "flyteplugins")
    told: list[str] = []
    endpoint.respond = lambda request: (
        Reply(raw=f"<p>{form}") if status == 200 else Reply(status=status, error=f"not with {form}")
    )
    with pytest.raises(CodegenError) as caught:
        await ask(provider_at(endpoint, shape), Waits(tell=lambda *said: told.append(said[1])))
    if status != 200:
        # litellm takes out what looks like a key to it before we see it.
        assert "[hidden]" in str(caught.value) or "REDACTED" in str(caught.value)
    printed = capfd.readouterr()
    for text in (*chain(caught.value), *told, caplog.text, printed.out, printed.err):
        assert SECRET not in text


def chain(error: BaseException | None) -> Iterator[str]:
    """An error and what it came from, as text: whoever prints the chain must not show a key either."""
    while error is not None:
        yield f"{error} {error.args} {vars(error)}"
        error = error.__cause__ or error.__context__


async def test_a_password_and_a_query_in_the_address_are_shown_nowhere(
    closed_port: int, shape: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    base = f"http://somebody:hunter%2F22@127.0.0.1:{closed_port}/v1?token=query-secret"
    with pytest.raises(ModelUnavailableError) as caught:
        await ask(LiteLLMProvider(MODELS[shape], "MY_KEY", base, retries=Retries(base_seconds=0.01)))
    printed = capfd.readouterr()
    for text in (*chain(caught.value), caplog.text, printed.out, printed.err):
        assert "hunter" not in text
        assert "query-secret" not in text
    assert f"http://127.0.0.1:{closed_port}/v1" in str(caught.value)


@pytest.mark.parametrize("name", ["api_key", "azure_ad_token", "aws_secret_access_key", "client_secret"])
async def test_a_credential_among_the_parameters_is_shown_nowhere(endpoint: Endpoint, name: str) -> None:
    endpoint.respond = lambda request: Reply(status=401, error=f"not with {SECRET}")
    with pytest.raises(ModelRefusedError, match=r"not with \[hidden\]"):
        await ask(provider_at(endpoint, api_key_name=None, params={"api_key": "another-key", name: SECRET}))


# ---- what litellm leaves behind


def test_a_process_ends_without_a_word_of_tasks_that_were_left(endpoint: Endpoint) -> None:
    program = (
        "import asyncio, sys, threading\n"
        "from flyteplugins.codegen.models.litellm_provider import LiteLLMProvider\n"
        "provider = LiteLLMProvider('openai/any', None, sys.argv[1])\n"
        "asking = lambda: provider.complete('plan', [{'role': 'user', 'content': 'x'}], None, 'plan')\n"
        "loop = asyncio.new_event_loop()\n"
        "threading.Thread(target=loop.run_forever, daemon=True).start()\n"
        "print(asyncio.run_coroutine_threadsafe(asking(), loop).result().text)\n"
        "one = asyncio.new_event_loop()\n"
        "print(one.run_until_complete(asking()).text)\n"
        "print(len(asyncio.all_tasks(one)))\n"
    )
    endpoint.respond = lambda request: "fine"
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, endpoint.url], capture_output=True, text=True, check=False
    )
    assert run.stdout == "fine\nfine\n0\n"
    assert run.stderr == ""


async def test_callbacks_of_litellm_that_the_user_has_set_are_called_as_ever(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flyteplugins.codegen.models.lazy_litellm import litellm

    heard = asyncio.Event()

    async def on_success(kwargs: Any, response: Any, start: Any, end: Any) -> None:
        heard.set()

    monkeypatch.setattr(litellm(), "success_callback", [on_success])
    endpoint.respond = lambda request: "fine"
    await ask(provider_at(endpoint, api_key_name=None))
    await asyncio.wait_for(heard.wait(), 10)
