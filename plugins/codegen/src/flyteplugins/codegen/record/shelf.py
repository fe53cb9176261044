"""Where entries lie: a folder, or an object store. What is written once never changes."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from flyteplugins.codegen.core.files import WRITING
from flyteplugins.codegen.core.scratch import scratch

_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What file systems answer that have no hard links."""

_TRIES: Final = 3


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

    Every operation raises OSError where the shelf can't be reached, read or written.

    Attributes:
        where: What people call it: a folder, or an address without credentials.
    """

    where: str

    async def read(self, path: str) -> bytes | None:
        """The content of a file, None where there is none."""
        ...

    async def contents(self, folder: str) -> dict[str, bytes]:
        """The content of every file in a folder, by its name there; nothing of the folders below it."""
        ...

    async def create(self, path: str, content: bytes, *, durable: bool = True) -> bool:
        """Write a file that a reader sees whole or not at all; False where one stands already, which stays.

        Args:
            path: The file.
            content: What it is to hold.
            durable: Whether it must outlive a crash of the machine from now on.
        """
        ...

    async def listed(self, prefix: str) -> list[Listed]:
        """The files below a folder, in the order of their paths; below the whole shelf for an empty prefix."""
        ...

    async def delete(self, path: str) -> None:
        """Take a file away; one that is not there is no error."""
        ...

    async def take_file(self, path: str, source: Path) -> None:
        """Copy a large file onto the shelf; one of the same size that stands there stays."""
        ...

    async def give_file(self, path: str, target: Path, size: int = 0) -> bool:
        """Copy a large file to this machine; False where there is none. The size, where known, sets its deadline."""
        ...


class LocalShelf:
    """A folder on this machine, or one that several machines mount.

    A file comes by a hard link from a temporary one, so that none is seen half-written and none is overwritten, also
    where several processes write at once. On a file system without hard links it is written in its place: a reader
    may then see a part of it, which the checksum of the record tells.

    A durable file and its folder are synchronised with the disk before `create` returns. Of the others a crash of the
    machine (not of the process) can lose what was written in the last half minute or so.

    Args:
        folder: It need not exist yet.
        private: Whether only this user may read what is written; else what the umask allows.
    """

    def __init__(self, folder: Path, *, private: bool = True) -> None:
        self.folder = folder
        self.where = str(folder)
        self._file_mode, self._folder_mode = (0o600, 0o700) if private else (0o666, 0o777)

    async def read(self, path: str) -> bytes | None:
        """The content of a file, None where there is none."""
        return await asyncio.to_thread(_read, self.folder / path)

    async def contents(self, folder: str) -> dict[str, bytes]:
        """The content of every file in a folder, by its name there."""
        return await asyncio.to_thread(self._contents, folder)

    async def create(self, path: str, content: bytes, *, durable: bool = True) -> bool:
        """Write a file; False where one stands already."""
        return await asyncio.to_thread(self._create, path, content, durable)

    async def listed(self, prefix: str) -> list[Listed]:
        """The files below a folder."""
        return await asyncio.to_thread(self._listed, prefix)

    async def delete(self, path: str) -> None:
        """Take a file away, and its folder where it was the last in it."""
        await asyncio.to_thread(self._delete, path)

    async def take_file(self, path: str, source: Path) -> None:
        """Copy a large file onto the shelf."""
        await asyncio.to_thread(self._take_file, path, source)

    async def give_file(self, path: str, target: Path, size: int = 0) -> bool:
        """Copy a large file from the shelf."""
        return await asyncio.to_thread(self._give_file, path, target)

    def _contents(self, folder: str) -> dict[str, bytes]:
        found = {}
        try:
            with os.scandir(self.folder / folder) as listing:
                for entry in listing:
                    if entry.is_file() and not entry.name.startswith("."):
                        content = _read(Path(entry.path))
                        if content is not None:
                            found[entry.name] = content
        except (FileNotFoundError, NotADirectoryError):
            pass
        return found

    def _create(self, path: str, content: bytes, durable: bool) -> bool:
        target = self.folder / path
        roots = self._make(self.folder)
        with scratch(self.folder / WRITING) as folder:
            written = folder / "content"
            self._write(written, content)
            for tries_left in reversed(range(_TRIES)):
                made = self._make(target.parent)
                try:
                    self._link(written, target)
                    break
                except FileExistsError:
                    return False
                except FileNotFoundError:  # its folder was empty, and was removed meanwhile
                    if not tries_left:
                        raise
        if durable:
            # The file first: most file systems write its new folders with it, and have nothing left to do for those.
            for place in (target, target.parent, *made, *roots):
                _synchronise(place)
        return True

    def _link(self, written: Path, target: Path) -> None:
        """Put a file in its place; unlike a rename, this does not take the place of one that stands."""
        try:
            os.link(written, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            self._write(target, written.read_bytes())

    def _make(self, folder: Path) -> list[Path]:
        """Make a folder; returns the folders that have a new one in them."""
        if folder.is_dir():
            return []
        if folder == self.folder:
            folder.mkdir(mode=self._folder_mode, parents=True, exist_ok=True)
            return [folder.parent]
        made = self._make(folder.parent)
        folder.mkdir(mode=self._folder_mode, exist_ok=True)
        return [folder.parent, *made]

    def _write(self, path: Path, content: bytes) -> None:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, self._file_mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)

    def _listed(self, prefix: str) -> list[Listed]:
        found = []
        for parent, folders, names in os.walk(self.folder / prefix):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                with suppress(FileNotFoundError):
                    path = Path(parent, name)
                    status = path.stat()
                    if not name.startswith("."):
                        listed = path.relative_to(self.folder).as_posix()
                        found.append(Listed(listed, status.st_size, status.st_mtime))
        return sorted(found, key=lambda listed: listed.path)

    def _delete(self, path: str) -> None:
        target = self.folder / path
        target.unlink(missing_ok=True)
        with suppress(OSError):  # not empty, or gone
            target.parent.rmdir()

    def _take_file(self, path: str, source: Path) -> None:
        target = self.folder / path
        with suppress(FileNotFoundError):
            if target.stat().st_size == source.stat().st_size:
                return
        self._make(target.parent)
        with scratch(self.folder / WRITING) as folder:
            written = folder / "content"
            shutil.copyfile(source, written)
            written.chmod(self._file_mode & 0o644)
            written.replace(target)

    def _give_file(self, path: str, target: Path) -> bool:
        try:
            shutil.copyfile(self.folder / path, target)
        except FileNotFoundError:
            return False
        return True


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _synchronise(place: Path) -> None:
    descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that synchronises no folders
            raise
    finally:
        os.close(descriptor)
