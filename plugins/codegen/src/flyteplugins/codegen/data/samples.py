"""Taking in what a user gives: each sample becomes a local file whose content can't change any more."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flyte.io import DataFrame, Dir, File

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


async def take_in_files(
    files: object, store: Path, name: str = "input", *, may_stay: Callable[[str], bool] = lambda path: False
) -> list[File]:
    """Copy the files of one input into the store.

    Args:
        files: A list of files (local or remote) and local paths; at least one.
        store: Folder of the stored files; made if it does not exist.
        name: Name of the input, for errors.
        may_stay: Whether a `File` at this path is left where it is.

    Returns:
        The stored files with their hashes, in order.

    Raises:
        InvalidInputError: It is no list, is empty, or one of them can't be had.
    """
    if not isinstance(files, (list, tuple)) or not files:
        given = "is empty" if isinstance(files, (list, tuple)) else f"is {type(files).__name__}"
        raise InvalidInputError(f"input {name!r} must be a list of at least one File or path, and {given}.")
    taken = []
    for number, file in enumerate(files):
        stays = isinstance(file, File) and may_stay(file.path)
        taken.append(file if stays else await _store_file(file, store, f"input '{name}[{number}]'"))
    return taken


async def take_in_folder(folder: object, store: Path, name: str = "input") -> dict[str, File]:
    """Copy the regular files of a folder, and of those in it, into the store.

    Args:
        folder: A `Dir` (local or remote) or a local path.
        store: Folder of the stored files; made if it does not exist.
        name: Name of the input, for errors.

    Returns:
        The stored files with their hashes, by relative path. A link to a file counts as that file; folders behind
        links are left out.

    Raises:
        InvalidInputError: It is no folder, can't be read, or has no files.
    """
    label = f"input {name!r}"
    if not isinstance(folder, (Dir, str, Path)):
        raise InvalidInputError(f"{label} is a {type(folder).__name__}. Pass a flyte.io.Dir or the path of a folder.")
    location = (folder.path if isinstance(folder, Dir) else str(folder)).removeprefix("file://")
    if "://" not in location:
        return await asyncio.to_thread(_store_folder, Path(location), store, label)
    remote = folder if isinstance(folder, Dir) else Dir(path=location)
    async with scratch_in(store / INCOMING) as scratch_folder:
        try:
            path = await remote.download(str(scratch_folder / "content"))
        except Exception as error:  # each storage backend raises errors of its own
            raise _unreachable(label, location, error) from error
        return await asyncio.to_thread(_store_folder, Path(path), store, label)


async def take_in_table(table: object, store: Path, name: str = "input") -> File:
    """Put one table into the store as a Parquet file.

    Args:
        table: A DataFrame of pandas or Flyte, or a Parquet file as a `File` or a path. An index that is not the
            default one becomes columns.
        store: Folder of the stored files; made if it does not exist.
        name: Name of the input, for errors and for the file name of a DataFrame.

    Returns:
        The stored file with its hash.

    Raises:
        InvalidInputError: It can't be had, or Parquet can't hold it.
    """
    label = f"input {name!r}"
    if isinstance(table, DataFrame):
        table = await _read_frame(table, label)
    if _is_frame(table):
        return await asyncio.to_thread(_store_table, table, f"{name}.parquet", store, label)
    file = await _store_file(table, store, label)
    if problem := await asyncio.to_thread(table_problem, Path(file.path)):
        raise InvalidInputError(f"{label}: {file.name} is no table: {problem}. Pass a DataFrame or a Parquet file.")
    return file


def table_problem(path: Path) -> str:
    """Why a file is no Parquet file with columns; empty if it is one. Blocks, and reads no rows."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            columns = len(file.schema_arrow)
    except (pa.ArrowException, OSError, ValueError) as error:
        return f"it can't be read as Parquet: {error}".splitlines()[0][:300]
    return "" if columns else "it has no columns"


async def _read_frame(frame: DataFrame, label: str) -> Any:
    import pandas as pd

    if frame.val is not None:
        return frame.val if _is_frame(frame.val) or not hasattr(frame.val, "to_pandas") else frame.val.to_pandas()
    location = str(frame.uri).removeprefix("file://")
    try:
        if "://" not in location and frame.format != "csv":  # Flyte opens a local one in tasks only
            return await asyncio.to_thread(pd.read_parquet, location)
        return await frame.open(pd.DataFrame).all()
    except Exception as error:  # each storage backend raises errors of its own
        raise _unreachable(label, str(frame.uri), error) from error


def _unreachable(label: str, location: str, error: Exception) -> InvalidInputError:
    return InvalidInputError(
        f"{label} can't be read from {location}: {type(error).__name__}: {error}. Check the address and the "
        "permissions."
    )


def _store_folder(folder: Path, store: Path, label: str) -> dict[str, File]:
    folder = folder.expanduser()
    if not folder.is_dir():
        raise InvalidInputError(f"{label}: there is no folder {folder}. Check the path.")
    try:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): pin(path, into=store) for path in paths}
    except OSError as error:
        raise InvalidInputError(f"{label}: {folder} can't be read: {error}. Check its permissions.") from error
    if not files:
        raise InvalidInputError(f"{label}: {folder} has no files. Pass a folder with at least one.")
    return files


def _store_table(frame: Any, file_name: str, store: Path, label: str) -> File:
    import pyarrow as pa

    if not len(frame.columns):
        raise InvalidInputError(f"{label} is a DataFrame without columns. Pass one that has columns.")
    with scratch(store / INCOMING) as folder:
        path = folder / file_name
        try:
            _with_plain_names(frame).to_parquet(path, index=False)
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            raise InvalidInputError(
                f"{label} can't be written as Parquet: {error}. Give each column one name and values of one type."
            ) from error
        return pin(path, file_name, into=store, move=True)


def render_frame(frame: pd.DataFrame) -> str:
    """A DataFrame as CSV text: the same frame, the same text.

    A default index is left out; any other becomes columns. Column names become text; levels of a column MultiIndex
    are joined by an underscore.
    """
    return str(_with_plain_names(frame).to_csv(index=False, lineterminator="\n"))


def _with_plain_names(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with texts as column names and its index, where it is not the default one, as columns."""
    import pandas as pd

    plain: pd.DataFrame = frame.copy(deep=False)
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
    return plain


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
            raise _unreachable(label, location, error) from error
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
