"""Masking of what a run printed, with `sample_privacy="schema"`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from flyteplugins.codegen.data.privacy import MARK, Redactor, redactor
from flyteplugins.codegen.data.samples import take_in

FRAME = pd.DataFrame(
    {
        "customer": ["Alice Kline", "Bob", "Zoë Ångström"],
        "amount": [31337.25, 99.5, 12],
        "state": ["invalid", "open file", "X-17"],
        "day": ["2024-07-19", "2024-07-20", "2024-07-21"],
    }
)

CODE = """import pandas as pd

def total(path):
    frame = pd.read_csv(path)
    return frame["customer"].astype(int).sum()
"""

VALUES = ["Alice", "Kline", "Bob", "Zoë", "Ångström", "31337", "99.5", "X-17", "2024-07-19", "2024"]


@pytest.fixture
async def redact(tmp_path: Path) -> Redactor:
    return await redactor(await take_in({"s": FRAME}, tmp_path / "store"), known=['columns "customer", "amount"'])


def printed(code: str, tmp_path: Path) -> str:
    """What a real program prints about the data."""
    FRAME.to_csv(tmp_path / "s.csv", index=False)
    (tmp_path / "solution.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "solution.py"], cwd=tmp_path, capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_real_traceback_keeps_its_shape_and_loses_the_values(redact: Redactor, tmp_path: Path):
    code = CODE + '\ntotal("s.csv")\n'
    text = printed(code, tmp_path)
    assert "Alice" in text
    masked = redact(text, [code])
    assert not [value for value in VALUES if value in masked]
    assert "Traceback (most recent call last):" in masked
    assert 'File "solution.py", line 5, in total' in masked
    assert 'return frame["customer"].astype(int).sum()' in masked
    assert "ValueError: " in masked
    assert len(masked.splitlines()) == len(text.splitlines())


@pytest.mark.slow
def test_tables_numbers_and_parts_of_values_that_are_printed_are_masked(redact: Redactor, tmp_path: Path):
    code = """import pandas as pd
frame = pd.read_csv("s.csv")
print(frame)
print(frame.customer.str.upper().tolist(), frame.amount.sum(), [name[:3] for name in frame.customer])
print(frame.customer.str[::-1].iloc[0], repr(frame.to_dict()))
print(f"{frame.amount.max():,.2f} {frame.amount.max():.3e} {frame.day.max()!s}")
"""
    masked = redact(printed(code, tmp_path), [code])
    for value in [*VALUES, "ALICE", "Ali", "enilK", "31448", "31,337", "3.13", "07"]:
        assert value not in masked


def test_a_word_of_error_messages_that_is_a_value_is_masked(redact: Redactor):
    assert redact("the state is invalid, open a file") == f"the state is {MARK}, {MARK} a {MARK}"


def test_what_the_model_wrote_itself_stays(redact: Redactor):
    test = 'def test_sum(run_solution):\n    assert run_solution().outputs["total"] == 42\n'
    text = (
        '>       assert run_solution().outputs["total"] == 42\n'
        "E       assert 41.25 == 42\n"
        "test_solution.py:12: AssertionError\n"
        "FAILED test_solution.py::test_sum - KeyError: 'customer'\n"
        "1 failed, 2 passed in 0.31s"
    )
    assert redact(text, [test]).splitlines() == [
        '>       assert run_solution().outputs["total"] == 42',
        f"E       assert {MARK} == {MARK}",
        "test_solution.py:12: AssertionError",
        "FAILED test_solution.py::test_sum - KeyError: 'customer'",
        "1 failed, 2 passed in 0.31s",
    ]


def test_a_made_up_frame_or_place_shows_no_value(redact: Redactor):
    assert "Bob" not in redact('  File "Bob", line 3, in Bob\nBob.py:3: Bob\n  File "/x/Bob.py", line 1, in main')


async def test_where_the_values_can_not_be_read_no_word_is_trusted(tmp_path: Path):
    (tmp_path / "s.dat").write_bytes(b"invalid\x00file" * 9)
    redact = await redactor(await take_in({"s": tmp_path / "s.dat"}, tmp_path / "store"))
    assert redact("ValueError: invalid file") == f"{MARK}: {MARK} {MARK}"
