"""Tasks of generated code under Flyte's own verbs: run, trace, override, deploy; and Ctrl-C wherever they run."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import flyte
import pytest
from flyte.extras import serialize
from flyte.io import File
from handmade import TOTAL, TYPES, made_result

from flyteplugins.codegen import CodeGenEvalResult
from flyteplugins.codegen.core.errors import InvalidInputError

pytestmark = pytest.mark.isolation

env = flyte.TaskEnvironment(name="tests-of-tasks-in-flyte")

SLEEPS = "import time\n\ndef main():\n    time.sleep(300)\n\nif __name__ == '__main__':\n    main()\n"

INTERRUPTED = """
import asyncio, sys
import flyte
from flyteplugins.codegen import CodeGenEvalResult

result = CodeGenEvalResult.model_validate_json(sys.stdin.read())
env = flyte.TaskEnvironment("interrupted")


@env.task
async def in_async_task() -> None:
    await result.run.aio()


@env.task
def in_sync_task() -> None:
    result.run()


print("go", flush=True)
{
    "aio": lambda: asyncio.run(result.run.aio()),
    "task": lambda: result.as_task()(),
    "flyte.run": lambda: flyte.run(result.as_task()),
    "async task": lambda: flyte.run(in_async_task),
    "sync task": lambda: flyte.run(in_sync_task),
}[sys.argv[1]]()
"""


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    path.write_text("amount\n1\n2.5\n")
    return path


@pytest.fixture
async def total(sales: Path) -> CodeGenEvalResult:
    return await made_result(
        TOTAL, outputs={"total": float, "rows": int}, samples={"sales": File(path=str(sales))}, name="total"
    )


@flyte.trace
async def traced_rows(result: CodeGenEvalResult) -> int:
    rows: int = (await result.run.aio())[1]
    return rows


@env.task
async def rows_through_a_trace(result: CodeGenEvalResult) -> int:
    return await traced_rows(result)


@env.task
async def blocks_in_async_code(result: CodeGenEvalResult) -> str:
    try:
        result.run()
    except RuntimeError as error:
        return str(error)
    return "did not notice"


@env.task
async def everywhere(result: CodeGenEvalResult, files: list[File]) -> list[int]:
    task = result.as_task(name="everywhere")
    mapped = [rows async for _, rows in flyte.map.aio(task, files)]
    called = await asyncio.gather(*(task(file) for file in files), *(task.aio(sales=file) for file in files))
    return [*mapped, *(rows for _, rows in called)]


@env.task
def in_sync_code(result: CodeGenEvalResult, files: list[File]) -> list[int]:
    task = result.as_task(name="in-sync-code")
    mapped = [outcome[1] for outcome in flyte.map(task, files) if not isinstance(outcome, Exception)]
    return [*mapped, *(task(file)[1] for file in files)]


def outputs_of(task: Any, *args: Any, **values: Any) -> tuple[Any, ...]:
    return tuple(flyte.with_runcontext(mode="local").run(task, *args, **values).outputs())


def test_flyte_run_sees_that_a_file_changed_at_its_path(total: CodeGenEvalResult, tmp_path: Path) -> None:
    task, path = total.as_task(name="total"), tmp_path / "other.csv"
    for content, expected in (("1\n", (1.0, 1)), ("1\n2\n", (3.0, 2)), ("1\n", (1.0, 1))):
        path.write_text(f"amount\n{content}")
        assert outputs_of(task, sales=File(path=str(path))) == expected
    assert outputs_of(task) == (3.5, 2)


def test_a_task_is_called_in_every_way(total: CodeGenEvalResult, tmp_path: Path) -> None:
    files = []
    for rows in (1, 2, 3):
        path = tmp_path / f"{rows}.csv"
        path.write_text("amount\n" + "1\n" * rows)
        files.append(File(path=str(path)))
    assert outputs_of(everywhere, total, files) == ([1, 2, 3] * 3,)
    assert outputs_of(in_sync_code, total, files) == ([1, 2, 3] * 2,)
    assert [outcome[1] for outcome in flyte.map(total.as_task(), files)] == [1, 2, 3]  # in a plain script


def test_inside_a_trace_the_code_runs_without_a_task_of_its_own(total: CodeGenEvalResult) -> None:
    assert outputs_of(rows_through_a_trace, total) == (2,)


def test_a_blocking_call_in_async_code_says_what_to_write(total: CodeGenEvalResult) -> None:
    [told] = outputs_of(blocks_in_async_code, total)
    assert ".run.aio(" in told


def test_an_overridden_task_stays_in_its_environment(total: CodeGenEvalResult) -> None:
    task = total.as_task()
    environment = flyte.TaskEnvironment.from_task("overridden", task)
    changed = task.override(timeout=30, cache=flyte.Cache("disable"), retries=None)
    assert changed.parent_env() is environment
    assert (changed.plan.timeout, changed.plan.cache, changed.plan.retries) == (30, "disable", 0)
    assert changed() == (3.5, 2)
    with pytest.raises(InvalidInputError, match="always"):
        task.override(cache="always")


def test_a_task_serialises_for_a_cluster(total: CodeGenEvalResult) -> None:
    def spec(**settings: Any) -> Any:
        task = total.as_task(name="for-a-cluster", **settings)
        environment = flyte.TaskEnvironment.from_task("codegen-tasks", task)
        assert environment.tasks["for-a-cluster"] is task
        return serialize(task).task_template

    template = spec(timeout=60, env_vars={"REGION": "eu"}, resources=flyte.Resources(cpu=2, memory="3Gi"))
    assert template.type == "raw-container"
    assert template.metadata.timeout.seconds == 60
    assert list(template.container.args)[:2] == ["python", "-c"]
    assert "--sales=/var/inputs/sales" in template.container.args
    assert template.container.data_config.file_input_layout == template.container.data_config.NAMED_DIR
    assert {pair.key: pair.value for pair in template.container.env}["REGION"] == "eu"
    versions = {
        spec(**settings).metadata.discovery_version
        for settings in ({}, {"env_vars": {"A": "1"}}, {"timeout": 9}, {"cache": "override"})
    }
    assert len(versions) == 3  # "override" is no version of its own: it decides what is read, not what is computed
    assert not spec(cache="disable").metadata.discoverable


async def test_on_a_cluster_a_script_may_end_with_sys_exit(tmp_path: Path) -> None:
    code = TYPES.replace("    main()\n", "    sys.exit(main())\n")
    assert code != TYPES
    result = await made_result(code, inputs={"t": str}, outputs={"t": str})
    (tmp_path / "inputs").mkdir()
    (tmp_path / "inputs" / "t").write_text("ü", encoding="utf-8")
    command = [
        part.replace("/var/outputs", str(tmp_path)).replace("/var/inputs", str(tmp_path / "inputs"))
        for part in result.as_task().container_args(None)[1:]
    ]
    subprocess.run([sys.executable, *command], check=True)
    assert (tmp_path / "t").read_text(encoding="utf-8") == "ü"


async def test_a_text_that_no_program_can_be_given_is_refused() -> None:
    result = await made_result(TYPES, inputs={"s": str}, outputs={"s": str})
    for text in ("a\0b", "\ud800"):
        with pytest.raises(InvalidInputError, match="'s'"):
            await result.run.aio(s=text)


async def test_a_cancelled_call_is_back_when_all_has_ended() -> None:
    marker = f"sleeper-{os.getpid()}-{time.time_ns()}"
    result = await made_result(SLEEPS, env_vars={"MARKER": marker})
    call = asyncio.ensure_future(result.run.aio())
    while not processes_with(marker):
        await asyncio.sleep(0.05)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not processes_with(marker)


@pytest.mark.parametrize("place", ["aio", "task", "flyte.run", "async task", "sync task"])
async def test_ctrl_c_ends_the_program_and_everything(place: str) -> None:
    marker = f"sleeper-{os.getpid()}-{time.time_ns()}"
    result = await made_result(SLEEPS, env_vars={"MARKER": marker})
    child = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    child.stdin.write(result.model_dump_json())
    child.stdin.close()
    child.stdin = None  # it is closed: `communicate` must not look at it
    deadline = time.monotonic() + 60
    while not processes_with(marker):
        assert time.monotonic() < deadline
        assert child.poll() is None
        await asyncio.sleep(0.05)
    child.send_signal(signal.SIGINT)
    told = "".join(child.communicate(timeout=20))  # Flyte prints what ends a program to standard output
    assert child.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in told
    assert not processes_with(marker)


def processes_with(marker: str) -> list[str]:
    """Processes that have the marker in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"MARKER={marker}".encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found
