"""What is asked: the request as the user made it, checked and with its samples on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flyte.io import File

from flyteplugins.codegen.core.contract import Contract
from flyteplugins.codegen.core.values import Plain


@dataclass(frozen=True)
class Request:
    """A checked request.

    Attributes:
        prompt: What the code is to do, in the user's words.
        contract: The typed inputs and outputs.
        schema: Free-form context about formats and target structures, or None.
        constraints: Rules that the code must respect, in the user's words.
        samples: Local sample files by input name; `path` is local, `hash` the hex SHA-256 of the content.
        input_examples: Values that the user gave for inputs that are plain values.
        example_files: Files that the user gave for other inputs without a sample, pinned as the samples are; one of
            several, and one of a folder, under `<input>/<number>` and `<input>/<path>`.
        follow_ups: What was asked for afterwards, the oldest first; the later one decides where they contradict.
    """

    prompt: str
    contract: Contract
    schema: str | None = None
    constraints: tuple[str, ...] = ()
    samples: Mapping[str, File] = field(default_factory=dict)
    input_examples: Mapping[str, Plain] = field(default_factory=dict)
    example_files: Mapping[str, File] = field(default_factory=dict)
    follow_ups: tuple[str, ...] = ()

    @property
    def given(self) -> frozenset[str]:
        """The inputs that the user gave an example for."""
        return frozenset([*self.input_examples, *(key.partition("/")[0] for key in self.example_files)])
