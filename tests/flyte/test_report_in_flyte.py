"""The report of a generation in the Flyte task that asks for it, in real local runs."""

from __future__ import annotations

import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flyte
import pytest
from endpoint import Endpoint, Received
from flyte.io import File
from handmade import ADD_UP, STRICT_TOTAL

from flyteplugins.codegen import AutoCoderAgent
from flyteplugins.codegen.core.errors import CodegenError

pytestmark = pytest.mark.isolation


METADATA = Path("/tmp/flyte/metadata")  # noqa: S108 - where Flyte's local runs are
env = flyte.TaskEnvironment(name="tests-of-the-report")


def answer(request: Received) -> Any:
    plan = {**ADD_UP["plan"], "description": "Add up the amounts & more."}
    return {**ADD_UP, "plan": plan}[request.step or ""]


async def generate(address: str, sales: File) -> bool:
    agent = AutoCoderAgent(name="total", model="openai/scripted", api_base=address)
    result = await agent.generate.aio(
        prompt="Add up the <amounts>.", samples={"sales": sales}, outputs={"total": float, "rows": int}
    )
    return result.success


@env.task(report=True)
async def reporting(address: str, sales: File) -> bool:
    flyte.report.get_tab("Mine").log("<p>what the user reports</p>")
    return await generate(address, sales)


@env.task(report=True)
async def failing(address: str, sales: File) -> bool:
    try:
        return await generate(address, sales)
    except CodegenError:
        return False


@env.task(report=True)
async def revising(address: str, sales: File) -> bool:
    agent = AutoCoderAgent(name="total", model="openai/scripted", api_base=address)
    result = await agent.generate.aio(
        prompt="Add up the <amounts>.", samples={"sales": sales}, outputs={"total": float, "rows": int}
    )
    return (await result.revise.aio(code=STRICT_TOTAL.replace("sales: no rows", "sales: nothing there"))).success


@env.task
async def silent(address: str, sales: File) -> bool:
    return await generate(address, sales)


@pytest.fixture
def sales(tmp_path: Path) -> File:
    path = tmp_path / "sales.csv"
    path.write_text("amount\n1\n2.5\n")
    return File(path=str(path))


@pytest.fixture
def name() -> Iterator[str]:
    """Of a run, which says where Flyte keeps what belongs to it."""
    name = f"report-{uuid.uuid4().hex[:12]}"
    yield name
    for kind in ("metadata", "raw_data"):
        for folder in METADATA.with_name(kind).glob(f"{name}*"):
            shutil.rmtree(folder, ignore_errors=True)


def reports(name: str) -> list[str]:
    return [path.read_text() for path in sorted((METADATA / name).rglob("report.html"))]


def run(task: Any, name: str, endpoint: Endpoint, sales: File) -> Any:
    return flyte.with_runcontext(mode="local", name=name).run(task, endpoint.url, sales).outputs()[0]


def test_the_report_of_the_task_has_a_tab_with_all_of_the_generation(
    name: str, endpoint: Endpoint, sales: File
) -> None:
    endpoint.respond = answer
    assert run(reporting, name, endpoint, sales)
    (page,) = reports(name)
    assert "what the user reports" in page
    for part in (
        "Code generation",
        "Passed",
        "Add up the &lt;amounts&gt;.",
        "Add up the amounts &amp; more.",
        "test_amounts_are_added",
        "code-generation-timeline",
        "code-generation-data",
    ):
        assert part in page, part
    assert page.count("<article") == 1
    assert "<style>" in page


def test_it_grows_while_the_generation_goes_on(name: str, endpoint: Endpoint, sales: File) -> None:
    seen: list[str] = []

    def watched(request: Received) -> Any:
        deadline = time.monotonic() + 15
        while request.step == "code" and not seen and time.monotonic() < deadline:
            seen.extend(page for page in reports(name) if ">plan<" in page)
            time.sleep(0.05)
        return answer(request)

    endpoint.respond = watched
    assert run(reporting, name, endpoint, sales)
    (page,) = seen
    assert "Running" in page
    assert "Add up the &lt;amounts&gt;." in page
    assert "Running" not in reports(name)[0]


def test_what_the_record_serves_is_shown_as_well(name: str, endpoint: Endpoint, sales: File) -> None:
    endpoint.respond = answer
    assert run(silent, name, endpoint, sales)
    asked = len(endpoint.requests)
    assert run(reporting, f"{name}-again", endpoint, sales)
    assert len(endpoint.requests) == asked
    (page,) = reports(f"{name}-again")
    assert "Passed" in page
    assert "code-generation-timeline" in page


def test_each_generation_of_a_task_has_a_tab_of_its_own(name: str, endpoint: Endpoint, sales: File) -> None:
    endpoint.respond = answer
    assert run(revising, name, endpoint, sales)
    (page,) = reports(name)
    assert page.count("<article") == 2
    assert "Code generation 2" in page
    anchors = re.findall(r' id="([^"]*)"', page)
    assert len(anchors) == len(set(anchors))
    assert "Revision 1, by a person" in page
    assert "sales: nothing there" in page


def test_what_ends_with_an_error_is_shown_with_it(name: str, endpoint: Endpoint, sales: File) -> None:
    endpoint.respond = lambda request: "no JSON at all"
    assert not run(failing, name, endpoint, sales)
    (page,) = reports(name)
    assert "Failed" in page
    assert "no usable answer" in page
    assert "Running" not in page


def test_a_task_without_a_report_is_not_disturbed(name: str, endpoint: Endpoint, sales: File) -> None:
    endpoint.respond = answer
    assert run(silent, name, endpoint, sales)


def test_a_report_that_cannot_be_written_fails_nothing(
    name: str, endpoint: Endpoint, sales: File, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(content: bytes, **_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("flyte.storage.put_stream", full)
    endpoint.respond = answer
    assert run(silent, name, endpoint, sales)
    assert "The report in Flyte could not be written: No space left on device" in caplog.text
