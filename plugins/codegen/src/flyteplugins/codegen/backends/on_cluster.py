"""What a generation in a task on a cluster does besides: it sees to the image of the packages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from flyteplugins.codegen.core.errors import EnvironmentBuildError, SandboxUnavailableError
from flyteplugins.codegen.core.events import Event, Note
from flyteplugins.codegen.core.result import CodeGenEvalResult, RunOptions
from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.results.running import task_of
from flyteplugins.codegen.sandbox.contract import Runtime
from flyteplugins.codegen.sandbox.select import choose
from flyteplugins.codegen.tasks.pod.images import choose_strategy, image_of, in_cluster_task
from flyteplugins.codegen.tasks.solution_task import with_image_here

_IN_A_POD: Final = (
    "This is a pod of a cluster. bubblewrap works in one whose pod template lets it make user namespaces; see "
    "docs/cluster.md."
)


async def choose_runtime(settings: Settings, emit: Callable[[Event], None]) -> tuple[Runtime, str]:
    """The runtime of the checks and tests; in a task on a cluster, it is looked for in the task's own pod.

    The strategy for images is chosen as well there, so that one that can't be had is told before anything is paid for.

    Args:
        settings: The agent's settings.
        emit: Takes the events.

    Returns:
        The runtime, and one line that says what was chosen and why.

    Raises:
        SandboxUnavailableError: It can't be used here, or none that isolates can.
        InvalidRequestError: Images are to be built, and there is no image builder.
    """
    if not in_cluster_task():
        return await choose(settings.sandbox)
    emit(Note(0, (await choose_strategy(settings.image_strategy)).told))
    try:
        runtime, isolation = await choose(settings.sandbox)
    except SandboxUnavailableError as error:
        raise SandboxUnavailableError(f"{error} {_IN_A_POD}") from error
    token = "" if runtime.isolates else " It can read the tokens that are mounted there, too."
    return runtime, f"{isolation} Checks and tests run in this task's pod.{token}"


async def with_image(result: CodeGenEvalResult, emit: Callable[[Event], None]) -> CodeGenEvalResult:
    """A result that names the image which its code runs on in this cluster; outside one, as it is.

    Args:
        result: The result of a generation.
        emit: Takes the events.

    Returns:
        The result. A build that fails ends nothing: it is told, and tried again when the code is run.
    """
    if not result.success or not in_cluster_task():
        return result
    plan = (await asyncio.to_thread(task_of, result, RunOptions(), "task")).plan
    try:
        changed, told = await with_image_here(plan)
    except EnvironmentBuildError as error:
        emit(Note(result.attempts, str(error)))
        receipt = result.receipt.model_copy(update={"warnings": [*result.receipt.warnings, str(error)]})
        return result.model_copy(update={"receipt": receipt})
    address = image_of(changed.lock, changed.image).uri
    emit(Note(result.attempts, f"{told} The code runs on {address}."))
    return result.model_copy(update={"image": address})
