"""`AutoCoderAgent`: the settings of a code generation, and `generate()`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flyte.io import File

from flyteplugins.codegen.core.budget import Budget
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.result import CodeGenEvalResult
from flyteplugins.codegen.core.settings import (
    CACHE_MODES,
    IMAGE_STRATEGIES,
    REVIEW_DEFAULTS,
    REVIEW_KINDS,
    RUNTIMES,
    SAMPLE_PRIVACY,
    Settings,
)
from flyteplugins.codegen.core.sync import TwoFaced

if TYPE_CHECKING:
    import pandas as pd

    from flyteplugins.codegen.backends.asked import Asked
    from flyteplugins.codegen.core.contract import Contract

_BACKENDS: Final = ("litellm",)
_PLANNED_BACKENDS: Final = ("claude", "codeact", "react", "chained", "single_shot")


@dataclass(frozen=True)
class AutoCoderAgent(Settings):
    """Turns a request in plain language, with sample data, into tested Python that runs as a Flyte task.

    Nothing is imported, read or called until `generate()`. Agents share no state: as many as you like may work in
    one process at a time.

    Args:
        name: Name of the agent, in the names of its tasks and images.
        model: Model identifier of litellm, such as `gpt-4.1` or `anthropic/claude-sonnet-4-20250514`, or
            `replay:FILE` to play back a recorded transcript.
        backend: How the solution comes about; `litellm` is the fixed pipeline plan, code, packages, environment,
            tests, run, diagnosis.
        system_prompt: Replaces the role and the conventions that the model is told; the script's contract and the
            rules for answers always follow it.
        api_key: Name of the environment variable that holds the key of the model; the provider's usual variables if
            None.
        api_base: Address of the model's endpoint; the provider's if None. A server that needs no key gets a dummy.
        litellm_params: Further parameters of each model call, such as `{"temperature": 0.2, "max_tokens": 4096}`.
        base_packages: Distributions that every environment has.
        resources: Processors and memory of each sandboxed run; 1 CPU and 1 GiB if None.
        image_config: Python version of the environments, and registry and secret for images on a cluster.
        max_iterations: How many attempts are made, at least 1.
        max_sample_rows: Example rows of each sample that the model may see; all rows are read for the profile.
        skip_tests: Do not write or run tests, nor run the code: it is checked statically and its environment built.
        sandbox_retries: How often Flyte tries a sandboxed run again after a failure of the infrastructure.
        timeout: Time limit of each sandboxed run in seconds; 300 for checks and tests and none for `run()` and tasks
            if None.
        env_vars: The environment variables that the code sees; none is inherited.
        secrets: Secrets that the code sees as environment variables; outside a cluster each comes from the variable
            that it names.
        cache: `auto` serves the answers, builds, runs and whole generations that are on record; `override` asks, builds
            and runs again and records what comes of it; `disable` neither reads nor writes the record.
        agent_max_turns: Turns of an autonomous backend.
        block_network: Whether the code has no network.
        sandbox: Where the code runs: `bubblewrap`, `docker`, `process` (no isolation; only for code that you trust),
            or `auto` for the first of the isolating ones that works here.
        sample_privacy: `rows` shows the model statistics and example rows of the samples; `schema` only names, types
            and counts, and takes the data's values out of what it is told of failures.
        max_calls: Model calls that a generation may make; no limit if None.
        max_tokens_total: Tokens, sent and received together, that a generation may use; no limit if None.
        max_seconds: Wall time in seconds that a generation may take; no limit if None.
        budget: Limits on US dollars, tokens, seconds and model calls, `Budget(usd=2.0, calls=20)`; where a cap above
            says less, that holds. A generation that reaches one ends with the best so far, and `error` says which.
        call_timeout: Deadline of one request to the model in seconds; a call with all its retries ends within twice
            that.
        fallback_models: Models to ask, in this order, where `model` is not available or gives no usable answer: names
            as for `model`, or mappings with `model` and any of `api_key`, `api_base` and `litellm_params`.
        store: Where answers, runs and generations are recorded: the state folder of this machine if None, another
            folder, or the address of an object store such as `s3://bucket/prefix`, which machines share.
        review: What a person is to approve: `plan` before code is written to it, `code` before each version of it is
            run for the first time, `packages` before an environment with them is built; several as a list.
        review_timeout: Seconds that the person may take for each; as long as they like if None. No limit on the
            generation's time counts them.
        review_default: What holds where nobody answers in time: `reject` ends the generation with the best so far,
            `approve` goes on.
        on_review: Decides in the person's stead or asks them: takes a `ReviewRequest`, returns a `ReviewDecision`, and
            may be a coroutine function. Without it they are asked through Flyte or in the terminal.
        image_strategy: Where packages come from on a cluster: `build` builds an image of them with `flyte.build`,
            `install` installs them on a ready image when a container starts. `auto` lets a deployment build, and a
            task that generates or runs code build where the cluster has an image builder and install where not.
        base_image: The ready image for `install`, with the Python version of the code and uv or pip; Flyte's own if
            None.
        wheels: Folder of wheel files in the ready image that `install` takes the packages from, offline; the package
            index if None.
        on_event: Is told what happens while a generation runs; see `flyteplugins.codegen.core.events`.

    Raises:
        InvalidRequestError: A setting can't be used.
    """

    def __post_init__(self) -> None:
        _one_of("backend", self.backend, (*_BACKENDS, *_PLANNED_BACKENDS))
        _one_of("sandbox", self.sandbox, RUNTIMES)
        _one_of("cache", self.cache, CACHE_MODES)
        _one_of("image_strategy", self.image_strategy, IMAGE_STRATEGIES)
        _one_of("sample_privacy", self.sample_privacy, SAMPLE_PRIVACY)
        for setting in ("name", "model"):
            if not isinstance(getattr(self, setting), str) or not getattr(self, setting).strip():
                raise InvalidRequestError(f"{setting} must be a text that is not empty.")
        for setting, least in (("max_iterations", 1), ("max_sample_rows", 0), ("sandbox_retries", 0)):
            if not isinstance(getattr(self, setting), int) or getattr(self, setting) < least:
                raise InvalidRequestError(f"{setting} must be a whole number of at least {least}.")
        for setting in ("timeout", "max_calls", "max_tokens_total", "max_seconds", "call_timeout", "review_timeout"):
            value = getattr(self, setting)
            if value is not None and value <= 0:
                raise InvalidRequestError(f"{setting} must be more than 0.")
        _check_review(self)
        if not isinstance(self.budget, (Budget, type(None))):
            raise InvalidRequestError(f"budget must be a Budget, such as Budget(usd=2.0), not {self.budget!r}.")
        if not isinstance(self.store, (str, Path, type(None))) or self.store == "":
            raise InvalidRequestError("store must be a folder or the address of an object store.")
        others = self.fallback_models or []
        if not isinstance(others, (list, tuple)) or not all(isinstance(other, (str, dict)) for other in others):
            raise InvalidRequestError(
                "fallback_models must be a list of models, each a name or a dict, such as "
                "['anthropic/claude-sonnet-4-5']."
            )

    @TwoFaced
    async def generate(
        self,
        /,
        prompt: str,
        schema: str | None = None,
        constraints: Sequence[str] | None = None,
        samples: Mapping[str, File | pd.DataFrame] | None = None,
        inputs: Mapping[str, type] | None = None,
        outputs: Mapping[str, type] | None = None,
        *,
        input_examples: Mapping[str, Any] | None = None,
    ) -> CodeGenEvalResult:
        """Generate code for a request, test it in isolation, and repair it until it passes.

        `agent.generate(...)` blocks; `await agent.generate.aio(...)` is the same, awaited. Both work inside Flyte
        tasks, in plain scripts and in notebooks.

        Args:
            prompt: What the code is to do, in plain language.
            schema: Free-form context about data formats or target structures.
            constraints: Rules in plain language that the code must respect.
            samples: Sample data by input name, as files (local or remote) or DataFrames. Each becomes an input of
                type `File`.
            inputs: Types of the inputs without a sample, by name: `str`, `int`, `float`, `bool`,
                `datetime.datetime`, `datetime.timedelta`, `datetime.date`, `dict`, `list`, `flyte.io.File`,
                `list[flyte.io.File]`, `flyte.io.Dir`, `flyte.io.DataFrame` or `pandas.DataFrame`; `dict[str, X]` and
                `list[X]` where JSON holds X.
            outputs: Types of the outputs by name, of the same types but `list[flyte.io.File]`; None for code whose exit
                status is all.
            input_examples: Values for inputs without a sample to try the code with; the model chooses where none is
                given.

        Returns:
            The result; `success=False` carries the attempt that came furthest and, in `error`, the reason.

        Raises:
            UserError: Something in the request, the settings or this machine can't work; nothing was paid for.
            CodegenError: The model failed before it answered once.
        """
        if self.backend in _PLANNED_BACKENDS:
            raise InvalidRequestError(f"backend {self.backend!r} is not built yet. Use backend='litellm'.")
        # Loaded here: importing the package costs next to nothing.
        from flyteplugins.codegen.backends.asked import Asked
        from flyteplugins.codegen.backends.generations import served_or
        from flyteplugins.codegen.sandbox.leftovers import leftovers_cleared

        asked = Asked(prompt, schema, constraints, samples, inputs, outputs, input_examples)
        async with leftovers_cleared(self.store):
            return await served_or(self, asked, self._generate)

    async def _generate(self, asked: Asked, contract: Contract) -> CodeGenEvalResult:
        # What serves a recorded generation needs none of these.
        from flyteplugins.codegen.backends.on_cluster import with_image
        from flyteplugins.codegen.backends.opening import open_desk
        from flyteplugins.codegen.backends.pipeline import generate
        from flyteplugins.codegen.tasks.local_run import in_run

        desk = await open_desk(self, asked, contract)
        try:
            async with desk.page:
                result: CodeGenEvalResult = await in_run(lambda: generate(desk))
                result = await with_image(result, desk.emit)
                await desk.page.finish(result)
            return result
        finally:
            await desk.workshop.close()


def _check_review(settings: Settings) -> None:
    asked = [settings.review] if isinstance(settings.review, str) else settings.review
    if asked is not None and not isinstance(asked, (list, tuple)):
        raise InvalidRequestError(f"review must be one of {', '.join(REVIEW_KINDS)}, or a list of them.")
    for kind in asked or ():
        _one_of("review", kind, REVIEW_KINDS)
    _one_of("review_default", settings.review_default, REVIEW_DEFAULTS)
    if settings.on_review is not None and not callable(settings.on_review):
        raise InvalidRequestError("on_review must be a function that takes a ReviewRequest.")


def _one_of(setting: str, value: object, known: Sequence[str]) -> None:
    if value not in known:
        raise InvalidRequestError(f"{setting}={value!r} is unknown. Known: {', '.join(known)}.")
