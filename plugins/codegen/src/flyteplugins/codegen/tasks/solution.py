"""A generated script as a program of the sandbox: its arguments on the way in, its typed outputs on the way out."""

from __future__ import annotations

import datetime
import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from flyte.io import Dir, File

from flyteplugins.codegen.core import pinned
from flyteplugins.codegen.core.contract import FILES, FRAMES, INPUT_ROOT, OUTPUT_ROOT, Contract
from flyteplugins.codegen.core.errors import InvalidInputError, OutputInvalidError, SolutionFailedError
from flyteplugins.codegen.core.pinned import is_pinned
from flyteplugins.codegen.core.values import JSON_TYPES, PLAIN_TYPES, Plain, format_value, is_value_of, parse_value
from flyteplugins.codegen.data.samples import table_problem, take_in_file, take_in_files, take_in_folder, take_in_table
from flyteplugins.codegen.sandbox.contract import Argument, At, Python
from flyteplugins.codegen.tasks.given import arguments, places
from flyteplugins.codegen.tasks.records import Execution

# No input's name begins with an underscore, so nothing of ours meets a file of the user's.
SOLUTION_PATH: Final = f"{INPUT_ROOT}/_solution/solution.py"

_SHOWN_LINES: Final = 20

_LARGEST_PLAIN: Final = 64 << 20
"""In bytes; more than that belongs into a file."""

BY_FILE: Final = ("str", *JSON_TYPES)
"""Plain types whose values leave a task as files: Flyte's sidecar would cut texts and refuse long ones."""

_CAN_BE: Final = {
    "File": "a File, a path or a DataFrame",
    "list[File]": "a list of at least one File or path",
    "Dir": "a Dir or the path of a folder",
    "DataFrame": "a DataFrame or a Parquet file",
    "pandas.DataFrame": "a DataFrame or a Parquet file",
}

Value = Plain | File | list[File] | Dir
"""The value of an input: a table is its Parquet file. Of an output as well; there, so are texts and JSON documents."""


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
        given: What was passed. A `File` and a `Dir` input also take a path, a `File` input a DataFrame, a table a path
            or a `File` of a Parquet file, a float input an int.
        may_stay: Whether a file at this path is left where it is, and not pinned.

    Returns:
        Values by input name, in declared order. Of a folder only the place is known; `program` reads it.

    Raises:
        InvalidInputError: An input is missing, unknown or of the wrong type.
    """
    _refuse_unknown(contract, given)
    values: dict[str, Value] = {}
    for name, kind in contract.inputs.items():
        if name in given:
            values[name] = await _converted(name, kind, given[name], may_stay)
        elif name in defaults:
            default = defaults[name]
            stays = not isinstance(default, File) or may_stay(default.path)
            values[name] = default if stays else await _default_file(name, default)  # type: ignore[arg-type] # a File
        else:
            raise InvalidInputError(f"Input {name!r} ({kind}) is missing. Pass it as {name}=... .")
    return values


async def program(
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

    Raises:
        InvalidInputError: A folder is not there, or has no files.
    """
    argv: list[Argument] = [Python(image), At(SOLUTION_PATH)]
    files: dict[str, File | str] = {SOLUTION_PATH: code}
    for name, value in values.items():
        if contract.inputs[name] in PLAIN_TYPES:
            argv.append(f"--{name}={format_value(value)}")  # type: ignore[arg-type] # as the contract says
        else:
            is_folder = isinstance(value, Dir)
            given: Any = await take_in_folder(value, pinned.store(), name) if is_folder else value
            files.update(places(name, given))
            argv += arguments(name, given)
    if contract.outputs:
        argv.append(At(OUTPUT_ROOT, prefix="--outputs="))
    return tuple(argv), files


def collected(contract: Contract) -> tuple[str, ...]:
    """The outputs as `Work.collect` names them."""
    return tuple(f"{name}/" if kind == "Dir" else name for name, kind in contract.outputs.items())


def outputs_of(contract: Contract, execution: Execution) -> tuple[Value, ...]:
    """The outputs of a run, each seen to be of its type. Blocks.

    Args:
        contract: What the script gives.
        execution: What came of the run.

    Returns:
        One value an output, in declared order, as Flyte carries it: `typed` makes of it what was declared.

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
    value, problem = output_of(name, kind, execution.outputs)
    if value is None:
        reason = f"Output {name!r}: {problem}." if problem else f"did not write its output {name!r}."
        raise OutputInvalidError(
            reason if problem else f"The code exited with status 0 and {reason}", execution.stdout, execution.stderr
        )
    return value


def output_of(name: str, kind: str, files: Mapping[str, File]) -> tuple[Value | None, str]:
    """One output of a run. Blocks.

    Args:
        name: Its name.
        kind: Its type.
        files: What the run wrote, by path relative to the folder of its outputs.

    Returns:
        The value, as Flyte carries it, and nothing; or None and what is wrong, nothing where it was not written.
    """
    if kind == "Dir":
        inside = {path.removeprefix(f"{name}/"): file for path, file in files.items() if path.startswith(f"{name}/")}
        return (pinned.assemble(inside, name), "") if inside else (None, "")
    file = files.get(name)
    if file is None:
        return None, ""
    if kind == "File":
        return file, ""
    if kind in FRAMES:
        problem = table_problem(Path(file.path))
        return (None, problem) if problem else (file, "")
    if (size := Path(file.path).stat().st_size) > _LARGEST_PLAIN:
        return None, (
            f"it has {size} bytes, more than the {_LARGEST_PLAIN} that a {kind} may have. Declare it as a File"
        )
    try:
        # `read_text` would make every end of a line the same.
        value = parse_value(Path(file.path).read_bytes().decode(), kind)
        if kind == "int" and not _fits(value):
            raise ValueError("the number is beyond 64 bits, which Flyte does not carry")
    except ValueError as error:
        return None, str(error)
    return (file if kind in BY_FILE else value), ""


def _refuse_unknown(contract: Contract, given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in contract.inputs:
            close = difflib.get_close_matches(name, contract.inputs, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            known = ", ".join(f"{key} ({kind})" for key, kind in contract.inputs.items()) or "none"
            raise InvalidInputError(f"There is no input {name!r}.{meant} Inputs: {known}.")


async def _converted(name: str, kind: str, value: Any, may_stay: Callable[[str], bool]) -> Value:
    if kind in PLAIN_TYPES:
        return _plain(name, kind, value)
    if value is None or isinstance(value, (bool, int, float, bytes)):
        raise InvalidInputError(f"Input {name!r} must be {_CAN_BE[kind]}, and is {_type(value)}.")
    if kind == "Dir":
        return _folder(name, value)
    if kind == FILES:
        return await take_in_files(value, pinned.store(), name, may_stay=may_stay)
    if isinstance(value, File) and may_stay(value.path):
        return value
    if kind in FRAMES:
        return await take_in_table(value, pinned.store(), name)
    return await _pinned(name, value)


def _plain(name: str, kind: str, value: Any) -> Plain:
    plain = value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
    if kind in JSON_TYPES and isinstance(plain, (dict, list)):
        try:
            format_value(plain)
        except ValueError as error:
            raise InvalidInputError(f"Input {name!r}: {error}.") from error
    if not is_value_of(plain, kind):
        more = ", with keys of type str and nothing that JSON would change" if kind in JSON_TYPES else ""
        raise InvalidInputError(f"Input {name!r} must be {kind}{more}, and is {_type(value)}.")
    if kind == "int" and not _fits(plain):
        raise InvalidInputError(f"Input {name!r} is beyond 64 bits, which Flyte does not carry.")
    if kind == "float" and isinstance(plain, int):
        return float(plain)
    # Subclasses, such as pandas', print themselves otherwise.
    if isinstance(plain, datetime.timedelta):
        return datetime.timedelta(days=plain.days, seconds=plain.seconds, microseconds=plain.microseconds)
    if isinstance(plain, datetime.datetime):
        return datetime.datetime.combine(plain.date(), plain.timetz())
    if isinstance(plain, datetime.date):
        return datetime.date(plain.year, plain.month, plain.day)
    if kind in JSON_TYPES:
        return parse_value(format_value(value), kind)  # a copy, which nobody else changes
    if isinstance(plain, str) and not _is_passable(plain):
        raise InvalidInputError(
            f"Input {name!r} has a character that no program can be given as an argument: a NUL, or half of a "
            "surrogate pair."
        )
    checked: Plain = plain
    return checked


def _folder(name: str, value: Any) -> Dir:
    """Where a folder is; it is read when it is needed, by the machine that runs the code."""
    if not isinstance(value, (Dir, str, Path)):
        raise InvalidInputError(f"Input {name!r} must be {_CAN_BE['Dir']}, and is {_type(value)}.")
    location = (value.path if isinstance(value, Dir) else str(value)).removeprefix("file://")
    if "://" in location:
        return value if isinstance(value, Dir) else Dir(path=location)
    path = Path(location).expanduser().absolute()
    if not path.is_dir():
        raise InvalidInputError(f"Input {name!r}: there is no folder {path}. Check the path.")
    return Dir(path=str(path), name=path.name, hash=value.hash if isinstance(value, Dir) else None)


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
