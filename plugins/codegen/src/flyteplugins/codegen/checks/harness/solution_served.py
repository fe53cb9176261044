"""Runs of the solution in copies of a process that has imported what it needs: the side of the tests.

The process is `solution_server.py`. Standard library only: this file stands beside the tests, in a sandbox and in a
saved generation.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LANES = 2  # programs that run at one time in the solution's place

# Not on the import path: whoever loads this has loaded them.
early_imports: Any = sys.modules["early_imports"]
processes: Any = sys.modules["solution_processes"]


class SolutionTimedOutError(Exception):
    """The solution did not end within its time limit."""


class SolutionServer:
    """Runs the solution in copies of a process that has imported what it needs; see `solution_server.py`.

    Args:
        python: Interpreter of the solution's environment.
        modules: What to import.

    Attributes:
        lane: The lane that this process uses. A copy of this process takes another, to run programs at the same time.
    """

    def __init__(self, python: str, modules: list[str]) -> None:
        orders, answers = [os.pipe() for _ in range(LANES)], [os.pipe() for _ in range(LANES)]
        theirs = [(order[0], answer[1]) for order, answer in zip(orders, answers, strict=True)]
        self._lanes = [(order[1], answer[0]) for order, answer in zip(orders, answers, strict=True)]
        self.lane = 0
        self._process = subprocess.Popen(  # noqa: S603  # a list built here
            [python, str(HERE / "solution_server.py"), json.dumps(theirs), *early_imports.STANDARD, *modules],
            pass_fds=[descriptor for lane in theirs for descriptor in lane],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for descriptor in [descriptor for lane in theirs for descriptor in lane]:
            os.close(descriptor)
        self._started_by = os.getpid()
        self._gone = False
        self._python = python
        self._modules = modules
        self._number = 0
        self._read = b""

    @classmethod
    def for_program(cls, python: str, program: Path, waiting: SolutionServer | None = None) -> SolutionServer | None:
        """A server for a program.

        Args:
            python: Interpreter of the solution's environment.
            program: The program.
            waiting: One that was started before the program was known; used if it fits, else ended.

        Returns:
            The server; None for a program that would notice it, and where it can't work.
        """
        try:
            code = program.read_text(encoding="utf-8")
            modules = early_imports.slow_imports(code) if early_imports.bears_early_imports(code) else None
        except (OSError, ValueError, SyntaxError, RecursionError):
            modules = None
        if waiting is not None:
            if modules is not None and waiting.fits(python, modules):
                return waiting
            waiting.close()
        return cls(python, modules) if modules is not None and sys.platform == "linux" else None

    def fits(self, python: str, modules: list[str]) -> bool:
        """Whether it serves a program on this interpreter that imports these modules; it may then import more."""
        if python != self._python or not {*self._modules} <= {*modules}:
            return False
        self._modules = modules
        return True

    def run(
        self,
        arguments: list[str],
        folder: Path,
        environment: dict[str, str],
        stdout: Path,
        stderr: Path,
        seconds: float,
    ) -> int | None:
        """Run a program.

        Args:
            arguments: The program and its arguments.
            folder: Where it stands.
            environment: All its variables.
            stdout: File that gets what it prints.
            stderr: File that gets what it prints as errors.
            seconds: Time limit.

        Returns:
            Its exit status; None if there is no server any more and nothing was run.

        Raises:
            SolutionTimedOutError: It did not end within its time limit.
        """
        self._number += 1
        number = f"{os.getpid()}-{self._number}"  # copies of this process use the same server
        order = {
            "number": number,
            "modules": self._modules,
            "arguments": arguments,
            "folder": str(folder),
            "environment": environment,
            "stdout": str(stdout),
            "stderr": str(stderr),
        }
        if not self._order(order):
            return None
        # The first answer waits for the imports.
        started = self._answer(number, time.monotonic() + seconds)
        if started is None:
            self.close()
            return None
        ended = self._answer(number, time.monotonic() + seconds)
        processes.end_group(started["pid"])
        if ended is None and not self._gone:
            self._answer(number, time.monotonic() + 5.0)  # its end, now that it was killed
            raise SolutionTimedOutError(f"The solution did not end within {seconds:g} s.")
        if ended is None:
            return -signal.SIGKILL  # it took the server with it
        return ended["exit_code"]

    def close(self) -> None:
        """End the server; in a copy of the process that started it, use it no more."""
        if self._gone:
            return
        self._gone = True
        if self._started_by == os.getpid():
            processes.end_group(self._process.pid)
            self._process.wait()
        for descriptor in [descriptor for lane in self._lanes for descriptor in lane]:
            os.close(descriptor)

    def _order(self, order: dict[str, Any]) -> bool:
        if self._gone:
            return False
        left = json.dumps(order).encode() + b"\n"
        try:
            while left:
                left = left[os.write(self._lanes[self.lane][0], left) :]
        except BrokenPipeError:
            self.close()
            return False
        return True

    def _answer(self, number: str, until: float) -> dict[str, int] | None:
        """The answer to an order; None if none comes in time, or none ever because the server is gone."""
        if self._gone:
            return None
        descriptor = self._lanes[self.lane][1]
        while True:
            line, newline, rest = self._read.partition(b"\n")
            if newline:
                self._read = rest
                answer = json.loads(line)
                if answer.pop("number") == number:
                    return dict(answer)
                continue
            if not select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
                return None
            more = os.read(descriptor, 65536)
            if not more:
                self.close()
                return None
            self._read += more


_waiting: list[SolutionServer] = []


def start_server(python: str, modules: list[str]) -> None:
    """Start a server before the program is known.

    Args:
        python: Interpreter of the solution's environment, as far as it is known.
        modules: The slow modules that the solution will probably import.
    """
    _waiting.append(SolutionServer(python, modules))


def take_waiting() -> SolutionServer | None:
    """The server that `start_server` started, to whoever asks first."""
    return _waiting.pop() if _waiting else None
