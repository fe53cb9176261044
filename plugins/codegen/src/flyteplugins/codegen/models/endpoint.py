"""One call of a model over HTTP: its deadline, and the one layer of retries."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from flyteplugins.codegen.core.errors import (
    CodegenError,
    ContextTooLongError,
    InvalidAnswerError,
    ModelRefusedError,
    ModelUnavailableError,
)
from flyteplugins.codegen.models.completion import CUT_OFF, Waits
from flyteplugins.codegen.models.credentials import Credentials
from flyteplugins.codegen.models.faults import PASSING, Fault, fault_of
from flyteplugins.codegen.models.lazy_litellm import client, unwatched

logger = logging.getLogger(__name__)

LONGEST_ANSWER: Final = 1_000_000
"""Characters of an answer that are kept; one that is longer counts as cut off."""

_SHOWN_CHARACTERS: Final = 400

_OURS: Final = frozenset(
    {"stream", "fallbacks", "context_window_fallback_dict", "retry_policy", "retry_strategy", "caching", "cache"}
)
"""Parameters of litellm that are not passed on: answers are taken whole; retries, other models and reuse are ours."""


class RequestRefusedError(ModelRefusedError):
    """The endpoint can't take the request as it is, perhaps because of the form that is asked for in it."""


@dataclass(frozen=True)
class Retries:
    """How often a call is tried and how long it waits between.

    Attributes:
        tries: Most HTTP requests for one call; a request that got no answer within its deadline is made once more.
        base_seconds: Wait before the second try; it doubles each time, give or take a half.
        longest_seconds: Most to wait at once. An endpoint that asks for more is given up at once.
    """

    tries: int = 4
    base_seconds: float = 1.0
    longest_seconds: float = 60.0

    def wait(self, tried: int, asked: float | None) -> float | None:
        """Seconds to wait before the next try.

        Args:
            tried: Tries so far.
            asked: What the endpoint asked for, in seconds.

        Returns:
            The wait, at least what was asked for; None to give up.
        """
        if tried >= self.tries or (asked is not None and asked > self.longest_seconds):
            return None
        backoff = min(self.longest_seconds, self.base_seconds * 2.0 ** max(0, tried - 1))
        # Calls that were told to wait at the same moment must not come back at the same moment.
        return self.spread(backoff) if asked is None else max(asked + self.spread(asked / 4), self.spread(backoff))

    def spread(self, seconds: float) -> float:
        """So many seconds, give or take a half."""
        return seconds * random.uniform(0.5, 1.5)  # noqa: S311 # it spreads load and keeps no secret


class Endpoint:
    """The endpoint of one model, as litellm reaches it.

    Everything that a call needs goes with the call: agents in one process never share a key or an address.

    Args:
        model: Name of the model as litellm reads it.
        api_key_name: Name of the environment variable with the key; None for the provider's usual variables.
        api_base: Address of the endpoint; None for the provider's usual variables and then its own address.
        params: More arguments of litellm for each call, such as `temperature` or `max_tokens`. What this class
            decides itself (messages, deadline, retries, streaming, caching) is not taken from here.
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
        self.params = {name: value for name, value in (params or {}).items() if name not in _OURS}
        self.api_base = api_base or self.params.get("api_base") or self.params.get("base_url")
        self.credentials = Credentials(model, api_key_name, self.api_base, self.params)
        self._call_timeout = call_timeout
        self._retries = retries or Retries()
        self._welcome_at = 0.0

    async def call(
        self,
        step: str,
        messages: Sequence[Mapping[str, Any]],
        arguments: Mapping[str, Any],
        waits: Waits | None = None,
    ) -> Any:
        """Make one call, with its retries.

        Args:
            step: Name of the step, for messages.
            messages: The conversation so far, as litellm takes it.
            arguments: What goes with it: those of `params` that the model takes, and what says the form of the answer.
            waits: How long it may wait between its tries, and who is told.

        Returns:
            What litellm makes of the endpoint's answer; text of more than `LONGEST_ANSWER` characters is cut off.

        Raises:
            RequestRefusedError: The endpoint can't take this request; in another form it perhaps can.
            MissingCredentialError: A key is not there.
            ContextTooLongError: The request is longer than the model's context.
            ModelRefusedError: The endpoint refuses the key, the model or the address.
            InvalidAnswerError: A content filter refused the request.
            ModelUnavailableError: No answer within the deadline and the retries.
        """
        waits = waits or Waits()
        module, key = await asyncio.to_thread(self._ready)
        await self._until_welcome(step, waits)
        end = time.monotonic() + 2 * self._call_timeout
        tried = 0
        while True:
            tried += 1
            seconds = min(self._call_timeout, end - time.monotonic())
            try:
                request = self._request(module, key, messages, arguments, seconds)
                return _bounded(await asyncio.wait_for(request, seconds))
            except asyncio.TimeoutError:
                fault = Fault("slow", f"no answer within {seconds:.3g} s")
            except Exception as error:
                fault = fault_of(module, error)
            if fault.kind not in PASSING:
                raise self._refusal(fault, step) from None
            wait = self._wait(fault, step, tried, end - time.monotonic(), waits)
            await self._sleep(step, f"{self._said(fault)}{_shown_status(fault)}", wait, waits)

    def problem(self) -> CodegenError | None:
        """Why no call could succeed: an unknown provider, or a key that is needed and nobody gave."""
        try:
            self._ready()
        except CodegenError as error:
            return error
        return None

    def _ready(self) -> tuple[Any, str | None]:
        """The module litellm, all of it that a call needs, and the key."""
        key = self.credentials.key()
        return client(self.credentials.provider()), key

    async def _request(
        self,
        module: Any,
        key: str | None,
        messages: Sequence[Mapping[str, Any]],
        given: Mapping[str, Any],
        seconds: float,
    ) -> Any:
        arguments = {
            **given,
            "model": self.model,
            "messages": [dict(message) for message in messages],
            # The deadline is ours, and tells itself apart from a status 408; this one only closes what it left open.
            "timeout": seconds + 5,
            # The retries of litellm, and of the clients under it, would multiply ours.
            "num_retries": 0,
            "max_retries": 0,
            # What may be served again is for the record to say.
            "caching": False,
        }
        if key is not None:
            arguments["api_key"] = key
        if self.api_base:
            arguments["api_base"] = self.api_base
        with unwatched(module):
            return await module.acompletion(**arguments)

    async def _until_welcome(self, step: str, waits: Waits) -> None:
        """Wait while the endpoint has asked for it in its answer to another call."""
        pause = self._welcome_at - time.monotonic()
        if pause > 0:
            fault = Fault("busy", "it asked another call to wait", retry_after=pause)
            await self._sleep(step, fault.said, self._wait(fault, step, 0, math.inf, waits), waits)

    async def _sleep(self, step: str, reason: str, seconds: float, waits: Waits) -> None:
        logger.warning("step %s: %s: %s. Trying again in %.1f s.", step, self.credentials.where(), reason, seconds)
        waits.tell(self.model, reason, seconds)
        await asyncio.sleep(seconds)

    def _wait(self, fault: Fault, step: str, tried: int, left: float, waits: Waits) -> float:
        """Seconds to wait before the next try; raises where there is to be none."""
        asked, now, generation = fault.retry_after, time.monotonic(), waits.seconds_left()
        wait = self._retries.wait(tried, asked)
        if wait is not None and self._welcome_at > now + wait:
            # Another call was told to wait longer.
            asked = self._welcome_at - now
            wait = self._retries.wait(tried, asked)
        why = f"It asks to wait {_shown_seconds(asked)}" if asked else ""
        if asked is not None and asked > self._retries.longest_seconds:
            why += f", and {_shown_seconds(self._retries.longest_seconds)} is the most that is waited. "
        elif wait is None:
            why = ""
        elif generation is not None and wait >= generation:
            why = why or f"The next try would be in {_shown_seconds(wait)}"
            why += f", and {_shown_seconds(generation)} are left of the generation's budget. "
        elif wait >= left or (fault.kind == "slow" and left < self._call_timeout / 2):
            why += f", and the call has {_shown_seconds(max(left, 0))} left (call_timeout=). " if asked else ""
        else:
            self._welcome_at = max(self._welcome_at, now + (asked or 0.0))
            return wait
        raise self._unavailable(fault, step, tried, why) from None

    def _refusal(self, fault: Fault, step: str) -> CodegenError:
        """The error for a fault that another try would not change."""
        where, said = self.credentials.where(), self._said(fault)
        if fault.kind == "long":
            return ContextTooLongError(
                f"The step {step!r} is too long for the model {self.model}: {said}. Use a model with a larger context "
                "(model=), or less prompt, schema, constraints or columns."
            )
        if fault.kind == "filtered":
            return InvalidAnswerError(
                f"A content filter refused the step {step!r}: {said}. Word the request otherwise, or use another model."
            )
        if fault.kind == "tls":
            return ModelUnavailableError(
                f"No safe connection to {where} for the step {step!r}: {said}. Check api_base= (https:// or http://); "
                "the certificate of an authority of your own goes into the file that SSL_CERT_FILE names."
            )
        if fault.kind == "form":
            return RequestRefusedError(
                f"{where} refused the request of the step {step!r} to {self.model}{_shown_status(fault)}: {said}. "
                "Check model= and litellm_params=."
            )
        setting = {
            "key": f"Check the key and what it may use: {self.credentials.key_setting()}, and model=.",
            "address": "Check model= and api_base= (an OpenAI-compatible address mostly ends in /v1).",
            "credit": "Check the account's credit and limits.",
        }[fault.kind]
        return ModelRefusedError(
            f"{where} refused the model {self.model}{_shown_status(fault)} in the step {step!r}: {said}. {setting}"
        )

    def _unavailable(self, fault: Fault, step: str, tried: int, why: str) -> ModelUnavailableError:
        setting = {
            "busy": "Check its limits, and generate again.",
            "connection": "Check that it is up and that api_base= is its address, and generate again.",
            "unreadable": "That is no answer of a model: check api_base=.",
            "slow": "Is it up? A slow model needs a longer call_timeout=.",
        }[fault.kind]
        return ModelUnavailableError(
            f"The model {self.model} at {self.credentials.where()} gave no answer to the step {step!r} after {tried} "
            f"{'try' if tried == 1 else 'tries'}; last{_shown_status(fault)}: {self._said(fault)}. {why}{setting}"
        )

    def _said(self, fault: Fault) -> str:
        text = self.credentials.hide(fault.said)
        text = text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."
        return text.rstrip(" .:")


def _bounded(response: Any) -> Any:
    """The response with no text longer than `LONGEST_ANSWER`; what is cut counts as cut off."""
    for choice in response.choices or []:
        calls = getattr(choice.message, "tool_calls", None) or []
        for holder, name in [(choice.message, "content"), *((call.function, "arguments") for call in calls)]:
            text = getattr(holder, name, None)
            if isinstance(text, str) and len(text) > LONGEST_ANSWER:
                setattr(holder, name, text[:LONGEST_ANSWER])
                choice.finish_reason = CUT_OFF
    return response


def _shown_seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


def _shown_status(fault: Fault) -> str:
    return "" if fault.status is None else f" (status {fault.status})"
