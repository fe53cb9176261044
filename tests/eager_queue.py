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
from typing import Any

from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.exceptions.eager import EagerException
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
    """

    def __init__(self, folder: Path, **variables: str) -> None:
        self.templates: dict[str, Any] = {}
        self.started: list[str] = []
        self.files: list[bytes] = []
        self.specs: list[Any] = []
        self._folder = folder
        self._variables = variables

    async def add(self, entity: Any, input_kwargs: dict[str, Any]) -> Any:
        """Run a task to its end; flytekit calls this, and so does what waits for the task."""
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
        folder = self._folder / str(len(self.started))
        return await asyncio.to_thread(self._run, template, input_kwargs, folder, list(entity.python_interface.outputs))

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
        command = []
        for part in template.container.command:
            placed = part.replace("/var/inputs", str(inputs)).replace("/var/outputs", str(outputs))
            for name, address in addresses.items():
                placed = placed.replace(f"{{{{.inputs.{name}}}}}", address)
            command.append(placed)
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
