"""The fixed pipeline, `backend="litellm"`: plan, code beside tests, environment, checks, diagnosis, again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from flyteplugins.codegen.backends.desk import Desk
from flyteplugins.codegen.backends.draft import Draft, Turn
from flyteplugins.codegen.backends.outcome import result_of
from flyteplugins.codegen.backends.repair import diagnose, give_up_reason, open_advice, repair
from flyteplugins.codegen.backends.review import approved_plan
from flyteplugins.codegen.core.errors import (
    BudgetExceededError,
    CodegenError,
    InfrastructureError,
    ModelError,
    ReviewRejectedError,
)
from flyteplugins.codegen.core.result import CodeGenEvalResult
from flyteplugins.codegen.core.together import both


async def generate(desk: Desk) -> CodeGenEvalResult:
    """Run the pipeline for the request on the desk.

    Args:
        desk: The checked request and everything that works on it.

    Returns:
        The result; `success=False` carries the attempt that came furthest and the reason.

    Raises:
        CodegenError: The model failed before it answered once, so there is nothing to hand back.
    """
    return await carry_out(desk, lambda: _first_draft(desk))


async def carry_out(desk: Desk, begin: Callable[[], Awaitable[Draft]]) -> CodeGenEvalResult:
    """Check a draft and repair it until it passes, whatever it began with.

    Args:
        desk: The checked request and everything that works on it.
        begin: Makes the first draft.

    Returns:
        The result, as of `generate`.

    Raises:
        CodegenError: The model failed before it answered once, so there is nothing to hand back.
    """
    turns: list[Turn] = []
    if not desk.settings.skip_tests:
        desk.workshop.warm_up(desk.workshop.for_tests())
    stopped: CodegenError | None = None
    reason: str | None = None
    try:
        reason = await desk.in_time(_attempts(desk, begin, turns))
    except (ModelError, BudgetExceededError, InfrastructureError, ReviewRejectedError) as error:
        stopped, reason = error, str(error)
    result = result_of(desk, turns, reason)
    if not result.success and not isinstance(stopped, (BudgetExceededError, InfrastructureError)):
        # Asked again, the generation goes on from where it failed, not to the same end.
        await desk.model.withdraw(keep=("plan", "constraints", "revise_plan"))
    if stopped and not desk.model.usage.total.calls and not turns:
        # What is paid for is handed back; where nothing was, the error says more than an empty result.
        raise stopped
    return result


async def _attempts(desk: Desk, begin: Callable[[], Awaitable[Draft]], turns: list[Turn]) -> str | None:
    """Add a turn for each attempt; return why it stopped, or None where the last word is in the turns."""
    draft = await begin()
    for attempt in range(1, desk.settings.max_iterations + 1):
        turn = await desk.judge(draft, attempt)
        turns.append(turn)
        if (turn.verdict.passed and not open_advice(turn)) or attempt == desk.settings.max_iterations:
            break
        if reason := give_up_reason(turns):
            return reason
        diagnosis = await diagnose(desk, turns)
        desk.report(turn, diagnosis)
        draft = await repair(desk, turn, diagnosis)
    desk.report(turn, None)
    return None


async def _first_draft(desk: Desk) -> Draft:
    plan, _ = await both(desk.plan(), desk.read_constraints())
    return await desk.write(await approved_plan(desk, plan, desk.plan))
