"""What a generation used of models."""

from __future__ import annotations

from pydantic import Field

from flyteplugins.codegen.core.data import Data


class StepUsage(Data):
    """What was used of models.

    Attributes:
        calls: Answers received.
        input_tokens: Tokens sent, cached ones included.
        output_tokens: Tokens received, hidden reasoning included.
        cached_tokens: Those of the tokens sent that the provider had in its cache.
        cost: US dollars; None where the price of any call is not known.
        seconds: Wall time of the calls, added up; steps that run side by side count twice.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: float | None = 0.0
    seconds: float = 0.0

    def plus(self, other: StepUsage) -> StepUsage:
        """The use of both."""
        known = self.cost is not None and other.cost is not None
        return StepUsage(
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            cost=(self.cost or 0.0) + (other.cost or 0.0) if known else None,
            seconds=self.seconds + other.seconds,
        )


class Usage(Data):
    """What a generation used of models, and on which steps.

    Answers that the record served count as they did when they were paid for.

    Attributes:
        total: Of all steps.
        by_step: By name of the step, in the order in which they were first asked.
    """

    total: StepUsage = Field(default_factory=StepUsage)
    by_step: dict[str, StepUsage] = Field(default_factory=dict)

    def plus(self, step: str, call: StepUsage) -> Usage:
        """The use with one more call.

        Args:
            step: Name of its step.
            call: What it used.

        Returns:
            Another value; this one is unchanged.
        """
        of_step = self.by_step.get(step, StepUsage()).plus(call)
        return Usage(total=self.total.plus(call), by_step={**self.by_step, step: of_step})
