"""`generate()` inside tasks of flytekit, against a scripted model over HTTP, with samples of flytekit's types."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import flyte
import flytekit
import pandas as pd
import pytest
from endpoint import Endpoint
from flyteidl.core.literals_pb2 import LiteralMap
from flytekit import Secret, dynamic, eager, task, workflow
from flytekit.core.context_manager import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile
from flytekit.types.structured import StructuredDataset
from handmade import add_up, coded

from flyteplugins.codegen import AutoCoderAgent as Flyte2Agent
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.flytekit import AutoCoderAgent, CodeGenEvalResult

pytestmark = pytest.mark.isolation


flyte2 = flyte.TaskEnvironment(name="tests-of-both-flytes")


@pytest.fixture
def address(endpoint: Endpoint) -> str:
    endpoint.respond = add_up
    return endpoint.url


IN_A_POD = """
from flytekit import task
from flytekit.types.file import FlyteFile

from flyteplugins.codegen.flytekit import AutoCoderAgent


@task(enable_deck=True)
def generated(address: str, sales: FlyteFile) -> tuple[float, int]:
    result = AutoCoderAgent(name="total", model="openai/scripted", api_base=address).generate(
        "Add up the amounts and count the rows.", samples={"sales": sales}, outputs={"total": float, "rows": int}
    )
    return result.run()
"""


def agent_at(address: str) -> AutoCoderAgent:
    return AutoCoderAgent(name="total", model="openai/scripted", api_base=address)


def asked(sales: Any) -> dict[str, Any]:
    return {
        "prompt": "Add up the amounts and count the rows.",
        "samples": {"sales": sales},
        "outputs": {"total": float, "rows": int},
    }


def assert_deck() -> None:
    """The report is a deck of what runs."""
    decks = {deck.name: deck.html for deck in flytekit.current_context().decks}
    assert "Add up the amounts" in decks["Code generation"]


@task(enable_deck=True)
def in_sync_task(address: str, sales: FlyteFile) -> float:
    result = agent_at(address).generate(**asked(sales))
    assert_deck()
    total: float = result.run(sales=sales)[0]
    return total


@task
async def in_async_task(address: str, sales: FlyteFile) -> float:
    result = await agent_at(address).generate.aio(**asked(sales))
    assert "Code generation" not in {deck.name for deck in flytekit.current_context().decks}
    total: float = (await result.run.aio())[0]
    return total


@task
def hands_out(address: str, sales: FlyteFile) -> CodeGenEvalResult:
    return agent_at(address).generate(**asked(sales))


@task
def takes(result: CodeGenEvalResult) -> float:
    total: float = result.run()[0]
    return total


@task(enable_deck=True)
async def in_async_task_with_decks(address: str, sales: FlyteFile) -> float:
    result = await agent_at(address).generate.aio(**asked(sales))
    assert_deck()
    total: float = (await result.run.aio())[0]
    return total


@dynamic(enable_deck=True)
def in_dynamic(address: str, sales: FlyteFile) -> float:
    total = agent_at(address).generate(**asked(sales)).as_task(name="made-in-dynamic")
    assert_deck()
    return total(sales=sales).total  # type: ignore[no-any-return] # flytekit has no types


@eager
async def in_eager(address: str, sales: FlyteFile) -> float:
    result = await agent_at(address).generate.aio(**asked(sales))
    assert_deck()
    total: float = result.as_task(name="made-in-eager")(sales=sales).total
    return total


@workflow
def passed_on(address: str, sales: FlyteFile) -> float:
    return takes(result=hands_out(address=address, sales=sales))  # type: ignore[no-any-return] # no types


@task
def counted(address: str, sales: StructuredDataset) -> int:
    rows: int = agent_at(address).generate(**asked(sales)).run()[1]
    return rows


@task
def as_dataset(frame: pd.DataFrame) -> StructuredDataset:
    return StructuredDataset(dataframe=frame)


@workflow
def of_a_dataset(address: str, frame: pd.DataFrame) -> int:
    return counted(address=address, sales=as_dataset(frame=frame))  # type: ignore[no-any-return] # no types


@flyte2.task
async def in_flyte_2(address: str, sales: flyte.io.File) -> float:
    agent = Flyte2Agent(name="total", model="openai/scripted", api_base=address)
    total: float = (await (await agent.generate.aio(**asked(sales))).run.aio())[0]
    return total


@pytest.mark.parametrize("entity", [in_sync_task, in_dynamic, passed_on])
def test_inside_what_flytekit_runs(entity: Any, address: str, sales: Path) -> None:
    assert entity(address=address, sales=FlyteFile(str(sales))) == 3.5


@pytest.mark.parametrize("entity", [in_async_task, in_async_task_with_decks, in_eager])
async def test_inside_what_flytekit_awaits(entity: Any, address: str, sales: Path) -> None:
    assert await entity(address=address, sales=FlyteFile(str(sales))) == 3.5


def test_as_a_pod_runs_it_a_generation_leaves_its_outputs_and_its_deck(
    address: str, sales: Path, tmp_path: Path
) -> None:
    """`pyflyte-execute`, which is what a pod of Flyte 1 runs, with its inputs and outputs in a folder."""
    module = tmp_path / "in_a_pod.py"
    module.write_text(IN_A_POD)
    types = {"address": str, "sales": FlyteFile}
    literals = TypeEngine.dict_to_literal_map(
        FlyteContextManager.current_context(), {"address": address, "sales": FlyteFile(str(sales))}, types
    )
    (tmp_path / "inputs.pb").write_bytes(literals.to_flyte_idl().SerializeToString())
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "flytekit.bin.entrypoint", "pyflyte-execute"),
            *("--inputs", str(tmp_path / "inputs.pb"), "--output-prefix", str(outputs)),
            *("--raw-output-data-prefix", str(tmp_path / "raw")),
            *("--resolver", "flytekit.core.python_auto_container.default_task_resolver", "--"),
            *("task-module", "in_a_pod", "task-name", "generated"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert sorted(path.name for path in outputs.iterdir()) == ["deck.html", "outputs.pb"], done.stdout + done.stderr
    given = LiteralMap.FromString((outputs / "outputs.pb").read_bytes()).literals
    assert given["o0"].scalar.primitive.float_value == 3.5
    assert "Code generation" in (outputs / "deck.html").read_text()


def test_a_structured_dataset_is_a_sample(address: str) -> None:
    assert of_a_dataset(address=address, frame=pd.DataFrame({"amount": [1, 2.5, 4]})) == 3


@pytest.mark.parametrize("dataset", [False, True])
def test_outside_of_tasks_frames_are_samples(address: str, dataset: bool) -> None:
    frame = pd.DataFrame({"amount": [1, 2.5]})
    result = agent_at(address).generate(**asked(StructuredDataset(dataframe=frame) if dataset else frame))
    assert result.run() == (3.5, 2)


def test_a_folder_is_refused_before_anything_is_asked(address: str, endpoint: Endpoint, sales: Path) -> None:
    with pytest.raises(InvalidRequestError, match="folder"):
        agent_at(address).generate(**asked(FlyteDirectory(str(sales.parent))))
    assert not endpoint.requests


def test_the_same_request_is_asked_once_under_both(address: str, endpoint: Endpoint, sales: Path) -> None:
    """One process, one record: what was generated under Flyte 2 is served under flytekit."""
    run = flyte.with_runcontext(mode="local").run(in_flyte_2, address, flyte.io.File(path=str(sales)))
    assert tuple(run.outputs()) == (3.5,)
    asked_for = len(endpoint.requests)
    assert asked_for
    assert in_dynamic(address=address, sales=FlyteFile(str(sales))) == 3.5
    assert len(endpoint.requests) == asked_for
    again = flyte.with_runcontext(mode="local").run(in_flyte_2, address, flyte.io.File(path=str(sales)))
    assert tuple(again.outputs()) == (3.5,)


def test_an_agent_takes_resources_and_secrets_of_flytekit() -> None:
    agent = AutoCoderAgent(
        secrets=[Secret(group="shop", key="token", env_var="TOKEN")],  # type: ignore[list-item] # of the other Flyte
        resources=flytekit.Resources(cpu="2", mem="3Gi"),
    )
    (secret,) = agent.secrets or ()
    assert (secret.key, secret.group, secret.as_env_var) == ("token", "shop", "TOKEN")
    assert agent.resources == flyte.Resources(cpu="2", memory="3Gi")


def test_two_flytekit_generations_at_once(address: str, sales: Path) -> None:
    async def both() -> list[float]:
        return await asyncio.gather(*(in_async_task(address=address, sales=str(sales)) for _ in range(2)))

    assert asyncio.run(both()) == [3.5, 3.5]


def test_both_flytes_generate_at_the_same_time(address: str, endpoint: Endpoint, sales: Path, tmp_path: Path) -> None:
    """Each its own request, in threads of one process: neither takes the other's data, record or run for its own."""
    other = tmp_path / "other.csv"
    other.write_text("amount\n4\n8\n16\n")

    def under_flyte_2() -> tuple[float, ...]:
        run = flyte.with_runcontext(mode="local").run(in_flyte_2, address, flyte.io.File(path=str(other)))
        return tuple(run.outputs())

    together = threading.Barrier(3)

    def started(work: Callable[[], Any]) -> Any:
        together.wait(60)
        return work()

    with ThreadPoolExecutor(3) as threads:
        flyte_2 = threads.submit(started, under_flyte_2)
        flyte_1 = threads.submit(started, lambda: in_sync_task(address=address, sales=FlyteFile(str(sales))))
        in_a_dynamic = threads.submit(started, lambda: in_dynamic(address=address, sales=FlyteFile(str(sales))))
        assert (flyte_2.result(), flyte_1.result(), in_a_dynamic.result()) == ((28.0,), 3.5, 3.5)
    asked_for = [request.step for request in endpoint.requests]
    # The two under flytekit are one request, and may have been under way together.
    assert 2 <= asked_for.count("code") <= 3


CARRIES = """
import argparse, json, shutil
from pathlib import Path


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--table", required=True)
    parser.add_argument("--options", required=True)
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    outputs = Path(args.outputs)
    outputs.mkdir(parents=True, exist_ok=True)
    if Path(args.table).read_bytes()[:4] != b"PAR1":
        raise SystemExit("table: no Parquet file")
    shutil.copyfile(args.table, outputs / "same")
    (outputs / "options").write_text(json.dumps({"given": json.loads(args.options)}))


if __name__ == "__main__":
    main()
"""
TESTS_OF_CARRIES = """
import pandas as pd


def test_both_come_back(run_solution):
    run = run_solution(table=pd.DataFrame({"n": [1, 2]}), options={"a": [1, None]})
    assert run.outputs["options"] == {"given": {"a": [1, None]}}
    assert list(run.outputs["same"]["n"]) == [1, 2]
"""


@dynamic
def carried_through(address: str, table: pd.DataFrame) -> tuple[StructuredDataset, dict]:  # type: ignore[type-arg]  # so flytekit knows it
    task_of_it = (
        agent_at(address)
        .generate(
            "Give back what is given.",
            inputs={"table": StructuredDataset, "options": dict},
            outputs={"same": StructuredDataset, "options": dict},
            input_examples={"table": pd.DataFrame({"n": [4]}), "options": {"a": 1}},
        )
        .as_task(name="carries")
    )
    given = task_of_it(table=table, options={"b": [2, 2.5]})
    return given.same, given.options


def test_tables_and_documents_are_generated_for_and_cross_a_workflow(address: str, endpoint: Endpoint) -> None:
    endpoint.respond = lambda request: {
        "plan": {"description": "Copies.", "approach": "Copy the file.", "packages": []},
        "code": coded(CARRIES),
        "tests": {"code": TESTS_OF_CARRIES, "packages": [], "coverage": []},
    }[request.step or ""]
    same, options = carried_through(address=address, table=pd.DataFrame({"n": [7, 8]}))
    assert list(same.open(pd.DataFrame).all()["n"]) == [7, 8]
    assert options == {"given": {"b": [2, 2.5]}}
