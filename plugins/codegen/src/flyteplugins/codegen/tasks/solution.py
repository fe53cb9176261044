"""A generated script as a program of the sandbox: its arguments on the way in, its typed outputs on the way out."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from flyte.io import File

from flyteplugins.codegen.core import pinned
from flyteplugins.codegen.core.contract import INPUT_ROOT, OUTPUT_ROOT, Contract
from flyteplugins.codegen.core.errors import InvalidInputError, OutputInvalidError, SolutionFailedError
from flyteplugins.codegen.core.pinned import is_pinned
from flyteplugins.codegen.core.values import Plain, format_value, is_value_of, parse_value
from flyteplugins.codegen.data.samples import take_in_file
from flyteplugins.codegen.sandbox.contract import Argument, At, Python
from flyteplugins.codegen.tasks.records import Execution

# No input's name begins with an underscore, so nothing of ours meets a file of the user's.
SOLUTION_PATH: Final = f"{INPUT_ROOT}/_solution/solution.py"

_SHOWN_LINES: Final = 20

_LARGEST_SCALAR: Final = 64 << 20
"""In bytes; more than that belongs into a file."""

Value = Plain | File


async def bind(
    contract: Contract,
    defaults: Mapping[str, Value],
    given: Mapping[str, Any],
    *,
    may_stay: Callable[[str], bool] = lambda path: False,
) -> dict[str, Value]:
    """The value of every input: what was given, else its default; files pinned by content.

    Args:
        contract: The inputs and their types.
        defaults: Values of inputs that need not be given.
        given: What was passed. A `File` input also takes a path or a DataFrame, a float input an int.
        may_stay: Whether a file at this path is left where it is, and not pinned.

    Returns:
        Values by input name, in declared order.

    Raises:
        InvalidInputError: An input is missing, unknown or of the wrong type.
    """
    _refuse_unknown(contract, given)
    values: dict[str, Value] = {}
    for name, kind in contract.inputs.items():
        value = given.get(name, defaults.get(name))
        if isinstance(value, File) and kind == "File" and may_stay(value.path):
            values[name] = value
        elif name in given:
            values[name] = await _converted(name, kind, given[name])
        elif name in defaults:
            default = defaults[name]
            values[name] = await _default_file(name, default) if isinstance(default, File) else default
        else:
            raise InvalidInputError(f"Input {name!r} ({kind}) is missing. Pass it as {name}=... .")
    return values


def program(
    contract: Contract, image: str, values: Mapping[str, Value], code: str
) -> tuple[tuple[Argument, ...], dict[str, File | str]]:
    """The command line and the files of one run of a script.

    Args:
        contract: What the script takes.
        image: The environment that it runs on.
        values: The value of every input, as `bind` gives them.
        code: The script.

    Returns:
        The argument list, and the files by the path where the program sees them.
    """
    argv: list[Argument] = [Python(image), At(SOLUTION_PATH)]
    files: dict[str, File | str] = {SOLUTION_PATH: code}
    for name, value in values.items():
        if isinstance(value, File):
            path = f"{INPUT_ROOT}/{name}/{Path(value.path).name}"
            files[path] = value
            argv.append(At(path, prefix=f"--{name}="))
        else:
            argv.append(f"--{name}={format_value(value)}")
    if contract.outputs:
        argv.append(At(OUTPUT_ROOT, prefix="--outputs="))
    return tuple(argv), files


def outputs_of(contract: Contract, execution: Execution) -> tuple[Value, ...]:
    """The typed outputs of a run.

    Args:
        contract: What the script gives.
        execution: What came of the run.

    Returns:
        One value an output, in declared order.

    Raises:
        SolutionFailedError: It did not exit with status 0, whatever it wrote.
        OutputInvalidError: An output is missing or is not of its type.
    """
    if execution.exit_code != 0:
        lines = (execution.stderr or execution.stdout).strip().splitlines()[-_SHOWN_LINES:]
        told = "\n".join(["The code exited with status " + str(execution.exit_code) + ":", *lines])
        raise SolutionFailedError(told, execution.stdout, execution.stderr)
    return tuple(_output(name, kind, execution) for name, kind in contract.outputs.items())


def _output(name: str, kind: str, execution: Execution) -> Value:
    file = execution.outputs.get(name)
    if file is None:
        raise OutputInvalidError(
            f"The code exited with status 0 and did not write its output {name!r}.", execution.stdout, execution.stderr
        )
    if kind == "File":
        return file
    if (size := Path(file.path).stat().st_size) > _LARGEST_SCALAR:
        raise OutputInvalidError(
            f"Output {name!r} has {size} bytes, more than the {_LARGEST_SCALAR} that a {kind} may have. Declare it as "
            "a File.",
            execution.stdout,
            execution.stderr,
        )
    try:
        # `read_text` would make every end of a line the same.
        value = parse_value(Path(file.path).read_bytes().decode(), kind)
        if kind == "int" and not _fits(value):
            raise ValueError("the number is beyond 64 bits, which Flyte does not carry")
    except ValueError as error:
        raise OutputInvalidError(f"Output {name!r}: {error}.", execution.stdout, execution.stderr) from error
    return value


def _refuse_unknown(contract: Contract, given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in contract.inputs:
            close = difflib.get_close_matches(name, contract.inputs, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            known = ", ".join(f"{key} ({kind})" for key, kind in contract.inputs.items()) or "none"
            raise InvalidInputError(f"There is no input {name!r}.{meant} Inputs: {known}.")


async def _converted(name: str, kind: str, value: Any) -> Value:
    if kind == "File":
        if value is None or isinstance(value, (bool, int, float, bytes)):
            raise InvalidInputError(f"Input {name!r} must be a File, a path or a DataFrame, and is {_type(value)}.")
        return await _pinned(name, value)
    plain = value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
    if not is_value_of(plain, kind):
        raise InvalidInputError(f"Input {name!r} must be {kind}, and is {_type(value)}.")
    if kind == "int" and not _fits(plain):
        raise InvalidInputError(f"Input {name!r} is beyond 64 bits, which Flyte does not carry.")
    if kind == "float" and isinstance(plain, int):
        return float(plain)
    # Subclasses, such as pandas', print themselves otherwise.
    if isinstance(plain, datetime.timedelta):
        return datetime.timedelta(days=plain.days, seconds=plain.seconds, microseconds=plain.microseconds)
    if isinstance(plain, datetime.datetime):
        return datetime.datetime.combine(plain.date(), plain.timetz())
    if isinstance(plain, str) and not _is_passable(plain):
        raise InvalidInputError(
            f"Input {name!r} has a character that no program can be given as an argument: a NUL, or half of a "
            "surrogate pair."
        )
    checked: Plain = plain
    return checked


async def _default_file(name: str, file: File) -> File:
    try:
        return await _pinned(name, file)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"The sample of input {name!r}, its default, is not on this machine any more. Pass {name}=... . ({error})"
        ) from error


def _fits(number: Any) -> bool:
    return bool(-(2**63) <= number < 2**63)


async def _pinned(name: str, file: Any) -> File:
    # What lies in our store can't have changed: large samples are not read again for each run.
    if isinstance(file, File) and is_pinned(file):
        return file
    return await take_in_file(file, pinned.store(), name)


def _is_passable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _type(value: object) -> str:
    return type(value).__name__
