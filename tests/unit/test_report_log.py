from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from flyteplugins.codegen.core.events import (
    AttemptFinished,
    CheckFinished,
    EnvironmentReady,
    Event,
    GenerationFinished,
    ModelAnswered,
    ModelRetried,
    Note,
    StepStarted,
)
from flyteplugins.codegen.report.log import log_event

ENDED = GenerationFinished(2, True, None, 5, 12_000, 3_400, 0.0312, 41.26)


def logged(caplog: pytest.LogCaptureFixture, event: Event) -> tuple[str, str]:
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="flyteplugins.codegen"):
        log_event(event)
    (record,) = caplog.records
    assert record.name == "flyteplugins.codegen"
    return record.levelname, record.getMessage()


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            AttemptFinished(1, False, "environment", "scipy is missing", ("scipy", "numpy")),
            "attempt 1: environment: scipy is missing (adds scipy, numpy)",
        ),
        (AttemptFinished(2, True, None, ""), "attempt 2: passed"),
        (AttemptFinished(2, True, "logic", "a probe failed"), "attempt 2: passed, with advice: logic: a probe failed"),
        (ENDED, "done, 5 model calls, 12,000 tokens in, 3,400 out, $0.0312, 41.3 s"),
        (
            GenerationFinished(2, False, "budget=Budget(calls=1) is used up", 1, 20, 3, None, 1.0),
            "failed: budget=Budget(calls=1) is used up, 1 model call, 20 tokens in, 3 out, cost not known, 1.0 s",
        ),
        (GenerationFinished(2, True, None, 5, 1, 1, 0.1, 9.0, served=True), "done, all of it from the record"),
        (Note(0, "bubblewrap: no network"), "bubblewrap: no network"),
    ],
)
def test_each_iteration_and_the_end_is_one_line_of_info(
    caplog: pytest.LogCaptureFixture, event: Event, line: str
) -> None:
    assert logged(caplog, event) == ("INFO", line)


def test_waiting_for_a_model_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert logged(caplog, ModelRetried(0, "plan", "gpt-4.1", "429", 2.25)) == (
        "WARNING",
        "plan: gpt-4.1: 429, again in 2.2 s",
    )


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (StepStarted(1, "environment"), "attempt 1: environment begins"),
        (
            ModelAnswered(0, "plan", 1500, 300, 0.01, 2.0, model="gpt-4.1"),
            "attempt 0: plan answered by gpt-4.1, 1,500 tokens in, 300 out, 2.0 s",
        ),
        (
            ModelAnswered(0, "plan", 1500, 300, 0.01, 2.0, served=True),
            "attempt 0: plan answered by the record, 1,500 tokens in, 300 out, 2.0 s",
        ),
        (EnvironmentReady(1, "env-3f2a", ("numpy",), 1.5), "attempt 1: environment env-3f2a with numpy, 1.5 s"),
        (CheckFinished(1, "tests", False, "assert 3 == 4", 0.5), "attempt 1: tests failed: assert 3 == 4, 0.5 s"),
    ],
)
def test_single_steps_are_for_those_who_look_closer(caplog: pytest.LogCaptureFixture, event: Event, line: str) -> None:
    assert logged(caplog, event) == ("DEBUG", line)


def test_what_a_program_printed_is_no_line_of_its_own_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    forged = AttemptFinished(1, False, "logic", "x\n2026-01-01 ERROR forged \x1b[2J")
    assert logged(caplog, forged)[1] == "attempt 1: logic: x 2026-01-01 ERROR forged"


@pytest.mark.slow
def test_nothing_is_printed_where_nobody_set_up_logging() -> None:
    program = (
        "from flyteplugins.codegen.core.events import ModelRetried\n"
        "from flyteplugins.codegen.report.log import log_event\n"
        "log_event(ModelRetried(0, 'plan', 'gpt-4.1', '429', 1.0))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
