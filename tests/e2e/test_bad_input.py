"""Bad input ends in a clear error before the model is asked anything."""

from __future__ import annotations

import datetime
import decimal
import os
from pathlib import Path
from typing import Any

import flyte
import pandas as pd
import pytest
from endpoint import Endpoint
from flyte.io import Dir, File
from flyte.sandbox import ImageConfig

from flyteplugins.codegen import AutoCoderAgent
from flyteplugins.codegen.core.errors import (
    InvalidRequestError,
    MissingCredentialError,
    SandboxUnavailableError,
    UserError,
)


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    path.write_text("day,amount\nmon,3.5\n")
    return path


def refused(endpoint: Endpoint, settings: dict[str, Any] | None = None, **request: Any) -> str:
    """The message of the error that a request ends in, having made sure that it cost nothing."""
    with pytest.raises(UserError) as caught:
        AutoCoderAgent(**{"model": "openai/scripted", "api_base": endpoint.url, **(settings or {})}).generate(
            **{"prompt": "Add up the amounts.", **request}
        )
    assert endpoint.requests == []
    return str(caught.value)


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt(endpoint: Endpoint, prompt: str) -> None:
    assert "prompt is empty" in refused(endpoint, prompt=prompt)


@pytest.mark.parametrize("kind", [set, dict[int, str], list[datetime.date], "float", bytes, decimal.Decimal, None])
def test_a_type_that_is_not_supported(endpoint: Endpoint, kind: Any) -> None:
    message = refused(endpoint, inputs={"threshold": kind})
    assert "threshold" in message
    assert "timedelta" in message  # what is supported
    assert "total" in refused(endpoint, outputs={"total": kind})


@pytest.mark.parametrize(
    ("kind", "example", "said"),
    [
        (list[File], [], "must be a list of at least one File or path, and is empty"),
        (Dir, "nowhere", "there is no folder"),
        (pd.DataFrame, "nowhere.parquet", "there is no file"),
        (dict, {"a": float("nan")}, "must be dict"),
        (datetime.date, datetime.datetime(2026, 1, 1), "must be date"),
    ],
)
def test_an_example_that_is_none_of_its_type(endpoint: Endpoint, kind: Any, example: Any, said: str) -> None:
    message = refused(endpoint, inputs={"given": kind}, input_examples={"given": example})
    assert "'given'" in message
    assert said in message


@pytest.mark.parametrize("name", ["two words", "2nd", "class", "", "a-b", "outputs", "self", "task", "_hidden"])
def test_a_name_that_cannot_be_used(endpoint: Endpoint, sales: Path, name: str) -> None:
    assert repr(name) in refused(endpoint, inputs={name: float})
    assert repr(name) in refused(endpoint, outputs={name: float})
    assert repr(name) in refused(endpoint, samples={name: File(path=str(sales))})


def test_a_name_that_stands_in_samples_and_inputs(endpoint: Endpoint, sales: Path) -> None:
    message = refused(endpoint, samples={"sales": File(path=str(sales))}, inputs={"sales": File})
    assert "sales" in message
    assert "both" in message


@pytest.mark.isolation
def test_a_sample_that_cannot_be_used(endpoint: Endpoint, tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.touch()
    garbage = tmp_path / "garbage.parquet"
    garbage.write_bytes(b"PAR1 this is none")
    cases: list[Any] = [
        File(path=str(tmp_path / "missing.csv")),
        File(path=str(tmp_path)),
        File(path=str(empty)),
        File(path=str(garbage)),
        pd.DataFrame(),
        42,
    ]
    for sample in cases:
        assert "'sales'" in refused(endpoint, samples={"sales": sample})


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_sample_that_may_not_be_read(endpoint: Endpoint, sales: Path) -> None:
    sales.chmod(0)
    assert "'sales'" in refused(endpoint, samples={"sales": File(path=str(sales))})


@pytest.mark.isolation
def test_a_key_that_is_not_there_is_named_and_no_value_is_shown(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_OTHER_KEY", "sk-very-secret")
    with pytest.raises(MissingCredentialError, match="MY_MODEL_KEY") as caught:
        AutoCoderAgent(model="openai/x", api_key="MY_MODEL_KEY", api_base=endpoint.url).generate(prompt="Add.")
    assert "very-secret" not in str(caught.value)
    with pytest.raises(MissingCredentialError, match="OPENAI_API_KEY"):
        AutoCoderAgent(model="gpt-4.1").generate(prompt="Add.")
    assert endpoint.requests == []


@pytest.mark.isolation
def test_a_secret_that_is_not_there_is_named(endpoint: Endpoint) -> None:
    secret = flyte.Secret(key="warehouse", as_env_var="WAREHOUSE_TOKEN")
    assert "WAREHOUSE_TOKEN" in refused(endpoint, {"secrets": [secret]})


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("backend", "magic"),
        ("sandbox", "vm"),
        ("cache", "always"),
        ("sample_privacy", "none"),
        ("max_iterations", 0),
        ("max_iterations", -1),
        ("max_sample_rows", -1),
        ("timeout", 0),
        ("max_seconds", -1.0),
        ("name", ""),
        ("model", " "),
    ],
)
def test_a_setting_that_cannot_be_used(endpoint: Endpoint, setting: str, value: Any) -> None:
    assert setting in refused(endpoint, {setting: value})


def test_a_backend_that_is_not_built_yet_says_so(endpoint: Endpoint) -> None:
    assert "not built yet" in refused(endpoint, {"backend": "claude"})


@pytest.mark.isolation
def test_a_python_that_the_runtime_does_not_have(endpoint: Endpoint) -> None:
    with pytest.raises(SandboxUnavailableError, match=r"3\.2"):
        AutoCoderAgent(
            model="openai/scripted", api_base=endpoint.url, image_config=ImageConfig(python_version=(3, 2))
        ).generate(prompt="Add.")
    assert endpoint.requests == []


def test_constraints_that_are_no_list_of_texts(endpoint: Endpoint) -> None:
    assert "constraints" in refused(endpoint, constraints="quantity must be positive")
    assert "constraints" in refused(endpoint, constraints=["fine", 3])


@pytest.mark.isolation
def test_examples_for_inputs_that_are_none(endpoint: Endpoint, sales: Path) -> None:
    assert "'cut'" in refused(endpoint, inputs={"threshold": float}, input_examples={"cut": 1.0})
    assert "'threshold'" in refused(endpoint, inputs={"threshold": float}, input_examples={"threshold": "high"})
    samples = {"sales": File(path=str(sales))}
    assert "'sales'" in refused(endpoint, samples=samples, input_examples={"sales": "x.csv"})


def test_packages_of_the_user_that_cannot_be_read(endpoint: Endpoint) -> None:
    with pytest.raises(InvalidRequestError, match="base_packages"):
        AutoCoderAgent(
            model="openai/scripted", api_base=endpoint.url, base_packages=["pandas", "--index-url elsewhere"]
        ).generate(prompt="Add.")
    assert endpoint.requests == []
