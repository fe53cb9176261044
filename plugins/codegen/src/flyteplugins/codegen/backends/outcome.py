"""From the attempts of a generation to the result that the user gets."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from flyteplugins.codegen.backends.defaults import defaults_of
from flyteplugins.codegen.backends.desk import Desk
from flyteplugins.codegen.backends.draft import Turn, best_of
from flyteplugins.codegen.backends.origin import origin_of
from flyteplugins.codegen.backends.revised_tests import sources
from flyteplugins.codegen.core.contract import VALUE_TYPES
from flyteplugins.codegen.core.events import GenerationFinished
from flyteplugins.codegen.core.history import Attempt
from flyteplugins.codegen.core.receipt import ConstraintBacking, Receipt
from flyteplugins.codegen.core.result import CodeGenEvalResult
from flyteplugins.codegen.core.verdict import ErrorDiagnosis

_NO_DRAFT: Final = "No code came out of it."
NOT_CHECKED: Final = "The code was written, and nothing of it was checked."
"""How the error of a generation ends that stopped before its first check."""


def result_of(desk: Desk, turns: Sequence[Turn], stopped: str | None) -> CodeGenEvalResult:
    """The result of a generation.

    Args:
        desk: The desk of the generation.
        turns: Its attempts.
        stopped: Why it ended before the last attempt, or None.

    Returns:
        The result of the attempt that came furthest; successful if that one passed, whatever happened afterwards.
    """
    best = best_of(list(turns))
    success = best is not None and best.verdict.passed
    usage, contract = desk.model.usage, desk.request.contract
    draft, verdict = (best.draft, best.verdict) if best else (desk.latest, None)
    suite = verdict.suite if verdict else None
    solution = draft.solution if draft and draft.solution.code else None
    result = CodeGenEvalResult(
        success=success,
        solution=solution,
        tests=draft.tests if draft else None,
        output=suite.output if suite else (verdict.output if verdict else ""),
        exit_code=suite.exit_code if suite else (0 if success else -1),
        error=None if success else _error(best, turns, stopped, NOT_CHECKED if solution else _NO_DRAFT),
        attempts=len(turns),
        image=best.image if best else "",
        detected_packages=list(best.packages) if best else [],
        detected_system_packages=list(_system_packages(best)),
        generated_schemas=dict(desk.messages.schemas) or None,
        data_context=desk.messages.data_context or None,
        original_samples=dict(desk.request.samples) or None,
        total_input_tokens=usage.total.input_tokens,
        total_output_tokens=usage.total.output_tokens,
        conversation_history=list(desk.model.history),
        plan=draft.plan if draft else None,
        declared_inputs={name: VALUE_TYPES[kind] for name, kind in contract.inputs.items()},
        declared_outputs={name: VALUE_TYPES[kind] for name, kind in contract.outputs.items()},
        input_examples=dict(solution.examples) if solution else {},
        lock=best.lock if best else None,
        receipt=_receipt(desk, best),
        defaults=defaults_of(desk.settings),
        usage=usage,
        history=[_attempt(turn, desk.diagnoses.get(turn.attempt), desk.reviewer.written) for turn in turns],
        reviews=list(desk.reviewer.reviews),
        origin=origin_of(desk.settings, desk.request, desk.messages.evaluation),
        pictures=[profile.picture for profile in desk.messages.profiles.values()],
    )
    desk.emit(GenerationFinished.of(result))
    # Only now none of its steps goes on.
    return result.model_copy(update={"timeline": desk.timeline.spans})


def _attempt(turn: Turn, diagnosis: ErrorDiagnosis | None, by_person: Collection[str]) -> Attempt:
    failure = turn.verdict.failure
    return Attempt(
        number=turn.attempt,
        code=turn.draft.solution.code,
        by="person" if turn.draft.solution.code in by_person else "model",
        tests=turn.draft.tests,
        packages=list(turn.packages),
        passed=turn.verdict.passed,
        stage=failure.stage if failure else None,
        failure=failure.message if failure else "",
        error_type=diagnosis.error_type if diagnosis else None,
        reason=diagnosis.reason if diagnosis else "",
        cases=list(turn.verdict.suite.cases) if turn.verdict.suite else [],
    )


def _error(best: Turn | None, turns: Sequence[Turn], stopped: str | None, without_turns: str) -> str:
    failure = best.verdict.failure if best else None
    if stopped and not failure:
        return stopped if turns else f"{stopped} {without_turns}"
    if failure is None:
        return _NO_DRAFT
    number = best.attempt if best else 0
    parts = [f"No attempt of {len(turns)} passed. The best, number {number}, failed at {_AT[failure.stage]}:"]
    parts.append(failure.message)
    if stopped and failure.message not in stopped:
        parts.append(stopped)
    elif stopped:
        parts.insert(0, stopped.splitlines()[0])
    return "\n".join(parts)


_AT: Final = {
    "static": "the script's contract",
    "review": "a person's review",
    "environment": "its environment",
    "contract": "the run on the samples",
    "tests": "its tests",
    "suite": "the proof that its tests can fail",
}


def _receipt(desk: Desk, best: Turn | None) -> Receipt:
    verdict, usage = (best.verdict if best else None), desk.model.usage
    tests = tuple(sources(best.draft.tests)) if best else ()
    constraints = [_backing(desk, best, number) for number in range(1, len(desk.request.constraints) + 1)]
    checks = list(verdict.checks) if verdict else []
    dropped = [
        f"A check read from a constraint can't be made: {row.reason}" for row in desk.messages.evaluation.dropped
    ]
    warnings = [f"{check.name}: {check.detail}" for check in checks if check.advisory and not check.passed]
    return Receipt(
        isolation=desk.isolation,
        checks=checks,
        constraints=constraints,
        tests=len(verdict.suite.cases) if verdict and verdict.suite else len(tests),
        proof=verdict.proof if verdict else None,
        lock=best.lock.key if best and best.lock else "",
        calls=usage.total.calls,
        input_tokens=usage.total.input_tokens,
        output_tokens=usage.total.output_tokens,
        cost=usage.total.cost,
        seconds=desk.model.account.seconds,
        not_checked=_not_checked(desk, constraints),
        warnings=[*desk.warnings, *dropped, *warnings],
    )


def _backing(desk: Desk, best: Turn | None, number: int) -> ConstraintBacking:
    tests = set(sources(best.draft.tests)) if best else set()
    named = best.draft.coverage.get(number, ()) if best else ()
    return ConstraintBacking(
        constraint=desk.request.constraints[number - 1],
        checks=desk.messages.evaluation.labels(number),
        tests=[name for name in named if name in tests],
    )


def _not_checked(desk: Desk, constraints: Sequence[ConstraintBacking]) -> list[str]:
    left = [f"Nothing stands behind the constraint: {row.constraint}" for row in constraints if not row.backed]
    if desk.settings.skip_tests:
        left.append("The code was never run: skip_tests=True.")
    if not desk.request.samples:
        left.append("There was no sample data: the tests saw only data that they made themselves.")
    if not desk.workshop.executor.runtime.isolates:
        left.append("Nothing isolated the code from this machine.")
    return left


def _system_packages(best: Turn | None) -> tuple[str, ...]:
    return best.draft.solution.system_packages if best else ()
