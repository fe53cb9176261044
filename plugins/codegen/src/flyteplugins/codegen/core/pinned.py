"""The store of files by content: what goes in never changes, so that a path into it stands for its bytes.

`<store>/<sha256>/<name>`; the store is `files/` under the state folder unless another is named. The name is kept
because programs look at extensions. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import Final

from flyte.io import Dir, File

from flyteplugins.codegen.core.files import storing
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.scratch import scratch

INCOMING: Final = ".incoming"
"""Where in a store files lie until they are whole."""

_READ_ONLY: Final = 0o444
_SEALED_NS: Final = 1_000_000_000 * 10**9
"""The time of change of every file in the store: a later one says that somebody wrote to it. The same on every
machine, so that a program that looks at it does the same everywhere."""

_CHUNK: Final = 1 << 20
_DIGEST: Final = re.compile("[0-9a-f]{64}")


def store() -> Path:
    """The folder of the pinned files; it need not exist yet."""
    return home() / "files"


def pin(source: Path, name: str | None = None, *, into: Path | None = None, move: bool = False) -> File:
    """Put a file into the store.

    Args:
        source: A regular file.
        name: Its name in the store; the source's if None.
        into: The store; `store()` if None.
        move: Whether the source may be taken away.

    Returns:
        The file in the store, with its hex SHA-256 as hash.

    Raises:
        StorageFailedError: There is no room for it.
    """
    name, root = name or source.name, into or store()
    if not move and (standing := _standing(root / sha256(source) / name, source.stat().st_size)):
        return standing
    with _incoming(root) as folder:
        copy = folder / "content"
        _take(source, copy, move=move)
        # Of the copy: a source that somebody writes to meanwhile can't end up under a wrong hash.
        target = root / sha256(copy) / name
        return _standing(target, copy.stat().st_size) or _placed(copy, target)


def pin_text(text: str, name: str) -> File:
    """Put a text into the store as a file, in UTF-8.

    Args:
        text: The content.
        name: Name of the file.

    Returns:
        The file in the store, with its hex SHA-256 as hash.

    Raises:
        StorageFailedError: There is no room for it.
    """
    content = text.encode()
    digest = hashlib.sha256(content).hexdigest()
    if standing := _standing(store() / digest / name, len(content)):
        return standing
    with _incoming(store()) as folder:
        copy = folder / "content"
        copy.write_bytes(content)
        return _placed(copy, store() / digest / name)


def assemble(files: Mapping[str, File], name: str) -> Dir:
    """Make a folder of pinned files, in the store as well: the same files, the same folder.

    Args:
        files: By relative path; at least one.
        name: Name of the folder.

    Returns:
        The folder, with the hash of its paths and contents.

    Raises:
        StorageFailedError: There is no room for it.
    """
    listed = "".join(f"{path}\0{file.hash}\n" for path, file in sorted(files.items()))
    digest = hashlib.sha256(listed.encode()).hexdigest()
    target = store() / digest / name
    if not all(_is_sealed(target / path) for path in files):
        with _incoming(store()) as folder:
            for path, file in files.items():
                placed = folder / "content" / path
                placed.parent.mkdir(parents=True, exist_ok=True)
                _link(Path(file.path), placed)
            target.parent.mkdir(exist_ok=True)
            if target.exists():  # somebody wrote in it; what goes is removed with the folder that it goes to
                target.rename(folder / "altered")
            try:
                (folder / "content").rename(target)
            except OSError:  # another process was first
                if not target.is_dir():
                    raise
    with suppress(OSError):
        os.utime(target.parent)
    return Dir(path=str(target), name=name, hash=digest)


def is_pinned(file: File) -> bool:
    """Whether `file` lies in the store under the hash that it claims, and nobody wrote to it."""
    path = Path(file.path)
    if not file.hash or path.parent != store() / str(file.hash):
        return False
    try:
        return _standing(path, path.stat().st_size) is not None
    except OSError:
        return False


def pinned_file(digest: str, name: str) -> File | None:
    """A file of the store, whole and unchanged.

    Args:
        digest: Its hex SHA-256.
        name: Its name.

    Returns:
        The file; None where it is not there, or was altered.

    Raises:
        ValueError: What may come from another machine is no hash, or no plain name.
    """
    if not _DIGEST.fullmatch(digest) or name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise ValueError(f"{digest!r}, {name!r} name no file")
    target = store() / digest / name
    try:
        # What was only touched or copied here has another time, and is read once more.
        if target.stat().st_mtime_ns != _SEALED_NS:
            if sha256(target) != digest:
                return None
            _seal(target)
        return _standing(target, target.stat().st_size)
    except OSError:
        return None


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _is_sealed(path: Path) -> bool:
    with suppress(OSError):
        status = path.stat()
        return S_ISREG(status.st_mode) and status.st_mtime_ns == _SEALED_NS
    return False


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links, or too many of them
        shutil.copyfile(source, target)
        _seal(target)


def _standing(target: Path, size: int) -> File | None:
    """The file where it is whole: such a one has the time that it was sealed with, as nothing written to since has."""
    with suppress(OSError):
        status = target.stat()
        if S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == (size, _SEALED_NS):
            # When it was last used: garbage is what no record names and nobody used for a day.
            with suppress(OSError):
                os.utime(target.parent)
            return File(path=str(target), name=target.name, hash=target.parent.name)
    return None


@contextmanager
def _incoming(root: Path) -> Iterator[Path]:
    with storing(root):
        # Samples are nobody else's business: the files are read-only, and so for everybody where the folder is open.
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with scratch(root / INCOMING) as folder:
            yield folder


def _placed(copy: Path, target: Path) -> File:
    _seal(copy)
    target.parent.mkdir(exist_ok=True)
    copy.replace(target)
    return File(path=str(target), name=target.name, hash=target.parent.name)


def _seal(path: Path) -> None:
    path.chmod(_READ_ONLY)
    os.utime(path, ns=(_SEALED_NS, _SEALED_NS))


def _take(source: Path, target: Path, *, move: bool) -> None:
    if move:
        try:
            source.rename(target)
        except OSError:  # another file system
            shutil.copyfile(source, target)
        return
    shutil.copyfile(source, target)
