"""A change of a finished generation: by a follow-up request, or by a person who hands in another version."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Final

from pydantic import Field

from flyteplugins.codegen.backends import answers
from flyteplugins.codegen.backends.asked import Asked
from flyteplugins.codegen.backends.desk import UNUSABLE, Desk
from flyteplugins.codegen.backends.draft import Draft
from flyteplugins.codegen.backends.opening import open_desk
from flyteplugins.codegen.backends.origin import WITHHELD, origin_of, settings_of
from flyteplugins.codegen.backends.outcome import NOT_CHECKED, result_of
from flyteplugins.codegen.backends.pipeline import carry_out
from flyteplugins.codegen.backends.review import approved_plan
from flyteplugins.codegen.backends.revised_tests import compared, revised, revised_tests_step, sources
from flyteplugins.codegen.checks.proof import FORMER
from flyteplugins.codegen.core.errors import InvalidRequestError, ModelError
from flyteplugins.codegen.core.history import Revision
from flyteplugins.codegen.core.result import CodeGenEvalResult, Origin, RevisionOptions
from flyteplugins.codegen.core.solution import CodePlan, CodeSolution
from flyteplugins.codegen.core.together import both
from flyteplugins.codegen.core.values import parse_value
from flyteplugins.codegen.data.constraints import ParsedConstraints
from flyteplugins.codegen.models.step import Message, Step
from flyteplugins.codegen.packages.distributions import detect_packages
from flyteplugins.codegen.results.script import changed_requirements, requirement_name, without_metadata
from flyteplugins.codegen.sandbox.leftovers import leftovers_cleared
from flyteplugins.codegen.tasks.given import grown
from flyteplugins.codegen.tasks.local_run import in_run

_NOT_KNOWN: Final = "What was asked is not known."
_NO_PLAN: Final = CodePlan(description="", approach="")


class RevisedPlan(answers.PlanAnswer):
    """The plan after a follow-up request.

    Attributes:
        unmet: What would have to be declared otherwise for the follow-up to be met; empty where it can be.
    """

    unmet: str = Field(default="")


async def revise(result: CodeGenEvalResult, wanted: RevisionOptions) -> CodeGenEvalResult:
    """Change the code of a result and check it as it was checked before; see `CodeGenEvalResult.revise`."""
    if result.solution is None:
        raise InvalidRequestError("This result has no code that could be revised. Generate it anew.")
    if wanted.prompt is not None and (not isinstance(wanted.prompt, str) or not wanted.prompt.strip()):
        raise InvalidRequestError("The follow-up request is empty. Say in plain language what is to be different.")
    if wanted.prompt and not result.origin.prompt and result.plan is None:
        raise InvalidRequestError("This result does not say what was asked: it has no `origin`. Generate it anew.")
    settings = settings_of(result, wanted.agent, asks=wanted.prompt is not None)
    if wanted.tests is not None:
        settings = dataclasses.replace(settings, skip_tests=False)
    reasons: dict[str, str] = {}
    async with leftovers_cleared(settings.store):
        asked = _asked(result, wanted)
        contract = asked.contract(settings.base_packages or ())
        desk = await open_desk(settings, asked, contract, asks=wanted.prompt is not None)
        try:
            async with desk.page:
                after = await in_run(lambda: _revised(desk, result, wanted, reasons))
                after = _with_history(result, after, wanted, reasons)
                await desk.page.finish(after)
        finally:
            await desk.workshop.close()
    return after


async def _revised(
    desk: Desk, result: CodeGenEvalResult, wanted: RevisionOptions, reasons: dict[str, str]
) -> CodeGenEvalResult:
    """The result of the revision alone; `reasons` takes why tests are dropped."""
    before = desk.latest = await _draft_of(desk, result)
    if wanted.prompt is None:
        # The agent's limits are on models; each run of the code has a time limit of its own.
        turn = await desk.judge(_by_person(result, before, wanted), 1)
        desk.report(turn, None)
        return _with_environment(result_of(desk, [turn], None), result, turn.draft)
    follow_up = wanted.prompt
    desk.warnings += _left_out(result.origin, origin_of(desk.settings, desk.request, desk.messages.evaluation))
    after = await carry_out(desk, lambda: _by_model(desk, before, follow_up, reasons))
    if after.attempts or after.error is None:
        return after
    # It ended before there was a draft: code and tests are those of before, and so is what they run on.
    error = f"{after.error.removesuffix(NOT_CHECKED).rstrip()} Code and tests are as they were."
    return _with_environment(after, result, before).model_copy(update={"error": error})


async def _by_model(desk: Desk, before: Draft, follow_up: str, reasons: dict[str, str]) -> Draft:
    """Change the plan first; then the code and, beside it and without seeing it, the tests."""
    again = partial(_plan, desk, before, follow_up)
    plan = await approved_plan(desk, await again(), again)
    draft = dataclasses.replace(before, plan=plan, former=before.solution.code)
    solution, tests = await both(_code(desk, draft, follow_up), _tests(desk, draft, follow_up, reasons))
    return dataclasses.replace(tests, solution=solution)


def _by_person(result: CodeGenEvalResult, before: Draft, wanted: RevisionOptions) -> Draft:
    """The person's version, to the letter; requirements that were changed in its metadata are followed."""
    code = wanted.code if wanted.code is not None else before.solution.code
    added, gone = changed_requirements(result, code)
    replaced = gone | {requirement_name(line) for line in added}
    packages = [line for line in before.solution.packages if requirement_name(line) not in replaced]
    others = [line for line in before.added_packages if requirement_name(line) not in replaced]
    solution = before.solution.model_copy(update={"code": without_metadata(code), "packages": tuple(packages)})
    tests = wanted.tests if wanted.tests is not None else before.tests
    return dataclasses.replace(before, solution=solution, tests=tests, added_packages=(*others, *added))


def _with_environment(after: CodeGenEvalResult, before: CodeGenEvalResult, draft: Draft) -> CodeGenEvalResult:
    """The result; where none was built, with the environment of before and what the person wants in it."""
    if after.lock is not None:
        return after
    added = {requirement_name(line): line for line in draft.added_packages}
    packages = [line for line in before.detected_packages if requirement_name(line) not in added]
    return after.model_copy(
        update={"lock": before.lock, "image": before.image, "detected_packages": sorted([*packages, *added.values()])}
    )


async def _plan(desk: Desk, before: Draft, follow_up: str, said: Sequence[Message] = ()) -> CodePlan:
    messages = [*desk.messages.revise_plan(before, follow_up), *said]
    answer = await desk.ask(Step("revise_plan", RevisedPlan), messages)
    if answer.unmet.strip():
        # It is what failed, so whoever asks again asks it anew.
        await desk.model.withdraw()
        raise ModelError(
            f"The follow-up request can't be met with the inputs and outputs as they are declared: {answer.unmet} "
            "A revision keeps them; generate anew with the ones that it needs."
        )
    desk.workshop.warm_up(desk.workshop.for_plan(answer))
    return CodePlan.model_validate(answer.model_dump())


async def _code(desk: Desk, draft: Draft, follow_up: str) -> CodeSolution:
    step = answers.code_step("revise_code", desk.request.contract, desk.request.given)
    try:
        answer = await desk.ask(step, desk.messages.revise_code(draft, follow_up))
    except UNUSABLE:
        return draft.solution  # the new tests say what it lacks, and it is asked for again as a repair
    return desk.solution_of(answer)


async def _tests(desk: Desk, draft: Draft, follow_up: str, reasons: dict[str, str]) -> Draft:
    if desk.settings.skip_tests:
        return dataclasses.replace(draft, tests=None)
    if draft.tests is None or not sources(draft.tests):
        return await desk.rewrite_tests(draft, "")
    step = revised_tests_step(draft.tests, follow_up, len(desk.request.constraints))
    try:
        answer = await desk.ask(step, desk.messages.revise_tests(draft, follow_up))
    except UNUSABLE:
        return draft
    reasons.update({dropped.name: f'{dropped.reason} ("{dropped.quote}")' for dropped in answer.dropped})
    coverage = {
        number: tuple(name for name in names if name not in reasons) for number, names in draft.coverage.items()
    }
    for number, names in answers.coverage_of(answer.coverage).items():
        coverage[number] = (*coverage.get(number, ()), *names)
    return dataclasses.replace(
        draft,
        tests=revised(draft.tests, answer),
        coverage=coverage,
        test_packages=tuple(sorted({*draft.test_packages, *answer.packages})),
        proof=None,
    )


def _asked(result: CodeGenEvalResult, wanted: RevisionOptions) -> Asked:
    """The request of the generation, with all follow-up requests and the same contract."""
    origin, contract = result.origin, result.contract
    planned = f"{result.plan.description}\n\n{result.plan.approach}" if result.plan else _NOT_KNOWN
    follow_ups = [revision.prompt for revision in result.revisions if revision.prompt]
    return Asked(
        prompt=origin.prompt or planned,
        schema=origin.context,
        constraints=origin.constraints,
        samples=result.original_samples,
        inputs={name: kind for name, kind in result.declared_inputs.items() if name not in contract.samples},
        outputs=dict(result.declared_outputs),
        input_examples={
            **{
                name: parse_value(text, contract.inputs[name])
                for name, text in origin.input_examples.items()
                if name in contract.plain_inputs
            },
            **grown(contract, origin.example_files),
        },
        follow_ups=[*follow_ups, *([wanted.prompt] if wanted.prompt else [])],
    )


async def _draft_of(desk: Desk, result: CodeGenEvalResult) -> Draft:
    """The result as a draft: what the loop goes on from."""
    if result.origin.data_checks:
        await desk.messages.add_checks(ParsedConstraints.model_validate({"checks": result.origin.data_checks}))
    solution = result.solution or CodeSolution(code="")
    base = desk.settings.base_packages or ()
    try:
        found = {requirement_name(line) for line in detect_packages(solution.code, solution.packages, base)}
    except (SyntaxError, ValueError):
        found = {requirement_name(line) for line in solution.packages}
    backing = enumerate(result.receipt.constraints, start=1)
    return Draft(
        plan=result.plan or _NO_PLAN,
        solution=solution,
        tests=None if desk.settings.skip_tests else result.tests,
        coverage={number: tuple(row.tests) for number, row in backing},
        # What neither the imports nor the model speak for, a diagnosis had found missing.
        added_packages=tuple(line for line in result.detected_packages if requirement_name(line) not in found),
    )


def _left_out(before: Origin, now: Origin) -> list[str]:
    names = sorted(set(before.agent.get(WITHHELD, ())) - set(now.agent.get(WITHHELD, ())))
    if not names or not _same_agent(before, now):
        return []
    told = f"The model was asked without {', '.join(names)}: what may hold a credential is not kept with a result."
    return [f"{told} Pass agent= where it is needed."]


def _same_agent(one: Origin, other: Origin) -> bool:
    return {**one.agent, WITHHELD: None} == {**other.agent, WITHHELD: None}


def _untested(after: CodeGenEvalResult, revision: Revision) -> list[str]:
    """What the tests do not say of a follow-up request."""
    if after.tests is None:
        return []
    if not revision.added:
        return [f"No test was written for the follow-up request: {revision.prompt}"]
    if after.receipt.proof and FORMER in after.receipt.proof.survivors:
        return [f"The tests pass on the code of before as well: nothing shows that this is met: {revision.prompt}"]
    return []


def _with_history(
    before: CodeGenEvalResult, after: CodeGenEvalResult, wanted: RevisionOptions, reasons: dict[str, str]
) -> CodeGenEvalResult:
    """The new result, with the revisions and the conversation of the one that it came from."""
    by_person = wanted.prompt is None
    otherwise = "A person took it out or changed it." if by_person else "It was changed after a test run."
    if after.tests is None:
        otherwise = "The tests were left out: skip_tests=True."
    kept, dropped, added = compared(before.tests, after.tests, reasons, after.history, otherwise)
    revision = Revision(
        prompt=wanted.prompt,
        by="person" if by_person else "model",
        code_before=before.solution.code if before.solution else "",
        tests_before=before.tests,
        kept=kept,
        dropped=dropped,
        added=added,
    )
    left = [] if by_person else _untested(after, revision)
    receipt = after.receipt.model_copy(update={"not_checked": [*after.receipt.not_checked, *left]})
    calls = max((item["call"] for item in before.conversation_history), default=0)
    return after.model_copy(
        update={
            "revisions": [*before.revisions, revision],
            "receipt": receipt,
            # A person's version comes from no agent; what an agent's settings lack is said the next time too.
            "origin": before.origin if by_person or _same_agent(before.origin, after.origin) else after.origin,
            "conversation_history": [
                *before.conversation_history,
                *({**item, "call": item["call"] + calls} for item in after.conversation_history),
            ],
        }
    )
