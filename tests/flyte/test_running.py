"""`run()` and `as_task()` in all the places that people call them from; the sandbox and Flyte's local mode are real."""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import flyte
import pandas as pd
import pytest
from flyte.io import File
from handmade import TOTAL, TYPES, made_result
from staged import run_staged

from flyteplugins.codegen import CodeGenEvalResult
from flyteplugins.codegen.core.errors import (
    GenerationFailedError,
    InvalidInputError,
    JobTimedOutError,
    MissingCredentialError,
    OutputInvalidError,
    SolutionFailedError,
)

pytestmark = pytest.mark.isolation

env = flyte.TaskEnvironment(name="tests-of-running")

LOADS = (
    "import sys; from flyteplugins.codegen import CodeGenEvalResult; "
    "result = CodeGenEvalResult.model_validate_json(sys.stdin.read())"
)
"""A program that reads a result from standard input."""

ALL_TYPES = {
    "s": str,
    "i": int,
    "f": float,
    "b": bool,
    "d": datetime.datetime,
    "t": datetime.timedelta,
}


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


async def types(**settings: Any) -> CodeGenEvalResult:
    return await made_result(TYPES, inputs=ALL_TYPES, outputs=ALL_TYPES, **settings)


@env.task
async def in_async_task(result: CodeGenEvalResult) -> tuple[float, int]:
    task = result.as_task(name="reusable")
    first, second = await asyncio.gather(task.aio(), task())
    assert first == second
    run: tuple[float, int] = await result.run.aio()
    assert run == first
    return run


@env.task
def in_sync_task(result: CodeGenEvalResult) -> tuple[float, int]:
    task = result.as_task(name="reusable")
    called: tuple[float, int] = task()
    assert result.run() == called
    return called


@env.task
async def makes(sales: File) -> CodeGenEvalResult:
    return await made_result(TOTAL, outputs={"total": float, "rows": int}, samples={"sales": sales})


@env.task
async def uses(result: CodeGenEvalResult) -> tuple[float, int]:
    assert list(result.declared_outputs.values()) == [float, int]
    run: tuple[float, int] = await result.run.aio()
    return run


@env.task
async def hands_on(sales: File) -> tuple[float, int]:
    return await uses(await makes(sales))


@pytest.mark.quick
@pytest.mark.parametrize("task", [in_async_task, in_sync_task])
def test_inside_a_task(total: CodeGenEvalResult, task: Any) -> None:
    run = flyte.with_runcontext(mode="local").run(task, total)
    assert tuple(run.outputs()) == (3.5, 2)


def test_a_result_goes_from_one_task_to_another(sales: Path) -> None:
    run = flyte.with_runcontext(mode="local").run(hands_on, File(path=str(sales)))
    assert tuple(run.outputs()) == (3.5, 2)


async def test_in_a_running_loop_both_faces_work(total: CodeGenEvalResult) -> None:
    task = total.as_task()
    assert await total.run.aio() == (3.5, 2)
    assert await task() == (3.5, 2)
    assert await asyncio.to_thread(total.run) == (3.5, 2)
    assert total.run() == (3.5, 2)  # as in a notebook's cell


def test_a_task_is_run_by_flyte(total: CodeGenEvalResult) -> None:
    run = flyte.with_runcontext(mode="local").run(total.as_task(name="by-flyte"))
    assert tuple(run.outputs()) == (3.5, 2)


def test_files_paths_and_frames_are_inputs(total: CodeGenEvalResult, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("amount\n7\n")
    frame = pd.DataFrame({"amount": [1, 2, 3]}, index=["a", "b", "c"])
    assert total.run(sales=str(other)) == (7.0, 1)
    assert total.run(sales=other) == (7.0, 1)
    assert total.run(sales=File(path=str(other))) == (7.0, 1)
    assert total.run(sales=frame) == (6.0, 3)
    assert total.as_task()(sales=frame) == (6.0, 3)


def test_a_changed_file_at_the_same_path_is_another_input(total: CodeGenEvalResult, sales: Path) -> None:
    assert total.run() == (3.5, 2)
    sales.write_text("amount\n40\n")
    assert total.run() == (40.0, 1)
    assert total.run(sales=File(path=str(sales))) == (40.0, 1)


async def test_two_results_with_samples_of_one_name_do_not_meet(tmp_path: Path) -> None:
    results = []
    for factor in (1, 10):
        path = tmp_path / str(factor) / "sales.csv"
        path.parent.mkdir()
        path.write_text(f"amount\n{factor}\n")
        code = TOTAL.replace("sum(amounts)", f"sum(amounts) * {factor}")
        outputs = {"total": float, "rows": int}
        results.append(await made_result(code, outputs=outputs, samples={"sales": File(path=str(path))}, name="same"))
    runs = await asyncio.gather(*(result.run.aio() for result in results * 3))
    assert runs == [(1.0, 1), (100.0, 1)] * 3


@pytest.mark.quick
async def test_every_type_arrives_and_comes_back_unchanged() -> None:
    result = await types()
    values = {
        "s": "O'; id > x; echo '\n$(whoami) `id` \"--outputs\" {{.inputs.i}} ü\t ",
        "i": -(2**63),
        "f": -1e-9,
        "b": False,
        "d": datetime.datetime(2026, 2, 28, 23, 59, 59, 123456, tzinfo=datetime.timezone.utc),
        "t": -datetime.timedelta(days=3, microseconds=1),
    }
    assert await result.run.aio(**values) == tuple(values.values())
    long = {**values, "s": "--" + "ab\n'" * 262_144}
    assert (await result.run.aio(**long))[0] == long["s"]


async def test_one_output_is_bare_and_none_is_none() -> None:
    one = await made_result(TYPES, inputs={"i": int}, outputs={"i": int})
    assert await one.run.aio(i=3) == 3
    none = await made_result("def main():\n    print('did it')\n\nif __name__ == '__main__':\n    main()\n")
    assert await none.run.aio() is None


async def test_a_file_output_is_a_file(sales: Path) -> None:
    result = await made_result(
        TYPES, inputs={"report": File}, outputs={"report": File}, samples={"report": File(path=str(sales))}
    )
    report = await result.run.aio()
    assert isinstance(report, File)
    assert Path(report.path).read_bytes() == sales.read_bytes()


@pytest.mark.parametrize("name", ["name", "timeout", "cache", "retries", "inputs", "resources"])
async def test_an_input_may_be_called_like_a_parameter(name: str) -> None:
    result = await made_result(TYPES, inputs={name: str}, outputs={name: str})
    assert await result.run.aio(inputs={name: "x"}) == "x"
    assert await result.as_task().aio(**{name: "y"}) == "y"
    with pytest.raises(InvalidInputError, match=name):
        await result.run.aio(**{name: {} if name == "inputs" else "x"})


async def test_bad_inputs_are_named(total: CodeGenEvalResult, tmp_path: Path) -> None:
    result = await types()
    given: dict[str, Any] = {"s": "", "i": 1, "f": 1, "b": True, "d": datetime.datetime(2026, 1, 1), "t": ONE_DAY}
    with pytest.raises(InvalidInputError, match=r"'t'.* is missing"):
        await result.run.aio(**{name: value for name, value in given.items() if name != "t"})
    for name, wrong in {"s": 1, "i": 1.5, "f": "1", "b": 1, "d": "2026-01-01", "t": 3}.items():
        with pytest.raises(InvalidInputError, match=f"'{name}' must be"):
            await result.run.aio(**{**given, name: wrong})
    with pytest.raises(InvalidInputError, match="Did you mean 'sales'"):
        await total.run.aio(sale="x.csv")
    for wrong_file in (tmp_path / "none.csv", tmp_path, 3, None):
        with pytest.raises(InvalidInputError, match="sales"):
            await total.run.aio(sales=wrong_file)


ONE_DAY = datetime.timedelta(days=1)


async def test_numbers_of_numpy_are_numbers() -> None:
    import numpy as np

    result = await made_result(TYPES, inputs={"i": int, "f": float}, outputs={"i": int, "f": float})
    assert await result.run.aio(i=np.int64(3), f=np.float32(0.5)) == (3, 0.5)


async def test_a_failed_result_does_not_run(total: CodeGenEvalResult) -> None:
    failed = total.model_copy(update={"success": False, "error": "no attempt passed"})
    with pytest.raises(GenerationFailedError, match="no attempt passed"):
        await failed.run.aio()
    with pytest.raises(GenerationFailedError):
        failed.as_task()


async def test_what_the_program_does_wrong_is_told(total: CodeGenEvalResult, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("sum\n1\n")
    with pytest.raises(SolutionFailedError, match="amount") as caught:
        await total.run.aio(sales=bad, retries=2)
    assert "KeyError" in caught.value.stderr
    silent = await made_result("def main():\n    pass\n\nif __name__ == '__main__':\n    main()\n", {}, {"i": int})
    with pytest.raises(OutputInvalidError, match="'i'"):
        await silent.run.aio()


async def test_a_time_limit_holds_and_there_is_none_unless_set() -> None:
    slow = await made_result(
        "import time\n\ndef main():\n    print('started', flush=True)\n    time.sleep(60)\n\n"
        "if __name__ == '__main__':\n    main()\n"
    )
    started = time.monotonic()
    with pytest.raises(JobTimedOutError) as caught:
        await slow.run.aio(timeout=1)
    assert time.monotonic() - started < 20
    assert "started" in caught.value.stdout


async def test_variables_and_secrets_reach_the_program_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_TOKEN", "t0p-secret")
    monkeypatch.setenv("BYSTANDER", "not yours")
    code = TYPES.replace('getattr(args, "seen")', "repr(sorted(os.environ.items()))").replace("import sys", "import os")
    result = await made_result(code, outputs={"seen": str})
    secret = flyte.Secret(key="warehouse", as_env_var="WAREHOUSE_TOKEN")
    seen = await result.run.aio(env_vars={"REGION": "eu"}, secrets=[secret])
    assert "('REGION', 'eu')" in seen
    assert "('WAREHOUSE_TOKEN', 't0p-secret')" in seen
    assert "BYSTANDER" not in seen
    monkeypatch.delenv("WAREHOUSE_TOKEN")
    with pytest.raises(MissingCredentialError, match="WAREHOUSE_TOKEN"):
        await result.run.aio(secrets=[secret])


async def test_cache_modes_mean_what_they_say() -> None:
    """A program that answers differently each time shows what was served and what ran."""
    code = TYPES.replace('getattr(args, "seen")', "time.time_ns()").replace("import sys", "import time")
    result = await made_result(code, outputs={"seen": int})
    first = await result.run.aio()
    assert await result.run.aio() == first
    assert await asyncio.gather(*(result.run.aio() for _ in range(3))) == [first] * 3
    free = await result.run.aio(cache="disable")
    assert free != first
    assert await result.run.aio() == first
    renewed = await result.run.aio(cache="override")
    assert renewed not in (first, free)
    assert await result.run.aio() == renewed
    assert await result.run.aio(env_vars={"A": "1"}) != renewed
    elsewhere = subprocess.run(
        [sys.executable, "-c", f"{LOADS}; print(result.run())"],
        input=result.model_dump_json(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(elsewhere.stdout) == renewed


async def test_work_that_is_asked_for_at_once_is_done_once() -> None:
    code = TYPES.replace('getattr(args, "seen")', "time.time_ns()").replace("import sys", "import time")
    result = await made_result(code, outputs={"seen": int})
    assert len(set(await asyncio.gather(*(result.run.aio() for _ in range(6))))) == 1


async def test_a_result_survives_json_and_a_machine_without_its_image(
    total: CodeGenEvalResult, sales: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = total.model_dump_json()
    monkeypatch.setenv("FLYTEPLUGINS_CODEGEN_HOME", str(tmp_path / "another-machine"))
    again = CodeGenEvalResult.model_validate_json(text)
    assert await again.run.aio() == (3.5, 2)
    sales.unlink()
    with pytest.raises(InvalidInputError, match="not on this machine"):
        await again.run.aio()


def test_a_plain_script_needs_no_init(total: CodeGenEvalResult, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio, sys
            from flyteplugins.codegen import CodeGenEvalResult

            result = CodeGenEvalResult.model_validate_json(sys.stdin.read())
            print(result.run(), asyncio.run(result.run.aio()), result.as_task(name="t")())
            """
        )
    )
    done = subprocess.run(
        [sys.executable, script], input=total.model_dump_json(), capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "(3.5, 2) (3.5, 2) (3.5, 2)", done.stderr


async def test_ctrl_c_ends_what_runs(tmp_path: Path) -> None:
    marker = f"sleeper-{os.getpid()}-{time.time_ns()}"
    slow = await made_result(
        "import time\n\ndef main():\n    time.sleep(300)\n\nif __name__ == '__main__':\n    main()\n", name=marker
    )
    runs = "print('go', flush=True); result.run(env_vars={'MARKER': result.defaults.name})"
    child = subprocess.Popen(
        [sys.executable, "-c", f"{LOADS}; {runs}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(slow.model_dump_json())
    child.stdin.close()
    assert child.stdout.readline().strip() == "go"
    deadline = time.monotonic() + 30
    while not processes_with(marker) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    assert processes_with(marker)
    child.send_signal(signal.SIGINT)
    assert child.wait(20) == -signal.SIGINT
    assert not processes_with(marker)


def processes_with(marker: str) -> list[str]:
    """Processes of the sandbox that have the marker in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"MARKER={marker}".encode() in (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue
    return found


def test_a_task_serialises_as_a_stock_raw_container(total: CodeGenEvalResult) -> None:
    from flyte.extras import serialize

    task = total.as_task(name="for-a-cluster", env_vars={"REGION": "eu"}, timeout=60)
    environment = flyte.TaskEnvironment.from_task("codegen-tasks", task)
    assert environment.tasks["for-a-cluster"] is task
    assert task.task_type == "raw-container"
    command = task.container_args(None)
    assert command[:2] == ["python", "-c"]
    assert "--sales=/var/inputs/sales" in command
    assert "--outputs=/var/outputs" in command
    assert not any("sh -c" in part for part in command)
    assert serialize is not None


async def test_what_a_cluster_runs_keeps_the_scripts_contract(tmp_path: Path) -> None:
    """The container's command, run by hand on a folder laid out as Flyte stages it."""
    result = await types()
    task = result.as_task()
    task.environment("staged")
    values = {
        "s": "a'b",
        "i": 3,
        "f": 0.5,
        "b": True,
        "d": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
        "t": datetime.timedelta(days=1, hours=2, seconds=3, microseconds=500_000),
    }
    done = run_staged(task, values, tmp_path)
    assert done.returncode == 0, done.stderr
    written = {name: (tmp_path / "outputs" / name).read_text() for name in values}
    assert written == {
        "s": "a'b",
        "i": "3",
        "f": "0.5",
        "b": "true",
        "d": "2026-01-01T00:00:00+00:00",
        "t": "93603.5s",
    }


async def test_an_overridden_task_is_another_task() -> None:
    result = await types()
    task = result.as_task(name="original")
    changed = task.override(timeout=5, env_vars={"A": "1"}, resources=flyte.Resources(cpu=1, memory="300Mi"))
    assert (changed.plan.timeout, task.plan.timeout) == (5, None)
    with pytest.raises(InvalidInputError, match="image"):
        task.override(image="x")


async def test_the_image_for_a_cluster_goes_to_the_registry_of_the_settings() -> None:
    result = await made_result(TYPES, inputs={"i": int}, outputs={"i": int}, registry="registry.example/team")
    assert result.as_task(name="to-a-registry").image.uri.startswith("registry.example/team/codegen:")
    assert await result.run.aio(i=3) == 3
