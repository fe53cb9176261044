"""`AutoCoderAgent` for flytekit: the same agent, with flytekit's types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flytekit import ImageSpec

from flyteplugins.codegen.auto_coder_agent import AutoCoderAgent as _AutoCoderAgent
from flyteplugins.codegen.core.sync import TwoFaced
from flyteplugins.codegen.flytekit import deck
from flyteplugins.codegen.flytekit.convert import declared, flyte_resources, flyte_secrets, from_flytekit
from flyteplugins.codegen.flytekit.pods import in_pods
from flyteplugins.codegen.flytekit.result import CodeGenEvalResult


@dataclass(frozen=True)
class AutoCoderAgent(_AutoCoderAgent):
    """Turns a request in plain language, with sample data, into tested Python that runs as a task of flytekit.

    The settings are those of `flyteplugins.codegen.AutoCoderAgent`; `resources` and `secrets` may be flytekit's too.

    Args:
        run_image: What the pods run on in which an `@eager` workflow on a cluster checks and tests the code: a name, or
            an `ImageSpec`. It needs what the workflow's own image has, which it is if None. With
            `image_strategy="build"` the environments are built into an image on top of it, else each pod builds those
            that it needs.
    """

    run_image: str | ImageSpec | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        # A frozen dataclass is set this way while it is made.
        object.__setattr__(self, "resources", flyte_resources(self.resources))
        object.__setattr__(self, "secrets", flyte_secrets(self.secrets))
        super().__post_init__()

    def jobs_through(self, runtime: Any) -> Any:
        """A task of flytekit for each job where an `@eager` workflow on a cluster can start it, else the sandbox."""
        return in_pods(
            runtime,
            image=self.run_image,
            build=self.image_strategy == "build",
            registry=self.image_config.registry if self.image_config else None,
            secrets=self.secrets or (),
            retries=self.sandbox_retries,
        )

    @TwoFaced
    async def generate(  # type: ignore[override] # the same, with more types
        self,
        /,
        prompt: str,
        schema: str | None = None,
        constraints: Sequence[str] | None = None,
        samples: Mapping[str, Any] | None = None,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        *,
        input_examples: Mapping[str, Any] | None = None,
    ) -> CodeGenEvalResult:
        """Generate code for a request, as `flyteplugins.codegen.AutoCoderAgent.generate` does.

        `agent.generate(...)` blocks, for sync tasks; `await agent.generate.aio(...)` is the same for async ones.

        Args:
            prompt: What the code is to do, in plain language.
            schema: Free-form context about data formats or target structures.
            constraints: Rules in plain language that the code must respect.
            samples: Sample data by input name: `FlyteFile`, `StructuredDataset`, paths or DataFrames.
            inputs: Types of the inputs without a sample, by name; `FlyteFile` for files.
            outputs: Types of the outputs by name; `FlyteFile` for files.
            input_examples: Values for inputs without a sample to try the code with.

        Returns:
            The result, whose `as_task()` gives a task of flytekit. The report of it is a deck of the task that runs,
            where that has decks enabled.

        Raises:
            UserError: Something in the request, the settings or this machine can't work; nothing was paid for.
            CodegenError: The model failed before it answered once.
        """
        result = await super().generate.aio(
            prompt,
            schema,
            constraints,
            await from_flytekit(samples),
            declared(inputs),
            declared(outputs),
            input_examples=await from_flytekit(input_examples),
        )
        deck.show(result)
        return CodeGenEvalResult.of(result)
