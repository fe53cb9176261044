"""The environments that the runtimes without images run on: built by uv, found by content, never half-built."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import weakref
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import EnvironmentBuildError
from flyteplugins.codegen.core.files import check_room, file_lock, storing
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.scratch import scratch, scratch_in, sweep
from flyteplugins.codegen.core.uv import run_uv
from flyteplugins.codegen.sandbox.interpreters import find_interpreter, run_python

_MARKER: Final = "environment.json"
_NOT_COMPILED: Final = r"/tests?/"
"""Folders of test suites: half of the files of the large numeric packages, and no program imports them."""

_TRIES: Final = 3
"""Of getting hold of an environment that others remove meanwhile."""

_PREFIX_CODE: Final = "import sys; print(sys.base_prefix)"


@dataclass(frozen=True)
class _Marker:
    """What is written last into an environment.

    Attributes:
        key: The lock's key.
        prefix: `sys.base_prefix` of its interpreter.
        contents: What its `site-packages` holds at the top.
    """

    key: str
    prefix: str
    contents: list[str]


class EnvironmentStore:
    """Environments under one folder, each named by the key of its lock.

    What a store gave out is in use for as long as the store exists: it holds a lock on the folder, which the system
    releases when the process ends, and `remove` leaves it alone.
    """

    def __init__(self, root: Path | None = None) -> None:
        """Use a folder.

        Args:
            root: The folder; `environments` under the product's home if None.
        """
        self._root = root or home() / "environments"
        self._held: dict[str, _Hold] = {}

    def path(self, key: str) -> Path:
        """Where the environment of a lock's key is, or would be."""
        return self._root / key

    def base_prefix(self, key: str) -> Path:
        """The prefix of the interpreter that an existing environment was made from.

        Raises:
            EnvironmentBuildError: There is no whole environment of that key.
        """
        marker = _verified(self.path(key), key)
        if marker is None:
            raise EnvironmentBuildError(
                f"The environment {key[:12]} is not on this machine, or is damaged. Prepare it from its lock again."
            )
        return Path(marker.prefix)

    async def ensure(self, lock: Lock) -> Path:
        """The environment of a lock, built where it does not exist or is damaged.

        However many ask for it, in this process or others, it is built once. An existing one needs neither uv nor a
        network; a new one needs no network where uv's cache has its distributions.

        Args:
            lock: The environment.

        Returns:
            Its folder, with the interpreter at `bin/python`.

        Raises:
            EnvironmentBuildError: It can't be built.
            StorageFailedError: There is no room for it.
        """
        path = self.path(lock.key)
        for _ in range(_TRIES):
            if await asyncio.to_thread(self._take, lock.key):
                break
            async with file_lock(self._lock_of(lock.key)):
                if not await asyncio.to_thread(_verified, path, lock.key):
                    await self._build(lock, path)
        return path

    def built(self) -> list[str]:
        """The keys of the environments that are there, whole or not. Blocks, for a moment."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(path.name for path in self._root.iterdir() if not path.name.startswith("."))
        return []

    async def remove(self, key: str) -> bool:
        """Remove an environment that nobody uses.

        Args:
            key: Its key.

        Returns:
            Whether it is gone; False where a process uses it.
        """
        async with file_lock(self._lock_of(key)):
            return await asyncio.to_thread(self._remove, key)

    def _lock_of(self, key: str) -> Path:
        return self._root / ".locks" / f"{key}.lock"

    def _take(self, key: str) -> bool:
        """Whether the environment is whole, and is now in use by this store."""
        path = self.path(key)
        if not _verified(path, key):
            return False
        hold = self._held.get(key)
        if hold is None or not hold.is_of(path):
            try:
                self._held[key] = _Hold(path, exclusive=False)
            except (BlockingIOError, FileNotFoundError):
                return False  # it is being removed
            except OSError:
                return True  # a file system without locks, where nothing is removed either
        with contextlib.suppress(OSError):
            os.utime(path)  # when it was last used
        return True

    def _remove(self, key: str) -> bool:
        path = self.path(key)
        try:
            hold = _Hold(path, exclusive=True)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        with scratch(self._root) as folder:
            path.rename(folder / "removed")
        del hold
        return True

    async def _build(self, lock: Lock, path: Path) -> None:
        await asyncio.to_thread(sweep, self._root)  # builds that were killed
        with storing(self._root):
            async with scratch_in(self._root) as folder:
                await _install(lock, folder / "building")
                # One that failed its check is renamed first, so that it is never half there under its own name.
                # Sandboxes that use it keep what they have mounted.
                with contextlib.suppress(FileNotFoundError):
                    await asyncio.to_thread(path.rename, folder / "damaged")
                await asyncio.to_thread((folder / "building").rename, path)


class _Hold:
    """A lock on a folder, for as long as this object exists."""

    def __init__(self, folder: Path, *, exclusive: bool) -> None:
        """Lock a folder; raises BlockingIOError where others hold it, and both may not."""
        import fcntl  # not on Windows, where this package's lighter parts still import

        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_NB | (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH))
            if not self.is_of(folder):
                raise FileNotFoundError(folder)
        except BaseException:
            os.close(self._descriptor)
            raise
        self._closed = weakref.finalize(self, os.close, self._descriptor)

    def is_of(self, folder: Path) -> bool:
        """Whether it is the folder of that path that is locked, and not one that was there before."""
        try:
            return os.fstat(self._descriptor).st_ino == folder.stat().st_ino
        except FileNotFoundError:
            return False


async def _install(lock: Lock, folder: Path) -> None:
    interpreter = await find_interpreter(lock.python)
    if interpreter is None:
        raise EnvironmentBuildError(
            f"There is no Python {lock.python} on this machine. Install it with `uv python install {lock.python}`, or "
            "ask for another version."
        )
    # Relocatable, because it is renamed and is seen at another path in a sandbox.
    venv = ["venv", "--quiet", "--relocatable", "--no-project", "--python", str(interpreter), str(folder)]
    made = await run_uv(venv)
    if made.exit_code != 0:
        check_room(made.stderr, folder.parents[1])
        raise EnvironmentBuildError(f"uv can't make an environment with {interpreter}: {made.stderr.strip()}")
    python = folder / "bin" / "python"
    if lock.requirements.strip():
        requirements = folder / "requirements.txt"
        await asyncio.to_thread(requirements.write_text, lock.requirements)
        await _sync(python, requirements, lock)
        # Imports are most of the time that a program takes, and it can't write bytecode itself: the environment is
        # read-only to it. A file that does not compile is one that no import needs.
        compiling = ["compileall", "-q", "-q", "-j", "0", "-x", _NOT_COMPILED, str(folder / "lib")]
        await run_python(python, "-m", *compiling)
    told = await run_python(python, "-c", _PREFIX_CODE)
    if told.exit_code != 0:
        raise EnvironmentBuildError(f"{interpreter} does not run: {told.stderr.strip()}")
    await asyncio.to_thread(_mark, folder, lock.key, told.stdout.strip())


def _mark(folder: Path, key: str, prefix: str) -> None:
    (folder / _MARKER).write_text(json.dumps(asdict(_Marker(key, prefix, _contents(folder)))))


async def _sync(python: Path, requirements: Path, lock: Lock) -> None:
    sync = ["pip", "sync", "--quiet", "--require-hashes", "--only-binary", ":all:", "--python", str(python)]
    sync += ["--link-mode", "hardlink", str(requirements)]
    # With hashes, what the cache holds is what the index would give: the network is asked only for what is missing.
    cached = await run_uv([*sync, "--offline"])
    if cached.exit_code == 0:
        return
    fetched = await run_uv(sync)
    if fetched.exit_code != 0:
        check_room(fetched.stderr, requirements.parents[2])
        said = fetched.stderr.strip()[-2000:]
        named = tuple(name for name in _names(lock.requirements) if re.search(rf"\b{re.escape(name)}\b", said))
        raise EnvironmentBuildError(f"{', '.join(named) or 'The packages'} can't be installed: {said}", named)


def _names(requirements: str) -> list[str]:
    return re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^]]*\])?\s*(?:==|@)", requirements, re.MULTILINE)


def _contents(folder: Path) -> list[str]:
    """Names at the top of `site-packages`, and of the distributions whose list of files is there."""
    sites = list(folder.glob("lib/python3*/site-packages"))
    names = [path.name for site in sites for path in site.iterdir() if path.name != "__pycache__"]
    records = [f"{path.parent.name}/RECORD" for site in sites for path in site.glob("*.dist-info/RECORD")]
    return sorted(names + records)


def _verified(folder: Path, key: str) -> _Marker | None:
    """The marker of a whole environment; None where there is none or something of it is gone."""
    try:
        marker = _Marker(**json.loads((folder / _MARKER).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    runs = os.access(folder / "bin" / "python", os.X_OK)
    whole = marker.key == key and runs and marker.contents == _contents(folder)
    return marker if whole else None
