"""Entries by kind and key. An entry never changes: another one under the same key is another version."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flyte.io import File

from flyteplugins.codegen.core.files import file_lock
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.record.shelf import LocalShelf, Shelf

logger = logging.getLogger(__name__)

_ENTRY: Final = ".json"
_WITHDRAWN: Final = ".withdrawn"


@dataclass(frozen=True)
class Entry:
    """What is recorded under a key.

    Attributes:
        kind: `answers`, `runs` or `generations`.
        key: Hex SHA-256 of everything that decides it.
        version: Counted from 0 under its key; -1 where it could not be written.
        body: Plain data.
    """

    kind: str
    key: str
    version: int
    body: dict[str, Any]


class Record:
    """What was answered, built and run before.

    Trouble with the shelf never ends a generation: what can't be read counts as absent, what can't be written is kept
    by who has it, and both are told once.

    Args:
        shelf: Where the entries lie.
        on_trouble: Told, in a sentence, of an entry that is corrupt and of a shelf that can't be read or written.
    """

    def __init__(self, shelf: Shelf, on_trouble: Callable[[str], None] | None = None) -> None:
        self.shelf = shelf
        self._on_trouble = on_trouble or logger.warning

    async def newest(self, kind: str, key: str) -> Entry | None:
        """The newest version that is whole and was not withdrawn.

        Args:
            kind: Kind of the entry.
            key: Its key.

        Returns:
            The entry, or None.
        """
        names = await self._names(kind, key)
        for version in sorted(_versions(names), reverse=True):
            if f"{version:04d}{_WITHDRAWN}" not in names and (entry := await self._read(kind, key, version)):
                return entry
        return None

    async def add(self, kind: str, key: str, body: dict[str, Any]) -> Entry:
        """Record something as the newest version; it is on disk when this returns.

        Args:
            kind: Kind of the entry.
            key: Its key.
            body: Plain data.

        Returns:
            The entry; `version` is -1 where the shelf can't be written, which is told.
        """
        document = json.dumps(body, ensure_ascii=False, sort_keys=True).encode()
        content = hashlib.sha256(document).hexdigest().encode() + b"\n" + document
        try:
            version = max(_versions(await self._names(kind, key)), default=-1) + 1
            while not await self.shelf.create(f"{_folder(kind, key)}/{version:04d}{_ENTRY}", content):
                version += 1
        except OSError as error:
            self._on_trouble(
                f"The record in {self.shelf.where} can't be written: {error}. What is paid for from now on is kept in "
                "memory alone."
            )
            version = -1
        return Entry(kind, key, version, body)

    async def withdraw(self, entry: Entry) -> None:
        """Serve an entry no more; it stays where it lies, for people to look at.

        Args:
            entry: An entry of this record.
        """
        if entry.version < 0:
            return
        try:
            await self.shelf.create(f"{_folder(entry.kind, entry.key)}/{entry.version:04d}{_WITHDRAWN}", b"")
        except OSError as error:
            self._on_trouble(f"The record in {self.shelf.where} can't be written: {error}.")

    def lock(self, kind: str, key: str) -> AbstractAsyncContextManager[None]:
        """Keep others on this machine from working at the same entry at the same time.

        Args:
            kind: Kind of the entry.
            key: Its key.

        Returns:
            A context manager that waits for its turn.
        """
        return file_lock(home() / "locks" / f"{kind}-{key}.lock")

    async def keep_file(self, path: Path, digest: str) -> None:
        """Keep a file of an entry where the others who use the shelf find it.

        Args:
            path: A file that is in the store of this machine, where it stays.
            digest: Its hex SHA-256.
        """

    async def bring_file(self, digest: str, name: str) -> File | None:
        """Bring a file of an entry into the store of this machine.

        Args:
            digest: Its hex SHA-256.
            name: Its name.

        Returns:
            The file in the store; None where it is nowhere, or altered.
        """
        return None

    def tell(self, trouble: str) -> None:
        """Tell of trouble with an entry.

        Args:
            trouble: A sentence.
        """
        self._on_trouble(trouble)

    async def _names(self, kind: str, key: str) -> set[str]:
        try:
            return {listed.path.rsplit("/", 1)[-1] for listed in await self.shelf.listed(_folder(kind, key))}
        except OSError as error:
            self._on_trouble(f"The record in {self.shelf.where} can't be read: {error}.")
            return set()

    async def _read(self, kind: str, key: str, version: int) -> Entry | None:
        path = f"{_folder(kind, key)}/{version:04d}{_ENTRY}"
        try:
            content = await self.shelf.read(path)
        except OSError as error:
            self._on_trouble(f"The record in {self.shelf.where} can't be read: {error}.")
            return None
        if content is None:
            return None
        digest, _, document = content.partition(b"\n")
        if digest.decode("ascii", "replace") != hashlib.sha256(document).hexdigest():
            self._on_trouble(f"The entry {path} of the record in {self.shelf.where} is corrupt and counts as absent.")
            return None
        return Entry(kind, key, version, json.loads(document))


def local_record(on_trouble: Callable[[str], None] | None = None) -> Record:
    """The record of this machine.

    Args:
        on_trouble: As for `Record`.

    Returns:
        The record under the state folder.
    """
    return Record(LocalShelf(home() / "record"), on_trouble)


def key_of(document: Any) -> str:
    """The key of everything that decides an entry.

    Args:
        document: Plain data.

    Returns:
        Hex SHA-256 of its canonical JSON.
    """
    canonical = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _folder(kind: str, key: str) -> str:
    return f"{kind}/{key[:2]}/{key}"


def _versions(names: set[str]) -> list[int]:
    return [int(name.removesuffix(_ENTRY)) for name in names if name.endswith(_ENTRY)]
