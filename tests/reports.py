"""A result that has something in every part of a report, and the same with hostile text wherever text can be."""

from __future__ import annotations

from typing import Any

from flyteplugins.codegen import CodeGenEvalResult
from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.history import Attempt, DroppedTest, Review, Revision, Span
from flyteplugins.codegen.core.pictures import Bar, ColumnPicture, SamplePicture
from flyteplugins.codegen.core.receipt import ConstraintBacking, Receipt
from flyteplugins.codegen.core.result import Origin, RunDefaults
from flyteplugins.codegen.core.solution import CodePlan, CodeSolution
from flyteplugins.codegen.core.usage import StepUsage, Usage
from flyteplugins.codegen.core.verdict import Check, SuiteProof, TestCase

FIRST = "import sys\n\nprint('first version')\n"
CODE = '"""Adds up."""\n\nimport sys\n\n\ndef main() -> None:\n    print(1 + 2)  # both\n\n\nmain()\n'
TESTS = 'def test_total(run_solution):\n    """The total is 3."""\n    assert run_solution().stdout == "3\\n"\n'
FAILED = TestCase(name="test_total", passed=False, message="E   assert '4' == '3'")
PASSED = TestCase(name="test_total", passed=True)

SECTIONS = (
    *("request", "timeline", "plan", "code", "tests", "attempts"),
    *("approval", "revisions", "checks", "data", "usage", "environment"),
)


def full_result(**changes: Any) -> CodeGenEvalResult:
    """A successful result after a repair and a revision."""
    usage = Usage()
    for step, call in (
        ("plan", StepUsage(calls=1, input_tokens=1500, output_tokens=300, cost=0.01, seconds=2.0)),
        ("code", StepUsage(calls=1, input_tokens=1600, output_tokens=700, cached_tokens=1400, cost=0.02, seconds=5.0)),
    ):
        usage = usage.plus(step, call)
    result = CodeGenEvalResult(
        success=True,
        solution=CodeSolution(code=CODE, packages=("numpy",)),
        tests=TESTS,
        output="1 passed in 0.12s",
        exit_code=0,
        attempts=2,
        image="env-3f2a",
        detected_packages=["numpy"],
        detected_system_packages=["libgomp1"],
        generated_schemas={"sales": "schema = 1\n"},
        data_context="## Sample `sales`",
        plan=CodePlan(description="Adds up the `amount`.", approach="1. Read.\n2. Add.", packages=["numpy"]),
        declared_inputs={"threshold": float, "note": str},
        declared_outputs={"total": float},
        input_examples={"threshold": "0.5"},
        lock=Lock(python="3.11", platform="x86_64-unknown-linux-gnu", requirements="numpy==2.4.1 --hash=sha256:ab"),
        receipt=Receipt(
            isolation="Sandbox: bubblewrap (all namespaces, no network).",
            checks=[
                Check(name="the code keeps the script's contract", passed=True),
                Check(name="`sales` without rows is refused", passed=False, detail="exit status 0", advisory=True),
            ],
            constraints=[
                ConstraintBacking(constraint="amounts are positive", checks=["sales.amount: > 0"]),
                ConstraintBacking(constraint="the total is exact", tests=["test_total"]),
                ConstraintBacking(constraint="be quick"),
            ],
            tests=1,
            proof=SuiteProof(stubs=2, stubs_failed=2, mutants=4, mutants_failed=3, proved=("test_total",)),
            lock="134e39227d64",
            calls=2,
            input_tokens=3100,
            output_tokens=1000,
            cost=0.03,
            seconds=21.5,
            not_checked=["Nothing stands behind the constraint: be quick"],
            warnings=["`sales` without rows is refused: exit status 0"],
        ),
        defaults=RunDefaults(name="add-up", env_vars={"REGION": "not for the report"}),
        usage=usage,
        history=[
            Attempt(
                number=1,
                code=FIRST,
                tests=TESTS,
                stage="tests",
                failure="test_total: assert '4' == '3'",
                cases=[FAILED],
                error_type="logic",
                reason="The request says the sum.",
            ),
            Attempt(number=2, code=CODE, tests=TESTS, packages=["numpy"], passed=True, cases=[PASSED]),
        ],
        timeline=[
            Span(step="profile", start=0.0, end=0.2),
            Span(step="plan", kind="model", start=0.2, end=2.2, detail="1,500 tokens in, 300 out", served=True),
            Span(step="environment", kind="environment", attempt=1, start=2.2, end=3.0, detail="numpy"),
            Span(step="tests", kind="check", attempt=1, start=3.0, end=4.0, detail="failed: assert '4' == '3'"),
            Span(step="tests", kind="check", attempt=2, start=20.0, end=21.5, detail="passed: 1 of 1"),
        ],
        revisions=[
            Revision(
                prompt="also count the rows",
                code_before=FIRST,
                tests_before="",
                kept=["test_total"],
                dropped=[DroppedTest(name="test_rows", reason="There are rows now.")],
                added=["test_count"],
            )
        ],
        reviews=[
            Review(kind="code", attempt=1, version=FIRST, verdict="rejected", reason="Add up.", channel="terminal"),
            Review(kind="code", attempt=2, version=FIRST, verdict="edited", edited=CODE, channel="callback", seconds=3),
        ],
        pictures=[
            SamplePicture(
                name="sales",
                file_name="sales.csv",
                rows=1000,
                columns=[
                    ColumnPicture(
                        name="amount",
                        dtype="number",
                        nulls=10,
                        distinct=500,
                        bars=[Bar(label=f"{left} to {left + 10}", rows=left * 3) for left in range(0, 100, 10)],
                        ranges=True,
                    ),
                    ColumnPicture(
                        name="country",
                        dtype="text",
                        distinct=12,
                        bars=[Bar(label="DE", rows=600), Bar(label="FR", rows=300)],
                    ),
                    ColumnPicture(name="id", dtype="text", distinct=1000),
                ],
            )
        ],
        origin=Origin(
            prompt="Add up the amounts.",
            context="amount: float",
            constraints=["amounts are positive"],
            agent={"model": "gpt-4.1"},
        ),
    )
    return result.model_copy(update=changes)


HOSTILE = (
    "<script>document.title='pwned';fetch('https://pwned.invalid/')</script>"
    "\"' onmouseover=alert(1) autofocus onfocus=alert(2) x='"
    "</pre></code></style></title></textarea></svg><img src=https://pwned.invalid/i.png onerror=alert(3)>"
    "<svg onload=alert(4)><style>@import 'https://pwned.invalid/s.css'</style><!-- ]]> {{ 7 * 7 }} {% raw %}"
    "javascript:alert(5) &lt;b&gt; \x00\x1b[2J\u202e\ud800\u2028"
)
"""Whatever could be tried in one text: elements, attributes, ends of elements, style, templates, control characters."""

_CLOSED = frozenset(
    {"kind", "stage", "error_type", "verdict", "by", "declared_inputs", "declared_outputs"}
    | {"sandbox", "cache", "image_strategy", "language"}
)
"""Fields that only ever hold one of a few words."""

_NAMED = frozenset({"by_step", "generated_schemas", "input_examples"})
"""Fields whose keys are anybody's text, too."""


def hostile_result() -> CodeGenEvalResult:
    """The full result with hostile text in each of its texts."""
    document = _hostile(full_result(success=False, error="x").model_dump(mode="python"), "")
    document["declared_inputs"] = {HOSTILE: float, "threshold" + HOSTILE: str}
    document["declared_outputs"] = {HOSTILE + "_": float}
    return CodeGenEvalResult.model_validate(document)


def _hostile(value: Any, field: str) -> Any:
    if field in _CLOSED:
        return value
    if isinstance(value, str):
        return value + HOSTILE
    if isinstance(value, dict):
        return {key + HOSTILE if field in _NAMED else key: _hostile(entry, key) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_hostile(entry, field) for entry in value]
    return value
