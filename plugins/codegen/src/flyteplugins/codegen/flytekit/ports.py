"""What a raw container of Flyte 1 can't carry, and in which form it crosses instead.

The sidecar of Flyte 1 stages texts, numbers, dates, files and folders. It knows no `StructuredDataset`; of a dict it
stages an encoding of Flyte's own, and takes back 1024 bytes; a list of files it can't stage. So a table crosses as a
Parquet file, a dict or list as JSON (a text on the way in, a file on the way out), and a list of files as a folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from flytekit.core.promise import Promise
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile
from flytekit.types.structured import StructuredDataset

from flyteplugins.codegen.core.contract import FILES, FRAMES, PANDAS, Contract
from flyteplugins.codegen.core.values import JSON_TYPES, format_value
from flyteplugins.codegen.flytekit import nodes  # not later: in a workflow, flytekit would name them after that

_INPUT_PORTS: Final = dict.fromkeys(JSON_TYPES, "str") | dict.fromkeys(FRAMES, "File")
_OUTPUT_PORTS: Final = dict.fromkeys((*JSON_TYPES, *FRAMES), "File")

_INTO: Final = {"dict": "json_of", "DataFrame": "parquet_of", PANDAS: "parquet_of", FILES: "folder_of"}
_OUT_OF: Final = {"dict": "dict_of", "list": "text_of", "DataFrame": "dataset_of", PANDAS: "frame_of"}
"""The task of `nodes` that leads there, and back, by the declared type."""


def ports(contract: Contract) -> Contract:
    """What the container takes and gives for a contract; to its script it is the same.

    Args:
        contract: The contract.

    Returns:
        One of types that the sidecar carries; a list of files is one still, and comes as a folder.
    """
    return contract.model_copy(
        update={
            "inputs": {name: _INPUT_PORTS.get(kind, kind) for name, kind in contract.inputs.items()},
            "outputs": {name: _OUTPUT_PORTS.get(kind, kind) for name, kind in contract.outputs.items()},
        }
    )


def into_ports(contract: Contract, values: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs as the container takes them: in a workflow, what nodes before it give.

    Args:
        contract: What is declared.
        values: What was passed, by name.

    Returns:
        The same, of the types of `ports`.
    """
    return {name: _into(contract.inputs.get(name, ""), value) for name, value in values.items()}


def _into(kind: str, value: Any) -> Any:
    if not isinstance(value, Promise):
        if kind in JSON_TYPES and isinstance(value, (dict, list)):
            return format_value(value)
        if kind in JSON_TYPES or isinstance(value, (FlyteFile, FlyteDirectory, str, Path)):
            return value  # in the form of the port already
        if kind in FRAMES and not isinstance(value, StructuredDataset):
            value = StructuredDataset(dataframe=value)
    return _through(_INTO.get(kind), value)


def out_of_port(kind: str, value: Any) -> Any:
    """An output as it was declared: in a workflow, what a node after the container gives.

    Args:
        kind: Its declared type.
        value: What the container gave.

    Returns:
        The output.
    """
    return _through(_OUT_OF.get(kind), value)


def _through(name: str | None, value: Any) -> Any:
    if name is None:
        return value
    convert = getattr(nodes, name)
    (parameter,) = convert.python_interface.inputs
    # A value that is at hand takes no task. A dataset that no task gave could not be opened, though.
    at_hand = name != "dataset_of" and not any(isinstance(one, Promise) for one in (*_held(value), value))
    return (convert.task_function if at_hand else convert)(**{parameter: value})


def _held(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []
