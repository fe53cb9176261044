"""What a draft must pass before it is handed out: the script's rules, its contract, its tests, and their proof."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import Final

from flyte.io import File

from flyteplugins.codegen.checks.contract_checks import check_contract
from flyteplugins.codegen.checks.proof import Tried, prove, unconvincing
from flyteplugins.codegen.checks.static import static_findings
from flyteplugins.codegen.checks.subject import Bench, Subject
from flyteplugins.codegen.checks.suite import SuiteResult, run_suite
from flyteplugins.codegen.checks.text import shortened
from flyteplugins.codegen.core.contract import Contract
from flyteplugins.codegen.core.events import CheckFinished
from flyteplugins.codegen.core.verdict import Check, Failure, SuiteProof, Verdict
from flyteplugins.codegen.data.cut import cut
from flyteplugins.codegen.tasks.records import Execution

__all__ = ["Bench", "Subject", "check", "check_rules"]

_HEAD_START: Final = 0.01
"""Seconds for which nothing is put in the way of the tests, which take longest; by then they are in their sandbox."""


async def check(
    subject: Subject,
    bench: Bench,
    *,
    proof: SuiteProof | None = None,
    rules: tuple[Check, Failure | None] | None = None,
) -> Verdict:
    """Check a draft; the first stage that fails is the last that is made.

    Args:
        subject: What is checked.
        bench: What with.
        proof: That these very tests can fail on this very code, where it was found out before.
        rules: What `check_rules` said of the code, where it was asked before.

    Returns:
        The verdict, with all checks that were made.

    Raises:
        InfrastructureError: The sandbox or this machine failed; that says nothing about the draft.
    """
    began = time.monotonic()
    static, failure = rules or check_rules(subject.code, subject.contract)
    began = _tell(bench, "static", failure, static.detail, began)
    if failure:
        return Verdict(checks=(static,), failure=failure)

    subject = await _with_cut_samples(subject, bench)
    tried = Tried.of(subject) if subject.tests is not None and proof is None else None
    # Beside the contract checks: where those fail, the tests are ended and what they said is not looked at.
    suite = asyncio.ensure_future(_tests(subject, bench, tried))
    await asyncio.sleep(_HEAD_START)
    try:
        contract = await check_contract(subject, bench)
        checks, output = (static, *contract.checks), _printed(contract.execution)
        began = _tell(bench, "contract", contract.failure, _count(contract.checks), began)
        if contract.failure or subject.tests is None:
            return Verdict(checks=checks, failure=contract.failure, output=output)
        tested = await suite
    finally:
        suite.cancel()
        await asyncio.gather(suite, return_exceptions=True)
    passed = sum(case.passed for case in tested.run.cases) if tested.run else 0
    total = len(tested.run.cases) if tested.run else 0
    began = _tell(bench, "tests", tested.failure, f"{passed} of {total}", began)
    if tested.failure:
        return Verdict(checks=checks, suite=tested.run, failure=tested.failure, output=output)

    if proof is None and tried is not None:
        proof = await prove(subject, bench, tried, tested.refusals, contract.execution)
    failure = unconvincing(proof) if proof else None
    if proof:
        _tell(bench, "mutants", failure, f"{proof.mutants_failed} of {proof.mutants}", began)
    return Verdict(checks=checks, suite=tested.run, proof=proof, failure=failure, output=output)


async def _tests(subject: Subject, bench: Bench, tried: Tried | None) -> SuiteResult:
    if subject.tests is None:
        return SuiteResult(None, None)
    return await run_suite(subject, bench, tried.variants if tried else None)


def check_rules(code: str, contract: Contract) -> tuple[Check, Failure | None]:
    """Check a script against its contract without running it.

    Args:
        code: The script.
        contract: What it takes and gives.

    Returns:
        The check, and the failure if it does not hold.
    """
    findings = static_findings(code, contract)
    name = "the code keeps the script's contract"
    if not findings:
        return Check(name=name, passed=True), None
    message = "The code breaks the script's contract:\n" + "\n".join(f"- {finding}" for finding in findings)
    return (
        Check(name=name, passed=False, detail="; ".join(findings)),
        Failure(stage="static", message=message, signature=message, error_type="logic"),
    )


async def _with_cut_samples(subject: Subject, bench: Bench) -> Subject:
    """The same with a part of each sample that is large; the whole is read in `run()` only."""
    files = {name: given for name, given in subject.samples.items() if isinstance(given, File)}
    parts = await asyncio.gather(*(cut(file, bench.store) for file in files.values()))
    cut_files = dict(zip(files, (part for part, _ in parts), strict=True))
    return dataclasses.replace(subject, samples={**subject.samples, **cut_files})


def _printed(execution: Execution | None) -> str:
    return shortened(f"{execution.stdout.strip()}\n{execution.stderr.strip()}".strip()) if execution else ""


def _count(checks: tuple[Check, ...]) -> str:
    binding = [check for check in checks if not check.advisory]
    return f"{sum(check.passed for check in binding)} of {len(binding)}"


def _tell(bench: Bench, stage: str, failure: Failure | None, detail: str, began: float) -> float:
    """Tell of a stage that began at `began`; return when it ended, which is when the next one begins."""
    now = time.monotonic()
    said = failure.message.splitlines()[0] if failure and failure.message else detail
    bench.on_event(
        CheckFinished(attempt=bench.attempt, stage=stage, passed=failure is None, detail=said, seconds=now - began)
    )
    return now
