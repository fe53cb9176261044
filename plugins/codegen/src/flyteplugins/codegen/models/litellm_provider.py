"""Any model that litellm can call, asked in the form that it takes."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from flyteplugins.codegen.core.errors import CodegenError, ModelRefusedError
from flyteplugins.codegen.models.completion import Completion, Waits
from flyteplugins.codegen.models.endpoint import Endpoint, RequestRefusedError, Retries
from flyteplugins.codegen.models.estimate import count_tokens
from flyteplugins.codegen.models.identity import identity_of
from flyteplugins.codegen.models.lazy_litellm import litellm
from flyteplugins.codegen.models.schema import strict_schema
from flyteplugins.codegen.models.step import Message


class LiteLLMProvider:
    """A model behind litellm.

    Everything that a call needs goes with the call: agents in one process never share a key or an address.

    Args:
        model: Name of the model as litellm reads it.
        api_key_name: Name of the environment variable with the key; None for the provider's usual variables.
        api_base: Address of the endpoint; None for the provider's usual variables and then its own address.
        params: More arguments of litellm for each call, such as `temperature` or `max_tokens`. What this class
            decides itself (messages, deadline, retries, streaming) is not taken from here.
        call_timeout: Seconds that one HTTP request may take; with its retries a call ends within twice that.
        retries: How often to try.
    """

    def __init__(
        self,
        model: str,
        api_key_name: str | None = None,
        api_base: str | None = None,
        params: Mapping[str, Any] | None = None,
        call_timeout: float = 120.0,
        retries: Retries | None = None,
    ) -> None:
        self.model = model
        self._endpoint = Endpoint(model, api_key_name, api_base, params, call_timeout, retries)
        self._takes_schema = True
        self._identity = identity_of(model, api_base, params or {})

    @property
    def identities(self) -> Sequence[Mapping[str, Any]]:
        """The model, its address and its parameters."""
        return (self._identity,)

    def problem(self) -> CodegenError | None:
        """Why no call could succeed: an unknown provider, or a key that is needed and nobody gave."""
        return self._endpoint.credentials.problem()

    async def complete(
        self,
        step: str,
        messages: Sequence[Message],
        schema: dict[str, Any] | None,
        schema_name: str,
        waits: Waits | None = None,
    ) -> Completion:
        """Ask the endpoint.

        The schema goes as `response_format` first. An endpoint that refuses the request with it is asked again with
        the schema in the prompt, from then on always.

        Args:
            step: Name of the step, for messages.
            messages: The conversation so far.
            schema: JSON schema of the answer, or None for free text.
            schema_name: What to call the schema.
            waits: How long it may wait between its tries, and who is told.

        Returns:
            The answer, not validated.

        Raises:
            MissingCredentialError: A key is not there.
            ModelRefusedError: The endpoint refuses the key, the model, the address or the request.
            ModelUnavailableError: No answer within the deadline and the retries.
        """
        started = time.monotonic()
        module = await asyncio.to_thread(litellm)
        if schema is not None and self._takes_schema:
            form = {"name": schema_name, "schema": strict_schema(schema), "strict": True}
            try:
                response = await self._endpoint.call(
                    step, messages, {"response_format": {"type": "json_schema", "json_schema": form}}, waits
                )
                return self._completion(module, response, messages, time.monotonic() - started)
            except RequestRefusedError:
                pass
        asked = messages if schema is None else _with_schema(messages, schema)
        try:
            response = await self._endpoint.call(step, asked, {}, waits)
        except RequestRefusedError as error:
            raise ModelRefusedError(str(error)) from None
        if schema is not None:
            self._takes_schema = False
        return self._completion(module, response, asked, time.monotonic() - started)

    def _completion(self, module: Any, response: Any, messages: Sequence[Message], seconds: float) -> Completion:
        choice = response.choices[0] if response.choices else None
        text, finish_reason = ("", "stop") if choice is None else _text_and_reason(choice)
        usage = getattr(response, "usage", None)
        sent = int(getattr(usage, "prompt_tokens", 0) or 0)
        received = int(getattr(usage, "completion_tokens", 0) or 0)
        reported = bool(sent or received)
        return Completion(
            text=text,
            finish_reason=finish_reason,
            # A budget of tokens should hold for endpoints too that do not count them.
            input_tokens=sent if reported else count_tokens("\n".join(message["content"] for message in messages)),
            output_tokens=received if reported else count_tokens(text),
            cost=_cost(module, response, self.model) if reported else None,
            seconds=seconds,
            model=str(response.model or self.model),
        )


def _with_schema(messages: Sequence[Message], schema: dict[str, Any]) -> list[Message]:
    *before, last = messages
    wanted = (
        "Answer with one JSON object and nothing else. It must fit this JSON schema:\n"
        f"{json.dumps(schema, ensure_ascii=False)}"
    )
    return [*before, {**last, "content": f"{last['content']}\n\n{wanted}"}]


def _text_and_reason(choice: Any) -> tuple[str, str]:
    message = choice.message
    finish_reason = str(choice.finish_reason or "stop")
    more = getattr(message, "provider_specific_fields", None) or {}
    refusal = getattr(message, "refusal", None) or more.get("refusal")
    if refusal and not message.content:
        return str(refusal), "refusal"
    text = message.content
    if not text and getattr(message, "tool_calls", None):
        # Some providers answer a schema with a call of a tool that litellm made of it.
        text = message.tool_calls[0].function.arguments
    return str(text or ""), finish_reason


def _cost(module: Any, response: Any, model: str) -> float | None:
    try:
        return round(float(module.completion_cost(completion_response=response, model=model)), 10)
    except Exception:
        # litellm raises where it has no price for the model; which error differs from version to version.
        return None
