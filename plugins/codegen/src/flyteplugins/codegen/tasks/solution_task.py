"""Generated code as a Flyte task: in the sandbox on this machine, as a stock raw container on a cluster."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import hashlib
import json
import logging
import re
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import flyte
from flyte._context import internal_ctx  # flyte has no public word for "inside a task"
from flyte._internal.controllers import get_controller  # nor for submitting a task that is no decorated function
from flyte.errors import NonRecoverableError
from flyte.extras import ContainerTask
from flyte.models import NativeInterface

from flyteplugins.codegen.core.contract import INPUT_ROOT, OUTPUT_ROOT, Contract
from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import CodegenError, EnvironmentBuildError, InvalidInputError
from flyteplugins.codegen.core.settings import CACHE_MODES, ImageStrategy
from flyteplugins.codegen.core.sync import BoundTwoFaced, TwoFaced
from flyteplugins.codegen.core.values import PLAIN_TYPES
from flyteplugins.codegen.record import open_record
from flyteplugins.codegen.sandbox.select import choose
from flyteplugins.codegen.tasks.default_inputs import as_default, is_remote, upload
from flyteplugins.codegen.tasks.executor import Executor, Work
from flyteplugins.codegen.tasks.limits import limits_of
from flyteplugins.codegen.tasks.local_run import in_run
from flyteplugins.codegen.tasks.pod.arguments import pod_arguments
from flyteplugins.codegen.tasks.pod.images import (
    ImageWishes,
    build,
    choose_strategy,
    image_of,
    in_cluster_task,
    install_arguments,
)
from flyteplugins.codegen.tasks.secrets import read, variable_of
from flyteplugins.codegen.tasks.solution import Value, bind, collected, outputs_of, program
from flyteplugins.codegen.tasks.step import FLYTE_KEEPS_NOTHING, is_of_storage, may_pass
from flyteplugins.codegen.tasks.wire import input_type, output_type, typed

logger = logging.getLogger(__name__)

_CHANGEABLE: Final = ("resources", "retries", "timeout", "env_vars", "secrets", "cache", "short_name", "pod_template")


@dataclass(frozen=True)
class SolutionPlan:
    """All that a task of generated code is made from.

    Attributes:
        name: Name of the task.
        code: The script.
        contract: What it takes and gives.
        lock: What it runs on.
        defaults: Values of inputs that need not be given.
        sandbox: The runtime, or `auto`.
        block_network: Whether it has no network.
        resources: Processors and memory.
        retries: How often Flyte tries again after a failure of the infrastructure.
        timeout: Time limit in seconds, None for no limit.
        env_vars: Environment variables of the program.
        secrets: Secrets that it sees as environment variables.
        cache: `auto`, `override` or `disable`.
        short_name: What the run's list shows; the name if empty.
        registry: Where an image for a cluster is pushed to; Flyte's own setting if None.
        registry_secret: Name of the secret that opens the registry.
        image_strategy: Whether the image for a cluster is built, or a ready one installs the packages.
        base_image: The ready image; Flyte's own if None.
        wheels: Folder of wheels in it that they are installed from; the package index if None.
        built_image: The image, where it is built already.
        store: Where runs on this machine are recorded, as `AutoCoderAgent(store=...)` says it.
        pod_template: Name of the cluster's `PodTemplate` that its pod is made from; Flyte's default if None.
    """

    name: str
    code: str
    contract: Contract
    lock: Lock
    defaults: Mapping[str, Value] = field(default_factory=dict)
    sandbox: str = "auto"
    block_network: bool = True
    resources: flyte.Resources | None = None
    retries: int = 0
    timeout: int | None = None
    env_vars: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Any, ...] = ()
    cache: str = "auto"
    short_name: str = ""
    registry: str | None = None
    registry_secret: str | None = None
    image_strategy: ImageStrategy = "auto"
    base_image: str | None = None
    wheels: str | None = None
    built_image: str | None = None
    store: str | None = None
    pod_template: str | None = None

    @property
    def image(self) -> ImageWishes:
        """What is wanted of the image for a cluster."""
        return ImageWishes(
            strategy=self.image_strategy,
            base_image=self.base_image,
            wheels=self.wheels,
            registry=self.registry,
            registry_secret=self.registry_secret,
            built=self.built_image,
        )

    @property
    def version(self) -> str:
        """Hex SHA-256 of what decides the outcome besides the inputs; Flyte's cache version on a cluster."""
        document = {
            "code": self.code,
            "contract": self.contract.model_dump(),
            "lock": self.lock.key,
            "resources": repr(self.resources),
            "timeout": self.timeout,
            "env_vars": dict(self.env_vars),
            "block_network": self.block_network,
            # What is in an image of the user's own decides as well; the others have the packages alone.
            **({"base_image": self.base_image} if self.base_image and self.image_strategy == "install" else {}),
        }
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


class _ClusterCache(flyte.Cache):
    """Flyte's cache on a cluster only.

    On this machine our own record serves what was run before: it knows a file by its content, where Flyte knows it by
    its path, and sees whether the files are still there.
    """

    def is_enabled(self) -> bool:
        """Whether Flyte may serve or keep anything."""
        return super().is_enabled() and flyte.ctx().mode != "local"


class SolutionTask(ContainerTask):
    """A task of generated code; made by `CodeGenEvalResult.as_task()`.

    Called in a running event loop it gives an awaitable, elsewhere it blocks; `aio()` always gives an awaitable.
    Outside a Flyte run it starts a local one. Samples are the defaults of its inputs.
    """

    def __init__(self, plan: SolutionPlan) -> None:
        contract = plan.contract
        super().__init__(
            name=plan.name,
            image=image_of(plan.lock, plan.image),
            command=_command(plan),
            inputs={name: input_type(kind) for name, kind in contract.inputs.items()},
            outputs={name: output_type(kind) for name, kind in contract.outputs.items()},
            input_data_dir=INPUT_ROOT,
            output_data_dir=OUTPUT_ROOT,
            file_input_layout="NAMED_DIR",
            short_name=plan.short_name,
            resources=plan.resources,
            retries=plan.retries,
            timeout=plan.timeout,
            env_vars=dict(plan.env_vars) or None,
            secrets=list(plan.secrets) or None,
            pod_template=plan.pod_template,
            # Flyte's own key has the empty version for "override", and leaves out variables and limits.
            cache="disable" if plan.cache == "disable" else _ClusterCache("auto", version_override=plan.version),
        )
        self.plan = plan
        self._set_defaults()
        self.failure: CodegenError | None = None
        self._environment: flyte.TaskEnvironment | None = None
        self._with_image: SolutionTask | None = None
        self._finding_image = asyncio.Lock()

    def _set_defaults(self) -> None:
        inputs = {
            name: (kind, as_default(self.plan.defaults.get(name, empty)))
            for name, (kind, empty) in self.interface.inputs.items()
        }
        self.interface = NativeInterface(inputs, self.interface.outputs)

    def environment(
        self, name: str | None = None, *, depends_on: Iterable[flyte.Environment] = ()
    ) -> flyte.TaskEnvironment:
        """An environment that holds this task, to deploy it with, and for the `depends_on` of those that call it.

        Args:
            name: Name of the environment, in snake_case or kebab-case; derived from the task's if None.
            depends_on: What is to be deployed with it.

        Returns:
            The environment; the same one at every call.

        Raises:
            InvalidInputError: The task is in an environment of another name.
        """
        present = self.parent_env() if self.parent_env else None
        wanted = name or (present.name if present else re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-"))
        if present is not None and present.name != wanted:
            raise InvalidInputError(
                f"{self.name} is in the environment {present.name!r}, and a task is in one only. Make another task "
                "with `as_task()`."
            )
        # The task keeps it: Flyte itself refers to it weakly.
        self._environment = present or flyte.TaskEnvironment.from_task(wanted, self, depends_on=list(depends_on))
        return self._environment

    @TwoFaced
    async def with_uploaded_samples(self, address: str) -> SolutionTask:
        """The same task with its samples at an address that a cluster reads, as the defaults of its inputs.

        Where Flyte itself uploads to is for the control plane to say, and a deployment does it by itself; this is for
        another place, or to serialise without a control plane. `await task.with_uploaded_samples.aio(...)` is the
        same, awaited. Make the environment from the task that comes back.

        Args:
            address: Where to, such as `s3://bucket/samples`; each goes to `<address>/<sha256>/<name>`.

        Returns:
            The task.

        Raises:
            InvalidInputError: A sample is not on this machine any more.
        """
        return SolutionTask(dataclasses.replace(self.plan, defaults=await upload(self.plan.defaults, address)))

    def __call__(self, *args: Any, **values: Any) -> Any:
        """Run it: an awaitable in a running event loop, else the outputs."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return BoundTwoFaced(self._call)(*args, **values)
        return self.aio(*args, **values)

    def aio(self, *args: Any, **values: Any) -> Awaitable[Any]:  # type: ignore[override] # an awaitable is enough
        """Run it, to be awaited.

        Args:
            *args: Values in the order of the inputs.
            **values: Values by input name.

        Returns:
            The output where there is one, a tuple in declared order where there are several, None where there are
            none.
        """
        return BoundTwoFaced(self._call).aio(*args, **values)

    def forward(self, *args: Any, **values: Any) -> Any:
        """Run it without a task of its own."""
        return self(*args, **values)

    def override(self, **changes: Any) -> SolutionTask:
        """The same task with other resources, retries, timeout, env_vars, secrets, cache, short_name or pod_template.

        `pod_template` is the name of a `PodTemplate` of the cluster.
        """
        unknown = sorted(set(changes) - set(_CHANGEABLE))
        if unknown:
            raise InvalidInputError(f"{', '.join(unknown)} can't be overridden. Possible: {', '.join(_CHANGEABLE)}.")
        wanted = {setting: value for setting, value in changes.items() if value is not None}
        if isinstance(cache := wanted.get("cache"), flyte.Cache):
            wanted["cache"] = cache.behavior
        if wanted.get("cache", "auto") not in CACHE_MODES:
            raise InvalidInputError(f"cache={wanted['cache']!r} is unknown. Known: {', '.join(CACHE_MODES)}.")
        if not isinstance(wanted.get("pod_template", ""), str):
            raise InvalidInputError(
                "pod_template must be the name of a PodTemplate of the cluster: with a specification in its place, "
                "Flyte does not say where the inputs and outputs of a container are."
            )
        changed = SolutionTask(dataclasses.replace(self.plan, **wanted))
        changed.parent_env, changed.parent_env_name = self.parent_env, self.parent_env_name
        changed._environment = self._environment
        return changed

    async def execute(self, **values: Any) -> Any:
        """Run the script in the sandbox; Flyte calls this on this machine only."""
        try:
            outputs = await self._run(values)
        except CodegenError as error:
            # Crossing Flyte it would lose its type and its attributes.
            self.failure = error
            if may_pass(error):
                raise  # Flyte tries again as often as it was told to
            raise NonRecoverableError(str(error)) from None  # Flyte logs it; once is enough
        return outputs

    async def _call(self, *args: Any, **values: Any) -> Any:
        plan = self.plan
        given = {**dict(zip(plan.contract.inputs, args, strict=False)), **values}
        if len(args) > len(plan.contract.inputs):
            raise InvalidInputError(f"{self.name} takes {len(plan.contract.inputs)} inputs, and was given {len(args)}.")
        if in_cluster_task():
            bound = await bind(plan.contract, plan.defaults, given, may_stay=is_remote)
            task = await self._with_an_image()
            return await get_controller().submit(task, **{name: as_default(value) for name, value in bound.items()})
        bound = await bind(plan.contract, plan.defaults, given)
        read(plan.secrets)  # one that is missing is the caller's to know, before anything starts
        if internal_ctx().is_in_trace():
            return await self._declared(await self._run(bound))  # Flyte allows no task in there
        once = copy.copy(self)  # two calls may go on at once, each with a failure of its own

        async def submit() -> Any:
            if internal_ctx().is_task_context():
                try:
                    return await get_controller().submit(once, **bound)
                except Exception as error:
                    if once.failure is not None or not is_of_storage(error):
                        raise
                    logger.warning(FLYTE_KEEPS_NOTHING.format(error=error))
            return await self._declared(
                await self._run(bound)
            )  # Flyte could not start a run, or not look into its cache

        try:
            return await in_run(submit, self.name)
        except Exception:
            if once.failure is not None:
                raise once.failure from None
            raise

    async def _declared(self, outputs: tuple[Value, ...]) -> Any:
        """Outputs as Flyte hands them on."""
        kinds = self.plan.contract.outputs.values()
        found = [await typed(kind, value) for kind, value in zip(kinds, outputs, strict=True)]
        return tuple(found) if len(found) > 1 else next(iter(found), None)

    async def _with_an_image(self) -> SolutionTask:
        """The task as it can be submitted from a task on a cluster: with an image that is there."""
        images = flyte.ctx().compiled_image_cache
        if self.parent_env_name and (images is None or self.parent_env_name in images.image_lookup):
            return self  # it was deployed, with its image
        async with self._finding_image:  # once, however many calls there are
            if self._with_image is None:
                changed, told = await with_image_here(self.plan)
                logger.info("%s: %s", self.name, told)
                task = SolutionTask(changed)
                # Under a name that no deployed environment has: Flyte would take that one's image.
                task.environment(f"codegen-{self.plan.lock.key[:12]}")
                self._with_image = task
        return self._with_image

    async def _run(self, values: Mapping[str, Any]) -> tuple[Value, ...]:
        plan = self.plan
        bound = await bind(plan.contract, plan.defaults, values)
        runtime, _ = await choose(plan.sandbox, system_packages=bool(plan.lock.system_packages))
        # No retries in here: this task as a whole is what Flyte tries again.
        executor = Executor(
            runtime, cache=plan.cache, name=self.name, secrets=read(plan.secrets), record=open_record(plan.store)
        )
        environment = await executor.restore(plan.lock)
        argv, files = await program(plan.contract, environment.image, bound, plan.code)
        execution = await executor.execute(
            Work(
                name="sandbox",
                argv=argv,
                locks=(plan.lock,),
                files=files,
                env=dict(plan.env_vars),
                limits=limits_of(plan.resources, plan.timeout),
                network=not plan.block_network,
                collect=collected(plan.contract),
            )
        )
        return await asyncio.to_thread(outputs_of, plan.contract, execution)


def _command(plan: SolutionPlan) -> list[str]:
    """The raw container's command on a cluster; an argument list, never a line of a shell."""
    contract = plan.contract
    # A value is in a file, never in the command: see the entry.
    inputs = [
        f"{'<' if kind in PLAIN_TYPES else '--'}{name}={INPUT_ROOT}/{name}" for name, kind in contract.inputs.items()
    ]
    arguments = pod_arguments(
        plan.code,
        contract,
        network=not plan.block_network,
        strict=plan.sandbox != "process",
        seconds=plan.timeout,
        variables=plan.env_vars,
        secrets=map(variable_of, plan.secrets),
    )
    return [
        *("python", *install_arguments(plan.lock, plan.image), *arguments),
        *inputs,
        *([f"--outputs={OUTPUT_ROOT}"] if contract.outputs else []),
    ]


async def with_image_here(plan: SolutionPlan) -> tuple[SolutionPlan, str]:
    """A plan with an image that is there, for a task on a cluster that submits it.

    Args:
        plan: The plan.

    Returns:
        The plan, and the strategy that was taken and why, in a sentence.

    Raises:
        InvalidRequestError: `build` is wanted, and there is no image builder.
        EnvironmentBuildError: `build` is wanted, and the image can't be built.
    """
    chosen = await choose_strategy(plan.image_strategy)
    told = chosen.told
    if chosen.strategy == "build":
        try:
            built = await build(image_of(plan.lock, plan.image), plan.lock)
            return dataclasses.replace(plan, built_image=built), told
        except EnvironmentBuildError as error:
            if plan.image_strategy == "build":
                raise
            told = f"Images: packages are installed on a ready image. {error}"
    return dataclasses.replace(plan, image_strategy="install"), told
