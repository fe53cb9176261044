from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from reports import HOSTILE, SECTIONS, full_result, hostile_result

from flyteplugins.codegen import CodeGenEvalResult
from flyteplugins.codegen.core.history import Attempt, Span
from flyteplugins.codegen.core.pictures import ColumnPicture, SamplePicture
from flyteplugins.codegen.core.receipt import Receipt
from flyteplugins.codegen.core.solution import CodeSolution
from flyteplugins.codegen.report.html import document, fragment, stylesheet
from flyteplugins.codegen.report.source import difference, python_lines

ADDRESSES = ("src", "href", "srcset", "data", "action", "formaction", "poster", "background", "xlink:href", "style")


class Seen(HTMLParser):
    """The elements, attributes and texts of a page, as a browser reads them."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.ids: list[str] = []
        self.addresses: set[str] = set()
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.addresses |= {value or "" for name, value in attrs if name in ADDRESSES}
        if tag not in {"meta", "link", "rect", "wbr"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in {"rect", "meta", "link"}:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.texts).split())


def test_the_page_has_each_section_once_and_every_element_is_closed() -> None:
    seen = Seen(document(full_result()))
    assert seen.ids == [f"codegen-{name}" for name in SECTIONS]
    assert seen.open == []


def test_it_needs_nothing_from_anywhere() -> None:
    page = document(full_result())
    seen = Seen(page)
    assert {address.split(":")[0] for address in seen.addresses if not address.startswith("#codegen-")} == {"data"}
    assert "script" not in seen.tags
    assert not [name for name in seen.attributes if name.startswith("on")]
    assert "url(" not in stylesheet()
    assert "@import" not in stylesheet()


def test_its_policy_allows_its_own_style_sheet_and_no_other_content() -> None:
    page = document(full_result())
    (sheet,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.split("; ")[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]
    assert page.index("Content-Security-Policy") < page.index("<style>")


@pytest.mark.parametrize(
    "part",
    [
        "Passed",
        "2 attempts, 2 model calls, 22 s",
        "Add up the amounts.",
        "data check sales.amount: > 0",
        "nothing stands behind it",
        "Adds up the amount .",
        "passed test_total",
        "The total is 3.",
        "Attempt 1: failed at its tests",
        "test_total: assert '4' == '3'",
        "Diagnosis: the code is at fault. The request says the sum.",
        "-print('first version')",
        "+ print(1 + 2) # both",
        "Packages added for it: numpy",
        "also count the rows",
        "1 test kept, 1 dropped, 1 added.",
        "There are rows now.",
        "Nothing stands behind the constraint: be quick",
        "sales without rows is refused : exit status 0",
        "number, 500 different, 10 null",
        "other values 100",
        "each value once",
        "bubblewrap (all namespaces, no network).",
        "libgomp1",
        "numpy==2.4.1 --hash=sha256:ab",
        "$0.0300",
        "1,400",
        "gpt-4.1",
        "from second 0.2 to 2.2, from the record",
    ],
)
def test_it_tells(part: str) -> None:
    page = document(full_result())
    # Names that may be broken between lines, and elements that set something as code, do not change what it reads.
    read = Seen(page.replace("<wbr>", "")).text
    said = " ".join(re.findall(r'(?:aria-label|title)="([^"]*)"', page))
    spaced = " ".join(part.split())
    assert spaced.replace(" ", "") in f"{read} {said}".replace(" ", "")


def test_values_of_environment_variables_are_not_in_it() -> None:
    assert "not for the report" not in document(full_result())


def test_hostile_text_adds_no_element_and_no_attribute() -> None:
    plain, hostile = Seen(document(full_result(success=False, error="x"))), Seen(document(hostile_result()))
    assert hostile.tags == plain.tags
    assert hostile.attributes == plain.attributes
    assert hostile.ids == plain.ids
    assert hostile.addresses == plain.addresses
    assert hostile.open == []


def test_hostile_text_stands_there_to_be_read_without_what_would_be_obeyed() -> None:
    page = document(hostile_result())
    assert page.count("&lt;script&gt;document.title") > 30
    assert HOSTILE[:8] not in page
    assert "{{ 7 * 7 }}" in Seen(page).text
    assert not set(page) & set("\x00\x1b\u202e\ud800")
    page.encode()


def test_the_same_result_gives_the_same_page() -> None:
    assert document(full_result()) == document(full_result())


def test_a_failed_generation_says_why_at_the_top() -> None:
    page = document(full_result(success=False, error="No attempt of 2 passed."))
    read = Seen(page).text
    assert read.index("Failed") < read.index("No attempt of 2 passed.") < read.index("What was asked")


def test_a_result_with_nothing_in_it_is_a_page_too() -> None:
    seen = Seen(document(CodeGenEvalResult(success=False)))
    assert "Failed" in seen.text
    assert seen.ids == ["codegen-request"]


def test_code_that_was_never_run_is_not_called_passed() -> None:
    page = document(CodeGenEvalResult(success=True, receipt=Receipt(not_checked=["The code was never run."])))
    assert "Built, and not tested" in page
    assert "Passed" not in page


def test_a_generation_that_goes_on_is_shown_as_such() -> None:
    page = fragment(full_result(success=False, solution=None, tests=None), running=True)
    assert "Running" in page
    assert "so far: 2 attempts" in page
    assert not page.lstrip().startswith("<!doctype")


@pytest.mark.slow
def test_what_is_very_long_is_cut_and_says_so() -> None:
    page = document(full_result(output="x" * 3_000_000))
    assert len(page) < 400_000
    assert "2,800,000 more characters are not shown" in page


def test_a_wide_table_shows_its_first_columns_and_says_how_many_are_left() -> None:
    columns = [ColumnPicture(name=f"c{number}", dtype="null") for number in range(75)]
    page = document(full_result(pictures=[SamplePicture(name="wide", rows=3, columns=columns)]))
    assert "c59" in page
    assert "c60" not in page
    assert "15 more columns not shown." in page


@pytest.mark.parametrize(
    ("spans", "attempts"),
    [([Span(step="plan", start=0.0, end=0.0)], []), ([], [Attempt(number=1, code="")])],
)
def test_nothing_takes_a_duration_for_granted(spans: list[Span], attempts: list[Attempt]) -> None:
    assert "Failed" in document(CodeGenEvalResult(success=False, timeline=spans, history=attempts))


@pytest.mark.parametrize(
    "code",
    ["x = " + "-" * 6_000 + "1", "(" * 300, "a" + ".b" * 1_500, "f'{" * 500, "def test_(", "\\\n" * 300, "\x0c\r\r\n"],
)
def test_code_that_no_parser_takes_is_shown_as_it_is(code: str) -> None:
    solution = CodeSolution(code=code)
    page = document(full_result(success=False, solution=solution, tests=code, history=[Attempt(number=1, code=code)]))
    assert Seen(page).open == []


def test_a_difference_is_told_line_by_line() -> None:
    lines = difference("a\nb\nc\n", "a\nB\nc\nd\n")
    assert [line.kind for line in lines] == ["hunk", "same", "removed", "added", "same", "added"]
    assert [line.text for line in lines[1:]] == [" a", "-b", "+B", " c", "+d"]
    assert difference("a\n", "a\n") == []


def test_highlighted_code_is_the_code_line_by_line() -> None:
    code = 'x = """a\n  <b> & c\n"""\n\ny = 1'
    lines = python_lines(code)
    assert [Seen(line).texts and "".join(Seen(line).texts) for line in lines if line] == [
        'x = """a',
        "  <b> & c",
        '"""',
        "y = 1",
    ]
    assert len(lines) == 5
    assert all(Seen(line).open == [] for line in lines)
