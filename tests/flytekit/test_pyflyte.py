"""A saved generation in a pipeline, through the real `pyflyte`: run on this machine, and packaged without a network."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from crossing import crossing
from flyte.io import File
from flyteidl.admin.task_pb2 import TaskSpec
from flyteidl.admin.workflow_pb2 import WorkflowSpec
from handmade import TOTAL, made_result

PIPELINE = """
from pathlib import Path

from flytekit import task, workflow
from flytekit.types.file import FlyteFile

from flyteplugins.codegen.flytekit import CodeGenEvalResult

generation = CodeGenEvalResult.load(Path(__file__).with_name("generated"))
total = generation.as_task(name="total-of-sales", image="{{.image.codegen.fqn}}:{{.image.codegen.version}}")


@task
def doubled(value: float) -> float:
    return 2 * value


@workflow
def report(sales: FlyteFile) -> tuple[float, int]:
    summed = total(sales=sales)
    return doubled(value=summed.total), summed.rows


@workflow
def of_the_sample() -> float:
    return total().total
"""


@pytest.fixture
async def project(sales: Path, tmp_path: Path) -> Path:
    result = await made_result(
        TOTAL, outputs={"total": float, "rows": int}, samples={"sales": File(path=str(sales))}, name="total"
    )
    folder = tmp_path / "project"
    result.save(folder / "generated")
    (folder / "pipeline.py").write_text(PIPELINE)
    return folder


def pyflyte(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command; a proxy that nothing listens on stands for a network that is not there."""
    nowhere = "http://127.0.0.1:9"
    return subprocess.run(
        [sys.executable, "-m", "flytekit.clis.sdk_in_container.pyflyte", *arguments],
        cwd=folder,
        env={**os.environ, "HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "COLUMNS": "500"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.isolation
def test_pyflyte_runs_a_workflow_on_this_machine(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("amount\n4\n")
    done = pyflyte(project, "run", "pipeline.py", "report", "--sales", str(other))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "o0=8.0, o1=1" in done.stdout


@pytest.mark.isolation
def test_pyflyte_runs_the_sample_by_default(project: Path) -> None:
    done = pyflyte(project, "run", "pipeline.py", "of_the_sample")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3.5" in done.stdout


@pytest.mark.isolation
def test_pyflyte_runs_the_task_itself(project: Path) -> None:
    done = pyflyte(project, "run", "pipeline.py", "total")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "total=3.5, rows=2" in done.stdout


def package(project: Path) -> subprocess.CompletedProcess[str]:
    images = ["--image", "registry.example/app:1", "--image", "codegen=registry.example/codegen:7"]
    return pyflyte(project, "--pkgs", "pipeline", "package", "--source", ".", "--output", "flyte.tgz", *images)


def test_pyflyte_packages_a_project_without_a_network(project: Path) -> None:
    pipeline = project / "pipeline.py"
    pipeline.write_text(pipeline.read_text().partition("\n\n\n@workflow\ndef of_the_sample")[0])
    done = package(project)
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(project / "flyte.tgz") as archive:
        blobs = {member.name: file.read() for member in archive if (file := archive.extractfile(member))}
    task = TaskSpec.FromString(next(blob for name, blob in blobs.items() if "total-of-sales" in name)).template
    assert (task.type, task.container.image) == ("raw-container", "registry.example/codegen:7")
    assert task.metadata.discoverable
    assert task.metadata.discovery_version
    workflow = WorkflowSpec.FromString(next(blob for name, blob in blobs.items() if "pipeline.report_2" in name))
    assert {output.var: output.binding.promise.var for output in workflow.template.outputs} == {
        "o0": "o0",
        "o1": "rows",
    }


def test_a_sample_of_this_machine_is_not_packaged(project: Path) -> None:
    done = package(project)
    assert done.returncode != 0
    assert "'sales'" in done.stdout + done.stderr
    assert "a cluster does not have" in done.stdout + done.stderr


OF_EVERY_TYPE = """
import datetime
from pathlib import Path

import pandas as pd
from flytekit import task, workflow
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile
from flytekit.types.structured import StructuredDataset

from flyteplugins.codegen.flytekit import CodeGenEvalResult

generation = CodeGenEvalResult.load(Path(__file__).with_name("generated"))
crossing = generation.as_task(name="crossing", image="{{.image.codegen.fqn}}:{{.image.codegen.version}}")


@task
def table_of(rows: int) -> pd.DataFrame:
    return pd.DataFrame({"n": range(rows)})


@task
def counted(table: pd.DataFrame, options: dict) -> int:
    return len(table)


@workflow
def middle(rows: int, options: dict, folder: FlyteDirectory, files: list[FlyteFile]) -> tuple[int, FlyteDirectory]:
    given = crossing(
        table=table_of(rows=rows),
        options=options,
        items=[1, 2],
        day=datetime.date(2026, 1, 31),
        folder=folder,
        files=files,
    )
    return counted(table=given.frame, options=given.options), given.folder
"""


async def test_what_a_container_does_not_carry_is_a_node_of_its_own(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (await crossing()).save(project / "generated")
    (project / "pipeline.py").write_text(OF_EVERY_TYPE)
    done = package(project)
    assert done.returncode == 0, done.stdout + done.stderr
    with tarfile.open(project / "flyte.tgz") as archive:
        blobs = {member.name: file.read() for member in archive if (file := archive.extractfile(member))}
    tasks = {
        spec.template.id.name: spec.template
        for spec in (TaskSpec.FromString(blob) for name, blob in blobs.items() if name.endswith("_1.pb"))
    }
    nodes = "flyteplugins.codegen.flytekit.nodes"
    assert set(tasks) == {
        "crossing",
        "pipeline.table_of",
        "pipeline.counted",
        *(f"{nodes}.{name}" for name in ("parquet_of", "json_of", "folder_of", "frame_of", "dict_of")),
        *(f"{nodes}.{name}" for name in ("dataset_of", "text_of")),
    }
    assert tasks[f"{nodes}.parquet_of"].container.image == "registry.example/app:1"
    assert list(tasks[f"{nodes}.parquet_of"].container.args)[-3:] == [nodes, "task-name", "parquet_of"]
    ports = tasks["crossing"].interface
    single, multipart = 0, 1
    assert {name: port.type.blob.dimensionality for name, port in ports.outputs.variables.items() if name != "day"} == {
        **dict.fromkeys(("table", "frame", "options", "items"), single),
        "folder": multipart,
    }
    assert ports.inputs.variables["files"].type.blob.dimensionality == multipart
    workflow = WorkflowSpec.FromString(next(blob for name, blob in blobs.items() if "pipeline.middle_2" in name))
    made = {node.id: node for node in workflow.template.nodes}
    container = next(node for node in made.values() if node.task_node.reference_id.name == "crossing")
    bound = {binding.var: binding.binding for binding in container.inputs}
    sources = {
        name: made[binding.promise.node_id].task_node.reference_id.name.removeprefix(f"{nodes}.")
        for name, binding in bound.items()
        if binding.promise.node_id in made
    }
    assert sources == {"table": "parquet_of", "options": "json_of", "files": "folder_of"}
    assert bound["items"].scalar.primitive.string_value == "[1, 2]"
    assert bound["day"].scalar.primitive.datetime.ToJsonString() == "2026-01-31T00:00:00Z"
