"""The agent of a generation as plain data, and back; nothing secret is in it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import flyte
import pytest
from flyte.sandbox import ImageConfig

from flyteplugins.codegen import AutoCoderAgent, CodeGenEvalResult
from flyteplugins.codegen.backends.defaults import defaults_of
from flyteplugins.codegen.backends.origin import origin_of, settings_of
from flyteplugins.codegen.core.budget import Budget
from flyteplugins.codegen.core.contract import Contract
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.request import Request
from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.data.constraints import Evaluation

REQUEST = Request("Add up.", Contract(inputs={"limit": "float"}, outputs={}), input_examples={"limit": 2.5})


def result_of(agent: Settings) -> CodeGenEvalResult:
    """A result of the agent that went through JSON."""
    result = CodeGenEvalResult(
        success=True,
        tests="def test_it(): pass\n",
        origin=origin_of(agent, REQUEST, Evaluation()),
        defaults=defaults_of(agent),
    )
    return CodeGenEvalResult.model_validate_json(result.model_dump_json())


def test_an_agent_comes_back_from_the_result_with_all_that_is_no_secret() -> None:
    agent = AutoCoderAgent(
        name="mine",
        model="openai/some",
        api_key="MY_KEY",
        api_base="http://localhost:1/v1",
        litellm_params={"temperature": 0.5, "stop": ["x"]},
        base_packages=["numpy"],
        resources=flyte.Resources(cpu="2", memory="2Gi"),
        image_config=ImageConfig(python_version=(3, 12), registry="here"),
        max_iterations=3,
        timeout=30,
        env_vars={"REGION": "eu"},
        secrets=[flyte.Secret(key="db", as_env_var="DB_PASSWORD")],
        sandbox_retries=2,
        block_network=False,
        sandbox="bubblewrap",
        sample_privacy="schema",
        budget=Budget(usd=1.5, calls=9),
        fallback_models=["a/b", {"model": "c/d", "api_key": "OTHER_KEY"}],
        store="s3://bucket/record",
    )
    back = settings_of(result_of(agent))
    for field in dataclasses.fields(Settings):
        if field.init and field.name != "on_event":
            assert getattr(back, field.name) == getattr(agent, field.name), field.name


def test_no_credential_is_kept_and_what_was_left_out_is_named(tmp_path: Path) -> None:
    agent = AutoCoderAgent(
        api_key="sk-raw-1234",
        api_base="https://user:hunter2@models.example/v1",
        litellm_params={
            "api_key": "RAW5678",
            "extra_headers": {"Authorization": "Bearer raw-9"},
            "aws_secret_access_key": "raw-10",
            "aws_access_key_id": "raw-11",
            "extra_body": {"auth": {"token": "raw-12", "kind": "plain"}},
            "max_tokens": 7,
            "client": object(),
        },
        fallback_models=[{"model": "c/d", "litellm_params": {"api_key": "RAW13"}}],
        store=tmp_path,
    )
    origin = result_of(agent).origin
    text = origin.model_dump_json()
    for secret in ("1234", "hunter2", "RAW5678", "raw-9", "raw-10", "raw-11", "raw-12", "RAW13"):
        assert secret not in text
    assert origin.agent["litellm_params"] == {"extra_body": {"auth": {"kind": "plain"}}, "max_tokens": 7}
    assert origin.agent["api_base"] == "https://models.example/v1"
    assert {"api_key", "extra_headers", "aws_secret_access_key", "aws_access_key_id", "token", "client"} == set(
        origin.agent["withheld"]
    )


def test_what_was_asked_is_kept_as_text() -> None:
    origin = result_of(AutoCoderAgent()).origin
    assert (origin.prompt, origin.input_examples) == ("Add up.", {"limit": "2.5"})


def test_a_result_without_an_agent_says_so_where_a_model_is_to_be_asked() -> None:
    old = CodeGenEvalResult(success=True)
    with pytest.raises(InvalidRequestError, match=r"agent=AutoCoderAgent"):
        settings_of(old)
    assert settings_of(old, asks=False).name == old.defaults.name
    with pytest.raises(InvalidRequestError, match="is str"):
        settings_of(old, "gpt-4.1")  # type: ignore[arg-type] # what a user may try
