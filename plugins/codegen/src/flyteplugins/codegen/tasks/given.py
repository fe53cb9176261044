"""The files that are given to a program: one, several, or those of a folder; where it sees them, and as plain data."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flyte.io import File

from flyteplugins.codegen.core import pinned
from flyteplugins.codegen.core.contract import FILES, FRAMES, INPUT_ROOT, Contract
from flyteplugins.codegen.core.pinned import pin_text
from flyteplugins.codegen.data.samples import take_in_file, take_in_files, take_in_folder, take_in_table
from flyteplugins.codegen.sandbox.contract import At

if TYPE_CHECKING:
    import pandas as pd

Given = File | list[File] | dict[str, File]
"""The value of an input: a file or the Parquet file of a table, several files, the files of a folder by path."""


async def take_in(name: str, kind: str, value: object) -> Given:
    """Put what a user gives for an input into the store.

    Args:
        name: Name of the input.
        kind: Its type, one that is no plain value.
        value: A file, a list of files, a folder or its files by path, or a table, as `kind` says.

    Returns:
        The stored files.

    Raises:
        InvalidInputError: It can't be had, or is none of that type.
    """
    if kind == FILES:
        return await take_in_files(value, pinned.store(), name)
    if kind == "Dir" and isinstance(value, dict):
        return {path: await take_in_file(file, pinned.store(), name) for path, file in value.items()}
    if kind == "Dir":
        return await take_in_folder(value, pinned.store(), name)
    if kind in FRAMES:
        return await take_in_table(value, pinned.store(), name)
    return await take_in_file(value, pinned.store(), name)  # type: ignore[arg-type] # it says what it can't take


def places(name: str, given: Given) -> dict[str, File]:
    """The files of an input by the path where a program sees them.

    Args:
        name: Name of the input.
        given: Its value.

    Returns:
        The files; each keeps its name.
    """
    root = f"{INPUT_ROOT}/{name}"
    if isinstance(given, dict):
        return {f"{root}/{path}": file for path, file in given.items()}
    if isinstance(given, list):
        return {f"{root}/{number}/{Path(file.path).name}": file for number, file in enumerate(given)}
    return {f"{root}/{Path(given.path).name}": given}


def arguments(name: str, given: Given) -> list[At]:
    """The options that hand an input over: one, or one for each file of several."""
    paths = [f"{INPUT_ROOT}/{name}"] if isinstance(given, dict) else places(name, given)
    return [At(path, prefix=f"--{name}=") for path in paths]


def flat(name: str, given: Given) -> dict[str, File]:
    """An input as plain data: its file under its name, several under `name/0` and so on, a folder's under their paths.

    No name of an input has a slash, so `grown` finds them again.
    """
    if isinstance(given, File):
        return {name: given}
    inside = given if isinstance(given, dict) else {str(number): file for number, file in enumerate(given)}
    return {f"{name}/{path}": file for path, file in inside.items()}


def grown(contract: Contract, files: Mapping[str, File]) -> dict[str, Given]:
    """What `flat` made plain data of, by name of the input."""
    found: dict[str, Given] = {}
    for name, kind in contract.inputs.items():
        inside = {key.removeprefix(f"{name}/"): file for key, file in files.items() if key.startswith(f"{name}/")}
        if name in files:
            found[name] = files[name]
        elif inside and kind == FILES:
            found[name] = [inside[number] for number in sorted(inside, key=int)]
        elif inside:
            found[name] = inside
    return found


async def example_of(name: str, kind: str, text: str) -> Given:
    """The example of an input whose content is a text.

    Args:
        name: Name of the input.
        kind: Its type, one that is no plain value.
        text: The content of the file, of the only file of several or of a folder; a table as CSV.

    Returns:
        Stored files.

    Raises:
        ValueError: The text is no CSV with a header.
    """
    if kind in FRAMES:
        return await take_in_table(await asyncio.to_thread(table_of, text), pinned.store(), name)
    file = await asyncio.to_thread(pin_text, text, f"{name}.txt")
    if kind == FILES:
        return [file]
    return {f"{name}.txt": file} if kind == "Dir" else file


def table_of(text: str) -> pd.DataFrame:
    """A table that is written as CSV.

    Args:
        text: The CSV, with a header.

    Returns:
        The table.

    Raises:
        ValueError: It is none.
    """
    import pandas as pd

    try:
        return pd.read_csv(io.StringIO(text))
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(f"it is no CSV with a header: {error}") from error
