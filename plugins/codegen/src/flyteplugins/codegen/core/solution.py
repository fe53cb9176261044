"""What a language model proposes: a plan, and a solution."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from flyteplugins.codegen.core.data import Data


class CodePlan(Data):
    """How the request is to be met, before any code is written.

    Attributes:
        description: What the solution does, in a few sentences.
        approach: The algorithm, step by step, with the columns and the edge cases that matter.
        packages: Distributions that the code will probably import.
    """

    description: str
    approach: str
    packages: list[str] = Field(default_factory=list)


class CodeSolution(Data):
    """Generated code and what it needs.

    Attributes:
        code: The script.
        language: Always `python`.
        packages: Distributions that the model says the code needs, as pip writes them.
        system_packages: apt packages that the model says the code needs.
        examples: Text of an example value for each input that has no sample, by input name.
    """

    model_config = ConfigDict(frozen=True)

    code: str
    language: str = "python"
    packages: tuple[str, ...] = ()
    system_packages: tuple[str, ...] = ()
    examples: dict[str, str] = Field(default_factory=dict)
