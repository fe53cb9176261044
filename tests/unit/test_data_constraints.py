"""Constraints as data checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pandera.pandas as pa
import pytest
from flyte.io import File

from flyteplugins.codegen.data.constraints import (
    Evaluation,
    ParsedCheck,
    ParsedConstraints,
    constraint_check_label,
    evaluate,
    with_checks,
)
from flyteplugins.codegen.data.profile import Profile
from flyteplugins.codegen.data.profiling import profile

FRAME = pd.DataFrame(
    {
        "t": [1.0, -50.0, 99.0, None],
        "k": [1, 2, 2, 3],
        "name": ["Ada", "bob", "O'Neil", "Zoë"],
        "ok": [True, False, True, True],
        "day": ["2024-01-01", "2024-02-01", "2023-01-01", "2024-03-01"],
    }
)


def check(column: str, name: Any, *arguments: Any, sample: str = "r", constraint: int = 1) -> ParsedCheck:
    return ParsedCheck(constraint=constraint, sample=sample, column=column, check=name, arguments=list(arguments))


async def judged(tmp_path: Path, *checks: ParsedCheck) -> tuple[Profile, Evaluation]:
    FRAME.to_csv(tmp_path / "r.csv", index=False)
    file = File(path=str(tmp_path / "r.csv"))
    found = await profile("r", file, max_rows=5)
    return found, await evaluate({"r": found}, {"r": file}, checks)


@pytest.mark.parametrize(
    ("given", "violations"),
    [
        (check("t", "gt", 0), 1),
        (check("t", "ge", 1), 1),
        (check("t", "lt", 99), 1),
        (check("t", "le", 99), 0),
        (check("t", "in_range", -40, 60), 2),
        (check("t", "not_null"), 1),
        (check("k", "gt", 1.5), 1),
        (check("k", "isin", 1, 2), 1),
        (check("k", "notin", 3), 1),
        (check("k", "unique"), 1),
        (check("k", "eq", 2), 2),
        (check("k", "ne", 2), 2),
        (check("ok", "eq", True), 1),
        (check("name", "str_matches", "[A-Z]"), 1),
        (check("name", "str_startswith", "A"), 3),
        (check("name", "str_length", 3, 3), 1),
        (check("name", "str_length", None, 5), 1),
        (check("name", "isin", "Ada", "O'Neil"), 2),
        (check("day", "ge", "2024-01-01"), 1),
    ],
)
async def test_the_violations_are_those_that_pandera_finds(given: ParsedCheck, violations: int, tmp_path: Path):
    found, evaluation = await judged(tmp_path, given)
    assert [checked.violations for checked in evaluation.kept] == [violations]
    assert evaluation.kept[0].rows == 4
    code = with_checks(found, evaluation.checks).schema_code
    module: dict[str, Any] = {}
    exec(code or "", module)  # noqa: S102 - that it runs is what is tested
    frame = module["read"](tmp_path / "r.csv")
    if violations == 0:
        module["schema"].validate(frame)
    else:
        with pytest.raises((pa.errors.SchemaError, pa.errors.SchemaErrors)):
            module["schema"].validate(frame)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (check("t", "gt", 0, sample="sales"), "no sample 'sales'"),
        (check("temperature", "gt", 0), "no column 'temperature'"),
        (check("t", "gt"), "takes 1 value"),
        (check("t", "in_range", 1), "takes 2 values"),
        (check("t", "in_range", 5, 1), "is empty"),
        (check("t", "gt", "x"), "can't be compared"),
        (check("t", "gt", None), "can't be compared"),
        (check("t", "isin"), "at least 1 value"),
        (check("t", "isin", 1, "x"), "can't be compared"),
        (check("t", "str_matches", "x"), "not text"),
        (check("name", "str_matches", "("), "no regular expression"),
        (check("name", "str_length", None, None), "whole numbers"),
        (check("name", "str_length", -1, 3), "whole numbers"),
        (check("ok", "gt", False), "no order"),
    ],
)
async def test_a_check_that_can_not_be_made_is_dropped_with_the_reason(given: ParsedCheck, reason: str, tmp_path: Path):
    found, evaluation = await judged(tmp_path, given, check("k", "gt", 0, constraint=2))
    assert evaluation.labels(2) == ["r.k: gt(0)"]
    assert len(evaluation.dropped) == 1
    assert reason in evaluation.dropped[0].reason
    assert "Check.gt(0)" in (with_checks(found, [given, *evaluation.checks]).schema_code or "")


def test_labels_read_as_sentences():
    assert constraint_check_label(check("t", "in_range", -40, 60)) == "r.t: in_range(-40, 60)"
    assert constraint_check_label(check("t", "isin", "a", None)) == 'r.t: isin("a", null)'


def test_the_answer_type_refuses_checks_that_do_not_exist():
    with pytest.raises(ValueError, match="check"):
        ParsedConstraints.model_validate(
            {"checks": [{"constraint": 1, "sample": "r", "column": "t", "check": "eval", "arguments": ["1"]}]}
        )
