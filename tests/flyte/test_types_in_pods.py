"""A task in a pod calls generated code with values of every type; the sidecar between them knows what Flyte's does."""

from __future__ import annotations

import asyncio
import datetime
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from cluster import Cluster, cluster_of, run_pod
from flyte.io import DataFrame, Dir, File
from flyteidl2.core import literals_pb2, types_pb2
from flyteidl2.task import common_pb2
from google.protobuf import timestamp_pb2
from mirror import mirror

pytestmark = pytest.mark.isolation

KINDS = {
    "text": str,
    "number": float,
    "options": dict,
    "items": list,
    "day": datetime.date,
    "frame": pd.DataFrame,
    "table": DataFrame,
    "folder": Dir,
    "parts": list[File],
}
MULTIPART = types_pb2.BlobType.BlobDimensionality.MULTIPART
MOST_OF_A_SIMPLE_VALUE = 1024

PROGRAM = r'''
"""A task that calls generated code with a value of each type, and says what came back."""

import datetime
import json
from pathlib import Path

import flyte
import pandas as pd
from flyte.io import DataFrame, Dir, File
from flyteplugins.codegen import CodeGenEvalResult

echo = CodeGenEvalResult.load("generation").as_task(name="echo")
env = flyte.TaskEnvironment("pod")


@env.task
async def calls() -> str:
    for name in ("x", "y"):
        Path("data", name, "deep").mkdir(parents=True, exist_ok=True)
        Path("data", name, "deep", "part.txt").write_text(name)
    frame = pd.DataFrame({"a": [1.5, None], "b": ["x", "y"]})
    text = " \n" + "long \u00fc " * 100_000 + "\t"
    came = await echo.aio(
        text=text,
        number=float("-inf"),
        options={"big": 2**60, "deep": [None, {"a": 0.1}]},
        items=[1, "two", [3]],
        day=datetime.date(2024, 2, 29),
        frame=frame,
        table=DataFrame.wrap_df(frame),
        folder=Dir(path="data"),
        parts=[File(path=f"data/{name}/deep/part.txt") for name in "yx"],
    )
    back, number, options, items, day, pandas, table, folder, parts = came
    kept = Path(await folder.download())
    several = Path(await parts.download())
    return json.dumps({
        "text": back == text,
        "number": str(number),
        "options": options,
        "items": items,
        "day": [type(day).__name__, str(day)],
        "frame": pandas.equals(frame),
        "table": [type(table).__name__, (await table.open(pd.DataFrame).all()).equals(frame), table.uri[:5]],
        "folder": {path.relative_to(kept).as_posix(): path.read_text() for path in kept.rglob("*.txt")},
        "parts": {path.name: path.read_text() for path in several.iterdir()},
    })
'''


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with cluster_of("types") as serving:
        serving.runs = lambda request: run_with_sidecar(serving, request, tmp_path / "containers")
        yield serving


def test_every_type_crosses_to_a_container_and_back(cluster: Cluster, tmp_path: Path) -> None:
    project = tmp_path / "project"
    asyncio.run(mirror(KINDS)).save(project / "generation")
    (project / "pod.py").write_text(PROGRAM)
    pod = run_pod(cluster, project / "pod.py", "calls", tmp_path / "one")
    assert pod.output, pod.log
    assert pod.output == {
        "text": True,
        "number": "-inf",
        "options": {"big": 2**60, "deep": [None, {"a": 0.1}]},
        "items": [1, "two", [3]],
        "day": ["date", "2024-02-29"],
        "frame": True,
        "table": ["Table", True, "s3://"],
        "folder": {"x/deep/part.txt": "x", "y/deep/part.txt": "y"},
        "parts": {"0-part.txt": "y", "1-1_part.txt": "x"},
    }
    [submitted] = cluster.submitted
    assert "NAMED_DIR" in str(submitted.task.spec.task_template.container.data_config)


def run_with_sidecar(cluster: Cluster, request: Any, folder: Path) -> str:
    """Run a raw container between what stages its inputs and what takes its outputs: Flyte's copilot, in its ways."""
    template = request.task.spec.task_template
    inputs, outputs = folder / "inputs", folder / "outputs"
    inputs.mkdir(parents=True)
    outputs.mkdir()
    told = {}
    for entry in common_pb2.Inputs.FromString(cluster.get(cluster.path(request.input_uri)) or b"").literals:
        told[entry.name] = stage(cluster, entry.value, inputs / entry.name)
    (inputs / "inputs.json").write_text(json.dumps(told))
    arguments = [
        argument.replace("=/var/inputs", f"={inputs}").replace("=/var/outputs", f"={outputs}")
        for argument in template.container.args
    ]
    env = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, *arguments[1:]], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    prefix = f"{request.run_output_base}/{request.action_id.name}/1"
    literals = [
        common_pb2.NamedLiteral(
            name=variable.key, value=taken(cluster, outputs / variable.key, variable.value.type, f"{prefix}/raw")
        )
        for variable in template.interface.outputs.variables
    ]
    cluster.put(cluster.path(f"{prefix}/outputs.pb"), common_pb2.Outputs(literals=literals).SerializeToString())
    shutil.rmtree(folder)
    return prefix


def stage(cluster: Cluster, literal: Any, place: Path) -> Any:
    """Write an input; what `inputs.json` says of it."""
    if literal.HasField("collection"):
        place.mkdir()
        paths = []
        for number, one in enumerate(literal.collection.literals):
            name = one.scalar.blob.uri.rpartition("/")[2]
            name = f"{number}_{name}" if (place / name).exists() else name
            (place / name).write_bytes(cluster.get(cluster.path(one.scalar.blob.uri)) or b"")
            paths.append(f"/var/inputs/{place.name}/{name}")
        return paths
    if literal.scalar.HasField("blob"):
        uri = literal.scalar.blob.uri
        if literal.scalar.blob.metadata.type.dimensionality == MULTIPART:
            root = cluster.path(uri).rstrip("/") + "/"
            listed = cluster.store.list_objects_v2(Bucket=cluster.bucket.removeprefix("s3://"), Prefix=root)
            for key in [entry["Key"] for entry in listed["Contents"]]:
                target = place / key.removeprefix(root)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(cluster.get(key) or b"")
        else:
            place.mkdir()
            (place / uri.rpartition("/")[2]).write_bytes(cluster.get(cluster.path(uri)) or b"")
        return f"/var/inputs/{place.name}"
    primitive = literal.scalar.primitive
    value = getattr(primitive, primitive.WhichOneof("value"))
    if isinstance(value, timestamp_pb2.Timestamp):
        value = value.ToJsonString()
    place.write_text({"inf": "+Inf", "-inf": "-Inf", "nan": "NaN"}.get(str(value), str(value)))
    return str(value)


def taken(cluster: Cluster, path: Path, kind: Any, prefix: str) -> Any:
    """What an output becomes by its type in the interface; anything but files, folders and short values is refused."""
    if kind.HasField("blob"):
        address = f"{prefix}/{path.name}"
        for file in [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]:
            inside = f"/{file.relative_to(path).as_posix()}" if path.is_dir() else ""
            cluster.put(cluster.path(address + inside), file.read_bytes())
        metadata = literals_pb2.BlobMetadata(type=types_pb2.BlobType(dimensionality=MULTIPART if path.is_dir() else 0))
        blob = literals_pb2.Blob(uri=address, metadata=metadata)
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(blob=blob))
    if kind.WhichOneof("type") != "simple" or path.stat().st_size > MOST_OF_A_SIMPLE_VALUE:
        raise ValueError(f"The sidecar does not support {path.name}: {kind}")
    text = path.read_text().strip(" \n\t")
    primitive = literals_pb2.Primitive()
    if kind.simple == types_pb2.SimpleType.DATETIME:
        primitive.datetime.FromJsonString(text)
    else:
        assert kind.simple == types_pb2.SimpleType.FLOAT
        primitive.float_value = float(text)
    return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=primitive))
