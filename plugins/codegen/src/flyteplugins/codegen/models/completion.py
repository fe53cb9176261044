"""What a provider is, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from flyteplugins.codegen.core.errors import CodegenError
from flyteplugins.codegen.models.step import Message

FORMS: Final = ("schema", "tool", "json", "text")
"""The forms in which an answer of a type can be asked for, the strictest first: a JSON schema that the endpoint
enforces, the arguments of a tool, a JSON object with the schema in the prompt, and text with fenced blocks in it."""

CUT_OFF: Final = "length"
"""Finish reason of an answer that ended at the limit of its length."""

REFUSED: Final = frozenset({"refusal", "content_filter"})
"""Finish reasons of an answer that the model, or a filter in front of it, would not give."""


@dataclass(frozen=True)
class Completion:
    """One answer of a model.

    Attributes:
        text: What the model wrote; of a refusal, its words.
        finish_reason: `stop`, `length`, `refusal`, `content_filter` or what else the endpoint says.
        input_tokens: Tokens sent.
        output_tokens: Tokens received, hidden reasoning included.
        cost: US dollars, None where the price is not known.
        seconds: Wall time, retries included.
        model: The model that answered, as the endpoint names it.
        cached_tokens: Those of the tokens sent that the provider had in its cache.
        identity: Which of the provider's `identities` answered, by its place there.
        form: The form that it was asked for in, one of `FORMS`; empty where that is not known. Nothing that decides
            an answer: the conversation is the same in each.
        form_left: Whether the model has shown that this form does not suit it, so that the next call uses another.
        next_model: What `Waits.passed_over` must be to ask the next model; 0 where there is none.
    """

    text: str
    finish_reason: str
    input_tokens: int
    output_tokens: int
    cost: float | None
    seconds: float
    model: str
    cached_tokens: int = 0
    identity: int = 0
    form: str = ""
    form_left: bool = False
    next_model: int = 0


@dataclass(frozen=True)
class Waits:
    """How long a call may wait for an endpoint in trouble, and who is told that it does.

    Attributes:
        seconds_left: Gives the seconds that are left of the generation; None for no limit.
        tell: Is told the model, the reason and the seconds of each wait, 0 where another model is asked instead.
        passed_over: How many of the provider's models are not asked, counted from the first: those that gave no
            usable answer to this question.
    """

    seconds_left: Callable[[], float | None] = lambda: None
    tell: Callable[[str, str, float], None] = lambda model, reason, seconds: None
    passed_over: int = 0


class Provider(Protocol):
    """Where answers come from: an endpoint, or a recording.

    Attributes:
        model: Name of the model that is asked first.
    """

    model: str

    @property
    def identities(self) -> Sequence[Mapping[str, Any]]:
        """What decides an answer besides the question, as plain data without any secret.

        One for each model that may answer, in the order in which they are asked: an answer is on record under the
        identity of the model that gave it. Empty for a recording, whose answers need not be recorded once more.
        """
        ...

    async def complete(
        self,
        step: str,
        messages: Sequence[Message],
        schema: dict[str, Any] | None,
        schema_name: str,
        waits: Waits | None = None,
    ) -> Completion:
        """Ask once, with whatever retries the provider makes by itself.

        A provider of several models asks the next one where one is not available or refuses. That an answer is not
        usable is for the caller to see, who asks again with `waits.passed_over`.

        Args:
            step: Name of the step.
            messages: The conversation so far.
            schema: JSON schema of the answer, or None for free text.
            schema_name: What to call the schema.
            waits: How long it may wait between its tries, and who is told.

        Returns:
            The answer, not validated.
        """
        ...

    def problem(self) -> CodegenError | None:
        """Why no call could succeed, found without a call; None where nothing is known to be wrong.

        It may import and read files: call it through `asyncio.to_thread`.
        """
        ...
