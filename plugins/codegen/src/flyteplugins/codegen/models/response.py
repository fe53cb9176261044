"""What an endpoint answered, as litellm gives it, as a completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flyteplugins.codegen.models.completion import REFUSED, Completion
from flyteplugins.codegen.models.estimate import count_tokens
from flyteplugins.codegen.models.step import Message


def completion_of(
    module: Any, response: Any, model: str, messages: Sequence[Message], seconds: float, form: str = ""
) -> Completion:
    """The completion in a response.

    Args:
        module: The module litellm.
        response: What it made of the endpoint's answer.
        model: Name of the model as litellm reads it.
        messages: What was sent.
        seconds: Wall time.
        form: The form that it was asked for in.

    Returns:
        The completion. Tokens are counted here where the endpoint does not say them, so that a budget holds.
    """
    choice = response.choices[0] if response.choices else None
    text, finish_reason = ("", "stop") if choice is None else _text_and_reason(choice, form)
    usage = getattr(response, "usage", None)
    sent = int(getattr(usage, "prompt_tokens", 0) or 0)
    received = int(getattr(usage, "completion_tokens", 0) or 0)
    reported = bool(sent or received)
    details = getattr(usage, "prompt_tokens_details", None)
    return Completion(
        text=text,
        finish_reason=finish_reason,
        input_tokens=sent if reported else count_tokens("\n".join(message["content"] for message in messages)),
        output_tokens=received if reported else count_tokens(text),
        cost=_cost(module, response, model) if reported else None,
        seconds=seconds,
        model=str(response.model or model),
        cached_tokens=int(getattr(details, "cached_tokens", 0) or 0),
        form=form,
    )


def _text_and_reason(choice: Any, form: str) -> tuple[str, str]:
    message = choice.message
    finish_reason = str(choice.finish_reason or "stop")
    said = _text(message.content)
    more = getattr(message, "provider_specific_fields", None) or {}
    refusal = getattr(message, "refusal", None) or more.get("refusal")
    if refusal and not said:
        return str(refusal), "refusal"
    calls = getattr(message, "tool_calls", None) or []
    arguments = str(calls[0].function.arguments or "") if calls else ""
    # Some providers answer a schema with a call of a tool that litellm made of it; some answer a tool in words.
    text = (arguments or said) if form == "tool" else (said or arguments)
    if not text.strip() and finish_reason not in REFUSED:
        # Servers that take the thinking out of an answer take out all of it where the form leaves no room for tags.
        thought = _text(getattr(message, "reasoning_content", None))
        text = thought if "{" in thought or "```" in thought else text
    return text, finish_reason


def _text(content: Any) -> str:
    """The text of a message: as it is, or of those of its parts that are text rather than thinking."""
    if not isinstance(content, list):
        return str(content or "")
    parts = [part for part in content if isinstance(part, Mapping) and part.get("type") in {"text", "output_text"}]
    return "".join(str(part.get("text") or "") for part in parts)


def _cost(module: Any, response: Any, model: str) -> float | None:
    try:
        return round(float(module.completion_cost(completion_response=response, model=model)), 10)
    except Exception:
        # litellm raises where it has no price for the model; which error differs from version to version.
        return None
