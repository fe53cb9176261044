"""What the checks of a draft came to, and which artefact is at fault."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from flyteplugins.codegen.core.data import Data

Artefact = Literal["logic", "environment", "test_error"]
"""The artefact to change: the code, the environment or the tests."""

Stage = Literal["static", "review", "environment", "contract", "tests", "suite"]
"""Where a draft failed; `review` means that a person rejected it, `suite` that the tests passed and could not have
failed."""


class ErrorDiagnosis(Data):
    """Why a draft failed and what to change.

    Attributes:
        error_type: `logic` (patch the code), `environment` (add packages) or `test_error` (fix the tests).
        reason: What is wrong, in a sentence or two.
        request_quote: The part of the request, word for word, that decides who is right; empty where no model
            was asked.
        instructions: How to change the artefact.
        packages: Distributions to add, where `error_type` is `environment`.
        system_packages: apt packages to add, where `error_type` is `environment`.
        tests: Names of the tests to fix, where `error_type` is `test_error`.
    """

    error_type: Artefact
    reason: str
    request_quote: str = ""
    instructions: str = ""
    packages: list[str] = Field(default_factory=list)
    system_packages: list[str] = Field(default_factory=list)
    tests: list[str] = Field(default_factory=list)


class Check(Data):
    """One fixed check and how it went.

    Attributes:
        name: What was checked, as a person reads it in the receipt.
        passed: Whether it held.
        detail: What was seen, where that helps.
        advisory: Told to the model once and then a warning; a failure does not fail the draft.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    passed: bool
    detail: str = ""
    advisory: bool = False


class Failure(Data):
    """Why a draft does not pass.

    Attributes:
        stage: The first stage that failed.
        message: What a person and the model need to see: shortened output, head and tail.
        signature: Equal for the same failure in two attempts; addresses, times and line numbers are left out.
        error_type: The artefact at fault where no judgement is needed; None asks the model.
        packages: Distributions to add, where `error_type` is `environment`.
        system_packages: apt packages to add, where `error_type` is `environment`.
        tests: Names of the tests that failed.
        final: Trying again can't help beyond one repair, as with a time-out.
    """

    model_config = ConfigDict(frozen=True)

    stage: Stage
    message: str
    signature: str
    error_type: Artefact | None = None
    packages: tuple[str, ...] = ()
    system_packages: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    final: bool = False


class TestCase(Data):
    """One test of the suite and how it went.

    Attributes:
        name: The test function's name, with its parameters in brackets.
        passed: Whether it passed.
        message: The assertion and its traceback, shortened, where it failed.
        in_tests: Whether the innermost frame of a failure lies in the test file rather than in the solution.
    """

    __test__ = False  # pytest would collect a class of this name

    model_config = ConfigDict(frozen=True)

    name: str
    passed: bool
    message: str = ""
    in_tests: bool = True


class SuiteRun(Data):
    """One run of the tests.

    Attributes:
        exit_code: Exit status of pytest.
        cases: The tests that ran, in order.
        output: What was printed, shortened, head and tail.
        seconds: Wall time.
    """

    model_config = ConfigDict(frozen=True)

    exit_code: int
    cases: tuple[TestCase, ...] = ()
    output: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether at least one test ran and all of them passed."""
        return self.exit_code == 0 and bool(self.cases) and all(case.passed for case in self.cases)


class SuiteProof(Data):
    """Whether the tests can fail: what they did on stubs and on mutants of the code.

    Attributes:
        stubs: How many stubs (scripts with constant or empty outputs) were run.
        stubs_failed: How many of them the suite failed, as it must.
        mutants: How many mutants of the code were run.
        mutants_failed: How many of them the suite failed.
        proved: Names of the tests that failed on at least one stub or mutant.
        survivors: What each surviving mutant changed, for the model.
    """

    model_config = ConfigDict(frozen=True)

    stubs: int = 0
    stubs_failed: int = 0
    mutants: int = 0
    mutants_failed: int = 0
    proved: tuple[str, ...] = ()
    survivors: tuple[str, ...] = ()

    @property
    def convincing(self) -> bool:
        """Every stub failed, and most mutants did."""
        return self.stubs_failed == self.stubs and 2 * self.mutants_failed >= self.mutants


class Verdict(Data):
    """What the checks of one draft came to.

    Attributes:
        checks: The fixed checks that ran, in order.
        suite: The run of the tests, where it came to that.
        proof: Whether the tests can fail, where it came to that.
        failure: Why the draft does not pass; None where it does.
        output: What the solution printed when it ran on the samples, shortened.
    """

    model_config = ConfigDict(frozen=True)

    checks: tuple[Check, ...] = ()
    suite: SuiteRun | None = None
    proof: SuiteProof | None = None
    failure: Failure | None = None
    output: str = ""

    @property
    def passed(self) -> bool:
        """Whether the draft can be handed out."""
        return self.failure is None
