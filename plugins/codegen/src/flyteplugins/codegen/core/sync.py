"""One coroutine, two faces: `f()` for synchronous code and `await f.aio()`, both through Flyte's syncify.

What is added to syncify: Ctrl-C in a synchronous call, and the cancellation of an awaited one, end the coroutine and
wait until it has cleaned up, so that nothing runs on, or is paid for, behind the user's back.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import types
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, overload

from flyte.errors import SyncTaskCallInAsyncContextError
from flyte.syncify import syncify

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

_FLYTE_THREAD: Final = "flyte_syncify"
"""The thread of the one loop that runs async tasks on this machine; Flyte, too, knows it by its name."""

_SECONDS_TO_CANCEL: Final = 10.0
"""How long Ctrl-C waits for what runs to be ended before it returns to the user all the same."""


class _Call(Generic[R]):
    """One call, running on Flyte's loop and watched from another thread or loop."""

    def __init__(self, function: Callable[[], Coroutine[Any, Any, R]]) -> None:
        self._function = function
        self._lock = threading.Lock()
        self._task: asyncio.Task[Any] | None = None
        self._given_up = False
        self.ended = threading.Event()

    async def run(self) -> R:
        """Run it, unless it was given up before it began."""
        with self._lock:
            if self._given_up:
                raise asyncio.CancelledError
            self._task = asyncio.current_task()
        try:
            return await self._function()
        finally:
            self.ended.set()

    def give_up(self, *, cancel: bool) -> None:
        """Keep it from beginning; where it has begun and `cancel` is set, cancel it."""
        with self._lock:
            self._given_up = True
            task = self._task
        if task is None:
            self.ended.set()
        elif cancel:
            task.get_loop().call_soon_threadsafe(task.cancel)


class BoundTwoFaced(Generic[P, R]):
    """A method with both faces, bound to its object."""

    def __init__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> None:
        self._function = function
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run to the end and return the result; Ctrl-C cancels what runs."""
        if threading.current_thread().name == _FLYTE_THREAD:
            name = getattr(self, "__name__", "it")
            raise SyncTaskCallInAsyncContextError(
                f"{name}() blocks, and was called from async code in a Flyte task, which would wait for itself for "
                f"ever. Write `await ....{name}.aio(...)` there."
            )
        call = _Call(functools.partial(self._function, *args, **kwargs))
        try:
            result: R = syncify(call.run)()
        except KeyboardInterrupt:
            call.give_up(cancel=True)
            call.ended.wait(_SECONDS_TO_CANCEL)
            raise
        return result

    async def aio(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The same, to be awaited."""
        call = _Call(functools.partial(self._function, *args, **kwargs))
        try:
            result: R = await syncify(call.run).aio()
        except asyncio.CancelledError:
            # From another loop than Flyte's, the cancellation was passed on and not waited for. Not passed on twice:
            # the second would interrupt the cleaning up.
            call.give_up(cancel=False)
            if not call.ended.is_set():
                await asyncio.to_thread(call.ended.wait, _SECONDS_TO_CANCEL)
            raise
        return result


class TwoFaced(Generic[S, P, R]):
    """Decorator for coroutine methods: gives them a synchronous face and `.aio`."""

    def __init__(self, function: Callable[Concatenate[S, P], Coroutine[Any, Any, R]]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type[S]) -> TwoFaced[S, P, R]: ...

    @overload
    def __get__(self, instance: S, owner: type[S]) -> BoundTwoFaced[P, R]: ...

    def __get__(self, instance: S | None, owner: type[S]) -> TwoFaced[S, P, R] | BoundTwoFaced[P, R]:
        if instance is None:
            return self
        return BoundTwoFaced(types.MethodType(self._function, instance))
