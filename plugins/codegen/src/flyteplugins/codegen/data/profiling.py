"""Reading the whole of a sample, in bounded memory, into its profile."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flyte.io import File

from flyteplugins.codegen.core.scratch import scratch
from flyteplugins.codegen.data.profile import Column, ColumnType, Profile
from flyteplugins.codegen.data.schema import schema_code
from flyteplugins.codegen.data.statistics import (
    NullStatistics,
    NumberStatistics,
    OtherStatistics,
    Spool,
    Statistics,
    TextStatistics,
)
from flyteplugins.codegen.data.tables import (
    Layout,
    batches,
    csv_batches,
    lay_out,
    open_text,
    without_null_words,
)

if TYPE_CHECKING:
    import pyarrow as pa

_SPOOL_BYTES: Final = 64 << 20
"""How much of all columns' numbers is kept in memory while a file is read."""


async def profile(name: str, file: File, *, max_rows: int) -> Profile:
    """Read the whole of a sample and say what is in it.

    Args:
        name: Name of the sample.
        file: A local file, as `take_in` returns it.
        max_rows: How many example rows to keep at most.

    Returns:
        The profile.

    Raises:
        UnreadableTableError: The file does not parse as its format.
    """
    return await asyncio.to_thread(_profile, name, Path(file.path), max_rows)


def _profile(name: str, path: Path, max_rows: int) -> Profile:
    layout = lay_out(path)
    basis = Profile(name, path.name, layout.format, notes=layout.notes, size=path.stat().st_size)
    if layout.tabular:
        return _profile_table(basis, layout, max_rows)
    if layout.format in {"text", "json"}:
        return _profile_text(basis, layout, max_rows)
    return basis


def _profile_text(basis: Profile, layout: Layout, max_rows: int) -> Profile:
    with open_text(layout) as file:
        first = [(line.rstrip("\r\n")[:2000],) for line in itertools.islice(file, max_rows)]
        rest = sum(1 for _ in file)
    return replace(basis, rows=len(first) + rest, examples=tuple(first))


def _profile_table(basis: Profile, layout: Layout, max_rows: int) -> Profile:
    notes = list(basis.notes)
    if layout.format in {"csv", "tsv"}:
        rows, types, hints, skipped = _csv_types(layout)
        if skipped:
            notes.append(f"{skipped} records have another number of fields than the header and are not counted here.")
    else:
        rows, types, hints = _declared_types(layout)
    wanted = _spread(rows, max_rows)
    examples: list[tuple[Any, ...]] = []
    with scratch() as folder:
        share = max(1 << 20, _SPOOL_BYTES // max(1, len(types)))
        statistics = [_statistics_of(kind, Spool(folder / str(index), share)) for index, kind in enumerate(types)]
        start = 0
        for arrays in batches(layout):
            length = len(arrays[0]) if arrays else 0
            picked = [row - start for row in wanted if start <= row < start + length]
            examples += zip(*(array.take(picked).to_pylist() for array in arrays), strict=True) if picked else ()
            for array, kind, column in zip(arrays, types, statistics, strict=True):
                column.add(_as_type(array, kind, layout))
            start += length
        columns = tuple(
            _column(name, kind, array_hints, column)
            for name, kind, array_hints, column in zip(layout.names, types, hints, statistics, strict=True)
        )
    physical = _physical_types(layout)
    columns = tuple(replace(column, physical=physical.get(index, "")) for index, column in enumerate(columns))
    finished = replace(
        basis,
        rows=rows,
        columns=columns,
        examples=tuple(examples),
        notes=tuple(notes),
        read_options=_read_options(layout, columns),
    )
    return replace(finished, schema_code=schema_code(finished))


def _spread(rows: int, wanted: int) -> Sequence[int]:
    """Row numbers: the first rows, and as many more at even distances up to the last."""
    if rows <= wanted:
        return range(rows)
    first = (wanted + 1) // 2
    rest = wanted - first
    return [*range(first), *(first + (rows - first) * (step + 1) // rest - 1 for step in range(rest))]


def _column(name: str, kind: ColumnType, hints: Iterable[str], statistics: Statistics) -> Column:
    fields = statistics.result()
    found = [*hints, *fields.pop("hints", ())]
    if kind == "integer" and fields["distinct"] and max(abs(fields["min"]), abs(fields["max"])) > 2**53:
        found.append("whole numbers beyond 2**53: as floats they would lose digits")
    return Column(name=name, dtype=kind, hints=tuple(dict.fromkeys(found)), **fields)


def _statistics_of(kind: ColumnType, spool: Spool) -> Statistics:
    if kind in {"integer", "number"}:
        return NumberStatistics(spool)
    if kind == "text":
        return TextStatistics(spool)
    if kind in {"nested", "null"}:
        return NullStatistics()
    return OtherStatistics(
        ordered=kind not in {"boolean", "binary"},
        readable=kind != "binary",
        times=kind in {"date", "datetime"},
        numbers=spool if kind == "decimal" else None,
    )


def _as_type(array: pa.Array, kind: ColumnType, layout: Layout) -> pa.Array:
    import pyarrow as pa
    from pyarrow import compute

    if layout.format in {"csv", "tsv"}:
        array = without_null_words(array)
        if kind == "boolean":
            return compute.equal(compute.utf8_lower(compute.utf8_trim_whitespace(array)), "true")
        if kind in {"integer", "number"}:
            array = _trimmed(array)
    if kind == "integer":
        return array.cast(pa.int64())
    if kind == "number":
        return array.cast(pa.float64(), safe=False) if not pa.types.is_string(array.type) else array.cast(pa.float64())
    if kind == "text":
        return array.cast(pa.string())
    return array


def typed_batches(profile: Profile, path: Path, positions: Iterable[int]) -> Iterator[dict[int, pa.Array]]:
    """The rows of some columns, as the types of the profile.

    Args:
        profile: The profile of the file.
        path: The file.
        positions: Which columns, counted from 0.

    Yields:
        For each batch of rows, the array of each column by its position.
    """
    layout = lay_out(path)
    wanted = list(positions)
    for arrays in batches(layout):
        yield {position: _as_type(arrays[position], profile.columns[position].dtype, layout) for position in wanted}


# Types


@dataclass
class _Candidates:
    """Which types still fit all values of a CSV column that were seen."""

    seen: bool = False
    boolean: bool = True
    integer: bool = True
    digits: bool = True
    number: bool = True
    padded_with_zeros: bool = False

    def narrow(self, values: pa.Array) -> None:
        """Take in values that are not null."""
        from pyarrow import compute

        if not len(values):
            return
        self.seen = True
        if self.boolean:
            self.boolean = bool(compute.all(compute.match_substring_regex(values, r"^\s*(?i:true|false)\s*$")).as_py())
        if not (self.number or self.digits):
            return
        trimmed = _trimmed(values)
        if compute.any(compute.match_substring_regex(trimmed, r"^[+-]?0[xX]")).as_py():
            # Arrow reads `0x1F` as a number; pandas does not.
            self.integer = self.digits = self.number = False
            return
        if not self.padded_with_zeros and (self.integer or self.digits):
            self.padded_with_zeros = bool(compute.any(compute.match_substring_regex(trimmed, r"^[+-]?0[0-9]")).as_py())
        whole = self.digits and _casts(trimmed, "int64")
        if not whole:
            self.integer = False
            self.digits = self.digits and bool(
                compute.all(compute.match_substring_regex(trimmed, r"^[+-]?[0-9]+$")).as_py()
            )
            self.number = self.number and _casts(trimmed, "float64")

    def settle(self) -> tuple[ColumnType, tuple[str, ...]]:
        """The type, and what the statistics alone would not tell."""
        if not self.seen:
            return "null", ()
        if self.boolean:
            return "boolean", ()
        if self.padded_with_zeros and self.digits:
            return "text", ("whole numbers with leading zeros",)
        if self.integer:
            return "integer", ()
        if self.digits:
            return "text", ("whole numbers beyond 64 bits",)
        return ("number", ()) if self.number else ("text", ())


def _casts(values: pa.Array, kind: str) -> bool:
    import pyarrow as pa

    try:
        values.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def _trimmed(values: pa.Array) -> pa.Array:
    from pyarrow import compute

    return compute.utf8_trim_whitespace(values)


def _csv_types(layout: Layout) -> tuple[int, list[ColumnType], list[tuple[str, ...]], int]:
    candidates = [_Candidates() for _ in layout.names]
    skipped: list[int] = []
    rows = 0
    for batch in csv_batches(layout, skipped):
        rows += batch.num_rows
        for candidate, values in zip(candidates, batch.columns, strict=True):
            candidate.narrow(without_null_words(values).drop_null())
    settled = [candidate.settle() for candidate in candidates]
    return rows, [kind for kind, _ in settled], [hints for _, hints in settled], len(skipped)


def _declared_types(layout: Layout) -> tuple[int, list[ColumnType], list[tuple[str, ...]]]:
    rows, types = 0, None
    for arrays in batches(layout):
        rows += len(arrays[0]) if arrays else 0
        types = types or [_arrow_kind(array.type) for array in arrays]
    kinds: list[ColumnType] = types or ["null"] * len(layout.names)
    return rows, kinds, [()] * len(kinds)


def _arrow_kind(declared: Any) -> ColumnType:
    import pyarrow as pa

    tests: tuple[tuple[Any, ColumnType], ...] = (
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_uint64, "number"),
        (pa.types.is_integer, "integer"),
        (pa.types.is_floating, "number"),
        (pa.types.is_decimal, "decimal"),
        (pa.types.is_string, "text"),
        (pa.types.is_large_string, "text"),
        (pa.types.is_string_view, "text"),
        (pa.types.is_date, "date"),
        (pa.types.is_timestamp, "datetime"),
        (pa.types.is_time, "time"),
        (pa.types.is_duration, "duration"),
        (pa.types.is_null, "null"),
        (pa.types.is_binary, "binary"),
        (pa.types.is_large_binary, "binary"),
        (pa.types.is_fixed_size_binary, "binary"),
    )
    return next((kind for matches, kind in tests if matches(declared)), "nested")


def _physical_types(layout: Layout) -> dict[int, str]:
    if layout.format != "parquet":
        return {}
    from pyarrow import parquet

    return {index: str(field.type) for index, field in enumerate(parquet.read_schema(layout.path))}


def _read_options(layout: Layout, columns: Iterable[Column]) -> tuple[tuple[str, Any], ...]:
    if layout.format not in {"csv", "tsv"}:
        return ()
    options: dict[str, Any] = {}
    if layout.delimiter != ",":
        options["sep"] = layout.delimiter
    if layout.encoding != "utf-8":
        options["encoding"] = layout.encoding
    if layout.compression and layout.path.suffix.lower() not in {".gz", ".bz2", ".zst"}:
        options["compression"] = layout.compression
    # Without this pandas drops leading zeros, and turns whole numbers beside nulls into floats.
    types = {column.name: "string" for column in columns if column.dtype == "text"} | {
        column.name: "Int64" for column in columns if column.dtype == "integer" and column.nulls
    }
    if types:
        options["dtype"] = types
    return tuple(options.items())
