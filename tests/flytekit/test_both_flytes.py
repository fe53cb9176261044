"""Flyte 1 and 2 in one process: a workflow of flytekit in a task of Flyte 2, and the other way around."""

from __future__ import annotations

import asyncio
from pathlib import Path

import flyte
import flytekit
import pytest
from flyte.io import File
from flytekit.types.file import FlyteFile
from handmade import TOTAL, made_result

from flyteplugins.codegen import CodeGenEvalResult as Flyte2Result
from flyteplugins.codegen.flytekit import CodeGenEvalResult

pytestmark = pytest.mark.isolation

env = flyte.TaskEnvironment(name="tests-of-one-process")


def summed(result: Flyte2Result, path: str) -> float:
    """Run the code in a workflow of flytekit."""
    task = CodeGenEvalResult.of(result).as_task()

    @flytekit.workflow
    def of_flytekit(sales: FlyteFile) -> float:
        return task(sales=sales).total  # type: ignore[no-any-return] # flytekit has no types

    total: float = of_flytekit(sales=FlyteFile(path))
    return total


@env.task
def sync_task(result: Flyte2Result, path: str) -> tuple[float, float]:
    return summed(result, path), result.run(sales=path)[0]


@env.task
async def async_task(result: Flyte2Result, path: str) -> tuple[float, float]:
    return await asyncio.to_thread(summed, result, path), (await result.run.aio(sales=path))[0]


@env.task
async def blocking_task(result: Flyte2Result, path: str) -> str:
    try:
        summed(result, path)
    except RuntimeError as error:
        return str(error)
    return "did not notice"


@env.task
def of_flyte_2(result: Flyte2Result, path: str) -> float:
    total: float = result.as_task()(sales=path)[0]
    return total


@flytekit.task
def task_of_flytekit(result: Flyte2Result, path: str) -> float:
    run = flyte.with_runcontext(mode="local").run(of_flyte_2, result, path)
    total: float = next(iter(run.outputs()))
    return total


@pytest.fixture
async def total(sales: Path) -> Flyte2Result:
    return await made_result(TOTAL, outputs={"total": float, "rows": int}, samples={"sales": File(path=str(sales))})


@pytest.mark.parametrize("task", [sync_task, async_task], ids=["sync", "async"])
def test_a_workflow_of_flytekit_in_a_task_of_flyte_2(task: object, total: Flyte2Result, sales: Path) -> None:
    run = flyte.with_runcontext(mode="local").run(task, total, str(sales))
    assert tuple(run.outputs()) == (3.5, 3.5)


def test_a_run_of_flyte_2_in_a_task_of_flytekit(total: Flyte2Result, sales: Path) -> None:
    assert task_of_flytekit(result=total, path=str(sales)) == 3.5
    assert summed(total, str(sales)) == 3.5


def test_a_blocking_call_in_async_code_says_what_to_write(total: Flyte2Result, sales: Path) -> None:
    run = flyte.with_runcontext(mode="local").run(blocking_task, total, str(sales))
    assert "asyncio.to_thread" in next(iter(run.outputs()))
