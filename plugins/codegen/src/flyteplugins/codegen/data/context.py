"""What a language model is told of the samples."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping
from typing import Any, Final

from flyteplugins.codegen.core.settings import SamplePrivacy
from flyteplugins.codegen.data.profile import Column, Profile
from flyteplugins.codegen.prompts import render

BUDGET_CHARS: Final = 16_000
"""Length of the text about all samples together, where not said otherwise."""

_ROWS_SHARE: Final = 0.35
"""Part of the budget that example rows may take."""

_LONGEST_TEXT: Final = 80
"""Characters of a cell that are shown."""

_LONGEST_LINE: Final = 1000
"""Characters of a line of text or of a JSON document that are shown."""

_NEEDED_CHARS: Final = 600
"""Kept for a sample's head and notes."""


LEFT_OUT: Final = (
    "",
    "most example rows",
    "the example rows",
    "the example rows and the columns' values",
    "all but the columns' names and types",
)
"""What the text leaves out, step by step, for a model whose context it is too long for."""

_ROWS_KEPT: Final = (1.0, 0.25)
"""Part of the example rows that is shown, by the step; none at the later steps."""


def describe(
    profiles: Mapping[str, Profile],
    *,
    privacy: SamplePrivacy = "rows",
    budget_chars: int = BUDGET_CHARS,
    left_out: int = 0,
) -> str:
    """Write what the model is told of the samples.

    Args:
        profiles: Profiles by sample name.
        privacy: `rows` shows statistics and example rows; `schema` shows names, types and counts, and no value.
        budget_chars: How long the text may become, about; the names of all columns are shown in any case.
        left_out: What to leave out, as a place in `LEFT_OUT`.

    Returns:
        The text in Markdown; empty without samples.
    """
    if not profiles:
        return ""
    share = budget_chars // len(profiles)
    samples = [_sample(profile, privacy, share, left_out) for profile in profiles.values()]
    return render("profile", samples=samples, with_values=privacy == "rows")


def _sample(profile: Profile, privacy: SamplePrivacy, budget: int, left_out: int) -> dict[str, Any]:
    with_values = privacy == "rows"
    for_rows = int(budget * _ROWS_SHARE) if with_values else 0
    left = max(0, budget - for_rows - _NEEDED_CHARS)
    columns = _columns(profile, with_values and left_out < 3, left, names_alone=left_out > 3)
    left = budget - _NEEDED_CHARS - sum(map(len, columns))
    rows = _rows(profile, max(left, for_rows)) if with_values and left_out < len(_ROWS_KEPT) else []
    rows = rows[: math.ceil(len(rows) * _ROWS_KEPT[left_out])] if rows else []
    if profile.columns:
        title = f"{len(rows)} of {profile.rows} rows, each a JSON list in the order of the columns:"
    else:
        title = "The first lines, each as a JSON string:"
    return {
        "name": profile.name,
        "file_name": _quoted(profile.file_name),
        "format": profile.format,
        "shape": _shape(profile),
        "notes": profile.notes,
        "read": _read_call(profile),
        "columns": columns,
        "rows": rows,
        "rows_title": title,
    }


def _shape(profile: Profile) -> str:
    if profile.columns:
        return f"{profile.rows} rows, {len(profile.columns)} columns"
    return f"{profile.rows} lines" if profile.rows is not None else f"{profile.size} bytes"


def _read_call(profile: Profile) -> str:
    options = dict(profile.read_options)
    types = options.pop("dtype", {})
    # Text needs no dtype to be read as text, unless pandas would take it for numbers.
    needed = {
        column.name: types[column.name]
        for column in profile.columns
        if column.name in types and (types[column.name] == "Int64" or column.hints or column.odd)
        if types[column.name] == "Int64" or any("leading zeros" in hint for hint in column.hints)
    }
    if needed and len(needed) <= 20:
        options["dtype"] = needed
    if not options:
        return ""
    return f"pd.read_csv(path, {', '.join(f'{name}={value!r}' for name, value in options.items())})"


def _columns(profile: Profile, with_values: bool, budget: int, *, names_alone: bool) -> list[str]:
    """A line for each column, as detailed as all of them fit; at the least the names and types."""
    for top, numbers in () if names_alone else ((8, True), (3, True), (0, True), (0, False)):
        lines = [_column(column, profile.rows or 0, with_values, top, numbers) for column in profile.columns]
        if sum(map(len, lines)) <= budget:
            return lines
    brief = [f"{_quoted(column.name)} {column.dtype}" for column in profile.columns]
    if sum(map(len, brief)) <= budget or len(brief) <= 20:
        return brief
    # Very wide tables: one line for each type, names only.
    kinds: dict[str, list[str]] = {}
    for column in profile.columns:
        kinds.setdefault(column.dtype, []).append(_quoted(column.name))
    return [f"{kind} ({len(names)} columns): {', '.join(names)}" for kind, names in kinds.items()]


def _column(column: Column, rows: int, with_values: bool, top: int, numbers: bool) -> str:
    parts = [f"{_quoted(column.name)} {column.dtype}"]
    if column.physical:
        parts.append(f"stored as {column.physical}")
    parts.append(f"{column.nulls} null{'s' if column.nulls > 1 else ''}" if column.nulls else "no nulls")
    if column.distinct is not None:
        every = column.distinct == rows - column.nulls and column.distinct > 1
        parts.append("all distinct" if every else f"{column.distinct} distinct")
    if with_values and numbers:
        parts += _numbers(column)
    if with_values and top and column.top and not _every_once(column):
        shown = ", ".join(f"{_value(value)} x{count}" for value, count in column.top[:top])
        more = column.distinct is None or column.distinct > min(top, len(column.top))
        parts.append(f"{'most frequent' if more else 'values'} {shown}")
    elif with_values and top and column.dtype == "text" and column.top:
        parts.append(f"such as {', '.join(_value(value) for value, _ in column.top[:3])}")
    parts += column.hints
    if with_values and column.odd:
        parts.append(f"the other text is such as {', '.join(map(_value, column.odd))}")
    return "; ".join(parts)


def _numbers(column: Column) -> list[str]:
    parts = []
    if column.min is not None and column.dtype != "boolean":
        forms = any(hint.startswith(("ISO", "numbers", "whole")) for hint in column.hints)
        if column.dtype != "text" or forms:
            parts.append(f"{_value(column.min)} to {_value(column.max)}")
    if column.lengths and column.lengths[1]:
        low, high = column.lengths
        parts.append(f"{low} characters" if low == high else f"{low} to {high} characters")
    if column.mean is not None:
        parts.append(f"mean {_value(column.mean)}")
    if column.std is not None:
        parts.append(f"std {_value(column.std)}")
    if column.quartiles is not None:
        parts.append(f"quartiles {', '.join(map(_value, column.quartiles))}")
    return parts


def _every_once(column: Column) -> bool:
    return all(count == 1 for _, count in column.top) and len(column.top) > 1


def _rows(profile: Profile, budget: int) -> list[str]:
    lines: list[str] = []
    for row in profile.examples:
        shown = [_cell(value, _LONGEST_TEXT if profile.columns else _LONGEST_LINE) for value in row]
        line = json.dumps(shown if profile.columns else shown[0], ensure_ascii=False, default=str)
        budget -= len(line) + 1
        if budget < 0:
            break
        lines.append(line)
    return lines


def _cell(value: Any, longest: int = _LONGEST_TEXT) -> Any:
    if isinstance(value, str):
        return value if len(value) <= longest else f"{value[:longest]}… ({len(value)} characters)"
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return _cell(str(value), longest)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return _quoted(_cell(value)) if isinstance(value, str) else str(_cell(value))


def _quoted(text: Any) -> str:
    return json.dumps(text, ensure_ascii=False)
