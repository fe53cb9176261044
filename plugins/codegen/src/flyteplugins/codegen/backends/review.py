"""Approval by a person: what waits for it, what a decision leads to, and what is remembered of it."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Final

from flyteplugins.codegen.backends.workshop import APT, Needs, lines_of, not_built, tests_not_built
from flyteplugins.codegen.checks.check import check_rules
from flyteplugins.codegen.core.errors import (
    CodegenError,
    EnvironmentBuildError,
    ReviewFailedError,
    ReviewRejectedError,
)
from flyteplugins.codegen.core.events import Note, ReviewAnswered, ReviewAsked
from flyteplugins.codegen.core.history import Review
from flyteplugins.codegen.core.review import ReviewDecision, ReviewRequest
from flyteplugins.codegen.core.verdict import Check, Failure
from flyteplugins.codegen.packages.spec import environment_spec, read_requirement
from flyteplugins.codegen.prompts import render
from flyteplugins.codegen.record import Record, key_of
from flyteplugins.codegen.report.review import as_markdown

if TYPE_CHECKING:
    from flyteplugins.codegen.backends.desk import Desk
    from flyteplugins.codegen.backends.draft import Draft
    from flyteplugins.codegen.backends.review_channels import Channel
    from flyteplugins.codegen.core.environment import EnvironmentSpec
    from flyteplugins.codegen.core.settings import ReviewKind
    from flyteplugins.codegen.core.solution import CodePlan, CodeSolution
    from flyteplugins.codegen.models.step import Message

KIND: Final = "reviews"

_FORMAT: Final = 1
"""Part of every key: raised when decisions that an older version recorded must not be served."""

_SHOWN: Final = {"plan": "plan", "code": "code", "packages": "list of packages"}


@dataclass
class Reviewer:
    """What one generation asks a person, and what it remembers of their decisions.

    Attributes:
        channel: How they are asked; None where nothing is to be approved.
        record: Where decisions are kept.
        reviews: What was decided, in order.
        written: Sources of code that a person wrote.
    """

    channel: Channel | None = None
    record: Record | None = None
    reviews: list[Review] = field(default_factory=list)
    written: set[str] = field(default_factory=set)
    _seen: dict[ReviewKind, str] = field(default_factory=dict)
    _code: set[str] = field(default_factory=set)
    _pins: dict[str, str] = field(default_factory=dict)
    _shown: Counter[str] = field(default_factory=Counter)

    async def decide(self, desk: Desk, kind: ReviewKind, version: str, **more: Any) -> ReviewDecision:
        """Have a person decide; a decision on record, of the very same, is taken without asking.

        Args:
            desk: The desk of the generation.
            kind: What is to be approved.
            version: It, as text.
            **more: Further fields of the request.

        Returns:
            The decision; a rejection has a reason.

        Raises:
            ReviewRejectedError: It is rejected without a reason.
            ReviewFailedError: Nobody answered in time and the default is to reject, or nobody could be asked.
        """
        asked = desk.request
        self._shown[kind] += 1
        request = ReviewRequest(
            kind=kind,
            number=self._shown[kind],
            attempt=desk.attempt,
            prompt=asked.prompt,
            constraints=asked.constraints,
            follow_ups=asked.follow_ups,
            version=version,
            before=self._seen.get(kind, ""),
            because=self._because(desk, kind),
            **more,
        )
        request = dataclasses.replace(request, markdown=as_markdown(request))
        review = await self._answered(desk, request)
        self.reviews.append(review)
        desk.emit(
            ReviewAnswered(
                desk.attempt,
                kind,
                review.verdict,
                review.reason,
                review.by,
                review.channel,
                review.seconds,
                timed_out=review.timed_out,
                served=review.served,
            )
        )
        _go_on_or_raise(desk, review)
        self._seen[kind] = review.edited or version
        return ReviewDecision(review.verdict, review.reason, review.edited, review.by)

    def may_run(self, code: str) -> bool:
        """Whether nobody has to be asked about this code, or they let it run before."""
        return self.channel is None or code in self._code

    def let_run(self, code: str, *, written: bool) -> None:
        """Remember code that may be run; `written` says that a person wrote it."""
        self._code.add(code)
        if written:
            self.written.add(code)

    def pinned(self, spec: EnvironmentSpec) -> EnvironmentSpec:
        """The environment with the versions that a person chose before."""
        packages = [self._pins.get(_name_of(line), line) for line in spec.packages]
        return environment_spec(spec.python, packages, spec.system_packages)

    def pin(self, spec: EnvironmentSpec) -> None:
        """Remember the versions that a person chose."""
        self._pins.update({_name_of(line): line for line in spec.packages})

    def _because(self, desk: Desk, kind: ReviewKind) -> str:
        last = next((review for review in reversed(self.reviews) if review.kind == kind), None)
        if last and last.verdict == "rejected":
            return f"The version before was rejected: {last.reason}"
        diagnosis = desk.diagnoses.get(desk.attempt - 1)
        return diagnosis.reason if diagnosis else ""

    async def _answered(self, desk: Desk, request: ReviewRequest) -> Review:
        key = self._key(request, desk)
        if desk.settings.cache == "auto" and self.record and (served := await self._served(request, key)):
            return served
        review = await self._ask(desk, request)
        # A time-out is nobody's decision, and a rejection that ends the generation should not end the next one too.
        if desk.settings.cache != "disable" and self.record and not review.timed_out and _goes_on(review):
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            await self.record.add(KIND, key, {**review.model_dump(mode="json"), "at": now})
        return review

    async def _ask(self, desk: Desk, request: ReviewRequest) -> Review:
        assert self.channel is not None  # noqa: S101 # nothing is decided where nobody is asked
        about = {"kind": request.kind, "attempt": request.attempt, "version": request.version}
        desk.emit(ReviewAsked(desk.attempt, request.kind, request.number, self.channel.name))
        began = time.monotonic()
        with desk.model.account.stopped():
            try:
                decision = await self.channel.ask(request, desk.settings.review_timeout)
            except CodegenError:
                raise
            except Exception as error:
                raise ReviewFailedError(
                    f"A person could not be asked to approve the {_SHOWN[request.kind]} ({self.channel.name}): "
                    f"{type(error).__name__}: {error}"
                ) from error
        told: dict[str, Any] = {"channel": self.channel.name, "seconds": round(time.monotonic() - began, 3)}
        if decision is None:
            default = "approved" if desk.settings.review_default == "approve" else "rejected"
            return Review.model_validate({**about, **told, "verdict": default, "timed_out": True})
        verdict, edited = decision.verdict, decision.edited
        if edited.strip() == request.version.strip():
            verdict, edited = "approved", ""
        given = {"verdict": verdict, "reason": decision.reason, "edited": edited, "by": decision.by}
        return Review.model_validate({**about, **told, **given})

    async def _served(self, request: ReviewRequest, key: str) -> Review | None:
        entry = await self.record.newest(KIND, key) if self.record else None
        if entry is None:
            return None
        try:
            review = Review.model_validate(entry.body)
        except ValueError:
            return None
        return review.model_copy(update={"attempt": request.attempt, "served": True})

    def _key(self, request: ReviewRequest, desk: Desk) -> str:
        decides = {
            "format": _FORMAT,
            "kind": request.kind,
            "prompt": request.prompt,
            "schema": desk.request.schema,
            "constraints": list(request.constraints),
            "follow_ups": list(request.follow_ups),
            "version": request.version,
            "whose": request.whose,
            "description": request.plan.description if request.kind == "plan" else "",
            "resolved": list(request.resolved),
            "problem": request.problem,
        }
        # The same shown again in a generation, after it was rejected, is another question.
        seen = key_of(decides)
        self._shown[seen] += 1
        return key_of({**decides, "n": self._shown[seen]})


async def approved_plan(desk: Desk, plan: CodePlan, again: Callable[[list[Message]], Awaitable[CodePlan]]) -> CodePlan:
    """The plan as a person lets the code be written to it; as it is where nobody is to be asked.

    Args:
        desk: The desk of the generation.
        plan: The model's plan.
        again: Asks for the plan again; takes what is to be said after the messages of the first time.

    Returns:
        The plan.

    Raises:
        ReviewRejectedError: It is rejected without a reason, or more often than there are attempts.
        ReviewFailedError: Nobody answered in time and the default is to reject, or nobody could be asked.
    """
    if desk.reviewer.channel is None or "plan" not in desk.settings.reviewed:
        return plan
    said: list[Message] = []
    for left in reversed(range(desk.settings.max_iterations)):
        decision = await desk.reviewer.decide(desk, "plan", plan.approach, plan=plan)
        if decision.verdict == "edited":
            return plan.model_copy(update={"approach": decision.edited})
        if decision.verdict == "approved" or not left:
            break
        told = {"role": "assistant", "content": plan.model_dump_json()}
        said = [*said, told, {"role": "user", "content": render("rejected_plan", reason=decision.reason)}]
        plan = await again(said)
    if decision.verdict == "rejected":
        raise ReviewRejectedError(
            f"{desk.settings.max_iterations} plans were rejected, which is all that max_iterations allows. The last "
            f"reason: {decision.reason}"
        )
    return plan


async def let_run(desk: Desk, draft: Draft) -> tuple[Draft, Check, Failure | None]:
    """The draft as it may be run: the script's rules hold, and a person lets it where they are to be asked.

    Args:
        desk: The desk of the generation.
        draft: What is to be run.

    Returns:
        The draft, with a person's own version of the code where they handed one in; what the static rules say of it;
        and why it may not be run, or None.

    Raises:
        ReviewRejectedError: It is rejected without a reason.
        ReviewFailedError: Nobody answered in time and the default is to reject, or nobody could be asked.
    """
    rules, failure = check_rules(draft.solution.code, desk.request.contract)
    if failure or desk.reviewer.channel is None:
        return draft, rules, failure
    if "code" in desk.settings.reviewed:
        before = draft.solution.code
        draft, failure = await _code(desk, draft)
        if draft.solution.code != before:
            rules, failure = check_rules(draft.solution.code, desk.request.contract)
    if not failure and "packages" in desk.settings.reviewed:
        failure = await _packages(desk, draft)
    return draft, rules, failure


async def _code(desk: Desk, draft: Draft) -> tuple[Draft, Failure | None]:
    code = draft.solution.code
    if desk.reviewer.may_run(code):
        return draft, None
    decision = await desk.reviewer.decide(desk, "code", code, plan=draft.plan, tests=draft.tests)
    if decision.verdict == "rejected":
        return draft, _rejected(desk, "code", decision)
    if decision.verdict == "edited":
        draft = dataclasses.replace(draft, solution=_by_person(draft.solution, decision.edited), proof=None)
    desk.reviewer.let_run(draft.solution.code, written=decision.verdict == "edited")
    return draft, None


def _by_person(solution: CodeSolution, code: str) -> CodeSolution:
    return solution.model_copy(update={"code": code.replace("\r\n", "\n")})


async def _packages(desk: Desk, draft: Draft) -> Failure | None:
    try:
        failure = await _environment(desk, draft, desk.workshop.for_solution(draft), "code")
    except EnvironmentBuildError as error:
        failure = not_built(error).failure
    if failure or draft.tests is None:
        return failure
    try:
        return await _environment(desk, draft, desk.workshop.for_tests(draft), "tests")
    except EnvironmentBuildError as error:
        return tests_not_built(error).failure


async def _environment(desk: Desk, draft: Draft, needs: Needs, whose: str) -> Failure | None:
    """Why the environment of the code or of the tests may not be built, or None."""
    workshop, reviewer, wanted = desk.workshop, desk.reviewer, needs.spec
    approved = workshop.approved if workshop.approved is not None else set[str]()
    spec, problem = reviewer.pinned(wanted), ""
    for _ in range(desk.settings.max_iterations):
        if not problem and approved.issuperset(lines_of(spec)):
            workshop.instead[wanted.key] = spec
            return None
        resolved: tuple[str, ...] = ()
        try:
            resolved = _versions(await workshop.resolve(Needs(spec, needs.guessed)))
        except EnvironmentBuildError as error:
            if spec == wanted:
                raise
            spec, problem = wanted, f"{problem} {error}".strip()
            continue
        decision = await reviewer.decide(
            desk,
            "packages",
            "\n".join(lines_of(spec)),
            plan=draft.plan,
            whose=whose,
            resolved=resolved,
            problem=problem,
        )
        if decision.verdict == "rejected":
            return _rejected(desk, whose, decision)
        problem = ""
        if decision.verdict == "edited":
            try:
                spec = _spec_of(wanted.python, decision.edited)
                await workshop.resolve(Needs(spec))
            except EnvironmentBuildError as error:
                spec, problem = wanted, str(error)
                continue
            reviewer.pin(spec)
        approved.update(lines_of(spec))
    raise ReviewRejectedError(
        f"No list of packages could be used in {desk.settings.max_iterations} rounds, which is all that max_iterations "
        f"allows. {problem}".strip()
    )


def _rejected(desk: Desk, shown: str, decision: ReviewDecision) -> Failure:
    """A rejection as what a draft failed by; the reason goes to the model."""
    packages = desk.reviewer.reviews[-1].kind == "packages"
    message = render("rejected", shown=shown, packages=packages, reason=decision.reason)
    return Failure(
        stage="review",
        message=message,
        # Each is another one: two that read the same are no sign that nothing helps.
        signature=f"review {len(desk.reviewer.reviews)}",
        error_type="test_error" if shown == "tests" else "logic",
    )


def _go_on_or_raise(desk: Desk, review: Review) -> None:
    shown = _SHOWN[review.kind]
    if review.timed_out:
        said = f"Nobody answered within {desk.settings.review_timeout:g} s whether the {shown} may be used"
        if review.verdict == "rejected":
            raise ReviewFailedError(
                f"{said}, and review_default='reject'. Generate again, with a longer review_timeout where that is "
                "needed: what is paid for is on record, and the same is shown again."
            )
        warning = f"{said}: review_default='approve'."
        desk.warnings.append(warning)
        desk.emit(Note(desk.attempt, warning))
    if not _goes_on(review):
        who = review.by or "A person"
        raise ReviewRejectedError(f"{who} rejected the {shown} and gave no reason that a model could be told.")


def _goes_on(review: Review) -> bool:
    return review.verdict != "rejected" or bool(review.reason.strip())


def _versions(lock: Any) -> tuple[str, ...]:
    lines = [line.split(" ")[0].split("\\")[0].rstrip(";").strip() for line in lock.requirements.splitlines()]
    return tuple(line for line in lines if line and not line.startswith(("-", "#")))


def _spec_of(python: str, text: str) -> EnvironmentSpec:
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
    packages = [line for line in lines if not line.startswith(APT)]
    return environment_spec(python, packages, [line.removeprefix(APT) for line in lines if line.startswith(APT)])


def _name_of(requirement: str) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(read_requirement(requirement).name)
