"""How the values of a column are spread, over all rows, as bars of equal width or the most frequent values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from flyteplugins.codegen.core.pictures import Bar

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

BARS: Final = 20
"""How many bars there are at most."""

_LABEL_LENGTH: Final = 60
_BUCKETS: Final = 20_000
"""Up to how many points in time are counted one by one; beyond, they are counted by the next larger unit."""

_DAY: Final = 86_400
_UNITS: Final = (1, 60, 3_600, _DAY)
"""Seconds of the units that times are counted by."""

_WIDTHS: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(minutes * 60 for minutes in (1, 2, 5, 10, 15, 30)),
    *(hours * 3_600 for hours in (1, 2, 3, 6, 12)),
    _DAY,
)
"""Seconds that a bar of times stands for, where a day is enough; each is a multiple of the unit below it."""

_A_SECOND: Final = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}

_PLAIN: Final = 1e15
_DIGITS: Final = 6
"""Numbers larger or finer than these are shown with an exponent."""


def number_bars(ordered: np.ndarray[Any, Any]) -> tuple[Bar, ...]:
    """Bars of equal width.

    Args:
        ordered: int64 or float64 in ascending order, without NaN.

    Returns:
        The bars in order, empty ones between others too; infinite values have bars of their own at the ends.
    """
    if not len(ordered):
        return ()
    if ordered.dtype.kind == "i":
        return _whole_bars(ordered)
    below, above = int(ordered.searchsorted(-math.inf, "right")), int(ordered.searchsorted(math.inf, "left"))
    finite = ordered[below:above]
    return (
        *((Bar(label="-inf", rows=below),) if below else ()),
        *(_float_bars(finite) if len(finite) else ()),
        *((Bar(label="inf", rows=len(ordered) - above),) if above < len(ordered) else ()),
    )


def value_bars(top: Sequence[tuple[Any, int]]) -> tuple[Bar, ...]:
    """Bars of the most frequent values, the most frequent first; none where each value stands alone."""
    if not top or top[0][1] < 2:
        return ()
    return tuple(Bar(label=_shown(value), rows=rows) for value, rows in top)


class TimeCounts:
    """Counts points in time, in bounded memory: by seconds, or by a larger unit where there are too many."""

    def __init__(self) -> None:
        self._unit = 0
        self._starts: np.ndarray[Any, Any] | None = None
        self._rows: np.ndarray[Any, Any] | None = None

    def add(self, times: pa.Array, rows: pa.Array | None = None) -> bool:
        """Take in points in time.

        Args:
            times: Dates, timestamps or ISO 8601 text, without nulls.
            rows: How many rows have each; one if None.

        Returns:
            Whether all of them could be read.
        """
        import numpy as np

        seconds = _seconds(times)
        if seconds is None:
            return False
        weights = np.ones(len(seconds), np.int64) if rows is None else rows.to_numpy().astype(np.int64)
        if self._starts is not None and self._rows is not None:
            seconds, weights = np.concatenate([self._starts, seconds]), np.concatenate([self._rows, weights])
        while True:
            unit = _UNITS[self._unit]
            starts, places = np.unique(seconds // unit * unit, return_inverse=True)
            if len(starts) <= _BUCKETS or self._unit == len(_UNITS) - 1:
                break
            self._unit += 1
        self._starts, self._rows = starts, np.bincount(places, weights=weights).astype(np.int64)
        return True

    def bars(self) -> tuple[Bar, ...]:
        """Bars of equal width, in order, empty ones between others too."""
        import numpy as np

        if self._starts is None or self._rows is None:
            return ()
        low, high = int(self._starts[0]), int(self._starts[-1])
        least = _UNITS[self._unit] if (self._starts % _DAY).any() else _DAY
        width = next((width for width in _WIDTHS if width >= least and high // width - low // width < BARS), None)
        if width is None:
            # Days, as many of them as it takes; the first bar begins with the first day.
            width = ((high // _DAY - low // _DAY) // BARS + 1) * _DAY
            edges = list(range(low // _DAY * _DAY, high + 1, width))
        else:
            edges = list(range(low // width * width, high + 1, width))
        totals = np.concatenate([[0], np.cumsum(self._rows)])
        return tuple(
            Bar(label=_time_label(edge, width), rows=int(totals[last] - totals[first]))
            for edge, (first, last) in zip(edges, _slices(self._starts, edges), strict=True)
        )


def _whole_bars(ordered: np.ndarray[Any, Any]) -> tuple[Bar, ...]:
    low, high = int(ordered[0]), int(ordered[-1])
    width = 1 if high - low < BARS else int(_step((high - low) / (BARS - 1)))
    edges = list(range(low // width * width, high + 1, width))
    labels = [f"{edge:,}" if width == 1 else f"{edge:,} to {edge + width - 1:,}" for edge in edges]
    return _bars(labels, _slices(ordered, edges))


def _float_bars(ordered: np.ndarray[Any, Any]) -> tuple[Bar, ...]:
    low, high = float(ordered[0]), float(ordered[-1])
    width = _step(2 * ((high / 2 - low / 2) / (BARS - 1)))
    if not width or not math.isfinite(width) or low + width == low or high - width == high:
        # All the same, or too close together for a float to tell edges between them.
        return (Bar(label=f"{low:,.6g}" if low == high else f"{low:,.6g} to {high:,.6g}", rows=len(ordered)),)
    digits = max(0, -math.floor(math.log10(width)))
    first = math.floor(low / width)
    # The last bar has its right edge too: a share of exactly 1 is no bar of its own.
    edges = [round(number * width, digits) for number in range(first, max(first + 1, math.ceil(high / width)) + 1)]
    shown = [f"{edge:,.{digits}f}" if abs(edge) < _PLAIN and digits <= _DIGITS else f"{edge:.12g}" for edge in edges]
    labels = [f"{left} to {right}" for left, right in itertools.pairwise(shown)]
    return _bars(labels, _slices(ordered, edges[:-1]))


def _slices(ordered: np.ndarray[Any, Any], edges: Sequence[float]) -> list[tuple[int, int]]:
    """Where the values of each bar stand; `edges` are the left ones, and the first and the last bar have all ends."""
    inner = ordered.searchsorted(list(edges[1:]), "left").tolist()
    return list(zip([0, *inner], [*inner, len(ordered)], strict=True))


def _bars(labels: Sequence[str], slices: Sequence[tuple[int, int]]) -> tuple[Bar, ...]:
    return tuple(Bar(label=label, rows=last - first) for label, (first, last) in zip(labels, slices, strict=True))


def _step(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is at least `least`; 0 where that is none."""
    if not least > 0 or not math.isfinite(least):
        return 0.0
    power = 10.0 ** math.floor(math.log10(least))
    return next((step for step in (power, 2 * power, 5 * power) if step >= least), 10 * power)


def _seconds(times: pa.Array) -> np.ndarray[Any, Any] | None:
    """Whole seconds since 1970 on the column's own clock; text with an offset is in UTC."""
    import pyarrow as pa
    from pyarrow import compute

    seconds: np.ndarray[Any, Any]
    if pa.types.is_date(times.type):
        seconds = times.cast(pa.date32()).cast(pa.int32()).to_numpy().astype("int64") * _DAY
        return seconds
    if pa.types.is_timestamp(times.type):
        local = compute.local_timestamp(times) if times.type.tz else times
        seconds = local.cast(pa.int64()).to_numpy() // _A_SECOND[local.type.unit]
        return seconds
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            seconds = times.cast(kind).cast(pa.int64()).to_numpy() // _A_SECOND["us"]
        except pa.ArrowInvalid:
            continue
        return seconds
    return None


def _time_label(start: int, width: int) -> str:
    import numpy as np

    # Unlike datetime it knows years before 1 and after 9999.
    day, clock = str(np.datetime64(start, "s")).split("T")
    if width % _DAY:
        until = str(np.datetime64(start + width, "s")).split("T")[1]
        return f"{day} {clock}" if width == 1 else f"{day} {clock[:5]} to {until[:5]}"
    last = str(np.datetime64(start + width - _DAY, "s")).split("T")[0]
    return day if day == last else f"{day} to {last}"


def _shown(value: Any) -> str:
    text = " ".join(str(value).split()) or "(empty)"
    return text if len(text) <= _LABEL_LENGTH else f"{text[: _LABEL_LENGTH - 1]}\N{HORIZONTAL ELLIPSIS}"
