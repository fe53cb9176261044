"""The environments of one generation: what a draft and its tests need, built as early as it is known."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from flyteplugins.codegen.backends.draft import Draft
from flyteplugins.codegen.core.environment import EnvironmentSpec, Lock
from flyteplugins.codegen.core.errors import CodegenError, EnvironmentBuildError
from flyteplugins.codegen.core.events import EnvironmentReady, Event, StepStarted
from flyteplugins.codegen.core.solution import CodePlan, CodeSolution
from flyteplugins.codegen.core.verdict import Check, Failure, Verdict
from flyteplugins.codegen.packages.distributions import Detection, detect, detect_packages, well_known
from flyteplugins.codegen.packages.spec import environment_spec
from flyteplugins.codegen.sandbox.contract import Runtime
from flyteplugins.codegen.tasks.executor import Environment, Executor

TOOLS: Final = ("numpy", "pandas", "pyarrow", "pytest")
"""What the tests' own environment always has; the solution's environment has none of it unless it asks."""

APT: Final = "apt:"
"""What the name of a Debian package begins with where it stands among other packages."""

_QUESTIONS_FIRST: Final = 0.03
"""Seconds before anything is built behind the model's back: the next questions are on their way by then, and where the
record answers them, the generation is through and nothing is to be built or started."""


@dataclass(frozen=True)
class Needs:
    """What code needs.

    Attributes:
        spec: The environment.
        guessed: Those of its distributions whose names were only guessed from imports.
    """

    spec: EnvironmentSpec
    guessed: tuple[str, ...] = ()


@dataclass
class Workshop:
    """Builds the environments of one generation.

    Attributes:
        executor: Builds them, as Flyte tasks.
        python: Version of the interpreter, `major.minor`.
        base_packages: What the user wants in every environment of the solution.
        emit: Takes the events.
        approved: Packages of environments that may be built; None where nobody is asked about them.
        instead: Environments that a person chose in the place of others, by the key of those.
    """

    executor: Executor
    python: str
    base_packages: tuple[str, ...]
    emit: Callable[[Event], None]
    approved: set[str] | None = None
    instead: dict[str, EnvironmentSpec] = field(default_factory=dict)
    _background: set[asyncio.Future[None]] = field(default_factory=set)

    def for_solution(self, draft: Draft) -> Needs:
        """What the draft's code needs."""
        solution = draft.solution
        found = _detected(solution.code, tuple(solution.packages), (*self.base_packages, *draft.added_packages))
        system = {*solution.system_packages, *draft.added_system_packages}
        if not self.executor.runtime.installs_system_packages:
            # Most code runs without what a model lists here; if it does not, the run says what is missing.
            system = set()
        return self._chosen(environment_spec(self.python, found.packages, system), found.guessed)

    def for_plan(self, plan: CodePlan) -> Needs:
        """What the code will probably need; there is none yet to hold the model's names against."""
        return Needs(environment_spec(self.python, [*self.base_packages, *well_known(plan.packages)]))

    def for_tests(self, draft: Draft | None = None) -> Needs:
        """What the draft's tests need, or any tests if None."""
        if draft is None:
            return Needs(environment_spec(self.python, TOOLS))
        base = [*TOOLS, *draft.added_test_packages]
        spec = environment_spec(self.python, packages_of_tests(draft.tests or "", draft.test_packages, base))
        return self._chosen(spec)

    async def resolve(self, needs: Needs) -> Lock:
        """What an environment would come to; only the index is asked, and nothing is downloaded or built.

        Raises:
            EnvironmentBuildError: It can't be resolved.
        """
        from flyteplugins.codegen.packages.resolve import linux_platform, resolve

        platform = linux_platform() if self.executor.runtime.name == "docker" else None
        return await resolve(needs.spec, platform=platform, guessed=needs.guessed)

    async def build(self, needs: Needs, attempt: int) -> Environment:
        """Build what is needed, or use what stands.

        Raises:
            EnvironmentBuildError: It can't be built; `packages` names the culprits where the wish is at fault.
        """
        self.emit(StepStarted(attempt, "environment"))
        environment = await self.executor.build(needs.spec, guessed=needs.guessed)
        self.emit(EnvironmentReady(attempt, environment.image, needs.spec.packages, environment.seconds))
        return environment

    def warm_up(self, needs: Needs, then: Callable[[Environment], Awaitable[None]] | None = None) -> None:
        """Build behind the model's back, and do something with it; a failure shows when it is really needed.

        What a person is to approve first is not built before they did.
        """
        if self.approved is not None and not self.approved.issuperset(lines_of(needs.spec)):
            return

        async def quietly() -> None:
            await asyncio.sleep(_QUESTIONS_FIRST)
            with contextlib.suppress(CodegenError):
                environment = await self.executor.build(needs.spec)
                if then:
                    await then(environment)

        task = asyncio.ensure_future(quietly())
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def close(self) -> None:
        """End what still builds, and what waits for work; what is half-built is not kept."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.executor.close()

    def _chosen(self, spec: EnvironmentSpec, guessed: tuple[str, ...] = ()) -> Needs:
        return Needs(self.instead.get(spec.key, spec), guessed)


def lines_of(spec: EnvironmentSpec) -> tuple[str, ...]:
    """What an environment is made of, one a line, as a person reads and edits it."""
    return (*spec.packages, *(f"{APT}{name}" for name in spec.system_packages))


def packages_of_tests(tests: str, suggested: Iterable[str] = (), base: Iterable[str] = TOOLS) -> tuple[str, ...]:
    """The requirements of a test module; those in `base` alone for one that does not parse, as its run will say."""
    try:
        return detect_packages(tests, suggested, base)
    except (SyntaxError, ValueError):
        return detect_packages("", (), base)


@functools.lru_cache(maxsize=64)
def _detected(code: str, packages: tuple[str, ...], base: tuple[str, ...]) -> Detection:
    return detect(code, packages, base)  # asked when the code is there, and again when it is judged


def not_built(error: EnvironmentBuildError) -> Verdict:
    """The verdict on code whose environment can't be built: it has to do with other packages.

    Raises:
        EnvironmentBuildError: The index or this machine failed, which is no verdict on the code.
    """
    if not error.packages:
        raise error
    failure = Failure(
        stage="environment",
        message=f"The environment can't be built: {error}\nUse other packages, or do without.",
        signature=f"environment: {', '.join(error.packages)}",
        error_type="logic",
    )
    check = Check(name="the environment builds", passed=False, detail=str(error))
    return Verdict(checks=(check,), failure=failure)


def tests_not_built(error: EnvironmentBuildError) -> Verdict:
    """The verdict on tests whose environment can't be built; raises as `not_built` does."""
    if not error.packages:
        raise error
    failure = Failure(
        stage="tests",
        message=f"The environment of the tests can't be built: {error}\nImport nothing but what there is.",
        signature=f"environment of the tests: {', '.join(error.packages)}",
        error_type="test_error",
    )
    return Verdict(failure=failure)


def lacking_a_library(failure: Failure, solution: CodeSolution, runtime: Runtime) -> Failure:
    """What a missing shared library means on a runtime; any other failure comes back as it is."""
    if failure.error_type != "environment" or failure.packages:
        return failure
    if runtime.installs_system_packages:
        # What the code asked for is there: which Debian package brings the rest takes judgement.
        return failure.model_copy(update={"error_type": None})
    wanted = f" ({', '.join(solution.system_packages)})" if solution.system_packages else ""
    told = (
        f"{failure.message}\nDebian packages{wanted} can't be installed in the sandbox {runtime.name!r}: use Python "
        "packages that bring all they need. With AutoCoderAgent(sandbox='docker') they can."
    )
    return failure.model_copy(update={"error_type": "logic", "message": told, "final": True})
