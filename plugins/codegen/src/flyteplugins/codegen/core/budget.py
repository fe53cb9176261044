"""What a generation may use at most."""

from __future__ import annotations

from dataclasses import dataclass, fields

from flyteplugins.codegen.core.errors import InvalidRequestError


@dataclass(frozen=True)
class Budget:
    """Limits on what one generation uses of models; None where there is no limit.

    Checked before each call and after it. An answer that goes over a limit is kept, for it is paid for; nothing more
    is asked. What the generation used before it was interrupted, and what the record serves, counts as well.

    Attributes:
        usd: US dollars. Where the price of a model is not known, the limit on tokens is what holds.
        tokens: Tokens sent and received, together.
        seconds: Wall time.
        calls: Model calls.

    Raises:
        InvalidRequestError: A limit is not more than 0.
    """

    usd: float | None = None
    tokens: int | None = None
    seconds: float | None = None
    calls: int | None = None

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0):
                raise InvalidRequestError(f"Budget({limit.name}={value!r}): a limit must be a number of more than 0.")

    def and_also(self, other: Budget) -> Budget:
        """The budget that keeps both: of each limit the smaller one.

        Args:
            other: Another budget.

        Returns:
            A budget.
        """
        smaller = {}
        for limit in fields(self):
            given = [value for value in (getattr(self, limit.name), getattr(other, limit.name)) if value is not None]
            smaller[limit.name] = min(given, default=None)
        return Budget(**smaller)
