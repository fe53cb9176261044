"""What `generate()` was called with, and the checks that need nothing but it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from flyte.io import File

from flyteplugins.codegen.core import pinned
from flyteplugins.codegen.core.contract import Contract
from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.core.values import PLAIN_TYPES, is_value_of
from flyteplugins.codegen.data.samples import pin_samples
from flyteplugins.codegen.packages.distributions import detect_packages
from flyteplugins.codegen.tasks.given import flat, grown, take_in


@dataclass(frozen=True)
class Asked:
    """What `generate()` was called with; `AutoCoderAgent.generate` documents each."""

    prompt: str
    schema: str | None = None
    constraints: Sequence[str] | None = None
    samples: Mapping[str, Any] | None = None
    inputs: Mapping[str, Any] | None = None
    outputs: Mapping[str, Any] | None = None
    input_examples: Mapping[str, Any] | None = None
    follow_ups: Sequence[str] = ()

    def contract(self, base_packages: Sequence[str] = ()) -> Contract:
        """Check all that can be checked without looking at a value.

        Args:
            base_packages: What the user wants in every environment.

        Returns:
            The typed inputs and outputs.

        Raises:
            InvalidRequestError: Something can't be used.
        """
        _check_texts(self.prompt, self.schema, self.constraints)
        detect_packages("", (), base_packages)  # what can't be read is an error now
        return Contract.declare(self.samples or (), self.inputs, self.outputs)

    async def pinned(self, contract: Contract) -> Asked:
        """Check the examples, and put every file into the store, by content.

        Args:
            contract: The typed inputs and outputs.

        Returns:
            The same, with stored files for samples and for examples that are no plain values; more than one file of
            an example as `flat` names them.

        Raises:
            InvalidRequestError: An example is of the wrong type, or a file can't be read.
        """
        store = pinned.store()
        given: dict[str, Any] = {}
        for name, value in self._examples(contract).items():
            kind = contract.inputs.get(name)
            if kind is None or name in contract.samples:
                raise InvalidRequestError(f"input_examples names {name!r}, which is no input without a sample.")
            if kind in PLAIN_TYPES:
                if not is_value_of(value, kind):
                    raise InvalidRequestError(
                        f"input_examples: {name!r} must be {kind}, and is {type(value).__name__}."
                    )
                given[name] = value
            else:
                given.update(flat(name, await take_in(name, kind, value)))
        return replace(self, samples=await pin_samples(self.samples, store), input_examples=given)

    def _examples(self, contract: Contract) -> dict[str, Any]:
        """The examples by input; what was pinned before is put together again."""
        given = dict(self.input_examples or {})
        several = {key: file for key, file in given.items() if "/" in key and key.partition("/")[0] in contract.inputs}
        return {name: value for name, value in given.items() if name not in several} | grown(contract, several)

    @property
    def example_files(self) -> dict[str, File]:
        """The examples that are files, once pinned."""
        return {name: value for name, value in (self.input_examples or {}).items() if isinstance(value, File)}

    @property
    def example_values(self) -> dict[str, Any]:
        """The examples that are no files, once pinned."""
        return {name: value for name, value in (self.input_examples or {}).items() if not isinstance(value, File)}


def _check_texts(prompt: Any, schema: Any, constraints: Any) -> None:
    if not isinstance(prompt, str) or not prompt.strip():
        raise InvalidRequestError("prompt is empty. Say in plain language what the code is to do.")
    if schema is not None and not isinstance(schema, str):
        raise InvalidRequestError(f"schema must be text, and is {type(schema).__name__}.")
    if isinstance(constraints, str) or not all(isinstance(line, str) and line.strip() for line in constraints or ()):
        raise InvalidRequestError(
            "constraints must be a list of texts, one rule each, such as ['quantity must be positive']."
        )
