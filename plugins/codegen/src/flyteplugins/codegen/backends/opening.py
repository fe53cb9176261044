"""Before the first model call: check everything that can be checked, and lay out the desk."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from flyteplugins.codegen.backends.asked import Asked
from flyteplugins.codegen.backends.desk import Desk
from flyteplugins.codegen.backends.messages import Messages
from flyteplugins.codegen.backends.on_cluster import choose_runtime
from flyteplugins.codegen.backends.review import Reviewer
from flyteplugins.codegen.backends.review_channels import channel_for
from flyteplugins.codegen.backends.workshop import Workshop, lines_of
from flyteplugins.codegen.core import pinned
from flyteplugins.codegen.core.contract import Contract
from flyteplugins.codegen.core.credentials import is_credential, redact
from flyteplugins.codegen.core.errors import SandboxUnavailableError
from flyteplugins.codegen.core.events import Event, Note, StepStarted
from flyteplugins.codegen.core.imports import load
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.request import Request
from flyteplugins.codegen.core.settings import CHECK_SECONDS, Settings
from flyteplugins.codegen.core.solution import CodePlan
from flyteplugins.codegen.data.context import describe
from flyteplugins.codegen.data.privacy import redactor
from flyteplugins.codegen.data.profiling import profile
from flyteplugins.codegen.data.samples import take_in
from flyteplugins.codegen.models.account import Account
from flyteplugins.codegen.models.answers import Answers
from flyteplugins.codegen.models.identity import SECRET_PARAMETER
from flyteplugins.codegen.models.model import Model
from flyteplugins.codegen.models.provider import provider_for
from flyteplugins.codegen.models.step import Message
from flyteplugins.codegen.models.transcript import Transcript
from flyteplugins.codegen.packages.spec import environment_spec, python_version
from flyteplugins.codegen.record import open_record
from flyteplugins.codegen.report.in_flyte import FlyteReport
from flyteplugins.codegen.report.log import log_event
from flyteplugins.codegen.report.timeline import Timeline
from flyteplugins.codegen.tasks.executor import Executor
from flyteplugins.codegen.tasks.limits import limits_of
from flyteplugins.codegen.tasks.secrets import read

_SHORTEST_CREDENTIAL: Final = 8
"""A shorter value stands in many a text by chance."""


async def open_desk(settings: Settings, asked: Asked, contract: Contract, *, asks: bool = True) -> Desk:
    """Check a request against the settings and this machine, and make everything ready that works on it.

    Args:
        settings: The agent's settings.
        asked: What `generate()` was called with.
        contract: Its typed inputs and outputs.
        asks: Whether a model will be asked; where none is, no key needs to be there.

    Returns:
        The desk.

    Raises:
        UserError: Something in the request or the settings can't work; no model was called.
    """
    account = Account(settings.limits)
    timeline = Timeline()
    page = FlyteReport(settings.name, asked.prompt)
    emit = _tell(account, log_event, timeline.on_event, page.on_event, settings.on_event)
    warnings: list[str] = []

    def warn(message: str) -> None:
        if message not in warnings:
            warnings.append(message)
            emit(Note(0, message))

    # The first that reads samples, and Flyte, would import it in threads of their own, side by side.
    await asyncio.to_thread(load, "pyarrow")
    # A person's own version needs no approval.
    channel = channel_for(settings) if asks else None
    runtime, isolation = await choose_runtime(settings, emit)
    runtime = settings.jobs_through(runtime)
    python = python_version(settings.image_config.python_version if settings.image_config else None)
    if problem := await runtime.python_problem(python):
        raise SandboxUnavailableError(problem)
    secrets, env = _secrets_and_env(settings)
    provider = provider_for(settings)
    if asks and (error := await asyncio.to_thread(provider.problem)):
        raise error
    emit(Note(0, isolation))
    emit(StepStarted(0, "profile"))
    request = await _take_in(asked, contract)
    record = open_record(settings.store, warn)
    executor = Executor(
        runtime,
        cache=settings.cache,
        retries=settings.sandbox_retries,
        name=settings.name,
        secrets=secrets,
        record=record,
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
            hide=functools.partial(redact, values=_never_told(settings, secrets)),
            warn=warn,
        ),
        workshop=_workshop(executor, python, settings, emit, asks=asks),
        reviewer=Reviewer(channel, record),
        isolation=isolation,
        limits=limits_of(settings.resources, settings.timeout or CHECK_SECONDS),
        env=env,
        store=pinned.store(),
        emit=emit,
        timeline=timeline,
        page=page,
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
    request = await _take_in(asked, asked.contract(settings.base_packages or ()))
    messages = await _messages_for(request, settings)
    plan = CodePlan(description="<what the model's plan says>", approach="<the steps of the model's plan>")
    steps = {"plan": messages.plan()}
    if request.constraints and messages.profiles:
        steps["constraints"] = messages.constraints()
    steps["code"] = messages.code(plan)
    if not settings.skip_tests:
        steps["tests"] = messages.tests(plan, range(1, len(request.constraints) + 1), None)
    return steps


def _workshop(
    executor: Executor, python: str, settings: Settings, emit: Callable[[Event], None], *, asks: bool
) -> Workshop:
    workshop = Workshop(executor, python, tuple(settings.base_packages or ()), emit)
    if asks and "packages" in settings.reviewed:
        # What the user and we ourselves want is no model's choice.
        wanted = [*workshop.base_packages, *workshop.for_tests().spec.packages]
        workshop.approved = set(lines_of(environment_spec(python, wanted)))
    return workshop


async def _take_in(asked: Asked, contract: Contract) -> Request:
    asked = await asked.pinned(contract)
    return Request(
        prompt=asked.prompt,
        contract=contract,
        schema=asked.schema,
        constraints=tuple(asked.constraints or ()),
        samples=await take_in(asked.samples, pinned.store()),
        input_examples=asked.example_values,
        example_files=asked.example_files,
        follow_ups=tuple(asked.follow_ups),
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


def _secrets_and_env(settings: Settings) -> tuple[dict[str, str], dict[str, str]]:
    """What the program sees: what is stored and shown nowhere, and the rest."""
    given = dict(settings.env_vars or {})
    secret = {name for name, value in given.items() if is_credential(name) and len(value) >= _SHORTEST_CREDENTIAL}
    secrets = {**read(settings.secrets or []), **{name: given[name] for name in secret}}
    return secrets, {name: value for name, value in given.items() if name not in secret}


def _never_told(settings: Settings, secrets: Mapping[str, str]) -> dict[str, str]:
    """What no model is told and no record holds, by name; a text that is too short for a credential is left alone."""
    named = dict(secrets)
    models: list[dict[str, Any]] = [
        {"model": settings.model, "api_key": settings.api_key, "litellm_params": settings.litellm_params}
    ]
    models += [entry for entry in settings.fallback_models or () if isinstance(entry, dict)]
    for model in models:
        provider = str(model.get("model")).partition("/")[0].upper()
        variables = [str(model.get("api_key") or ""), f"{provider}_API_KEY", "OPENAI_API_KEY"]
        named |= {name: os.environ[name] for name in variables if name in os.environ}
        params = model.get("litellm_params") or {}
        # The name of a cache is no credential, though it ends like one.
        secret = {name for name in params if SECRET_PARAMETER.search(name)} - {"prompt_cache_key"}
        named |= {name: params[name] for name in secret if isinstance(params[name], str)}
    return {name: value for name, value in named.items() if len(value) >= _SHORTEST_CREDENTIAL}


def _transcript_path(name: str) -> Path:
    return home() / "transcripts" / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}-{uuid.uuid4().hex[:8]}.jsonl"


def _tell(account: Account, *consumers: Callable[[Event], None] | None) -> Callable[[Event], None]:
    """Each event goes to all consumers, with the time at which it happened."""

    def emit(event: Event) -> None:
        stamped = dataclasses.replace(event, at=account.seconds)
        for consumer in filter(None, consumers):
            consumer(stamped)

    return emit
