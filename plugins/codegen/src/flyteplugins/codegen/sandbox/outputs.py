"""What a program leaves behind: nothing in it is followed, and only files and folders are taken."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from flyteplugins.codegen.core.scratch import remove_tree

_DEEPEST: Final = 64
_MOST_ENTRIES: Final = 100_000
_LONGEST_PATH: Final = 3_500  # the system refuses those above 4,096


class Staging:
    """A folder that only this user can enter, inside a job's outputs, where the program writes.

    What it writes is moved up once its last process has ended. Until then no other user of the machine can reach it:
    a program could have made a file that runs with its owner's rights.

    Attributes:
        path: The folder.
    """

    def __init__(self, outputs: Path) -> None:
        outputs.mkdir(parents=True, exist_ok=True)
        self._outputs = outputs
        self.path = Path(tempfile.mkdtemp(prefix=".staging-", dir=outputs))

    def take_over(self) -> None:
        """Move the regular files and the folders to the job's outputs; leave links, devices, pipes and sockets."""
        take_over(self.path, self._outputs)

    def remove(self) -> None:
        """Remove the folder and what is left in it."""
        remove_tree(self.path)


def take_over(staged: Path, outputs: Path) -> None:
    """Move the regular files and the folders of a tree that is at rest; links, devices, pipes and sockets are removed.

    Args:
        staged: The folder that a program wrote to.
        outputs: Where they go, on the same file system.
    """
    clean(staged)
    for entry in list(os.scandir(staged)):
        target = outputs / entry.name
        if target.is_dir() and not target.is_symlink():
            remove_tree(target)
        Path(entry.path).replace(target)


def clean(folder: Path) -> None:
    """Remove all but regular files and folders, and every special right; the tree must be at rest.

    Args:
        folder: The top, which is left as it is.
    """
    waiting = [(folder, 0)]
    while waiting:
        parent, depth = waiting.pop()
        for entry in list(os.scandir(parent)):
            path = Path(entry.path)
            info = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(info.st_mode) and depth < _DEEPEST:
                path.chmod(0o755)
                waiting.append((path, depth + 1))
            elif stat.S_ISDIR(info.st_mode):
                remove_tree(path)
            elif stat.S_ISREG(info.st_mode):
                _clean_file(path, info)
            else:
                path.unlink()


def usage(folder: Path, enough: int) -> int:
    """How much stands under a folder while a program may still write there.

    Args:
        folder: The top.
        enough: Counting ends above this.

    Returns:
        Bytes, holes in files included; above `enough` also where there are too many entries or they are nested too
        deep to be counted.
    """
    total = entries = 0
    waiting = [(str(folder), 0)]
    while waiting:
        parent, depth = waiting.pop()
        for path, is_folder, size in _listed(parent):
            entries += 1
            total += size
            if is_folder:
                waiting.append((path, depth + 1))
            if total > enough or entries > _MOST_ENTRIES or depth > _DEEPEST or len(path) > _LONGEST_PATH:
                return max(total, enough + 1)
    return total


def _listed(folder: str) -> Iterator[tuple[str, bool, int]]:
    """Path, whether it is a folder, and size of what is in a folder; what vanishes meanwhile is left out."""
    with contextlib.suppress(OSError), os.scandir(folder) as listing:
        for entry in listing:
            with contextlib.suppress(OSError):
                info = entry.stat(follow_symlinks=False)
                is_folder = stat.S_ISDIR(info.st_mode)
                yield entry.path, is_folder, 0 if is_folder else max(info.st_size, info.st_blocks * 512)


def _clean_file(path: Path, info: os.stat_result) -> None:
    mode = 0o755 if info.st_mode & stat.S_IXUSR else 0o644
    if info.st_nlink == 1:
        path.chmod(mode)
        return
    # A hard link: its other name may be written later, or be a file of the host. A copy ends that.
    copy = path.with_name(f".copy-{info.st_ino}")
    source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(source, "rb") as original, copy.open("xb") as target:
        shutil.copyfileobj(original, target)
    copy.chmod(mode)
    copy.replace(path)
