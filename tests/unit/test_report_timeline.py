from __future__ import annotations

from flyteplugins.codegen.core.events import (
    AttemptFinished,
    CheckFinished,
    EnvironmentReady,
    Event,
    GenerationFinished,
    ModelAnswered,
    Note,
    StepStarted,
)
from flyteplugins.codegen.report.timeline import Timeline


def answered(step: str, at: float, *, attempt: int = 0, served: bool = False) -> ModelAnswered:
    return ModelAnswered(attempt, step, 1500, 300, 0.01, 2.0, served=served, at=at)


def timeline_of(*events: Event) -> Timeline:
    timeline = Timeline()
    for event in events:
        timeline.on_event(event)
    return timeline


def spans(*events: Event) -> list[tuple[str, str, float, float]]:
    return [(span.step, span.kind, span.start, span.end) for span in timeline_of(*events).spans]


def test_steps_side_by_side_each_end_with_their_own_answer() -> None:
    assert spans(
        StepStarted(0, "code", at=1.0),
        StepStarted(0, "tests", at=1.5),
        answered("tests", 4.0),
        answered("code", 6.0),
    ) == [("code", "model", 1.0, 6.0), ("tests", "model", 1.5, 4.0)]


def test_the_profile_ends_where_the_next_step_begins() -> None:
    assert spans(StepStarted(0, "profile", at=0.1), StepStarted(0, "plan", at=0.7), answered("plan", 3.0)) == [
        ("profile", "other", 0.1, 0.7),
        ("plan", "model", 0.7, 3.0),
    ]


def test_a_check_that_was_not_announced_began_as_long_ago_as_it_took() -> None:
    assert spans(
        CheckFinished(1, "contract", True, "4 of 4", 0.5, at=3.0), CheckFinished(1, "tests", False, "no", 2.0, at=5.0)
    ) == [("contract", "check", 2.5, 3.0), ("tests", "check", 3.0, 5.0)]


def test_a_check_does_not_end_the_model_step_of_the_same_name() -> None:
    assert spans(
        StepStarted(0, "tests", at=1.0),
        CheckFinished(1, "tests", True, "", 1.0, at=3.0),
        answered("tests", 4.0),
    ) == [("tests", "model", 1.0, 4.0), ("tests", "check", 2.0, 3.0)]


def test_a_step_that_never_said_that_it_is_done_ends_with_its_attempt() -> None:
    (span,) = timeline_of(
        StepStarted(1, "environment", at=1.0), AttemptFinished(1, False, "logic", "no such package", at=2.5)
    ).spans
    assert (span.kind, span.end, span.detail) == ("environment", 2.5, "did not finish")


def test_what_runs_when_the_generation_ends_did_not_finish() -> None:
    timeline = timeline_of(
        StepStarted(1, "repair_code", at=1.0),
        GenerationFinished(1, False, "stopped", 1, 2, 3, None, 9.0, at=9.0),
    )
    assert timeline.running == []
    assert timeline.spans[0].detail == "did not finish"


def test_a_step_that_runs_ends_so_far_at_the_latest_event() -> None:
    timeline = timeline_of(StepStarted(0, "plan", at=1.0), Note(0, "seen", at=4.0))
    assert [span.step for span in timeline.running] == ["plan"]
    assert timeline.spans[0].end == 4.0


def test_a_span_says_what_came_of_it_and_whether_the_record_had_it() -> None:
    timeline = timeline_of(
        StepStarted(0, "plan", at=0.0),
        answered("plan", 0.1, served=True),
        StepStarted(1, "environment", at=0.2),
        EnvironmentReady(1, "env-3f2a", ("numpy", "pandas"), 1.5, at=1.7),
        CheckFinished(1, "tests", False, "assert 3 == 4", 1.0, at=3.0),
    )
    assert [(span.detail, span.served) for span in timeline.spans] == [
        ("1,500 tokens in, 300 out", True),
        ("numpy, pandas", False),
        ("failed: assert 3 == 4", False),
    ]
