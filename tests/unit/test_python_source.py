"""Python that somebody else wrote."""

from __future__ import annotations

import warnings

import pytest

from flyteplugins.codegen.core.python_source import parse_python


@pytest.mark.parametrize(
    "text",
    ["x = " + "-" * 100_000 + "1", "(" * 5_000 + ")" * 5_000, "x = '\0'", "x = '\ud800'", "def f(:", "\x0c\x00"],
    ids=["unary signs", "brackets", "a NUL", "half a pair", "syntax", "control characters"],
)
def test_whatever_is_no_python_is_a_syntax_error(text: str) -> None:
    with pytest.raises(SyntaxError):
        parse_python(text)


def test_a_doubtful_escape_is_not_told_to_the_user() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        tree = parse_python(r"pattern = '\d+'")
    assert len(tree.body) == 1
    assert told == []
