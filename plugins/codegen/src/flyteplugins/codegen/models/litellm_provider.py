"""Any model that litellm can call: one deadline, one layer of retries, one way down where a schema is refused."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flyteplugins.codegen.core.errors import (
    CodegenError,
    InvalidAnswerError,
    ModelRefusedError,
    ModelUnavailableError,
)
from flyteplugins.codegen.models.answer import strict_schema
from flyteplugins.codegen.models.completion import Completion
from flyteplugins.codegen.models.credentials import Credentials
from flyteplugins.codegen.models.estimate import count_tokens
from flyteplugins.codegen.models.lazy_litellm import litellm
from flyteplugins.codegen.models.step import Message

logger = logging.getLogger(__name__)

_RETRIED: Final = frozenset({408, 409, 429})
"""Statuses below 500 that another try may change."""

_REFUSED: Final = frozenset({401, 402, 403, 404})
_SHOWN_CHARACTERS: Final = 400

_LITELLM_PREFIX = re.compile(r"\Alitellm\.\w+: (?:[\w ]+Error: )?(?:\w+Exception - )?")
"""What litellm puts before the endpoint's own words."""


@dataclass(frozen=True)
class Retries:
    """How often a call is tried and how long it waits between.

    Attributes:
        tries: Most HTTP requests for one call.
        base_seconds: Wait before the second try; it doubles each time, give or take a half.
        longest_seconds: Most to wait at once. An endpoint that asks for more is given up at once.
    """

    tries: int = 4
    base_seconds: float = 1.0
    longest_seconds: float = 60.0

    def wait(self, tried: int, asked: float | None) -> float | None:
        """Seconds to wait before the next try.

        Args:
            tried: Tries so far, at least 1.
            asked: What the endpoint asked for, in seconds.

        Returns:
            The wait; None to give up.
        """
        if tried >= self.tries or (asked is not None and asked > self.longest_seconds):
            return None
        jitter = random.uniform(0.5, 1.5)  # noqa: S311 # it spreads load and keeps no secret
        backoff = min(self.longest_seconds, self.base_seconds * 2.0 ** (tried - 1)) * jitter
        return max(asked, backoff) if asked is not None else backoff


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
        # Answers are taken whole.
        self.params = {name: value for name, value in (params or {}).items() if name != "stream"}
        self._api_base = api_base or self.params.get("api_base") or self.params.get("base_url")
        self._call_timeout = call_timeout
        self._retries = retries or Retries()
        self._credentials = Credentials(model, api_key_name, self._api_base, self.params)
        self._takes_schema = True

    def problem(self) -> CodegenError | None:
        """Why no call could succeed: an unknown provider, or a key that is needed and nobody gave."""
        return self._credentials.problem()

    async def complete(
        self, step: str, messages: Sequence[Message], schema: dict[str, Any] | None, schema_name: str
    ) -> Completion:
        """Ask the endpoint.

        The schema goes as `response_format` first. An endpoint that refuses the request with it is asked again with
        the schema in the prompt, from then on always.

        Args:
            step: Name of the step, for messages.
            messages: The conversation so far.
            schema: JSON schema of the answer, or None for free text.
            schema_name: What to call the schema.

        Returns:
            The answer, not validated.

        Raises:
            MissingCredentialError: A key is not there.
            ModelRefusedError: The endpoint refuses the key, the model, the address or the request.
            ModelUnavailableError: No answer within the deadline and the retries.
        """
        started = time.monotonic()
        module = await asyncio.to_thread(litellm)
        key = await asyncio.to_thread(self._credentials.key)
        if schema is not None and self._takes_schema:
            form = {"name": schema_name, "schema": strict_schema(schema), "strict": True}
            try:
                response = await self._with_retries(
                    module, step, key, messages, {"response_format": {"type": "json_schema", "json_schema": form}}
                )
                return self._completion(module, response, messages, time.monotonic() - started)
            except _RequestRefusedError:
                pass
        asked = messages if schema is None else _with_schema(messages, schema)
        try:
            response = await self._with_retries(module, step, key, asked, {})
        except _RequestRefusedError as error:
            raise ModelRefusedError(str(error)) from None
        if schema is not None:
            self._takes_schema = False
        return self._completion(module, response, asked, time.monotonic() - started)

    async def _with_retries(
        self, module: Any, step: str, key: str | None, messages: Sequence[Message], form: dict[str, Any]
    ) -> Any:
        end = time.monotonic() + 2 * self._call_timeout
        tried = 0
        while True:
            tried += 1
            seconds = min(self._call_timeout, end - time.monotonic())
            try:
                return await asyncio.wait_for(self._request(module, key, messages, form, seconds), seconds)
            except asyncio.TimeoutError:
                raise ModelUnavailableError(
                    f"The model {self.model} at {self._credentials.where()} gave no answer to the step {step!r} within "
                    f"{seconds:.3g} s. Is the endpoint up? A slow model needs a longer call_timeout=."
                ) from None
            except Exception as error:
                wait = self._judge(module, error, step, tried)
                if time.monotonic() + wait >= end:
                    raise self._unavailable(error, step, tried) from None
                logger.warning(
                    "step %s: %s has a passing trouble%s: %s Trying again in %.1f s.",
                    step,
                    self._credentials.where(),
                    _shown_status(error),
                    self._said(error),
                    wait,
                )
            await asyncio.sleep(wait)

    async def _request(
        self, module: Any, key: str | None, messages: Sequence[Message], form: dict[str, Any], seconds: float
    ) -> Any:
        arguments = {
            **self.params,
            **form,
            "model": self.model,
            "messages": [dict(message) for message in messages],
            # The deadline is ours, and tells itself apart from a status 408; this one only closes what it left open.
            "timeout": seconds + 5,
            # The retries of litellm, and of the clients under it, would multiply ours.
            "num_retries": 0,
            "max_retries": 0,
        }
        if key is not None:
            arguments["api_key"] = key
        if self._api_base:
            arguments["api_base"] = self._api_base
        return await module.acompletion(**arguments)

    def _judge(self, module: Any, error: Exception, step: str, tried: int) -> float:
        """Seconds to wait before the next try; raises where there is to be none."""
        status, said = _status(error), self._said(error)
        if isinstance(error, module.ContextWindowExceededError):
            raise ModelRefusedError(
                f"The step {step!r} is too long for the model {self.model}: {said} Use a model with a larger context, "
                "or less schema, constraints or samples (max_sample_rows=)."
            ) from None
        if isinstance(error, module.ContentPolicyViolationError):
            raise InvalidAnswerError(
                f"A content filter refused the step {step!r}: {said} Word the request otherwise."
            ) from None
        if status in _REFUSED or "insufficient_quota" in str(error):
            raise ModelRefusedError(self._refusal(status, said)) from None
        if status in _RETRIED or status >= 500:
            wait = self._retries.wait(tried, _retry_after(error))
            if wait is None:
                raise self._unavailable(error, step, tried) from None
            return wait
        raise _RequestRefusedError(
            f"{self._credentials.where()} refused the request of the step {step!r} to {self.model} (status {status}): "
            f"{said} Check model= and litellm_params=."
        ) from None

    def _refusal(self, status: int, said: str) -> str:
        setting = {
            401: f"Check the key: {self._credentials.key_setting()}.",
            403: f"Check the key and what it may use: {self._credentials.key_setting()}, and model=.",
            404: "Check model= and api_base= (an OpenAI-compatible address mostly ends in /v1).",
        }.get(status, "Check the account's credit and limits.")
        return f"{self._credentials.where()} refused the model {self.model} (status {status}): {said} {setting}"

    def _unavailable(self, error: Exception, step: str, tried: int) -> ModelUnavailableError:
        asked = _retry_after(error)
        return ModelUnavailableError(
            f"The model {self.model} at {self._credentials.where()} gave no answer to the step {step!r} after {tried} "
            f"{'try' if tried == 1 else 'tries'}; last{_shown_status(error)}: {self._said(error)} "
            + (f"It asks to wait {asked:.0f} s. " if asked else "")
            + "Check that the endpoint is up and its limits, and generate again."
        )

    def _said(self, error: Exception) -> str:
        text = self._credentials.hide(_LITELLM_PREFIX.sub("", " ".join(str(error).split())))
        text = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
        return text if text.endswith(".") else text + "."

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


class _RequestRefusedError(Exception):
    """The endpoint can't take the request as it is, perhaps because of the schema in it."""


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


def _shown_status(error: Exception) -> str:
    """The status, where the endpoint sent one: litellm makes up a 500 for whatever else goes wrong."""
    return f" (status {_status(error)})" if _headers(error) else ""


def _status(error: Exception) -> int:
    status = getattr(error, "status_code", None)
    try:
        return int(status) if status is not None else 500
    except (TypeError, ValueError):
        return 500


def _retry_after(error: Exception) -> float | None:
    """What the header `retry-after` asks for, in seconds; a date there is as good as nothing."""
    try:
        return max(0.0, float(_headers(error)["retry-after"]))
    except (KeyError, ValueError):
        return None


def _headers(error: Exception) -> Mapping[str, str]:
    headers: Mapping[str, str] | None = getattr(error, "litellm_response_headers", None)
    return headers or {}
