"""Several models, asked in order: the next one where one does not answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from flyteplugins.codegen.core.errors import (
    CodegenError,
    ContextTooLongError,
    InvalidAnswerError,
    ModelRefusedError,
    ModelUnavailableError,
)
from flyteplugins.codegen.models.completion import Completion, Provider, Waits
from flyteplugins.codegen.models.step import Message


class FallbackProvider:
    """A model, and others in its place where it is not available, refuses, or has no quota left.

    A model that failed so is not asked again by this object, that is in this generation, as long as another answers.

    Args:
        providers: The models, in the order in which they are asked; each has one identity.
    """

    def __init__(self, providers: Sequence[Provider]) -> None:
        self.model = providers[0].model
        self._providers = tuple(providers)
        self._out: set[int] = set()

    @property
    def identities(self) -> Sequence[Mapping[str, Any]]:
        """One for each model, in their order."""
        return [identity for provider in self._providers for identity in provider.identities]

    def problem(self) -> CodegenError | None:
        """Why no call of one of the models could succeed."""
        for place, provider in enumerate(self._providers):
            if problem := provider.problem():
                return type(problem)(f"fallback_models[{place - 1}]: {problem}") if place else problem
        return None

    async def complete(
        self,
        step: str,
        messages: Sequence[Message],
        schema: dict[str, Any] | None,
        schema_name: str,
        waits: Waits | None = None,
    ) -> Completion:
        """Ask the models in order until one answers.

        Args:
            step: Name of the step.
            messages: The conversation so far.
            schema: JSON schema of the answer, or None for free text.
            schema_name: What to call the schema.
            waits: How long it may wait, who is told, and how many models are passed over.

        Returns:
            The answer, not validated; `next_model` says how to ask the next model.

        Raises:
            ModelRefusedError: The last model refuses; the message has what the others said.
            ModelUnavailableError: The last model gives no answer.
            InvalidAnswerError: A content filter in front of the last model refused the request.
        """
        waits = waits or Waits()
        places = range(waits.passed_over, len(self._providers))
        order = [place for place in places if place not in self._out] or list(places)
        if waits.passed_over:
            self._tell(waits, waits.passed_over - 1, order[0], "It gave no usable answer.")
        errors: list[CodegenError] = []
        for place, following in zip(order, [*order[1:], None], strict=True):
            answer = await self._ask(place, step, messages, schema, schema_name, waits)
            if isinstance(answer, Completion):
                behind = place + 1 if place + 1 < len(self._providers) else 0
                return replace(answer, identity=place, next_model=behind)
            errors.append(answer)
            if following is not None:
                self._tell(waits, place, following, str(answer))
        raise _all_failed(errors)

    async def _ask(
        self,
        place: int,
        step: str,
        messages: Sequence[Message],
        schema: dict[str, Any] | None,
        schema_name: str,
        waits: Waits,
    ) -> Completion | CodegenError:
        try:
            return await self._providers[place].complete(
                step, messages, schema, schema_name, replace(waits, passed_over=0)
            )
        except (ContextTooLongError, InvalidAnswerError) as error:
            # What is wrong with one request, its length or its words, says nothing of the next.
            return error
        except (ModelUnavailableError, ModelRefusedError) as error:
            self._out.add(place)
            return error

    def _tell(self, waits: Waits, failed: int, instead: int, reason: str) -> None:
        waits.tell(self._providers[failed].model, f"{reason} Asking {self._providers[instead].model} instead.", 0.0)


def _all_failed(errors: Sequence[CodegenError]) -> CodegenError:
    # Where less would have been short enough for one of the models, that is what can be done about it.
    chosen = next((error for error in errors if isinstance(error, ContextTooLongError)), errors[-1])
    others = [str(error) for error in errors if error is not chosen]
    return type(chosen)(" ".join([str(chosen), *(f"And before: {other}" for other in others)])) if others else chosen
