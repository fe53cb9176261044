"""Where the part of a prompt ends that stays the same from call to call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from flyteplugins.codegen.models.step import Message

_OF_CLAUDE: Final = frozenset({"anthropic", "azure_ai", "bedrock", "databricks", "openrouter", "vertex_ai"})
"""Providers of Claude, which keeps a prompt only up to a mark. The others keep prompts by themselves."""


def wants_marks(module: Any, model: str, api_base: str | None) -> bool:
    """Whether a model keeps the beginning of a prompt only where it is marked.

    Args:
        module: The module litellm.
        model: Name of the model as litellm reads it.
        api_base: Address of the endpoint, where one is set.

    Returns:
        Whether it does.
    """
    try:
        _, provider, _, _ = module.get_llm_provider(model=model, api_base=api_base)
    except Exception:
        # litellm raises its BadRequestError for names that it does not know.
        return False
    return provider == "anthropic" or (provider in _OF_CLAUDE and "claude" in model.lower())


def as_sent(messages: Sequence[Message], *, marks: bool) -> list[Mapping[str, Any]]:
    """The conversation as it is sent: messages of one role that follow one another are one message.

    The first of them is the part that other calls share: many chat templates do not take two messages of a user, so
    it is joined with the next, or becomes a block of its own with the mark that the provider wants.

    Args:
        messages: The conversation.
        marks: Whether to mark where the shared part ends.

    Returns:
        Messages as litellm takes them.
    """
    sent: list[Mapping[str, Any]] = []
    for role, group in groupby(messages, key=lambda message: message["role"]):
        texts = [message["content"] for message in group]
        if marks and role == "user" and len(texts) > 1:
            blocks: list[dict[str, Any]] = [{"type": "text", "text": text} for text in texts]
            blocks[0]["cache_control"] = {"type": "ephemeral"}
            sent.append({"role": role, "content": blocks})
        else:
            sent.append({"role": role, "content": "\n\n".join(texts)})
    return sent
