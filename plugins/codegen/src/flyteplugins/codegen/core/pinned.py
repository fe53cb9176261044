"""The store of files by content: what goes in never changes, so that a path into it stands for its bytes.

`<store>/<sha256>/<name>`; the store is `files/` under the state folder unless another is named. The name is kept
because programs look at extensions. Everything here blocks: call it in a thread.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Final

from flyte.io import File

from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.scratch import scratch

INCOMING: Final = ".incoming"
"""Where in a store files lie until they are whole."""

_READ_ONLY: Final = 0o444
_CHUNK: Final = 1 << 20


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
    """
    name, root = name or source.name, into or store()
    digest = sha256(source)
    target = root / digest / name
    if _stands(target, source.stat().st_size):
        return File(path=str(target), name=name, hash=digest)
    with scratch(root / INCOMING) as folder:
        copy = folder / "content"
        _take(source, copy, move=move)
        copy.chmod(_READ_ONLY)
        # Of the copy: a source that somebody writes to meanwhile can't end up under a wrong hash.
        digest = sha256(copy)
        target = root / digest / name
        target.parent.mkdir(exist_ok=True)
        copy.replace(target)
    return File(path=str(target), name=name, hash=digest)


def pin_text(text: str, name: str) -> File:
    """Put a text into the store as a file, in UTF-8.

    Args:
        text: The content.
        name: Name of the file.

    Returns:
        The file in the store, with its hex SHA-256 as hash.
    """
    content = text.encode()
    digest = hashlib.sha256(content).hexdigest()
    target = store() / digest / name
    if _stands(target, len(content)):
        return File(path=str(target), name=name, hash=digest)
    with scratch(store() / INCOMING) as folder:
        source = folder / name
        source.write_bytes(content)
        return pin(source, move=True)


def is_pinned(file: File) -> bool:
    """Whether `file` lies in the store under the hash that it claims."""
    path = Path(file.path)
    return bool(file.hash) and path.parent == store() / str(file.hash) and path.is_file()


def is_intact(path: Path, digest: str) -> bool:
    """Whether `path` is a file with this hex SHA-256."""
    return path.is_file() and sha256(path) == digest


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _stands(target: Path, size: int) -> bool:
    # Files in the store are read-only and come by a rename: one of the right size is the whole one.
    return target.is_file() and target.stat().st_size == size


def _take(source: Path, target: Path, *, move: bool) -> None:
    if move:
        try:
            source.rename(target)
        except OSError:  # another file system
            shutil.copyfile(source, target)
        return
    shutil.copyfile(source, target)
