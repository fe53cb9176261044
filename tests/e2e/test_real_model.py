"""A model of one's own choice, asked for real. Opt-in: it is weak or it costs money, and never a gate.

    export CODEGEN_TEST_MODEL=openai/local CODEGEN_TEST_API_BASE=http://127.0.0.1:8091/v1
    pytest -s tests/e2e/test_real_model.py

`CODEGEN_TEST_MAX_TOKENS` (default 1000) caps each answer, `CODEGEN_TEST_SECONDS` (default 600) the generation. Keys
come from the variable that `CODEGEN_TEST_API_KEY_NAME` names. With a model that is too weak for the request the loop
must still end in time with a reason: that is what is asserted, and what came of it is printed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from flyte.io import File

from flyteplugins.codegen import AutoCoderAgent
from flyteplugins.codegen.core.budget import Budget
from flyteplugins.codegen.core.events import Event
from flyteplugins.codegen.models.completion import FORMS

MODEL = os.environ.get("CODEGEN_TEST_MODEL", "")

pytestmark = [
    pytest.mark.isolation,
    pytest.mark.skipif(not MODEL, reason="CODEGEN_TEST_MODEL names no model to ask"),
]

SALES = "country,amount\nNL,10.5\nDE,20\nNL,4.5\nBE,7\n"


def agent(told: list[Event], seconds: float, **more: Any) -> AutoCoderAgent:
    return AutoCoderAgent(
        name="real",
        model=MODEL,
        api_base=os.environ.get("CODEGEN_TEST_API_BASE"),
        api_key=os.environ.get("CODEGEN_TEST_API_KEY_NAME"),
        litellm_params={"max_tokens": int(os.environ.get("CODEGEN_TEST_MAX_TOKENS", "1000"))},
        call_timeout=seconds / 2,
        budget=Budget(seconds=seconds),
        on_event=told.append,
        **more,
    )


async def test_a_generation_ends_in_time_with_a_result_or_a_reason(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text(SALES)
    told: list[Event] = []
    seconds = float(os.environ.get("CODEGEN_TEST_SECONDS", "600"))
    result = await agent(told, seconds, max_iterations=3).generate.aio(
        "Sum the column `amount` over all rows.",
        samples={"sales": File(path=str(tmp_path / "sales.csv"))},
        outputs={"total": float},
    )

    answers = [item for item in result.conversation_history if item["role"] == "assistant"]
    lines = [str(event) for event in told]
    for item in answers:
        lines.append(f"--- {item['step']} ({item['form']}, {item['finish_reason']}, {item['seconds']:.0f} s)")
        lines.append(item["content"][:1500])
    lines.append(f"success={result.success} attempts={result.attempts} error={result.error}\n{result.usage.total}")
    sys.stdout.write("\n".join(lines) + "\n")
    assert result.success or result.error
    assert {item["form"] for item in answers} <= set(FORMS)
