from __future__ import annotations

import io
import threading
import time

from rich.console import Console

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
from flyteplugins.codegen.report.live import View
from flyteplugins.codegen.report.progress import Progress

GENERATION: tuple[Event, ...] = (
    Note(0, "bubblewrap: own namespaces, no network"),
    StepStarted(0, "profile"),
    StepStarted(0, "plan"),
    ModelAnswered(0, "plan", 1500, 300, 0.01, 2.25),
    StepStarted(0, "code"),
    StepStarted(0, "tests"),
    ModelAnswered(0, "tests", 1700, 900, 0.02, 6.5),
    ModelAnswered(0, "code", 1600, 700, None, 7.0),
    StepStarted(1, "environment"),
    EnvironmentReady(1, "env-3f2a", ("numpy", "pandas"), 1.5),
    StepStarted(1, "contract"),
    CheckFinished(1, "contract", True, "4 of 4"),
    StepStarted(1, "tests"),
    CheckFinished(1, "tests", False, "test_total: assert 3 == 4"),
    AttemptFinished(1, False, "logic", "units are not multiplied", ("scipy",)),
)


def shown(events: tuple[Event, ...], *, terminal: bool) -> str:
    out = io.StringIO()
    # Narrower than the lines: what goes into a file is not broken all the same.
    with View(Console(file=out, force_terminal=terminal, width=60, highlight=False)) as view:
        for event in events:
            view.on_event(event)
    return out.getvalue()


def test_where_there_is_no_terminal_each_finished_step_is_one_plain_line() -> None:
    lines = shown(GENERATION, terminal=False).splitlines()
    assert lines == [
        "attempt step            elapsed  tokens in     out  result",
        "bubblewrap: own namespaces, no network",
        "        profile           0.0 s                     ok",
        "        plan              2.2 s      1,500     300  ok",
        "        tests             6.5 s      1,700     900  ok",
        "        code              7.0 s      1,600     700  ok",
        "1       environment       1.5 s                     ok: numpy, pandas",
        "1       contract          0.0 s                     ok: 4 of 4",
        "1       tests             0.0 s                     failed: test_total: assert 3 == 4",
        "1       attempt                                     failed: logic: units are not multiplied (adds scipy)",
    ]


def test_on_a_terminal_the_running_steps_stand_below_with_what_was_used_so_far() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, highlight=False)
    with View(console) as view:
        for event in GENERATION[:7]:
            view.on_event(event)
        time.sleep(0.4)  # longer than one refresh
        text = out.getvalue()
    running = text.rsplit("tests ", 1)[1]
    assert "code" in running
    assert "..." in running
    assert "2 answers, 3,200 tokens in, 1,200 out, $0.0300" in running


def test_events_from_several_threads_all_come_out() -> None:
    out = io.StringIO()
    with View(Console(file=out, force_terminal=True, width=120)) as view:
        threads = [
            threading.Thread(target=lambda: [view.on_event(Note(0, "seen")) for _ in range(50)]) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=20)
        assert not any(thread.is_alive() for thread in threads)
    assert out.getvalue().count("seen") == 400


def test_what_a_model_writes_is_neither_markup_nor_an_escape_sequence() -> None:
    told = shown((Note(0, "[bold]x[/bold] \x1b[2Jy"),), terminal=False)
    assert "[bold]x[/bold] y" in told
    assert "\x1b" not in told


def test_steps_side_by_side_are_each_closed_by_their_own_answer() -> None:
    progress = Progress()
    for event, now in ((StepStarted(0, "code"), 1.0), (StepStarted(0, "tests"), 1.5)):
        assert progress.take(event, now) == []
    (row,) = progress.take(ModelAnswered(0, "code", 10, 20, None, 3.0), 4.0)
    assert (row.step, row.seconds, row.running) == ("code", 3.0, False)
    assert [row.step for row in progress.running] == ["tests"]


def test_a_check_that_was_not_announced_began_when_the_one_before_it_ended() -> None:
    progress = Progress()
    progress.take(CheckFinished(1, "contract", True, ""), 10.0)
    (row,) = progress.take(CheckFinished(1, "tests", True, ""), 14.5)
    assert row.seconds == 4.5


def test_a_step_that_never_said_that_it_is_done_did_not_finish() -> None:
    progress = Progress()
    progress.take(StepStarted(1, "environment"), 1.0)
    rows = progress.take(AttemptFinished(1, False, "logic", "no such package"), 3.5)
    assert [(row.step, row.seconds, row.passed) for row in rows] == [
        ("environment", 2.5, False),
        ("attempt", None, False),
    ]
    assert progress.running == []


def test_a_step_that_an_error_ended_is_told_as_unfinished() -> None:
    told = shown((StepStarted(1, "repair_code"),), terminal=False).splitlines()
    assert told[-1].split()[:2] == ["1", "repair_code"]
    assert told[-1].endswith("failed: did not finish")


def test_a_call_that_is_made_again_is_told_and_its_step_waits() -> None:
    retried = ModelRetried(0, "plan", "gpt-4.1", "429 Too Many Requests", 2.5)
    told = shown((StepStarted(0, "plan"), retried, ModelAnswered(0, "plan", 1, 2, 0.1, 4.0)), terminal=False)
    assert told.splitlines()[1:] == [
        "plan: gpt-4.1: 429 Too Many Requests, again in 2.5 s",
        "        plan              4.0 s          1       2  ok",
    ]
    progress = Progress()
    progress.take(StepStarted(0, "plan"), 1.0)
    progress.take(retried, 2.0)
    assert progress.running[0].detail == "waits to ask again"


def test_what_the_record_served_is_told_as_such() -> None:
    served = ModelAnswered(0, "plan", 1500, 300, 0.01, 2.25, served=True)
    assert shown((served,), terminal=False).splitlines()[1].endswith("ok: from the record")
    ended = GenerationFinished(1, True, None, 3, 1500, 300, 0.01, 12.0, served=True)
    assert shown((ended,), terminal=False).splitlines()[1].startswith("All of it is from the record")


def test_on_a_narrow_terminal_what_does_not_fit_goes_on_below_its_step() -> None:
    out = io.StringIO()
    with View(Console(file=out, force_terminal=True, width=80, highlight=False, color_system=None)) as view:
        view.on_event(CheckFinished(1, "tests", False, "test_total: " + "3 is not 4, " * 12))
    lines = [line for line in out.getvalue().splitlines() if "3 is not 4" in line]
    assert len(lines) > 1
    assert all(len(line) <= 80 for line in lines)
    assert all(line.startswith(" " * 8) and line[8] != " " for line in lines[1:])
