"""After a failed attempt: which artefact is at fault, and a draft in which that one is changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from flyteplugins.codegen.backends.desk import Desk
from flyteplugins.codegen.backends.draft import Draft, Turn
from flyteplugins.codegen.checks.suite import IN_TESTS_ENVIRONMENT
from flyteplugins.codegen.core.verdict import Artefact, Check, ErrorDiagnosis, Failure

SAME_FAILURES: Final = 3
"""How often the same failure may come before the pipeline stops."""


def open_advice(turn: Turn) -> list[Check]:
    """Advisory checks that did not hold and that the model was not told of yet."""
    return [
        check
        for check in turn.verdict.checks
        if check.advisory and not check.passed and check.name not in turn.draft.told
    ]


def give_up_reason(turns: Sequence[Turn]) -> str | None:
    """Why another attempt can't help: the same failure for the third time, or a limit that was hit twice."""
    failure = turns[-1].verdict.failure
    if failure is None:
        return None
    same = [turn for turn in turns if turn.verdict.failure and turn.verdict.failure.signature == failure.signature]
    if len(same) >= SAME_FAILURES:
        return f"Stopped: the same failure came {len(same)} times, whatever was changed.\n{failure.message}"
    finals = [turn for turn in turns if turn.verdict.failure and turn.verdict.failure.final]
    if failure.final and len(finals) > 1:
        return f"Stopped: the code was changed once and hit the limit again.\n{failure.message}"
    return None


async def diagnose(desk: Desk, turns: Sequence[Turn]) -> ErrorDiagnosis:
    """Say which artefact the last attempt failed by; a model is asked only where it takes judgement."""
    turn = turns[-1]
    failure = turn.verdict.failure
    if failure is None:
        return ErrorDiagnosis(error_type="logic", reason="The checks left advice.", instructions=_advice(turn))
    again = _fixed_before(turns, failure)
    if failure.error_type and not again:
        return ErrorDiagnosis(
            error_type=failure.error_type,
            reason=failure.message.splitlines()[0] if failure.message else failure.stage,
            instructions="\n\n".join(filter(None, [failure.message, _advice(turn)])),
            packages=list(failure.packages),
            system_packages=list(failure.system_packages),
            tests=sorted({name.split("[")[0] for name in failure.tests}),
        )
    if failure.stage != "tests":
        # The tests have no part in these, so a second failure still is the code's (or the suite's own).
        error_type: Artefact = "test_error" if failure.stage == "suite" else "logic"
        text = f"The last change did not mend this; take another way.\n{failure.message}"
        return ErrorDiagnosis(error_type=error_type, reason=text.splitlines()[0], instructions=text)
    diagnosis = await desk.diagnose(turn.draft, failure, [_told(earlier) for earlier in turns[:-1]])
    if again and diagnosis.error_type == again:
        # The same artefact was changed for the same failure and it stayed: try the other one.
        other: Artefact = "test_error" if again == "logic" else "logic"
        names = sorted({name.split("[")[0] for name in failure.tests})
        return diagnosis.model_copy(update={"error_type": other, "tests": names})
    return diagnosis


async def repair(desk: Desk, turn: Turn, diagnosis: ErrorDiagnosis) -> Draft:
    """The next draft: one artefact changed, the others as they were."""
    draft, failure = turn.draft, turn.verdict.failure
    draft = dataclasses.replace(draft, proof=turn.verdict.proof)
    if diagnosis.error_type == "environment" and failure and failure.message.startswith(IN_TESTS_ENVIRONMENT):
        added = tuple(sorted({*draft.added_test_packages, *diagnosis.packages}))
        return dataclasses.replace(draft, added_test_packages=added)
    if diagnosis.error_type == "environment":
        return dataclasses.replace(
            draft,
            added_packages=tuple(sorted({*draft.added_packages, *diagnosis.packages})),
            added_system_packages=tuple(sorted({*draft.added_system_packages, *diagnosis.system_packages})),
        )
    problem = "\n\n".join(
        filter(None, [diagnosis.reason, diagnosis.instructions, failure.message if failure else "", _advice(turn)])
    )
    if diagnosis.error_type == "logic":
        solution = await desk.rewrite_code(draft, _unrepeated(problem))
        told = draft.told | {check.name for check in open_advice(turn)}
        return dataclasses.replace(draft, solution=solution, told=told, proof=None)
    return await _repair_tests(desk, draft, failure, diagnosis, _unrepeated(problem))


async def _repair_tests(
    desk: Desk, draft: Draft, failure: Failure | None, diagnosis: ErrorDiagnosis, problem: str
) -> Draft:
    if draft.tests is None or (failure and failure.stage in ("tests", "review") and not failure.tests):
        # The module itself does not load, or a person rejected its packages: there is no single test to mend.
        return await desk.rewrite_tests(draft, problem)
    if failure and failure.stage == "suite":
        return await desk.more_tests(draft, problem)
    return await desk.mend_tests(draft, problem, diagnosis.tests)


def _fixed_before(turns: Sequence[Turn], failure: Failure) -> Artefact | None:
    """The artefact that was changed for this same failure the last time it came, if it did."""
    for earlier, later in zip(reversed(turns[:-1]), reversed(turns[1:]), strict=True):
        before = earlier.verdict.failure
        if before and before.signature == failure.signature:
            return _changed(earlier.draft, later.draft)
    return None


def _changed(before: Draft, after: Draft) -> Artefact:
    if before.tests != after.tests:
        return "test_error"
    return "logic" if before.solution.code != after.solution.code else "environment"


def _told(turn: Turn) -> str:
    failure = turn.verdict.failure
    return f"attempt {turn.attempt}: {failure.message.splitlines()[0] if failure and failure.message else 'advice'}"


def _advice(turn: Turn) -> str:
    advice = open_advice(turn)
    return "\n".join(f"- {check.name}: {check.detail}" for check in advice) if advice else ""


def _unrepeated(text: str) -> str:
    """The text without paragraphs that stand in it twice."""
    return "\n\n".join(dict.fromkeys(part.strip() for part in text.split("\n\n") if part.strip()))
