"""Samples as people look at them: for each column, how its values are spread."""

from __future__ import annotations

from pydantic import Field

from flyteplugins.codegen.core.data import Data


class Bar(Data):
    """One bar of a histogram.

    Attributes:
        label: The value, or the range of values, that it stands for.
        rows: How many rows have it.
    """

    label: str
    rows: int


class ColumnPicture(Data):
    """A column of a sample.

    Attributes:
        name: Its name.
        dtype: What it holds, such as `number` or `text`.
        nulls: Rows without a value.
        distinct: How many different values there are; None where that is not known.
        bars: Over all rows: ranges of equal width for numbers and times, in order; for the rest the most frequent
            values, the most frequent first. Empty where neither says anything.
        ranges: Whether the bars are ranges.
    """

    name: str
    dtype: str
    nulls: int = 0
    distinct: int | None = None
    bars: list[Bar] = Field(default_factory=list)
    ranges: bool = False


class SamplePicture(Data):
    """A sample.

    Attributes:
        name: Its name in the request.
        file_name: Name of its file.
        rows: How many rows it has; None where it is no table.
        columns: Its columns, in order.
    """

    name: str
    file_name: str = ""
    rows: int | None = None
    columns: list[ColumnPicture] = Field(default_factory=list)
