"""What was run before and what came of it: the truth about runs, on disk, by a key of everything that decides it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from flyte.io import File

from flyteplugins.codegen.core.files import file_lock
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.pinned import is_intact


@dataclass(frozen=True)
class Execution:
    """A program that exited by itself, and what it left.

    Attributes:
        exit_code: Its exit status.
        stdout: What it printed, the tail where it was long.
        stderr: What it printed as errors, the tail where it was long.
        seconds: Wall time of the run; of the recorded one where it was served.
        peak_memory_bytes: Largest resident size of the process tree, where it was measured.
        outputs: Every regular file that it wrote under `/var/outputs` and that was asked for, by relative path; each
            pinned, with its hex SHA-256 as hash.
        served: Whether it was served from a record and nothing ran.
    """

    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    peak_memory_bytes: int | None
    outputs: Mapping[str, File]
    served: bool = False


@dataclass(frozen=True)
class Record:
    """A recorded execution.

    Attributes:
        epoch: Tells this record from an earlier one under the same key; Flyte's cache version ends with it.
        execution: What came of the run.
    """

    epoch: str
    execution: Execution


def new_epoch() -> str:
    """A word that no record had before."""
    return uuid.uuid4().hex


def lock(key: str) -> AbstractAsyncContextManager[None]:
    """Keep others, in this process and beside it, from running the same at the same time."""
    return file_lock(_path(key).with_suffix(".lock"))


def load(key: str) -> Record | None:
    """The record under a key, with every file that it names still there and unchanged. Blocks; call it in a thread.

    Args:
        key: Key of the work.

    Returns:
        The record; None if there is none, it can't be read, or a file is gone or altered.
    """
    try:
        document = json.loads(_path(key).read_text(encoding="utf-8"))
        outputs = {
            path: File(path=entry["path"], name=Path(entry["path"]).name, hash=entry["sha256"])
            for path, entry in document["outputs"].items()
            if _unchanged(entry)
        }
        if len(outputs) != len(document["outputs"]):
            return None
        return Record(
            document["epoch"],
            Execution(
                exit_code=document["exit_code"],
                stdout=document["stdout"],
                stderr=document["stderr"],
                seconds=document["seconds"],
                peak_memory_bytes=document["peak_memory_bytes"],
                outputs=outputs,
                served=True,
            ),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(key: str, epoch: str, execution: Execution) -> None:
    """Write a record, in place of an earlier one. Blocks; call it in a thread.

    Args:
        key: Key of the work.
        epoch: From `new_epoch`.
        execution: What came of the run.
    """
    document = {
        "epoch": epoch,
        "exit_code": execution.exit_code,
        "stdout": execution.stdout,
        "stderr": execution.stderr,
        "seconds": execution.seconds,
        "peak_memory_bytes": execution.peak_memory_bytes,
        "outputs": {path: _entry(file) for path, file in execution.outputs.items()},
    }
    path = _path(key)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    half_written = path.with_suffix(f".{epoch}")
    half_written.write_text(json.dumps(document), encoding="utf-8")
    half_written.replace(path)


def _path(key: str) -> Path:
    return home() / "runs" / key[:2] / f"{key}.json"


def _entry(file: File) -> dict[str, object]:
    status = Path(file.path).stat()
    return {"path": file.path, "sha256": file.hash, "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def _unchanged(entry: Mapping[str, object]) -> bool:
    # Same size and time of change: the same bytes, without reading gigabytes at every hit.
    status = Path(str(entry["path"])).stat()
    if (status.st_size, status.st_mtime_ns) == (entry["size"], entry["mtime_ns"]):
        return True
    return is_intact(Path(str(entry["path"])), str(entry["sha256"]))
