"""The receipt of a generation: what was checked, with what, and what was not."""

from __future__ import annotations

from pydantic import Field

from flyteplugins.codegen.core.data import Data
from flyteplugins.codegen.core.verdict import Check, SuiteProof


class ConstraintBacking(Data):
    """What stands behind a constraint.

    Attributes:
        constraint: The user's words.
        checks: Data checks parsed from it, such as `readings.temperature: in_range(-40, 60)`.
        tests: Names of the tests that the model says cover it and that exist in the suite.
    """

    constraint: str
    checks: list[str] = Field(default_factory=list)
    tests: list[str] = Field(default_factory=list)

    @property
    def backed(self) -> bool:
        """Whether anything stands behind it."""
        return bool(self.checks or self.tests)


class Receipt(Data):
    """What a generation did and what it cost.

    Attributes:
        isolation: The runtime that everything ran in, and what it isolates, in a line.
        checks: The fixed checks of the solution, in order.
        constraints: Each constraint and what stands behind it.
        tests: How many tests the suite has.
        proof: Whether the tests can fail.
        lock: Key of the environment's lock, hex SHA-256; empty where none was built.
        calls: Model calls.
        input_tokens: Tokens sent.
        output_tokens: Tokens received.
        cost: US dollars, None where the price of the model is not known.
        seconds: Wall time of the generation.
        not_checked: What was not checked, in sentences.
        warnings: What was seen and did not fail the generation.
    """

    isolation: str = ""
    checks: list[Check] = Field(default_factory=list)
    constraints: list[ConstraintBacking] = Field(default_factory=list)
    tests: int = 0
    proof: SuiteProof | None = None
    lock: str = ""
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None
    seconds: float = 0.0
    not_checked: list[str] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
