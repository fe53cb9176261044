"""What is typed after a command, read into what the agent takes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flyte.io import Dir, File

from flyteplugins.codegen.cli.demo.request import NamedRequest
from flyteplugins.codegen.core.contract import FILES, VALUE_TYPES, Contract, type_name
from flyteplugins.codegen.core.errors import InvalidInputError, InvalidRequestError
from flyteplugins.codegen.core.values import PLAIN_TYPES, parse_value


def assignments(texts: Iterable[str], what: str, error: type[Exception] = InvalidRequestError) -> dict[str, str]:
    """Read `name=value` texts.

    Args:
        texts: What was typed; the value may have `=` in it, and be empty.
        what: What to call it in an error, such as `--sample`.
        error: The error for a text that can't be read.

    Returns:
        Values by name, in order.

    Raises:
        Exception: `error`, where a text has no `=` or a name stands twice.
    """
    read: dict[str, str] = {}
    for text in texts:
        name, value = _split(text, what, error)
        if name in read:
            raise error(f"{what}: {name} is given twice.")
        read[name] = value
    return read


def declarations(texts: Iterable[str], what: str) -> dict[str, type]:
    """Read `name:type` texts.

    Args:
        texts: What was typed, such as `threshold:float`.
        what: What to call it in an error, such as `--input`.

    Returns:
        Types by name, in order.

    Raises:
        InvalidRequestError: A text can't be read, a type is not supported, or a name stands twice.
    """
    read: dict[str, type] = {}
    for text in texts:
        name, colon, kind = text.rpartition(":")
        if not colon or not name:
            raise InvalidRequestError(f"{what} {text!r} is not understood. Write it as name:type, such as total:float.")
        if name in read:
            raise InvalidRequestError(f"{what}: {name} is given twice.")
        read[name] = _type(kind, f"{what} {text!r}")
    return read


def samples(texts: Iterable[str]) -> dict[str, File[Any]]:
    """Read `name=path` texts into files; whether they are there is for the agent to find out.

    Args:
        texts: What was typed; a path may also be an address such as `s3://bucket/sales.csv`.

    Returns:
        Files by name, in order.
    """
    return {name: file(path) for name, path in assignments(texts, "--sample").items()}


def file(path: str) -> File[Any]:
    """The file at a path, with `~` for the home folder, or at an address.

    Args:
        path: What was typed.

    Returns:
        The file; nothing is read.
    """
    return File(path=path if "://" in path else str(Path(path).expanduser().absolute()))


def examples(texts: Iterable[str], inputs: dict[str, type]) -> dict[str, Any]:
    """Read `name=value` texts as example values of declared inputs.

    Args:
        texts: What was typed; as for `inputs_of`.
        inputs: The declared inputs.

    Returns:
        Typed values by name.

    Raises:
        InvalidRequestError: A name is not declared, or a value is not of its type.
    """
    kinds = {name: type_name(kind) for name, kind in inputs.items()}
    read: dict[str, Any] = {}
    for text in texts:
        name, value = _split(text, "--example", InvalidRequestError)
        if name not in kinds:
            raise InvalidRequestError(f"--example {name}: there is no --input of that name.")
        _add(read, name, value, kinds[name], f"--example {name}", InvalidRequestError)
    return read


def inputs_of(contract: Contract, texts: Iterable[str]) -> dict[str, Any]:
    """Read `name=value` texts as inputs of a contract.

    Args:
        contract: Says which inputs there are, and their types.
        texts: What was typed; the value of a file, a folder and a table is a path, that of a dict and a list is JSON.
            An input that is several files is given once for each.

    Returns:
        Typed values by name.

    Raises:
        InvalidInputError: A name is unknown, a value is not of its type, or a file is missing.
    """
    read: dict[str, Any] = {}
    for text in texts:
        name, value = _split(text, "input", InvalidInputError)
        if name not in contract.inputs:
            known = ", ".join(f"{known}={kind}" for known, kind in contract.inputs.items()) or "none"
            raise InvalidInputError(f"{name} is no input of this code. Its inputs: {known}.")
        _add(read, name, value, contract.inputs[name], name, InvalidInputError)
    return read


def generate_arguments(request: NamedRequest) -> dict[str, Any]:
    """The arguments of `generate()` for a request that is written down as plain data.

    Args:
        request: The request.

    Returns:
        Keyword arguments.
    """
    return {
        "prompt": request.prompt,
        "schema": request.schema,
        "constraints": list(request.constraints) or None,
        "samples": {name: file(str(path)) for name, path in request.samples.items()},
        "inputs": {name: VALUE_TYPES[kind] for name, kind in request.inputs.items()} or None,
        "outputs": {name: VALUE_TYPES[kind] for name, kind in request.outputs.items()} or None,
    }


def _split(text: str, what: str, error: type[Exception]) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise error(f"{what} {text!r} is not understood. Write it as name=value.")
    return name, value


def _add(read: dict[str, Any], name: str, text: str, kind: str, where: str, error: type[Exception]) -> None:
    """Add a value to those that were read; a file to its list."""
    if name in read and kind != FILES:
        raise error(f"{where} is given twice.")
    value = _value(text, kind, where, error)
    read[name] = [*read.get(name, []), value] if kind == FILES else value


def _type(kind: str, where: str) -> Any:
    found = {name.lower(): name for name in VALUE_TYPES}.get(kind.lower())
    if found is None:
        raise InvalidRequestError(
            f"{where}: {kind} is not a type that code can be generated for. Supported: {', '.join(VALUE_TYPES)}."
        )
    return VALUE_TYPES[found]


def _value(text: str, kind: str, where: str, error: type[Exception]) -> Any:
    if kind not in PLAIN_TYPES:
        path = Path(text).expanduser()
        if "://" not in text and not (path.is_dir() if kind == "Dir" else path.is_file()):
            raise error(f"{where}: there is no {'folder' if kind == 'Dir' else 'file'} {text!r}.")
        return Dir(path=file(text).path) if kind == "Dir" else file(text)
    try:
        return parse_value(text, kind)
    except ValueError as problem:
        raise error(f"{where}: {problem}.") from None
