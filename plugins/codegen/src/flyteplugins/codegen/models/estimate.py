"""What a call would use and cost at most, without calling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flyteplugins.codegen.models.lazy_litellm import litellm
from flyteplugins.codegen.models.step import Message

_TOKENS_PER_MESSAGE: Final = 8
"""Role and delimiters, generously."""

_OTHER_TOKENIZERS: Final = 1.5
"""By how much the tokenizer of another family may exceed the one that is counted with."""


@dataclass(frozen=True)
class Estimate:
    """What one call would use.

    Attributes:
        input_tokens: Tokens that would be sent, counted with an OpenAI tokenizer whatever the model.
        max_output_tokens: Most tokens that the answer can have; None where that is not known.
        cost: US dollars at most; None where the price or the longest answer is not known.
    """

    input_tokens: int
    max_output_tokens: int | None
    cost: float | None


def estimate(model: str, messages: Sequence[Message], max_tokens: int | None = None) -> Estimate:
    """What one call would use and cost at most. Nothing is contacted.

    It may import litellm, which takes seconds: call it through `asyncio.to_thread`.

    Args:
        model: Name of the model as litellm reads it.
        messages: What would be sent.
        max_tokens: The limit of the answer that the call would set; None for the model's own.

    Returns:
        The estimate.
    """
    sent = sum(count_tokens(message["content"]) + _TOKENS_PER_MESSAGE for message in messages)
    longest = max_tokens if max_tokens is not None else _longest_answer(model)
    return Estimate(sent, longest, None if longest is None else _cost(model, sent, longest))


def count_tokens(text: str) -> int:
    """Tokens of a text, counted with the tokenizer that litellm carries with it.

    Args:
        text: Any text.

    Returns:
        The count. The tokenizers of other models would be fetched from the network; theirs differ somewhat.
    """
    return int(litellm().token_counter(model="gpt-4", text=text)) if text else 0


def _longest_answer(model: str) -> int | None:
    try:
        longest = litellm().get_model_info(model).get("max_output_tokens")
    except Exception:
        # litellm raises a bare Exception for models that it does not know.
        return None
    return int(longest) if longest else None


def _cost(model: str, sent: int, received: int) -> float | None:
    try:
        sent_cost, received_cost = litellm().cost_per_token(
            model=model, prompt_tokens=round(sent * _OTHER_TOKENIZERS), completion_tokens=received
        )
    except Exception:
        # litellm raises where it has no price for the model; which error differs from version to version.
        return None
    return round(float(sent_cost) + float(received_cost), 6)
