"""What counts as an answer of each model step, and how repairs are put into the tests."""

from __future__ import annotations

import ast
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from flyteplugins.codegen.backends import answers
from flyteplugins.codegen.core.contract import Contract

CONTRACT = Contract(inputs={"sales": "File", "threshold": "float"}, outputs={"total": "float"}, samples=("sales",))
TESTS = '''"""Tests of the total."""
import pytest


def test_total(run_solution):
    assert run_solution().outputs["total"] == 3


@pytest.mark.parametrize("x", [1, 2])
def test_threshold(run_solution, x):
    assert run_solution(threshold=x).exit_code == 0


def test_empty(run_solution):
    assert run_solution().exit_code != 0
'''


def valid(step: Any, **answer: Any) -> BaseModel:
    made: BaseModel = step.answer_type.model_validate(answer)
    return made


def problem(step: Any, **answer: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        step.answer_type.model_validate(answer)
    return str(caught.value)


def test_code_must_parse_and_not_be_empty() -> None:
    step = answers.code_step("code", CONTRACT, ())
    example = [{"name": "threshold", "value": "0.5"}]
    assert "line 2" in problem(step, code="x = 1\ndef main(:\n", examples=example)
    assert "empty" in problem(step, code="  \n", examples=example)
    assert "empty" in problem(step, code="```python\n```", examples=example)


def test_a_fence_around_the_code_is_taken_off() -> None:
    step = answers.code_step("code", CONTRACT, ())
    answer = valid(step, code="```python\nprint(1)\n```", examples=[{"name": "threshold", "value": "1"}])
    assert answer.code == "print(1)\n"  # type: ignore[attr-defined] # the step's own type


@pytest.mark.parametrize(
    ("examples", "named"),
    [([], "no example for threshold"), ([{"name": "threshold", "value": "high"}], "'high' is not a number")],
)
def test_code_brings_an_example_that_fits_each_input_without_a_sample(examples: list[Any], named: str) -> None:
    assert named in problem(answers.code_step("code", CONTRACT, ()), code="x = 1", examples=examples)


def test_an_example_that_the_user_gave_is_not_asked_for() -> None:
    assert valid(answers.code_step("code", CONTRACT, ("threshold",)), code="x = 1")


def test_a_plan_without_words_is_none() -> None:
    assert "must not be empty" in problem(answers.plan_step(), description=" ", approach="read, add, write")


def test_tests_must_have_tests() -> None:
    step = answers.write_tests_step("tests", 0, (), ())
    assert "test_" in problem(step, code="def check():\n    pass\n")


def test_coverage_names_constraints_and_tests_that_exist() -> None:
    step = answers.write_tests_step("tests", 1, (), ())
    code = "def test_total(run_solution):\n    pass\n"
    assert "no constraint 2" in problem(step, code=code, coverage=[{"constraint": 2, "tests": ["test_total"]}])
    assert "test_other" in problem(step, code=code, coverage=[{"constraint": 1, "tests": ["test_other"]}])
    assert valid(step, code=code, coverage=[{"constraint": 1, "tests": ["test_total"]}])


def test_a_constraint_without_a_data_check_needs_a_test() -> None:
    step = answers.write_tests_step("tests", 2, (2,), ())
    code = "def test_total(run_solution):\n    pass\n"
    covered = [{"constraint": 1, "tests": ["test_total"]}]
    assert "constraint 2 has no test" in problem(step, code=code, coverage=covered)


def test_more_tests_have_new_names() -> None:
    step = answers.write_tests_step("more_tests", 0, (), ("test_total",))
    assert "has that name already" in problem(step, code="def test_total():\n    pass\n")


def test_a_diagnosis_quotes_what_decides_it() -> None:
    step = answers.diagnosis_step("Sum the revenue.\nquantity must be positive", ("test_total",))
    wrong = {"error_type": "logic", "reason": "r", "request_quote": "sum of the units"}
    assert "word for word" in problem(step, **wrong)
    assert "word for word" in problem(step, **{**wrong, "request_quote": ""})
    assert valid(step, **{**wrong, "request_quote": '"sum the  revenue."'})


def test_a_diagnosis_may_blame_only_tests_that_failed() -> None:
    step = answers.diagnosis_step("Sum the revenue.", ("test_total[1]",))
    verdict = {"error_type": "test_error", "reason": "r", "request_quote": "Sum the revenue"}
    assert "only tests that failed" in problem(step, **verdict, tests=["test_empty"])
    assert valid(step, **verdict, tests=[]).tests == ["test_total"]  # type: ignore[attr-defined] # the step's own type


def test_a_missing_package_must_be_named() -> None:
    step = answers.diagnosis_step("Sum the revenue.", ())
    assert "at least one package" in problem(
        step, error_type="environment", reason="r", request_quote="Sum the revenue", packages=[]
    )


def test_a_repair_replaces_only_the_named_test() -> None:
    step = answers.repair_tests_step(["test_threshold"])
    repaired = valid(
        step,
        tests=[{"name": "test_threshold", "code": "def test_threshold(run_solution):\n    assert math.pi > 3\n"}],
        imports=["import math", "import pytest"],
    )
    changed = answers.with_repaired(TESTS, repaired)  # type: ignore[arg-type] # the step's own type
    assert answers.test_names(changed) == ("test_total", "test_threshold", "test_empty")
    assert "parametrize" not in changed
    assert changed.count("import pytest") == 1
    for kept in ("test_total", "test_empty"):
        assert source(changed, kept) == source(TESTS, kept)
    assert source(changed, "test_threshold") == "def test_threshold(run_solution):\n    assert math.pi > 3"
    assert changed.index('"""Tests') < changed.index("import math") < changed.index("def test_total")


def test_a_repair_of_another_test_is_refused() -> None:
    step = answers.repair_tests_step(["test_threshold"])
    other = [{"name": "test_total", "code": "def test_total():\n    pass\n"}]
    assert "exactly these tests: test_threshold" in problem(step, tests=other)
    renamed = [{"name": "test_threshold", "code": "def test_total():\n    pass\n"}]
    assert "exactly the one function" in problem(step, tests=renamed)


def test_more_tests_come_after_those_that_there_are() -> None:
    changed = answers.with_more(TESTS, "from __future__ import annotations\nimport os\n\ndef test_new():\n    pass\n")
    assert changed.startswith(TESTS.rstrip())
    assert answers.test_names(changed)[-1] == "test_new"


def source(module: str, name: str) -> str | None:
    for node in ast.parse(module).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return ast.get_source_segment(module, node)
    return None
