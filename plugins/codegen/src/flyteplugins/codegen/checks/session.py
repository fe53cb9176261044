"""The command of a session of tests: the same but for the images, so that it may be begun before the tests are known.

What differs is in files: the tests, the solution, what the contract says, and a job for the fixture (see `Job` in
`harness/solution_session.py`).
"""

from __future__ import annotations

from typing import Final

from flyteplugins.codegen.checks.subject import SUITE_ROOT
from flyteplugins.codegen.core.contract import INPUT_ROOT, OUTPUT_ROOT
from flyteplugins.codegen.sandbox.contract import Argument, At, Python
from flyteplugins.codegen.tasks.solution import SOLUTION_PATH

TESTS_PATH: Final = f"{SUITE_ROOT}/test_solution.py"
JOB_PATH: Final = f"{INPUT_ROOT}/_job.json"
REPORT: Final = "report.json"
"""Name of the output that says what happened."""

_UNUSED_PLUGINS: Final = ("cacheprovider", "debugging", "doctest", "junitxml", "nose", "pastebin", "stepwise")
"""Of pytest's own; each takes its time at the start, and no test has to do with them."""


def python(tools: str) -> tuple[Argument, ...]:
    """The interpreter of the tests, whose imports neither the working folder nor variables decide.

    Args:
        tools: Image of the tests' environment.

    Returns:
        What the command begins with.
    """
    return (Python(tools), "-I", "-B")


def command(solution: str) -> tuple[Argument, ...]:
    """What follows the interpreter.

    Args:
        solution: Image of the solution's environment.

    Returns:
        pytest and its arguments. It is given the folder of the tests, which is there before they are.
    """
    return (
        "-m",
        "pytest",
        "-q",
        "--tb=short",
        "--show-capture=no",
        *(f"-pno:{plugin}" for plugin in _UNUSED_PLUGINS),
        At(SOLUTION_PATH, prefix="--solution="),
        Python(solution, prefix="--solution-python="),
        At(JOB_PATH, prefix="--solution-job="),
        At(f"{OUTPUT_ROOT}/{REPORT}", prefix="--solution-report="),
        At(SUITE_ROOT),
    )
