"""What a generation hands back: plain data that survives JSON and Flyte's type engine, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Protocol

import flyte
from flyte.io import File
from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from flyteplugins.codegen.core.contract import VALUE_TYPES, Contract, type_name
from flyteplugins.codegen.core.data import Data
from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import InvalidInputError, InvalidRequestError
from flyteplugins.codegen.core.history import Attempt, Review, Revision, Span
from flyteplugins.codegen.core.pictures import SamplePicture
from flyteplugins.codegen.core.receipt import Receipt
from flyteplugins.codegen.core.settings import ImageStrategy
from flyteplugins.codegen.core.solution import CodePlan, CodeSolution
from flyteplugins.codegen.core.sync import TwoFaced
from flyteplugins.codegen.core.usage import Usage

ValueType = Annotated[
    Any,
    BeforeValidator(lambda value: VALUE_TYPES[value] if isinstance(value, str) else value),
    PlainSerializer(type_name, return_type=str),
    WithJsonSchema({"type": "string", "enum": list(VALUE_TYPES)}),
]
"""A Python type that travels by name: Flyte's type engine and JSON can't carry a type."""


class SecretName(Data):
    """Where a secret comes from; never its value.

    Attributes:
        key: Name of the secret.
        group: Group of the secret, or None.
        as_env_var: The variable that the program sees it in.
    """

    key: str
    group: str | None = None
    as_env_var: str | None = None


class RunDefaults(Data):
    """How `run()` and `as_task()` run the code where their arguments do not say otherwise: the agent's settings."""

    name: str = "auto-coder"
    sandbox: str = "auto"
    block_network: bool = True
    cpu: str | None = None
    memory: str | None = None
    retries: int = 0
    timeout: int | None = None
    env_vars: dict[str, str] = Field(default_factory=dict)
    secrets: list[SecretName] = Field(default_factory=list)
    cache: str = "auto"
    registry: str | None = None
    registry_secret: str | None = None
    store: str | None = None
    image_strategy: ImageStrategy = "auto"
    base_image: str | None = None
    wheels: str | None = None


class Origin(Data):
    """What a generation was asked, and by an agent of which settings: what a follow-up request starts from.

    Attributes:
        prompt: What the code is to do.
        context: Free-form text about formats and target structures, or None.
        constraints: Rules that the code must respect.
        input_examples: Text of the values that the user gave for inputs without a sample.
        example_files: The files that the user gave for inputs of type `File` without a sample.
        data_checks: The checks on columns that the constraints came to, as the model read them.
        agent: The settings of the agent that are plain data, by name; a key or another secret is not among them.
            `withheld` lists the names of those that were left out for that.
    """

    prompt: str = ""
    context: str | None = None
    constraints: list[str] = Field(default_factory=list)
    input_examples: dict[str, str] = Field(default_factory=dict)
    example_files: dict[str, File] = Field(default_factory=dict)
    data_checks: list[dict[str, Any]] = Field(default_factory=list)
    agent: dict[str, Any] = Field(default_factory=dict)


class ResultVerbs(Protocol):
    """What a higher room does with a result; bound when the package is imported (see `CodeGenEvalResult.verbs`)."""

    async def run(self, result: CodeGenEvalResult, options: RunOptions) -> Any:
        """Run the code once and return its outputs."""
        ...

    def as_task(self, result: CodeGenEvalResult, options: RunOptions) -> Any:
        """Make a task of the code."""
        ...

    def save(self, result: CodeGenEvalResult, folder: Path) -> Path:
        """Write a saved generation."""
        ...

    def load(self, folder: Path) -> CodeGenEvalResult:
        """Read a saved generation."""
        ...

    def summary(self, result: CodeGenEvalResult) -> str:
        """The receipt as text."""
        ...

    async def revise(self, result: CodeGenEvalResult, wanted: RevisionOptions) -> CodeGenEvalResult:
        """Change the code, and check it anew."""
        ...


@dataclass(frozen=True)
class RunOptions:
    """The arguments of one `run()` or `as_task()` call; None means the agent's setting.

    Attributes:
        inputs: Values by input name.
    """

    name: str | None = None
    resources: flyte.Resources | None = None
    retries: int | None = None
    timeout: int | None = None
    env_vars: dict[str, str] | None = None
    secrets: list[Any] | None = None
    cache: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RevisionOptions:
    """The arguments of one `revise()` call; exactly one of `prompt` and `code` is given.

    Attributes:
        prompt: A follow-up request.
        code: A person's version of the code.
        tests: A person's version of the tests; None keeps them.
        agent: The agent to work with; None for the settings of the one that generated the code.
    """

    prompt: str | None = None
    code: str | None = None
    tests: str | None = None
    agent: Any = None


class CodeGenEvalResult(Data):
    """The outcome of a generation.

    Attributes:
        success: Whether all checks and tests passed; with `skip_tests`, whether the code is valid and its
            environment built.
        solution: The code, or the best attempt so far; None if there was none.
        tests: Source of the tests; None with `skip_tests` or if there were none.
        output: Output of the tests, shortened; of the solution where `outputs` was None.
        exit_code: Exit status of the tests.
        error: Why it failed, for a person; None on success.
        attempts: Attempts used.
        image: What the runtime calls the built environment.
        detected_packages: Distributions that the code needs.
        detected_system_packages: apt packages that the code needs.
        generated_schemas: Pandera schemas by sample, each runnable Python.
        data_context: What the model was told of the samples.
        original_samples: The samples as files, the defaults of `run()` and of the task.
        total_input_tokens: Tokens sent to models.
        total_output_tokens: Tokens received from models.
        conversation_history: Every message to and from the models, in order; of a revised result those of the
            generation and of earlier revisions first. All other figures are those of the latest revision.
        plan: The plan that the code follows.
        declared_inputs: Type by input, samples included, in declared order.
        declared_outputs: Type by output, in declared order; empty for `outputs=None`.
        input_examples: Example value, as text, of each input without a sample.
        lock: The environment, resolved; an unknown image is rebuilt from it.
        receipt: What was checked and what it cost.
        defaults: The agent's settings for `run()` and `as_task()`.
        usage: What was used of models, in all and by step.
        history: Its attempts, in order.
        timeline: Its steps in time.
        revisions: How it was changed after it was generated, the oldest first.
        reviews: What a person was asked to approve and what was decided, in order.
        pictures: How the values of the samples are spread.
        origin: What was asked, for follow-up requests.
    """

    model_config = ConfigDict(ignored_types=(TwoFaced,))

    success: bool
    solution: CodeSolution | None = None
    tests: str | None = None
    output: str = ""
    exit_code: int = -1
    error: str | None = None
    attempts: int = 0
    image: str = ""
    detected_packages: list[str] = Field(default_factory=list)
    detected_system_packages: list[str] = Field(default_factory=list)
    generated_schemas: dict[str, str] | None = None
    data_context: str | None = None
    original_samples: dict[str, File] | None = None
    total_input_tokens: int = 0
    total_output_tokens: int = 0
    conversation_history: list[dict[str, Any]] = Field(default_factory=list)
    plan: CodePlan | None = None
    declared_inputs: dict[str, ValueType] = Field(default_factory=dict)
    declared_outputs: dict[str, ValueType] = Field(default_factory=dict)
    input_examples: dict[str, str] = Field(default_factory=dict)
    lock: Lock | None = None
    receipt: Receipt = Field(default_factory=Receipt)
    defaults: RunDefaults = Field(default_factory=RunDefaults)
    usage: Usage = Field(default_factory=Usage)
    history: list[Attempt] = Field(default_factory=list)
    timeline: list[Span] = Field(default_factory=list)
    revisions: list[Revision] = Field(default_factory=list)
    reviews: list[Review] = Field(default_factory=list)
    pictures: list[SamplePicture] = Field(default_factory=list)
    origin: Origin = Field(default_factory=Origin)

    verbs: ClassVar[Callable[[], ResultVerbs]]
    """Loads the room that carries out `run`, `as_task`, `save` and `load`; the package binds it once, at import, so
    that this room needs to know none above it."""

    @property
    def contract(self) -> Contract:
        """The typed inputs and outputs of the code."""
        return Contract(
            inputs={name: type_name(kind) for name, kind in self.declared_inputs.items()},
            outputs={name: type_name(kind) for name, kind in self.declared_outputs.items()},
            samples=tuple(self.original_samples or ()),
        )

    @TwoFaced
    async def run(
        self,
        /,
        *,
        name: str | None = None,
        resources: flyte.Resources | None = None,
        retries: int | None = None,
        timeout: int | None = None,
        env_vars: dict[str, str] | None = None,
        secrets: list[flyte.Secret] | None = None,
        cache: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        **overrides: Any,
    ) -> Any:
        """Run the code once in a sandbox; `await result.run.aio(...)` is the same, awaited.

        Args:
            name: Name of the task in Flyte's list of runs.
            resources: Processors and memory; the agent's if None.
            retries: How often Flyte tries again; the agent's `sandbox_retries` if None.
            timeout: Time limit in seconds; none if neither this nor the agent says one.
            env_vars: Environment variables of the program; the agent's if None.
            secrets: Secrets that the program sees as environment variables; the agent's if None.
            cache: `auto`, `override` or `disable`; the agent's if None.
            inputs: Values by input name; always works, also for inputs that are called like a parameter of `run`.
            **overrides: Values by input name. Samples default to the sample data.

        Returns:
            The output where there is one, a tuple in declared order where there are several, None where there are
            none.

        Raises:
            GenerationFailedError: The generation did not succeed.
            InvalidInputError: A value is missing, unknown, ambiguous or of the wrong type.
            JobError: The program failed, or went over a limit.
        """
        options = RunOptions(
            name=name,
            resources=resources,
            retries=retries,
            timeout=timeout,
            env_vars=env_vars,
            secrets=list(secrets) if secrets is not None else None,
            cache=cache,
        )
        return await type(self).verbs().run(self, _with_inputs(self, options, inputs, overrides))

    def as_task(
        self,
        name: str | None = None,
        *,
        resources: flyte.Resources | None = None,
        retries: int | None = None,
        timeout: int | None = None,
        env_vars: dict[str, str] | None = None,
        secrets: list[flyte.Secret] | None = None,
        cache: str | None = None,
    ) -> Any:
        """Make a Flyte task of the code, to be called, awaited, run and deployed as any other.

        Args:
            name: Name of the task; derived from the agent's if None.
            resources: Processors and memory; the agent's if None.
            retries: How often Flyte tries again; the agent's `sandbox_retries` if None.
            timeout: Time limit in seconds; none if neither this nor the agent says one.
            env_vars: Environment variables of the program; the agent's if None.
            secrets: Secrets that the program sees as environment variables; the agent's if None.
            cache: `auto`, `override` or `disable`; the agent's if None.

        Returns:
            The task. Samples are the defaults of its inputs.

        Raises:
            GenerationFailedError: The generation did not succeed.
        """
        options = RunOptions(
            name=name,
            resources=resources,
            retries=retries,
            timeout=timeout,
            env_vars=env_vars,
            secrets=list(secrets) if secrets is not None else None,
            cache=cache,
        )
        return type(self).verbs().as_task(self, options)

    @TwoFaced
    async def revise(
        self,
        /,
        prompt: str | None = None,
        *,
        code: str | None = None,
        tests: str | None = None,
        agent: Any = None,
    ) -> CodeGenEvalResult:
        """Change the code by a follow-up request, or take a person's version, and check it as it was checked before.

        `await result.revise.aio(...)` is the same, awaited. This result stays as it is. Inputs and outputs stay as
        they were declared: a follow-up that can't be met with them ends with `success=False` and says what would have
        to be declared; generate anew then.

        Args:
            prompt: What is to be different, in plain language. A model changes the code and says which tests do not
                hold any more; the others are kept.
            code: A person's version of the code. No model is asked, and nothing of it is changed.
            tests: A person's version of the tests, beside `code` or alone; the tests as they are if None.
            agent: The agent to work with; the settings of the one that generated the code if None.

        Returns:
            The new result. `revisions` says what became of the code and of each test. One that does not pass has
            `success=False` and the reason in `error`, and a person's version in it all the same.

        Raises:
            InvalidRequestError: Neither or both of a follow-up request and a person's version are given, the result
                has no code, or it does not say which agent generated it and none is named.
            MissingCredentialError: The variable with the key is not set here.
            InfrastructureError: This machine can't run the checks; that says nothing about a person's version.
            CodegenError: The model failed before it answered once.
        """
        if (prompt is None) == (code is None and tests is None):
            raise InvalidRequestError(
                "revise() takes a follow-up request, revise('also add ...'), or a person's version, "
                "revise(code=..., tests=...), one of the two."
            )
        return await type(self).verbs().revise(self, RevisionOptions(prompt, code, tests, agent))

    def save(self, folder: str | Path) -> Path:
        """Write the generation into a folder: code, tests with their fixture, lock, data of this result, transcript.

        Args:
            folder: Where to; made if it is missing.

        Returns:
            The folder.
        """
        return type(self).verbs().save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> CodeGenEvalResult:
        """Read a saved generation; code that was edited there is what the result then has.

        Args:
            folder: What `save` wrote.

        Returns:
            The result.
        """
        return cls.verbs().load(Path(folder))

    def summary(self) -> str:
        """The receipt as plain text: what was checked, with what, what it cost and what was not checked."""
        return type(self).verbs().summary(self)


def _with_inputs(
    result: CodeGenEvalResult, options: RunOptions, inputs: Mapping[str, Any] | None, overrides: Mapping[str, Any]
) -> RunOptions:
    """Put the keyword form and `inputs=` together; what could mean two things is an error."""
    if inputs is not None and not isinstance(inputs, Mapping):
        raise InvalidInputError(
            f"inputs= takes values by input name, such as inputs={{'threshold': 0.5}}, not {inputs!r}."
        )
    declared = result.declared_inputs
    given = {option.name for option in fields(options) if getattr(options, option.name) is not None} - {"inputs"}
    ambiguous = sorted(given & set(declared)) + (
        ["inputs"] if "inputs" in declared and inputs is not None and "inputs" not in inputs else []
    )
    if ambiguous:
        shown = ", ".join(ambiguous)
        raise InvalidInputError(
            f"{shown} is both an input of the code and a parameter of run(). Pass the input as "
            f"run(inputs={{{ambiguous[0]!r}: ...}}) and leave the parameter to the task: "
            f"result.as_task({ambiguous[0]}=...)."
        )
    twice = sorted(set(inputs or {}) & set(overrides))
    if twice:
        raise InvalidInputError(f"{', '.join(twice)} was passed twice: in inputs= and as a keyword.")
    return replace(options, inputs={**overrides, **(inputs or {})})
