"""Two pieces of work side by side, of which neither is lost because the other fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


async def both(first: Awaitable[S], second: Awaitable[T]) -> tuple[S, T]:
    """Wait for both, also where one of them fails: what the other brings is paid for.

    Args:
        first: One piece of work.
        second: The other.

    Returns:
        What they return.

    Raises:
        BaseException: What the first of them raised, in this order and not in that of time.
    """
    one, other = await asyncio.gather(first, second, return_exceptions=True)
    if isinstance(one, BaseException):
        raise one
    if isinstance(other, BaseException):
        raise other
    return one, other
