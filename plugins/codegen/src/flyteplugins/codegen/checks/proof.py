"""Whether the tests can fail: they must refuse stubs, and most of a few mutants of the code."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flyteplugins.codegen.checks.contract_checks import parse_outputs, run_on_samples
from flyteplugins.codegen.checks.mutants import Mutant, mutants, stubs
from flyteplugins.codegen.checks.subject import Bench, Subject
from flyteplugins.codegen.checks.suite import Refusal, Variants
from flyteplugins.codegen.checks.text import signature
from flyteplugins.codegen.core.errors import JobError
from flyteplugins.codegen.core.verdict import Failure, SuiteProof
from flyteplugins.codegen.data.compare import compare_outputs
from flyteplugins.codegen.tasks.records import Execution

FORMER: Final = "the code of before, which ignores the follow-up request"
"""What the mutant changed that is no mutant but what a revision started from."""


@dataclass(frozen=True)
class Tried:
    """The programs that the tests have to refuse.

    Attributes:
        stubs: What programs write that ignore their inputs, by output.
        mutants: Programs with one small fault, and the one of before a revision, which lacks what is new.
    """

    stubs: Sequence[Mapping[str, str]]
    mutants: Sequence[Mutant]

    @classmethod
    def of(cls, subject: Subject) -> Tried:
        """The ones for a draft; the same for the same code and contract."""
        former = [Mutant(subject.former, FORMER)] if subject.former not in (None, subject.code) else []
        return cls(stubs(subject.contract), [*mutants(subject.code), *former])

    @property
    def variants(self) -> Variants:
        """As the tests take them."""
        return Variants(self.stubs, [mutant.code for mutant in self.mutants])


async def prove(
    subject: Subject, bench: Bench, tried: Tried, refusals: Sequence[Refusal], on_samples: Execution | None = None
) -> SuiteProof:
    """Sum up what the tests, which passed on the code, did on programs that they must refuse.

    A mutant that the tests let through and that gives the code's own outputs on the samples is not counted: it may
    well mean the same.

    Args:
        subject: What is checked.
        bench: What with.
        tried: The programs.
        refusals: What the tests made of each.
        on_samples: The run of the code on the samples.

    Returns:
        What they did.

    Raises:
        InfrastructureError: The sandbox failed.
    """
    of_stubs, changed = refusals[: len(tried.stubs)], tried.mutants
    of_mutants = dict(zip(changed, refusals[len(tried.stubs) :], strict=True))
    passed = [mutant for mutant in changed if not of_mutants[mutant].refused]
    same = await asyncio.gather(*(_means_the_same(mutant, subject, bench, on_samples) for mutant in passed))
    survivors = [mutant for mutant, is_same in zip(passed, same, strict=True) if not is_same]
    refused = [refusal for refusal in of_mutants.values() if refusal.refused]
    return SuiteProof(
        stubs=len(of_stubs),
        stubs_failed=sum(refusal.refused for refusal in of_stubs),
        mutants=len(refused) + len(survivors),
        mutants_failed=len(refused),
        proved=tuple(sorted({name for refusal in [*of_stubs, *refused] for name in refusal.tests})),
        survivors=tuple(mutant.change for mutant in survivors),
    )


def unconvincing(proof: SuiteProof) -> Failure | None:
    """The failure of a suite that lets too much through; None if it does not.

    Args:
        proof: What the tests did.

    Returns:
        The failure, at the tests' door.
    """
    if proof.convincing:
        return None
    said = []
    if passed := proof.stubs - proof.stubs_failed:
        said.append(
            f"- {passed} of {proof.stubs} programs that do nothing of what is asked (constant outputs, or none, and "
            "exit status 0)"
        )
    if proof.survivors:
        said.append(f"- {len(proof.survivors)} of {proof.mutants} programs with one small fault:")
        said += [f"  - {change}" for change in proof.survivors]
    message = "The tests can't tell the solution from wrong programs. They pass on:\n" + "\n".join(said)
    return Failure(
        stage="suite",
        message=message,
        signature=signature("suite", str(proof.stubs - proof.stubs_failed), *proof.survivors),
        error_type="test_error",
    )


async def _means_the_same(mutant: Mutant, subject: Subject, bench: Bench, on_samples: Execution | None) -> bool:
    """Whether a mutant gives on the samples what the code gives."""
    if on_samples is None or not subject.contract.outputs:
        return False
    try:
        execution = await run_on_samples(subject, bench, name="check-mutant", code=mutant.code)
    except JobError:
        return False
    if execution.exit_code:
        return False
    mutated = dataclasses.replace(subject, code=mutant.code)
    values, wrong = await parse_outputs(mutated, execution)
    expected, _ = await parse_outputs(subject, on_samples)
    if wrong or values.keys() != expected.keys():
        return False
    for name, value in values.items():
        other = expected[name]
        if isinstance(value, Path) and isinstance(other, Path):
            if await asyncio.to_thread(compare_outputs, value, other) == "different":
                return False
        elif value != other:
            return False
    return True
