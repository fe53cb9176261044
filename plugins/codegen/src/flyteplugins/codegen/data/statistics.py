"""Exact statistics of one column, fed batch by batch, in bounded memory."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flyteplugins.codegen.core.pictures import Bar
from flyteplugins.codegen.data.histograms import TimeCounts, number_bars, value_bars

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

TOP_VALUES: Final = 8
"""How many of the most frequent values are kept."""

_COUNTED_VALUES: Final = 10_000
"""Up to how many distinct texts are counted one by one; beyond, only their number is known."""

_STEP: Final = 1 << 20

_DATES: Final = "ISO 8601 dates"
_DATES_WITH_TIMES: Final = "ISO 8601 dates with times"

PATTERNS: Final[dict[str, str]] = {
    _DATES: r"^\d{4}-(0[1-9]|1[0-2])-([0-2]\d|3[01])$",
    "ISO 8601 times of day": r"^([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d+)?)?$",
    _DATES_WITH_TIMES: (
        r"^\d{4}-(0[1-9]|1[0-2])-([0-2]\d|3[01])[T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?( ?(Z|[+-]\d{2}:?\d{2}))?$"
    ),
    "dates as month/day/year": r"^(0?[1-9]|1[0-2])/(0?[1-9]|[12]\d|3[01])/\d{2,4}$",
    "dates as day/month/year": r"^(0?[1-9]|[12]\d|3[01])/(0?[1-9]|1[0-2])/\d{2,4}$",
    "dates as day.month.year": r"^(0?[1-9]|[12]\d|3[01])\.(0?[1-9]|1[0-2])\.\d{2,4}$",
    "e-mail addresses": r"^[^@\s]+@[^@\s]+\.[^@\s]+$",
    "URLs": r"^[a-zA-Z][a-zA-Z0-9+.-]*://\S+$",
    "UUIDs": r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$",
    "numbers with a decimal comma": r"^\s*[+-]?\d{1,3}(\.?\d{3})*,\d+\s*$|^\s*[+-]?\d+,\d+\s*$",
    "numbers with thousands separators": r"^\s*[+-]?\d{1,3}(,\d{3})+(\.\d+)?\s*$",
    "percentages": r"^\s*[+-]?\d+([.,]\d+)?\s?%\s*$",
    "amounts with a currency sign": r"^\s*[+-]?[$€£¥]\s?[+-]?[\d.,]+\s*$|^\s*[+-]?[\d.,]+\s?[$€£¥]\s*$",
    "yes/no words": r"^(?i:yes|no|y|n)$",
    "JSON documents": r"^\s*(\{(?s:.*)\}|\[(?s:.*)\])\s*$",
}
"""Forms that text may have, each as a regular expression that all values of a column match."""

NUMBER: Final = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


class Spool:
    """Numbers of one column: in memory while they are few, in a file beyond that.

    Args:
        path: Where the file goes.
        keep_bytes: How much stays in memory.
    """

    def __init__(self, path: Path, keep_bytes: int) -> None:
        self._path = path
        self._keep_bytes = keep_bytes
        self._chunks: list[np.ndarray[Any, Any]] = []
        self._bytes = 0

    def add(self, values: np.ndarray[Any, Any]) -> None:
        """Append values; all of one type."""
        self._chunks.append(values)
        self._bytes += values.nbytes
        if self._bytes > self._keep_bytes:
            with self._path.open("ab") as file:
                for chunk in self._chunks:
                    chunk.tofile(file)
            self._chunks, self._bytes = self._chunks[:0], 0
            self._spilled_type = values.dtype

    def sorted(self) -> np.ndarray[Any, Any]:
        """All values in ascending order; those of a file are sorted in the file, in pages that can be written back."""
        import numpy as np

        if not self._path.exists():
            values = np.concatenate(self._chunks) if self._chunks else np.empty(0)
            self._chunks = []
            values.sort()
            return values
        with self._path.open("ab") as file:
            for chunk in self._chunks:
                chunk.tofile(file)
        mapped = np.memmap(self._path, dtype=self._spilled_type, mode="r+")
        mapped.sort()
        return mapped


class NumberStatistics:
    """Of whole numbers (int64) or of floats; NaN counts as null."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.nulls = 0

    def add(self, values: pa.Array) -> None:
        """Take in a batch of int64 or float64."""
        import numpy as np

        present = values.drop_null().to_numpy(zero_copy_only=False)
        kept = present[~np.isnan(present)] if present.dtype.kind == "f" else present
        self.nulls += len(values) - len(kept)
        self._spool.add(kept)

    def result(self) -> dict[str, Any]:
        """The fields of a `Column`."""
        import numpy as np

        values = self._spool.sorted()
        if not len(values):
            return {"nulls": self.nulls, "distinct": 0}
        distinct = 1 + sum(int(np.count_nonzero(chunk[1:] != chunk[:-1])) for chunk in _overlapping(values))
        mean, std = _mean_and_std(values)
        return {
            "nulls": self.nulls,
            "distinct": distinct,
            "min": values[0].item(),
            "max": values[-1].item(),
            "mean": mean,
            "std": std,
            "quartiles": (_quantile(values, 1), _quantile(values, 2), _quantile(values, 3)),
            "top": _most_frequent(values) if distinct <= _COUNTED_VALUES else (),
            "bars": number_bars(values),
            "ranges": True,
        }


class TextStatistics:
    """Of text: counts, lengths, and the forms that all values share."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._counts: Counter[str] | None = Counter()
        self._patterns = {name: re.compile(pattern) for name, pattern in PATTERNS.items()}
        self._lengths: tuple[int, int] | None = None
        self._range: tuple[str, str] | None = None
        self._numbers = 0
        self._padded = 0
        self._rows = 0
        self._not_numbers: dict[str, None] = {}
        self._times: TimeCounts | None = TimeCounts()
        self.nulls = 0

    def add(self, values: pa.Array) -> None:
        """Take in a batch of strings."""
        import pyarrow as pa
        from pandas.util import hash_array
        from pyarrow import compute

        present = values.drop_null()
        self.nulls += len(values) - len(present)
        if not len(present):
            return
        self._rows += len(present)
        counted = compute.value_counts(present)
        texts, counts = counted.field("values"), counted.field("counts")
        self._spool.add(hash_array(texts.to_numpy(zero_copy_only=False), categorize=False))
        if self._counts is not None:
            if len(texts) + len(self._counts) <= 2 * _COUNTED_VALUES:
                self._counts.update(dict(zip(texts.to_pylist(), counts.to_pylist(), strict=True)))
            if len(texts) > _COUNTED_VALUES or len(self._counts) > _COUNTED_VALUES:
                self._counts = None
        lengths = compute.min_max(compute.utf8_length(texts)).as_py()
        shortest, longest = self._lengths or (lengths["min"], lengths["max"])
        self._lengths = (min(shortest, lengths["min"]), max(longest, lengths["max"]))
        ends = compute.min_max(texts).as_py()
        low, high = self._range or (ends["min"], ends["max"])
        self._range = (min(low, ends["min"]), max(high, ends["max"]))
        for name in list(self._patterns):
            if not compute.all(compute.match_substring_regex(texts, PATTERNS[name])).as_py():
                del self._patterns[name]
        if not (self._patterns.keys() & {_DATES, _DATES_WITH_TIMES} and self._times and self._times.add(texts, counts)):
            self._times = None
        numbers = compute.match_substring_regex(texts, NUMBER)
        self._numbers += compute.sum(compute.if_else(numbers, counts, 0)).as_py()
        for text in texts.filter(compute.invert(numbers)).slice(0, 3).to_pylist():
            if len(self._not_numbers) < 3:
                self._not_numbers[text] = None
        padded = compute.match_substring_regex(texts, r"^\s|\s$")
        self._padded += compute.sum(compute.if_else(padded, counts, pa.scalar(0, pa.int64()))).as_py()

    def result(self) -> dict[str, Any]:
        """The fields of a `Column`."""
        if self._range is None or self._lengths is None:
            return {"nulls": self.nulls, "distinct": 0}
        hashes = self._spool.sorted()
        distinct = 1 + sum(int((chunk[1:] != chunk[:-1]).sum()) for chunk in _overlapping(hashes))
        hints = list(self._patterns)[:1]
        shown: list[str] = []
        top = tuple(self._counts.most_common(TOP_VALUES)) if self._counts is not None else ()
        if not hints and 2 * self._numbers >= self._rows > self._numbers:
            hints.append(f"numbers but for {self._rows - self._numbers} of {self._rows} values, which are other text")
            shown = list(self._not_numbers)
        if self._padded:
            hints.append(f"{self._padded} of {self._rows} values begin or end with white space")
        return {
            "nulls": self.nulls,
            "distinct": distinct,
            "min": self._range[0],
            "max": self._range[1],
            "lengths": self._lengths,
            "top": top,
            "bars": self._times.bars() if self._times else value_bars(top),
            "ranges": self._times is not None,
            "hints": tuple(hints),
            "odd": tuple(shown),
        }


class OtherStatistics:
    """Of booleans, dates, times, decimals and binary values: counts and the range.

    Args:
        ordered: Whether the values have a smallest and a largest one.
        readable: Whether a value says something to a person.
        times: Whether they are points in time.
        numbers: Where they go if they are numbers.
    """

    def __init__(
        self, *, ordered: bool, readable: bool = True, times: bool = False, numbers: Spool | None = None
    ) -> None:
        self._ordered = ordered
        self._readable = readable
        self._times = TimeCounts() if times else None
        self._numbers = numbers
        self._counts: Counter[Any] | None = Counter()
        self._range: tuple[Any, Any] | None = None
        self.nulls = 0

    def add(self, values: pa.Array) -> None:
        """Take in a batch of any type that can be hashed."""
        from pyarrow import compute

        present = values.drop_null()
        self.nulls += len(values) - len(present)
        if not len(present):
            return
        if self._counts is not None:
            counted = compute.value_counts(present)
            if len(counted) > _COUNTED_VALUES:
                self._counts = None
            else:
                pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
                self._counts.update(dict(pairs))
                self._counts = self._counts if len(self._counts) <= _COUNTED_VALUES else None
        if self._times and not self._times.add(present):
            self._times = None
        if self._numbers:
            self._numbers.add(present.cast("float64").to_numpy())
        if self._ordered:
            ends = compute.min_max(present).as_py()
            low, high = self._range or (ends["min"], ends["max"])
            self._range = (min(low, ends["min"]), max(high, ends["max"]))

    def result(self) -> dict[str, Any]:
        """The fields of a `Column`."""
        low, high = self._range or (None, None)
        counts = self._counts
        top = tuple(counts.most_common(TOP_VALUES)) if counts is not None else ()
        return {
            "nulls": self.nulls,
            "distinct": len(counts) if counts is not None else None,
            "min": low,
            "max": high,
            "top": top,
            "bars": self._bars(top),
            "ranges": bool(self._times or self._numbers),
        }

    def _bars(self, top: Sequence[tuple[Any, int]]) -> tuple[Bar, ...]:
        if self._times:
            return self._times.bars()
        if self._numbers:
            return number_bars(self._numbers.sorted())
        return value_bars(top) if self._readable else ()


class NullStatistics:
    """Of nested columns and of columns without any value: the nulls alone."""

    def __init__(self) -> None:
        self.nulls = 0

    def add(self, values: pa.Array) -> None:
        """Take in a batch."""
        self.nulls += values.null_count

    def result(self) -> dict[str, Any]:
        """The fields of a `Column`."""
        return {"nulls": self.nulls}


Statistics = NumberStatistics | TextStatistics | OtherStatistics | NullStatistics


def _overlapping(values: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    """Steps through `values`, each beginning with the last one of the step before."""
    for start in range(0, len(values), _STEP):
        yield values[max(0, start - 1) : start + _STEP]


def _mean_and_std(values: np.ndarray[Any, Any]) -> tuple[float, float | None]:
    """The mean, and the standard deviation of a sample (divisor n - 1), as pandas gives it."""
    import numpy as np

    # Beyond the range of a float, and among infinite values, infinity and NaN are the right answers.
    with np.errstate(over="ignore", invalid="ignore"):
        return _moments(values)


def _moments(values: np.ndarray[Any, Any]) -> tuple[float, float | None]:
    import numpy as np

    count = len(values)
    chunks = [values[start : start + _STEP] for start in range(0, count, _STEP)]
    if values.dtype.kind == "i":
        # Halves of 32 bits can't overflow their sums.
        total = sum((int((chunk >> 32).sum()) << 32) + int((chunk & 0xFFFFFFFF).sum()) for chunk in chunks)
        mean = total / count
    else:
        mean = _sum(float(chunk.sum()) for chunk in chunks) / count
    if count < 2 or not math.isfinite(mean):
        return mean, None
    squares = _sum(float(np.square(chunk.astype(np.float64) - mean).sum()) for chunk in chunks)
    return mean, math.sqrt(squares / (count - 1))


def _sum(parts: Iterator[float]) -> float:
    parts_list = list(parts)
    return math.fsum(parts_list) if all(map(math.isfinite, parts_list)) else sum(parts_list)


def _quantile(ordered: np.ndarray[Any, Any], quarter: int) -> float:
    """A quartile, interpolated between neighbours as pandas does by default."""
    whole, rest = divmod((len(ordered) - 1) * quarter, 4)
    low = ordered[whole].item()
    if not rest or low == ordered[whole + 1].item():
        return float(low)
    return float(low + (ordered[whole + 1].item() - low) * rest / 4)


def _most_frequent(ordered: np.ndarray[Any, Any]) -> tuple[tuple[Any, int], ...]:
    counts: Counter[Any] = Counter()
    import numpy as np

    for start in range(0, len(ordered), _STEP):
        found, times = np.unique(ordered[start : start + _STEP], return_counts=True)
        for value, count in zip(found.tolist(), times.tolist(), strict=True):
            counts[value] += count
    return tuple(counts.most_common(TOP_VALUES))
