"""Whether the tests can fail: they must refuse stubs, and most of a few mutants of the code."""

from __future__ import annotations

import asyncio
import dataclasses
import os
from pathlib import Path

from flyteplugins.codegen.checks.contract_checks import parse_outputs, run_on_samples
from flyteplugins.codegen.checks.mutants import Mutant, mutants, stubs
from flyteplugins.codegen.checks.subject import Bench, Subject
from flyteplugins.codegen.checks.suite import SuiteResult, run_suite
from flyteplugins.codegen.checks.text import signature
from flyteplugins.codegen.core.errors import JobError
from flyteplugins.codegen.core.verdict import Failure, SuiteProof
from flyteplugins.codegen.data.compare import compare_outputs
from flyteplugins.codegen.tasks.records import Execution


async def prove(subject: Subject, bench: Bench, on_samples: Execution | None = None) -> SuiteProof:
    """Run the tests, which passed on the code, on programs that they must refuse.

    A mutant that the tests let through and that gives the code's own outputs on the samples is not counted: it may
    well mean the same.

    Args:
        subject: What is checked.
        bench: What with.
        on_samples: The run of the code on the samples.

    Returns:
        What they did.

    Raises:
        InfrastructureError: The sandbox failed.
    """
    at_once = asyncio.Semaphore(os.cpu_count() or 1)
    changed = mutants(subject.code)

    async def refuse(code: str, name: str, *, first_failure_only: bool) -> SuiteResult:
        async with at_once:
            return await run_suite(subject, bench, code=code, name=name, first_failure_only=first_failure_only)

    async def try_mutant(mutant: Mutant) -> tuple[SuiteResult, bool]:
        result = await refuse(mutant.code, "tests-of-mutant", first_failure_only=True)
        if result.failure or on_samples is None or not subject.contract.outputs:
            return result, False
        async with at_once:
            return result, await _means_the_same(mutant, subject, bench, on_samples)

    tried = asyncio.gather(*(try_mutant(mutant) for mutant in changed))
    refused = asyncio.gather(
        *(refuse(stub, "tests-of-stub", first_failure_only=False) for stub in stubs(subject.contract))
    )
    stub_results, mutant_results = await refused, await tried
    counted = [(mutant, result) for mutant, (result, same) in zip(changed, mutant_results, strict=True) if not same]
    failed = {name for result in [*stub_results, *(result for _, result in counted)] for name in result.failed}
    return SuiteProof(
        stubs=len(stub_results),
        stubs_failed=sum(result.failure is not None for result in stub_results),
        mutants=len(counted),
        mutants_failed=sum(result.failure is not None for _, result in counted),
        proved=tuple(sorted(failed)),
        survivors=tuple(mutant.change for mutant, result in counted if result.failure is None),
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


async def _means_the_same(mutant: Mutant, subject: Subject, bench: Bench, on_samples: Execution) -> bool:
    """Whether a mutant gives on the samples what the code gives."""
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
