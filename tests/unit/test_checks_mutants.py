"""Stubs and mutants: programs that good tests must refuse."""

from __future__ import annotations

import ast

import pytest

from flyteplugins.codegen.checks.mutants import mutants, stubs
from flyteplugins.codegen.checks.text import shortened, signature
from flyteplugins.codegen.core.contract import FILES, VALUE_TYPES, Contract
from flyteplugins.codegen.core.values import PLAIN_TYPES, parse_value


def body(*lines: str) -> str:
    return "def work(rows, frame, args):\n" + "".join(f"    {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("line", "becomes"),
    [
        ("return [row for row in rows if row > 3]", "row <= 3"),
        ("return rows.a + rows.b", "rows.a - rows.b"),
        ("return rows.a * rows.b", "rows.a + rows.b"),
        ("return frame.x and frame.y", "frame.x or frame.y"),
        ("return frame[(frame.a) & (frame.b)]", "frame.a | frame.b"),
        ("return sum(rows)", "max(rows)"),
        ("return frame.amount.mean()", "frame.amount.sum()"),
        ('return frame.agg({"amount": "max"})', "'amount': 'min'"),
        ("return frame.drop_duplicates()", "return frame"),
        ("return sorted(rows, key=len)", "list(rows)"),
        ('return frame.sort_values("a", ascending=False)', "ascending=True"),
        ("return sorted_by(rows, lambda row: -row.amount)", "lambda row: row.amount"),
        ("if frame.flag: rows = []", "if not frame.flag"),
        ("return rows[:10]", "rows[:11]"),
        ("return len(rows)", "len(rows) + 1"),
    ],
)
def test_a_fault_of_each_kind_is_made(line: str, becomes: str) -> None:
    assert any(becomes in mutant.code for mutant in mutants(body(line)))


@pytest.mark.parametrize(
    "line",
    [
        'raise ValueError("only " + str(3))',
        "if frame.empty: raise SystemExit(1)",
        'if frame.size < 3: sys.exit("too few")',
        'parser.add_argument("--n", type=int, default=3)',
        'path = folder / "total"',
        'name = "a" + rows.name',
        'print("done", 1 + 2)',
        "frame.sample(random_state=42, axis=0)",
    ],
)
def test_what_says_nothing_about_the_tests_is_left_alone(line: str) -> None:
    assert mutants(body(line)) == []


def test_the_guard_of_main_is_left_alone() -> None:
    assert mutants('def main():\n    pass\n\n\nif __name__ == "__main__":\n    main()\n') == []


def test_mutants_parse_differ_are_few_and_are_the_same_each_time() -> None:
    code = body(*(f"x{number} = rows[{number}] * 2 > {number}" for number in range(50)))
    made = mutants(code)
    assert len(made) == 6
    assert made == mutants(code)
    assert len({mutant.code for mutant in made} | {ast.unparse(ast.parse(code))}) == 7
    lines = [int(mutant.change.split()[1].rstrip(":")) for mutant in made]
    assert lines == sorted(lines)
    assert lines[0] < 10
    assert lines[-1] > 42


def test_stubs_write_nothing_or_a_valid_constant_for_each_output() -> None:
    kinds = [kind for kind in VALUE_TYPES if kind != FILES]
    contract = Contract(inputs={"x": "int"}, outputs={f"out_{kind}": kind for kind in kinds})
    nothing, constants = stubs(contract)
    assert nothing == {}
    assert set(constants) == set(contract.outputs)
    for name, text in constants.items():
        kind = contract.outputs[name]
        assert isinstance(parse_value(text, kind), PLAIN_TYPES[kind]) if kind in PLAIN_TYPES else text == ""


def test_a_contract_without_outputs_has_one_stub() -> None:
    assert len(stubs(Contract(inputs={}, outputs={}))) == 1


def test_a_long_text_keeps_its_head_and_its_tail_within_the_budget() -> None:
    text = "head" + "x" * 100_000 + "tail"
    short = shortened(text, 500)
    assert len(short) <= 500
    assert short.startswith("head")
    assert short.endswith("tail")
    assert shortened("short", 500) == "short"


def test_a_signature_leaves_out_what_differs_between_runs_of_the_same_failure() -> None:
    one = 'File "/tmp/run-1/solution.py", line 31, in f: <Row at 0x7f3a> after 1.25 s at 2026-11-21 03:04:05'
    two = 'File "/var/x/run-22/solution.py", line 4, in f: <Row at 0x88> after 3 s at 2025-01-01T00:00:00.5Z'
    assert signature("tests", one) == signature("tests", two)
    assert signature("tests", "assert 3 == 4") != signature("tests", "assert 3 == 5")
