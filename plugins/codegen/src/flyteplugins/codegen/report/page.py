"""What the report shows of a result, put together for its template."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from flyteplugins.codegen.core.history import Attempt, Revision, Span
from flyteplugins.codegen.core.pictures import ColumnPicture, SamplePicture
from flyteplugins.codegen.core.python_source import parse_python
from flyteplugins.codegen.core.result import CodeGenEvalResult
from flyteplugins.codegen.core.usage import StepUsage, Usage
from flyteplugins.codegen.core.verdict import Check
from flyteplugins.codegen.report.source import DiffLine, difference
from flyteplugins.codegen.report.words import cost_of, count_of

Outcome = Literal["passed", "failed", "running"]

SCALE: Final = 1000
"""Units across a bar of the timeline."""

_NARROWEST: Final = 4
"""Units of the shortest step that can still be seen."""

_WRONG: Final = ("failed", "did not finish")
"""How the details of steps begin that ended with something wrong; see the timeline."""

COLUMNS_SHOWN: Final = 60

_FAILED_AT: Final = {
    "static": "the script's contract",
    "review": "a person's review",
    "environment": "its environment",
    "contract": "the run on the samples",
    "tests": "its tests",
    "suite": "the proof that its tests can fail",
}
_AT_FAULT: Final = {
    "logic": "the code is at fault",
    "environment": "the environment is at fault",
    "test_error": "the tests are at fault",
}


@dataclass(frozen=True)
class Step:
    """A step in the timeline.

    Attributes:
        span: The step.
        left: Where its bar begins, of `SCALE` units.
        width: How wide its bar is.
        seconds: How long it took.
        failed: Whether it ended with something wrong.
    """

    span: Span
    left: float
    width: float
    seconds: float
    failed: bool


@dataclass(frozen=True)
class Phase:
    """The steps of one attempt, or those before the first."""

    title: str
    steps: list[Step]


@dataclass(frozen=True)
class Time:
    """The timeline.

    Attributes:
        seconds: How long all of it took.
        phases: Its steps by attempt.
        ticks: Round seconds, with their place.
        served: Whether the record had any of the steps.
    """

    seconds: float
    phases: list[Phase]
    ticks: list[tuple[float, float]]
    served: bool


@dataclass(frozen=True)
class Try:
    """An attempt and what was changed for it.

    Attributes:
        attempt: The attempt.
        failed_at: Where it failed, in words; empty where it passed.
        at_fault: What was changed next, in words; empty after the last one.
        code: How its code differs from that of the attempt before it.
        tests: How its tests differ.
        packages: Packages that it has and the attempt before it had not.
    """

    attempt: Attempt
    failed_at: str
    at_fault: str
    code: list[DiffLine]
    tests: list[DiffLine]
    packages: list[str]


@dataclass(frozen=True)
class Test:
    """A test of the suite.

    Attributes:
        name: Name of its function, with parameters where it was run with several.
        says: The first line of its docstring.
        passed: Whether it passed; None where it was not run.
        message: What it said where it failed.
        proved: Whether it was seen to fail on a stub or a mutant of the code.
    """

    __test__ = False  # pytest would collect a class of this name

    name: str
    says: str
    passed: bool | None
    message: str
    proved: bool


@dataclass(frozen=True)
class Fact:
    """A figure below the verdict, with what it is of."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Change:
    """A revision and how the code and the tests differ by it."""

    revision: Revision
    code: list[DiffLine]
    tests: list[DiffLine]


@dataclass(frozen=True)
class BarShape:
    """A bar: its text, its rows, and its length, of 100."""

    label: str
    rows: int
    share: float


@dataclass(frozen=True)
class Column:
    """A column of a sample with its bars.

    Attributes:
        picture: The column.
        bars: Its bars; of ranges the highest is 100 high, of values one that had all rows would be 100 long.
        others: Rows whose value is none of the most frequent ones.
        without: Why there are no bars; empty where there are.
    """

    picture: ColumnPicture
    bars: list[BarShape]
    others: int
    without: str


@dataclass(frozen=True)
class Sample:
    """A sample with those of its columns that are shown."""

    picture: SamplePicture
    columns: list[Column]
    left_out: int


def outcome_of(result: CodeGenEvalResult, running: bool) -> Outcome:
    """How it went."""
    if running:
        return "running"
    return "passed" if result.success else "failed"


def headline_of(result: CodeGenEvalResult, running: bool) -> str:
    """How it went, in a few words."""
    if running:
        return "Running"
    if not result.success:
        return "Failed"
    return "Passed" if result.receipt.tests else "Built, and not tested"


def time_of(spans: Sequence[Span]) -> Time | None:
    """The timeline, or None where there are no steps."""
    if not spans:
        return None
    end = max(span.end for span in spans) or 1.0
    phases = []
    for attempt, group in itertools.groupby(sorted(spans, key=lambda span: span.attempt), lambda span: span.attempt):
        steps = [_step(span, end) for span in group]
        phases.append(Phase(f"Attempt {attempt}" if attempt else "Before the first attempt", steps))
    ticks = [(seconds, SCALE * seconds / end) for seconds in _ticks(end)]
    return Time(end, phases, ticks, any(span.served for span in spans))


def tries_of(attempts: Sequence[Attempt]) -> list[Try]:
    """The attempts, each with its difference from the one before."""
    tries = []
    for before, attempt in zip([None, *attempts], attempts, strict=False):
        tries.append(
            Try(
                attempt,
                failed_at=_FAILED_AT.get(attempt.stage or "", ""),
                at_fault=_AT_FAULT.get(attempt.error_type or "", ""),
                code=difference(before.code, attempt.code) if before else [],
                tests=difference(before.tests or "", attempt.tests or "") if before else [],
                packages=[name for name in attempt.packages if before and name not in before.packages],
            )
        )
    return tries


def tests_of(result: CodeGenEvalResult) -> list[Test]:
    """The tests of the code that is handed out, in order."""
    proved = set(result.receipt.proof.proved) if result.receipt.proof else set()
    says = dict(_docstrings(result.tests or ""))
    code = result.solution.code if result.solution else None
    judged = [one for one in result.history if one.cases and (one.code, one.tests) == (code, result.tests)]
    if judged:
        return [
            Test(case.name, says.get(case.name.split("[")[0], ""), case.passed, case.message, case.name in proved)
            for case in judged[-1].cases
        ]
    passed = True if result.success and result.receipt.tests else None
    return [Test(name, text, passed, "", name in proved) for name, text in says.items()]


def facts_of(result: CodeGenEvalResult, tests: Sequence[Test]) -> list[Fact]:
    """The figures below the verdict."""
    receipt, facts = result.receipt, []
    binding, probes = ([check for check in receipt.checks if check.advisory is kind] for kind in (False, True))
    if receipt.checks:
        note = f"and {_passed(probes)} of {count_of(len(probes), 'probe')}" if probes else "hold"
        facts.append(Fact("Fixed checks", f"{_passed(binding)} of {len(binding)}", note))
    if tests:
        ran = [test for test in tests if test.passed is not None]
        passed = sum(test.passed is True for test in tests)
        facts.append(Fact("Tests", f"{passed} of {len(tests)}", "passed" if ran else "written, none ran"))
    if proof := receipt.proof:
        wrong, refused = proof.stubs + proof.mutants, proof.stubs_failed + proof.mutants_failed
        note = f"{refused} of {count_of(wrong, 'wrong program')} refused"
        facts.append(Fact("Proved able to fail", f"{len(proof.proved)} of {receipt.tests}", note))
    if receipt.constraints:
        backed = sum(row.backed for row in receipt.constraints)
        facts.append(
            Fact("Constraints", f"{backed} of {len(receipt.constraints)}", "have a check or a test behind them")
        )
    facts.append(Fact("Tokens", f"{receipt.input_tokens + receipt.output_tokens:,}", cost_of(receipt.cost)))
    return facts


def changes_of(result: CodeGenEvalResult) -> list[Change]:
    """The revisions, the oldest first."""
    code = [revision.code_before for revision in result.revisions] + [result.solution.code if result.solution else ""]
    tests = [revision.tests_before or "" for revision in result.revisions] + [result.tests or ""]
    return [
        Change(revision, difference(code[index], code[index + 1]), difference(tests[index], tests[index + 1]))
        for index, revision in enumerate(result.revisions)
    ]


def samples_of(pictures: Iterable[SamplePicture]) -> list[Sample]:
    """The samples with their histograms."""
    return [
        Sample(
            picture,
            [_column(column, picture.rows or 0) for column in picture.columns[:COLUMNS_SHOWN]],
            max(0, len(picture.columns) - COLUMNS_SHOWN),
        )
        for picture in pictures
    ]


def usage_rows(usage: Usage) -> list[tuple[str, StepUsage]]:
    """What was used by step, and in all."""
    return [*usage.by_step.items(), ("in all", usage.total)]


def summary_of(result: CodeGenEvalResult, running: bool) -> str:
    """A sentence below the headline."""
    receipt = result.receipt
    parts = [count_of(result.attempts, "attempt"), count_of(receipt.calls, "model call"), seconds_of(receipt.seconds)]
    return ("so far: " if running else "") + ", ".join(parts)


def seconds_of(seconds: float) -> str:
    """A time for people, such as `0.4 s`, `12 s` and `3 min 20 s`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if rest else f"{minutes} min"


def _passed(checks: Iterable[Check]) -> int:
    return sum(check.passed for check in checks)


def _step(span: Span, end: float) -> Step:
    width = max(_NARROWEST, SCALE * (span.end - span.start) / end)
    return Step(
        span, min(SCALE * span.start / end, SCALE - width), width, span.end - span.start, span.detail.startswith(_WRONG)
    )


def _ticks(end: float) -> list[float]:
    """Round seconds, up to five of them after 0."""
    for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600):
        if end / step <= 5:
            return [round(number * step, 1) for number in range(int(end / step) + 1)]
    return [0.0, end]


def _docstrings(source: str) -> Iterator[tuple[str, str]]:
    try:
        module = parse_python(source)
    except SyntaxError:
        return
    for node in ast.walk(module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test"):
            yield node.name, (ast.get_docstring(node) or "").split("\n")[0]


def _column(picture: ColumnPicture, rows: int) -> Column:
    full = max((bar.rows for bar in picture.bars), default=0) if picture.ranges else rows
    bars = [BarShape(bar.label, bar.rows, 100 * bar.rows / max(1, full)) for bar in picture.bars]
    if not bars:
        return Column(picture, [], 0, _without_bars(picture, rows))
    return Column(picture, bars, max(0, rows - picture.nulls - sum(bar.rows for bar in bars)), "")


def _without_bars(picture: ColumnPicture, rows: int) -> str:
    if picture.dtype == "null" or rows == picture.nulls:
        return "no values"
    if picture.dtype in {"binary", "nested"}:
        return "values are not shown"
    return "each value once" if picture.distinct == rows - picture.nulls else "too many different values"
