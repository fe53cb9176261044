"""What each model step answers. The validators decide what a valid answer is; what they say goes back to the model."""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, Field, create_model, field_validator, model_validator

from flyteplugins.codegen.core.contract import FRAMES, Contract
from flyteplugins.codegen.core.python_source import parse_python
from flyteplugins.codegen.core.solution import CodePlan
from flyteplugins.codegen.core.values import PLAIN_TYPES, parse_value
from flyteplugins.codegen.core.verdict import ErrorDiagnosis
from flyteplugins.codegen.models.step import PythonCode, Step
from flyteplugins.codegen.tasks.given import table_of

Answer = TypeVar("Answer", bound=BaseModel)


class PlanAnswer(CodePlan):
    """The plan, with something in it."""

    @field_validator("description", "approach")
    @classmethod
    def _said(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("must not be empty")
        return text


class ExampleValue(BaseModel):
    """An example value of one input: the text after `--name=`."""

    name: str
    value: str


class CodeAnswer(BaseModel):
    """A whole script and what it needs."""

    code: PythonCode
    packages: list[str] = Field(default_factory=list)
    system_packages: list[str] = Field(default_factory=list)
    examples: list[ExampleValue] = Field(default_factory=list)

    @field_validator("code")
    @classmethod
    def _parses(cls, code: str) -> str:
        parse(code)
        return unfenced(code)


class Coverage(BaseModel):
    """Which tests stand behind a constraint."""

    constraint: int
    tests: list[str]


class TestsAnswer(BaseModel):
    """A pytest module."""

    __test__ = False  # pytest would collect a class of this name

    code: PythonCode
    packages: list[str] = Field(default_factory=list)
    coverage: list[Coverage] = Field(default_factory=list)

    @field_validator("code")
    @classmethod
    def _has_tests(cls, code: str) -> str:
        if not test_names(unfenced(code)):
            raise ValueError("has no function whose name begins with test_")
        return unfenced(code)


class RepairedTest(BaseModel):
    """One test function, whole."""

    name: str
    code: PythonCode

    @model_validator(mode="after")
    def _is_that_test(self) -> RepairedTest:
        if test_names(unfenced(self.code)) != (self.name,):
            raise ValueError(f"code must be exactly the one function {self.name}")
        return self.model_copy(update={"code": unfenced(self.code)})


class RepairedTests(BaseModel):
    """The tests that failed, mended."""

    tests: list[RepairedTest]
    imports: list[str] = Field(default_factory=list)

    @field_validator("imports")
    @classmethod
    def _only_imports(cls, lines: list[str]) -> list[str]:
        for line in lines:
            if not all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in parse(line).body):
                raise ValueError(f"{line!r} is no import")
        return lines


def plan_step() -> Step[PlanAnswer]:
    """The step that asks for the plan."""
    return Step("plan", PlanAnswer)


def code_step(name: str, contract: Contract, given: Collection[str]) -> Step[CodeAnswer]:
    """A step that asks for code whose examples fit the contract's inputs.

    Args:
        name: `code` or `repair_code`.
        contract: Its inputs without samples each need an example that parses as their type; for a `File`, several
            and a `Dir` it is the content of a small file, for a table it is CSV.
        given: Inputs whose example the user gave.
    """
    wanted = {key: kind for key, kind in contract.inputs.items() if key not in contract.samples and key not in given}

    def examples_fit(answer: CodeAnswer) -> CodeAnswer:
        values = {example.name: example.value for example in answer.examples}
        problems = [f"no example for {key}" for key in wanted if key not in values]
        for key, kind in wanted.items():
            if key in values:
                try:
                    if kind in PLAIN_TYPES:
                        parse_value(values[key], kind)
                    elif kind in FRAMES:
                        table_of(values[key])
                except ValueError as error:
                    problems.append(f"example for {key}: {error}")
        if problems:
            raise ValueError("; ".join(problems))
        return answer

    return Step(name, _validated("CodeAnswer", CodeAnswer, examples_fit))


def write_tests_step(
    name: str, constraints: int, must_cover: Collection[int], taken: Collection[str]
) -> Step[TestsAnswer]:
    """A step that asks for tests.

    Args:
        name: `tests` or `more_tests`.
        constraints: How many constraints the request has.
        must_cover: Numbers of the constraints that need at least one named test.
        taken: Names that tests have already.
    """

    def covers(answer: TestsAnswer) -> TestsAnswer:
        names = set(test_names(answer.code))
        problems = [f"{test} has that name already" for test in sorted(names & set(taken))]
        for row in answer.coverage:
            if not 1 <= row.constraint <= constraints:
                problems.append(f"there is no constraint {row.constraint}")
            problems += [
                f"coverage names {test}, which is no test of the module" for test in row.tests if test not in names
            ]
        covered = {row.constraint for row in answer.coverage if row.tests}
        problems += [f"constraint {number} has no test" for number in must_cover if number not in covered]
        if problems:
            raise ValueError("; ".join(problems))
        return answer

    return Step(name, _validated("TestsAnswer", TestsAnswer, covers))


def diagnosis_step(deciding: str, failed: Collection[str]) -> Step[ErrorDiagnosis]:
    """The step that asks which artefact is at fault.

    Args:
        deciding: The texts that may decide it: request, constraints, formats and plan. The quote must stand in them.
        failed: Names of the tests that failed; only these may be blamed.
    """
    haystack = " ".join(deciding.split()).casefold()
    base_names = {name.split("[")[0] for name in failed}

    def grounded(answer: ErrorDiagnosis) -> ErrorDiagnosis:
        quote = " ".join(answer.request_quote.split()).casefold().strip("\"'“”. ")
        if not quote or quote not in haystack:
            raise ValueError("request_quote must be copied word for word from the request, its constraints or the plan")
        if answer.error_type == "environment" and not (answer.packages or answer.system_packages):
            raise ValueError("environment needs at least one package to add")
        blamed = [name.split("[")[0] for name in answer.tests]
        if answer.error_type == "test_error" and failed and not set(blamed) <= base_names:
            raise ValueError(f"only tests that failed may change: {', '.join(sorted(base_names))}")
        return answer.model_copy(update={"tests": sorted(set(blamed)) or sorted(base_names)})

    return Step("diagnosis", _validated("ErrorDiagnosis", ErrorDiagnosis, grounded))


def repair_tests_step(names: Collection[str]) -> Step[RepairedTests]:
    """The step that asks for mended versions of the tests in `names`, and of no others."""

    def only_these(answer: RepairedTests) -> RepairedTests:
        given = {test.name for test in answer.tests}
        if not given or not given <= set(names):
            raise ValueError(f"give exactly these tests: {', '.join(sorted(names))}")
        return answer

    return Step("repair_tests", _validated("RepairedTests", RepairedTests, only_these))


def parse(code: str) -> ast.Module:
    """Parse code that a model wrote.

    Raises:
        ValueError: It is empty or does not parse; the message has the line.
    """
    source = unfenced(code)
    if not source.strip():
        raise ValueError("the code is empty")
    try:
        return parse_python(source)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        shown = f": {error.text.strip()}" if error.text else ""
        raise ValueError(f"the code does not parse: {where}{error.msg}{shown}") from error


def unfenced(code: str) -> str:
    """The code without a Markdown fence around it."""
    stripped = code.strip()
    if stripped.startswith("```") and stripped.endswith("```") and "\n" in stripped:
        stripped = stripped.split("\n", 1)[1].rsplit("```", 1)[0].rstrip()
    return stripped + "\n" if stripped else ""


def coverage_of(rows: Iterable[Coverage]) -> dict[int, tuple[str, ...]]:
    """Names of the tests behind each constraint, by its number."""
    return {row.constraint: tuple(row.tests) for row in rows}


def test_names(code: str) -> tuple[str, ...]:
    """Names of the test functions of a module, in order, methods of test classes included."""
    tree = parse(code)
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return tuple(
        node.name
        for top in tree.body
        for node in (top.body if isinstance(top, ast.ClassDef) else [top])
        if isinstance(node, functions) and node.name.startswith("test_")
    )


test_names.__test__ = False  # type: ignore[attr-defined] # pytest would collect a function of this name


def with_repaired(tests: str, repaired: RepairedTests) -> str:
    """The module with the repaired functions in the place of the old ones; every other line stays as it is."""
    lines = tests.splitlines()
    spans: Mapping[str, tuple[int, int, int]] = {
        node.name: (
            min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1,
            node.end_lineno or node.lineno,
            node.col_offset,
        )
        for node in ast.walk(parse(tests))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    for test in sorted(repaired.tests, key=lambda test: spans.get(test.name, (0, 0, 0))[0], reverse=True):
        if test.name not in spans:
            continue
        start, end, indent = spans[test.name]
        lines[start:end] = [(" " * indent + line) if line.strip() else "" for line in test.code.rstrip().splitlines()]
    return with_imports("\n".join(lines) + "\n", repaired.imports)


def with_imports(module: str, imports: Collection[str]) -> str:
    """The module with the import lines that it does not have yet, after its docstring and `__future__` imports."""
    new = [line for line in imports if line not in module.splitlines()]
    if not new:
        return module
    tree, lines = parse_python(module), module.splitlines()
    head = 0
    for node in tree.body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not is_docstring and not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            break
        head = node.end_lineno or node.lineno
    lines[head:head] = new
    return "\n".join(lines) + "\n"


def with_more(tests: str, more: str) -> str:
    """The module with more tests at its end."""
    kept = "\n".join(line for line in more.splitlines() if not line.startswith("from __future__"))
    return f"{tests.rstrip()}\n\n\n{kept.strip()}\n"


def _validated(name: str, base: type[Answer], check: Callable[[Answer], Answer]) -> type[Answer]:
    # The schema and its title stay those of the base; only the validation knows about this request.
    fits: Any = model_validator(mode="after")(check)
    return create_model(name, __base__=base, __validators__={"fits_the_request": fits})
