"""Runs of the solution as copies of a process that has imported its modules already.

Started with the solution's interpreter; the arguments are the lanes, as two descriptors each, and the names of the
modules. Each lane has a process of its own, which takes one order after another. A line of the first pipe is an order,
as JSON; the answers in the second are the number of the process and, when it has ended, its exit status. Standard
library only.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import signal
import sys
import threading
import traceback
import warnings
from types import CodeType, TracebackType
from typing import Any

PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36


def serve(lanes: list[list[int]], modules: list[str]) -> tuple[dict[str, Any], CodeType | None]:
    """Import the modules, then carry out orders until there are no more.

    Returns:
        In the copy that is to run the solution, its order and its program, None for one that does not compile in
        silence; the server itself ends.
    """
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # no run can read or change this process, and so the next run
    _import(modules)
    orders, answers = _own(lanes)
    others = _children()
    if others is not None:
        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what a run leaves behind comes to this process
    compiled = Compiled()
    with os.fdopen(orders, encoding="utf-8") as lines:
        for line in lines:
            order: dict[str, Any] = json.loads(line)
            _import(order["modules"])
            program = compiled.program(order["arguments"][0])
            child = os.fork()
            if child == 0:
                # By the copy itself: the program might end the server before that gets to it.
                _answer(answers, {"number": order["number"], "pid": os.getpid()})
                os.close(answers)
                prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
                return order, program
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            _end_children(others)
            _answer(answers, {"number": order["number"], "exit_code": status})
    raise SystemExit


class Compiled:
    """The program that was run last: in a copy, to compile it again takes as long as to run it."""

    def __init__(self) -> None:
        self._source: tuple[str, bytes] | None = None
        self._program: CodeType | None = None

    def program(self, path: str) -> CodeType | None:
        """The program; None for one that its run has to compile itself, as that prints something or fails."""
        try:
            with open(path, "rb") as stream:  # noqa: PTH123  # once for each run
                source = path, stream.read()
            if source != self._source:
                self._source, self._program = source, None
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    self._program = compile(source[1], path, "exec", dont_inherit=True)
        except Exception:
            return None
        return self._program


def _own(lanes: list[list[int]]) -> list[int]:
    """Become one process for each lane; returns the lane of this one."""
    own, *others = lanes
    for lane in others:
        if os.fork() == 0:
            own = lane
            break
    for lane in lanes:
        if lane is not own:
            for descriptor in lane:
                os.close(descriptor)
    return own


def _children() -> set[int] | None:
    """The processes whose parent is this one; None where the kernel does not list them."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children") as stream:  # noqa: PTH123  # once for each run
            return {int(pid) for pid in stream.read().split()}
    except OSError:
        return None


def _end_children(others: set[int] | None) -> None:
    """End what a run left behind before the next one begins, so that it can't meddle with that."""
    while others is not None and (left := (_children() or set()) - others):
        for child in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


def _import(modules: list[str]) -> None:
    for module in modules:
        if module not in sys.modules:
            # A module that can't be imported is the run's own failure, with its own traceback.
            with contextlib.suppress(Exception):
                importlib.import_module(module)
    gc.freeze()  # so that collecting garbage in a copy does not copy all that was imported


def become(order: dict[str, Any]) -> None:
    """Turn this process into one that looks as if it had been started for the order."""
    os.setsid()
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    written = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for target, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, order["stdout"], written),
        (2, order["stderr"], written),
    ):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, target)
        os.close(opened)
    sys.argv[:] = order["arguments"]
    sys.path[0] = os.path.dirname(sys.argv[0])  # noqa: PTH120  # as Python itself does, without another import
    if "tempfile" in sys.modules:
        vars(sys.modules["tempfile"])["tempdir"] = None  # it keeps the folder that it found first
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # else every run would draw the same numbers

    own, show = __file__, traceback.print_exception  # the names of this module will be gone

    def excepthook(kind: type[BaseException], error: BaseException, frames: TracebackType | None) -> None:
        while frames is not None and frames.tb_frame.f_code.co_filename == own:
            frames = frames.tb_next
        show(kind, error, frames)

    sys.excepthook = excepthook


def _answer(answers: int, answer: dict[str, int]) -> None:
    os.write(answers, json.dumps(answer).encode() + b"\n")


def run(order: dict[str, Any], program: CodeType | None) -> None:
    """Run the solution in the place of this file: it is the main module, for pickle and for whoever looks."""
    become(order)
    path, names = sys.argv[0], globals()
    tools = _Tools()
    try:
        if program is None:
            with open(path, "rb") as stream:  # noqa: PTH123  # as above
                program = compile(stream.read(), path, "exec", dont_inherit=True)
        for name in [name for name in names if not name.startswith("__")]:
            del names[name]
        names |= {"__file__": path, "__doc__": None}
        exec(program, names)  # noqa: S102  # to run a program is what this file is for
        status = 0
    except SystemExit as request:
        status = tools.status_of(request)
    except BaseException as error:  # whatever it is, the interpreter prints it and ends
        sys.excepthook(type(error), error, error.__traceback__)
        status = 1
    tools.end(status, names)


class _Tools:
    """What ends the copy as the interpreter would, without the names of this module.

    The interpreter itself would also take apart all that was imported, which copies every page of it: several times
    what a run costs.
    """

    def __init__(self) -> None:
        self._os, self._sys, self._gc = os, sys, gc
        self._atexit, self._io, self._threading = atexit, io, threading

    def status_of(self, request: SystemExit) -> int:
        """The exit status that `sys.exit` was asked for."""
        code = request.code
        if code is None or isinstance(code, int):
            return code or 0
        self._sys.stderr.write(f"{code}\n")
        return 1

    def end(self, status: int, names: dict[str, Any]) -> None:
        """Do what the interpreter does at the end, so far as a program or its files can notice."""
        try:
            vars(self._threading)["_shutdown"]()  # waits for threads that are no daemons
            vars(self._atexit)["_run_exitfuncs"]()
            for name in list(names):
                if not name.startswith("__"):
                    names[name] = None  # closes files that it left open
            self._gc.collect()
            for thing in [self._sys.stdout, self._sys.stderr, *self._gc.get_objects()]:
                if issubclass(type(thing), self._io.IOBase) and not thing.closed:
                    thing.flush()
        except BaseException as error:
            self._sys.excepthook(type(error), error, error.__traceback__)
            status = status or 1
        finally:
            vars(self._os)["_exit"](status & 0xFF)


if __name__ == "__main__":
    run(*serve(json.loads(sys.argv[1]), sys.argv[2:]))
