"""Which provider an agent's settings ask for."""

from __future__ import annotations

from typing import Final

from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.models.completion import Completion, Provider
from flyteplugins.codegen.models.litellm_provider import LiteLLMProvider
from flyteplugins.codegen.models.replay import ReplayProvider

REPLAY_PREFIX: Final = "replay:"

__all__ = ["REPLAY_PREFIX", "Completion", "LiteLLMProvider", "Provider", "ReplayProvider", "provider_for"]


def provider_for(settings: Settings) -> Provider:
    """The provider for an agent.

    Args:
        settings: The agent's settings; `model` is a model of litellm, or `replay:FILE` for a recorded transcript.

    Returns:
        The provider; nothing is imported, read or called yet.
    """
    if settings.model.startswith(REPLAY_PREFIX):
        return ReplayProvider(settings.model[len(REPLAY_PREFIX) :])
    return LiteLLMProvider(
        settings.model, settings.api_key, settings.api_base, settings.litellm_params, settings.call_timeout
    )
