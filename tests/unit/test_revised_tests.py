"""What a follow-up request does to a test module: what is taken out, what is put in, and what stays to the byte."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from flyteplugins.codegen.backends.revised_tests import RevisedTests, compared, revised, revised_tests_step, without
from flyteplugins.codegen.core.history import Attempt

TESTS = '''"""Tests of the sum."""

from __future__ import annotations

import pytest

LIMIT = 3


# The largest amount
# that is allowed.
@pytest.mark.parametrize("amount", [1, 2])
def test_limit(run_solution, amount):
    assert amount  <= LIMIT


class TestSum:
    """Sums."""

    def test_sum(self, run_solution):
        assert sorted([2, 1]) == [1, 2]

    def test_mean(self, run_solution): assert 1


class TestEmpty:
    """Nothing else."""

    # alone
    def test_empty(self, run_solution):
        assert True


def test_last(run_solution):
    rows = [1]
    assert rows
'''
FOLLOW_UP = "Leave out negative\namounts, please."


def answer(**parts: Any) -> RevisedTests:
    return revised_tests_step(TESTS, FOLLOW_UP, constraints=1).answer_type.model_validate(parts)


def dropped(*names: str, quote: str = "leave out Negative amounts") -> list[dict[str, str]]:
    return [{"name": name, "quote": quote, "reason": "It is not so any more."} for name in names]


def test_a_test_goes_with_its_decorators_and_the_comment_above_it_and_the_rest_stays_to_the_byte() -> None:
    before, after = TESTS.split("# The largest")[0], TESTS[TESTS.index("class TestSum") :]
    assert without(TESTS, {"test_limit"}) == before + after


def test_a_class_goes_with_its_last_test() -> None:
    left = without(TESTS, {"test_empty", "test_sum"})
    assert "TestEmpty" not in left
    assert '    """Sums."""\n\n    def test_mean(self, run_solution): assert 1\n' in left


def test_new_tests_stand_at_the_end_and_their_imports_at_the_head() -> None:
    new = (
        '"""More."""\nfrom __future__ import annotations\n\nimport pytest\n'
        "from math import (\n    inf,\n    nan,\n)\n\n"
        "MORE = [inf, nan]\n\n\ndef test_more(run_solution):\n    assert MORE\n"
    )
    module = revised(TESTS, answer(code=new))
    assert module.endswith("\n\n\nMORE = [inf, nan]\n\n\ndef test_more(run_solution):\n    assert MORE\n")
    assert module.count("import pytest") == module.count("from __future__") == 1
    assert module.index("from math import inf, nan") < module.index("LIMIT = 3")
    assert "More." not in module
    assert TESTS[TESTS.index("LIMIT") :].rstrip() in module


def test_a_test_may_be_written_anew_under_its_name() -> None:
    new = "def test_last(run_solution):\n    assert 2\n"
    module = revised(TESTS, answer(dropped=dropped("test_last"), code=new))
    assert module.endswith(new)
    assert module.count("def test_last") == 1


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ({"dropped": dropped("test_last", quote="")}, "word for word"),
        ({"dropped": dropped("test_last", quote="leave out amounts")}, "word for word"),
        ({"dropped": [{**dropped("test_last")[0], "reason": " "}]}, "say why"),
        ({"dropped": dropped("test_first")}, "no test of the module"),
        (
            {"dropped": dropped("test_limit", "test_sum", "test_mean", "test_empty", "test_last")},
            "no test would be left",
        ),
        ({"code": "def test_last(run_solution): assert 1"}, "test_last"),
        ({"code": "LIMIT = 4\ndef test_new(run_solution): assert 1"}, "LIMIT"),
        ({"code": "import math as pytest\ndef test_new(run_solution): assert 1"}, "pytest"),
        ({"code": "def sorted(rows): return rows\ndef test_new(run_solution): assert 1"}, "sorted"),
        ({"code": "def run_solution(): return 1\ndef test_new(): assert 1"}, "run_solution"),
        ({"code": "pytestmark = 1\ndef test_new(run_solution): assert 1"}, "pytestmark"),
        ({"code": "print(1)\ndef test_new(run_solution): assert 1"}, "line 1 runs"),
        ({"code": "import math; MORE = 1\ndef test_new(run_solution): assert 1"}, "two statements"),
        ({"code": "import sys\nsys.path = []\ndef test_new(run_solution): assert 1"}, "line 2 runs"),
        (
            {
                "code": "import pytest\n@pytest.fixture(autouse=True)\ndef always(): pass\n"
                "def test_new(run_solution): assert 1"
            },
            "autouse",
        ),
        ({"code": "def test_new(run_solution: assert 1"}, "does not parse"),
        ({"coverage": [{"constraint": 2, "tests": []}]}, "no constraint 2"),
        ({"coverage": [{"constraint": 1, "tests": ["test_last"]}]}, "no new test"),
    ],
)
def test_what_could_change_a_test_that_stays_or_drops_one_without_grounds_is_refused(
    parts: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint):
        answer(**parts)


def test_names_that_only_functions_know_may_be_used_again() -> None:
    assert answer(code="def rows(): return [1]\n\n\ndef test_new(run_solution):\n    assert rows()\n").code


def test_tests_that_a_repair_changed_are_told_with_the_diagnosis_that_changed_them() -> None:
    mended = TESTS.replace("assert rows", "assert len(rows) == 1")
    attempts = [
        Attempt(number=1, code="", tests=TESTS, reason="The code is wrong."),
        Attempt(number=2, code="", tests=TESTS, reason="The test is wrong."),
        Attempt(number=3, code="", tests=mended),
    ]
    kept, gone, added = compared(TESTS, mended, {}, attempts, "Nobody said why.")
    assert kept == ["test_limit", "test_sum", "test_mean", "test_empty"]
    assert [(test.name, test.reason) for test in gone] == [("test_last", "The test is wrong.")]
    assert added == ["test_last"]
    assert compared(TESTS, None, {"test_sum": "Said."}, [], "Nobody said why.")[1][1].reason == "Said."
