"""What a follow-up request starts from: the request and the agent of a generation, as plain data and back."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import flyte
from flyte.sandbox import ImageConfig

from flyteplugins.codegen.core.budget import Budget
from flyteplugins.codegen.core.credentials import is_credential
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.result import CodeGenEvalResult, Origin, RunDefaults
from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.core.values import format_value
from flyteplugins.codegen.models.identity import SECRET_PARAMETER

if TYPE_CHECKING:
    from flyteplugins.codegen.core.request import Request
    from flyteplugins.codegen.data.constraints import Evaluation

_ELSEWHERE: Final = frozenset({"resources", "env_vars", "secrets", "on_event", "on_review", "run_image"})
"""Settings that the defaults of `run()` keep, the callback, which is no data, and what flytekit's agent alone has."""

_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*\Z")
_USER = re.compile(r"//[^/@\s]*@")
WITHHELD: Final = "withheld"
"""The entry of `Origin.agent` that names what was left out."""


def origin_of(settings: Settings, request: Request, evaluation: Evaluation) -> Origin:
    """What a generation was asked, and by which agent.

    Args:
        settings: The agent's settings.
        request: The request.
        evaluation: The data checks read from its constraints.

    Returns:
        Plain data without credentials.
    """
    checks = [*(kept.check for kept in evaluation.kept), *(dropped.check for dropped in evaluation.dropped)]
    return Origin(
        prompt=request.prompt,
        context=request.schema,
        constraints=list(request.constraints),
        input_examples={name: format_value(value) for name, value in request.input_examples.items()},
        example_files=dict(request.example_files),
        data_checks=[check.model_dump(mode="json") for check in checks],
        agent=agent_of(settings),
    )


def agent_of(settings: Settings) -> dict[str, Any]:
    """The settings of an agent that are not what they are by default.

    Args:
        settings: The agent's settings.

    Returns:
        Plain data without credentials; `withheld` in it names the parameters that were left out.
    """
    chosen = {
        field.name: getattr(settings, field.name)
        for field in dataclasses.fields(settings)
        if field.init and field.name not in _ELSEWHERE and getattr(settings, field.name) != field.default
    }
    withheld: list[str] = []
    agent = {**_plain(chosen, withheld), "model": settings.model}
    if withheld:
        agent[WITHHELD] = sorted(set(withheld))
    return agent


def settings_of(result: CodeGenEvalResult, agent: Settings | None = None, *, asks: bool = True) -> Settings:
    """The settings for a revision of a result.

    Args:
        result: What is revised.
        agent: The agent to work with; None for that of the generation.
        asks: Whether a model will be asked, so that it has to be known which.

    Returns:
        The settings.

    Raises:
        InvalidRequestError: `agent` is no agent, or the result does not say which agent it had.
    """
    if agent is not None:
        if not isinstance(agent, Settings):
            raise InvalidRequestError(f"agent must be an AutoCoderAgent, and is {type(agent).__name__}.")
        return agent
    known = {field.name for field in dataclasses.fields(Settings) if field.init}
    given = {name: value for name, value in result.origin.agent.items() if name in known}
    if asks and "model" not in given:
        raise InvalidRequestError(
            "This result does not say which agent generated it: it has no `origin`, as one that an earlier version "
            "saved. Name the agent: result.revise(..., agent=AutoCoderAgent(model=...)), or `codegen revise --model`."
        )
    if budget := given.get("budget"):
        given["budget"] = Budget(**budget)
    if image := given.get("image_config"):
        python = image.get("python_version")
        given["image_config"] = ImageConfig(**{**image, "python_version": tuple(python) if python else None})
    # Where a person added tests to a generation that skipped them, they are run from then on.
    given["skip_tests"] = result.tests is None
    return dataclasses.replace(Settings(**given), **_of_runs(result.defaults))


def _of_runs(defaults: RunDefaults) -> dict[str, Any]:
    """The settings that `run()` falls back on: they may have been changed since."""
    amounts: dict[str, Any] = {"cpu": defaults.cpu, "memory": defaults.memory}
    secrets = [
        flyte.Secret(key=secret.key, group=secret.group, as_env_var=secret.as_env_var) for secret in defaults.secrets
    ]
    return {
        "name": defaults.name,
        "sandbox": defaults.sandbox,
        "block_network": defaults.block_network,
        "sandbox_retries": defaults.retries,
        "timeout": defaults.timeout,
        "resources": flyte.Resources(**amounts) if any(amounts.values()) else None,
        "env_vars": dict(defaults.env_vars) or None,
        "secrets": secrets or None,
        "image_strategy": defaults.image_strategy,
        "base_image": defaults.base_image,
        "wheels": defaults.wheels,
    }


def _plain(value: Any, withheld: list[str], *, of_agent: bool = True) -> Any:
    """The value as JSON has it; credentials, and what JSON can't hold, are left out and named.

    An agent's `api_key` is the name of a variable; one among the parameters of litellm is the key itself.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value), withheld)
    if isinstance(value, Mapping):
        kept = {}
        for name, entry in value.items():
            names_variable = of_agent and name == "api_key" and _VARIABLE.match(str(entry or "_"))
            if (_is_secret(name) and not names_variable) or not _is_data(entry):
                withheld.append(str(name))
            else:
                kept[str(name)] = _plain(entry, withheld, of_agent=of_agent and name != "litellm_params")
        return kept
    if isinstance(value, (list, tuple)):
        return [_plain(entry, withheld, of_agent=of_agent) for entry in value]
    return _USER.sub("//", str(value)) if isinstance(value, (str, os.PathLike)) else value


def _is_secret(name: object) -> bool:
    return bool(SECRET_PARAMETER.search(str(name))) or is_credential(str(name))


def _is_data(value: object) -> bool:
    kinds = (str, bool, int, float, type(None), Mapping, list, tuple, os.PathLike, Budget, ImageConfig)
    return isinstance(value, kinds) and not (isinstance(value, float) and not math.isfinite(value))
