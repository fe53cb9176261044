"""A job as one file, to be run on another machine of the same image, and what came of it as another file.

    python -m flyteplugins.codegen.sandbox.shipped prepare SANDBOX ENVIRONMENT...

builds the environments there, each as `packed_lock` gives it, which an image may have done beforehand.

    python -m flyteplugins.codegen.sandbox.shipped run JOB OUTCOME

runs a job there, in the sandbox that the job names, and ends with status 0 if the program exited by itself, with
whatever status. Anything else ends it with status 1 and leaves no outcome: no cache may keep that. The last line that
it prints then says which error it was, for `error_in` to read: of a container that failed, a cluster hands on the end
of its log.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import dataclasses
import json
import re
import shutil
import sys
import zipfile
import zlib
from collections.abc import Collection, Mapping
from os import environ
from pathlib import Path
from typing import Any, Final

from flyteplugins.codegen.core.credentials import redact
from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import (
    CodegenError,
    JobError,
    JobKilledError,
    JobOutOfMemoryError,
    JobTimedOutError,
    OutputTooLargeError,
)
from flyteplugins.codegen.core.scratch import scratch_in
from flyteplugins.codegen.sandbox.contract import Argument, At, Job, Limits, Outcome, Python
from flyteplugins.codegen.sandbox.select import choose

_JOB: Final = "job.json"
_OUTCOME: Final = "outcome.json"
_OUTPUTS: Final = "outputs/"

_MARK: Final = "codegen-job-error:"
_LONGEST_PART: Final = 400
"""Characters of each text of an error: a cluster hands on the last 2048 bytes of a log."""

_ERRORS: Final = {
    kind.__name__: kind for kind in (JobTimedOutError, JobOutOfMemoryError, JobKilledError, OutputTooLargeError)
}


def pack(job: Job, sandbox: str, locks: Mapping[str, Lock], target: Path, *, withheld: Collection[str] = ()) -> None:
    """Write a job down. The same job gives the same bytes, wherever its files lie. Blocks: call it in a thread.

    Args:
        job: The job; its preludes are left out.
        sandbox: The runtime that is to run it, by name.
        locks: The environments of the images that it refers to, by image.
        target: The file to write.
        withheld: Environment variables whose values are no part of the file; the other machine has them.
    """
    files = sorted(job.files)
    document = {
        "sandbox": sandbox,
        "images": {image: lock.model_dump() for image, lock in sorted(locks.items())},
        "argv": [_told(argument) for argument in job.argv],
        "env": {name: _told(value) for name, value in sorted(job.env.items()) if name not in withheld},
        "withheld": sorted(name for name in job.env if name in withheld),
        "limits": dataclasses.asdict(job.limits),
        "network": job.network,
        "files": files,
    }
    with zipfile.ZipFile(target, "w") as archive:
        # The time of a member is that of the format's beginning: it says nothing of this machine.
        archive.writestr(zipfile.ZipInfo(_JOB), json.dumps(document, sort_keys=True))
        for number, path in enumerate(files):
            _add(archive, str(number), job.files[path])


async def run(packed: Path, outcome: Path) -> None:
    """Run a packed job and write down what came of it.

    Args:
        packed: What `pack` wrote.
        outcome: The file to write.

    Raises:
        JobError: As `Runtime.run` says.
        InfrastructureError: The sandbox failed, or the environment can't be built.
    """
    async with scratch_in() as folder:
        document = await asyncio.to_thread(_unpack, packed, folder / "files")
        runtime, _ = await choose(document["sandbox"])
        withheld = {name: environ[name] for name in document["withheld"]}
        # An image has the name that the runtime of this machine gives it.
        images = {name: await runtime.prepare(Lock(**lock)) for name, lock in document["images"].items()}
        job = Job(
            argv=tuple(_read(argument, images) for argument in document["argv"]),
            outputs=folder / "outputs",
            files={path: folder / "files" / str(number) for number, path in enumerate(document["files"])},
            env={**{name: _read(value, images) for name, value in document["env"].items()}, **withheld},
            limits=Limits(**document["limits"]),
            network=document["network"],
        )
        try:
            ended = await runtime.run(job)
        except JobError as error:
            # What is printed here is kept in logs.
            told = (redact(text, withheld) for text in (str(error), error.stdout, error.stderr))
            raise type(error)(*told) from None
        ended = dataclasses.replace(ended, stdout=redact(ended.stdout, withheld), stderr=redact(ended.stderr, withheld))
        await asyncio.to_thread(_pack_outcome, ended, job.outputs, outcome)


def unpack_outcome(packed: Path, outputs: Path) -> Outcome:
    """Read what came of a job. Blocks: call it in a thread.

    Args:
        packed: What `run` wrote.
        outputs: The folder that receives what the program wrote.

    Returns:
        The outcome.
    """
    outputs.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(packed) as archive:
        for member in archive.infolist():
            if member.filename.startswith(_OUTPUTS) and not member.is_dir():
                target = outputs / member.filename.removeprefix(_OUTPUTS)
                if not target.resolve().is_relative_to(outputs.resolve()):
                    continue  # no name that `run` wrote
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy)
        return Outcome(**json.loads(archive.read(_OUTCOME)))


def error_in(log: str) -> JobError | None:
    """The error that a packed job ended with, from the end of what it printed.

    Args:
        log: Anything that has the last line in it.

    Returns:
        The error; None if it is not one of the job's.
    """
    marks = re.findall(rf"{_MARK} ([A-Za-z0-9+/=]+)", log)
    if not marks:
        return None
    try:
        name, *texts = json.loads(zlib.decompress(base64.b64decode(marks[-1], validate=True)))
    except (ValueError, zlib.error, binascii.Error):
        return None
    return _ERRORS[name](*texts) if name in _ERRORS else None


def _mark(error: JobError) -> str:
    texts = (str(error)[:_LONGEST_PART], error.stdout[-_LONGEST_PART:], error.stderr[-_LONGEST_PART:])
    document = json.dumps([type(error).__name__, *texts])
    return f"{_MARK} {base64.b64encode(zlib.compress(document.encode())).decode()}"


def _told(argument: Argument) -> str | dict[str, str]:
    if isinstance(argument, Python):
        return {"image": argument.image, "prefix": argument.prefix}
    return {"path": argument.path, "prefix": argument.prefix} if isinstance(argument, At) else argument


def _read(told: str | dict[str, str], images: Mapping[str, str]) -> Argument:
    if isinstance(told, str):
        return told
    return Python(images[told["image"]], told["prefix"]) if "image" in told else At(told["path"], told["prefix"])


def _add(archive: zipfile.ZipFile, name: str, path: Path) -> None:
    with path.open("rb") as source, archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
        shutil.copyfileobj(source, member)


def _unpack(packed: Path, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    with zipfile.ZipFile(packed) as archive:
        document: dict[str, Any] = json.loads(archive.read(_JOB))
        for number in range(len(document["files"])):
            archive.extract(str(number), folder)
    return document


def _pack_outcome(ended: Outcome, outputs: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(_OUTCOME, json.dumps(dataclasses.asdict(ended)))
        for path in sorted(outputs.rglob("*")):
            relative = path.relative_to(outputs).as_posix()
            # A runtime leaves nothing but files and folders; a name that can't be printed nobody asked for.
            if path.is_file() and relative.isprintable():
                _add(archive, f"{_OUTPUTS}{relative}", path)


def packed_lock(lock: Lock) -> str:
    """An environment as an argument of `prepare`: letters, digits, and nothing that a shell knows."""
    return base64.urlsafe_b64encode(zlib.compress(lock.model_dump_json().encode())).decode()


async def prepare(sandbox: str, *environments: str) -> None:
    """Build environments.

    Args:
        sandbox: The runtime that is to use them, by name.
        environments: Each as `packed_lock` gives it.

    Raises:
        EnvironmentBuildError: One can't be built.
    """
    runtime, _ = await choose(sandbox)
    for packed in environments:
        await runtime.prepare(Lock.model_validate_json(zlib.decompress(base64.urlsafe_b64decode(packed))))


def main() -> None:
    """Do what the first argument says with the others."""
    command, *arguments = sys.argv[1:]
    try:
        asyncio.run(prepare(*arguments) if command == "prepare" else run(*map(Path, arguments)))
    except CodegenError as error:
        mark = f"\n{_mark(error)}" if isinstance(error, JobError) else ""
        sys.exit(f"{type(error).__name__}: {error}{mark}")


if __name__ == "__main__":
    main()
