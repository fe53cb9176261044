"""Before the first model call: check everything that can be checked, and lay out the desk."""

from __future__ import annotations

import asyncio
import dataclasses
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flyte.io import File

from flyteplugins.codegen.backends.desk import Desk
from flyteplugins.codegen.backends.messages import Messages
from flyteplugins.codegen.backends.workshop import Workshop
from flyteplugins.codegen.core import pinned
from flyteplugins.codegen.core.contract import Contract
from flyteplugins.codegen.core.errors import InvalidRequestError, SandboxUnavailableError
from flyteplugins.codegen.core.events import Event, Note, StepStarted
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.request import Request
from flyteplugins.codegen.core.settings import CHECK_SECONDS, Settings
from flyteplugins.codegen.core.solution import CodePlan
from flyteplugins.codegen.core.values import Scalar, is_scalar_of
from flyteplugins.codegen.data.context import describe
from flyteplugins.codegen.data.privacy import redactor
from flyteplugins.codegen.data.profiling import profile
from flyteplugins.codegen.data.samples import take_in, take_in_file
from flyteplugins.codegen.models.account import Account
from flyteplugins.codegen.models.answers import Answers
from flyteplugins.codegen.models.model import Model
from flyteplugins.codegen.models.provider import provider_for
from flyteplugins.codegen.models.step import Message
from flyteplugins.codegen.models.transcript import Transcript
from flyteplugins.codegen.packages.distributions import detect_packages
from flyteplugins.codegen.packages.spec import python_version
from flyteplugins.codegen.record import LocalShelf, Record
from flyteplugins.codegen.report.log import log_event
from flyteplugins.codegen.report.timeline import Timeline
from flyteplugins.codegen.sandbox.select import choose
from flyteplugins.codegen.tasks.executor import Executor
from flyteplugins.codegen.tasks.limits import limits_of
from flyteplugins.codegen.tasks.secrets import read


@dataclass(frozen=True)
class Asked:
    """What `generate()` was called with, unchecked; `AutoCoderAgent.generate` documents each."""

    prompt: str
    schema: str | None = None
    constraints: Sequence[str] | None = None
    samples: Mapping[str, Any] | None = None
    inputs: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None
    input_examples: Mapping[str, Any] | None = None
    follow_ups: Sequence[str] = ()


async def open_desk(settings: Settings, asked: Asked, *, asks: bool = True) -> Desk:
    """Check a request against the settings and this machine, and make everything ready that works on it.

    Args:
        settings: The agent's settings.
        asked: What `generate()` was called with.
        asks: Whether a model will be asked; where none is, no key needs to be there.

    Returns:
        The desk.

    Raises:
        UserError: Something in the request or the settings can't work; no model was called.
    """
    account = Account(settings.limits)
    timeline = Timeline()
    emit = _tell(account, log_event, timeline.on_event, settings.on_event)
    warnings: list[str] = []

    def warn(message: str) -> None:
        if message not in warnings:
            warnings.append(message)
            emit(Note(0, message))

    contract = _check(settings, asked)
    runtime, isolation = await choose(settings.sandbox)
    python = python_version(settings.image_config.python_version if settings.image_config else None)
    if problem := await runtime.python_problem(python):
        raise SandboxUnavailableError(problem)
    secrets = read(settings.secrets or [])
    provider = provider_for(settings)
    if asks and (error := await asyncio.to_thread(provider.problem)):
        raise error
    emit(Note(0, isolation))
    emit(StepStarted(0, "profile"))
    request = await _take_in(asked, contract)
    record = Record(LocalShelf(home() / "record"), warn)
    executor = Executor(
        runtime, cache=settings.cache, retries=settings.sandbox_retries, name=settings.name, secrets=secrets
    )
    return Desk(
        request=request,
        settings=settings,
        messages=await _messages_for(request, settings),
        model=Model(
            provider,
            account,
            Transcript(_transcript_path(settings.name), warn),
            emit,
            answers=Answers(record, settings.cache),
        ),
        workshop=Workshop(executor, python, tuple(settings.base_packages or ()), emit),
        isolation=isolation,
        limits=limits_of(settings.resources, settings.timeout or CHECK_SECONDS),
        env=dict(settings.env_vars or {}),
        store=pinned.store(),
        emit=emit,
        timeline=timeline,
        warnings=warnings,
    )


async def preview(settings: Settings, asked: Asked) -> dict[str, list[Message]]:
    """Every message of the happy path, as it would be sent; nothing is called.

    Args:
        settings: The agent's settings.
        asked: What `generate()` was called with.

    Returns:
        The messages by step. Where the model's plan would stand in them, a mark stands instead.

    Raises:
        UserError: Something in the request or the settings can't work.
    """
    request = await _take_in(asked, _check(settings, asked))
    messages = await _messages_for(request, settings)
    plan = CodePlan(description="<what the model's plan says>", approach="<the steps of the model's plan>")
    steps = {"plan": messages.plan()}
    if request.constraints and messages.profiles:
        steps["constraints"] = messages.constraints()
    steps["code"] = messages.code(plan)
    if not settings.skip_tests:
        steps["tests"] = messages.tests(plan, range(1, len(request.constraints) + 1), None)
    return steps


def _check(settings: Settings, asked: Asked) -> Contract:
    _check_texts(asked.prompt, asked.schema, asked.constraints)
    detect_packages("", (), settings.base_packages or ())  # what can't be read is an error now
    return Contract.declare(asked.samples or (), asked.inputs, asked.outputs)


async def _take_in(asked: Asked, contract: Contract) -> Request:
    return Request(
        prompt=asked.prompt,
        contract=contract,
        schema=asked.schema,
        constraints=tuple(asked.constraints or ()),
        samples=await take_in(asked.samples, pinned.store()),
        follow_ups=tuple(asked.follow_ups),
        **await _examples(contract, asked.input_examples or {}),
    )


async def _messages_for(request: Request, settings: Settings) -> Messages:
    """Profile the samples and put together what the model is told of them."""
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
        redactor=await redactor(request.samples) if settings.sample_privacy == "schema" else None,
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
            files[name] = await take_in_file(value, pinned.store(), name)
        elif is_scalar_of(value, kind):
            scalars[name] = value
        else:
            raise InvalidRequestError(f"input_examples: {name!r} must be {kind}, and is {type(value).__name__}.")
    return {"input_examples": scalars, "example_files": files}


def _transcript_path(name: str) -> Path:
    return home() / "transcripts" / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{uuid.uuid4().hex[:8]}.jsonl"


def _tell(account: Account, *consumers: Callable[[Event], None] | None) -> Callable[[Event], None]:
    """Each event goes to all consumers, with the time at which it happened."""

    def emit(event: Event) -> None:
        stamped = dataclasses.replace(event, at=account.seconds)
        for consumer in filter(None, consumers):
            consumer(stamped)

    return emit
