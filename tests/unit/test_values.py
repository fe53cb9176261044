"""What types a contract takes, and how a value of each crosses the boundary of a script as text."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import subprocess
import sys
import typing
from typing import Any

import pandas as pd
import pytest
from flyte.io import DataFrame, Dir, File

from flyteplugins.codegen.core.contract import VALUE_TYPES, Contract, type_name
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.values import PLAIN_TYPES, format_value, is_value_of, parse_value


class MyFrame(pd.DataFrame):
    pass


class Word(enum.Enum):
    YES = "yes"


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        (datetime.date, "date"),
        (datetime.datetime, "datetime"),
        (dict, "dict"),
        (dict[str, Any], "dict"),
        (dict[str, dict[str, typing.Optional[int]]], "dict"),  # noqa: UP045 # as many write it
        (dict[str, list[float | None]], "dict"),
        (list, "list"),
        (list[dict[str, str]], "list"),
        (File[str], "File"),
        (list[File], "list[File]"),
        (list[File[str]], "list[File]"),
        (Dir, "Dir"),
        (Dir[str], "Dir"),
        (DataFrame, "DataFrame"),
        (pd.DataFrame, "pandas.DataFrame"),
        (MyFrame, "pandas.DataFrame"),
    ],
)
def test_a_declared_type_has_a_name(declared: Any, name: str) -> None:
    assert type_name(declared) == name
    assert type_name(VALUE_TYPES[name]) == name


@pytest.mark.parametrize(
    "declared",
    [bytes, decimal.Decimal, dict[int, str], dict[str, File], list[datetime.date], list[Dir], set, None, "float", Any],
)
def test_another_type_is_refused_with_the_list_of_those_that_can_be_had(declared: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"not a type that code can be generated for.*list\[File\]"):
        type_name(declared)


def test_a_list_of_files_is_an_input_only() -> None:
    assert Contract.declare((), {"parts": list[File]}, None).inputs == {"parts": "list[File]"}
    with pytest.raises(InvalidRequestError, match=r"output 'parts': .* is a type of inputs. Declare the output as Dir"):
        Contract.declare((), None, {"parts": list[File]})


@pytest.mark.slow
def test_pandas_is_imported_by_nobody_who_does_not_ask_for_its_type() -> None:
    code = (
        "import sys; from flyteplugins.codegen.core.contract import VALUE_TYPES, type_name; "
        "print([type_name(VALUE_TYPES[n]) == n for n in VALUE_TYPES if n != 'pandas.DataFrame'])"
        "; print('pandas.core' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "False" not in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[1] == "False"


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (datetime.date(2026, 2, 28), "date", "2026-02-28"),
        ({}, "dict", "{}"),
        ({"a": 1, "b": [None, True, 1.5], "ü": "\n\"'"}, "dict", '{"a": 1, "b": [null, true, 1.5], "ü": "\\n\\"\'"}'),
        ([], "list", "[]"),
        ([1, [2, [3]], {"x": None}, 10**30], "list", f'[1, [2, [3]], {{"x": null}}, {10**30}]'),
        (["half \ud800"], "list", '["half \\ud800"]'),
    ],
)
def test_a_value_comes_back_from_its_text(value: Any, kind: str, text: str) -> None:
    assert format_value(value) == text
    assert parse_value(text, kind) == value
    assert parse_value(f"\n  {text} \n", kind) == value
    assert is_value_of(value, kind)


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("2026-02-30", "date", "is not a date in ISO 8601"),
        ("2026-02-28T00:00:00", "date", "is not a date in ISO 8601"),
        ("20260228", "date", "is not a date in ISO 8601"),
        ("", "dict", "is not a JSON object: Expecting value"),
        ("[1]", "dict", "is not a JSON object: it is an array"),
        ('{"a": NaN}', "dict", "JSON has no NaN; write null"),
        ('{"a": -Infinity}', "dict", "JSON has no -Infinity; write null"),
        ('{"a": 1e999}', "dict", "1e999 is beyond what a float holds"),
        ('{"a": 1, "a": 2}', "dict", "the name 'a' stands twice"),
        ("{'a': 1}", "dict", "is not a JSON object: Expecting property name"),
        ("{} {}", "dict", "is not a JSON object: Extra data"),
        ('{"a": 1}', "list", "is not a JSON array: it is an object"),
        ("null", "list", "is not a JSON array: it is null"),
        ("[" * 100_000, "list", "is not a JSON array"),
    ],
)
def test_what_is_no_such_value_is_an_error(text: str, kind: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_value(text, kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (datetime.datetime(2026, 1, 1), "date"),
        (datetime.date(2026, 1, 1), "datetime"),
        ("2026-01-01", "date"),
        ({1: "a"}, "dict"),
        ({"a": (1, 2)}, "dict"),
        ({"a": float("nan")}, "dict"),
        ({"a": decimal.Decimal("1.0")}, "dict"),
        ({"a": Word.YES}, "dict"),
        ([{1, 2}], "list"),
        ((1, 2), "list"),
        ([], "dict"),
    ],
)
def test_a_value_that_would_not_come_back_is_no_value_of_the_type(value: Any, kind: str) -> None:
    assert not is_value_of(value, kind)


def test_a_mapping_that_is_a_dict_is_one() -> None:
    assert is_value_of(collections.OrderedDict(a=1), "dict")
    assert is_value_of(collections.defaultdict(int, a=1), "dict")


def test_every_plain_type_says_what_it_expects() -> None:
    for kind in PLAIN_TYPES:
        if kind != "str":
            with pytest.raises(ValueError, match="is not "):
                parse_value("¿", kind)
