"""A cluster on loopback: a control plane that keeps the actions of runs, and pods that are processes of this machine.

A pod is Flyte's own entrypoint (`a0`) with Flyte's own remote controller. What Flyte records with a run (which traces
there are, how each ended, where its output lies) is kept here as its services keep it, by the name that the controller
gives each action. So a second attempt at a task finds the traces of the first, and nothing else: its pod has folders
of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from control_plane import ControlPlane
from flyteidl2.common import phase_pb2
from flyteidl2.core import execution_pb2, literals_pb2, types_pb2
from flyteidl2.task import common_pb2, task_service_pb2
from flyteidl2.workflow import queue_service_pb2, state_service_pb2
from flyteidl2.workflow.queue_service_connect import QueueServiceSync, QueueServiceWSGIApplication
from flyteidl2.workflow.state_service_connect import StateServiceSync, StateServiceWSGIApplication

ACTION = "a0"


class Cluster(ControlPlane, QueueServiceSync, StateServiceSync):
    """Serves on `endpoint` inside a `with` block.

    Attributes:
        bucket: Address of its object store, which is on loopback as well.
        traces: The traces that are recorded, by name of their action, with the names of their functions.
        submitted: The tasks that pods asked to be run, in order.
        runs: Runs a submitted task, and returns the address of its outputs; none can be run if None.
    """

    def __init__(self, bucket: str) -> None:
        super().__init__()
        self.bucket = bucket
        self.store: Any = None
        self.traces: dict[str, str] = {}
        self.submitted: list[queue_service_pb2.EnqueueActionRequest] = []
        self.runs: Callable[[queue_service_pb2.EnqueueActionRequest], str] | None = None
        self._states: dict[str, dict[str, state_service_pb2.ActionUpdate]] = {}
        self._watchers: dict[str, list[SimpleQueue[state_service_pb2.ActionUpdate]]] = {}
        self._lock = threading.Lock()
        self._applications["/flyteidl2.workflow.QueueService"] = QueueServiceWSGIApplication(self)
        self._applications["/flyteidl2.workflow.StateService"] = StateServiceWSGIApplication(self)

    def enqueue_action(self, request: queue_service_pb2.EnqueueActionRequest, ctx: Any) -> Any:
        """Record a trace, which has ended already, or run a task."""
        with self._lock:
            if request.action_id.name in self._states.get(_parent(request), {}):
                raise ConnectError(Code.ALREADY_EXISTS, "there is such an action")
        if request.HasField("trace"):
            self.traces[request.action_id.name] = request.trace.name
            self._tell(request, request.trace.phase, request.trace.outputs.output_uri)
        else:
            self.submitted.append(request)
            threading.Thread(target=self._run, args=(request,), daemon=True).start()
        return queue_service_pb2.EnqueueActionResponse()

    def watch(self, request: state_service_pb2.WatchRequest, ctx: Any) -> Iterator[state_service_pb2.WatchResponse]:
        """What is known of the actions of a task, a mark, and then what becomes known."""
        parent = f"{request.parent_action_id.run.name}.{request.parent_action_id.name}"
        news: SimpleQueue[state_service_pb2.ActionUpdate] = SimpleQueue()
        with self._lock:
            known = list(self._states.get(parent, {}).values())
            self._watchers.setdefault(parent, []).append(news)
        for update in known:
            yield state_service_pb2.WatchResponse(action_update=update)
        yield state_service_pb2.WatchResponse(control_message=state_service_pb2.ControlMessage(sentinel=True))
        while True:
            try:
                yield state_service_pb2.WatchResponse(action_update=news.get(timeout=0.5))
            except Empty:
                continue

    def list_tasks(self, request: task_service_pb2.ListTasksRequest, ctx: Any) -> Any:
        """There is no image builder: a plain open-source cluster."""
        return task_service_pb2.ListTasksResponse()

    def path(self, address: str) -> str:
        """The path in the bucket of an address there."""
        return address.removeprefix(f"{self.bucket}/")

    def put(self, path: str, content: bytes) -> None:
        """Write an object of the bucket."""
        self.store.put_object(Bucket=self.bucket.removeprefix("s3://"), Key=path, Body=content)

    def get(self, path: str) -> bytes | None:
        """An object of the bucket, None where there is none."""
        try:
            found = self.store.get_object(Bucket=self.bucket.removeprefix("s3://"), Key=path)
        except self.store.exceptions.NoSuchKey:
            return None
        content: bytes = found["Body"].read()
        return content

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("HTTP_TRANSFER_ENCODING") == "chunked":  # the standard library's server leaves that to others
            body = b"".join(_chunks(environ["wsgi.input"]))
            environ = {**environ, "wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return super()._answer(environ, start_response)

    def _run(self, request: queue_service_pb2.EnqueueActionRequest) -> None:
        try:
            if self.runs is None:
                raise RuntimeError("This cluster runs nothing.")
            self._tell(request, phase_pb2.ACTION_PHASE_SUCCEEDED, self.runs(request))
        except Exception as error:  # as a pod that fails, whatever the reason
            failure = execution_pb2.ExecutionError(code="Failed", message=str(error))
            self._tell(request, phase_pb2.ACTION_PHASE_FAILED, "", failure)

    def _tell(self, request: Any, phase: Any, output: str, error: Any = None) -> None:
        update = state_service_pb2.ActionUpdate(
            action_id=request.action_id, phase=phase, output_uri=output, error=error
        )
        with self._lock:
            self._states.setdefault(_parent(request), {})[request.action_id.name] = update
            for news in self._watchers.get(_parent(request), []):
                news.put(update)


def run_container(cluster: Cluster, request: queue_service_pb2.EnqueueActionRequest, folder: Path) -> str:
    """Run what was submitted as the kubelet and Flyte's sidecar do, but for the image: the command, on staged inputs.

    Args:
        cluster: Where it was submitted.
        request: The raw container, with inputs and outputs that are texts, numbers and files.
        folder: The disk of its pod.

    Returns:
        The address of its outputs.
    """
    template = request.task.spec.task_template
    inputs, outputs = folder / "inputs", folder / "outputs"
    inputs.mkdir(parents=True)
    outputs.mkdir()
    for literal in common_pb2.Inputs.FromString(cluster.get(cluster.path(request.input_uri)) or b"").literals:
        scalar = literal.value.scalar
        if scalar.HasField("blob"):
            place = inputs / literal.name / scalar.blob.uri.rpartition("/")[2]
            place.parent.mkdir()
            place.write_bytes(cluster.get(cluster.path(scalar.blob.uri)) or b"")
        else:
            (inputs / literal.name).write_text(str(getattr(scalar.primitive, scalar.primitive.WhichOneof("value"))))
    arguments = [
        argument.replace("=/var/inputs", f"={inputs}").replace("=/var/outputs", f"={outputs}")
        for argument in template.container.args
    ]
    done = subprocess.run(
        [sys.executable, *arguments[1:]],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **{one.key: one.value for one in template.container.env}},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    literals = []
    for variable in template.interface.outputs.variables:
        text = (outputs / variable.key).read_text()
        kind = types_pb2.SimpleType.Name(variable.value.type.simple)
        parsers: dict[str, tuple[str, Any]] = {"INTEGER": ("integer", int), "FLOAT": ("float_value", float)}
        field_name, parse = parsers.get(kind, ("string_value", str))
        primitive = literals_pb2.Primitive(**{field_name: parse(text)})
        value = literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=primitive))
        literals.append(common_pb2.NamedLiteral(name=variable.key, value=value))
    prefix = f"{request.run_output_base}/{request.action_id.name}/1"
    cluster.put(cluster.path(f"{prefix}/outputs.pb"), common_pb2.Outputs(literals=literals).SerializeToString())
    return prefix


def _parent(request: queue_service_pb2.EnqueueActionRequest) -> str:
    return f"{request.action_id.run.name}.{request.parent_action_name}"


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    while size := int(stream.readline().partition(b";")[0], 16):
        yield stream.read(size)
        stream.readline()
    stream.readline()


@contextmanager
def cluster_of(name: str, kind: type[Cluster] = Cluster) -> Iterator[Any]:
    """A cluster and a bucket of its own, in an object store that speaks S3.

    Args:
        name: What the name of the bucket begins with.
        kind: Its class.

    Yields:
        The cluster; the variables that its pods find the bucket with are set meanwhile.
    """
    import boto3
    from moto.server import ThreadedMotoServer

    name = f"{name}-{uuid.uuid4().hex[:12]}"  # the servers of a process share their objects
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch, kind(f"s3://{name}") as cluster:
        for variable, value in (
            ("FLYTE_AWS_ENDPOINT", f"http://{host}:{port}"),
            ("FLYTE_AWS_ACCESS_KEY_ID", "testing"),
            ("FLYTE_AWS_SECRET_ACCESS_KEY", "testing"),
            ("AWS_REGION", "us-east-1"),
        ):
            patch.setenv(variable, value)
        store = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",  # noqa: S106 # of a server of the test
        )
        store.create_bucket(Bucket=name)
        cluster.store = store
        try:
            yield cluster
        finally:
            server.stop()


@dataclass
class Pod:
    """How an attempt at a task ended.

    Attributes:
        exit_code: Of its process; negative for the signal that killed it.
        output: What the task gave; None where it failed.
        error: What Flyte was told of its failure.
        recoverable: Whether Flyte may try again.
        log: What was printed.
    """

    exit_code: int
    output: Any = None
    error: str = ""
    recoverable: bool = False
    log: str = field(default="", repr=False)


def run_pod(
    cluster: Cluster,
    program: Path,
    task: str,
    disk: Path,
    env: Mapping[str, str] | None = None,
    *,
    run: str = "r1",
    within: Sequence[str] = (),
) -> Pod:
    """One attempt at a task, in a pod that has nothing but its own disk and what the cluster keeps.

    The environments that the tests share, which are kept by content, are there as on a volume of its node.

    Args:
        cluster: Serves.
        program: The module that has the task, which takes nothing and gives a text, of JSON.
        task: Its name there.
        disk: The pod's disk; another folder for each pod.
        env: Further variables of the pod.
        run: Name of the run; that of another attempt for a retry.
        within: The command that the pod's own is an argument of, such as one that takes something from it.

    Returns:
        How it ended.
    """
    base, attempt = f"{cluster.bucket}/{run}", f"{run}/{ACTION}/{disk.name}"
    state = disk / "state"
    state.mkdir(parents=True)
    for name in ("environments", "locks"):
        shared = Path(os.environ["FLYTEPLUGINS_CODEGEN_HOME"], name)
        (state / name).symlink_to(shared.resolve(), target_is_directory=True)
    cluster.put(f"{run}/{ACTION}/inputs.pb", b"")
    command = [
        *within,
        *(sys.executable, "-c", "from flyte._bin.runtime import main; main()"),
        *("--inputs", f"{base}/{ACTION}/inputs.pb", "--outputs-path", f"{cluster.bucket}/{attempt}"),
        *("--version", "v1", "--run-base-dir", base, "--raw-data-path", f"{cluster.bucket}/raw"),
        *("--name", ACTION, "--run-name", run, "--project", "project", "--domain", "development", "--org", "org"),
        *("--resolver", "flyte._internal.resolvers.default.DefaultTaskResolver"),
        *("mod", program.stem, "instance", task),
    ]
    done = subprocess.run(
        command,
        cwd=program.parent,
        env={
            **os.environ,
            "HOME": str(disk),
            "FLYTEPLUGINS_CODEGEN_HOME": str(state),
            "_U_EP_OVERRIDE": cluster.endpoint,
            "_U_INSECURE": "true",
            **(env or {}),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    pod = Pod(done.returncode, log=done.stdout + done.stderr)
    if failed := cluster.get(f"{attempt}/error.pb"):
        error = execution_pb2.ErrorDocument.FromString(failed).error
        pod.error, pod.recoverable = error.message, error.kind == execution_pb2.ContainerError.RECOVERABLE
    elif written := cluster.get(f"{attempt}/outputs.pb"):
        [literal] = common_pb2.Outputs.FromString(written).literals
        pod.output = json.loads(literal.value.scalar.primitive.string_value)
    return pod
