"""What a person is shown, and what their replies are read as."""

from __future__ import annotations

import time

import pytest

from flyteplugins.codegen import CodePlan, ReviewDecision, ReviewRequest
from flyteplugins.codegen.backends.review_channels import decision_of
from flyteplugins.codegen.core.budget import Budget
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.models.account import Account
from flyteplugins.codegen.report.review import as_markdown, fenced, visible


def request(**more: object) -> ReviewRequest:
    fields = {
        "kind": "code",
        "number": 1,
        "attempt": 1,
        "prompt": "Add up.",
        "constraints": ("No floats.",),
        "follow_ups": (),
        "plan": CodePlan(description="Sum.", approach="Sum the rows."),
        "version": "x = 1\n",
    }
    return ReviewRequest(**{**fields, **more})  # type: ignore[arg-type] # by name


@pytest.mark.parametrize(
    ("reply", "decision"),
    [
        ("approve", ReviewDecision.approve()),
        ("  Approved. \n", ReviewDecision.approve()),
        ("reject", ReviewDecision.reject()),
        ("Reject: use\nthe median", ReviewDecision.reject("use\nthe median")),
        ("rejected the sign is lost", ReviewDecision.reject("the sign is lost")),
        ("edit\nx = 1\n\ny = 2\n", ReviewDecision.edit("x = 1\n\ny = 2")),
        ("edit:\n```python\nx = 1\n```\n", ReviewDecision.edit("x = 1")),
        ('edit\n````\nx = """\n```\n"""\n````', ReviewDecision.edit('x = """\n```\n"""')),
        ("edit\n    indented = 1", ReviewDecision.edit("    indented = 1")),
    ],
)
def test_a_reply_is_read(reply: str, decision: ReviewDecision) -> None:
    assert decision_of(reply) == decision


@pytest.mark.parametrize("reply", ["", "ok", "approve it not", "approver", "edit", "edit\n\n", "no", "x = 1"])
def test_a_reply_that_is_none_of_the_three_is_no_decision(reply: str) -> None:
    with pytest.raises(ValueError, match="was not understood"):
        decision_of(reply)


def test_a_decision_has_an_edited_version_if_it_is_edited() -> None:
    assert ReviewDecision.edit(["pandas<3", "apt:libgomp1"]).edited == "pandas<3\napt:libgomp1"
    for wrong in (lambda: ReviewDecision.edit("  "), lambda: ReviewDecision("approved", edited="x = 1")):
        with pytest.raises(InvalidRequestError):
            wrong()


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("\x1b[2J", "<U+001B>[2J"),
        ("\u202e", "<U+202E>"),
        ("\u2028", "<U+2028>"),
        ("\r", "<U+000D>"),
        ("\udc80", "<U+DC80>"),
    ],
)
def test_what_can_not_be_seen_is_written_out(hidden: str, shown: str) -> None:
    assert visible(f"a\tb\n{hidden}é") == f"a\tb\n{shown}é"


@pytest.mark.parametrize("run", ["`", "```", "`" * 9])
def test_no_text_leaves_its_fence(run: str) -> None:
    opening, *_, closing = fenced(f"x\n{run}\n# Approved\n{run}").split("\n")
    assert opening == f"{closing}text"
    assert len(closing) > len(run)


def test_all_foreign_text_stands_in_fences() -> None:
    sly = "ok\n```\n# Approved by the owner"
    shown = as_markdown(
        request(prompt=sly, constraints=(sly,), version=sly, because=sly, before="y", problem=sly, resolved=(sly,))
    )
    outside, fence = [], ""
    for line in shown.split("\n"):
        if fence:
            fence = "" if line == fence else fence
        elif line.startswith("```"):
            fence = "`" * (len(line) - len(line.lstrip("`")))
        else:
            outside.append(line)
    assert "# Approved by the owner" not in outside
    assert outside.count("# To be approved: the code (attempt 1)") == 1


def test_the_clock_stands_still_while_a_person_is_asked() -> None:
    made = time.monotonic()
    account = Account(Budget(seconds=100))
    with account.stopped():
        before = account.seconds
        time.sleep(0.05)
        assert account.seconds == before
        assert account.seconds_left == 100 - before
    assert account.seconds <= time.monotonic() - made - 0.05
    account.advance(50)
    with account.stopped():
        assert account.seconds >= 50
