"""One coroutine, two faces: `f()` for synchronous code and `await f.aio()`, both through Flyte's syncify.

What is added to syncify: Ctrl-C in a synchronous call cancels the coroutine, so that nothing runs on, or is paid
for, behind the user's back.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import types
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, Final, Generic, ParamSpec, TypeVar, overload

from flyte.syncify import syncify

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")

_SECONDS_TO_CANCEL: Final = 10.0
"""How long Ctrl-C waits for what runs to be ended before it returns to the user all the same."""


class BoundTwoFaced(Generic[P, R]):
    """A method with both faces, bound to its object."""

    def __init__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> None:
        self._function = function
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run to the end and return the result; Ctrl-C cancels what runs."""
        running: list[asyncio.Task[Any]] = []
        ended = threading.Event()

        async def tracked() -> R:
            task = asyncio.current_task()
            if task is not None:
                running.append(task)
            try:
                return await self._function(*args, **kwargs)
            finally:
                ended.set()

        try:
            result: R = syncify(tracked)()
        except KeyboardInterrupt:
            for task in running:
                task.get_loop().call_soon_threadsafe(task.cancel)
            if running:
                ended.wait(_SECONDS_TO_CANCEL)
            raise
        return result

    def aio(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[R]:
        """The same, to be awaited."""
        awaitable: Awaitable[R] = syncify(self._function).aio(*args, **kwargs)
        return awaitable


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
