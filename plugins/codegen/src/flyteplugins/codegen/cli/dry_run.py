"""`codegen generate --dry-run`: what would leave this machine, and what it may cost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel

from flyteplugins.codegen import AutoCoderAgent
from flyteplugins.codegen.backends.answers import CodeAnswer, PlanAnswer, TestsAnswer
from flyteplugins.codegen.backends.asked import Asked
from flyteplugins.codegen.backends.opening import preview
from flyteplugins.codegen.backends.workshop import TOOLS
from flyteplugins.codegen.cli.console import Screen
from flyteplugins.codegen.data.constraints import ParsedConstraints
from flyteplugins.codegen.models.estimate import Estimate, estimate
from flyteplugins.codegen.models.schema import schema_of, strict_schema
from flyteplugins.codegen.models.step import Message

_ANSWERS: Final[dict[str, type[BaseModel]]] = {
    "plan": PlanAnswer,
    "constraints": ParsedConstraints,
    "code": CodeAnswer,
    "tests": TestsAnswer,
}
"""What each of the first steps is to be answered with; the schema is sent with the messages."""

_CALLS_A_REPAIR: Final = 2
"""A diagnosis, and the artefact that it blames."""

_QUOTED_ANSWERS: Final = 3
"""Answers that the messages of a repair quote: plan, code and tests."""


def dry_run(screen: Screen, agent: AutoCoderAgent, request: Mapping[str, Any]) -> None:
    """Print the messages of the first calls, the packages and a ceiling of the cost; nothing is called.

    Args:
        screen: Where to.
        agent: The agent.
        request: The arguments of `generate()`.
    """
    steps = asyncio.run(preview(agent, Asked(**request)))
    schemas = {step: strict_schema(schema_of(_ANSWERS[step])) for step in steps}
    estimates = {step: _estimate(agent, messages, schemas[step]) for step, messages in steps.items()}
    calls, ceiling = _ceiling(agent, estimates)
    for step, messages in steps.items():
        screen.say(f"===== {step}: to {agent.model}{f' at {agent.api_base}' if agent.api_base else ''}")
        for message in messages:
            screen.say(f"----- {message['role']}\n{message['content']}")
        screen.say(f"----- schema of the answer\n{json.dumps(schemas[step], ensure_ascii=False)}\n")
    screen.say("===== What else would be sent")
    screen.say(
        "The plan that the model gives stands where <...> stands above. A repair sends the request again, with the "
        "plan, the code, the tests and what failed"
        + (", its values taken out." if agent.sample_privacy == "schema" else ".")
    )
    screen.say("Names and versions of packages go to the package index; no other endpoint is contacted.\n")
    screen.say("===== Packages")
    screen.say(f"For the tests: {', '.join(TOOLS)}, and what they import.")
    wanted = ", ".join(agent.base_packages or []) or "none by setting"
    screen.say(f"For the code:  {wanted}, and what it imports: the model decides.\n")
    screen.say("===== Calls and cost, at most")
    for step, found in estimates.items():
        longest = "not known" if found.max_output_tokens is None else f"{found.max_output_tokens:,} tokens"
        screen.say(f"{step:<12} {found.input_tokens:>8,} tokens sent, answer {longest}, {_dollars(found.cost)}")
    screen.say(f"{'all':<12} {calls} calls with every repair and every second question, {_dollars(ceiling)}")
    screen.document(
        {
            "model": agent.model,
            "api_base": agent.api_base,
            "messages": steps,
            "schemas": schemas,
            "packages": {"tests": list(TOOLS), "code": list(agent.base_packages or [])},
            "estimates": {
                step: {
                    "input_tokens": found.input_tokens,
                    "max_output_tokens": found.max_output_tokens,
                    "cost": found.cost,
                }
                for step, found in estimates.items()
            },
            "max_calls": calls,
            "max_cost": ceiling,
        }
    )


def _estimate(agent: AutoCoderAgent, messages: Sequence[Message], schema: dict[str, Any]) -> Estimate:
    sent = [*messages, {"role": "system", "content": json.dumps(schema)}]
    return estimate(agent.model, sent, (agent.litellm_params or {}).get("max_tokens"))


def _ceiling(agent: AutoCoderAgent, first: Mapping[str, Estimate]) -> tuple[int, float | None]:
    """Calls, and US dollars where the price is known: each call asked twice, each repair with all that it may quote."""
    repairs = _CALLS_A_REPAIR * (agent.max_iterations - 1)
    calls = 2 * (len(first) + repairs)
    if agent.limits.calls is not None:
        calls = min(calls, agent.limits.calls)
    longest = max(first.values(), key=lambda found: found.input_tokens)
    if longest.cost is None or longest.max_output_tokens is None:
        return calls, None
    filler = {"role": "user", "content": "word " * (_QUOTED_ANSWERS * longest.max_output_tokens)}
    repair = estimate(agent.model, [filler], longest.max_output_tokens)
    if repair.cost is None:
        return calls, None
    # A second question quotes the first answer, so each call is priced as one that quotes all it can.
    return calls, round(calls * (longest.cost + repair.cost), 2)


def _dollars(cost: float | None) -> str:
    return "price not known" if cost is None else f"${cost:,.2f}"
