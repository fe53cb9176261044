"""Where entries lie: a folder, or an object store. What is written once never changes."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from flyteplugins.codegen.core.files import WRITING
from flyteplugins.codegen.core.scratch import scratch


@dataclass(frozen=True)
class Listed:
    """A file on a shelf.

    Attributes:
        path: Where it lies, relative to the shelf, with slashes.
        size: Bytes.
        modified: When it was written, in seconds since 1970.
    """

    path: str
    size: int
    modified: float


class Shelf(Protocol):
    """Named files that are written once.

    Attributes:
        where: What people call it: a folder, or an address without credentials.
    """

    where: str

    async def read(self, path: str) -> bytes | None:
        """The content of a file, None where there is none. Raises OSError where the shelf can't be reached."""
        ...

    async def create(self, path: str, content: bytes) -> bool:
        """Write a file that a reader sees whole or not at all; False where one stands already, which stays.

        Raises OSError where it can't be written.
        """
        ...

    async def listed(self, prefix: str) -> list[Listed]:
        """The files whose path begins with a folder, in the order of their paths."""
        ...

    async def delete(self, path: str) -> None:
        """Take a file away; one that is not there is no error."""
        ...


class LocalShelf:
    """A folder on this machine.

    Args:
        folder: It need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.where = str(folder)

    async def read(self, path: str) -> bytes | None:
        """The content of a file, None where there is none."""
        return await asyncio.to_thread(self._read, path)

    async def create(self, path: str, content: bytes) -> bool:
        """Write a file; False where one stands already."""
        return await asyncio.to_thread(self._create, path, content)

    async def listed(self, prefix: str) -> list[Listed]:
        """The files under a folder."""
        return await asyncio.to_thread(self._listed, prefix)

    async def delete(self, path: str) -> None:
        """Take a file away."""
        await asyncio.to_thread((self.folder / path).unlink, missing_ok=True)

    def _read(self, path: str) -> bytes | None:
        try:
            return (self.folder / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _create(self, path: str, content: bytes) -> bool:
        target = self.folder / path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with scratch(self.folder / WRITING) as folder:
            written = folder / ".content"
            with written.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            try:
                # A link, unlike a rename, does not take the place of a file that stands.
                os.link(written, target)
            except FileExistsError:
                return False
        return True

    def _listed(self, prefix: str) -> list[Listed]:
        found = []
        for path in sorted((self.folder / prefix).rglob("*")):
            with suppress(FileNotFoundError):
                status = path.stat()
                if path.is_file() and not path.name.startswith("."):
                    name = path.relative_to(self.folder).as_posix()
                    found.append(Listed(name, status.st_size, status.st_mtime))
        return found
