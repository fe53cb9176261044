"""What is checked and what with, and how the solution is run for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from flyte.io import File

from flyteplugins.codegen.checks.turns import turns
from flyteplugins.codegen.core.contract import INPUT_ROOT, Contract
from flyteplugins.codegen.core.events import Event
from flyteplugins.codegen.sandbox.contract import At, Limits
from flyteplugins.codegen.tasks.executor import Environment, Executor, Work
from flyteplugins.codegen.tasks.given import Given, arguments, places
from flyteplugins.codegen.tasks.records import Execution

# No input's name begins with an underscore, so nothing of ours meets a file of the user's.
SUITE_ROOT: Final = f"{INPUT_ROOT}/_suite"


@dataclass(frozen=True)
class Subject:
    """What is checked.

    Attributes:
        code: The script.
        tests: The test module; None checks the script alone.
        contract: What the script takes and gives.
        samples: Pinned files by input name: the samples, and an example for each other input that is no plain value.
        examples: Text of a value for each input that is one.
        environment: What the script runs on.
        former: The script of before a revision; None where there was none.
    """

    code: str
    tests: str | None
    contract: Contract
    samples: Mapping[str, Given]
    examples: Mapping[str, str]
    environment: Environment
    former: str | None = None


@dataclass(frozen=True)
class Bench:
    """What it is checked with.

    Attributes:
        executor: Runs everything, in the sandbox, as cached tasks.
        tools: Environment of the tests: pytest, and what they import.
        limits: What one run may use.
        env: The only environment variables that programs see.
        network: Whether programs may open connections.
        store: Folder of the pinned files.
        on_event: Takes the events.
        attempt: The attempt that the events belong to, counted from 1.
    """

    executor: Executor
    tools: Environment
    limits: Limits
    env: Mapping[str, str]
    network: bool
    store: Path
    on_event: Callable[[Event], None]
    attempt: int

    async def run(self, work: Work) -> Execution:
        """Run a program when its turn has come; see `Executor.execute`."""
        async with turns().one():
            return await self.executor.execute(work)


def input_files(given: Mapping[str, Given]) -> dict[str, File]:
    """The files of all inputs by the path where a program sees them."""
    return {path: file for name, value in given.items() for path, file in places(name, value).items()}


def input_arguments(subject: Subject, given: Mapping[str, Given]) -> list[str | At]:
    """The arguments that hand over the files and the examples, in declared order."""
    found: list[str | At] = []
    for name in subject.contract.inputs:
        found += arguments(name, given[name]) if name in given else [f"--{name}={subject.examples.get(name, '')}"]
    return found
