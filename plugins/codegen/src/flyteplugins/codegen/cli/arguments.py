"""What is typed after a command, read into what the agent takes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flyte.io import File

from flyteplugins.codegen.cli.demo.request import NamedRequest
from flyteplugins.codegen.core.contract import VALUE_TYPES, Contract, type_name
from flyteplugins.codegen.core.errors import InvalidInputError, InvalidRequestError
from flyteplugins.codegen.core.values import parse_value


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
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise error(f"{what} {text!r} is not understood. Write it as name=value.")
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
        texts: What was typed.
        inputs: The declared inputs.

    Returns:
        Typed values by name.

    Raises:
        InvalidRequestError: A name is not declared, or a value is not of its type.
    """
    read = {}
    for name, text in assignments(texts, "--example").items():
        if name not in inputs:
            raise InvalidRequestError(f"--example {name}: there is no --input of that name.")
        read[name] = _value(text, type_name(inputs[name]), f"--example {name}", InvalidRequestError)
    return read


def inputs_of(contract: Contract, texts: Iterable[str]) -> dict[str, Any]:
    """Read `name=value` texts as inputs of a contract.

    Args:
        contract: Says which inputs there are, and their types.
        texts: What was typed; the value of a File input is a path.

    Returns:
        Typed values by name.

    Raises:
        InvalidInputError: A name is unknown, a value is not of its type, or a file is missing.
    """
    read: dict[str, Any] = {}
    for name, text in assignments(texts, "input", InvalidInputError).items():
        if name not in contract.inputs:
            known = ", ".join(f"{known}={kind}" for known, kind in contract.inputs.items()) or "none"
            raise InvalidInputError(f"{name} is no input of this code. Its inputs: {known}.")
        read[name] = _value(text, contract.inputs[name], name, InvalidInputError)
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


def _type(kind: str, where: str) -> type:
    found: type | None = VALUE_TYPES.get("File" if kind.lower() == "file" else kind)
    if found is None:
        raise InvalidRequestError(
            f"{where}: {kind} is not a type that code can be generated for. Supported: {', '.join(VALUE_TYPES)}."
        )
    return found


def _value(text: str, kind: str, where: str, error: type[Exception]) -> Any:
    if kind == "File":
        if "://" not in text and not Path(text).expanduser().is_file():
            raise error(f"{where}: there is no file {text!r}.")
        return file(text)
    try:
        return parse_value(text, kind)
    except ValueError as problem:
        raise error(f"{where}: {problem}.") from None
