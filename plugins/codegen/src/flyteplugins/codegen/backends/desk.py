"""Everything that works on one request: the model, the sandbox and the checks, with the words of the pipeline."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from flyteplugins.codegen.backends import answers
from flyteplugins.codegen.backends.draft import Draft, Turn
from flyteplugins.codegen.backends.messages import Messages
from flyteplugins.codegen.backends.review import Reviewer, let_run
from flyteplugins.codegen.backends.workshop import Needs, Workshop, lacking_a_library, not_built, tests_not_built
from flyteplugins.codegen.checks.check import Bench, Subject, check
from flyteplugins.codegen.checks.head_start import start_early
from flyteplugins.codegen.core.errors import (
    AnswerCutOffError,
    ContextTooLongError,
    EnvironmentBuildError,
    InvalidAnswerError,
)
from flyteplugins.codegen.core.events import AttemptFinished, Event, Note
from flyteplugins.codegen.core.request import Request
from flyteplugins.codegen.core.settings import Settings
from flyteplugins.codegen.core.solution import CodePlan, CodeSolution
from flyteplugins.codegen.core.together import both
from flyteplugins.codegen.core.values import format_value
from flyteplugins.codegen.core.verdict import Check, ErrorDiagnosis, Failure, Verdict
from flyteplugins.codegen.data.constraints import ParsedConstraints
from flyteplugins.codegen.data.context import LEFT_OUT
from flyteplugins.codegen.models.model import Model
from flyteplugins.codegen.models.step import A, Message, Step
from flyteplugins.codegen.report.in_flyte import FlyteReport
from flyteplugins.codegen.report.timeline import Timeline
from flyteplugins.codegen.sandbox.contract import Limits
from flyteplugins.codegen.tasks.executor import Environment
from flyteplugins.codegen.tasks.given import Given, example_of, grown

T = TypeVar("T")

UNUSABLE = (InvalidAnswerError, AnswerCutOffError)
"""A step that got no usable answer, also when asked again: the generation goes on without it."""

_NO_CODE = CodeSolution(code="")
_LOOK_AT_CLOCK: Final = 0.5


@dataclass
class Desk:
    """What a backend works with; one generation has one desk.

    Attributes:
        request: What is asked.
        settings: The agent's settings.
        messages: What the model is told, by step.
        model: The language model.
        workshop: Builds the environments; its executor runs all jobs.
        isolation: The runtime that was chosen and why, in a line.
        limits: What a check may use at most.
        env: Environment variables of the program, secrets included.
        store: Folder of the pinned files.
        emit: Takes the events.
        page: The report in the Flyte task that asked, which grows with the events.
        reviewer: Asks a person for what the settings say they are to approve.
        latest: The newest draft, for a generation that ends before its first check.
        attempt: The attempt that model calls belong to, counted from 1; 0 before the first.
        timeline: The steps so far, in time.
        diagnoses: What was decided after each attempt that was followed by another, by its number.
        warnings: What a person should know of this generation and what does not end it.
        left_out: What the model is not told of the samples because of its context: a place in `data.context.LEFT_OUT`.
    """

    request: Request
    settings: Settings
    messages: Messages
    model: Model
    workshop: Workshop
    isolation: str
    limits: Limits
    env: Mapping[str, str]
    store: Path
    emit: Callable[[Event], None]
    page: FlyteReport
    reviewer: Reviewer = field(default_factory=Reviewer)
    latest: Draft | None = None
    attempt: int = 0
    timeline: Timeline = field(default_factory=Timeline)
    diagnoses: dict[int, ErrorDiagnosis] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    left_out: int = 0

    async def in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work within what is left of the limit on seconds.

        Raises:
            BudgetExceededError: The time is up; what goes on is cancelled.
        """
        account = self.model.account
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                left = account.seconds_left
                if left == 0:
                    raise account.out_of_time()
                # What the record serves sets the clock forward, so what is left is looked at again and again.
                await asyncio.wait({task}, timeout=None if left is None else min(left, _LOOK_AT_CLOCK))
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def plan(self, said: Sequence[Message] = ()) -> CodePlan:
        """Ask how the request is to be met; `said` is what follows where a person rejected a plan."""
        answer = await self.ask(answers.plan_step(), [*self.messages.plan(), *said])
        # Download and start what the plan names while the code is being written; what is built in the end follows the
        # code.
        needs = self.workshop.for_plan(answer)
        self.workshop.warm_up(needs, None if self.settings.skip_tests else partial(self._start_early, needs))
        plan = CodePlan.model_validate(answer.model_dump())
        self.latest = Draft(plan, CodeSolution(code=""))
        return plan

    async def read_constraints(self) -> None:
        """Turn the constraints that are about columns into data checks, in one call."""
        if not self.request.constraints or not self.messages.profiles:
            return
        with contextlib.suppress(*UNUSABLE):  # the constraints are in force as text all the same
            parsed = await self.ask(Step("constraints", ParsedConstraints), self.messages.constraints())
            await self.messages.add_checks(parsed)

    async def write(self, plan: CodePlan) -> Draft:
        """Ask for the code and, beside it and without seeing it, for the tests; build while the tests are written."""
        self.latest = Draft(plan, _NO_CODE)
        if self.settings.skip_tests:
            return Draft(plan, await self._write_code(plan))
        solution, tests = await both(self._write_code(plan), self._write_tests(Draft(plan, _NO_CODE), None))
        return dataclasses.replace(tests, solution=solution)

    async def judge(self, draft: Draft, attempt: int) -> Turn:
        """Build the draft's environment and check the draft in it, where a person lets it."""
        self.attempt, self.latest = attempt, draft
        draft, static, failure = await let_run(self, draft)
        self.latest = draft
        if failure:
            return Turn(attempt, draft, Verdict(checks=(static,), failure=failure))
        try:
            needs = self.workshop.for_solution(draft)
            environment = await self.workshop.build(needs, attempt)
        except EnvironmentBuildError as error:
            return Turn(attempt, draft, not_built(error), packages=error.packages)
        built = Turn(attempt, draft, Verdict(), environment.image, needs.spec.packages, environment.lock)
        if draft.tests is None:
            passed = Check(name="its environment is built", passed=True)
            return dataclasses.replace(built, verdict=Verdict(checks=(static, passed)))
        try:
            tools = await self.workshop.build(self.workshop.for_tests(draft), attempt)
        except EnvironmentBuildError as error:
            return dataclasses.replace(built, verdict=tests_not_built(error))
        subject = Subject(
            code=draft.solution.code,
            tests=draft.tests,
            contract=self.request.contract,
            samples={**self.request.samples, **await self._example_files(draft.solution)},
            examples={
                name: text
                for name, text in draft.solution.examples.items()
                if name in self.request.contract.plain_inputs
            },
            environment=environment,
            former=draft.former,
        )
        verdict = await check(subject, self._bench(tools, attempt), proof=draft.proof, rules=(static, None))
        if verdict.failure:
            failure = lacking_a_library(verdict.failure, draft.solution, self.workshop.executor.runtime)
            verdict = verdict.model_copy(update={"failure": failure})
        return dataclasses.replace(built, verdict=verdict)

    async def diagnose(self, draft: Draft, failure: Failure, earlier: Sequence[str]) -> ErrorDiagnosis:
        """Ask which artefact is at fault; the answer must quote what decides it."""
        step = answers.diagnosis_step(self.messages.deciding(draft.plan), failure.tests)
        try:
            return await self.ask(step, self.messages.diagnosis(draft, failure.message, earlier))
        except UNUSABLE as error:
            # The code is the artefact that is wrong most often, and the failure itself says how.
            return ErrorDiagnosis(error_type="logic", reason=f"No diagnosis could be had: {error}")

    async def rewrite_code(self, draft: Draft, problem: str) -> CodeSolution:
        """Ask for the code again, with what is wrong with it; it stays as it is if no usable answer comes."""
        step = answers.code_step("repair_code", self.request.contract, self.request.given)
        try:
            return self.solution_of(await self.ask(step, self.messages.repair_code(draft, problem)))
        except UNUSABLE:
            return draft.solution

    async def rewrite_tests(self, draft: Draft, problem: str) -> Draft:
        """Ask for the whole test module again; only for one that does not load."""
        return await self._write_tests(draft, problem)

    async def mend_tests(self, draft: Draft, problem: str, names: Collection[str]) -> Draft:
        """Ask for other versions of the tests in `names`; all others stay as they are."""
        step = answers.repair_tests_step(names)
        try:
            repaired = await self.ask(step, self.messages.repair_tests(draft, problem, names))
        except UNUSABLE:
            return draft
        return dataclasses.replace(draft, tests=answers.with_repaired(draft.tests or "", repaired), proof=None)

    async def more_tests(self, draft: Draft, problem: str) -> Draft:
        """Ask for tests beside those that there are."""
        tests = draft.tests or ""
        step = answers.write_tests_step("more_tests", len(self.request.constraints), (), answers.test_names(tests))
        try:
            more = await self.ask(step, self.messages.more_tests(draft, problem))
        except UNUSABLE:
            return draft
        coverage = dict(draft.coverage)
        for number, names in answers.coverage_of(more.coverage).items():
            coverage[number] = (*coverage.get(number, ()), *names)
        return dataclasses.replace(
            draft,
            tests=answers.with_more(tests, more.code),
            coverage=coverage,
            test_packages=tuple(sorted({*draft.test_packages, *more.packages})),
            proof=None,
        )

    def report(self, turn: Turn, diagnosis: ErrorDiagnosis | None) -> None:
        """Tell that an attempt is judged, and what is changed next."""
        if diagnosis:
            self.diagnoses[turn.attempt] = diagnosis
        self.emit(
            AttemptFinished(
                attempt=turn.attempt,
                passed=turn.verdict.passed,
                error_type=diagnosis.error_type if diagnosis else None,
                reason=diagnosis.reason if diagnosis else "",
                added_packages=tuple(diagnosis.packages) if diagnosis else (),
            )
        )

    async def ask(self, step: Step[A], messages: Sequence[Message]) -> A:
        """Ask the model; the answer belongs to the attempt that goes on.

        Where the messages are longer than the model's context, they are sent again with less about the samples.

        Raises:
            ContextTooLongError: They are too long with the least about the samples.
        """
        # From where the generation stands, one step at a time: questions side by side then ask the same in any case.
        return await self._ask(step, messages, self.left_out)

    async def _ask(self, step: Step[A], messages: Sequence[Message], left_out: int) -> A:
        try:
            return await self.model.ask(step, self.messages.shorter(messages, left_out), attempt=self.attempt)
        except ContextTooLongError as error:
            less = self.messages.shorten(left_out)
            if less is None:
                raise
            self._leave_out(step.name, less, error)
        return await self._ask(step, messages, less)

    def _leave_out(self, step: str, left_out: int, error: ContextTooLongError) -> None:
        """Tell the model less about the samples from now on, and tell the user."""
        what = LEFT_OUT[left_out]
        self.emit(Note(self.attempt, f"{error} The step {step!r} is asked again; of the samples it leaves out {what}."))
        if left_out > self.left_out:
            self.left_out = left_out
            self.warnings.append(f"The model's context is too short for all about the samples: {what} were left out.")

    async def _write_code(self, plan: CodePlan) -> CodeSolution:
        step = answers.code_step("code", self.request.contract, self.request.given)
        try:
            solution = self.solution_of(await self.ask(step, self.messages.code(plan)))
        except UNUSABLE:
            return _NO_CODE  # the static checks say so, and it is asked for again as a repair
        self.latest = Draft(plan, solution)
        with contextlib.suppress(EnvironmentBuildError):  # it shows again when the draft is judged
            self.workshop.warm_up(self.workshop.for_solution(Draft(plan, solution)))
        return solution

    async def _write_tests(self, draft: Draft, problem: str | None) -> Draft:
        backed = {check.constraint for check in self.messages.evaluation.checks}
        must_cover = [number for number in range(1, len(self.request.constraints) + 1) if number not in backed]
        step = answers.write_tests_step("tests", len(self.request.constraints), must_cover, ())
        try:
            answer = await self.ask(step, self.messages.tests(draft.plan, must_cover, problem))
        except UNUSABLE:
            return dataclasses.replace(draft, tests=draft.tests or "")
        return dataclasses.replace(
            draft,
            tests=answer.code,
            coverage=answers.coverage_of(answer.coverage),
            test_packages=tuple(answer.packages),
            proof=None,
        )

    def solution_of(self, answer: answers.CodeAnswer) -> CodeSolution:
        """The solution in an answer, with the user's own examples."""
        examples = {example.name: example.value for example in answer.examples}
        return CodeSolution(
            code=answer.code,
            packages=tuple(answer.packages),
            system_packages=tuple(answer.system_packages),
            examples={**examples, **self.given()},
        )

    def given(self) -> dict[str, str]:
        """Examples that the user gave, as text; they win over the model's."""
        return {name: format_value(value) for name, value in self.request.input_examples.items()}

    async def _example_files(self, solution: CodeSolution) -> dict[str, Given]:
        """Files for each input that is none of text and has no sample: the user's, else of what the model gave."""
        contract = self.request.contract
        given = grown(contract, self.request.example_files)
        for name, kind in contract.files_without_sample.items():
            if name not in given:
                given[name] = await example_of(name, kind, solution.examples.get(name, ""))
        return given

    async def _start_early(self, needs: Needs, environment: Environment) -> None:
        tools = await self.workshop.executor.build(self.workshop.for_tests().spec)
        if not self.attempt:
            await start_early(
                self.workshop.executor,
                self.request.contract,
                environment,
                tools,
                needs.spec.packages,
                limits=self.limits,
                env=self.env,
                network=not self.settings.block_network,
            )

    def _bench(self, tools: Environment, attempt: int) -> Bench:
        return Bench(
            executor=self.workshop.executor,
            tools=tools,
            limits=self.limits,
            env=self.env,
            network=not self.settings.block_network,
            store=self.store,
            on_event=self.emit,
            attempt=attempt,
        )
