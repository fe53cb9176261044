"""What an `@eager` workflow on a cluster hands its tasks to, with pods that are processes of this machine.

Each task is serialised as it would be registered, and its exact command runs with the inputs staged as Flyte 1's
sidecar stages them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from flytekit import FlyteContextManager
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.core.type_engine import LiteralsResolver, TypeEngine
from flytekit.exceptions.eager import EagerException
from flytekit.models.core.execution import WorkflowExecutionPhase
from flytekit.tools.translator import get_serializable
from flytekit.types.file import FlyteFile

_LONGEST_MESSAGE = 2048
_READERS: Mapping[int, Callable[[str], Any]] = {1: int, 2: float, 3: str}


class Queue:
    """Runs what an `@eager` workflow starts.

    Attributes:
        templates: What was registered, by name of the task.
        started: The names of the tasks, in the order in which they were started.
        files: What the inputs of each task that are files hold.
        specs: The images that would have been built.
        lost: How many pods that are started next are lost with their nodes.
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        self.templates: dict[str, Any] = {}
        self.started: list[str] = []
        self.files: list[bytes] = []
        self.specs: list[Any] = []
        self.lost = 0
        self._folder = folder
        self._variables = variables

    async def add(self, entity: Any, input_kwargs: dict[str, Any]) -> Any:
        """Run a task to its end; flytekit calls this, and so does what waits for the task."""
        return await asyncio.to_thread(self.run, entity, input_kwargs)

    def run(self, entity: Any, input_kwargs: dict[str, Any]) -> Any:
        """Register a task and run it to its end."""
        image = entity._image  # noqa: SLF001 # no public word for it; an ImageSpec is not built for a test
        if not isinstance(image, str):
            self.specs.append(image)
        images = [] if isinstance(image, str) else [Image(image.id, "registry.example/built", "1")]
        settings = SerializationSettings(
            project="p", domain="d", version="v1", image_config=ImageConfig(default_image=None, images=images)
        )
        self.templates[entity.name] = template = (
            get_serializable(OrderedDict(), settings, entity).to_flyte_idl().template
        )
        self.started.append(entity.name)
        if self.lost:
            self.lost -= 1
            raise EagerException("the node went away")
        folder = self._folder / str(len(self.started))
        return self._run(template, input_kwargs, folder, list(entity.python_interface.outputs))

    def render_html(self) -> str:
        """What flytekit shows of it."""
        return ""

    def _run(self, template: Any, values: Mapping[str, Any], folder: Path, names: Sequence[str]) -> Any:
        inputs, outputs = folder / "inputs", folder / "outputs"
        inputs.mkdir(parents=True)
        outputs.mkdir()
        addresses = {}
        for name, value in values.items():
            if isinstance(value, FlyteFile):
                addresses[name] = f"s3://bucket/{Path(value.path).name}"
                shutil.copyfile(value.path, inputs / name)
                self.files.append((inputs / name).read_bytes())
            else:
                (inputs / name).write_text(str(value))
        command = placed(template, folder, addresses)
        assert command[0] in ("python", sys.executable)
        done = subprocess.run(
            [sys.executable, *command[1:]],
            env={
                **{name: os.environ[name] for name in ("PATH", "HOME", "FLYTEPLUGINS_CODEGEN_HOME", "UV_CACHE_DIR")},
                **{pair.key: pair.value for pair in template.container.env},
                **{secret.env_var: self._variables[secret.env_var] for secret in template.security_context.secrets},
            },
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise EagerException(
                f"containers with unready status: exit code {done.returncode}\n{done.stderr[-_LONGEST_MESSAGE:]}"
            )
        read = []
        for name in names:
            path, kind = outputs / name, template.interface.outputs.variables[name].type.simple
            read.append(_READERS[kind](path.read_text()) if kind else FlyteFile(str(path)))
        return tuple(read) if len(read) > 1 else read[0]


def placed(template: Any, folder: Path, addresses: Mapping[str, str]) -> list[str]:
    """A container's command with other folders, and with the addresses that Flyte's propeller puts there.

    Args:
        template: The task, as it is registered.
        folder: What has `inputs` and `outputs` in it.
        addresses: Where each input lies that is a file or folder.

    Returns:
        The arguments.
    """
    command = []
    for part in template.container.command:
        argument = part.replace("/var/inputs", str(folder / "inputs")).replace("/var/outputs", str(folder / "outputs"))
        for name, address in addresses.items():
            argument = argument.replace(f"{{{{.inputs.{name}}}}}", address)
        command.append(argument)
    return command


class Remote:
    """The control plane as flytekit's own controller of an `@eager` workflow asks it: what it starts ends at once.

    Attributes:
        executions: The name of each execution, with the version that its task was registered under.
    """

    def __init__(self, queue: Queue) -> None:
        self.executions: list[tuple[str, str]] = []
        self.config = SimpleNamespace(platform=SimpleNamespace(endpoint="loopback"))
        self._ctx = FlyteContextManager.current_context()
        self._queue = queue

    def execute(self, entity: Any, inputs: dict[str, Any], *, execution_name: str, version: str, **_: Any) -> Any:
        """Start an execution."""
        self.executions.append((execution_name, version))
        outputs, error = {}, None
        try:
            given = self._queue.run(entity, inputs)
            names = list(entity.python_interface.outputs)
            native = dict(zip(names, given if len(names) > 1 else [given], strict=True))
            outputs = TypeEngine.dict_to_literal_map(self._ctx, native, entity.python_interface.outputs).literals
        except EagerException as failure:
            error = failure
        phase = WorkflowExecutionPhase.FAILED if error else WorkflowExecutionPhase.SUCCEEDED
        return SimpleNamespace(
            id=SimpleNamespace(name=execution_name),
            closure=SimpleNamespace(phase=phase, error=error),
            outputs=LiteralsResolver(outputs, entity.interface.outputs, self._ctx),
            is_done=True,
        )

    def sync_execution(self, execution: Any) -> Any:
        """How it stands."""
        return execution

    def generate_console_url(self, execution: Any) -> str:
        """Where a person would see it."""
        return f"http://loopback/{execution.id.name}"
