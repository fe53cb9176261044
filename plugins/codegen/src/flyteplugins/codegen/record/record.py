"""Entries by kind and key. An entry never changes: another one under the same key is another version."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flyte.io import File

from flyteplugins.codegen.core import pinned
from flyteplugins.codegen.core.errors import StorageFailedError
from flyteplugins.codegen.core.files import file_lock
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.scratch import scratch_in
from flyteplugins.codegen.record.remote import RestingError
from flyteplugins.codegen.record.shelf import LocalShelf, Shelf

logger = logging.getLogger(__name__)

KINDS: Final = ("answers", "runs", "generations", "reviews")
FILES: Final = "files"
"""The folder of a shelf for the files of entries, by their hex SHA-256."""

_ENTRY: Final = re.compile(r"([0-9]{4,9})\.json")
_TAKEN: Final = re.compile(r"([0-9]{4,9})\.(?:json|withdrawn)")
WITHDRAWN: Final = ".withdrawn"
"""How the name of the file ends that says that an entry is served no more."""


_QUICK: Final = frozenset({"runs"})
"""Kinds that need not outlive a crash of the machine: running once more costs seconds and no money."""


@dataclass(frozen=True)
class Entry:
    """What is recorded under a key.

    Attributes:
        kind: `answers`, `runs`, `generations` or `reviews`.
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

    Trouble with a shelf never ends a generation: what can't be read counts as absent, what can't be written is kept
    by who has it, and both are told once.

    An entry that is on the machine's own shelf is served without a look at the remote one. What is found only there
    is kept here as well, and what is added goes to both.

    Args:
        shelf: Where the entries lie.
        on_trouble: Told, in a sentence, of an entry that is corrupt and of a shelf that can't be read or written.
        remote: Where they lie for others too; None where nothing is shared.
        keeps_files: Whether `shelf` also keeps the files of entries. Those of the machine's own record are in its
            store of files anyway.
    """

    def __init__(
        self,
        shelf: Shelf,
        on_trouble: Callable[[str], None] | None = None,
        *,
        remote: Shelf | None = None,
        keeps_files: bool = False,
    ) -> None:
        self.shelf = shelf
        self.remote = remote
        self._files = remote or (shelf if keeps_files else None)
        self._on_trouble = on_trouble or logger.warning
        self._told: set[str] = set()

    async def newest(self, kind: str, key: str) -> Entry | None:
        """The newest version that is whole and was not withdrawn.

        Args:
            kind: Kind of the entry.
            key: Its key.

        Returns:
            The entry, or None.
        """
        here = await self._contents(self.shelf, kind, key)
        if (found := self._newest_of(self.shelf, kind, key, here)) or self.remote is None:
            return found
        there = await self._contents(self.remote, kind, key)
        withdrawn = {name: content for name, content in here.items() if name.endswith(WITHDRAWN)}
        if found := self._newest_of(self.remote, kind, key, {**there, **withdrawn}):
            name = _name(found.version)
            await self._create(self.shelf, found, name, there[name])
        return found

    async def add(self, kind: str, key: str, body: dict[str, Any]) -> Entry:
        """Record something as the newest version; it is on disk when this returns.

        Args:
            kind: Kind of the entry.
            key: Its key.
            body: Plain data.

        Returns:
            The entry; `version` is -1 where no shelf can be written, which is told.
        """
        content = _sealed(body)
        try:
            names = [listed.path.rpartition("/")[2] for listed in await self.shelf.listed(_folder(kind, key))]
        except OSError as error:
            self._tell_of(self.shelf, "read", error)
            names = []
        entry = Entry(kind, key, max(_versions(names, _TAKEN), default=-1) + 1, body)
        # The remote shelf first: a version that others have there is no version here.
        there = await self._add(self.remote, entry, content) if self.remote else None
        here = await self._add(self.shelf, there or entry, content)
        return here or there or Entry(kind, key, -1, body)

    async def withdraw(self, entry: Entry) -> None:
        """Serve an entry no more; it stays where it lies, for people to look at.

        Args:
            entry: An entry of this record.
        """
        if entry.version < 0:
            return
        for shelf in self._shelves():
            await self._create(shelf, entry, _withdrawal(entry.version), b"")

    async def withdrawals(self, kind: str, key: str) -> int:
        """How many versions under a key were withdrawn.

        Args:
            kind: Kind of the entries.
            key: Their key.

        Returns:
            The count.
        """
        contents = [await self._contents(shelf, kind, key) for shelf in self._shelves()]
        return len({name for names in contents for name in names if name.endswith(WITHDRAWN)})

    def lock(self, kind: str, key: str) -> AbstractAsyncContextManager[None]:
        """Keep others on this machine from working at the same entry at the same time.

        Where the lock's file can't be made, nobody is kept from anything, and that is told.

        Args:
            kind: Kind of the entry.
            key: Its key.

        Returns:
            A context manager that waits for its turn.
        """
        return file_lock(home() / "locks" / f"{kind}-{key}.lock", on_trouble=self._tell_of_locks)

    async def keep_file(self, file: File) -> None:
        """Keep a file of an entry where those who share the shelf find it; call this before `add`.

        Args:
            file: A file in the store of this machine, where it stays.
        """
        if self._files:
            try:
                await self._files.take_file(f"{FILES}/{file.hash}", Path(file.path))
            except OSError as error:
                self._tell_of(self._files, "written", error)

    async def bring_file(self, digest: str, name: str, size: int = 0) -> File | None:
        """A file of an entry, in the store of this machine, where it is brought if it is elsewhere.

        Args:
            digest: Its hex SHA-256.
            name: Its name.
            size: Its size in bytes, where it is known; decides how long it may take.

        Returns:
            The file in the store; None where it is nowhere, or altered.
        """
        if file := await asyncio.to_thread(pinned.pinned_file, digest, name):
            return file
        if self._files is None:
            return None
        try:
            return await self._bring(self._files, digest, name, size)
        except OSError as error:
            self._tell_of(self._files, "read", error)
        except StorageFailedError as error:
            self.tell(str(error))
        return None

    def tell(self, trouble: str) -> None:
        """Tell of trouble with the record; the same is told once.

        Args:
            trouble: A sentence.
        """
        self._tell_once(trouble, trouble)

    def _shelves(self) -> list[Shelf]:
        return [self.shelf, self.remote] if self.remote else [self.shelf]

    async def _bring(self, files: Shelf, digest: str, name: str, size: int) -> File | None:
        async with scratch_in(pinned.store() / pinned.INCOMING) as folder:
            target = folder / "content"
            if not await files.give_file(f"{FILES}/{digest}", target, size):
                return None
            if await asyncio.to_thread(pinned.sha256, target) != digest:
                self.tell(f"The file {FILES}/{digest} in {files.where} is corrupt and counts as absent.")
                return None
            return await asyncio.to_thread(pinned.pin, target, name, move=True)

    async def _contents(self, shelf: Shelf, kind: str, key: str) -> dict[str, bytes]:
        try:
            return await shelf.contents(_folder(kind, key))
        except OSError as error:
            self._tell_of(shelf, "read", error)
            return {}

    def _newest_of(self, shelf: Shelf, kind: str, key: str, contents: Mapping[str, bytes]) -> Entry | None:
        for version in sorted(_versions(contents), reverse=True):
            if _withdrawal(version) in contents:
                continue
            body = body_of(contents[_name(version)])
            if body is not None:
                return Entry(kind, key, version, body)
            self.tell(
                f"The entry {_folder(kind, key)}/{_name(version)} in {shelf.where} is corrupt and counts as absent."
            )
        return None

    async def _add(self, shelf: Shelf, entry: Entry, content: bytes) -> Entry | None:
        version = entry.version
        while (created := await self._create(shelf, entry, _name(version), content)) is False:
            version += 1
        return None if created is None else dataclasses.replace(entry, version=version)

    async def _create(self, shelf: Shelf, entry: Entry, name: str, content: bytes) -> bool | None:
        """Whether it was written; False where the name is taken already, None where the shelf can't be written."""
        try:
            path = f"{_folder(entry.kind, entry.key)}/{name}"
            return await shelf.create(path, content, durable=entry.kind not in _QUICK)
        except OSError as error:
            self._tell_of(shelf, "written", error)
            return None

    def _tell_of(self, shelf: Shelf, can: str, error: OSError) -> None:
        if isinstance(error, RestingError):
            return  # what it rests from was told
        if shelf is self.remote:
            goes_on, about = "The generation goes on with the record of this machine alone.", shelf.where
        elif can == "written":
            goes_on, about = "What is paid for from now on is kept in memory alone.", f"writing {shelf.where}"
        else:
            goes_on, about = "What is in it counts as absent.", f"reading {shelf.where}"
        self._tell_once(about, f"The record in {shelf.where} can't be {can}: {error}. {goes_on}")

    def _tell_of_locks(self, trouble: str) -> None:
        self._tell_once("locks", trouble)

    def _tell_once(self, about: str, trouble: str) -> None:
        if about not in self._told:
            self._told.add(about)
            self._on_trouble(trouble)


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
    return hashlib.sha256(_encoded(canonical)).hexdigest()


def body_of(content: bytes) -> dict[str, Any] | None:
    """The body of an entry by the content of its file.

    Args:
        content: The file of a shelf.

    Returns:
        Plain data; None where it is not whole.
    """
    digest, _, document = content.partition(b"\n")
    if digest != hashlib.sha256(document).hexdigest().encode():
        return None
    try:
        body = json.loads(document)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _encoded(text: str) -> bytes:
    # A model's answer may hold half of a surrogate pair, which plain UTF-8 refuses; `json.loads` reads it back.
    return text.encode(errors="surrogatepass")


def _sealed(body: dict[str, Any]) -> bytes:
    """The content of an entry: its checksum on a line of its own, then its body."""
    document = _encoded(json.dumps(body, ensure_ascii=False, sort_keys=True))
    return hashlib.sha256(document).hexdigest().encode() + b"\n" + document


def _folder(kind: str, key: str) -> str:
    return f"{kind}/{key[:2]}/{key}"


def _name(version: int) -> str:
    return f"{version:04d}.json"


def _withdrawal(version: int) -> str:
    return f"{version:04d}{WITHDRAWN}"


def _versions(names: Iterable[str], pattern: re.Pattern[str] = _ENTRY) -> list[int]:
    found = [pattern.fullmatch(name) for name in names]
    return [int(match[1]) for match in found if match]
