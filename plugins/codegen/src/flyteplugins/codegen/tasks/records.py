"""What was run before and what came of it: the runs on record, by a key of everything that decides them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flyte.io import File

from flyteplugins.codegen.record import Record

KIND: Final = "runs"


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
class Recorded:
    """A recorded execution.

    Attributes:
        epoch: Tells this record from every other one; Flyte's cache version ends with it.
        execution: What came of the run.
    """

    epoch: str
    execution: Execution


def new_epoch() -> str:
    """A word that no record had before.

    A record's version would not do: it can come again, after the record was cleared or could not be written, and
    Flyte's cache would then serve what our record does not have.
    """
    return uuid.uuid4().hex


async def load(record: Record, key: str) -> Recorded | None:
    """The newest run under a key, with every file that it left.

    Args:
        record: Where it is looked for.
        key: Key of the work.

    Returns:
        The run; None if there is none, or a file of it is gone or altered and nowhere to be had.
    """
    if (entry := await record.newest(KIND, key)) is None:
        return None
    try:
        body = entry.body
        found = {path: await _found(record, kept) for path, kept in body["outputs"].items()}
        outputs = {path: file for path, file in found.items() if file is not None}
        if len(outputs) < len(found):
            return None
        return Recorded(
            body["epoch"],
            Execution(
                exit_code=body["exit_code"],
                stdout=body["stdout"],
                stderr=body["stderr"],
                seconds=body["seconds"],
                peak_memory_bytes=body["peak_memory_bytes"],
                outputs=outputs,
                served=True,
            ),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        told = f"{type(error).__name__}: {error}"
        record.tell(
            f"The run {key[:12]} on record, version {entry.version}, can't be used and counts as absent: {told}."
        )
        return None


async def save(record: Record, key: str, epoch: str, execution: Execution, name: str = "") -> None:
    """Record a run; its files are kept before the record says so.

    Args:
        record: Where it goes.
        key: Key of the work.
        epoch: From `new_epoch`.
        execution: What came of the run.
        name: What it was, for those who look into the record.
    """
    for file in execution.outputs.values():
        await record.keep_file(file)
    body = {
        "name": name,
        "epoch": epoch,
        "exit_code": execution.exit_code,
        "stdout": execution.stdout,
        "stderr": execution.stderr,
        "seconds": execution.seconds,
        "peak_memory_bytes": execution.peak_memory_bytes,
        "outputs": {path: _kept(file) for path, file in execution.outputs.items()},
    }
    await record.add(KIND, key, body)


def _kept(file: File) -> dict[str, Any]:
    path = Path(file.path)
    return {"name": path.name, "sha256": file.hash, "size": path.stat().st_size}


async def _found(record: Record, kept: Mapping[str, Any]) -> File | None:
    return await record.bring_file(kept["sha256"], kept["name"], kept["size"])
