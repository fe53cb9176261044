"""A shelf that may be slow or gone: no generation hangs on it, and none fails because of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

from flyteplugins.codegen.record.shelf import Listed, Shelf

T = TypeVar("T")

_SECONDS: Final = 5.0
"""How long an operation on an entry may take."""

_BYTES_A_SECOND: Final = 1 << 20
"""How fast a large file must at least travel."""

_REST_SECONDS: Final = 300.0
"""How long a shelf that failed is left alone. One that can't be written is read on: many may only read."""


class RestingError(OSError):
    """The shelf failed a moment ago and is not asked again yet."""


class RemoteShelf:
    """A shelf with a deadline for each operation, which rests after a failure.

    Args:
        shelf: The shelf itself.
        seconds: How long an operation on an entry may take.
    """

    def __init__(self, shelf: Shelf, *, seconds: float = _SECONDS) -> None:
        self._shelf = shelf
        self._seconds = seconds
        self._rests_until = {"reading": 0.0, "writing": 0.0}
        self.where = shelf.where

    async def read(self, path: str) -> bytes | None:
        """The content of a file, None where there is none."""
        return await self._within("reading", lambda: self._shelf.read(path))

    async def contents(self, folder: str) -> dict[str, bytes]:
        """The content of every file in a folder, by its name there."""
        return await self._within("reading", lambda: self._shelf.contents(folder))

    async def create(self, path: str, content: bytes, *, durable: bool = True) -> bool:
        """Write a file; False where one stands already."""
        return await self._within("writing", lambda: self._shelf.create(path, content, durable=durable), len(content))

    async def listed(self, prefix: str) -> list[Listed]:
        """The files below a folder."""
        return await self._within("reading", lambda: self._shelf.listed(prefix))

    async def delete(self, path: str) -> None:
        """Take a file away."""
        await self._within("writing", lambda: self._shelf.delete(path))

    async def take_file(self, path: str, source: Path) -> None:
        """Copy a large file onto the shelf."""
        size = (await asyncio.to_thread(source.stat)).st_size
        await self._within("writing", lambda: self._shelf.take_file(path, source), size)

    async def give_file(self, path: str, target: Path, size: int = 0) -> bool:
        """Copy a large file from the shelf."""
        return await self._within("reading", lambda: self._shelf.give_file(path, target), size)

    async def _within(self, doing: str, operation: Callable[[], Coroutine[Any, Any, T]], size: int = 0) -> T:
        if time.monotonic() < self._rests_until[doing]:
            raise RestingError(f"{self.where} failed a moment ago")
        seconds = self._seconds + size / _BYTES_A_SECOND
        try:
            return await asyncio.wait_for(operation(), seconds)
        except asyncio.TimeoutError:
            self._rest(doing)
            raise TimeoutError(f"no answer within {seconds:.0f} seconds") from None
        except OSError:
            self._rest(doing)
            raise

    def _rest(self, doing: str) -> None:
        for affected in ("writing",) if doing == "writing" else ("reading", "writing"):
            self._rests_until[affected] = time.monotonic() + _REST_SECONDS
