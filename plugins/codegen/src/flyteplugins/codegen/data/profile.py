"""What is known of a sample: its columns, exactly and over all rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from flyteplugins.codegen.core.pictures import Bar, ColumnPicture, SamplePicture
from flyteplugins.codegen.data.tables import Format

ColumnType = Literal[
    "boolean",
    "integer",
    "number",
    "text",
    "date",
    "datetime",
    "time",
    "duration",
    "decimal",
    "binary",
    "nested",
    "null",
]
"""What a column holds, over all of its rows; `null` where it holds nothing."""


_DRAWN: Final = 200
"""How many columns have bars: a result that travels is not to be large for the sake of its pictures."""


@dataclass(frozen=True)
class Column:
    """A column of a sample.

    Attributes:
        name: The name that pandas gives it.
        dtype: What it holds.
        physical: The type that the file declares, as Arrow names it; empty for CSV and JSON.
        nulls: Rows without a value.
        distinct: How many different values there are; None where it is not known.
        min: Smallest value; of text, the first in the order of its code points.
        max: Largest value.
        mean: Arithmetic mean of numbers.
        std: Standard deviation of numbers, divisor n - 1.
        quartiles: The three quartiles of numbers.
        lengths: Shortest and longest text, in characters.
        top: The most frequent values with their counts; empty where too many differ.
        hints: What else a reader has to know; counts and names of forms, never a value.
        odd: Examples of text among numbers.
        bars: How the values are spread, for people to look at; no model is told.
        ranges: Whether the bars are ranges in order, and not the most frequent values.
    """

    name: str
    dtype: ColumnType
    physical: str = ""
    nulls: int = 0
    distinct: int | None = None
    min: Any = None
    max: Any = None
    mean: float | None = None
    std: float | None = None
    quartiles: tuple[float, float, float] | None = None
    lengths: tuple[int, int] | None = None
    top: tuple[tuple[Any, int], ...] = ()
    hints: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    bars: tuple[Bar, ...] = ()
    ranges: bool = False


@dataclass(frozen=True)
class Profile:
    """What is known of a sample.

    Attributes:
        name: Name of the sample.
        file_name: Name of its file.
        format: What the file holds.
        rows: Rows of a table, lines of a text; None for the rest.
        columns: Its columns; empty where it is no table.
        schema_code: A Pandera schema as a runnable module; None where it is no table.
        examples: Rows as they stand in the file, the first ones and some spread over the rest; lines of a text.
        notes: What a reader of the file has to know, in sentences without values.
        read_options: Arguments of `pandas.read_csv` that read the file as the schema expects it.
        size: Size of the file in bytes.
    """

    name: str
    file_name: str
    format: Format
    rows: int | None = None
    columns: tuple[Column, ...] = ()
    schema_code: str | None = None
    examples: tuple[tuple[Any, ...], ...] = ()
    notes: tuple[str, ...] = ()
    read_options: tuple[tuple[str, Any], ...] = ()
    size: int = 0

    def column(self, name: str) -> Column | None:
        """The column of that name, or None."""
        return next((column for column in self.columns if column.name == name), None)

    @property
    def picture(self) -> SamplePicture:
        """The sample as people look at it.

        There are no values in it of binary and nested columns, nor of those that nobody gets to in a very wide table.
        """
        return SamplePicture(
            name=self.name,
            file_name=self.file_name,
            rows=self.rows if self.columns else None,
            columns=[
                ColumnPicture(
                    name=column.name,
                    dtype=column.dtype,
                    nulls=column.nulls,
                    distinct=column.distinct,
                    bars=list(column.bars) if number < _DRAWN else [],
                    ranges=column.ranges,
                )
                for number, column in enumerate(self.columns)
            ],
        )
