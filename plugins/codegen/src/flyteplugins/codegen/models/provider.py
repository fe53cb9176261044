"""Which provider an agent's settings ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.models.completion import Completion, Provider
from flyteplugins.codegen.models.fallback import FallbackProvider
from flyteplugins.codegen.models.litellm_provider import LiteLLMProvider
from flyteplugins.codegen.models.replay import ReplayProvider

REPLAY_PREFIX: Final = "replay:"

_ENTRY_KEYS: Final = ("model", "api_key", "api_base", "litellm_params")

_USUAL_NAMES: Final = {"claude": "anthropic", "gemini": "vertex_ai", "command": "cohere"}
"""How the models of some providers are called that litellm knows without a prefix; most such names are OpenAI's."""

__all__ = [
    "REPLAY_PREFIX",
    "Completion",
    "FallbackProvider",
    "LiteLLMProvider",
    "Provider",
    "ReplayProvider",
    "provider_for",
]


def provider_for(settings: Settings) -> Provider:
    """The provider for an agent.

    Args:
        settings: The agent's settings; `model` is a model of litellm, or `replay:FILE` for a recorded transcript,
            which has the answers of whatever models gave them.

    Returns:
        The provider; nothing is imported, read or called yet.

    Raises:
        InvalidRequestError: An entry of `fallback_models` can't be used.
    """
    others = _fallbacks(settings)
    if settings.model.startswith(REPLAY_PREFIX):
        return ReplayProvider(settings.model[len(REPLAY_PREFIX) :])
    first = LiteLLMProvider(
        settings.model, settings.api_key, settings.api_base, settings.litellm_params, settings.call_timeout
    )
    return FallbackProvider([first, *others]) if others else first


def _fallbacks(settings: Settings) -> list[Provider]:
    entries = settings.fallback_models or []
    if not isinstance(entries, (list, tuple)):
        raise InvalidRequestError("fallback_models must be a list of models, such as ['anthropic/claude-sonnet-4-5'].")
    return [_fallback(f"fallback_models[{place}]", entry, settings) for place, entry in enumerate(entries)]


def _fallback(name: str, entry: Any, settings: Settings) -> Provider:
    given = _of_a_name(entry, settings) if isinstance(entry, str) else entry
    if not isinstance(given, Mapping):
        raise InvalidRequestError(f"{name} must be the name of a model, or a dict with {', '.join(_ENTRY_KEYS)}.")
    unknown = [str(key) for key in given if key not in _ENTRY_KEYS]
    if unknown:
        raise InvalidRequestError(f"{name} has {', '.join(unknown)}, and may have {', '.join(_ENTRY_KEYS)}.")
    model, params = given.get("model"), given.get("litellm_params")
    if not isinstance(model, str) or not model.strip() or model.startswith(REPLAY_PREFIX):
        raise InvalidRequestError(f"{name} needs the name of a model that litellm can call, such as 'gpt-4.1'.")
    for key in ("api_key", "api_base"):
        if not isinstance(given.get(key), (str, type(None))):
            raise InvalidRequestError(f"{name}: {key} must be a text.")
    if not isinstance(params, (Mapping, type(None))):
        raise InvalidRequestError(f"{name}: litellm_params must be a dict.")
    return LiteLLMProvider(model, given.get("api_key"), given.get("api_base"), params, settings.call_timeout)


def _of_a_name(model: str, settings: Settings) -> dict[str, Any]:
    """What goes with a name alone: all that the agent's model has if the provider is the same, else nothing."""
    if _provider(model) != _provider(settings.model):
        return {"model": model}
    shared = {"api_key": settings.api_key, "api_base": settings.api_base, "litellm_params": settings.litellm_params}
    return {"model": model, **shared}


def _provider(model: str) -> str:
    """The provider by the name of a model, without litellm, whose import takes seconds."""
    if "/" in model:
        return model.split("/", 1)[0]
    return next((provider for start, provider in _USUAL_NAMES.items() if model.startswith(start)), "openai")
