"""How a result came about: its attempts, the time they took, and who changed what afterwards."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from flyteplugins.codegen.core.data import Data
from flyteplugins.codegen.core.verdict import Artefact, Stage, TestCase


class Span(Data):
    """A step of a generation, in time.

    Attributes:
        step: Its name, as in the events.
        kind: Who did it.
        attempt: The attempt it belongs to, counted from 1; 0 before the first.
        start: Seconds since the generation began.
        end: Seconds since the generation began.
        detail: What came of it, in a few words.
        served: Whether it came from the record.
    """

    step: str
    kind: Literal["model", "environment", "check", "other"] = "other"
    attempt: int = 0
    start: float = 0.0
    end: float = 0.0
    detail: str = ""
    served: bool = False


class Attempt(Data):
    """One attempt: what was tried and what it came to.

    Attributes:
        number: Counted from 1.
        code: Source of the code.
        by: Who wrote the code.
        tests: Source of the tests; None with `skip_tests`.
        packages: Distributions of its environment, as they were asked for.
        passed: Whether all checks and tests passed.
        stage: Where it failed; None where it passed.
        failure: What the failure said; empty where it passed.
        cases: Its tests and how they went, where it came to that.
        error_type: The artefact that was changed next; None after the last attempt.
        reason: Why that one.
    """

    number: int
    code: str
    by: Literal["model", "person"] = "model"
    tests: str | None = None
    packages: list[str] = Field(default_factory=list)
    passed: bool = False
    stage: Stage | None = None
    failure: str = ""
    cases: list[TestCase] = Field(default_factory=list)
    error_type: Artefact | None = None
    reason: str = ""


class Review(Data):
    """A decision on something that a person was asked to approve.

    Attributes:
        kind: What was shown.
        attempt: The attempt that it belongs to, counted from 1; 0 for a plan.
        version: What was shown: the approach of the plan, the source of the code, or the packages, one a line.
        verdict: What was decided.
        reason: Why, of a rejection.
        edited: The person's own version; empty where there is none.
        by: Who decided, where that is known.
        channel: How they were asked: `callback`, `flyte` or `terminal`.
        seconds: How long they took; the generation's own time does not count it.
        timed_out: Whether nobody answered and the default decision was taken.
        served: Whether the decision came from the record.
    """

    kind: Literal["plan", "code", "packages"]
    attempt: int = 0
    version: str = ""
    verdict: Literal["approved", "rejected", "edited"]
    reason: str = ""
    edited: str = ""
    by: str = ""
    channel: str = ""
    seconds: float = 0.0
    timed_out: bool = False
    served: bool = False


class DroppedTest(Data):
    """A test that a revision did not keep.

    Attributes:
        name: Name of the test function.
        reason: Why it does not hold any more.
    """

    name: str
    reason: str


class Revision(Data):
    """A change of a finished generation.

    Attributes:
        prompt: The follow-up request; None where a person changed the code.
        by: Who wrote the changed code.
        code_before: Source of the code that it started from.
        tests_before: Source of the tests that it started from.
        kept: Names of the tests that still hold.
        dropped: The tests that do not, and why.
        added: Names of the tests that are new.
    """

    prompt: str | None = None
    by: Literal["model", "person"] = "model"
    code_before: str = ""
    tests_before: str | None = None
    kept: list[str] = Field(default_factory=list)
    dropped: list[DroppedTest] = Field(default_factory=list)
    added: list[str] = Field(default_factory=list)
