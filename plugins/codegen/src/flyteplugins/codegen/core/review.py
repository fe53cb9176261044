"""Approval by a person: what is shown, and what is decided."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.settings import ReviewKind
from flyteplugins.codegen.core.solution import CodePlan


@dataclass(frozen=True)
class ReviewRequest:
    """Something that waits for a person's decision.

    What a model wrote is in here to the letter; show it through `markdown`, which a terminal can't be made to obey.

    Attributes:
        kind: What is to be approved: `plan`, `code` or `packages`.
        number: Which version of its kind is shown in this generation, counted from 1.
        attempt: The attempt that it belongs to, counted from 1; 0 for a plan.
        prompt: What was asked, in the user's words.
        constraints: The rules that the code must respect.
        follow_ups: What was asked for afterwards, the oldest first.
        plan: The plan.
        version: What is to be approved, as text that may be edited: the approach of the plan, the source of the code,
            or the packages, one a line (`apt:NAME` for a Debian package).
        before: The version that was shown, or handed in, last; empty where this is the first.
        because: Why there is another version than that; empty where this is the first.
        resolved: For `packages`: all distributions that would be installed, as `name==version`.
        whose: For `packages`: whether they are those of the `code` or of its `tests`, which run in an environment of
            their own.
        tests: For `code`: source of the tests, which a model wrote too and which run beside it; None with
            `skip_tests`.
        problem: Why the version that was handed in just now can't be used; empty where none was.
        markdown: All of it as Markdown, made to be shown: characters that can't be seen are written out.
    """

    kind: ReviewKind
    number: int
    attempt: int
    prompt: str
    constraints: tuple[str, ...]
    follow_ups: tuple[str, ...]
    plan: CodePlan
    version: str
    before: str = ""
    because: str = ""
    resolved: tuple[str, ...] = ()
    whose: Literal["code", "tests"] = "code"
    tests: str | None = None
    problem: str = ""
    markdown: str = ""


@dataclass(frozen=True)
class ReviewDecision:
    """What a person decided; made by `approve`, `reject` or `edit`.

    Attributes:
        verdict: What was decided.
        reason: Of a rejection: what is to be different. It goes to the model, which is asked for another version;
            without one the generation ends.
        edited: The person's own version, as `ReviewRequest.version` has it; empty where there is none.
        by: Who decided, for the history; may be empty.

    Raises:
        InvalidRequestError: The parts do not fit together.
    """

    verdict: Literal["approved", "rejected", "edited"]
    reason: str = ""
    edited: str = ""
    by: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in ("approved", "rejected", "edited"):
            raise InvalidRequestError(f"verdict={self.verdict!r} is unknown. Known: approved, rejected, edited.")
        if not all(isinstance(text, str) for text in (self.reason, self.edited, self.by)):
            raise InvalidRequestError("reason, edited and by of a ReviewDecision must be texts.")
        if (self.verdict == "edited") != bool(self.edited.strip()):
            raise InvalidRequestError("A ReviewDecision has an edited version if, and only if, its verdict is edited.")

    @classmethod
    def approve(cls, *, by: str = "") -> ReviewDecision:
        """Let it go on as it is.

        Args:
            by: Who decided.

        Returns:
            The decision.
        """
        return cls("approved", by=by)

    @classmethod
    def reject(cls, reason: str = "", *, by: str = "") -> ReviewDecision:
        """Have the model make another version, or end the generation.

        Args:
            reason: What is to be different; without one the generation ends.
            by: Who decided.

        Returns:
            The decision.
        """
        return cls("rejected", reason=reason.strip(), by=by)

    @classmethod
    def edit(cls, version: str | Sequence[str], *, by: str = "") -> ReviewDecision:
        """Go on with a version of one's own.

        Args:
            version: The approach of the plan, the source of the code, or the packages as a list or one a line.
            by: Who decided.

        Returns:
            The decision.

        Raises:
            InvalidRequestError: The version is empty.
        """
        return cls("edited", edited=version if isinstance(version, str) else "\n".join(version), by=by)


OnReview = Callable[[ReviewRequest], "ReviewDecision | Awaitable[ReviewDecision]"]
"""A callback that decides: a plain function, which is called in a thread of its own, or a coroutine function."""
