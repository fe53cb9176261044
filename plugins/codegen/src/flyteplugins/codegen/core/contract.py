"""The contract of a script: its typed inputs and outputs, and the names that they may have."""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from flyte.io import File
from pydantic import ConfigDict

from flyteplugins.codegen.core.data import Data
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.values import PLAIN_TYPES, Plain, format_value

VALUE_TYPES: Final[dict[str, type]] = {**PLAIN_TYPES, "File": File}
"""The types that inputs and outputs may have, by the name that stands for them in plain data."""

RESERVED_NAMES: Final = frozenset({"outputs", "self", "task"})
"""Names that no input may have: the script's own option, and what collides inside Flyte."""

INPUT_ROOT: Final = "/var/inputs"
"""Where a runtime that mounts shows the input files, each as `/var/inputs/<input>/<file name>`."""

OUTPUT_ROOT: Final = "/var/outputs"
"""Where a runtime that mounts takes the outputs from."""


def type_name(declared: object) -> str:
    """The name of a declared type.

    Args:
        declared: A type as users write it, such as `float` or `flyte.io.File`; `File[...]` counts as `File`.

    Returns:
        A key of `VALUE_TYPES`.

    Raises:
        InvalidRequestError: The type is none that a contract supports.
    """
    if isinstance(declared, type):
        for name, supported in VALUE_TYPES.items():
            if declared is supported or (supported is File and issubclass(declared, File)):
                return name
    raise InvalidRequestError(
        f"{getattr(declared, '__name__', declared)!s} is not a type that code can be generated for. "
        f"Supported: {', '.join(VALUE_TYPES)}."
    )


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
        for name in given:
            _check_name("output", name)
        return cls(inputs=typed, outputs=given, samples=sample_names)

    @property
    def plain_inputs(self) -> dict[str, str]:
        """The inputs that have no sample and are no files, by name."""
        return {name: kind for name, kind in self.inputs.items() if kind != "File"}

    @property
    def files_without_sample(self) -> tuple[str, ...]:
        """The inputs of type `File` that have no sample."""
        return tuple(name for name, kind in self.inputs.items() if kind == "File" and name not in self.samples)

    def arguments(self, values: Mapping[str, Plain | Path], outputs: Path | str | None = None) -> list[str]:
        """The command-line arguments that hand `values` to the script.

        Args:
            values: Scalars, and paths for the inputs of type `File`.
            outputs: Folder for the outputs; the script's own default if None.

        Returns:
            One argument an input, as `--name=value`, so that a value that begins with a dash stays a value.
        """
        given = [
            f"--{name}={value if isinstance(value, Path) else format_value(value)}" for name, value in values.items()
        ]
        return given if outputs is None else [*given, f"--outputs={outputs}"]


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
