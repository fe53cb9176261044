"""Reading a file as a table, whatever its format, in batches of bounded size.

CSV is read as text throughout: types are decided over all rows (see `profile`), not over the first block.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Literal, cast

if TYPE_CHECKING:
    import pyarrow as pa

Format = Literal["csv", "tsv", "parquet", "jsonl", "json", "xlsx", "text", "binary"]

NULL_WORDS: Final = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"),
    *("NULL", "NaN", "None", "n/a", "nan", "null"),
)
"""What `pandas.read_csv` takes for a missing value by default; generated code will see the same nulls."""

_SUFFIXES: Final[dict[str, Format]] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".xlsx": "xlsx",
    ".txt": "text",
    ".log": "text",
    ".md": "text",
}
_COMPRESSION_SUFFIXES: Final = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_COMPRESSION_MAGIC: Final = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_TABULAR: Final = frozenset({"csv", "tsv", "parquet", "jsonl"})
_HEAD_BYTES: Final = 1 << 16
_BLOCK_BYTES: Final = (1 << 22, 1 << 26, 1 << 29)
"""Sizes of a CSV block in bytes: a larger one only where a single record does not fit."""
_ROWS_A_BATCH: Final = 1 << 16


class UnreadableTableError(ValueError):
    """A file does not parse as its format; the message says why."""


@dataclass(frozen=True)
class Layout:
    """How a file is to be read.

    Attributes:
        path: The file.
        format: What it holds.
        compression: `gzip`, `bz2` or `zstd`, or None.
        encoding: Encoding of its text, as Python names it.
        delimiter: Separator of fields, where it has any.
        names: Column names as pandas gives them: a repeated `a` is `a.1`, an empty one `Unnamed: 0`.
        header: Column names as they stand in the file.
        notes: What a reader of the file has to know, in sentences.
    """

    path: Path
    format: Format
    compression: str | None = None
    encoding: str = "utf-8"
    delimiter: str = ","
    names: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def tabular(self) -> bool:
        """Whether it has rows and named columns."""
        return self.format in _TABULAR or (self.format == "json" and bool(self.names))


def lay_out(path: Path) -> Layout:
    """Find out how a file is to be read: format, compression, encoding, delimiter and column names.

    The whole file is decoded once to know its encoding; nothing of it is kept.

    Args:
        path: A local file.

    Returns:
        The layout.

    Raises:
        UnreadableTableError: The file does not parse as what its name says it is.
    """
    compression = compression_of(path)
    kind = _named_format(path)
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"PAR1" or kind == "parquet":
        return _parquet_layout(path)
    if kind == "xlsx":
        return Layout(path, "xlsx", notes=("An Excel workbook; its cells were not read.",))
    try:
        with open_bytes(path, compression) as file:
            head = file.read(_HEAD_BYTES)
        encoding = _encoding(path, compression, head)
    except (OSError, EOFError, ValueError) as error:
        raise UnreadableTableError(f"it can't be decompressed as {compression}: {error}") from error
    if encoding is None:
        if kind in _TABULAR:
            raise UnreadableTableError(f"it is binary, not text, and so no {kind.upper()}")
        return Layout(path, "binary", compression)
    notes = list(_encoding_notes(encoding, head))
    if compression and path.suffix.lower() not in _COMPRESSION_SUFFIXES:
        notes.append(f"The file is compressed with {compression} although its name does not say so.")
    text = codecs.getincrementaldecoder(encoding)().decode(head).removeprefix("\ufeff")
    if kind == "binary":
        kind = _guessed_format(text)
    layout = Layout(path, kind, compression, encoding, notes=tuple(notes))
    if kind in {"csv", "tsv"}:
        return _csv_layout(layout, text)
    if kind in {"jsonl", "json"}:
        return _json_layout(layout)
    return layout


def batches(layout: Layout) -> Iterator[list[pa.Array]]:
    """The rows of a table, in order, in batches that fit in memory.

    Args:
        layout: The layout of a tabular file.

    Yields:
        One array a column, in the order of `layout.names`. Columns of CSV are text as it stands in the file (null
        words too); JSON columns that hold values of more than one type are JSON text.

    Raises:
        UnreadableTableError: The file does not parse.
    """
    if layout.format == "parquet":
        yield from _parquet_batches(layout)
    elif layout.format in {"csv", "tsv"}:
        for batch in csv_batches(layout):
            yield [batch.column(index) for index in range(batch.num_columns)]
    else:
        yield from _json_batches(layout)


def compression_of(path: Path) -> str | None:
    """How a file is compressed, by its first bytes: `gzip`, `bz2`, `zstd` or None."""
    with path.open("rb") as file:
        magic = file.read(4)
    return next((kind for start, kind in _COMPRESSION_MAGIC.items() if magic.startswith(start)), None)


def open_bytes(path: Path, compression: str | None) -> IO[bytes]:
    """The file's content, decompressed as it is read."""
    import pyarrow as pa

    return cast("IO[bytes]", pa.input_stream(str(path), compression=compression))


def open_text(layout: Layout) -> IO[str]:
    """The file's text, decompressed and decoded, without a byte order mark; line ends stay as they are."""
    encoding = "utf-8-sig" if layout.encoding == "utf-8" else layout.encoding
    return io.TextIOWrapper(open_bytes(layout.path, layout.compression), encoding=encoding, newline="")


def csv_batches(layout: Layout, skipped: list[int] | None = None) -> Iterator[pa.RecordBatch]:
    """The records of a CSV file as text columns.

    Args:
        layout: The layout of the file.
        skipped: Receives one entry for each record that has another number of fields than the header; such a
            record is left out.

    Yields:
        Batches of records.

    Raises:
        UnreadableTableError: The file does not parse.
    """
    import pyarrow as pa

    seen = 0
    for block_bytes in _BLOCK_BYTES:
        try:
            done = 0
            for batch in _open_csv(layout, block_bytes, skipped):
                done += batch.num_rows
                fresh = batch.slice(max(0, batch.num_rows - (done - seen)))
                if fresh.num_rows:
                    seen = done
                    yield fresh
            return
        except pa.ArrowInvalid as error:  # noqa: PERF203 - three turns at most
            if "straddling" not in str(error) or block_bytes == _BLOCK_BYTES[-1]:
                raise UnreadableTableError(f"it does not parse as {layout.format.upper()}: {error}") from error
            if skipped is not None:
                skipped.clear()


def _open_csv(layout: Layout, block_bytes: int, skipped: list[int] | None) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from pyarrow import csv as pa_csv

    def leave_out(row: Any) -> str:
        if skipped is not None:
            skipped.append(row.actual_columns)
        return "skip"

    reader = pa_csv.open_csv(
        pa.input_stream(str(layout.path), compression=layout.compression),
        read_options=pa_csv.ReadOptions(block_size=block_bytes, encoding=layout.encoding, use_threads=True),
        parse_options=pa_csv.ParseOptions(
            delimiter=layout.delimiter, newlines_in_values=True, invalid_row_handler=leave_out
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types=dict.fromkeys(layout.header, pa.string()), strings_can_be_null=False, check_utf8=True
        ),
    )
    yield from reader


def _named_format(path: Path) -> Format:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSION_SUFFIXES:
        suffixes.pop()
    return _SUFFIXES.get(suffixes[-1], "binary") if suffixes else "binary"


def _guessed_format(text: str) -> Format:
    stripped = text.lstrip()
    if stripped.startswith(("{", "[")):
        first = stripped.splitlines()[0]
        try:
            json.loads(first)
        except ValueError:
            return "json"
        return "jsonl" if first.startswith("{") else "json"
    lines = text.splitlines()[:-1] or text.splitlines()
    for delimiter in ("\t", ",", ";", "|"):
        counts = {len(row) for row in csv.reader(lines[:50], delimiter=delimiter) if row}
        if len(lines) > 1 and len(counts) == 1 and counts.pop() > 1:
            return "tsv" if delimiter == "\t" else "csv"
    return "text"


def _encoding(path: Path, compression: str | None, head: bytes) -> str | None:
    """The encoding of the whole file; None for what is no text."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head:
        return None
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open_bytes(path, compression) as file:
        try:
            while chunk := file.read(1 << 20):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            printable = sum(byte >= 32 or byte in b"\t\r\n\f" for byte in head)
            return "latin-1" if printable >= 0.95 * len(head) else None
    return "utf-8"


def _encoding_notes(encoding: str, head: bytes) -> Iterator[str]:
    if encoding == "latin-1":
        yield "The text is not UTF-8; it was read as latin-1. Pass encoding='latin-1'."
    elif encoding == "utf-16":
        yield "The text is UTF-16. Pass encoding='utf-16'."
    elif head.startswith(codecs.BOM_UTF8):
        yield "The file starts with a byte order mark. Pass encoding='utf-8-sig' to readers that do not drop it."


def _csv_layout(layout: Layout, text: str) -> Layout:
    delimiter = "\t" if layout.format == "tsv" else _delimiter(text)
    header = tuple(next((row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row), ()))
    notes = list(layout.notes)
    if delimiter not in {",", "\t"} or (delimiter == "\t" and layout.format == "csv"):
        notes.append(f"Fields are separated by {delimiter!r}. Pass sep={delimiter!r}.")
    names = _pandas_names(header)
    if names != header:
        renamed = [f"{name!r}" for name, original in zip(names, header, strict=True) if name != original]
        notes.append(f"The header repeats names or leaves them empty; pandas calls these columns {', '.join(renamed)}.")
    return Layout(
        layout.path, layout.format, layout.compression, layout.encoding, delimiter, names, header, tuple(notes)
    )


def _delimiter(text: str) -> str:
    """The separator that gives the most records of the same width as the header."""
    lines = text.splitlines(keepends=True)
    complete = lines[:-1] if len(lines) > 1 else lines
    best, best_score = ",", (0.0, 0)
    for delimiter in (",", ";", "\t", "|"):
        widths = [len(row) for row in itertools.islice(csv.reader(complete, delimiter=delimiter), 200) if row]
        if not widths or widths[0] < 2:
            continue
        score = (sum(width == widths[0] for width in widths) / len(widths), widths[0])
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _pandas_names(header: tuple[str, ...]) -> tuple[str, ...]:
    names: list[str] = []
    taken = set(header)
    counts: dict[str, int] = {}
    for index, original in enumerate(header):
        base = original or f"Unnamed: {index}"
        name = base
        if base in names:
            number = counts.get(base, 0) + 1
            while f"{base}.{number}" in taken:
                number += 1
            counts[base] = number
            name = f"{base}.{number}"
        taken.add(name)
        names.append(name)
    return tuple(names)


def _parquet_layout(path: Path) -> Layout:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        names = tuple(parquet.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise UnreadableTableError(f"it does not parse as Parquet: {error}") from error
    return Layout(path, "parquet", names=names, header=names)


def _parquet_batches(layout: Layout) -> Iterator[list[pa.Array]]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(layout.path) as file:
            for batch in file.iter_batches(batch_size=_ROWS_A_BATCH):
                yield [
                    column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
                    for column in batch.columns
                ]
    except (pa.ArrowException, OSError) as error:
        raise UnreadableTableError(f"it does not parse as Parquet: {error}") from error


def json_records(layout: Layout) -> Iterator[dict[str, Any]]:
    """The records of a JSON lines file, or of a JSON file that holds a list of objects.

    Raises:
        UnreadableTableError: A line is no JSON object.
    """
    with open_text(layout) as file:
        if layout.format == "json":
            try:
                yield from json.load(file)
            except (ValueError, RecursionError) as error:
                raise UnreadableTableError(f"it does not parse as JSON: {error}") from error
            return
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UnreadableTableError(f"line {number} does not parse as JSON: {error}") from error
            if not isinstance(record, dict):
                raise UnreadableTableError(f"line {number} is no JSON object")
            yield record


def _json_layout(layout: Layout) -> Layout:
    if layout.format == "json":
        with open_text(layout) as file:
            try:
                document = json.load(file)
            except (ValueError, RecursionError) as error:
                raise UnreadableTableError(f"it does not parse as JSON: {error}") from error
        listed = isinstance(document, list) and all(isinstance(row, dict) for row in document)
        records: Iterable[dict[str, Any]] = document if listed else []
    else:
        records = json_records(layout)
    names = tuple(dict.fromkeys(itertools.chain.from_iterable(records)))
    return Layout(layout.path, layout.format, layout.compression, layout.encoding, ",", names, names, layout.notes)


def _json_batches(layout: Layout) -> Iterator[list[pa.Array]]:
    kinds: dict[str, set[type]] = {name: set() for name in layout.names}
    for record in json_records(layout):
        for name, value in record.items():
            if value is not None:
                kinds[name].add(type(value))
    records = json_records(layout)
    while rows := list(itertools.islice(records, _ROWS_A_BATCH)):
        yield [_json_array([row.get(name) for row in rows], kinds[name]) for name in layout.names]


def _json_array(values: list[Any], kinds: set[type]) -> pa.Array:
    import pyarrow as pa

    small = all(not isinstance(value, int) or -(2**63) <= value < 2**63 for value in values)
    if not kinds:
        return pa.nulls(len(values))
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {str}:
        return pa.array(values, pa.string())
    if kinds == {int} and small:
        return pa.array(values, pa.int64())
    if kinds == {float} or (kinds == {int, float} and small):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array(
        [None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values],
        pa.string(),
    )


def without_null_words(column: pa.Array) -> pa.Array:
    """A text column of a CSV file with the words that stand for a missing value made null."""
    import pyarrow as pa
    from pyarrow import compute

    absent = compute.is_in(column, value_set=pa.array(NULL_WORDS))
    return compute.if_else(absent, pa.scalar(None, pa.string()), column)
