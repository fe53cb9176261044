"""What a generation used of models so far, held against its budget."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from flyteplugins.codegen.core.budget import Budget
from flyteplugins.codegen.core.errors import BudgetExceededError
from flyteplugins.codegen.core.usage import StepUsage, Usage


class Account:
    """The running account of one generation; its clock starts when it is made.

    An answer that takes the use over a limit is still handed out, for it is paid for; the next call is refused.

    Args:
        limits: What may be used at most; no limits if None.
    """

    def __init__(self, limits: Budget | None = None) -> None:
        self.limits = limits or Budget()
        self._by_step: dict[str, StepUsage] = {}
        self._calls = 0
        self._cost = 0.0
        self._started = time.monotonic()
        self._stopped: float | None = None

    @property
    def usage(self) -> Usage:
        """What was used so far, in all and by step, in the order in which the steps were first asked."""
        usage = Usage()
        for step, used in self._by_step.items():
            usage = usage.plus(step, used) if used.calls else usage
        return usage

    @property
    def seconds(self) -> float:
        """The generation's clock: wall time since it began, and what it took before it was interrupted.

        What a person takes to decide is no part of it.
        """
        return self._now - self._started

    @property
    def seconds_left(self) -> float | None:
        """Wall time that is left, at least 0; None for no limit."""
        limit = self.limits.seconds
        return None if limit is None else max(0.0, limit - self.seconds)

    def advance(self, seconds: float) -> None:
        """Set the clock forward, never back: what the record serves was paid for so far into the generation.

        Args:
            seconds: What the clock is to show at least.
        """
        self._started = min(self._started, self._now - seconds)

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the clock for as long as a person is asked; nothing else may stop it meanwhile."""
        self._stopped = time.monotonic()
        try:
            yield
        finally:
            self._started += time.monotonic() - self._stopped
            self._stopped = None

    def start_call(self, step: str) -> None:
        """Take one call from the budget, before it is made, so that calls side by side can't overdraw it.

        Args:
            step: Name of its step.

        Raises:
            BudgetExceededError: A limit is reached; the message says which, and what was used.
        """
        limits, tokens = self.limits, self._tokens
        if limits.calls is not None and self._calls >= limits.calls:
            raise self.exceeded(f"{limits.calls} calls", f"Budget(calls={limits.calls}) or max_calls={limits.calls}")
        if limits.tokens is not None and tokens >= limits.tokens:
            raise self.exceeded(
                f"{limits.tokens} tokens", f"Budget(tokens={limits.tokens}) or max_tokens_total={limits.tokens}"
            )
        if limits.usd is not None and self._cost >= limits.usd:
            raise self.exceeded(f"{limits.usd:g} US dollars", f"Budget(usd={limits.usd:g})")
        if limits.seconds is not None and self.seconds >= limits.seconds:
            raise self.out_of_time()
        self._calls += 1
        self._by_step.setdefault(step, StepUsage())

    def call_failed(self) -> None:
        """Give a call back that brought no answer, so that an interruption does not change what counts."""
        self._calls -= 1

    def spend(self, step: str, used: StepUsage) -> None:
        """Add what a call used.

        Args:
            step: Name of its step.
            used: Its tokens, cost and seconds.
        """
        self._by_step[step] = self._by_step.get(step, StepUsage()).plus(used)
        self._cost += used.cost or 0.0

    def out_of_time(self) -> BudgetExceededError:
        """The error for the limit on seconds, to be raised."""
        limit = self.limits.seconds or 0.0
        return self.exceeded(f"{limit:g} seconds", f"Budget(seconds={limit:g}) or max_seconds={limit:g}")

    def exceeded(self, limit: str, setting: str) -> BudgetExceededError:
        """The error for a limit that is reached, to be raised.

        Args:
            limit: The limit, such as `5 calls`.
            setting: The setting that says so.

        Returns:
            The error.
        """
        money = f"{self._cost:.4f} US dollars, " if self._cost else ""
        return BudgetExceededError(
            f"The limit of {limit} is reached ({setting}): {self._calls} model calls, {self._tokens} tokens, "
            f"{money}{self.seconds:.1f} s were used. Raise it, or ask for less in one generation."
        )

    @property
    def _now(self) -> float:
        return time.monotonic() if self._stopped is None else self._stopped

    @property
    def _tokens(self) -> int:
        total = self.usage.total
        return total.input_tokens + total.output_tokens
