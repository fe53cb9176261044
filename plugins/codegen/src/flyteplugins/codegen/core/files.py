"""Files that several processes share: locks, and writes that are never seen half-done."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

_SECONDS_BETWEEN_TRIES: Final = 0.05


@asynccontextmanager
async def file_lock(path: Path) -> AsyncIterator[None]:
    """Hold a lock against the other tasks, threads and processes that ask for the same path.

    The system releases it when its holder dies, so a lock is never stale.

    Args:
        path: The lock's own file; made where it is missing and left in place.

    Yields:
        Nothing; the lock is held inside the block.
    """
    import fcntl  # not on Windows, where this package's lighter parts still import

    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        # Tried again and again rather than waited for in a thread: waiters would use up the threads that the holder
        # needs to get done.
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(_SECONDS_BETWEEN_TRIES)
        yield
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, also after a crash.

    Args:
        path: The file; its folder is made where it is missing.
        content: What it is to hold.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(temporary).unlink()
        raise
