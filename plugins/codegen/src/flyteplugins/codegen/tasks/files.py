"""The store of files by content: what goes in never changes, so that a path into it stands for its bytes.

`files/<sha256>/<name>` under the state folder. The name is kept because programs look at extensions.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Final

from flyte.io import File

from flyteplugins.codegen.core.paths import home

_READ_ONLY: Final = 0o444
_CHUNK: Final = 1 << 20


def pin(source: Path, name: str | None = None, *, move: bool = False) -> File:
    """Put a file into the store. Blocks; call it in a thread.

    Args:
        source: A regular file.
        name: Its name in the store; the source's if None.
        move: Whether the source may be taken away.

    Returns:
        The file in the store, with its hex SHA-256 as hash.
    """
    name = name or source.name
    root = home() / "files"
    root.mkdir(mode=0o700, parents=True, exist_ok=True)  # other users of the machine have no business in the data
    # Copy first and hash the copy: a source that somebody writes to meanwhile can't end up under a wrong hash.
    folder = Path(tempfile.mkdtemp(prefix=".incoming-", dir=root))
    try:
        copy = folder / "content"
        _take(source, copy, move=move)
        copy.chmod(_READ_ONLY)
        digest = sha256(copy)
        target = root / digest / name
        if not is_intact(target, digest):
            target.parent.mkdir(exist_ok=True)
            copy.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return File(path=str(target), name=name, hash=digest)


def pin_text(text: str, name: str) -> File:
    """Put a text into the store as a file, in UTF-8. Blocks; call it in a thread.

    Args:
        text: The content.
        name: Name of the file.

    Returns:
        The file in the store, with its hex SHA-256 as hash.
    """
    content = text.encode()
    digest = hashlib.sha256(content).hexdigest()
    target = home() / "files" / digest / name
    if is_intact(target, digest):
        return File(path=str(target), name=name, hash=digest)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / name
        source.write_bytes(content)
        return pin(source)


def is_pinned(file: File) -> bool:
    """Whether `file` lies in the store under the hash that it claims."""
    path = Path(file.path)
    return bool(file.hash) and path.parent == home() / "files" / str(file.hash) and path.is_file()


def is_intact(path: Path, digest: str) -> bool:
    """Whether `path` is a file with this hex SHA-256. Blocks; call it in a thread."""
    return path.is_file() and sha256(path) == digest


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content. Blocks; call it in a thread."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _take(source: Path, target: Path, *, move: bool) -> None:
    if move:
        try:
            source.rename(target)
        except OSError:  # another file system
            shutil.copyfile(source, target)
        return
    shutil.copyfile(source, target)
