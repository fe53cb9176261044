"""Generated code as a task of flytekit: in the sandbox on this machine, as a stock raw container on a cluster."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path
from typing import Any

from flyte.errors import SyncTaskCallInAsyncContextError
from flyte.io import File
from flyte.models import SerializationContext
from flytekit import ContainerTask, FlyteContext, ImageSpec
from flytekit.constants import CopyFileDetection
from flytekit.core.base_task import TaskMetadata

from flyteplugins.codegen.core.contract import FILES, INPUT_ROOT, OUTPUT_ROOT
from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import InvalidInputError
from flyteplugins.codegen.core.sync import BoundTwoFaced
from flyteplugins.codegen.core.values import PLAIN_TYPES
from flyteplugins.codegen.flytekit.convert import (
    default_of,
    flytekit_resources,
    flytekit_secrets,
    flytekit_type,
    from_flytekit,
    to_flytekit,
)
from flyteplugins.codegen.flytekit.nodes import in_order
from flyteplugins.codegen.flytekit.ports import into_ports, out_of_port, ports
from flyteplugins.codegen.tasks.default_inputs import is_remote
from flyteplugins.codegen.tasks.pod.images import image_of as ready_image
from flyteplugins.codegen.tasks.solution_task import SolutionPlan
from flyteplugins.codegen.tasks.solution_task import SolutionTask as Flyte2Task


class SolutionTask(ContainerTask):  # type: ignore[misc] # flytekit ships no types
    """A task of generated code; made by `CodeGenEvalResult.as_task()` of `flyteplugins.codegen.flytekit`.

    Samples are the defaults of its inputs. Its outputs have the names that they were declared with.

    Args:
        task: The same as a task of Flyte 2, which runs the code on this machine.
        image: What it runs on on a cluster; an `ImageSpec` of the locked packages if None.
    """

    def __init__(self, task: Flyte2Task, *, image: str | ImageSpec | None = None) -> None:
        plan = task.plan
        if image is not None:  # it has the packages: none are installed on it
            plan = dataclasses.replace(plan, image_strategy="build")
        contract = ports(plan.contract)
        inputs = {
            name: (flytekit_type(kind), default_of(plan.defaults.get(name))) for name, kind in contract.inputs.items()
        }
        super().__init__(
            name=plan.name,
            image=image or _image(plan),
            command=_command(plan),
            inputs=OrderedDict(inputs),
            outputs={name: flytekit_type(kind) for name, kind in contract.outputs.items()},
            input_data_dir=INPUT_ROOT,
            output_data_dir=OUTPUT_ROOT,
            metadata=_metadata(plan),
            resources=flytekit_resources(plan.resources),
            environment=dict(plan.env_vars),
            secret_requests=flytekit_secrets(plan.secrets),
            pod_template_name=plan.pod_template,
        )
        self.plan = plan
        # To its script a contract and its ports are the same.
        self._task = Flyte2Task(dataclasses.replace(plan, contract=contract))

    @property
    def metadata(self) -> TaskMetadata:
        """What Flyte is told of it.

        Flyte's cache works on a cluster only: on this machine our own record serves what was run before. It knows a
        file by its content, where flytekit's cache knows it by its path.
        """
        state = FlyteContext.current_context().execution_state
        if state is not None and state.is_local_execution():
            return dataclasses.replace(self._metadata, cache=False, cache_version="")
        return self._metadata

    def __call__(self, *args: Any, **values: Any) -> Any:
        """Run it, or make a node of it where a workflow is put together.

        Raises:
            InvalidInputError: It is to be packaged with a sample of this machine as the value of an input.
        """
        context = FlyteContext.current_context()
        passed = {**dict(zip(self.plan.contract.inputs, args, strict=False)), **values}
        if context.compilation_state is not None and context.serialization_settings is not None:
            self._refuse_local_defaults(passed)
        given = super().__call__(*args[len(self.plan.contract.inputs) :], **into_ports(self.plan.contract, passed))
        kinds = list(self.plan.contract.outputs.values())
        if len(kinds) < 2:
            return out_of_port(kinds[0], given) if kinds else given
        # An `@eager` workflow gets a plain tuple back from a cluster, without the names.
        named = self.python_interface.output_tuple if type(given) is tuple else type(given)
        return named(*map(out_of_port, kinds, given))

    def _refuse_local_defaults(self, given: Collection[str]) -> None:
        for name, default in self.plan.defaults.items():
            if name not in given and isinstance(default, File) and not is_remote(default.path):
                raise InvalidInputError(
                    f"Input {name!r} of {self.name} is not given, and its default is a sample on this machine, which "
                    f"a cluster does not have. Pass {name}=... in the workflow, such as one of its own inputs, or "
                    "make the task with as_task(samples_at='s3://...')."
                )

    def execute(self, **values: Any) -> Any:
        """Run the script in the sandbox; flytekit calls this on this machine only."""
        try:
            return BoundTwoFaced(self._run)(values)
        except SyncTaskCallInAsyncContextError:
            raise SyncTaskCallInAsyncContextError(
                f"{self.name}, a task of flytekit, blocks, and was called from async code in a task of Flyte 2, which "
                "would wait for itself for ever. Write `await asyncio.to_thread(...)` there."
            ) from None

    async def _run(self, values: dict[str, Any]) -> Any:
        taken = await from_flytekit(values)
        for name, kind in self.plan.contract.inputs.items():
            if kind == FILES:
                taken[name] = in_order(Path(taken[name]))
        return await to_flytekit(await self._task.aio(**taken))


def image_of(lock: Lock, registry: str | None = None) -> ImageSpec:
    """The environment of a lock as an image; nothing is built until it is packaged or registered.

    Args:
        lock: What it consists of.
        registry: Where it is pushed to; on no registry if None.

    Returns:
        The specification.
    """
    return ImageSpec(
        name="codegen",
        registry=registry,
        python_version=lock.python,
        platform="linux/arm64" if lock.platform.startswith(("aarch64", "arm64")) else "linux/amd64",
        packages=[line.split()[0] for line in lock.requirements.splitlines() if "==" in line.split("#")[0]],
        apt_packages=list(lock.system_packages) or None,
        # The code is in the command: the image is the same for each task of these packages.
        source_copy_mode=CopyFileDetection.NO_COPY,
    )


def _image(plan: SolutionPlan) -> str | ImageSpec:
    if plan.image_strategy == "install":  # the command of the container then begins with what installs
        return str(ready_image(plan.lock, plan.image).uri)
    return image_of(plan.lock, plan.registry)


def _command(plan: SolutionPlan) -> list[str]:
    """The command of the task of Flyte 2, and the address of each file and folder.

    Flyte 1 puts a file where the input's name says; the name that it has itself is in its address alone.
    """
    command = Flyte2Task(plan).container_args(SerializationContext(version=plan.version))
    stored = [name for name, kind in plan.contract.inputs.items() if kind not in PLAIN_TYPES]
    flat = ["@outputs=flat"] if "Dir" in plan.contract.outputs.values() else []
    return [*command, *(f"@{name}={{{{.inputs.{name}}}}}" for name in stored), *flat]


def _metadata(plan: SolutionPlan) -> TaskMetadata:
    return TaskMetadata(
        cache=plan.cache != "disable",
        cache_version=plan.version if plan.cache != "disable" else "",
        retries=plan.retries,
        timeout=plan.timeout,
    )
