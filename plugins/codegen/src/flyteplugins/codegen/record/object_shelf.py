"""A shelf in an object store: S3, Google Cloud Storage, Azure Blob Storage and what speaks like them."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.record.shelf import Listed

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES: Final = ("s3", "gs", "abfs", "abfss", "memory")
"""What the addresses of object stores begin with. `memory` is gone with its process."""

_RETRY: Final = {
    "max_retries": 1,
    "retry_timeout": datetime.timedelta(seconds=3),
    "backoff": {"init_backoff": datetime.timedelta(milliseconds=100), "max_backoff": datetime.timedelta(seconds=1)},
}
"""Short, since a generation waits; what fails is recorded on this machine alone."""


class ObjectShelf:
    """Objects below an address.

    Args:
        store: The store; the paths are relative to it.
        where: Its address, without credentials.
    """

    def __init__(self, store: ObjectStore, where: str) -> None:
        self._store = store
        self.where = where

    @classmethod
    def at(cls, address: str) -> ObjectShelf:
        """A shelf by its address, with the credentials and the endpoint that Flyte's own storage uses.

        Those come from `flyte.init(storage=...)`, from Flyte's variables (`FLYTE_AWS_ENDPOINT`, ...), else from what
        the provider's own tools read (`AWS_...`, `GOOGLE_...`, `AZURE_...`). Nothing is sent to the store yet.

        Args:
            address: Such as `s3://bucket/folder`.

        Returns:
            The shelf.

        Raises:
            InvalidRequestError: It is no address of an object store, or the settings for it can't be used.
        """
        parts = urlsplit(address)
        if parts.username or parts.password:
            raise InvalidRequestError(
                "store: an address holds no credentials. Set them as for Flyte's own storage, or in the variables of "
                "the provider."
            )
        if parts.scheme not in SCHEMES:
            raise InvalidRequestError(
                f"store={address!r}: {parts.scheme}:// is not supported. Give a folder, or an address that begins with "
                f"{', '.join(f'{scheme}://' for scheme in SCHEMES)}."
            )
        if not parts.netloc and parts.scheme != "memory":
            raise InvalidRequestError(f"store={address!r} names no bucket. Write it as {parts.scheme}://bucket/folder.")
        from obstore.store import from_url

        try:
            return cls(from_url(address, **_settings(parts.scheme)), address.rstrip("/"))
        except Exception as error:  # of obstore, of Flyte's settings, of a provider's library: each has its own
            raise InvalidRequestError(f"store={address!r} can't be used: {_told(error)}") from error

    async def read(self, path: str) -> bytes | None:
        """The content of an object, None where there is none."""
        with _errors():
            try:
                return bytes(await (await self._store.get_async(path)).bytes_async())
            except FileNotFoundError:
                return None

    async def contents(self, folder: str) -> dict[str, bytes]:
        """The content of every object in a folder, by its name there."""
        names = {found.path.removeprefix(f"{folder}/"): found for found in await self.listed(folder)}
        direct = {name: found for name, found in names.items() if "/" not in name}
        # An empty one needs no request of its own.
        contents = await asyncio.gather(*(self.read(one.path) if one.size else _empty() for one in direct.values()))
        return {name: content for name, content in zip(direct, contents, strict=True) if content is not None}

    async def create(self, path: str, content: bytes, *, durable: bool = True) -> bool:
        """Write an object; False where one stands already."""
        from obstore.exceptions import AlreadyExistsError, NotSupportedError

        with _errors():
            try:
                await self._store.put_async(path, content, mode="create")
            except AlreadyExistsError:
                return False
            except (NotSupportedError, NotImplementedError):
                # A store without conditional writes: of two that write at the same moment, one is lost.
                if await self._size(path) is not None:
                    return False
                await self._store.put_async(path, content)
        return True

    async def listed(self, prefix: str) -> list[Listed]:
        """The objects below a folder."""
        with _errors():
            found = await self._store.list_async(prefix or None).collect_async()
        listed = [Listed(one["path"], one["size"], one["last_modified"].timestamp()) for one in found]
        return sorted(listed, key=lambda one: one.path)

    async def delete(self, path: str) -> None:
        """Take an object away."""
        with _errors():
            try:
                await self._store.delete_async(path)
            except FileNotFoundError:
                return

    async def take_file(self, path: str, source: Path) -> None:
        """Copy a file into the store, in parts where it is large."""
        with _errors():
            if await self._size(path) != (await asyncio.to_thread(source.stat)).st_size:
                await self._store.put_async(path, source)

    async def give_file(self, path: str, target: Path, size: int = 0) -> bool:
        """Copy an object into a file, part by part."""
        with _errors():
            try:
                found = await self._store.get_async(path)
            except FileNotFoundError:
                return False
            with target.open("wb") as file:
                async for part in found.stream():
                    await asyncio.to_thread(file.write, part)
        return True

    async def _size(self, path: str) -> int | None:
        try:
            return int((await self._store.head_async(path))["size"])
        except FileNotFoundError:
            return None


async def _empty() -> bytes:
    return b""


def _settings(scheme: str) -> dict[str, Any]:
    if scheme == "memory":
        return {}
    from flyte.storage import get_configured_fsspec_kwargs

    settings = get_configured_fsspec_kwargs(scheme)
    options = {**settings.get("client_options", {}), "connect_timeout": "3s"}
    return {**settings, "client_options": options, "retry_config": _RETRY}


@contextmanager
def _errors() -> Iterator[None]:
    """What obstore raises, as OSError with one line."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, ValueError, OSError) as error:
        raise OSError(_told(error)) from error


def _told(error: Exception) -> str:
    """The first sentence: what follows is the store's answer and Rust's own picture of the error."""
    return str(error).split("\n", 1)[0].split(": <", 1)[0][:500] or type(error).__name__
