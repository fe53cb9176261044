"""Checks and tests as tasks of their own: in an `@eager` workflow on a cluster, each run is a pod.

A task of flytekit can't start another from its body; what `@dynamic` starts runs after its body has ended, so that no
repair could depend on it. `@eager` alone waits for what it starts.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import sys
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from flytekit import ContainerTask, FlyteContext, FlyteContextManager, ImageSpec, Resources
from flytekit.configuration import ImageConfig
from flytekit.constants import CopyFileDetection
from flytekit.core.base_task import TaskMetadata
from flytekit.core.constants import FLYTE_INTERNAL_IMAGE_ENV_VAR
from flytekit.core.context_manager import ExecutionState, FlyteEntities
from flytekit.core.python_auto_container import get_registerable_container_image
from flytekit.types.file import FlyteFile

from flyteplugins.codegen.core.contract import INPUT_ROOT, OUTPUT_ROOT
from flyteplugins.codegen.core.credentials import is_credential
from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import InvalidRequestError, JobError, SandboxFailedError
from flyteplugins.codegen.core.paths import HOME_VARIABLE
from flyteplugins.codegen.core.pinned import pin
from flyteplugins.codegen.core.scratch import scratch_in
from flyteplugins.codegen.flytekit.convert import flytekit_secrets
from flyteplugins.codegen.sandbox import shipped
from flyteplugins.codegen.sandbox.contract import Availability, Job, Outcome, Runtime
from flyteplugins.codegen.tasks.secrets import NamedSecret, variable_of

logger = logging.getLogger(__name__)

_MEBIBYTE: Final = 1 << 20
_OF_THE_POD: Final = 512 * _MEBIBYTE
"""What the pod needs beside the program: its supervisor, and files in memory."""

_BUILT_IN: Final = "/opt/codegen"
"""The state folder of an image with environments in it."""


def started_from_here() -> bool:
    """Whether what runs can start tasks and wait for them: the body of an `@eager` workflow on a cluster."""
    context = FlyteContextManager.current_context()
    state = context.execution_state
    return bool(state and state.mode == ExecutionState.Mode.EAGER_EXECUTION and context.worker_queue)


class PodRuntime:
    """Runs each job as a `ContainerTask` that the `@eager` workflow which goes on starts and waits for.

    The pod has the image of the workflow's own pod, and in it the sandbox that would be used here.

    Args:
        runtime: That sandbox.
        image: What the pods run on; what this pod runs on if None.
        build: Whether the environments are built into an image on top of that, an `ImageSpec`; else each pod builds
            those that it needs when it starts.
        registry: Where such an image is pushed to.
        secrets: Secrets of the jobs; each pod gets them from Flyte.
        retries: How often Flyte tries a pod again.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        image: str | ImageSpec | None = None,
        build: bool = False,
        registry: str | None = None,
        secrets: Iterable[NamedSecret] = (),
        retries: int = 0,
    ) -> None:
        self.name = runtime.name
        self.isolates = runtime.isolates
        self.installs_system_packages = runtime.installs_system_packages
        self._runtime = runtime
        context = FlyteContextManager.current_context()
        self._image = image or _own_image(context)
        self._build = build
        self._registry = registry
        self._secrets = tuple(secrets)
        flytekit_secrets(self._secrets)  # one that Flyte 1 can't have is refused before anything is paid for
        self._retries = retries
        self._locks: dict[str, Lock] = {}
        self._queue = context.worker_queue

    async def probe(self) -> Availability:
        """Find out whether the sandbox can be used in this pod, and so in others of its image."""
        return await self._runtime.probe()

    async def python_problem(self, version: str) -> str | None:
        """Why an interpreter can't be had."""
        return await self._runtime.python_problem(version)

    async def prepare(self, lock: Lock) -> str:
        """Build the environment here, so that one that can't be built is known before a pod is started for it."""
        image = await self._runtime.prepare(lock)
        self._locks[image] = lock
        return image

    async def run(self, job: Job) -> Outcome:
        """Run a job in a pod of its own, to its end; see `Runtime.run`.

        A cancelled call leaves the pod to its end, which its limits set: Flyte would hand the ended execution back to a
        retry of the workflow.
        """
        task, packed = await self._task(job)
        try:
            given = await self._started(task, packed)
        except Exception as error:
            raise SandboxFailedError(f"The task {task.name} of Flyte failed: {error}") from error
        if isinstance(given, JobError):
            raise given
        path = await asyncio.to_thread(given.download)
        return await asyncio.to_thread(shipped.unpack_outcome, Path(path), job.outputs)

    async def _started(self, task: ContainerTask, packed: Path, *, again: bool = True) -> FlyteFile | JobError:
        """What a pod left, or the error of its job."""
        try:
            return await self._queue.add(task, {"job": FlyteFile(str(packed))})
        except Exception as error:
            if (of_the_job := shipped.error_in(str(error))) is not None:
                return of_the_job
            if not again:
                raise
            # It may be of an earlier attempt at the workflow. Flyte calls the next one otherwise.
            logger.warning("%s failed, and is started once more: %s", task.name, error)
        return await self._started(task, packed, again=False)

    async def _task(self, job: Job) -> tuple[ContainerTask, Path]:
        environment = {name: value for name, value in job.env.items() if is_credential(name) and isinstance(value, str)}
        named = {variable_of(secret) for secret in self._secrets}
        used = {argument.image for argument in (*job.argv, *job.env.values()) if hasattr(argument, "image")}
        locks = {image: self._locks[image] for image in used}
        async with scratch_in() as folder:
            target = folder / "job.zip"
            await asyncio.to_thread(
                shipped.pack, job, self.name, locks, target, withheld={*environment, *named} & {*job.env}
            )
            file = await asyncio.to_thread(pin, target, move=True)
        # By its content: an attempt that is made again finds the execution of the first one by this path.
        packed = Path(file.path)
        plain = {name: value for name, value in environment.items() if name not in named}
        return run_task(
            file.hash or "",
            job,
            image=environment_image(self._image, self.name, locks.values(), self._registry)
            if self._build
            else self._image,
            environment=plain,
            secrets=[secret for secret in self._secrets if variable_of(secret) in job.env],
            retries=self._retries,
        ), packed


def run_task(
    digest: str,
    job: Job,
    *,
    image: str | ImageSpec,
    environment: dict[str, str] | None = None,
    secrets: Iterable[NamedSecret] = (),
    retries: int = 0,
) -> ContainerTask:
    """The task of one job. Its version in Flyte's cache is the job's content.

    Args:
        digest: SHA-256 of the packed job.
        job: The job, which says what the pod needs.
        image: What it runs on.
        environment: Variables that are no part of the packed job.
        secrets: Secrets of the job.
        retries: How often Flyte tries again.

    Returns:
        The task, from `job`, a file, to `outcome`, another.
    """
    memory = math.ceil((job.limits.memory_bytes + _OF_THE_POD) / _MEBIBYTE)
    return ContainerTask(
        name=f"codegen-run-{digest[:16]}",
        image=image,
        # The interpreter that has this package, wherever a path leads.
        command=[sys.executable, "-m", shipped.__name__, "run", f"{INPUT_ROOT}/job", f"{OUTPUT_ROOT}/outcome"],
        inputs=OrderedDict(job=FlyteFile),
        outputs={"outcome": FlyteFile},
        input_data_dir=INPUT_ROOT,
        output_data_dir=OUTPUT_ROOT,
        # The version says what the file holds; where it was uploaded to says nothing.
        metadata=TaskMetadata(cache=True, cache_version=digest, cache_ignore_input_vars=("job",), retries=retries),
        resources=Resources(cpu=f"{job.limits.cpus:g}", mem=f"{memory}Mi"),
        environment=environment or {},
        secret_requests=flytekit_secrets(secrets),
    )


def environment_image(
    base: str | ImageSpec, sandbox: str, locks: Iterable[Lock], registry: str | None = None
) -> ImageSpec:
    """An image with environments in it, built when a task with it is registered, once for the same environments.

    Args:
        base: What it is built on.
        sandbox: The runtime that is to use the environments, by name.
        locks: What they consist of.
        registry: Where it is pushed to; on no registry if None.

    Returns:
        The specification.
    """
    packed = " ".join(sorted(map(shipped.packed_lock, locks)))
    return ImageSpec(
        name="codegen-run",
        base_image=base,
        registry=registry,
        # Of the base, which has this package; flytekit's builder would add an interpreter of its own.
        python_exec=sys.executable,
        env={HOME_VARIABLE: _BUILT_IN},
        commands=[f"{sys.executable} -m {shipped.__name__} prepare {sandbox} {packed}", f"chmod -R a+rwX {_BUILT_IN}"],
        source_copy_mode=CopyFileDetection.NO_COPY,
    )


def _own_image(context: FlyteContext) -> str:
    """What this pod runs on: what its image says of itself, else the task, else the project as it was registered."""
    if image := os.environ.get(FLYTE_INTERNAL_IMAGE_ENV_VAR):
        return image
    settings = context.serialization_settings
    config = settings.image_config if settings else ImageConfig()
    identifier = context.user_space_params.task_id if context.user_space_params else None
    registered = {getattr(entity, "name", None): entity for entity in FlyteEntities.entities}
    wanted = getattr(registered.get(identifier.name if identifier else None), "container_image", None)
    if wanted and not isinstance(wanted, ImageSpec):
        return str(get_registerable_container_image(wanted, config))
    found = config.find_image(wanted.id) if wanted else config.default_image
    if found is None:
        raise InvalidRequestError(
            "It is not known here which image the pod of this workflow runs on. Name the image for the pods of its "
            "checks: AutoCoderAgent(run_image=...)."
        )
    return str(found.full)


def in_pods(runtime: Any, **settings: Any) -> Any:
    """The runtime whose jobs are pods, where such can be started; else the runtime itself.

    Args:
        runtime: The sandbox that was chosen.
        settings: See `PodRuntime`.

    Returns:
        A runtime.
    """
    return PodRuntime(runtime, **settings) if started_from_here() else runtime
