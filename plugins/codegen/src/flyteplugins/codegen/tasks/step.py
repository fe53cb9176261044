"""One piece of work as a Flyte task, and a local run around it where there is none yet."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import flyte
from flyte._context import internal_ctx  # flyte has no public word for "inside a trace"
from flyte._internal.controllers import get_controller  # nor for submitting a task that is no decorated function
from flyte._task import TaskTemplate  # nor for a task that is neither function nor container
from flyte.models import NativeInterface

from flyteplugins.codegen.core.errors import EnvironmentBuildError, InfrastructureError
from flyteplugins.codegen.core.imports import load
from flyteplugins.codegen.core.scratch import scratch_in
from flyteplugins.codegen.core.sync import BoundTwoFaced

T = TypeVar("T")

logger = logging.getLogger(__name__)

FLYTE_KEEPS_NOTHING: Final = "Flyte's list of runs and its cache can't be kept: {error}. The work goes on without."


class Step(TaskTemplate[..., Any, Any], Generic[T]):
    """A Flyte task whose body and outcome live in this process; what Flyte records of it is there to be read.

    An exception crosses Flyte as another one, without its attributes, and is logged with a traceback. So failures that
    belong to the normal course (a program over its time limit, a package that does not exist) leave the task as a
    value and are raised where it was submitted. A failure of the infrastructure is raised inside as well: Flyte logs
    it and tries again.
    """

    def __init__(
        self,
        name: str,
        body: Callable[[], Awaitable[T]],
        *,
        inputs: Mapping[str, str] | None = None,
        outputs: Mapping[str, type] | None = None,
        show: Callable[[T], tuple[Any, ...]] | None = None,
        show_failure: Callable[[Exception], tuple[Any, ...]] | None = None,
        cache: flyte.Cache | None = None,
        retries: int = 0,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(
            name=name,
            task_type="python",
            image=None,
            interface=NativeInterface(
                dict.fromkeys(inputs or {}, (str, inspect.Parameter.empty)),
                dict(outputs or {}),
            ),
            cache=cache or flyte.Cache("disable"),
            retries=retries,
        )
        self._body = body
        self._tries_again = retries
        self._inputs = dict(inputs or {})
        self._show = show
        self._show_failure = show_failure
        self._on_trouble = on_trouble or logger.warning
        self._executed = False
        self._value: T | None = None
        self._failure: BaseException | None = None

    async def execute(self, **_: Any) -> Any:
        """Run the body and keep what it came to."""
        self._executed, self._failure = True, None
        try:
            self._value = await self._body()
        except Exception as error:
            self._failure = error
            if may_pass(error):
                raise
            return self._show_failure(error) if self._show_failure else ()
        return self._show(self._value) if self._show else ()

    async def submit(self, cached: T | None = None) -> T:
        """Run as a Flyte task: of the run that goes on, else of a local run of its own.

        Args:
            cached: What the body would return; handed back where Flyte serves the task from its cache.

        Returns:
            What the body returned.
        """
        # Flyte imports it too, and fails where another thread is in the middle.
        await asyncio.to_thread(load, "pyarrow")
        context = internal_ctx()
        if context.is_task_context() and (context.is_in_trace() or flyte.ctx().mode != "local"):
            # Tasks can't be called inside a trace; and a cluster looks a task up in an environment that was deployed,
            # which one made at run time never was. There the work is part of the task that asked for it.
            return await self._try(self._tries_again)
        try:
            if context.is_task_context():
                await get_controller().submit(self, **self._inputs)
            else:
                # Through our own face of Flyte's loop: it waits for the clean-up of what is cancelled.
                await BoundTwoFaced(self._run_locally).aio()
        except Exception as error:
            if self._failure is None:
                if not is_of_storage(error):
                    raise
                # Under the user's home; the work needs neither.
                self._on_trouble(FLYTE_KEEPS_NOTHING.format(error=error))
                if not self._executed and cached is None:
                    return await self._body()
        if self._failure is not None:
            raise self._failure
        return self._value if self._executed else cached  # type: ignore[return-value]  # a hit implies `cached`

    async def _try(self, again: int) -> T:
        """Do the work as Flyte would: again where its failure may pass."""
        try:
            return await self._body()
        except Exception as error:
            if not again or not may_pass(error):
                raise
            logger.warning("%s is tried again: %s", self.name, error)
        return await self._try(again - 1)

    async def _run_locally(self) -> None:
        # Flyte would leave a folder of its own under the temporary directory for ever.
        async with scratch_in() as folder:
            await flyte.with_runcontext(mode="local", raw_data_path=str(folder)).run.aio(self, **self._inputs)


def is_of_storage(error: BaseException | None) -> bool:
    """Whether an error of Flyte's comes from its own files: a full disk, a home that can't be written."""
    while error is not None:
        if isinstance(error, (OSError, sqlite3.Error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def may_pass(error: Exception) -> bool:
    """Whether a failure is worth another try."""
    # A build fails for a reason that stays; whatever passes by itself was tried again below already.
    return isinstance(error, InfrastructureError) and not isinstance(error, EnvironmentBuildError)
