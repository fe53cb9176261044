"""Reading what models write: hostile texts end soon, and what goes on is put together."""

from __future__ import annotations

import pytest
from pydantic import BaseModel, field_validator

from flyteplugins.codegen.models.answer import BadAnswerError, read_answer
from flyteplugins.codegen.models.continued import completed, joined
from flyteplugins.codegen.models.fenced import fenced_blocks
from flyteplugins.codegen.models.schema import code_paths, schema_of, strict_schema, without_code
from flyteplugins.codegen.models.source import parses
from flyteplugins.codegen.models.step import PythonCode

FENCE = "```"
SIZE = 300_000


class Code(BaseModel):
    code: PythonCode
    packages: list[str] = []

    @field_validator("code")
    @classmethod
    def is_python(cls, code: str) -> str:
        if not parses(code):
            raise ValueError("does not parse")
        return code


class Module(BaseModel):
    name: str
    code: PythonCode


class Modules(BaseModel):
    modules: list[Module]


# Each of these took minutes with a reader that tries every brace with every other, or every fence.
@pytest.mark.parametrize(
    "text",
    [
        "{" * SIZE,
        '{"a":' * (SIZE // 5),
        '{"a": "x ' * (SIZE // 9),
        '"' * SIZE,
        '{"a": "' + "\\" * SIZE,
        f"{FENCE}\n" * (SIZE // 4),
        f"{FENCE}python\n(" + f"\n{FENCE}\n x" * (SIZE // 6),
        f"{FENCE}python\nx = (\n{FENCE}\n" * (SIZE // 20),
        "{" + "," * SIZE + "}",
        "{'a': " + "[" * SIZE,
        "<think>" * (SIZE // 7),
        "{" + " " * SIZE,
    ],
    ids=[
        "braces",
        "nesting",
        "open strings",
        "quotes",
        "backslashes",
        "fences",
        "one block",
        "blocks",
        "commas",
        "brackets",
        "tags",
        "spaces",
    ],
)
def test_a_text_that_is_no_answer_is_found_to_be_none(text: str) -> None:
    with pytest.raises(BadAnswerError):
        read_answer(text, Code)


@pytest.mark.parametrize("text", ["{'code': __import__('os').getcwd()}", "{'code': 'x = 1' * 3}", "{**{}}"])
def test_a_dict_in_pythons_notation_is_read_and_never_run(text: str) -> None:
    with pytest.raises(BadAnswerError):
        read_answer(text, Code)


@pytest.mark.parametrize(
    ("so_far", "more", "whole"),
    [
        ("x = 1\n", "y = 2\n", "x = 1\ny = 2\n"),
        (f"{FENCE}python\nx = 1\n", f"{FENCE}python\ny = 2\n{FENCE}", f"{FENCE}python\nx = 1\ny = 2\n{FENCE}"),
        (f"{FENCE}python\nx = 1\n", f"{FENCE}\nDone.", f"{FENCE}python\nx = 1\n{FENCE}\nDone."),
        (f"{FENCE}python\nx = 1\n", f"{FENCE}json\n{{}}\n", f"{FENCE}python\nx = 1\n{FENCE}\n{FENCE}json\n{{}}\n"),
        (f"{FENCE}python\nx\n{FENCE}\n", f"{FENCE}json\n{{}}\n", f"{FENCE}python\nx\n{FENCE}\n{FENCE}json\n{{}}\n"),
        ("result = total(rows)\n", "result = total(rows)\nreturn\n", "result = total(rows)\nreturn\n"),
        ("    )\n", "    )\n)\n", "    )\n    )\n)\n"),
    ],
    ids=["plain", "opened again", "closed", "closed unsaid", "another block", "repeated", "the same bracket twice"],
)
def test_what_goes_on_is_put_behind_what_was_cut_off(so_far: str, more: str, whole: str) -> None:
    assert joined(so_far, more) == whole


def test_a_line_that_is_cut_off_is_said_again() -> None:
    assert completed("x = 1\ny = ") == "x = 1\n"
    assert completed("no line end") == ""


def test_blocks_know_their_language_and_end_with_the_text_where_nothing_closes_them() -> None:
    blocks = fenced_blocks(f"~~~~py title='x'\na = 1\n~~~\n~~~~\n\n  {FENCE}\nb\n  {FENCE}\n{FENCE} JSON\n{{}}")
    assert [(block.language, block.text) for block in blocks] == [
        ("py", "a = 1\n~~~\n"),
        ("", "b\n"),
        ("json", "{}"),
    ]


def test_fields_of_code_are_found_and_can_be_taken_out_of_a_schema() -> None:
    assert code_paths(schema_of(Code)) == [("code",)]
    assert code_paths(schema_of(Modules)) == [("modules", "[]", "code")]
    reduced = without_code(schema_of(Modules))
    assert list(reduced["$defs"]["Module"]["properties"]) == reduced["$defs"]["Module"]["required"] == ["name"]
    assert "x-python" not in str(strict_schema(schema_of(Modules)))
