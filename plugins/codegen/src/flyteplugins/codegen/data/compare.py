"""Whether two output files say the same."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal

from flyteplugins.codegen.data.tables import compression_of, open_bytes

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_CHUNK_BYTES: Final = 1 << 20

_MOST_BYTES: Final = 4 << 30
"""How much of a file is unpacked at most: the program that wrote it is not trusted."""


def compare_outputs(a: Path, b: Path) -> Literal["same", "container", "different"]:
    """Compare the files or folders that two runs wrote; an output's file may have no extension.

    Args:
        a: A file of one run, or a folder.
        b: The same of the other run.

    Returns:
        `same` for equal bytes; `container` where only the wrapping differs (Parquet metadata and encoding, the time
        stamp in a gzip or zip file) and the tables or the content in it are equal; else `different`. Folders are as
        different as the most different of their files.
    """
    if a.is_dir() or b.is_dir():
        return _compare_folders(a, b)
    with a.open("rb") as first, b.open("rb") as second:
        if _equal_streams(first, second):
            return "same"
        first.seek(0)
        second.seek(0)
        start, other = first.read(4), second.read(4)
    if start[:2] != other[:2]:
        return "different"
    try:
        if start == b"PAR1":
            equal = _equal_parquet(a, b)
        elif start == b"PK\x03\x04":
            equal = _equal_zip(a, b)
        else:
            equal = _equal_compressed(a, b)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile):
        equal = False  # what can't be opened can't be shown to be equal
    return "container" if equal else "different"


def _compare_folders(a: Path, b: Path) -> Literal["same", "container", "different"]:
    names, others = (
        {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} if folder.is_dir() else None
        for folder in (a, b)
    )
    if names is None or names != others:
        return "different"
    found = {compare_outputs(a / name, b / name) for name in names}
    return "different" if "different" in found else "container" if "container" in found else "same"


def _equal_streams(first: IO[bytes], second: IO[bytes]) -> bool:
    total = 0
    while chunk := first.read(_CHUNK_BYTES):
        total += len(chunk)
        if total > _MOST_BYTES:
            raise ValueError("too large to compare")
        if chunk != second.read(len(chunk)):
            return False
    return not second.read(1)


def _equal_parquet(a: Path, b: Path) -> bool:
    from pyarrow import parquet

    with parquet.ParquetFile(a) as first, parquet.ParquetFile(b) as second:
        # Metadata of the schema is the writer's own note.
        if not first.schema_arrow.equals(second.schema_arrow, check_metadata=False):
            return False
        if first.metadata.num_rows != second.metadata.num_rows:
            return False
        pairs = zip_longest(_rows(first), _rows(second))
        return all(one is not None and two is not None and one == two for one, two in pairs)


def _rows(file: ParquetFile) -> Iterator[Any]:
    for batch in file.iter_batches(batch_size=1 << 14):
        yield from map(repr, batch.to_pylist())  # as text, NaN equals NaN


def _equal_zip(a: Path, b: Path) -> bool:
    with zipfile.ZipFile(a) as first, zipfile.ZipFile(b) as second:
        names = first.namelist()
        if names != second.namelist():
            return False
        for name in names:
            if name == "docProps/core.xml":  # the time at which a workbook was saved
                continue
            with first.open(name) as one, second.open(name) as two:
                if not _equal_streams(one, two):
                    return False
    return True


def _equal_compressed(a: Path, b: Path) -> bool:
    compression = compression_of(a)
    if compression is None or compression != compression_of(b):
        return False
    with open_bytes(a, compression) as one, open_bytes(b, compression) as two:
        return _equal_streams(one, two)
