"""The artefacts so far, as a value: a repair makes another draft."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.solution import CodePlan, CodeSolution
from flyteplugins.codegen.core.verdict import SuiteProof, Verdict


@dataclass(frozen=True)
class Draft:
    """A plan, the code and the tests made from it, and what they need.

    Attributes:
        plan: What both are made from.
        solution: The code.
        tests: Source of the tests; None with `skip_tests`.
        coverage: Names of the tests that stand behind each constraint, by its number from 1.
        added_packages: Distributions that a diagnosis added to what the imports say.
        added_system_packages: apt packages that a diagnosis added.
        test_packages: Distributions that the model says the tests import beyond the usual ones.
        added_test_packages: Distributions that the tests were found to lack.
        proof: Whether these tests can fail, where that was found out.
        former: The code of before a revision, which the tests should refuse; None where there was none.
        told: Names of the advisory checks that the model was told of; each is told once.
    """

    plan: CodePlan
    solution: CodeSolution
    tests: str | None = None
    coverage: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    added_packages: tuple[str, ...] = ()
    added_system_packages: tuple[str, ...] = ()
    test_packages: tuple[str, ...] = ()
    added_test_packages: tuple[str, ...] = ()
    proof: SuiteProof | None = None
    former: str | None = None
    told: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Turn:
    """One attempt: a draft, what its checks came to, and what was changed after it.

    Attributes:
        attempt: Counted from 1.
        draft: What was checked.
        verdict: What it came to.
        image: What the runtime calls the environment that was built; empty where it did not come to that.
        packages: Distributions of that environment, as they were asked for.
        lock: That environment, resolved.
    """

    attempt: int
    draft: Draft
    verdict: Verdict
    image: str = ""
    packages: tuple[str, ...] = ()
    lock: Lock | None = None

    @property
    def rank(self) -> tuple[int, int]:
        """How far it came: the stage first, then the tests that passed."""
        failure = self.verdict.failure
        stages = ["static", "review", "environment", "contract", "tests", "suite"]
        stage = stages.index(failure.stage) if failure else len(stages)
        return stage, sum(case.passed for case in self.verdict.suite.cases) if self.verdict.suite else 0


def best_of(turns: list[Turn]) -> Turn | None:
    """The attempt that came furthest; of equals the latest."""
    return max(turns, key=lambda turn: (turn.rank, turn.attempt), default=None)
