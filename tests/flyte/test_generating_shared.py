"""`generate()` on machines that share a record: what one paid for, no other pays for."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from endpoint import Endpoint
from handmade import add_up

from flyteplugins.codegen import AutoCoderAgent, CodeGenEvalResult
from flyteplugins.codegen.core.errors import InvalidRequestError

pytestmark = pytest.mark.isolation


Generate = Callable[..., Any]


@pytest.fixture
def on_machine(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generate:
    """Generates on a machine of a name, which has folders of its own."""
    endpoint.respond = add_up
    sales = tmp_path / "sales.csv"
    sales.write_text("amount\n1\n2.5\n")

    async def generate(name: str, store: str | Path | None) -> CodeGenEvalResult:
        monkeypatch.setenv("FLYTEPLUGINS_CODEGEN_HOME", str(tmp_path / name))
        monkeypatch.setenv("HOME", str(tmp_path / f"{name}-home"))
        agent = AutoCoderAgent(name="total", model="openai/scripted", api_base=endpoint.url, store=store)
        result: CodeGenEvalResult = await agent.generate.aio(
            prompt="Add up the amounts and count the rows.",
            samples={"sales": str(sales)},
            outputs={"total": float, "rows": int},
        )
        assert result.success, result.error
        return result

    return generate


async def test_what_one_machine_generated_is_served_on_another(
    on_machine: Generate, endpoint: Endpoint, tmp_path: Path
) -> None:
    first = await on_machine("one", tmp_path / "store")
    asked = len(endpoint.requests)
    second = await on_machine("two", tmp_path / "store")
    assert len(endpoint.requests) == asked
    assert second.solution == first.solution
    assert await second.run.aio() == (3.5, 2)


async def test_answers_and_runs_of_another_machine_are_served_one_by_one(
    on_machine: Generate, endpoint: Endpoint, tmp_path: Path
) -> None:
    first = await on_machine("one", tmp_path / "store")
    asked = len(endpoint.requests)
    shutil.rmtree(tmp_path / "store" / "generations")
    runs = len(list((tmp_path / "store" / "runs").rglob("*.json")))
    second = await on_machine("two", tmp_path / "store")
    assert len(endpoint.requests) == asked
    assert len(list((tmp_path / "store" / "runs").rglob("*.json"))) == runs
    assert second.usage.total.calls == first.usage.total.calls
    assert second.solution == first.solution


@pytest.fixture
def silent() -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def test_a_store_that_never_answers_is_told_and_the_generation_goes_on(
    on_machine: Generate, endpoint: Endpoint, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLYTE_AWS_ENDPOINT", silent)
    monkeypatch.setenv("FLYTE_AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("FLYTE_AWS_SECRET_ACCESS_KEY", "testing-secret")
    result = await on_machine("one", "s3://bucket/record")
    told = [warning for warning in result.receipt.warnings if "s3://bucket/record" in warning]
    assert len(told) == 1, result.receipt.warnings
    asked = len(endpoint.requests)
    await on_machine("one", None)
    assert len(endpoint.requests) == asked


async def test_a_store_that_can_not_be_one_is_told_before_anything_is_asked(
    on_machine: Generate, endpoint: Endpoint
) -> None:
    with pytest.raises(InvalidRequestError, match="ftp:// is not supported"):
        await on_machine("one", "ftp://host/folder")
    assert endpoint.requests == []


async def test_without_a_home_a_generation_succeeds_and_says_where_things_are(
    on_machine: Generate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    result = await on_machine("file/home", None)  # neither this plugin nor Flyte can keep anything there
    told = [warning for warning in result.receipt.warnings if str(tmp_path / "file") in warning]
    assert "The state folder" in told[0]
    # Flyte opens its files once a process: where an earlier test had it do so, it needs no home any more.
    assert all("Flyte's list of runs and its cache can't be kept" in warning for warning in told[1:])
    assert await result.run.aio() == (3.5, 2)
