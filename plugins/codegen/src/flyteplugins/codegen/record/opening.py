"""The record of an agent: on this machine, and where it is shared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.paths import home, wanted_home
from flyteplugins.codegen.record.object_shelf import SCHEMES, ObjectShelf
from flyteplugins.codegen.record.record import Record, local_record
from flyteplugins.codegen.record.remote import RemoteShelf
from flyteplugins.codegen.record.shelf import LocalShelf, Shelf

_FILE: Final = "file"


def open_record(store: str | Path | None, on_trouble: Callable[[str], None] | None = None) -> Record:
    """The record that `store=` names. Nothing is written, and no network is used.

    Args:
        store: None for the record of this machine; a folder (or a `file://` address) for the record there and nowhere
            else; the address of an object store for the record of this machine, shared through that store.
        on_trouble: As for `Record`; also told where the state folder can't be used.

    Returns:
        The record.

    Raises:
        InvalidRequestError: `store` is neither a folder nor the address of an object store.
    """
    record = _open(store, on_trouble)
    if (used := home()) != (wanted := wanted_home()):
        record.tell(
            f"The state folder {wanted} can't be written. {used} is used instead, which the system may clear at any "
            "time. Name another one in FLYTEPLUGINS_CODEGEN_HOME."
        )
    return record


def shelf_at(store: str | Path | None) -> Shelf:
    """The shelf that `store=` names, for whoever looks after it.

    Args:
        store: As for `open_record`.

    Returns:
        The shelf, without the deadlines that a generation has.

    Raises:
        InvalidRequestError: `store` is neither a folder nor the address of an object store.
    """
    if store is None:
        return LocalShelf(home() / "record")
    if isinstance(store, str) and (address := _address(store)):
        if urlsplit(address).scheme != _FILE:
            return ObjectShelf.at(address)
        store = unquote(urlsplit(address).path)
    folder = Path(store).expanduser().absolute()
    if folder.exists() and not folder.is_dir():
        raise InvalidRequestError(f"store={str(store)!r} is a file. Give a folder, or the address of an object store.")
    return LocalShelf(folder, private=False)


def _open(store: str | Path | None, on_trouble: Callable[[str], None] | None) -> Record:
    if store is None:
        return local_record(on_trouble)
    shelf = shelf_at(store)
    if isinstance(shelf, LocalShelf):
        return Record(shelf, on_trouble, keeps_files=True)
    return Record(LocalShelf(home() / "record"), on_trouble, remote=RemoteShelf(shelf))


def _address(store: str) -> str | None:
    scheme, separator, _ = store.partition("://")
    if separator:
        return store
    if not store.strip():
        raise InvalidRequestError("store is empty. Give a folder, or the address of an object store.")
    if scheme.partition(":")[0] in (*SCHEMES, _FILE) and ":" in scheme:
        raise InvalidRequestError(f"store={store!r}: write the address as {scheme.partition(':')[0]}://... .")
    return None
