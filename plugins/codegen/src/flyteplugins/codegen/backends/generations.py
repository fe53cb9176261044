"""Whole generations on record: a successful one is served, with nothing done, where the same is asked again."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
import logging
import platform
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timezone
from importlib import metadata, resources
from typing import Any, Final

from pydantic import ValidationError

from flyteplugins.codegen.backends.asked import Asked
from flyteplugins.codegen.backends.defaults import defaults_of
from flyteplugins.codegen.backends.origin import agent_of
from flyteplugins.codegen.core.budget import Budget
from flyteplugins.codegen.core.contract import Contract
from flyteplugins.codegen.core.credentials import is_credential
from flyteplugins.codegen.core.events import GenerationFinished
from flyteplugins.codegen.core.result import CodeGenEvalResult
from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.core.values import format_value
from flyteplugins.codegen.models.provider import REPLAY_PREFIX, provider_for
from flyteplugins.codegen.packages.spec import python_version
from flyteplugins.codegen.record import Record, key_of, open_record
from flyteplugins.codegen.report.in_flyte import FlyteReport
from flyteplugins.codegen.report.log import log_event

logger = logging.getLogger(__name__)

KIND: Final = "generations"

_FORMAT: Final = 1
"""Part of every key: raised when results that an older version recorded must not be served."""

_OF_THE_MODEL: Final = frozenset({"model", "api_base", "litellm_params", "fallback_models"})
"""Settings that the identity of the provider stands for."""

_DECIDES_NOTHING: Final = frozenset(
    {"name", "api_key", "sandbox_retries", "cache", "store", "on_event", "call_timeout", "run_image"}
    | {"image_strategy", "base_image", "wheels"}
    | {"budget", "max_calls", "max_tokens_total", "max_seconds"}
    | {"review", "review_timeout", "review_default", "on_review"}
)
"""Settings that change nothing in a result that came about. Of the limits it is looked at whether they held."""


async def served_or(
    settings: Settings, asked: Asked, generate: Callable[[Asked, Contract], Awaitable[CodeGenEvalResult]]
) -> CodeGenEvalResult:
    """The result on record of the very same generation, else the one that generating brings.

    What lies between is left to the answers and the runs on record.

    Args:
        settings: The agent's settings; `cache` says whether the record is read and written.
        asked: What `generate()` was called with.
        generate: Generates; it gets what was asked with its files pinned, and the typed inputs and outputs.

    Returns:
        The result; recorded where it is successful.

    Raises:
        InvalidRequestError: Something in the request can't be used.
    """
    contract = asked.contract(settings.base_packages or ())
    asked = await asked.pinned(contract)
    # A replayed conversation is for showing each step; its builds and runs are on record all the same.
    if settings.cache == "disable" or settings.model.startswith(REPLAY_PREFIX):
        return await generate(asked, contract)
    troubles: list[str] = []
    record = open_record(settings.store, troubles.append)
    key = key_of(await asyncio.to_thread(_decides, settings, asked, contract))
    if settings.cache == "auto" and (recorded := await _recorded(record, key, settings, asked)):
        _tell(settings, recorded)
        await FlyteReport(settings.name, asked.prompt).finish(recorded)
        return recorded
    result = await generate(asked, contract)
    if result.success and not any(review.timed_out for review in result.reviews):
        await record.add(KIND, key, _body(result))
    return _warned(result, troubles)


async def _recorded(record: Record, key: str, settings: Settings, asked: Asked) -> CodeGenEvalResult | None:
    entry = await record.newest(KIND, key)
    if entry is None:
        return None
    try:
        result = CodeGenEvalResult.model_validate_json(entry.body["result"])
    except (ValidationError, KeyError):
        logger.warning("The recorded generation %s can't be read and counts as absent.", key)
        return None
    if not _within(settings.limits, result):
        # It would have ended before: the answers on record, which count as well, say where.
        return None
    return result.model_copy(
        update={
            "original_samples": dict(asked.samples or {}) or None,
            "defaults": defaults_of(settings),
            "origin": result.origin.model_copy(
                update={"agent": agent_of(settings), "example_files": asked.example_files}
            ),
        }
    )


def _body(result: CodeGenEvalResult) -> dict[str, Any]:
    # What the caller brings each time is left out: files are where they were pinned, and `defaults` may hold secrets.
    # A text, for the order of its entries is part of it: a record sorts those of its own.
    document = result.model_dump_json(exclude={"original_samples": True, "defaults": True, "origin": {"example_files"}})
    return {"result": document, "at": datetime.now(timezone.utc).isoformat(timespec="seconds")}


def _within(limits: Budget, result: CodeGenEvalResult) -> bool:
    used = result.usage.total
    held = (
        (limits.calls, used.calls),
        (limits.tokens, used.input_tokens + used.output_tokens),
        (limits.usd, used.cost or 0.0),
        (limits.seconds, result.receipt.seconds),
    )
    return all(limit is None or value <= limit for limit, value in held)


def _warned(result: CodeGenEvalResult, troubles: list[str]) -> CodeGenEvalResult:
    new = [trouble for trouble in dict.fromkeys(troubles) if trouble not in result.receipt.warnings]
    if not new:
        return result
    for trouble in new:
        logger.warning("%s", trouble)
    receipt = result.receipt.model_copy(update={"warnings": [*result.receipt.warnings, *new]})
    return result.model_copy(update={"receipt": receipt})


def _tell(settings: Settings, result: CodeGenEvalResult) -> None:
    event = GenerationFinished.of(result, served=True)
    log_event(event)
    if settings.on_event:
        settings.on_event(event)


def _decides(settings: Settings, asked: Asked, contract: Contract) -> dict[str, Any]:
    image = settings.image_config
    chosen = {
        field.name: _plain(getattr(settings, field.name))
        for field in dataclasses.fields(settings)
        if field.init and field.name not in _OF_THE_MODEL | _DECIDES_NOTHING
    }
    return {
        "format": _FORMAT,
        "version": metadata.version("flyteplugins-codegen"),
        "prompts": _prompts(),
        "machine": [sys.platform, platform.machine()],
        "python": python_version(image.python_version if image else None),
        "model": _plain(provider_for(settings).identities),
        "settings": {**chosen, "env_vars": _variables(settings.env_vars or {})},
        "prompt": asked.prompt,
        "schema": asked.schema,
        "constraints": list(asked.constraints or ()),
        "follow_ups": list(asked.follow_ups),
        **({"reviewed": list(settings.reviewed)} if settings.reviewed else {}),
        # As pairs: the order in which they are declared decides too.
        "samples": [[name, file.name, file.hash] for name, file in (asked.samples or {}).items()],
        "inputs": list(contract.inputs.items()),
        "outputs": None if asked.outputs is None else list(contract.outputs.items()),
        "examples": [[name, format_value(value)] for name, value in asked.example_values.items()],
        "example_files": [[name, file.name, file.hash] for name, file in asked.example_files.items()],
    }


def _variables(env_vars: Mapping[str, str]) -> dict[str, str | None]:
    """By name; a credential is another one tomorrow, and the code is the same."""
    return {name: None if is_credential(name) else value for name, value in env_vars.items()}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


@functools.cache
def _prompts() -> str:
    """A digest of what the model is told besides the request."""
    digest = hashlib.sha256()
    templates = [entry for entry in resources.files("flyteplugins.codegen.prompts").iterdir() if entry.is_file()]
    for template in sorted(templates, key=lambda entry: entry.name):
        digest.update(f"{template.name}\0".encode() + template.read_bytes() + b"\0")
    return digest.hexdigest()
