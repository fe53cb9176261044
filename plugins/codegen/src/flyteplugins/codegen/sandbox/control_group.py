"""A control group of its own for a job, where this process may make one."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from pathlib import Path
from typing import Final

from flyteplugins.codegen.sandbox.contract import Limits
from flyteplugins.codegen.sandbox.processes import is_gone, mark

_ROOT: Final = Path("/sys/fs/cgroup")
_PREFIX: Final = "codegen-"
_PERIOD_MICROSECONDS: Final = 100_000
_SECONDS_TO_REMOVE: Final = 2.0
_numbers = itertools.count()


class ControlGroup:
    """The kernel's own limits for a process tree. Version 1 has a folder for each controller, version 2 one for all.

    Attributes:
        limits_memory: Whether the memory limit is held by the kernel.
        limits_processes: Whether the limit on processes is held by the kernel.
    """

    def __init__(self, limits: Limits) -> None:
        """Make what can be made. Nothing here raises: without control groups the tree is watched instead."""
        self._folders: dict[str, Path] = {}
        name = f"{_PREFIX}{mark()}-{next(_numbers)}"
        for controller, parent in _parents().items():
            folder = parent / name
            if _made(folder, controller, limits):
                self._folders[controller] = folder
        self._tell()

    def admit(self, pid: int) -> None:
        """Move a process into the group; what it starts later follows. Where that is refused, the tree is watched."""
        for controller in list(self._folders):
            if not _moved(self._folders[controller], pid):
                _remove(self._folders.pop(controller))
        self._tell()

    def out_of_memory(self) -> bool:
        """Whether the kernel ended a process of the group because its memory limit was hit."""
        folder = self._folders.get("memory")
        if folder is None:
            return False
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                for line in (folder / name).read_text().splitlines():
                    key, _, count = line.partition(" ")
                    if key == "oom_kill":
                        return int(count) > 0
        return False

    def _tell(self) -> None:
        self.limits_memory = "memory" in self._folders
        self.limits_processes = "pids" in self._folders

    def close(self) -> None:
        """Remove the group; its processes have ended."""
        _remove_all({*self._folders.values()})


def sweep_groups() -> None:
    """Remove the groups of processes of ours that were killed; those that somebody uses stay. Blocks."""
    left: set[Path] = set()
    for parent in {*_parents().values()}:
        with contextlib.suppress(OSError):
            groups = parent.glob(f"{_PREFIX}*")
            left |= {group for group in groups if is_gone(group.name.removeprefix(_PREFIX).partition("-")[0])}
    _remove_all(left)


def _parents() -> dict[str, Path]:
    """The folder under which a group can be made, for each controller that there is."""
    found: dict[str, Path] = {}
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        _, controllers, path = line.split(":", 2)
        own = path.strip("/")
        if controllers:
            for controller in {"memory", "pids", "cpu"} & set(controllers.split(",")):
                mount = _ROOT / controller
                found[controller] = next((p for p in (mount / own, mount) if _may_make(p)), mount)
        else:
            found.update(_unified(_ROOT / own))
    return {controller: parent for controller, parent in found.items() if _may_make(parent)}


def _unified(own: Path) -> dict[str, Path]:
    # A group with processes in it can't hand controllers down, so the new one stands beside our own.
    for parent in (own, own.parent):
        with contextlib.suppress(OSError):
            enabled = (parent / "cgroup.subtree_control").read_text().split()
            if _may_make(parent) and os.access(parent / "cgroup.procs", os.W_OK):
                return {controller: parent for controller in ("memory", "pids", "cpu") if controller in enabled}
    return {}


def _may_make(parent: Path) -> bool:
    return parent.is_relative_to(_ROOT) and os.access(parent, os.W_OK)


def _made(folder: Path, controller: str, limits: Limits) -> bool:
    try:
        folder.mkdir(exist_ok=True)
        _limit(folder, controller, limits)
    except OSError:
        return False
    return True


def _moved(folder: Path, pid: int) -> bool:
    try:
        (folder / "cgroup.procs").write_text(str(pid))
    except OSError:
        return False
    return True


def _limit(folder: Path, controller: str, limits: Limits) -> None:
    unified = (folder / "cgroup.controllers").exists()
    quota = str(int(limits.cpus * _PERIOD_MICROSECONDS))
    if controller == "pids":
        # The first process of the sandbox is not the program's.
        (folder / "pids.max").write_text(str(limits.processes + 1))
    elif controller == "cpu" and unified:
        (folder / "cpu.max").write_text(f"{quota} {_PERIOD_MICROSECONDS}")
    elif controller == "cpu":
        (folder / "cpu.cfs_quota_us").write_text(quota)
    elif unified:
        (folder / "memory.max").write_text(str(limits.memory_bytes))
        with contextlib.suppress(OSError):  # not there where the kernel has no swap accounting
            (folder / "memory.swap.max").write_text("0")
    else:
        (folder / "memory.limit_in_bytes").write_text(str(limits.memory_bytes))
        with contextlib.suppress(OSError):
            (folder / "memory.memsw.limit_in_bytes").write_text(str(limits.memory_bytes))


def _remove_all(folders: set[Path]) -> None:
    deadline = time.monotonic() + _SECONDS_TO_REMOVE
    for folder in folders:
        # The kernel holds a group for a moment after its last process is gone.
        while not _remove(folder) and time.monotonic() < deadline:
            time.sleep(0.005)


def _remove(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
