"""One call of a model over HTTP: its deadline, the one layer of retries, and what each error means."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flyteplugins.codegen.core.errors import InvalidAnswerError, ModelRefusedError, ModelUnavailableError
from flyteplugins.codegen.models.completion import Waits
from flyteplugins.codegen.models.credentials import Credentials
from flyteplugins.codegen.models.lazy_litellm import litellm
from flyteplugins.codegen.models.step import Message

logger = logging.getLogger(__name__)

_RETRIED: Final = frozenset({408, 409, 429})
"""Statuses below 500 that another try may change."""

_REFUSED: Final = frozenset({401, 402, 403, 404})
_SHOWN_CHARACTERS: Final = 400

_LITELLM_PREFIX = re.compile(r"\Alitellm\.\w+: (?:[\w ]+Error: )?(?:\w+Exception - )?")
"""What litellm puts before the endpoint's own words."""


class RequestRefusedError(Exception):
    """The endpoint can't take the request as it is, perhaps because of the form that is asked for in it."""


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


class Endpoint:
    """The endpoint of one model, as litellm reaches it.

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
        self.api_base = api_base or self.params.get("api_base") or self.params.get("base_url")
        self.credentials = Credentials(model, api_key_name, self.api_base, self.params)
        self._call_timeout = call_timeout
        self._retries = retries or Retries()

    async def call(
        self, step: str, messages: Sequence[Message], form: Mapping[str, Any], waits: Waits | None = None
    ) -> Any:
        """Make one call, with its retries.

        Args:
            step: Name of the step, for messages.
            messages: The conversation so far.
            form: More arguments of litellm, which say the form of the answer: `response_format`, `tools`, ...
            waits: How long it may wait between its tries, and who is told.

        Returns:
            What litellm makes of the endpoint's answer.

        Raises:
            RequestRefusedError: The endpoint can't take this request; in another form it perhaps can.
            MissingCredentialError: A key is not there.
            ModelRefusedError: The endpoint refuses the key, the model or the address, or the request is too long.
            InvalidAnswerError: A content filter refused the request.
            ModelUnavailableError: No answer within the deadline and the retries.
        """
        module = await asyncio.to_thread(litellm)
        key = await asyncio.to_thread(self.credentials.key)
        end = time.monotonic() + 2 * self._call_timeout
        tried = 0
        while True:
            tried += 1
            seconds = min(self._call_timeout, end - time.monotonic())
            try:
                return await asyncio.wait_for(self._request(module, key, messages, form, seconds), seconds)
            except asyncio.TimeoutError:
                raise ModelUnavailableError(
                    f"The model {self.model} at {self.credentials.where()} gave no answer to the step {step!r} within "
                    f"{seconds:.3g} s. Is the endpoint up? A slow model needs a longer call_timeout=."
                ) from None
            except Exception as error:
                wait = self._judge(module, error, step, tried)
                if time.monotonic() + wait >= end:
                    raise self._unavailable(error, step, tried) from None
                logger.warning(
                    "step %s: %s has a passing trouble%s: %s Trying again in %.1f s.",
                    step,
                    self.credentials.where(),
                    _shown_status(error),
                    self._said(error),
                    wait,
                )
                if waits:
                    waits.tell(self.model, self._said(error), wait)
            await asyncio.sleep(wait)

    async def _request(
        self, module: Any, key: str | None, messages: Sequence[Message], form: Mapping[str, Any], seconds: float
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
        if self.api_base:
            arguments["api_base"] = self.api_base
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
        raise RequestRefusedError(
            f"{self.credentials.where()} refused the request of the step {step!r} to {self.model} (status {status}): "
            f"{said} Check model= and litellm_params=."
        ) from None

    def _refusal(self, status: int, said: str) -> str:
        setting = {
            401: f"Check the key: {self.credentials.key_setting()}.",
            403: f"Check the key and what it may use: {self.credentials.key_setting()}, and model=.",
            404: "Check model= and api_base= (an OpenAI-compatible address mostly ends in /v1).",
        }.get(status, "Check the account's credit and limits.")
        return f"{self.credentials.where()} refused the model {self.model} (status {status}): {said} {setting}"

    def _unavailable(self, error: Exception, step: str, tried: int) -> ModelUnavailableError:
        asked = _retry_after(error)
        return ModelUnavailableError(
            f"The model {self.model} at {self.credentials.where()} gave no answer to the step {step!r} after {tried} "
            f"{'try' if tried == 1 else 'tries'}; last{_shown_status(error)}: {self._said(error)} "
            + (f"It asks to wait {asked:.0f} s. " if asked else "")
            + "Check that the endpoint is up and its limits, and generate again."
        )

    def _said(self, error: Exception) -> str:
        text = self.credentials.hide(_LITELLM_PREFIX.sub("", " ".join(str(error).split())))
        text = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
        return text if text.endswith(".") else text + "."


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
