"""A result whose methods speak flytekit: `run()` gives a `FlyteFile` for a file, `as_task()` a task of flytekit."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyteplugins.codegen import verbs
from flyteplugins.codegen.core.result import CodeGenEvalResult as _CodeGenEvalResult
from flyteplugins.codegen.core.result import ResultVerbs, RevisionOptions, RunOptions
from flyteplugins.codegen.flytekit.convert import flyte_resources, flyte_secrets, from_flytekit, to_flytekit
from flyteplugins.codegen.flytekit.task import SolutionTask

if TYPE_CHECKING:
    from flytekit import ImageSpec


class Verbs(verbs.Verbs):
    """Carries out the methods of a result for flytekit."""

    async def run(self, result: _CodeGenEvalResult, options: RunOptions) -> Any:
        """Run the code once and return its outputs."""
        given = dataclasses.replace(
            options,
            inputs=await from_flytekit(options.inputs),
            resources=flyte_resources(options.resources),
            secrets=flyte_secrets(result.defaults.secrets if options.secrets is None else options.secrets),
        )
        return await to_flytekit(await super().run(result, given))

    def load(self, folder: Path) -> CodeGenEvalResult:
        """Read a saved generation."""
        return CodeGenEvalResult.of(super().load(folder))

    async def revise(self, result: _CodeGenEvalResult, wanted: RevisionOptions) -> CodeGenEvalResult:
        """Change the code, and check it anew."""
        return CodeGenEvalResult.of(await super().revise(result, wanted))


class CodeGenEvalResult(_CodeGenEvalResult):
    """The outcome of a generation, for flytekit; `flyteplugins.codegen.CodeGenEvalResult` documents its attributes."""

    @classmethod
    def of(cls, result: _CodeGenEvalResult) -> CodeGenEvalResult:
        """Take over a result of `flyteplugins.codegen`.

        Args:
            result: The result; it stays as it is.

        Returns:
            The same result, for flytekit.
        """
        return cls.model_construct(**{name: getattr(result, name) for name in type(result).model_fields})

    def as_task(
        self,
        name: str | None = None,
        *,
        image: str | ImageSpec | None = None,
        samples_at: str | None = None,
        resources: Any = None,
        retries: int | None = None,
        timeout: int | None = None,
        env_vars: dict[str, str] | None = None,
        secrets: list[Any] | None = None,
        cache: str | None = None,
    ) -> SolutionTask:
        """Make a task of flytekit of the code, to be called in workflows, `@dynamic` and `@eager`.

        Args:
            name: Name of the task; derived from the agent's if None. No two tasks of a project may have the same.
            image: What the task runs on on a cluster: a name, also one like
                `{{.image.codegen.fqn}}:{{.image.codegen.version}}` for `pyflyte package --image codegen=...`, or an
                `ImageSpec`. One of the locked packages if None.
            samples_at: Where the samples are uploaded to now, by content, to be defaults on a cluster too, such as
                `s3://bucket/samples`. They stay files of this machine if None, and no default on a cluster.
            resources: Processors and memory, of either Flyte; the agent's if None.
            retries: How often Flyte tries again; the agent's `sandbox_retries` if None.
            timeout: Time limit in seconds; none if neither this nor the agent says one.
            env_vars: Environment variables of the program; the agent's if None.
            secrets: Secrets, of either Flyte, that the program sees as environment variables; the agent's if None.
            cache: `auto`, `override` or `disable`; the agent's if None.

        Returns:
            The task. Samples are the defaults of its inputs.

        Raises:
            GenerationFailedError: The generation did not succeed.
            InvalidInputError: A secret has no group, or `samples_at` is not an address that a cluster reads.
        """
        task = super().as_task(
            name,
            resources=flyte_resources(resources),
            retries=retries,
            timeout=timeout,
            env_vars=env_vars,
            secrets=flyte_secrets(self.defaults.secrets if secrets is None else secrets),
            cache=cache,
        )
        return SolutionTask(task.with_uploaded_samples(samples_at) if samples_at else task, image=image)


def _verbs() -> ResultVerbs:
    return Verbs()


CodeGenEvalResult.verbs = _verbs
