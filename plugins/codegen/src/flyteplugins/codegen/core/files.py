"""Files that several processes share: locks, and writes that are never seen half-done."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from flyteplugins.codegen.core.errors import StorageFailedError
from flyteplugins.codegen.core.scratch import scratch

logger = logging.getLogger(__name__)

WRITING: Final = ".writing"
"""Where files lie until they are whole, in the folder that they belong to."""

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_SHORTEST_WAIT: Final = 0.005
_LONGEST_WAIT: Final = 0.2


@asynccontextmanager
async def file_lock(path: Path, on_trouble: Callable[[str], None] | None = None) -> AsyncIterator[None]:
    """Hold a lock against the other tasks, threads and processes that ask for the same path.

    Where its file can't be made, as in a folder that can't be written or on a full disk, the block runs without it:
    what locks prevent is that the same is done twice, never that something is wrong.

    The system releases it when its holder dies, so a lock is never stale. Waiting polls: a thread that blocks in
    `flock` can't be cancelled, and a few of them would fill the thread pool that the holder needs to get on.

    Args:
        path: The lock's own file, which exists while somebody holds it; its folder is made where it is missing. One
            that ends with `.lock` is cleared by `sweep_locks` where its holder was killed.
        on_trouble: Told, in a sentence, where there is no lock; the log is told if None.

    Yields:
        Nothing; the lock is held inside the block.
    """
    wait = _SHORTEST_WAIT
    descriptor = None
    try:
        while (descriptor := _try_lock(path)) is None:
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
    except OSError as error:
        (on_trouble or logger.warning)(
            f"Nothing can be locked in {path.parent}: {error}. What two processes want at the same time is done twice."
        )
    if descriptor is None:
        yield
        return
    try:
        yield
    finally:
        _unlock(path, descriptor)


@contextmanager
def storing(place: Path) -> Iterator[None]:
    """Make the machine's fault of it where nothing can be stored in the block.

    Args:
        place: What the error names.

    Raises:
        StorageFailedError: The disk is full, a quota is reached, or the file system can only be read.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise _no_room(place, os.strerror(error.errno)) from error


def check_room(said: str, place: Path) -> None:
    """Make the machine's fault of what another program says where it could not store something.

    Args:
        said: What the program said when it failed.
        place: What the error names.

    Raises:
        StorageFailedError: It says that the disk is full, a quota is reached, or the file system can only be read.
    """
    for reason in map(os.strerror, sorted(_NO_ROOM)):
        if reason in said:
            raise _no_room(place, reason)


def _no_room(place: Path, reason: str) -> StorageFailedError:
    return StorageFailedError(
        f"Nothing can be stored in {place}: {reason}. Make room, with `codegen cache prune` for one, or name another "
        "folder in FLYTEPLUGINS_CODEGEN_HOME."
    )


def sweep_locks(folder: Path) -> None:
    """Remove the files of the locks in a folder that nobody holds. Blocks, for a moment.

    Args:
        folder: Where they lie.
    """
    for path in folder.glob("*.lock"):
        with suppress(OSError):
            if (descriptor := _try_lock(path)) is not None:
                _unlock(path, descriptor)


def _try_lock(path: Path) -> int | None:
    import fcntl  # not on Windows, where this package's lighter parts still import

    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The holder before us removes the file: a lock on a file that is gone excludes nobody.
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _unlock(path: Path, descriptor: int) -> None:
    with suppress(OSError):
        path.unlink()
    os.close(descriptor)


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, also after a crash.

    Args:
        path: The file; its folder is made where it is missing.
        content: What it is to hold.
    """
    with scratch(path.parent / WRITING) as folder:
        written = folder / path.name
        with written.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        written.replace(path)
