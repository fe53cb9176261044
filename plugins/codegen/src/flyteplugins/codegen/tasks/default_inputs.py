"""Samples as the default inputs of a task: files of this machine here, uploaded where a cluster is to read them.

Flyte asks a `File` that has an uploader for its address when it writes the file down: for a deployment, or for a run
on a cluster. So nothing is uploaded before that, and nothing at all for a run on this machine.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flyte
from flyte import storage
from flyte.io import Dir, File

from flyteplugins.codegen.core.errors import InvalidInputError
from flyteplugins.codegen.core.pinned import sha256


def is_remote(path: str) -> bool:
    """Whether a cluster can read `path` as it stands."""
    return "://" in path and not path.startswith("file://")


class Sample(File):
    """A file as the default of an input."""

    def __call__(self) -> str:
        """Its path: click, which `flyte run` is made with, calls a default that can be called."""
        return self.path


def as_default(value: Any) -> Any:
    """Files and folders that Flyte uploads when a cluster is to read them, and can't from where they are.

    Args:
        value: A value of an input.

    Returns:
        A copy of the file, of each file of a list, or of the folder; anything else as it is.
    """
    if isinstance(value, list):
        return [as_default(one) for one in value]
    if isinstance(value, Dir) and not is_remote(value.path):
        folder = Dir(path=value.path, name=value.name, format=value.format, hash=value.hash)
        folder.lazy_uploader = value.lazy_uploader or functools.partial(_uploaded_folder, value)
        return folder
    if not isinstance(value, File):
        return value
    file = Sample(path=value.path, name=value.name, format=value.format, hash=value.hash)
    file.lazy_uploader = value.lazy_uploader
    if not is_remote(value.path) and file.lazy_uploader is None:
        file.lazy_uploader = functools.partial(_uploaded, value)
    return file


async def upload(values: Mapping[str, Any], address: str) -> dict[str, Any]:
    """Upload the files of this machine among some values, each to `<address>/<sha256>/<name>`.

    Args:
        values: Values by input name.
        address: Where to; anything that Flyte's storage can write, such as `s3://bucket/samples`.

    Returns:
        The values, with the uploaded files in the place of the local ones. What is there already is not sent again.

    Raises:
        InvalidInputError: A file is not on this machine any more, or the address is not one that a cluster reads.
    """
    if not is_remote(address):
        raise InvalidInputError(f"{address!r} is no address that a cluster reads, such as 's3://bucket/samples'.")
    uploads = (_upload(name, value, address) for name, value in values.items())
    return dict(zip(values, await asyncio.gather(*uploads), strict=True))


async def _upload(name: str, value: Any, address: str) -> Any:
    if not isinstance(value, File) or is_remote(value.path):
        return value
    path, digest = await _content(value, f"sample of input {name!r}")
    target = storage.join(address, digest, path.name)
    if not await storage.exists(target):
        target = await storage.put(str(path), target)
    return File(path=target, name=path.name, hash=digest)


async def _uploaded(file: File) -> tuple[str | None, str]:
    """What Flyte is told of a file: its hash and its address."""
    path, digest = await _content(file, f"default {file.name!r}")
    if not flyte.is_control_plane_available():  # `flyte.extras.serialize` needs none
        return digest, str(path)
    # Into the raw data of the run that goes on, else through the control plane.
    there = await File.from_local(path, hash_method=digest)
    if there.lazy_uploader is None:
        return digest, there.path
    _, address = await there.lazy_uploader()
    return digest, address


async def _uploaded_folder(folder: Dir) -> tuple[str | None, str]:
    """What Flyte is told of a folder: its hash and its address."""
    if not flyte.is_control_plane_available():
        return folder.hash, folder.path
    there = await Dir.from_local(folder.path)
    if there.lazy_uploader is None:
        return folder.hash, there.path
    _, address = await there.lazy_uploader()
    return folder.hash, address


async def _content(file: File, what: str) -> tuple[Path, str]:
    # The hash is what Flyte's cache on a cluster knows the file by, wherever it was uploaded to.
    return await asyncio.to_thread(_path_and_hash, file, what)


def _path_and_hash(file: File, what: str) -> tuple[Path, str]:
    path = Path(file.path.removeprefix("file://")).absolute()
    if not path.is_file():
        raise InvalidInputError(
            f"The {what} is not on this machine any more: there is no {path}. Generate again, or load the saved "
            "generation, which keeps its samples."
        )
    return path, file.hash or sha256(path)
