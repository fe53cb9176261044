"""Taking in what a user gives: each sample becomes a local file whose content can't change any more."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyte.io import File

from flyteplugins.codegen.core.errors import InvalidInputError, InvalidRequestError
from flyteplugins.codegen.core.pinned import INCOMING, is_pinned, pin
from flyteplugins.codegen.core.scratch import scratch, scratch_in
from flyteplugins.codegen.data.tables import Layout, UnreadableTableError, batches, csv_batches, lay_out

if TYPE_CHECKING:
    import pandas as pd


async def take_in(samples: Mapping[str, File | pd.DataFrame | str | Path] | None, store: Path) -> dict[str, File]:
    """Copy each sample into the store and check that it can be read.

    Args:
        samples: Files (local or remote), local paths or DataFrames, by sample name.
        store: Folder of the stored files; made if it does not exist.

    Returns:
        By sample name, a file at `<store>/<sha256>/<file name>` with the hex SHA-256 of its content as `hash`. The
        same content under the same file name is stored once, read-only.

    Raises:
        InvalidRequestError: A sample is missing, a folder, unreadable, empty, has no columns or rows, or does not
            parse as the format that its name says.
    """
    taken = await pin_samples(samples, store)
    try:
        for name, file in taken.items():
            await asyncio.to_thread(_check_content, Path(file.path), f"sample {name!r}")
    except InvalidInputError as error:
        raise InvalidRequestError(str(error)) from error.__cause__
    return taken


async def pin_samples(samples: Mapping[str, File | pd.DataFrame | str | Path] | None, store: Path) -> dict[str, File]:
    """Copy each sample into the store, as `take_in` does, without looking into it.

    Args:
        samples: Files (local or remote), local paths or DataFrames, by sample name.
        store: Folder of the stored files; made if it does not exist.

    Returns:
        The stored files by sample name.

    Raises:
        InvalidRequestError: A sample is missing, a folder, unreadable or a DataFrame without columns.
    """
    pinned = {}
    for name, sample in (samples or {}).items():
        label = f"sample {name!r}"
        try:
            if _is_frame(sample):
                pinned[name] = await asyncio.to_thread(_store_frame, sample, f"{name}.csv", store, label)
            else:
                pinned[name] = await _store_file(sample, store, label)
        except InvalidInputError as error:
            raise InvalidRequestError(str(error)) from error.__cause__
    return pinned


async def take_in_file(file: File | pd.DataFrame | str | Path, store: Path, name: str = "input") -> File:
    """Copy one input into the store, as `take_in` does, without looking into it.

    Args:
        file: A file (local or remote), a local path or a DataFrame.
        store: Folder of the stored files; made if it does not exist.
        name: Name of the input, for errors and for the file name of a DataFrame.

    Returns:
        The stored file with its hash.

    Raises:
        InvalidInputError: The input is missing, a folder, unreadable or a DataFrame without columns.
    """
    label = f"input {name!r}"
    if _is_frame(file):
        return await asyncio.to_thread(_store_frame, file, f"{name}.csv", store, label)
    return await _store_file(file, store, label)


def render_frame(frame: pd.DataFrame) -> str:
    """A DataFrame as CSV text: the same frame, the same text.

    A default index is left out; any other becomes columns. Column names become text; levels of a column MultiIndex
    are joined by an underscore.
    """
    import pandas as pd

    plain = frame.copy(deep=False)
    if isinstance(plain.columns, pd.MultiIndex):
        plain.columns = pd.Index(["_".join(str(level) for level in column) for column in plain.columns])
    else:
        plain.columns = pd.Index([str(column) for column in plain.columns])
    index = plain.index
    default = isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1 and index.name is None
    if not default:
        names: list[str] = []
        for level, given in enumerate(index.names):
            wanted = str(given) if given is not None else ("index" if index.nlevels == 1 else f"level_{level}")
            while wanted in plain.columns or wanted in names:
                wanted += "_index"
            names.append(wanted)
        plain.index = index.set_names(names)
        plain = plain.reset_index()
    return str(plain.to_csv(index=False, lineterminator="\n"))


def _is_frame(value: object) -> bool:
    # A module name is enough to know, and does not import pandas for those who pass files.
    return any(base.__name__ == "DataFrame" and base.__module__.startswith("pandas") for base in type(value).__mro__)


def _store_frame(frame: Any, file_name: str, store: Path, label: str) -> File:
    if not len(frame.columns):
        raise InvalidInputError(f"{label} is a DataFrame without columns. Pass one that has columns and rows.")
    with scratch(store / INCOMING) as folder:
        path = folder / file_name
        path.write_text(render_frame(frame), encoding="utf-8", newline="")
        return _store_path(path, file_name, store, label)


async def _store_file(file: object, store: Path, label: str) -> File:
    if isinstance(file, (str, Path)):
        location, file_name = str(file), ""
    elif isinstance(file, File):
        if file.hash and Path(file.path).parent == store / file.hash and is_pinned(file):
            return file
        location, file_name = file.path, file.name or ""
    else:
        raise InvalidInputError(
            f"{label} is a {type(file).__name__}. Pass a flyte.io.File, a path or a pandas DataFrame."
        )
    location = location.removeprefix("file://")
    file_name = _file_name(file_name, location)
    if "://" not in location:
        return await asyncio.to_thread(_store_path, Path(location), file_name, store, label)
    remote = file if isinstance(file, File) else File(path=location)
    async with scratch_in(store / INCOMING) as folder:
        try:
            path = await remote.download(str(folder / file_name))
        except Exception as error:  # each storage backend raises errors of its own
            raise InvalidInputError(
                f"{label} can't be read from {location}: {type(error).__name__}: {error}. Check the address and the "
                "permissions."
            ) from error
        return await asyncio.to_thread(_store_path, Path(path), file_name, store, label)


def _file_name(given: str, location: str) -> str:
    """The name that the file keeps; its extension says how to read it."""
    original = location.rstrip("/").rsplit("/", 1)[-1]
    name = given.replace("\0", "").rstrip("/").rsplit("/", 1)[-1]
    if name in {"", ".", ".."} or (not Path(name).suffix and Path(original).suffix):
        name = original
    return name if name not in {"", ".", ".."} else "data"


def _store_path(path: Path, file_name: str, store: Path, label: str) -> File:
    path = path.expanduser()
    _check_path(path, label)
    try:
        return pin(path, file_name, into=store)
    except OSError as error:
        raise InvalidInputError(f"{label}: {path} can't be read: {error.strerror}. Check its permissions.") from error


def _check_path(path: Path, label: str) -> None:
    try:
        is_folder, exists, is_file = path.is_dir(), path.exists(), path.is_file()
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"{label}: {str(path)[:200]!r} is no usable path: {error}. Pass a file.") from error
    if is_folder:
        raise InvalidInputError(f"{label}: {path} is a folder. Pass a file.")
    if not exists:
        raise InvalidInputError(f"{label}: there is no file {path}. Check the path.")
    if not is_file:
        raise InvalidInputError(f"{label}: {path} is no regular file. Pass a file.")


def _check_content(path: Path, label: str) -> None:
    """Refuse what no code can be generated from; reads the beginning of the table only."""
    if not path.stat().st_size:
        raise InvalidInputError(f"{label}: {path.name} is empty. Pass a file with data.")
    try:
        layout = lay_out(path)
        if layout.tabular and (problem := _without_rows(layout)):
            raise InvalidInputError(f"{label}: {path.name} {problem}")
    except UnreadableTableError as error:
        raise InvalidInputError(
            f"{label}: {path.name} can't be used: {error}. Repair the file, or give it the extension of its format."
        ) from error


def _without_rows(layout: Layout) -> str:
    """What is wrong with a table that has no usable row; empty if it has one."""
    wrong_width: list[int] = []
    if layout.format in {"csv", "tsv"}:
        usable = any(batch.num_rows for batch in csv_batches(layout, wrong_width))
    else:
        usable = any(len(arrays[0]) for arrays in batches(layout) if arrays)
    if usable:
        return ""
    if wrong_width:
        return (
            f"has {len(layout.header)} column names and {wrong_width[0]} fields in its records. Give every column a "
            "name, or remove the delimiter at the end of the records."
        )
    what = "has no rows" if layout.names else "has no columns"
    return f"{what}. Pass a sample with at least one row of data."
