"""What a follow-up request does to the tests: which are dropped, and what is written at the end of the module."""

from __future__ import annotations

import ast
import itertools
import re
import symtable
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field, create_model, field_validator, model_validator

from flyteplugins.codegen.backends.answers import Coverage, parse, test_names, unfenced, with_imports, with_more
from flyteplugins.codegen.core.history import Attempt, DroppedTest
from flyteplugins.codegen.core.python_source import parse_python
from flyteplugins.codegen.models.step import PythonCode, Step

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORTS = (ast.Import, ast.ImportFrom)
_OF_PYTEST = ("pytestmark", "pytest_plugins", "run_solution", "samples", "tmp_path")


class DroppedAnswer(BaseModel):
    """A test that does not hold any more, and the words of the follow-up that decide it."""

    name: str
    quote: str
    reason: str


class RevisedTests(BaseModel):
    """The tests that a follow-up request ends, and those that it brings."""

    dropped: list[DroppedAnswer] = Field(default_factory=list)
    code: PythonCode = ""
    packages: list[str] = Field(default_factory=list)
    coverage: list[Coverage] = Field(default_factory=list)

    @field_validator("code")
    @classmethod
    def _parses(cls, code: str) -> str:
        if not code.strip():
            return ""
        parse(code)
        return unfenced(code)


def revised_tests_step(tests: str, follow_up: str, constraints: int) -> Step[RevisedTests]:
    """The step that asks what a follow-up request does to the tests.

    Args:
        tests: The module as it is.
        follow_up: The request; whatever is dropped must be justified by a quote from it.
        constraints: How many constraints the request has.
    """

    def fits(answer: RevisedTests) -> RevisedTests:
        if problems := list(_problems(answer, tests, follow_up, constraints)):
            raise ValueError("; ".join(problems))
        return answer

    validated: Any = model_validator(mode="after")(fits)
    # The schema and its title stay those of the base; only the validation knows about this request.
    return Step(
        "revise_tests",
        create_model("RevisedTests", __base__=RevisedTests, __validators__={"fits_the_tests": validated}),
    )


def revised(tests: str, answer: RevisedTests) -> str:
    """The module without what was dropped and with what is new; every other test keeps its bytes."""
    kept = without(tests, {dropped.name for dropped in answer.dropped})
    if not answer.code:
        return kept
    new = parse_python(answer.code)
    head = [ast.unparse(node) for node in new.body if isinstance(node, _IMPORTS)]
    lines = answer.code.splitlines()
    for node in new.body:
        if isinstance(node, _IMPORTS) or _is_docstring(node):
            lines[node.lineno - 1 : node.end_lineno] = [""] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    module = with_more(kept, "\n".join(lines)) if test_names(answer.code) else kept
    return with_imports(module, head)


def without(tests: str, names: Collection[str]) -> str:
    """The module without the test functions in `names`, and without classes that have nothing else.

    Args:
        tests: The module.
        names: Names of test functions.

    Returns:
        The module; the functions that stay keep their bytes.
    """
    lines = tests.splitlines(keepends=True)
    gone: list[tuple[int, int]] = []
    for top in parse_python(tests).body:
        if not isinstance(top, ast.ClassDef):
            gone += [_span(top, lines)] if _is_named(top, names) else []
            continue
        dropped = [node for node in top.body if _is_named(node, names)]
        rest = [node for node in top.body if node not in dropped and not _is_docstring(node)]
        gone += [_span(node, lines) for node in dropped] if rest else [_span(top, lines)] if dropped else []
    for start, end in sorted(gone, reverse=True):
        del lines[start:end]
    return "".join(lines).rstrip("\n") + "\n"


def sources(tests: str | None) -> dict[str, str]:
    """The source of each test function by name, decorators included; nothing for a module that does not parse."""
    try:
        tree = parse_python(tests or "")
    except SyntaxError:
        return {}
    lines = (tests or "").splitlines()
    found: dict[str, str] = {}
    for top in tree.body:
        for node in top.body if isinstance(top, ast.ClassDef) else [top]:
            if isinstance(node, _FUNCTIONS) and node.name.startswith("test_"):
                text = "\n".join(lines[_first_line(node) - 1 : node.end_lineno])
                # Tests of one name in two classes are told as one.
                found[node.name] = f"{found[node.name]}\n{text}" if node.name in found else text
    return found


def compared(
    before: str | None, after: str | None, reasons: Mapping[str, str], attempts: Sequence[Attempt], otherwise: str
) -> tuple[list[str], list[DroppedTest], list[str]]:
    """What became of the tests.

    Args:
        before: The module that a revision started from.
        after: The module that it ended with.
        reasons: Why tests were dropped, by name, where it was said.
        attempts: The attempts of the revision; the diagnoses in them say why a test was changed later.
        otherwise: The reason where nothing says one.

    Returns:
        Names of those that were kept, those that were dropped or changed, and names of those that are new; one that
        was changed is in the last two.
    """
    old, new = sources(before), sources(after)
    kept = [name for name, text in old.items() if new.get(name) == text]
    dropped = [
        DroppedTest(name=name, reason=reasons.get(name) or _reason_in(attempts, name, text) or otherwise)
        for name, text in old.items()
        if name not in kept
    ]
    return kept, dropped, [name for name in new if name not in kept]


def _reason_in(attempts: Sequence[Attempt], name: str, text: str) -> str:
    """The diagnosis after which a test was not any more what it had been."""
    for earlier, later in itertools.pairwise(attempts):
        if sources(earlier.tests).get(name) == text != sources(later.tests).get(name):
            return earlier.reason
    return ""


def _problems(answer: RevisedTests, tests: str, follow_up: str, constraints: int) -> Iterator[str]:
    there, dropped = set(test_names(tests)), {entry.name for entry in answer.dropped}
    said = _plain(follow_up)
    for entry in answer.dropped:
        if entry.name not in there:
            yield f"{entry.name} is no test of the module"
        quote = _plain(entry.quote).strip("\"'“”. ")
        if not quote or quote not in said:
            yield f"the quote for {entry.name} must be copied word for word from the last follow-up request"
        if not entry.reason.strip():
            yield f"say why {entry.name} does not hold any more"
    kept = without(tests, dropped)
    new = set(test_names(answer.code)) if answer.code else set()
    if not new and not (there - dropped):
        yield "no test would be left: write the ones that hold from now on"
    if answer.code:
        yield from _clashes(parse_python(answer.code), kept)
    for row in answer.coverage:
        if not 1 <= row.constraint <= constraints:
            yield f"there is no constraint {row.constraint}"
        yield from (f"coverage names {name}, which is no new test" for name in row.tests if name not in new)


def _clashes(new: ast.Module, kept: str) -> Iterator[str]:
    """What in the new part would change what the kept tests do."""
    taken = {*_OF_PYTEST, *_taken(kept)}
    imported = {ast.unparse(node) for node in parse_python(kept).body if isinstance(node, _IMPORTS)}
    for earlier, later in itertools.pairwise(new.body):
        if later.lineno <= (earlier.end_lineno or earlier.lineno):
            yield f"line {later.lineno} has two statements: give each a line of its own"
    for node in new.body:
        if not (_only_binds(node) or _is_docstring(node)):
            yield f"line {node.lineno} runs when the module is loaded: put it into a function"
        elif isinstance(node, _IMPORTS):
            if ast.unparse(node) not in imported:
                yield from (f"the import of {name} takes a name of the module" for name in _bound(node) & taken)
        else:
            yield from (
                f"{name} is a name of the module already: take another" for name in sorted(_bound(node) & taken)
            )
        if isinstance(node, _FUNCTIONS) and any("autouse" in ast.unparse(mark) for mark in node.decorator_list):
            yield f"the fixture {node.name} would be used by the tests that stay: no autouse"


def _only_binds(node: ast.stmt) -> bool:
    """Whether a statement of a module does nothing but give a name to something."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return not any(isinstance(part, (ast.Attribute, ast.Subscript)) for top in targets for part in ast.walk(top))
    return isinstance(node, (*_FUNCTIONS, *_IMPORTS, ast.ClassDef))


def _taken(module: str) -> set[str]:
    """The names that the code of a module finds outside of its functions, built-in ones and fixtures included."""
    table = symtable.symtable(module, "tests", "exec")
    found = {symbol.get_name() for symbol in table.get_symbols()}
    tables = list(table.get_children())
    while tables:
        scope = tables.pop()
        tables += scope.get_children()
        found |= {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global()}
    for node in ast.walk(parse_python(module)):
        if isinstance(node, _FUNCTIONS) and (node.name.startswith("test_") or node.decorator_list):
            found |= {argument.arg for argument in node.args.args}
    return found


def _bound(node: ast.stmt) -> set[str]:
    """The names that a statement of a module binds there."""
    if isinstance(node, _IMPORTS):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    if isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
        return {node.name}
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)}


def _is_named(node: ast.stmt, names: Collection[str]) -> bool:
    return isinstance(node, _FUNCTIONS) and node.name in names


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _span(node: ast.stmt, lines: Sequence[str]) -> tuple[int, int]:
    """The lines of a function or class, with the comment right above it and the empty lines after it."""
    start, end = _first_line(node) - 1, node.end_lineno or node.lineno
    while start and re.match(r"\s*#", lines[start - 1]):
        start -= 1
    while end < len(lines) and not lines[end].strip():
        end += 1
    return start, end


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
