"""A person approves, rejects and edits: the model is a script over HTTP, sandbox and tests are real."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from endpoint import Endpoint
from flyte.io import File
from handmade import ADD_UP, PLAN, STRICT_TOTAL, coded

from flyteplugins.codegen import AutoCoderAgent, Budget, CodeGenEvalResult, ReviewDecision, ReviewRequest
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.events import Event, ReviewAnswered, ReviewAsked

pytestmark = pytest.mark.isolation

OTHER = STRICT_TOTAL.replace("import argparse", "import argparse  # as asked for")
MINE = STRICT_TOTAL.replace("import argparse", "import argparse  # mine")
WRONG = STRICT_TOTAL.replace("sum(amounts)", "sum(map(abs, amounts))")
PACKAGED = STRICT_TOTAL.replace("import argparse", "import argparse\nimport iniconfig")
SUITE = {**ADD_UP["tests"], "coverage": [{"constraint": 1, "tests": ["test_amounts_are_added"]}]}


class Person:
    """Decides as it is told, in this order, and keeps what it was shown."""

    def __init__(self, *decisions: ReviewDecision | Callable[[ReviewRequest], Any]) -> None:
        self.decisions = list(decisions)
        self.shown: list[ReviewRequest] = []

    def __call__(self, request: ReviewRequest) -> Any:
        self.shown.append(request)
        decision = self.decisions.pop(0)
        return decision(request) if callable(decision) else decision


def script(endpoint: Endpoint, **steps: list[Any]) -> None:
    """The model's answers by step; one that is not named is answered as by a model that knows the job."""
    known = {**ADD_UP, "tests": SUITE, "constraints": {"checks": []}}
    for step, answers in {**{step: [answer] for step, answer in known.items()}, **steps}.items():
        endpoint.say_to(step, *answers)


def steps(endpoint: Endpoint) -> list[str | None]:
    return [request.step for request in endpoint.requests]


@pytest.fixture
def sales(tmp_path: Path) -> File:
    path = tmp_path / "sales.csv"
    path.write_text("amount\n1\n2.5\n")
    return File(path=str(path))


@pytest.fixture
def generate(endpoint: Endpoint, sales: File) -> Callable[..., CodeGenEvalResult]:
    def run(person: Any, review: Any, **settings: Any) -> CodeGenEvalResult:
        agent = AutoCoderAgent(
            name="total",
            model="openai/scripted",
            api_base=endpoint.url,
            **{"review": review, "on_review": person, "max_iterations": 4, **settings},
        )
        return agent.generate(
            "Add up the amounts and count the rows.",
            constraints=["Refuse a file without rows."],
            samples={"sales": sales},
            outputs={"total": float, "rows": int},
        )

    return run


Generate = Callable[..., CodeGenEvalResult]


def verdicts(result: CodeGenEvalResult) -> list[tuple[str, str]]:
    return [(review.kind, review.verdict) for review in result.reviews]


def test_all_three_are_shown_in_turn_before_anything_is_made_of_them(endpoint: Endpoint, generate: Generate) -> None:
    asked_before: list[list[str | None]] = []

    def approve(request: ReviewRequest) -> ReviewDecision:
        asked_before.append(steps(endpoint))
        return ReviewDecision.approve(by="the owner")

    script(endpoint, code=[coded(PACKAGED, packages=["iniconfig"])])
    person = Person(approve, approve, approve)
    result = generate(person, ["code", "packages", "plan"])
    assert result.success, result.error
    assert verdicts(result) == [("plan", "approved"), ("code", "approved"), ("packages", "approved")]
    plan, code, packages = person.shown
    assert plan.version == PLAN["approach"]
    assert "code" not in asked_before[0]
    assert code.version.strip() == PACKAGED.strip()
    assert (code.tests or "").strip() == SUITE["code"].strip()
    assert packages.version == "iniconfig"
    assert [line.partition("==")[0] for line in packages.resolved] == ["iniconfig"]
    assert all("Refuse a file without rows." in request.markdown for request in person.shown)
    assert {review.by for review in result.reviews} == {"the owner"}
    assert {attempt.by for attempt in result.history} == {"model"}


def test_the_reason_of_a_rejected_plan_goes_to_the_model(endpoint: Endpoint, generate: Generate) -> None:
    script(endpoint, plan=[PLAN, {**PLAN, "approach": "Sum `amount`, with the sign."}])
    person = Person(ReviewDecision.reject("Say what becomes\nof the sign."), ReviewDecision.approve())
    result = generate(person, "plan")
    assert result.success, result.error
    assert verdicts(result) == [("plan", "rejected"), ("plan", "approved")]
    again = [request for request in endpoint.requests if request.step == "plan"][1]
    assert "> Say what becomes\n> of the sign." in again.messages[-1]["content"]
    assert person.shown[1].version == "Sum `amount`, with the sign."
    assert person.shown[1].before == PLAN["approach"]
    assert "Say what becomes" in person.shown[1].because
    assert result.plan is not None
    assert result.plan.approach == "Sum `amount`, with the sign."


def test_code_is_written_to_the_plan_that_a_person_wrote(endpoint: Endpoint, generate: Generate) -> None:
    script(endpoint)
    result = generate(Person(ReviewDecision.edit("Keep the sign of each amount.")), "plan")
    assert result.success, result.error
    assert result.plan is not None
    assert result.plan.approach == "Keep the sign of each amount."
    for request in endpoint.requests[1:]:
        if request.step in ("code", "tests"):
            assert "Keep the sign of each amount." in str(request.messages)


def test_rejected_code_is_an_attempt_and_was_never_run(endpoint: Endpoint, generate: Generate) -> None:
    script(endpoint, repair_code=[coded(OTHER)])
    person = Person(ReviewDecision.reject("Say that it was asked for."), ReviewDecision.approve())
    result = generate(person, "code")
    assert result.success, result.error
    assert result.attempts == 2
    assert (result.history[0].stage, result.history[0].cases) == ("review", [])
    assert "Say that it was asked for." in result.history[0].failure
    (repair,) = [request for request in endpoint.requests if request.step == "repair_code"]
    assert "> Say that it was asked for." in repair.messages[-1]["content"]
    assert "diagnosis" not in steps(endpoint)
    assert "+import argparse  # as asked for" in person.shown[1].markdown


def test_a_repaired_version_is_shown_with_its_difference_and_an_approved_one_not_again(
    endpoint: Endpoint, generate: Generate
) -> None:
    verdict = {
        "error_type": "logic",
        "reason": "The sign is lost.",
        "request_quote": "Add up the amounts",
        "instructions": "Keep the sign.",
        "packages": [],
        "system_packages": [],
        "tests": [],
    }
    script(endpoint, code=[coded(WRONG)], diagnosis=[verdict], repair_code=[coded(STRICT_TOTAL)])
    person = Person(ReviewDecision.approve(), ReviewDecision.approve())
    result = generate(person, "code")
    assert result.success, result.error
    assert [request.attempt for request in person.shown] == [1, 2]
    assert person.shown[1].because == "The sign is lost."
    assert "What is different from the version before" in person.shown[1].markdown


def test_edited_code_is_a_persons_and_goes_through_the_same_checks(endpoint: Endpoint, generate: Generate) -> None:
    script(endpoint, code=[coded(WRONG)])
    result = generate(Person(ReviewDecision.edit(MINE)), "code")
    assert result.success, result.error
    assert result.solution is not None
    assert "# mine" in result.solution.code
    assert [attempt.by for attempt in result.history] == ["person"]
    assert result.receipt.tests
    assert result.run() == (3.5, 2)


def test_edited_code_that_fails_is_repaired_and_shown_again(endpoint: Endpoint, generate: Generate) -> None:
    script(endpoint, repair_code=[coded(STRICT_TOTAL)])
    person = Person(ReviewDecision.edit("def main(:"), ReviewDecision.approve())
    result = generate(person, "code")
    assert result.success, result.error
    assert [(attempt.by, attempt.stage) for attempt in result.history] == [("person", "static"), ("model", None)]
    assert person.shown[1].before == "def main(:"


def test_nothing_is_installed_before_its_packages_are_approved(
    endpoint: Endpoint, generate: Generate, codegen_home: Path
) -> None:
    """Not behind the model's back either, where a plan names a package, which saves time elsewhere."""

    def installed() -> list[Path]:
        return list((codegen_home / "environments").rglob("site-packages/tabulate.py*")) + list(
            (codegen_home / "environments").rglob("site-packages/tabulate/__init__.py")
        )

    def look(request: ReviewRequest) -> ReviewDecision:
        time.sleep(1)
        assert not installed()
        return ReviewDecision.approve()

    code = STRICT_TOTAL.replace("import argparse", "import argparse\nimport tabulate")
    script(endpoint, plan=[{**PLAN, "packages": ["tabulate"]}], code=[coded(code, packages=["tabulate"])])
    result = generate(Person(look), "packages")
    assert result.success, result.error
    assert verdicts(result) == [("packages", "approved")]
    assert installed()


def test_packages_can_be_pinned_and_only_what_was_approved_is_installed(endpoint: Endpoint, generate: Generate) -> None:
    script(endpoint, code=[coded(PACKAGED, packages=["iniconfig"])])
    result = generate(Person(ReviewDecision.edit(["iniconfig<2.1"])), "packages")
    assert result.success, result.error
    assert result.detected_packages == ["iniconfig<2.1"]
    assert result.lock is not None
    assert "iniconfig==2.0" in result.lock.requirements


def test_a_list_that_can_not_be_used_is_asked_for_again(endpoint: Endpoint, generate: Generate) -> None:
    script(endpoint, code=[coded(PACKAGED, packages=["iniconfig"])])
    person = Person(ReviewDecision.edit("--index-url http://evil"), ReviewDecision.approve())
    result = generate(person, "packages")
    assert result.success, result.error
    assert "not a requirement" in person.shown[1].problem
    assert result.detected_packages == ["iniconfig"]


def test_rejected_packages_have_the_code_written_without_them(endpoint: Endpoint, generate: Generate) -> None:
    script(endpoint, code=[coded(PACKAGED, packages=["iniconfig"])], repair_code=[coded(STRICT_TOTAL)])
    result = generate(Person(ReviewDecision.reject("Only the standard library.")), "packages")
    assert result.success, result.error
    assert result.detected_packages == []
    assert [attempt.stage for attempt in result.history] == ["review", None]


def test_packages_of_the_tests_are_asked_about_and_the_tests_written_without_them(
    endpoint: Endpoint, generate: Generate
) -> None:
    packaged = {**SUITE, "code": f"import iniconfig\n\n{SUITE['code']}", "packages": ["iniconfig"]}
    script(endpoint, tests=[packaged, SUITE])
    person = Person(ReviewDecision.reject("Do without iniconfig."))
    result = generate(person, "packages")
    assert result.success, result.error
    (request,) = person.shown
    assert request.whose == "tests"
    assert "iniconfig" in request.version.splitlines()
    assert "# To be approved: the packages of the tests (attempt 1)" in request.markdown
    assert [attempt.stage for attempt in result.history] == ["review", None]
    again = [request for request in endpoint.requests if request.step == "tests"][1]
    assert "> Do without iniconfig." in again.messages[-1]["content"]
    assert "iniconfig" not in (result.tests or "")


@pytest.mark.parametrize(("kind", "solution"), [("plan", False), ("code", True), ("packages", True)])
def test_a_rejection_without_a_reason_ends_it_with_the_best_so_far(
    endpoint: Endpoint, generate: Generate, kind: str, solution: bool
) -> None:
    script(endpoint, code=[coded(PACKAGED, packages=["iniconfig"])])
    result = generate(Person(ReviewDecision.reject(by="the owner")), kind)
    assert not result.success
    assert result.error is not None
    assert result.error.startswith("the owner rejected the ")
    assert (result.solution is not None) is solution
    assert result.plan is not None
    assert verdicts(result) == [(kind, "rejected")]


def test_plans_are_shown_as_often_as_there_are_attempts(endpoint: Endpoint, generate: Generate) -> None:
    script(endpoint, plan=[PLAN] * 3)
    no = ReviewDecision.reject("No.")
    result = generate(Person(no, no), "plan", max_iterations=2)
    assert not result.success
    assert result.error is not None
    assert "2 plans were rejected" in result.error
    assert steps(endpoint).count("plan") == 2


@pytest.mark.parametrize("kind", ["plan", "code", "packages"])
def test_where_nobody_answers_the_default_is_to_end_it_and_the_same_is_shown_the_next_time(
    endpoint: Endpoint, generate: Generate, kind: str
) -> None:
    async def never(request: ReviewRequest) -> ReviewDecision:
        await asyncio.Event().wait()
        return ReviewDecision.approve()

    script(endpoint, code=[coded(PACKAGED, packages=["iniconfig"])])
    result = generate(Person(never), kind, review_timeout=0.2)
    assert not result.success
    assert result.error is not None
    assert "Nobody answered within 0.2 s" in result.error
    assert "review_default='reject'" in result.error
    assert [review.timed_out for review in result.reviews] == [True]
    person = Person(ReviewDecision.approve())
    assert generate(person, kind).success
    assert person.shown[0].kind == kind
    assert sorted(filter(None, steps(endpoint))) == [
        "code",
        "constraints",
        "plan",
        "tests",
    ]  # what was paid for was served


def test_where_nobody_answers_the_default_may_be_to_go_on(endpoint: Endpoint, generate: Generate) -> None:
    events: list[Event] = []
    script(endpoint)
    result = generate(
        Person(lambda request: time.sleep(30)),
        "code",
        review_timeout=0.2,
        review_default="approve",
        on_event=events.append,
    )
    assert result.success, result.error
    assert any("review_default='approve'" in warning for warning in result.receipt.warnings)
    assert [event.timed_out for event in events if isinstance(event, ReviewAnswered)] == [True]
    # It was nobody's decision, so the result is not served to whoever asks for one.
    person = Person(ReviewDecision.approve())
    assert generate(person, "code").success
    assert len(person.shown) == 1


def test_a_person_is_not_asked_twice_about_the_same(endpoint: Endpoint, generate: Generate) -> None:
    """What they decided before a generation broke off is taken from the record when it is started again."""

    def breaks_off(request: ReviewRequest) -> ReviewDecision:
        raise RuntimeError("the network is down")

    script(endpoint, repair_code=[coded(OTHER)])
    before = Person(ReviewDecision.approve(), ReviewDecision.reject("Say that it was asked for."), breaks_off)
    assert "the network is down" in (generate(before, ["plan", "code"]).error or "")
    calls = len(endpoint.requests)
    events: list[Event] = []
    after = Person(ReviewDecision.approve())
    result = generate(after, ["plan", "code"], on_event=events.append)
    assert result.success, result.error
    assert [request.version for request in after.shown] == [before.shown[2].version]
    assert verdicts(result) == [("plan", "approved"), ("code", "rejected"), ("code", "approved")]
    assert [event.served for event in events if isinstance(event, ReviewAnswered)] == [True, True, False]
    assert len(endpoint.requests) == calls


def test_an_approved_generation_is_served_to_whoever_asks_for_the_same_approval(
    endpoint: Endpoint, generate: Generate
) -> None:
    script(endpoint)
    assert generate(Person(ReviewDecision.approve()), "code").success
    calls = len(endpoint.requests)
    served = generate(Person(), "code")
    assert served.success
    assert verdicts(served) == [("code", "approved")]
    assert len(endpoint.requests) == calls
    # Another approval is another generation; what a person did not see is shown to them.
    person = Person(ReviewDecision.approve())
    assert generate(person, ["plan", "code"]).success
    assert [request.kind for request in person.shown] == ["plan"]


@pytest.mark.parametrize("cache", ["override", "disable"])
def test_without_the_record_the_person_is_asked_again(endpoint: Endpoint, generate: Generate, cache: str) -> None:
    script(endpoint)
    assert generate(Person(ReviewDecision.approve()), "code").success
    script(endpoint)
    person = Person(ReviewDecision.approve())
    assert generate(person, "code", cache=cache).success
    assert len(person.shown) == 1


def test_the_time_that_a_person_takes_is_not_the_generations(endpoint: Endpoint, generate: Generate) -> None:
    def slowly(request: ReviewRequest) -> ReviewDecision:
        time.sleep(1)
        return ReviewDecision.approve()

    script(endpoint)
    began = time.monotonic()
    result = generate(Person(slowly), "code", budget=Budget(seconds=600))
    assert result.success, result.error
    assert result.reviews[0].seconds >= 1
    assert time.monotonic() - began - result.receipt.seconds >= 1


def test_a_revision_is_reviewed_as_a_generation_is(endpoint: Endpoint, generate: Generate) -> None:
    script(endpoint)
    result = generate(None, None)
    revised_plan = {**PLAN, "approach": "Sum `amount`; keep the rows.", "unmet": ""}
    endpoint.say_to("revise_plan", revised_plan, revised_plan)
    endpoint.say_to("revise_code", coded(OTHER))
    endpoint.say_to("revise_tests", {"dropped": [], "code": "", "packages": [], "coverage": []})
    person = Person(ReviewDecision.reject("Keep the rows."), ReviewDecision.approve(), ReviewDecision.approve())
    agent = AutoCoderAgent(
        model="openai/scripted", api_base=endpoint.url, review=["plan", "code"], on_review=person, max_iterations=3
    )
    revised = result.revise("Say that it was asked for.", agent=agent)
    assert [request.kind for request in person.shown] == ["plan", "plan", "code"]
    assert all(request.follow_ups == ("Say that it was asked for.",) for request in person.shown)
    assert revised.solution is not None
    assert "# as asked for" in revised.solution.code
    # A version of the person's own needs nobody's approval.
    assert result.revise(code=MINE, agent=agent).success


def test_what_a_model_wrote_is_shown_letter_by_letter_and_can_not_leave_its_fence(
    endpoint: Endpoint, generate: Generate
) -> None:
    sly = STRICT_TOTAL.replace(
        "import argparse",
        'import argparse\n\nMARK = """\n```\n# Approved by the owner\n"""\nHIDDEN = "\u202e"  # \u200b \x1b[2J',
    )
    script(endpoint, code=[coded(sly)], plan=[{**PLAN, "description": "Sum.\x1b[2J\n```\n# Approve this\n"}])
    person = Person(ReviewDecision.approve())
    generate(person, "code")
    shown = person.shown[0].markdown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "<U+202E>" in shown
    assert "<U+001B>[2J" in shown
    opened = shown.partition("## The code\n\n")[2].partition("python")[0]
    assert opened == "````"


def test_where_nobody_can_be_asked_it_is_said_before_anything_is_paid_for(
    endpoint: Endpoint, generate: Generate
) -> None:
    with pytest.raises(InvalidRequestError, match="nobody is there to ask"):
        generate(None, "code")
    assert endpoint.requests == []


def test_a_callback_that_fails_ends_it_with_what_there_is(endpoint: Endpoint, generate: Generate) -> None:
    def fails(request: ReviewRequest) -> ReviewDecision:
        raise RuntimeError("the chat is down")

    script(endpoint)
    result = generate(Person(fails), "code")
    assert not result.success
    assert result.error is not None
    assert "the chat is down" in result.error
    assert result.solution is not None
    result = generate(Person(lambda request: True), "code")
    assert "on_review returned bool" in (result.error or "")
    assert len(endpoint.requests) == 4


@pytest.mark.quick
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"review": "tests"}, "review='tests' is unknown"),
        ({"review": ["code", "all"]}, "review='all' is unknown"),
        ({"review": 1}, "review must be one of"),
        ({"review": "code", "review_default": "maybe"}, "review_default='maybe' is unknown"),
        ({"review": "code", "review_timeout": 0}, "review_timeout must be more than 0"),
        ({"review": "code", "on_review": "me"}, "on_review must be a function"),
    ],
)
def test_settings_that_can_not_be_used(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequestError, match=said):
        AutoCoderAgent(**settings)


def test_events_say_who_was_asked_how_and_what_they_said(endpoint: Endpoint, generate: Generate) -> None:
    events: list[Event] = []
    script(endpoint)
    result = generate(Person(ReviewDecision.approve(by="the owner")), "code", on_event=events.append)
    asked, answered = [event for event in events if isinstance(event, (ReviewAsked, ReviewAnswered))]
    assert isinstance(asked, ReviewAsked)
    assert (asked.kind, asked.number, asked.channel, asked.attempt) == ("code", 1, "callback", 1)
    assert isinstance(answered, ReviewAnswered)
    assert (answered.verdict, answered.by, answered.channel) == ("approved", "the owner", "callback")
    (span,) = [span for span in result.timeline if span.step == "review"]
    assert "code approved by the owner" in span.detail
