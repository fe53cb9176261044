"""Any model that litellm can call, asked in the form that suits it."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from flyteplugins.codegen.core.errors import CodegenError, ModelRefusedError, ModelUnavailableError
from flyteplugins.codegen.models.caching import as_sent, wants_marks
from flyteplugins.codegen.models.completion import Completion, Waits
from flyteplugins.codegen.models.endpoint import Endpoint, RequestRefusedError, Retries
from flyteplugins.codegen.models.forms import Question, in_form
from flyteplugins.codegen.models.identity import identity_of
from flyteplugins.codegen.models.ladder import Ladder
from flyteplugins.codegen.models.lazy_litellm import litellm
from flyteplugins.codegen.models.parameters import CACHE_MARKS, named, not_taken, taken
from flyteplugins.codegen.models.response import completion_of
from flyteplugins.codegen.models.step import Message

logger = logging.getLogger(__name__)

_ABOUT_THE_FORM: Final = re.compile(
    r"response_format|json[_ ]schema|grammar|tool_choice|structured output", re.IGNORECASE
)


class LiteLLMProvider:
    """A model behind litellm.

    Everything that a call needs goes with the call: agents in one process never share a key or an address. What is
    shared is what was seen of an endpoint: the form of asking that suits it.

    Args:
        model: Name of the model as litellm reads it.
        api_key_name: Name of the environment variable with the key; None for the provider's usual variables.
        api_base: Address of the endpoint; None for the provider's usual variables and then its own address.
        params: More arguments of litellm for each call, such as `temperature` or `max_tokens`. What this class
            decides itself (messages, deadline, retries, streaming, the form of the answer) is not taken from here.
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
        self._identity = identity_of(model, api_base, params or {})
        self._ladder = Ladder(self._identity)

    @property
    def identities(self) -> Sequence[Mapping[str, Any]]:
        """The model, its address and its parameters."""
        return (self._identity,)

    def problem(self) -> CodegenError | None:
        """Why no call could succeed: an unknown provider, or a key that is needed and nobody gave."""
        return self._endpoint.problem()

    async def complete(
        self,
        step: str,
        messages: Sequence[Message],
        schema: dict[str, Any] | None,
        schema_name: str,
        waits: Waits | None = None,
    ) -> Completion:
        """Ask the endpoint, in the strictest form that it takes and the model keeps to.

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
            InvalidAnswerError: A content filter refused the request.
            ModelUnavailableError: No answer within the deadline and the retries.
        """
        waits, started = waits or Waits(), time.monotonic()
        refused: RequestRefusedError | None = None
        module = await asyncio.to_thread(litellm)
        await self._ladder.recall()
        for form in self._ladder.forms(schema) if schema else ("",):
            question = in_form(form, messages, schema, schema_name) if schema else Question(list(messages))
            try:
                response = await self._sent(module, step, question, waits)
                break
            except RequestRefusedError as error:
                refused = refused or error
        else:
            raise ModelRefusedError(str(refused)) from None
        seconds = time.monotonic() - started
        completion = completion_of(module, response, self.model, question.messages, seconds, form)
        return await self._judged(completion, messages, schema) if schema else completion

    async def _judged(self, completion: Completion, messages: Sequence[Message], schema: dict[str, Any]) -> Completion:
        """Remember what the answer shows of its form."""
        form = completion.form
        await self._ladder.took(form, schema)
        before = [message["content"] for message in messages if message["role"] == "assistant"]
        left = await self._ladder.answered(form, schema, completion.text, completion.finish_reason, before)
        return replace(completion, form_left=left)

    async def _sent(self, module: Any, step: str, question: Question, waits: Waits) -> Any:
        """Make the call; a parameter that the model does not take is left out from then on, which is said once."""
        while True:
            left_out = self._ladder.left_out
            params = taken(self._endpoint.params, left_out)
            marks = CACHE_MARKS not in left_out and wants_marks(module, self.model, self._endpoint.api_base)
            messages = as_sent(question.messages, marks=marks)
            try:
                return await self._endpoint.call(step, messages, {**params, **question.arguments}, waits)
            except ModelUnavailableError as error:
                # Some servers fail over a form that they do not know, where they should refuse it.
                if question.arguments and _ABOUT_THE_FORM.search(str(error)):
                    raise RequestRefusedError(str(error)) from None
                raise
            except RequestRefusedError as error:
                name = not_taken(str(error), [*params, CACHE_MARKS] if marks else [*params])
                if name is None and named(str(error), params) and not _ABOUT_THE_FORM.search(str(error)):
                    # What is refused is the value of a setting: no other form would help.
                    raise ModelRefusedError(str(error)) from None
                if name is None:
                    raise
            await self._ladder.leave_out(name)
            reason = f"It does not take {name}, which is left out from now on"
            logger.warning("step %s: %s: %s.", step, self.model, reason)
            waits.tell(self.model, reason, 0.0)
