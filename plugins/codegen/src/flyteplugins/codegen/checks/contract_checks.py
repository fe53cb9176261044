"""The fixed checks: the solution runs on the samples, gives what it declares, and gives the same again.

Also probes, whose outcome is advice: a file without rows and a missing column must end it with an error that names
the cause.
"""

from __future__ import annotations

import ast
import asyncio
import math
import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from flyte.io import Dir, File

from flyteplugins.codegen.checks.faults import environment_failure, limit_failure
from flyteplugins.codegen.checks.head_start import OTHER_ORDER, preludes
from flyteplugins.codegen.checks.subject import Bench, Subject, input_arguments, input_files
from flyteplugins.codegen.checks.text import last_lines, shortened, signature
from flyteplugins.codegen.core.contract import FRAMES, OUTPUT_ROOT
from flyteplugins.codegen.core.errors import JobError
from flyteplugins.codegen.core.python_source import parse_python
from flyteplugins.codegen.core.values import PLAIN_TYPES, Plain, parse_value
from flyteplugins.codegen.core.verdict import Check, Failure
from flyteplugins.codegen.data.compare import compare_outputs
from flyteplugins.codegen.data.cut import header_only, without_column
from flyteplugins.codegen.data.tables import UnreadableTableError, lay_out
from flyteplugins.codegen.sandbox.contract import At, Python
from flyteplugins.codegen.tasks.executor import Work
from flyteplugins.codegen.tasks.given import Given
from flyteplugins.codegen.tasks.records import Execution
from flyteplugins.codegen.tasks.solution import SOLUTION_PATH, output_of

_AGAIN: Final = "again"
_NO_ROWS: Final = re.compile(
    r"\bempty\b|"
    r"\b(?:no|zero|0|without|any|least one)\b.{0,30}\b(?:rows?|data|records?|lines?|entries|values|observations)",
    re.IGNORECASE | re.DOTALL,
)


_IS: Final = {"File": "a file", "Dir": "a folder with files", **dict.fromkeys(FRAMES, "a table in Parquet")}


@dataclass(frozen=True)
class ContractRun:
    """What the contract checks came to.

    Attributes:
        checks: The checks that were made, in order.
        failure: Why the solution does not keep its contract; None if it does.
        execution: The run on the samples, where it exited.
    """

    checks: tuple[Check, ...]
    failure: Failure | None = None
    execution: Execution | None = None


async def check_contract(subject: Subject, bench: Bench) -> ContractRun:
    """Run the solution on the samples, again, and on the probes, all at the same time.

    Args:
        subject: What is checked.
        bench: What with.

    Returns:
        The checks; advice where a second run or a probe came out otherwise than it should.

    Raises:
        InfrastructureError: The sandbox failed.
    """
    # In the order in which they should have their turns.
    first = asyncio.ensure_future(_first(subject, bench))
    second = asyncio.ensure_future(_again(subject, bench))
    probes: list[asyncio.Future[Check]] = []
    try:
        probes += [asyncio.ensure_future(probe) for probe in await _probes(subject, bench)]
        result = await first
        if result.failure or not result.execution:
            return result
        advice = [*await _same_again(subject, result.execution, await second), *await asyncio.gather(*probes)]
        return ContractRun((*result.checks, *advice), None, result.execution)
    finally:
        started: list[asyncio.Future[Any]] = [first, second, *probes]
        for task in started:
            task.cancel()
        await asyncio.gather(*started, return_exceptions=True)


async def run_on_samples(
    subject: Subject,
    bench: Bench,
    *,
    name: str = "check-contract",
    code: str | None = None,
    files: Mapping[str, Given] | None = None,
    env: Mapping[str, str] | None = None,
    outputs: str = OUTPUT_ROOT,
) -> Execution:
    """Run a solution on the samples.

    Args:
        subject: What is checked.
        bench: What with.
        name: What people see in the list of runs.
        code: The script that is run; the subject's if None.
        files: Files in the place of samples, by input name.
        env: Environment variables on top of the bench's.
        outputs: Folder under `/var/outputs` that the script is told to write to.

    Returns:
        What came of it, whatever the exit status.

    Raises:
        JobError: It went over a limit or was killed.
    """
    given = {**subject.samples, **(files or {})}
    argv = [Python(subject.environment.image), At(SOLUTION_PATH), *input_arguments(subject, given)]
    if subject.contract.outputs:
        argv.append(At(outputs, prefix="--outputs="))
    placed: dict[str, File | str] = {SOLUTION_PATH: subject.code if code is None else code}
    placed.update(input_files(given))
    return await bench.run(
        Work(
            name=name,
            argv=tuple(argv),
            locks=(subject.environment.lock,),
            files=placed,
            env={**bench.env, **(env or {})},
            limits=bench.limits,
            network=bench.network,
            preludes=preludes(subject.code if code is None else code),
        )
    )


async def parse_outputs(
    subject: Subject, execution: Execution, folder: str = ""
) -> tuple[dict[str, Plain | Path], dict[str, str]]:
    """Read the outputs of a run as what they are declared to be.

    Args:
        subject: Whose outputs.
        execution: The run.
        folder: Relative path under `/var/outputs` where they were to be written.

    Returns:
        The values, paths for files, folders and tables; and what is wrong, by the name of the output.
    """
    found: dict[str, Plain | Path] = {}
    wrong: dict[str, str] = {}
    files = {path.removeprefix(folder): file for path, file in execution.outputs.items() if path.startswith(folder)}
    for name, kind in subject.contract.outputs.items():
        value, problem = await asyncio.to_thread(_read, name, kind, files)
        if value is not None:
            found[name] = value
        elif problem:
            wrong[name] = problem
        else:
            what = f"{name}/` has no regular file" if kind == "Dir" else f"{name}` was not written as a regular file"
            written = ", ".join(f"`{path}`" for path in list(execution.outputs)[:10]) or "nothing"
            wrong[name] = f"`<outputs>/{what}; written: {written}"
    return found, wrong


def _read(name: str, kind: str, files: Mapping[str, File]) -> tuple[Plain | Path | None, str]:
    """An output, or what is wrong with it; blocks."""
    value, problem = output_of(name, kind, files)
    if isinstance(value, File) and kind in PLAIN_TYPES:
        return parse_value(Path(value.path).read_bytes().decode(), kind), ""
    if isinstance(value, (File, Dir)):
        path = Path(value.path)
        return (path, "") if path.is_dir() or path.stat().st_size else (None, "the file is empty")
    return value, problem


async def _first(subject: Subject, bench: Bench) -> ContractRun:
    runs = "the solution runs on the samples"
    try:
        execution = await run_on_samples(subject, bench)
    except JobError as error:
        failure = limit_failure("contract", error, "The solution, run on the samples,", bench.limits)
        return ContractRun((Check(name=runs, passed=False, detail=failure.message.splitlines()[0]),), failure)
    if execution.exit_code:
        failure = _exited(execution)
        return ContractRun((Check(name=runs, passed=False, detail=failure.message.splitlines()[0]),), failure)
    values, wrong = await parse_outputs(subject, execution)
    checks = [Check(name=runs, passed=True, detail=f"{execution.seconds:.2f} s")]
    for name, kind in subject.contract.outputs.items():
        title = f"output `{name}` exists and is {_IS.get(kind, f'of type {kind}')}"
        checks.append(Check(name=title, passed=name not in wrong, detail=wrong.get(name, "")))
    checks += [_finite(name, value) for name, value in values.items() if isinstance(value, float)]
    if not wrong:
        return ContractRun(tuple(checks), None, execution)
    listed = "\n".join(f"- `{name}`: {problem}" for name, problem in wrong.items())
    printed = last_lines(f"{execution.stdout}\n{execution.stderr}", 1_500)
    return ContractRun(
        tuple(checks),
        Failure(
            stage="contract",
            message=f"The solution ended with exit status 0 and did not give all outputs:\n{listed}\n{printed}".strip(),
            signature=signature("contract", "outputs", *wrong),
            error_type="logic",
        ),
        execution,
    )


def _exited(execution: Execution) -> Failure:
    if failure := environment_failure("contract", execution.stderr, "The solution"):
        return failure
    printed = last_lines(execution.stderr) or last_lines(execution.stdout) or "It printed nothing."
    return Failure(
        stage="contract",
        message=f"The solution ended with exit status {execution.exit_code} on the samples.\n{printed}",
        signature=signature("contract", str(execution.exit_code), last_words(execution)),
        error_type="logic",
    )


def _finite(name: str, value: float) -> Check:
    return Check(
        name=f"output `{name}` is a finite number",
        passed=math.isfinite(value),
        detail="" if math.isfinite(value) else f"it is {value} on the samples",
        advisory=True,
    )


# The second run


async def _again(subject: Subject, bench: Bench) -> Execution | JobError | None:
    if not subject.contract.outputs:
        return None
    try:
        # Also into a folder that is not there yet.
        return await run_on_samples(
            subject, bench, name="check-again", env=OTHER_ORDER, outputs=f"{OUTPUT_ROOT}/{_AGAIN}"
        )
    except JobError as error:
        return error


async def _same_again(subject: Subject, first: Execution, second: Execution | JobError | None) -> list[Check]:
    title = "a second run gives the same outputs"
    if isinstance(second, JobError):
        return [Check(name=title, passed=False, detail=f"the second run was ended: {second}", advisory=True)]
    if second is None:
        return []
    if second.exit_code:
        detail = (
            f"the second run, with a folder for outputs that did not exist, ended with exit status {second.exit_code}: "
            f"{shortened(last_words(second), 500)}"
        )
        return [Check(name=title, passed=False, detail=detail, advisory=True)]
    before, _ = await parse_outputs(subject, first)
    after, wrong = await parse_outputs(subject, second, f"{_AGAIN}/")
    different, wrapping = list(wrong), []
    for name, value in before.items():
        if name not in after:
            continue
        match await _compare(value, after[name]):
            case "different":
                different.append(name)
            case "container":
                wrapping.append(name)
    if different:
        detail = (
            f"{', '.join(different)} came out otherwise. Look for the order of a set, randomness without a seed, and "
            "the clock."
        )
        return [Check(name=title, passed=False, detail=detail, advisory=True)]
    note = f"{', '.join(wrapping)}: same content, other bytes of the file format" if wrapping else ""
    return [Check(name=title, passed=True, detail=note, advisory=True)]


async def _compare(one: Plain | Path, two: Plain | Path) -> str:
    if isinstance(one, Path) and isinstance(two, Path):
        return await asyncio.to_thread(compare_outputs, one, two)
    both_nan = isinstance(one, float) and isinstance(two, float) and math.isnan(one) and math.isnan(two)
    return "same" if one == two or both_nan else "different"


# The probes


async def _probes(subject: Subject, bench: Bench) -> list[Awaitable[Check]]:
    probes: list[Awaitable[Check]] = []
    for name in subject.contract.samples:
        sample = subject.samples[name]
        if not isinstance(sample, File):
            continue
        try:
            bare = await header_only(sample, bench.store)
            column = await asyncio.to_thread(_used_column, sample, subject)
            narrowed = await without_column(sample, column, bench.store) if column else None
        except UnreadableTableError:
            continue
        if bare:
            probes.append(_refuses(subject, bench, name, bare, None))
        if narrowed:
            probes.append(_refuses(subject, bench, name, narrowed, column))
    return probes


def _used_column(sample: File, subject: Subject) -> str | None:
    """The first column of the sample, in the order of the code, that the code names."""
    names = set(lay_out(Path(sample.path)).names)
    # What is an input or an output as well need not stand for the column.
    names -= {*subject.contract.inputs, *subject.contract.outputs}
    constants = [
        node
        for node in ast.walk(parse_python(subject.code))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in names
    ]
    first = min(constants, key=lambda node: (node.lineno, node.col_offset), default=None)
    return str(first.value) if first else None


async def _refuses(subject: Subject, bench: Bench, sample: str, file: File, column: str | None) -> Check:
    title = f"`{sample}` without its column `{column}` is refused" if column else f"`{sample}` without rows is refused"
    advice = "End the program with a non-zero exit status and a message that names " + (
        f"the column `{column}`." if column else "the file or says that it has no rows."
    )
    try:
        execution = await run_on_samples(subject, bench, name="check-probe", files={sample: file})
    except JobError as error:
        return Check(name=title, passed=False, detail=f"it was ended: {error} {advice}", advisory=True)
    if execution.exit_code == 0:
        return Check(name=title, passed=False, detail=f"it ended with exit status 0. {advice}", advisory=True)
    words = last_words(execution)
    if column:
        named = column.lower() in words.lower()
    else:
        name = Path(file.path).name
        named = bool(_NO_ROWS.search(words)) or name in words or bool(re.search(rf"\b{re.escape(sample)}\b", words))
    detail = "" if named else f"its message does not name the cause: {shortened(words, 300)} {advice}"
    return Check(name=title, passed=named, detail=detail, advisory=True)


def last_words(execution: Execution) -> str:
    """What a program said about its end: the exception without its frames, or all that it printed as errors."""
    text = (execution.stderr.strip() or execution.stdout.strip())[-10_000:]
    if "Traceback (most recent call last)" not in text:
        return text
    lines = text.splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith("  ")]
    start = max((number for number in frames if number < len(lines) - 1), default=-1) + 1
    return "\n".join(lines[start:])
