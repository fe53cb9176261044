"""Constraints as data checks: what the model made of the user's words, and what the sample says to it."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from flyte.io import File
from pydantic import BaseModel, ConfigDict, Field

from flyteplugins.codegen.data.profile import Column, Profile
from flyteplugins.codegen.data.profiling import typed_batches
from flyteplugins.codegen.data.schema import schema_code

if TYPE_CHECKING:
    import pyarrow as pa

CheckName = Literal[
    "gt",
    "ge",
    "lt",
    "le",
    "in_range",
    "isin",
    "notin",
    "str_matches",
    "str_startswith",
    "str_length",
    "unique",
    "not_null",
    "eq",
    "ne",
]

Value = bool | int | float | str | None


class ParsedCheck(BaseModel):
    """A check on one column of a sample.

    Attributes:
        constraint: Number of the constraint that it comes from, counted from 1.
        sample: Name of the sample.
        column: Name of the column.
        check: What must hold for each value that is not null; `unique` and `not_null` are about the whole column.
        arguments: One value for `gt`, `ge`, `lt`, `le`, `eq`, `ne`; lowest and highest for `in_range`; the values
            for `isin` and `notin`; a regular expression for `str_matches`, which has to match from the start; a text
            for `str_startswith`; shortest and longest length for `str_length`, null for no limit; none for the rest.
    """

    model_config = ConfigDict(frozen=True)

    constraint: int = Field(ge=1)
    sample: str
    column: str
    check: CheckName
    arguments: list[Value] = Field(default_factory=list)


class ParsedConstraints(BaseModel):
    """What all constraints came to; a constraint that is no check on a column has none here.

    Attributes:
        checks: The checks, in the order of the constraints.
    """

    checks: list[ParsedCheck] = Field(default_factory=list)


@dataclass(frozen=True)
class CheckedConstraint:
    """A check that can be made, and what the sample says to it.

    Attributes:
        check: The check.
        violations: Rows of the sample that violate it.
        rows: Rows of the sample.
    """

    check: ParsedCheck
    violations: int
    rows: int

    def __str__(self) -> str:
        label = constraint_check_label(self.check)
        if not self.violations:
            return f"{label} (all {self.rows} sample rows keep it)"
        return f"{label} ({self.violations} of {self.rows} sample rows violate it)"


@dataclass(frozen=True)
class DroppedCheck:
    """A check that can't be made.

    Attributes:
        check: The check.
        reason: Why, in a sentence.
    """

    check: ParsedCheck
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """What became of the checks of a request.

    Attributes:
        kept: Those that can be made.
        dropped: Those that can't; the constraints behind them stay in force as text.
    """

    kept: tuple[CheckedConstraint, ...] = ()
    dropped: tuple[DroppedCheck, ...] = ()

    @property
    def checks(self) -> tuple[ParsedCheck, ...]:
        """The checks that can be made."""
        return tuple(checked.check for checked in self.kept)

    def labels(self, constraint: int) -> list[str]:
        """The checks behind a constraint, by its number counted from 1, as text."""
        return [constraint_check_label(check) for check in self.checks if check.constraint == constraint]


def constraint_check_label(check: ParsedCheck) -> str:
    """A check as a person reads it, such as `readings.temperature: in_range(-40, 60)`."""
    arguments = ", ".join(json.dumps(argument, ensure_ascii=False) for argument in check.arguments)
    return f"{check.sample}.{check.column}: {check.check}({arguments})"


def with_checks(profile: Profile, checks: Iterable[ParsedCheck]) -> Profile:
    """The profile with the checks of its columns in its schema; those of other samples are left out.

    Args:
        profile: A profile of a table; others come back as they are.
        checks: All checks that the schema is to carry, as `evaluate` kept them.

    Returns:
        A profile whose `schema_code` states the checks, also those that the sample itself violates.
    """
    if profile.schema_code is None:
        return profile
    sources: dict[str, list[str]] = {}
    for check in checks:
        column = profile.column(check.column)
        if check.sample == profile.name and column is not None and not _problem(check, column):
            found = sources.setdefault(check.column, [])
            if (source := _source(check)) not in found:
                found.append(source)
    return replace(profile, schema_code=schema_code(profile, sources))


async def evaluate(
    profiles: Mapping[str, Profile], files: Mapping[str, File], checks: Iterable[ParsedCheck]
) -> Evaluation:
    """Hold the checks against all rows of the samples.

    Args:
        profiles: Profiles by sample name.
        files: The files that they were made from, by sample name.
        checks: The checks as the model parsed them.

    Returns:
        The checks that can be made, each with the number of rows that violate it, and those that can't, each with
        the reason. Nothing about a check is an error.
    """
    unique = list({check.model_dump_json(): check for check in checks}.values())
    return await asyncio.to_thread(_evaluate, profiles, files, unique)


def _evaluate(profiles: Mapping[str, Profile], files: Mapping[str, File], checks: list[ParsedCheck]) -> Evaluation:
    dropped: list[DroppedCheck] = []
    possible: list[ParsedCheck] = []
    for check in checks:
        reason = _unknown(check, profiles) or _problem(check, _column_of(check, profiles))
        if reason:
            dropped.append(DroppedCheck(check, reason))
        else:
            possible.append(check)
    counted: dict[int, int] = {}
    for name in dict.fromkeys(check.sample for check in possible):
        of_sample = [(index, check) for index, check in enumerate(possible) if check.sample == name]
        counted |= _violations(profiles[name], Path(files[name].path), of_sample)
    kept = tuple(
        CheckedConstraint(check, counted[index], profiles[check.sample].rows or 0)
        for index, check in enumerate(possible)
    )
    return Evaluation(kept, tuple(dropped))


def _unknown(check: ParsedCheck, profiles: Mapping[str, Profile]) -> str:
    profile = profiles.get(check.sample)
    if profile is None:
        return f"There is no sample {check.sample!r}; there are {', '.join(profiles) or 'none'}."
    if not profile.columns:
        return f"Sample {check.sample!r} is no table."
    if profile.column(check.column) is None:
        return f"Sample {check.sample!r} has no column {check.column!r}."
    return ""


def _column_of(check: ParsedCheck, profiles: Mapping[str, Profile]) -> Column:
    column = profiles[check.sample].column(check.column)
    assert column is not None, "checked before"  # noqa: S101 - tells mypy what `_unknown` made sure of
    return column


_NUMERIC: Final = frozenset({"integer", "number"})
_ARGUMENTS: Final[dict[str, tuple[int, float]]] = {
    **dict.fromkeys(("gt", "ge", "lt", "le", "eq", "ne", "str_matches", "str_startswith"), (1, 1)),
    **dict.fromkeys(("in_range", "str_length"), (2, 2)),
    **dict.fromkeys(("isin", "notin"), (1, math.inf)),
    **dict.fromkeys(("unique", "not_null"), (0, 0)),
}
"""How many arguments each check takes, at least and at most."""


def _problem(check: ParsedCheck, column: Column) -> str:
    """Why a check can't be made on a column; empty if it can."""
    fewest, most = _ARGUMENTS[check.check]
    if not fewest <= len(check.arguments) <= most:
        return f"{check.check} takes {_count(fewest, most)}, and was given {len(check.arguments)}."
    if check.check in {"unique", "not_null"}:
        if check.check == "unique" and column.distinct is None and column.dtype != "null":
            return f"It is not known whether the values of {column.name!r} ({column.dtype}) differ."
        return ""
    if column.dtype not in {*_NUMERIC, "text", "boolean"}:
        return f"Values of {column.name!r} are of type {column.dtype}, which checks do not compare."
    if check.check.startswith("str_"):
        return _text_problem(check, column)
    wanted = _wanted_type(column)
    wrong = [argument for argument in check.arguments if not wanted(argument)]
    if wrong:
        return f"{column.name!r} is {column.dtype}, which {json.dumps(wrong[0])} can't be compared with."
    if check.check in {"gt", "ge", "lt", "le", "in_range"} and column.dtype == "boolean":
        return f"{column.name!r} is boolean, which has no order."
    if check.check == "in_range" and _greater(check.arguments[0], check.arguments[1]):
        return f"The range {check.arguments[0]} to {check.arguments[1]} is empty."
    return ""


def _count(fewest: int, most: float) -> str:
    if most == math.inf:
        return f"at least {fewest} value"
    return f"{fewest} value" + ("" if fewest == 1 else "s")


def _greater(low: Any, high: Any) -> bool:
    return bool(low > high)


def _wanted_type(column: Column) -> Callable[[object], bool]:
    if column.dtype in _NUMERIC:
        return lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if column.dtype == "boolean":
        return lambda value: isinstance(value, bool)
    return lambda value: isinstance(value, str)


def _text_problem(check: ParsedCheck, column: Column) -> str:
    if column.dtype != "text":
        return f"{column.name!r} is {column.dtype}, not text."
    if check.check == "str_length":
        limits = [limit for limit in check.arguments if limit is not None]
        whole = all(isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0 for limit in limits)
        return "" if limits and whole else "str_length takes whole numbers from 0, one of them may be null."
    (argument,) = check.arguments
    if not isinstance(argument, str):
        return f"{check.check} takes a text."
    if check.check == "str_matches":
        import pyarrow as pa
        from pyarrow import compute

        try:  # RE2 takes time linear in the text, whatever the model wrote
            compute.match_substring_regex(pa.array([""]), argument)
        except pa.ArrowInvalid:
            return f"{argument!r} is no regular expression that can be used: look-around and backreferences are not."
    return ""


def _violations(profile: Profile, path: Path, checks: list[tuple[int, ParsedCheck]]) -> dict[int, int]:
    found: dict[int, int] = {}
    running: list[tuple[int, int, ParsedCheck]] = []
    names = [column.name for column in profile.columns]
    for index, check in checks:
        column = profile.columns[names.index(check.column)]
        if check.check == "not_null":
            found[index] = column.nulls
        elif check.check == "unique":
            found[index] = (profile.rows or 0) - column.nulls - (column.distinct or 0)
        else:
            found[index] = 0
            running.append((index, names.index(check.column), check))
    if not running:
        return found
    from pyarrow import compute

    needed = sorted({position for _, position, _ in running})
    for arrays in typed_batches(profile, path, needed):
        for index, position, check in running:
            kept = compute.sum(_holds(arrays[position].drop_null(), check)).as_py() or 0
            found[index] += len(arrays[position]) - arrays[position].null_count - kept
    return found


def _holds(values: pa.Array, check: ParsedCheck) -> Any:
    """For each value whether it keeps the check."""
    import pyarrow as pa
    from pyarrow import compute

    first: Any = check.arguments[0]
    compare = {
        "gt": compute.greater,
        "ge": compute.greater_equal,
        "lt": compute.less,
        "le": compute.less_equal,
        "eq": compute.equal,
        "ne": compute.not_equal,
    }
    if check.check in compare:
        return compare[check.check](values, first)
    if check.check == "in_range":
        low, high = (compute.greater_equal(values, first), compute.less_equal(values, check.arguments[1]))
        return compute.and_(low, high)
    if check.check in {"isin", "notin"}:
        common = pa.array(check.arguments)
        inside = compute.is_in(values.cast(common.type) if pa.types.is_integer(values.type) else values, common)
        return inside if check.check == "isin" else compute.invert(inside)
    if check.check == "str_matches":
        return compute.match_substring_regex(values, f"^(?:{first})")
    if check.check == "str_startswith":
        return compute.starts_with(values, first)
    lengths = compute.utf8_length(values)
    shortest, longest = check.arguments
    return compute.and_(
        compute.greater_equal(lengths, 0 if shortest is None else shortest),
        compute.less_equal(lengths, 2**31 - 1 if longest is None else longest),
    )


def _source(check: ParsedCheck) -> str:
    if check.check == "unique":
        return "unique=True"
    if check.check == "not_null":
        return "nullable=False"
    if check.check in {"isin", "notin"}:
        return f"pa.Check.{check.check}({check.arguments!r})"
    return f"pa.Check.{check.check}({', '.join(map(repr, check.arguments))})"
