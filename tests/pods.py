"""The container of a serialised task in a real Docker engine, between folders as Flyte's sidecar fills and reads them.

What is taken from Flyte: the inputs are staged before the container starts and the outputs read after it ended; both
folders are an `emptyDir`, which any user may write; Kubernetes shows what is in `/dev/termination-log` as the reason of
a container's end. The image is built as Flyte builds one on Debian: a virtual environment under `/opt/venv` and a user
`flyte`.
"""

from __future__ import annotations

import datetime
import io
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from flyte.extras import serialize
from flyteidl2.core import types_pb2
from staged import listed, stage

from flyteplugins.codegen.sandbox.docker_engine import LABEL, EngineError, connect
from flyteplugins.codegen.sandbox.docker_images import find_base

_DOCKERFILE: Final = """
FROM {base}
RUN python3 -m venv --without-pip /opt/venv && useradd --create-home flyte && chown flyte:flyte /root
ENV VIRTUAL_ENV=/opt/venv PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONPATH=/root
LABEL {label}=test
USER flyte
WORKDIR /home/flyte
"""
_LARGEST_SCALAR: Final = 1024
"""In bytes, of the sidecar of an open-source Flyte."""

FLYTES_VARIABLES: Final = {
    "FLYTE_INTERNAL_EXECUTION_ID": "r1",
    "FLYTE_AWS_SECRET_ACCESS_KEY": "key of the object store",
    "_UNION_EAGER_API_KEY": "key of the control plane",
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
}
"""Such as Flyte and Kubernetes set in each container."""


@dataclass(frozen=True)
class Pod:
    """What came of a container.

    Attributes:
        status: Its exit status.
        message: What it left for Kubernetes.
        log: What it printed.
        outputs: The folder of its outputs.
        template: The task, as it was sent to the cluster.
    """

    status: int
    message: str
    log: str
    outputs: Path
    template: Any

    def taken_up(self) -> dict[str, Any]:
        """What the sidecar makes of the outputs: values by name, files as paths."""
        assert not (self.outputs / "_ERROR").exists()
        variables = {entry.key: entry.value.type for entry in self.template.interface.outputs.variables}
        return {name: _taken_up(kind, self.outputs / name) for name, kind in variables.items()}


@contextmanager
def engine() -> Iterator[Any]:
    """A Docker engine with our base image; skips without one."""
    try:
        client = connect()
    except EngineError as error:
        pytest.skip(f"no Docker engine answers: {error}")
    if find_base(client, "3.11") is None:
        pytest.skip("the Docker engine has no base image: run images/build-base.sh")
    with client:
        yield client


@contextmanager
def image_like_flytes(client: Any) -> Iterator[str]:
    """An image such as Flyte builds."""
    tag = f"{LABEL}:pod-{uuid.uuid4().hex}"
    text = _DOCKERFILE.format(base=find_base(client, "3.11"), label=LABEL)
    said = list(client.build(fileobj=io.BytesIO(text.encode()), tag=tag, rm=True, decode=True))
    assert "errorDetail" not in said[-1], said[-5:]
    yield tag
    client.remove_image(tag, force=True)


@dataclass
class Container:
    """A container of a task, made and not started."""

    client: Any
    identity: str
    folder: Path
    template: Any

    def to_end(self) -> Pod:
        """Start it and wait for its end."""
        self.client.start(self.identity)
        return self.ended()

    def ended(self) -> Pod:
        """Wait for the end of one that was started."""
        status = self.client.wait(self.identity, timeout=300)["StatusCode"]
        log = self.client.logs(self.identity).decode()
        message = (self.folder / "termination-log").read_text()
        return Pod(status, message, log, self.folder / "outputs", self.template)


@contextmanager
def container_of(
    client: Any, image: str, task: Any, values: Mapping[str, Any], folder: Path, **pod: Any
) -> Iterator[Container]:
    """The container of a task as it is serialised, with exactly its command.

    Args:
        client: The engine.
        image: What it runs on.
        task: A task of generated code.
        values: Its inputs.
        folder: An empty folder of this machine.
        **pod: As `container_from` takes it.

    Yields:
        The container.
    """
    (folder / "inputs").mkdir(parents=True)
    for name, value in values.items():
        stage(value, folder / "inputs" / name)
    (folder / "inputs" / "inputs.json").write_text(
        json.dumps({name: listed(value, name) for name, value in values.items()})
    )
    task.environment()
    with container_from(client, image, serialize(task).task_template, folder, **pod) as made:
        yield made


@contextmanager
def container_from(
    client: Any,
    image: str,
    template: Any,
    folder: Path,
    *,
    mounts: Mapping[Path, str] | None = None,
    network: str = "none",
    variables: Mapping[str, str] | None = None,
    user: str | None = None,
    **host: Any,
) -> Iterator[Container]:
    """The container of a serialised task on inputs that are staged already.

    Args:
        client: The engine.
        image: What it runs on.
        template: The task, of Flyte 2 or 1.
        folder: A folder of this machine with the inputs in `inputs`.
        mounts: Where more of this machine's files and folders are, by their paths.
        network: The engine's network.
        variables: Environment variables of the pod besides those of the task.
        user: Who it is; the image's user if None.
        **host: More of what the engine's `create_host_config` takes.

    Yields:
        The container.
    """
    (folder / "outputs").mkdir()
    for name in ("inputs", "outputs"):
        (folder / name).chmod(0o777)  # as the kubelet makes them
    (folder / "termination-log").touch()
    (folder / "termination-log").chmod(0o666)
    wanted = template.container
    shown = {
        folder / "inputs": wanted.data_config.input_path,
        folder / "outputs": wanted.data_config.output_path,
        folder / "termination-log": "/dev/termination-log",
        **(mounts or {}),
    }
    identity = client.create_container(
        image,
        list(wanted.args),
        entrypoint=list(wanted.command) or None,
        user=user,
        environment={**FLYTES_VARIABLES, **{one.key: one.value for one in wanted.env}, **(variables or {})},
        labels={LABEL: "test"},
        host_config=client.create_host_config(
            binds=[f"{path}:{at}" for path, at in shown.items()], network_mode=network, **host
        ),
    )["Id"]
    try:
        yield Container(client, identity, folder, template)
    finally:
        client.remove_container(identity, force=True)


def wait_for(client: Any, identity: str, said: bytes) -> None:
    """Wait until a container has printed something, two minutes at most."""
    end = time.monotonic() + 120
    while said not in client.logs(identity):
        assert time.monotonic() < end, client.logs(identity)
        time.sleep(0.05)


def _taken_up(kind: Any, path: Path) -> Any:
    """One output as the sidecar reads it, which is written in Go and forgives nothing."""
    if kind.HasField("blob"):
        parts = [path, *path.rglob("*")]
        assert path.is_dir() == (kind.blob.dimensionality == types_pb2.BlobType.MULTIPART)
        assert not [part for part in parts if part.is_symlink()]
        assert all(part.stat().st_mode & 0o044 for part in parts)  # it may be another user
        return path
    content = path.read_bytes()
    assert len(content) <= _LARGEST_SCALAR
    text = content.decode()
    simple = types_pb2.SimpleType.Name(kind.simple)
    form = {
        "INTEGER": r"[+-]?\d+",
        "FLOAT": r"[+-]?(\d+(\.\d*)?([eE][+-]?\d+)?|inf|nan)",
        "BOOLEAN": r"true|false",
        "DATETIME": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
        "DURATION": r"[+-]?(0|(\d+(\.\d*)?(h|m|s|ms|us|ns))+)",
        "STRING": r"(?s:.*)",
    }[simple]
    assert re.fullmatch(form, text), f"{text!r} is no {simple}"
    return {
        "INTEGER": int,
        "FLOAT": float,
        "BOOLEAN": "true".__eq__,
        "DATETIME": lambda told: datetime.datetime.fromisoformat(re.sub("Z$", "+00:00", told)),
    }.get(simple, str)(text)


def listening(client: Any, network: str, image: str) -> tuple[str, str]:
    """Start a container that says what reaches it; its identity and its address."""
    program = """
import select, socket
tcp, udp = socket.create_server(("", 7000)), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("", 7000))
print("listening", flush=True)
while True:
    for found in select.select([tcp, udp], [], [])[0]:
        print("reached by", "TCP" if found is tcp else "UDP", flush=True)
        found.accept()[0].close() if found is tcp else found.recv(100)
"""
    identity = client.create_container(
        image,
        ["python", "-c", program],
        labels={LABEL: "test"},
        host_config=client.create_host_config(network_mode=network),
    )["Id"]
    client.start(identity)
    wait_for(client, identity, b"listening")
    address = client.inspect_container(identity)["NetworkSettings"]["Networks"][network]["IPAddress"]
    return identity, address
