"""The contract of a script: its typed inputs and outputs, and the names that they may have."""

from __future__ import annotations

import keyword
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from flyte.io import DataFrame, Dir, File
from pydantic import ConfigDict

from flyteplugins.codegen.core.data import Data
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.values import PLAIN_TYPES

FILES: Final = "list[File]"
"""The type of an input that is several files."""

PANDAS: Final = "pandas.DataFrame"
"""The type of a table that a caller gets as a DataFrame of pandas."""

FRAMES: Final = ("DataFrame", PANDAS)
"""The types of tables: a script knows both as one Parquet file."""

_OF_PACKAGES: Final[dict[str, Any]] = {"File": File, "Dir": Dir, "DataFrame": DataFrame, FILES: list[File]}
_JSON_LEAVES: Final = (str, int, float, bool, type(None), dict, list, Any)


class _ValueTypes(Mapping[str, Any]):
    """The types by name; pandas is imported by who asks for its DataFrame, and by nobody else."""

    def __getitem__(self, name: str) -> Any:
        if name == PANDAS:
            import pandas as pd

            return pd.DataFrame
        return PLAIN_TYPES[name] if name in PLAIN_TYPES else _OF_PACKAGES[name]

    def __iter__(self) -> Iterator[str]:
        yield from (*PLAIN_TYPES, *_OF_PACKAGES, PANDAS)

    def __len__(self) -> int:
        return len(PLAIN_TYPES) + len(_OF_PACKAGES) + 1


VALUE_TYPES: Final[Mapping[str, Any]] = _ValueTypes()
"""The types that inputs and outputs may have, by the name that stands for them in plain data.

`list[File]` is for inputs alone.
"""

RESERVED_NAMES: Final = frozenset({"outputs", "self", "task"})
"""Names that no input may have: the script's own option, and what collides inside Flyte."""

INPUT_ROOT: Final = "/var/inputs"
"""Where a runtime that mounts shows the input files, each as `/var/inputs/<input>/<file name>`."""

OUTPUT_ROOT: Final = "/var/outputs"
"""Where a runtime that mounts takes the outputs from."""


def type_name(declared: object) -> str:
    """The name of a declared type.

    Args:
        declared: A type as users write it, such as `float`, `flyte.io.File` or `dict[str, int]`. `File[...]` counts as
            `File`, and so does `Dir[...]`; `dict[str, X]` and `list[X]` count as `dict` and `list` where JSON holds X.

    Returns:
        A key of `VALUE_TYPES`.

    Raises:
        InvalidRequestError: The type is none that a contract supports.
    """
    origin = typing.get_origin(declared)
    if origin in (dict, list):
        return _generic_name(declared, origin)
    if isinstance(declared, type):
        for name, supported in PLAIN_TYPES.items():
            if declared is supported:
                return name
        if issubclass(declared, File):
            return "File"
        if issubclass(declared, Dir):
            return "Dir"
        if issubclass(declared, DataFrame):
            return "DataFrame"
        if is_pandas(declared):
            return PANDAS
    raise InvalidRequestError(
        f"{getattr(declared, '__name__', declared)!s} is not a type that code can be generated for. "
        f"Supported: {', '.join(VALUE_TYPES)}."
    )


def is_pandas(kind: type) -> bool:
    """Whether a type is the DataFrame of pandas, or made from it; found out without importing pandas."""
    return any(base.__name__ == "DataFrame" and base.__module__.partition(".")[0] == "pandas" for base in kind.__mro__)


def _generic_name(declared: object, origin: type) -> str:
    arguments = typing.get_args(declared)
    if origin is list and arguments and isinstance(arguments[0], type) and issubclass(arguments[0], File):
        return FILES
    if not _is_json_type(declared):
        raise InvalidRequestError(
            f"{declared} is not a type that code can be generated for: a dict and a list hold what JSON does, under "
            f"keys of type str. Supported: {', '.join(VALUE_TYPES)}."
        )
    return origin.__name__


def _is_json_type(declared: object) -> bool:
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin in (typing.Union, types.UnionType, list):
        return all(map(_is_json_type, arguments))
    if origin is dict:
        return arguments[0] is str and _is_json_type(arguments[1])
    return any(declared is leaf for leaf in _JSON_LEAVES)


class Contract(Data):
    """What a script takes and gives: `python solution.py --name value ... [--outputs DIR]`.

    Attributes:
        inputs: Type name by input, samples included, in declared order.
        outputs: Type name by output, in declared order; empty where exit status 0 is all that is asked.
        samples: The inputs that have sample data, a subset of `inputs`, all of type `File`.
    """

    model_config = ConfigDict(frozen=True)

    inputs: dict[str, str]
    outputs: dict[str, str]
    samples: tuple[str, ...] = ()

    @classmethod
    def declare(
        cls,
        samples: Iterable[str],
        inputs: Mapping[str, object] | None,
        outputs: Mapping[str, object] | None,
    ) -> Contract:
        """Check the declared names and types and put them into a contract.

        Args:
            samples: Names of the samples; each becomes a `File` input.
            inputs: Declared types of the inputs that have no sample.
            outputs: Declared types of the outputs, or None for a script that returns nothing.

        Returns:
            The contract.

        Raises:
            InvalidRequestError: A name is no identifier, is reserved or stands twice, or a type is not supported.
        """
        sample_names, declared = tuple(samples), dict(inputs or {})
        twice = sorted(set(sample_names) & set(declared))
        if twice:
            raise InvalidRequestError(
                f"{', '.join(twice)} stands in both samples and inputs. A sample is an input already: leave it out of "
                "inputs."
            )
        typed = dict.fromkeys(sample_names, "File") | {
            name: _typed("input", name, kind) for name, kind in declared.items()
        }
        for name in typed:
            _check_name("input", name)
        given = {name: _typed("output", name, kind) for name, kind in (outputs or {}).items()}
        for name, kind in given.items():
            _check_name("output", name)
            if kind == FILES:
                raise InvalidRequestError(f"output {name!r}: {FILES} is a type of inputs. Declare the output as Dir.")
        return cls(inputs=typed, outputs=given, samples=sample_names)

    @property
    def kinds(self) -> frozenset[str]:
        """The types of all inputs and outputs."""
        return frozenset([*self.inputs.values(), *self.outputs.values()])

    @property
    def plain_inputs(self) -> dict[str, str]:
        """The inputs whose values cross as text, by name: no files, folders and tables."""
        return {name: kind for name, kind in self.inputs.items() if kind in PLAIN_TYPES}

    @property
    def files_without_sample(self) -> dict[str, str]:
        """The inputs whose values do not cross as text and that have no sample, by name."""
        return {
            name: kind for name, kind in self.inputs.items() if kind not in PLAIN_TYPES and name not in self.samples
        }


def _typed(role: str, name: str, kind: object) -> str:
    try:
        return type_name(kind)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{role} {name!r}: {error}") from None


def _check_name(role: str, name: object) -> None:
    if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise InvalidRequestError(
            f"{role} {name!r} is not a usable name. Use a Python identifier that is no keyword and has no leading "
            "underscore, such as 'total_revenue'."
        )
    if name in RESERVED_NAMES:
        raise InvalidRequestError(
            f"{role} {name!r} is a reserved name. Call it something else, such as '{name}_value'."
        )
