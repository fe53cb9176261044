"""Runs the tests of a solution in the sandbox, and says whose fault a failure is where that needs no judgement."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from flyte.io import File
from pydantic import BaseModel, ValidationError

from flyteplugins.codegen.checks import session
from flyteplugins.codegen.checks.faults import distributions_of, environment_failure, limit_failure, missing_module
from flyteplugins.codegen.checks.fixture import fixture_files
from flyteplugins.codegen.checks.head_start import limits_of_tests, preludes_of_tests
from flyteplugins.codegen.checks.session import JOB_PATH, REPORT, TESTS_PATH
from flyteplugins.codegen.checks.subject import (
    SUITE_ROOT,
    Bench,
    Subject,
    input_files,
)
from flyteplugins.codegen.checks.text import LONGEST_MESSAGE, shortened, signature
from flyteplugins.codegen.core.contract import INPUT_ROOT
from flyteplugins.codegen.core.errors import JobError
from flyteplugins.codegen.core.python_source import parse_python
from flyteplugins.codegen.core.verdict import Failure, SuiteRun, TestCase
from flyteplugins.codegen.tasks.executor import Work
from flyteplugins.codegen.tasks.given import Given, places
from flyteplugins.codegen.tasks.solution import SOLUTION_PATH

IN_TESTS_ENVIRONMENT: Final = "The tests' environment"
"""A failure whose message begins so lacks a package of the tests, not of the solution."""

_NO_TESTS_COLLECTED: Final = 5
ALL_PASSED: Final = "All tests pass on the solution."
"""What the fixture prints before the tests run on programs in its place."""

_SHARE_OF_A_RUN: Final = 5
"""One run of the solution in a test gets at most this part of the whole suite's time."""


class _Case(BaseModel):
    """A test, as the fixture reports it."""

    name: str
    outcome: str
    message: str = ""
    error: str = ""
    module: str = ""
    in_tests: bool = True
    exit_code: int = 0
    stderr: str = ""


class _CollectionError(BaseModel):
    """A file that could not be collected, as the fixture reports it."""

    error: str = ""
    module: str = ""
    in_tests: bool = True
    message: str = ""


class _Report(BaseModel):
    """What the fixture writes when all tests are done."""

    exit_code: int
    cases: list[_Case] = []
    errors: list[_CollectionError] = []
    timed_out: bool = False
    variants: list[list[str] | None] = []
    seconds: float = 0.0


@dataclass(frozen=True)
class Refusal:
    """What the tests made of a program that they should refuse.

    Attributes:
        refused: Whether a test failed, or the program brought the tests down.
        tests: Names of the tests that failed.
    """

    refused: bool
    tests: tuple[str, ...] = ()


@dataclass(frozen=True)
class Variants:
    """What stands in the solution's place where the tests have to refuse it.

    Attributes:
        stubs: What programs write that ignore their inputs, by output; all tests run on each.
        mutants: Programs that the tests run on up to the first that fails.
    """

    stubs: Sequence[Mapping[str, str]] = ()
    mutants: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.stubs) + len(self.mutants)

    def alone(self) -> list[Variants]:
        """Each by itself, in order."""
        return [*(Variants([stub]) for stub in self.stubs), *(Variants((), [mutant]) for mutant in self.mutants)]


@dataclass(frozen=True)
class SuiteResult:
    """One run of the tests, judged.

    Attributes:
        run: The run; None where the sandbox ended it.
        failure: Why it does not pass; None if it does.
        refusals: What the tests made of each variant, stubs first; empty where they did not come to that.
    """

    run: SuiteRun | None
    failure: Failure | None
    refusals: tuple[Refusal, ...] = ()


async def run_suite(subject: Subject, bench: Bench, variants: Variants | None = None) -> SuiteResult:
    """Run the tests on the solution and, if they pass, on programs in its place.

    Args:
        subject: What is checked; it has tests.
        bench: What with.
        variants: The programs in its place.

    Returns:
        The run and what it means.

    Raises:
        InfrastructureError: The sandbox failed.
    """
    variants = variants or Variants()
    tests = subject.tests or ""
    if failure := _unparsable(tests):
        return SuiteResult(None, failure)
    try:
        execution = await bench.run(_work(subject, bench, variants))
    except JobError as error:
        if variants and ALL_PASSED in error.stdout:
            return await _apart(subject, bench, variants)
        return SuiteResult(None, limit_failure("tests", error, "The run of the tests", bench.limits))
    report = await asyncio.to_thread(_read, execution.outputs.get(REPORT))
    output = shortened(f"{execution.stdout.strip()}\n{execution.stderr.strip()}".strip())
    cases = tuple(
        TestCase(
            name=case.name,
            passed=case.outcome == "passed",
            message=case.message,
            in_tests=case.in_tests,
        )
        for case in (report.cases if report else ())
    )
    seconds = report.seconds if report else execution.seconds
    run = SuiteRun(exit_code=execution.exit_code, cases=cases, output=output, seconds=seconds)
    if failure := _failure(run, report, bench):
        if variants and ALL_PASSED in execution.stdout:
            return await _apart(subject, bench, variants)
        return SuiteResult(run, failure)
    refusals = tuple(_refusal(names) for names in (report.variants if report else ()))
    if len(refusals) != len(variants):
        refusals = await _one_by_one(subject, bench, variants, seconds)
    return SuiteResult(run, None, refusals)


async def _apart(subject: Subject, bench: Bench, variants: Variants) -> SuiteResult:
    """As `run_suite`, where one of the programs in the solution's place brought all down, not the solution."""
    suite = await run_suite(subject, bench)
    if suite.failure or suite.run is None:
        return suite
    return replace(suite, refusals=await _one_by_one(subject, bench, variants, suite.run.seconds))


async def _one_by_one(subject: Subject, bench: Bench, variants: Variants, seconds: float) -> tuple[Refusal, ...]:
    """Run the tests, which pass on the solution, on each variant in a sandbox of its own: one of them ends it.

    Args:
        subject: What is checked.
        bench: What with.
        variants: The programs.
        seconds: How long the tests took on the solution.

    Returns:
        What they made of each.
    """

    async def run(alone: Variants) -> Refusal:
        try:
            execution = await bench.run(_work(subject, bench, alone, passed=math.ceil(seconds)))
        except JobError:
            return Refusal(refused=True)
        report = await asyncio.to_thread(_read, execution.outputs.get(REPORT))
        return _refusal(report.variants[0] if report and report.variants else None)

    return tuple(await asyncio.gather(*(run(alone) for alone in variants.alone())))


def _refusal(names: Sequence[str] | None) -> Refusal:
    return Refusal(names is None or bool(names), tuple(names or ()))


def longest_run(bench: Bench) -> float | None:
    """Time limit in seconds of one run of the solution in a test; None for no limit."""
    return bench.limits.seconds / _SHARE_OF_A_RUN if bench.limits.seconds else None


def _work(subject: Subject, bench: Bench, variants: Variants, *, passed: int = 0) -> Work:
    # The examples of File inputs count as samples here.
    given = {key: _beside_tests(key, value) for key, value in subject.samples.items()}
    beside = fixture_files(subject.contract, given)
    placed: dict[str, File | str] = {f"{SUITE_ROOT}/{file}": text for file, text in beside.items()}
    placed[TESTS_PATH] = subject.tests or ""
    placed[SOLUTION_PATH] = subject.code
    placed.update(input_files(subject.samples))
    placed[JOB_PATH] = json.dumps(
        {
            "seconds": longest_run(bench) or 0,
            "passed": passed,
            "stubs": [dict(stub) for stub in variants.stubs],
            "mutants": list(variants.mutants),
        }
    )
    return Work(
        name="tests",
        argv=(*session.python(bench.tools.image), *session.command(subject.environment.image)),
        locks=(bench.tools.lock, subject.environment.lock),
        files=placed,
        env=bench.env,
        limits=limits_of_tests(bench.limits),
        network=bench.network,
        collect=(REPORT,),
        preludes=preludes_of_tests(subject.code),
    )


def _beside_tests(name: str, given: Given) -> str | list[str]:
    """Where a sample lies, as `contract.json` beside the tests has it."""
    if isinstance(given, dict):
        return f"../{name}"
    paths = [f"..{path.removeprefix(INPUT_ROOT)}" for path in places(name, given)]
    return paths if isinstance(given, list) else paths[0]


def _read(file: File | None) -> _Report | None:
    if file is None:
        return None
    try:
        document: Any = json.loads(Path(file.path).read_text(encoding="utf-8"))
        return _Report.model_validate(document)
    except (ValueError, ValidationError):
        return None


def _unparsable(tests: str) -> Failure | None:
    try:
        parse_python(tests)
    except SyntaxError as error:
        where = f" in line {error.lineno}" if error.lineno else ""
        return Failure(
            stage="tests",
            message=f"The tests do not parse{where}: {error.msg}.",
            signature=signature("tests", "syntax", error.msg),
            error_type="test_error",
        )
    return None


def _failure(run: SuiteRun, report: _Report | None, bench: Bench) -> Failure | None:
    if report is None or report.exit_code != run.exit_code:
        # Without a report that agrees with the exit status nobody knows which tests passed.
        return Failure(
            stage="tests",
            message=(
                f"pytest ended with exit status {run.exit_code} and without a report that agrees: something ended or "
                f"disturbed it. Neither the solution nor a test may end the process of the tests.\n{run.output}"
            ),
            signature=signature("tests", "no report", str(run.exit_code)),
            error_type="test_error" if run.exit_code == 0 and report is None else None,
        )
    if report.errors:
        return _not_collected(report.errors)
    if run.exit_code == _NO_TESTS_COLLECTED or not report.cases:
        return Failure(
            stage="tests",
            message=f"There is no test: pytest found no function whose name begins with `test`.\n{run.output}",
            signature=signature("tests", "none collected"),
            error_type="test_error",
        )
    failed = [case for case in report.cases if case.outcome != "passed"]
    if report.timed_out:
        seconds = longest_run(bench) or 0
        return Failure(
            stage="tests",
            message=(
                f"The solution did not end within {seconds:g} s in a test: {', '.join(case.name for case in failed)}. "
                "Find what takes long or never ends. If it needs that time, the limit is raised with "
                f"AutoCoderAgent(timeout=seconds).\n{_told(failed)}"
            ),
            signature=signature("tests", "timed out"),
            error_type="logic",
            tests=tuple(case.name for case in failed),
            final=True,
        )
    if failed:
        return _failed(failed, len(report.cases))
    if run.exit_code:
        return Failure(
            stage="tests",
            message=f"pytest ended with exit status {run.exit_code} although every test passed.\n{run.output}",
            signature=signature("tests", "exit status", str(run.exit_code)),
        )
    return None


def _not_collected(errors: list[_CollectionError]) -> Failure:
    module = next((error.module for error in errors if error.module), "").partition(".")[0]
    if module:
        return _tests_lack(module, errors[0].message, ())
    in_tests = any(error.in_tests for error in errors)
    shown = shortened("\n\n".join(error.message for error in errors))
    return Failure(
        stage="tests",
        message=f"The tests can't be loaded.\n{shown}",
        signature=signature("tests", "collection", *(_essence(error.message) for error in errors)),
        error_type="test_error" if in_tests else None,
    )


def _failed(failed: list[_Case], total: int) -> Failure:
    names = tuple(case.name for case in failed)
    for case in failed:
        if missing := environment_failure("tests", case.stderr, "The solution"):
            return missing.model_copy(update={"tests": names})
        if lacking := case.module.partition(".")[0] or missing_module(_essence(case.message)):
            return _tests_lack(lacking, case.message, names)
    sure = [case for case in failed if _is_tests_own_fault(case)]
    essence = sorted(f"{case.name} {_essence(case.message)}" for case in failed)
    return Failure(
        stage="tests",
        message=shortened(f"{len(failed)} of {total} tests failed: {', '.join(names)}.\n{_told(failed)}"),
        signature=signature("tests", *essence),
        error_type="test_error" if len(sure) == len(failed) else None,
        tests=names,
    )


def _tests_lack(module: str, message: str, names: tuple[str, ...]) -> Failure:
    return Failure(
        stage="tests",
        message=f"{IN_TESTS_ENVIRONMENT} lacks the module `{module}`.\n{message}",
        signature=signature("tests", "module of the tests", module),
        error_type="environment",
        packages=distributions_of(module),
        tests=names,
    )


def _is_tests_own_fault(case: _Case) -> bool:
    """Whether a test failed by itself, whatever the solution did."""
    return (
        case.outcome == "skipped"
        or (case.error == "NameError" and case.in_tests)
        or (case.error == "TypeError" and "run_solution() " in case.message)
        or bool(re.search(r"^E\s+fixture '\w+' not found", case.message, re.MULTILINE))
    )


def _told(failed: list[_Case]) -> str:
    """What each failed test said, within the budget of all of them."""
    budget = max(300, LONGEST_MESSAGE // max(1, len(failed)))
    shown = []
    for case in failed:
        text = shortened(case.message.strip(), budget)
        if case.exit_code:
            text += f"\nThe solution ended with exit status {case.exit_code} and said:\n{case.stderr or 'nothing'}"
        skipped = " (skipped; a test must run)" if case.outcome == "skipped" else ""
        shown.append(f"--- {case.name}{skipped}\n{text}")
    return shortened("\n".join(shown))


def _essence(message: str) -> str:
    """The lines of a failure that say what was wrong, without the code around it."""
    lines = [line[1:].strip() for line in message.splitlines() if line.startswith("E ")]
    return "\n".join(lines or message.splitlines()[-1:])
