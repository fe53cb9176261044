"""What the commands print, and where they put the outputs of a run."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from flyte.io import DataFrame, Dir, File

from flyteplugins.codegen.core.contract import is_pandas
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.history import Revision
from flyteplugins.codegen.core.result import CodeGenEvalResult
from flyteplugins.codegen.core.scratch import scratch
from flyteplugins.codegen.core.values import format_value
from flyteplugins.codegen.results.saved import save_outputs

_SIGNATURES: Final = {
    b"PAR1": ".parquet",
    b"\x89PNG": ".png",
    b"%PDF": ".pdf",
    b"\xff\xd8\xff": ".jpg",
    b"\x1f\x8b": ".gz",
}
"""How files begin whose name needs an extension; an output of a script has none."""

_WIDTH: Final = 100
"""Columns of a line for people."""


def named(result: CodeGenEvalResult, returned: Any) -> dict[str, Any]:
    """The outputs of a run by name.

    Args:
        result: Says which outputs there are.
        returned: What `run()` returned: a bare value, a tuple, or None.

    Returns:
        Values by name, in declared order.
    """
    names = list(result.declared_outputs)
    if not names:
        return {}
    return dict(zip(names, returned if len(names) > 1 else (returned,), strict=True))


def write(outputs: Mapping[str, Any], folder: Path) -> None:
    """Write all outputs as a script writes them: plain values as text, the rest under the name of the output.

    Args:
        outputs: Values by name.
        folder: An existing folder.
    """
    for name, value in outputs.items():
        if not _place(value, folder / name):
            (folder / name).write_bytes(format_value(value).encode())


def keep(outputs: Mapping[str, Any], folder: Path) -> None:
    """Put the outputs of a run into a saved generation.

    Args:
        outputs: Values by name.
        folder: The saved generation.
    """
    with scratch() as written:
        write(outputs, written)
        save_outputs(folder, written)


def copy_files(outputs: Mapping[str, Any], folder: Path, inputs: Iterable[Path] = ()) -> dict[str, Any]:
    """Copy the outputs that are files, folders and tables into a folder, files with the extension of their content.

    Args:
        outputs: Values by name.
        folder: Where to; made if it is missing. In a folder of the name of an output other files stay.
        inputs: Files that must not be written over.

    Returns:
        The outputs, each of these replaced by the absolute path of its copy.

    Raises:
        InvalidRequestError: A copy would write over an input, or the folder can't be written.
    """
    copied = dict(outputs)
    for name, value in outputs.items():
        if not _is_placed(value):
            continue
        extension = suffix(_local(value)) if isinstance(value, File) else "" if isinstance(value, Dir) else ".parquet"
        target = (folder / f"{name}{extension}").absolute()
        if any(target.exists() and path.exists() and target.samefile(path) for path in inputs):
            raise InvalidRequestError(f"The output {name} would be written over the input {target}. Pass --out DIR.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _place(value, target)
        except OSError as error:
            raise InvalidRequestError(
                f"{target} can't be written: {error.strerror or error}. Pass --out DIR."
            ) from error
        copied[name] = target
    return copied


def _is_placed(value: Any) -> bool:
    return isinstance(value, (File, Dir, DataFrame)) or is_pandas(type(value))


def _place(value: Any, target: Path) -> bool:
    """Write a file, a folder or a table to a path; False for a value that is none of these."""
    if isinstance(value, File):
        shutil.copyfile(_local(value), target)
    elif isinstance(value, Dir):
        shutil.copytree(value.path, target, copy_function=shutil.copyfile, dirs_exist_ok=True)
    elif isinstance(value, DataFrame):
        shutil.copyfile(str(value.uri), target)
    elif is_pandas(type(value)):
        value.to_parquet(target)
    else:
        return False
    return True


def suffix(path: Path) -> str:
    """The extension that the first bytes of a file tell, with its dot; empty where they tell none."""
    with path.open("rb") as stream:
        head = stream.read(8)
    return next((extension for start, extension in _SIGNATURES.items() if head.startswith(start)), "")


def as_json(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs as JSON has them: what it has a word for as it is, the rest as text, files and tables as their path."""
    return {name: _as_json(value) for name, value in outputs.items()}


def as_lines(outputs: Mapping[str, Any]) -> list[str]:
    """Outputs for people, one line each; a text of several lines stands below its name."""
    lines = []
    for name, value in outputs.items():
        text = _location(value) if isinstance(value, (File, Path)) else format_value(value)
        lines.append(f"{name} =\n{text}" if "\n" in text else f"{name} = {text}")
    return lines


def revision_lines(revision: Revision, number: int) -> list[str]:
    """A revision in lines for people.

    Args:
        revision: What became of code and tests.
        number: Which one it is, counted from 1.

    Returns:
        Lines without line ends.
    """
    by = f'"{" ".join(revision.prompt.split())}"' if revision.prompt else "the code was changed by a person"
    changed = {dropped.name for dropped in revision.dropped} & set(revision.added)
    added = [name for name in revision.added if name not in changed]
    lines = textwrap.wrap(f"Revision {number}: {by}", _WIDTH, subsequent_indent="  ")
    lines.append(f"  {_tests(len(revision.kept))} kept")
    for dropped in revision.dropped:
        what = "changed" if dropped.name in changed else "dropped"
        lines += textwrap.wrap(
            f"{what} {dropped.name}: {dropped.reason}", _WIDTH, initial_indent="  ", subsequent_indent="    "
        )
    return [*lines, *(f"  added {name}" for name in added)]


def revision_json(revision: Revision) -> dict[str, Any]:
    """What became of code and tests in a revision, as JSON has it, without the old code and tests themselves."""
    return revision.model_dump(mode="json", exclude={"code_before", "tests_before"})


def _as_json(value: Any) -> Any:
    if isinstance(value, (File, Path)):
        return _location(value)
    # JSON has no word for these.
    unwritable = isinstance(value, float) and not math.isfinite(value)
    return value if isinstance(value, (bool, int, float, str, dict, list)) and not unwritable else format_value(value)


def _location(value: File[Any] | Path) -> str:
    return str(value) if isinstance(value, Path) else value.path


def _local(file: File[Any]) -> Path:
    path = Path(file.path.removeprefix("file://"))
    return path if path.is_file() else Path(file.download_sync())


def _tests(number: int) -> str:
    return f"{number} test{'' if number == 1 else 's'}"
