"""The limits of one generation on calls, tokens and seconds."""

from __future__ import annotations

import time

from flyteplugins.codegen.core.errors import BudgetExceededError


class Budget:
    """What one generation may use of a model; the clock starts when it is made.

    An answer that takes the use over a limit is still handed out, for it is paid for; the next call is refused.

    Args:
        max_calls: Calls of the model, None for no limit.
        max_tokens: Tokens sent and received, together; None for no limit.
        max_seconds: Wall time of the generation, None for no limit.
    """

    def __init__(
        self, max_calls: int | None = None, max_tokens: int | None = None, max_seconds: float | None = None
    ) -> None:
        self.max_calls = max_calls
        self.max_tokens = max_tokens
        self.max_seconds = max_seconds
        self.calls = 0
        self.tokens = 0
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall time since the budget was made."""
        return time.monotonic() - self._started

    @property
    def seconds_left(self) -> float | None:
        """Wall time that is left, at least 0; None for no limit."""
        return None if self.max_seconds is None else max(0.0, self.max_seconds - self.seconds)

    def check(self) -> None:
        """See whether another call may be made.

        Raises:
            BudgetExceededError: A limit is reached; the message says which, and what was used.
        """
        if self.max_calls is not None and self.calls >= self.max_calls:
            raise self.exceeded(f"max_calls={self.max_calls}")
        if self.max_tokens is not None and self.tokens >= self.max_tokens:
            raise self.exceeded(f"max_tokens_total={self.max_tokens}")
        if self.max_seconds is not None and self.seconds >= self.max_seconds:
            raise self.exceeded(f"max_seconds={self.max_seconds:g}")

    def start_call(self) -> None:
        """Take one call from the budget, before it is made, so that calls side by side can't overdraw it.

        Raises:
            BudgetExceededError: A limit is reached.
        """
        self.check()
        self.calls += 1

    def spend(self, tokens: int) -> None:
        """Take the tokens of an answer from the budget.

        Args:
            tokens: Tokens sent and received.
        """
        self.tokens += tokens

    def exceeded(self, limit: str) -> BudgetExceededError:
        """The error for a limit that is reached.

        Args:
            limit: The setting and its value, such as `max_calls=5`.

        Returns:
            The error, to be raised.
        """
        return BudgetExceededError(
            f"The limit {limit} is reached: {self.calls} model calls, {self.tokens} tokens and {self.seconds:.1f} s "
            "were used. Raise it, or ask for less in one generation."
        )
