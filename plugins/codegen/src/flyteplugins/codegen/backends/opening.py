"""Before the first model call: check everything that can be checked, and lay out the desk."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from flyte.io import File

from flyteplugins.codegen.backends.desk import Desk
from flyteplugins.codegen.backends.messages import Messages
from flyteplugins.codegen.core.contract import Contract
from flyteplugins.codegen.core.errors import InvalidRequestError, SandboxUnavailableError
from flyteplugins.codegen.core.events import AttemptFinished, Event, Note, StepStarted
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.request import Request
from flyteplugins.codegen.core.settings import CHECK_SECONDS, Settings
from flyteplugins.codegen.core.values import Scalar, is_scalar_of
from flyteplugins.codegen.data.context import describe
from flyteplugins.codegen.data.privacy import Redactor
from flyteplugins.codegen.data.profile import profile
from flyteplugins.codegen.data.samples import take_in, take_in_file
from flyteplugins.codegen.models.budget import Budget
from flyteplugins.codegen.models.model import Model
from flyteplugins.codegen.models.provider import provider_for
from flyteplugins.codegen.models.transcript import Transcript
from flyteplugins.codegen.packages.spec import python_version
from flyteplugins.codegen.sandbox.select import choose
from flyteplugins.codegen.tasks.executor import Executor
from flyteplugins.codegen.tasks.limits import limits_of
from flyteplugins.codegen.tasks.secrets import read

logger = logging.getLogger("flyteplugins.codegen")


async def open_desk(
    settings: Settings,
    *,
    prompt: str,
    schema: str | None,
    constraints: Sequence[str] | None,
    samples: Mapping[str, Any] | None,
    inputs: Mapping[str, Any] | None,
    outputs: Mapping[str, Any] | None,
    input_examples: Mapping[str, Any] | None,
) -> Desk:
    """Check a request against the settings and this machine, and make everything ready that works on it.

    Args:
        settings: The agent's settings.
        prompt: What the code is to do.
        schema: Free-form context about formats.
        constraints: Rules in plain language.
        samples: Sample data by input name.
        inputs: Types of the inputs without a sample.
        outputs: Types of the outputs.
        input_examples: Values for inputs without a sample.

    Returns:
        The desk.

    Raises:
        UserError: Something in the request or the settings can't work; no model was called.
    """
    started = time.monotonic()
    emit = _tell(settings.on_event)
    _check_texts(prompt, schema, constraints)
    contract = Contract.declare(samples or (), inputs, outputs)
    runtime, isolation = await choose(settings.sandbox)
    python = python_version(settings.image_config.python_version if settings.image_config else None)
    if problem := await runtime.python_problem(python):
        raise SandboxUnavailableError(problem)
    secrets = read(settings.secrets or [])
    provider = provider_for(settings)
    if error := await asyncio.to_thread(provider.problem):
        raise error
    emit(Note(0, isolation))
    emit(StepStarted(0, "profile"))
    taken = await take_in(samples, home() / "files")
    request = Request(
        prompt=prompt,
        contract=contract,
        schema=schema,
        constraints=tuple(constraints or ()),
        samples=taken,
        **await _examples(contract, input_examples or {}),
    )
    budget = Budget(settings.max_calls, settings.max_tokens_total, settings.max_seconds)
    return Desk(
        request=request,
        settings=settings,
        messages=await messages_for(request, settings),
        model=Model(provider, budget, Transcript(_transcript_path(settings.name)), emit),
        executor=Executor(
            runtime,
            cache=settings.cache,
            retries=settings.sandbox_retries,
            name=settings.name,
            secrets=secrets,
        ),
        isolation=isolation,
        limits=limits_of(settings.resources, settings.timeout or CHECK_SECONDS),
        env=dict(settings.env_vars or {}),
        python=python,
        store=home() / "files",
        emit=emit,
        started=started,
    )


async def messages_for(request: Request, settings: Settings) -> Messages:
    """Profile the samples and put together what the model is told of them.

    Args:
        request: The request, its samples on this machine.
        settings: `max_sample_rows` and `sample_privacy` bound what is told.

    Returns:
        The messages of each step.
    """
    names = list(request.samples)
    found = await asyncio.gather(
        *(profile(name, request.samples[name], max_rows=settings.max_sample_rows) for name in names)
    )
    profiles = dict(zip(names, found, strict=True))
    return Messages(
        request=request,
        settings=settings,
        profiles=profiles,
        data_context=describe(profiles, privacy=settings.sample_privacy) if profiles else "",
        redactor=await Redactor.of(request.samples) if settings.sample_privacy == "schema" else None,
    )


def _check_texts(prompt: Any, schema: Any, constraints: Any) -> None:
    if not isinstance(prompt, str) or not prompt.strip():
        raise InvalidRequestError("prompt is empty. Say in plain language what the code is to do.")
    if schema is not None and not isinstance(schema, str):
        raise InvalidRequestError(f"schema must be text, and is {type(schema).__name__}.")
    if isinstance(constraints, str) or not all(isinstance(line, str) and line.strip() for line in constraints or ()):
        raise InvalidRequestError(
            "constraints must be a list of texts, one rule each, such as ['quantity must be positive']."
        )


async def _examples(contract: Contract, given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The user's examples, split into scalars and files."""
    scalars: dict[str, Scalar] = {}
    files: dict[str, File] = {}
    for name, value in given.items():
        kind = contract.inputs.get(name)
        if kind is None or name in contract.samples:
            raise InvalidRequestError(f"input_examples names {name!r}, which is no input without a sample.")
        if kind == "File":
            files[name] = await take_in_file(value, home() / "files", name)
        elif is_scalar_of(value, kind):
            scalars[name] = value
        else:
            raise InvalidRequestError(f"input_examples: {name!r} must be {kind}, and is {type(value).__name__}.")
    return {"input_examples": scalars, "example_files": files}


def _transcript_path(name: str) -> Path:
    return home() / "transcripts" / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{uuid.uuid4().hex[:8]}.jsonl"


def _tell(on_event: Callable[[Event], None] | None) -> Callable[[Event], None]:
    """Events go to the user's callback and, one line an attempt, to the log."""

    def emit(event: Event) -> None:
        if isinstance(event, AttemptFinished):
            packages = f", adding {', '.join(event.added_packages)}" if event.added_packages else ""
            verdict = "passed" if event.passed else f"{event.error_type or 'failed'}: {event.reason}{packages}"
            logger.info("attempt %d: %s", event.attempt, verdict)
        elif isinstance(event, Note):
            logger.info("%s", event.message)
        if on_event:
            on_event(event)

    return emit
