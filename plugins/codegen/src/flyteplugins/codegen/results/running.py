"""`run()` and `as_task()` of a result."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import flyte

from flyteplugins.codegen.core.errors import GenerationFailedError, InvalidInputError
from flyteplugins.codegen.core.result import CodeGenEvalResult, RunOptions
from flyteplugins.codegen.core.settings import CACHE_MODES
from flyteplugins.codegen.tasks.solution_task import SolutionPlan, SolutionTask


async def run(result: CodeGenEvalResult, options: RunOptions) -> Any:
    """Run the code of a result once; see `CodeGenEvalResult.run`."""
    task = await asyncio.to_thread(task_of, result, options, "run")
    return await task.aio(**options.inputs)


def task_of(result: CodeGenEvalResult, options: RunOptions, role: str) -> SolutionTask:
    """A task of the code of a result.

    Args:
        result: A successful result.
        options: The arguments of the call; None means the agent's setting.
        role: What the name of the task ends with where none was given.

    Returns:
        The task.

    Raises:
        GenerationFailedError: The generation did not succeed.
    """
    if not result.success or result.solution is None or result.lock is None:
        raise GenerationFailedError(
            f"The generation did not succeed, so there is nothing to run. {result.error or ''}".strip()
        )
    defaults = result.defaults
    cache = options.cache or defaults.cache
    if cache not in CACHE_MODES:
        raise InvalidInputError(f"cache={cache!r} is unknown. Known: {', '.join(CACHE_MODES)}.")
    secrets = defaults.secrets if options.secrets is None else options.secrets
    return SolutionTask(
        SolutionPlan(
            name=options.name or f"{_slug(defaults.name)}-{role}",
            code=result.solution.code,
            contract=result.contract,
            lock=result.lock,
            defaults=dict(result.original_samples or {}),
            sandbox=defaults.sandbox,
            block_network=defaults.block_network,
            resources=options.resources or _resources(defaults.cpu, defaults.memory),
            retries=defaults.retries if options.retries is None else options.retries,
            timeout=defaults.timeout if options.timeout is None else options.timeout,
            env_vars=defaults.env_vars if options.env_vars is None else options.env_vars,
            secrets=tuple(
                secret
                if isinstance(secret, flyte.Secret)
                else flyte.Secret(key=secret.key, group=secret.group, as_env_var=secret.as_env_var)
                for secret in secrets
            ),
            cache=cache,
            registry=defaults.registry,
            registry_secret=defaults.registry_secret,
            store=defaults.store,
            image_strategy=defaults.image_strategy,
            base_image=defaults.base_image,
            wheels=defaults.wheels,
        )
    )


def _resources(cpu: str | None, memory: str | None) -> flyte.Resources:
    return flyte.Resources(cpu=cpu or 1, memory=memory or "1Gi")


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-") or "auto-coder"
