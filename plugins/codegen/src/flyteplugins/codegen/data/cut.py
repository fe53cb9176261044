"""Files made from samples: a part of a large one, one without rows, one without a column."""

from __future__ import annotations

import asyncio
import bz2
import contextlib
import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, TextIO

from flyte.io import File

from flyteplugins.codegen.core.scratch import scratch_in
from flyteplugins.codegen.data.compare import compare_outputs
from flyteplugins.codegen.data.samples import take_in_file
from flyteplugins.codegen.data.tables import Layout, UnreadableTableError, batches, json_records, lay_out, open_text

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["compare_outputs", "cut", "header_only", "without_column"]

LIMIT_BYTES: Final = 50 * 2**20
"""Size from which checks and tests get a part of a sample."""


async def cut(file: File, store: Path, limit_bytes: int = LIMIT_BYTES) -> tuple[File, bool]:
    """The first rows of a large file, as a valid file of the same format and name.

    Args:
        file: A stored file.
        store: Folder of the stored files.
        limit_bytes: Size in bytes up to which a file stays whole, and about which the part has at most.

    Returns:
        The file and False where it is small enough, or of a format that can't be cut; else the part and True. The
        same file gives the same part.
    """
    path = Path(file.path)

    def make(target: Path) -> bool:
        if path.stat().st_size <= limit_bytes:
            return False
        try:
            layout = lay_out(path)
        except UnreadableTableError:
            return False
        if layout.format == "parquet":
            return _cut_parquet(layout, target, limit_bytes)
        if layout.format == "json" and layout.tabular:
            return _cut_json(layout, target, limit_bytes)
        if layout.format in {"csv", "tsv", "jsonl", "text"}:
            return _cut_lines(layout, target, limit_bytes)
        return False

    made = await _made(file, store, make)
    return (made, True) if made else (file, False)


async def header_only(file: File, store: Path) -> File | None:
    """The same table without any row.

    Args:
        file: A stored file.
        store: Folder of the stored files.

    Returns:
        A file of the same format and name; None for what is no CSV, TSV or Parquet.
    """

    def make(target: Path) -> bool:
        layout = lay_out(Path(file.path))
        if layout.format == "parquet":
            from pyarrow import parquet

            parquet.write_table(parquet.read_schema(layout.path).empty_table(), target)
            return True
        if layout.format not in {"csv", "tsv"}:
            return False
        with _write_text(layout, target) as out:
            csv.writer(out, delimiter=layout.delimiter, lineterminator="\n").writerow(layout.header)
        return True

    return await _made(file, store, make)


async def without_column(file: File, column: str, store: Path) -> File | None:
    """The same table without one of its columns.

    Args:
        file: A stored file.
        column: Name of the column, as the profile has it.
        store: Folder of the stored files.

    Returns:
        A file of the same format and name; None where the format has no columns, or not that one, or only that one.
    """

    def make(target: Path) -> bool:
        layout = lay_out(Path(file.path))
        if not layout.tabular or column not in layout.names or len(layout.names) < 2:
            return False
        position = layout.names.index(column)
        if layout.format == "parquet":
            _drop_from_parquet(layout, position, target)
        elif layout.format in {"csv", "tsv"}:
            _drop_from_csv(layout, position, target)
        else:
            _drop_from_json(layout, column, target)
        return True

    return await _made(file, store, make)


async def _made(file: File, store: Path, make: Callable[[Path], bool]) -> File | None:
    async with scratch_in() as folder:
        target = folder / Path(file.path).name
        if not await asyncio.to_thread(make, target):
            return None
        return await take_in_file(target, store)


@contextlib.contextmanager
def _write_text(layout: Layout, target: Path) -> Iterator[TextIO]:
    """Write text in the encoding and compression of a file; the same text gives the same bytes."""
    with contextlib.ExitStack() as stack:
        raw: IO[bytes] = stack.enter_context(target.open("wb"))
        if layout.compression == "gzip":
            # The stubs ask for a file that can be read as well; writing never reads.
            raw = stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0))  # type: ignore[arg-type]
        elif layout.compression == "bz2":
            raw = stack.enter_context(bz2.BZ2File(raw, "wb"))
        elif layout.compression == "zstd":
            import pyarrow as pa

            raw = stack.enter_context(pa.output_stream(raw, compression="zstd"))
        yield stack.enter_context(io.TextIOWrapper(raw, encoding=layout.encoding, newline=""))


def _cut_lines(layout: Layout, target: Path, limit_bytes: int) -> bool:
    """Copy lines up to the limit; a record of CSV may span several, and ends where its quotes are closed."""
    written = 0
    quoted = False
    record: list[str] = []
    with open_text(layout) as source, _write_text(layout, target) as out:
        for line in source:
            record.append(line)
            if layout.format in {"csv", "tsv"}:
                quoted ^= line.count('"') % 2 == 1
            if quoted:
                continue
            text = "".join(record)
            written += len(text.encode(layout.encoding))
            if written > limit_bytes:
                return True
            out.write(text)
            record = []
    # All of it fits: what is over the limit is a compressed file that grows no further when it is read.
    return False


def _cut_parquet(layout: Layout, target: Path, limit_bytes: int) -> bool:
    from pyarrow import parquet

    with parquet.ParquetFile(layout.path) as file:
        size = layout.path.stat().st_size
        rows = max(1, file.metadata.num_rows * limit_bytes // size)
        with parquet.ParquetWriter(target, file.schema_arrow) as writer:
            for batch in file.iter_batches(batch_size=min(rows, 1 << 16)):
                writer.write_batch(batch.slice(0, rows))
                rows -= batch.num_rows
                if rows <= 0:
                    break
    return True


def _cut_json(layout: Layout, target: Path, limit_bytes: int) -> bool:
    written = 0
    with _write_text(layout, target) as out:
        out.write("[")
        for index, record in enumerate(json_records(layout)):
            text = json.dumps(record, ensure_ascii=False)
            written += len(text.encode()) + 2
            if written > limit_bytes:
                break
            out.write(("" if index == 0 else ",\n") + text)
        out.write("]\n")
    return True


def _drop_from_parquet(layout: Layout, position: int, target: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    with parquet.ParquetFile(layout.path) as file:
        schema: pa.Schema = file.schema_arrow.remove(position)
        if schema.metadata:  # the pandas metadata names the column too
            schema = schema.with_metadata({k: v for k, v in schema.metadata.items() if k != b"pandas"})
        with parquet.ParquetWriter(target, schema) as writer:
            for batch in file.iter_batches():
                arrays = [array for index, array in enumerate(batch.columns) if index != position]
                writer.write_batch(pa.record_batch(arrays, schema=schema))


def _drop_from_csv(layout: Layout, position: int, target: Path) -> None:
    with _write_text(layout, target) as out:
        writer = csv.writer(out, delimiter=layout.delimiter, lineterminator="\n")
        writer.writerow(name for index, name in enumerate(layout.header) if index != position)
        for arrays in batches(layout):
            kept = [array.to_pylist() for index, array in enumerate(arrays) if index != position]
            writer.writerows(zip(*kept, strict=True))


def _drop_from_json(layout: Layout, column: str, target: Path) -> None:
    with _write_text(layout, target) as out:
        records = ({key: value for key, value in record.items() if key != column} for record in json_records(layout))
        if layout.format == "jsonl":
            out.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        else:
            json.dump(list(records), out, ensure_ascii=False)
