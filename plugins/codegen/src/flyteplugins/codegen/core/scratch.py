"""Temporary folders that are cleared up also where their owner was killed.

A scratch folder is locked for as long as its owner uses it. The system releases the lock when the owner dies, however
that happens, so a scratch folder that nobody holds is one that was left behind.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

PREFIX: Final = ".codegen-scratch-"
"""What the names of scratch folders begin with; whatever is so called and unlocked may be removed by anybody."""


@contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """Make a temporary folder that only this user can enter; it is gone after the block. Blocks: call it in a thread.

    A folder that is renamed inside the block stays, under its new name.

    Args:
        parent: Where to make it, which is made where it is missing; the system's folder for temporary files if None.

    Yields:
        The folder.
    """
    folder, descriptor = _made(parent or Path(tempfile.gettempdir()))
    try:
        yield folder
    finally:
        try:
            remove_tree(folder)
        finally:
            if descriptor is not None:
                os.close(descriptor)


@asynccontextmanager
async def scratch_in(parent: Path | None = None) -> AsyncIterator[Path]:
    """`scratch`, with its work done in threads.

    Args:
        parent: As for `scratch`.

    Yields:
        The folder.
    """
    with ExitStack() as stack:  # closed here only where the thread could not
        folder = await asyncio.to_thread(stack.enter_context, scratch(parent))
        try:
            yield folder
        finally:
            await asyncio.to_thread(stack.close)


def sweep(parent: Path | None = None) -> list[str]:
    """Remove the scratch folders whose owners are gone; those that somebody uses stay.

    Safe to call by several at once, and beside those who make new ones. What can't be removed is left for the next
    time. Blocks: call it in a thread.

    Args:
        parent: Where they were made; the system's folder for temporary files if None.

    Returns:
        The names of those that were removed.
    """
    parent, removed = parent or Path(tempfile.gettempdir()), []
    with suppress(OSError), os.scandir(parent) as listing:
        left = [Path(entry.path) for entry in listing if entry.name.startswith(PREFIX)]
        for folder in left:
            with suppress(OSError), _taken(folder):
                remove_tree(folder)
                removed += [] if folder.exists() else [folder.name]
    return removed


def remove_tree(folder: Path) -> None:
    """Remove a folder and all below it, however deep it is and whatever its permissions are."""
    if not folder.exists():
        return
    for parent, names, _ in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with suppress(OSError):
                if not path.is_symlink():
                    path.chmod(0o700)
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        # Deeper than Python's own recursion goes.
        subprocess.run(  # noqa: S603 # the path is one argument, after the end of the options
            ["/bin/rm", "-rf", "--", str(folder)], check=False, capture_output=True
        )


def _made(parent: Path) -> tuple[Path, int | None]:
    """A new folder and what holds its lock, None where the file system has no locks: there, nothing is swept."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        folder = parent / f"{PREFIX}{secrets.token_hex(8)}"
        folder.mkdir(mode=0o700)
        try:
            return folder, _locked(folder)
        except (BlockingIOError, FileNotFoundError):
            continue  # a sweep came between
        except OSError:
            return folder, None


@contextmanager
def _taken(folder: Path) -> Iterator[None]:
    """Hold what somebody left; raises OSError where it is in use, somebody else's, or already gone."""
    if folder.stat(follow_symlinks=False).st_uid != os.geteuid():
        raise PermissionError(folder)
    descriptor = _locked(folder)
    try:
        yield
    finally:
        os.close(descriptor)


def _locked(folder: Path) -> int:
    """Lock a folder; raises BlockingIOError where somebody has it, FileNotFoundError where it was removed meanwhile."""
    import fcntl  # not on Windows, where this package's lighter parts still import

    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino != folder.stat(follow_symlinks=False).st_ino:
            raise FileNotFoundError(folder)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
