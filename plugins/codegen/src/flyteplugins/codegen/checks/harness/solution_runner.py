"""Runs the solution for its tests, each time in a process of its own with a fresh folder for outputs.

Standard library only: this file stands beside the tests, in a sandbox and in a saved generation.
"""

from __future__ import annotations

import ast
import contextlib
import ctypes
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
LONGEST_ARGUMENT = 100_000  # bytes; Linux refuses single arguments of 128 KiB and more
LONGEST_PRINTED = 1_000_000  # characters of what a run printed that tests get to see
PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36
SLOW_MODULES = {"numpy", "pandas", "pyarrow", "scipy", "sklearn"}  # slow to import, and known to bear a fork after it
LAUNCHER = """
import json, runpy, sys
with open(sys.argv[1], encoding="utf-8") as stream:
    sys.argv[:] = json.load(stream)
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _load_values() -> ModuleType:
    spec = importlib.util.spec_from_file_location("solution_values", HERE / "solution_values.py")
    if spec is None or spec.loader is None:
        raise ImportError("no loader for Python files")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


values = _load_values()


class SolutionTimedOutError(Exception):
    """The solution did not end within its time limit."""


class MissingOutputError(KeyError):
    """The solution did not write an output, or wrote no value of its type."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Contract:
    """What the solution takes and gives.

    Attributes:
        inputs: Type name by input.
        outputs: Type name by output.
        samples: Sample files by input name.
    """

    inputs: dict[str, str]
    outputs: dict[str, str]
    samples: dict[str, Path]

    @classmethod
    def read(cls, path: Path) -> Contract:
        """Read `contract.json`; paths of samples in it are relative to its folder."""
        document = json.loads(path.read_text(encoding="utf-8"))
        samples = {name: (path.parent / sample).resolve() for name, sample in document["samples"].items()}
        return cls(document["inputs"], document["outputs"], samples)


class Outputs(Mapping[str, Any]):
    """What a run wrote: scalars parsed to their declared type, a File as a path."""

    def __init__(self, contract: Contract, folder: Path, how_it_ended: str) -> None:
        self._contract = contract
        self._folder = folder
        self._how_it_ended = how_it_ended

    def __getitem__(self, name: str) -> Any:
        kind = self._contract.outputs.get(name)
        if kind is None:
            declared = ", ".join(self._contract.outputs) or "none"
            raise MissingOutputError(f"The contract has no output {name!r}; declared: {declared}.")
        path = self._folder / name
        if path.is_symlink() or not path.is_file():
            raise MissingOutputError(f"The solution did not write the output {name!r}. {self._how_it_ended}")
        if kind == "File":
            return path
        try:
            return values.parse_scalar(path.read_text(encoding="utf-8"), kind)
        except ValueError as error:
            raise MissingOutputError(f"Output {name!r}: {error}. {self._how_it_ended}") from None

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._contract.outputs if (self._folder / name).is_file())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"Outputs({', '.join(self) or 'nothing written'})"


@dataclass(frozen=True)
class Run:
    """One run of the solution.

    Attributes:
        exit_code: Its exit status; negative where a signal ended it.
        outputs: What it wrote, by output name.
        stdout: What it printed.
        stderr: What it printed as errors.
    """

    exit_code: int
    outputs: Outputs
    stdout: str = field(repr=False)
    stderr: str = field(repr=False)


class SolutionRunner:
    """Calls the solution as `run_solution(name=value, ...)`.

    Args:
        contract: What it takes and gives.
        solution: The script.
        python: Interpreter of the solution's environment.
        folder: Where runs get their folders.
        seconds: Time limit of one run.
        server: Starts runs faster, where there is one.
    """

    def __init__(
        self,
        contract: Contract,
        solution: Path,
        python: str,
        folder: Path,
        seconds: float,
        server: SolutionServer | None = None,
    ) -> None:
        self._contract = contract
        self._solution = solution
        self._python = python
        self._server = server
        self._folder = folder
        self._seconds = seconds
        self._count = 0
        self.runs: list[Run] = []
        self.timed_out = False

    def __call__(self, /, **inputs: Any) -> Run:
        """Run the solution once.

        Args:
            **inputs: A value for each input: a path for a File, a value of the declared type for the rest, or a str,
                which is passed as it is. Inputs with sample data may be left out and then get the sample.

        Returns:
            What came of it, whatever the exit status.

        Raises:
            TypeError: An input is unknown, missing or of a wrong type.
            SolutionTimedOutError: It did not end within its time limit.
        """
        texts = self._texts(inputs)
        self._count += 1
        folder = self._folder / f"run-{self._count}"
        outputs, temporary = folder / "outputs", folder / "tmp"
        outputs.mkdir(parents=True)
        temporary.mkdir()
        arguments = [f"--{name}={text}" for name, text in texts.items()]
        if self._contract.outputs:
            arguments.append(f"--outputs={outputs}")
        exit_code, stdout, stderr = self._execute(arguments, folder, temporary)
        how = f"It ended with exit status {exit_code}" + (f" and said:\n{stderr[-600:]}" if stderr.strip() else ".")
        run = Run(exit_code, Outputs(self._contract, outputs, how), stdout, stderr)
        self.runs.append(run)
        return run

    def _texts(self, inputs: Mapping[str, Any]) -> dict[str, str]:
        declared = self._contract.inputs
        unknown = sorted(set(inputs) - set(declared))
        if unknown:
            raise TypeError(f"run_solution() got {', '.join(unknown)}; the inputs are {', '.join(declared) or 'none'}.")
        given = {**self._contract.samples, **inputs}
        missing = [name for name in declared if name not in given]
        if missing:
            raise TypeError(f"run_solution() needs a value for {', '.join(missing)}: there is no sample data for it.")
        return {name: _text(name, kind, given[name]) for name, kind in declared.items()}

    def _execute(self, arguments: list[str], folder: Path, temporary: Path) -> tuple[int, str, str]:
        # What pytest puts into its environment is not the solution's business.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environment["TMPDIR"] = str(temporary)
        before = _children()
        stdout, stderr = folder / "stdout", folder / "stderr"
        exit_code = None
        try:
            if self._server:
                command = [str(self._solution), *arguments]
                exit_code = self._server.run(command, temporary, environment, stdout, stderr, self._seconds)
            if exit_code is None:
                exit_code = self._start(arguments, folder, temporary, environment, stdout, stderr)
        except SolutionTimedOutError:
            self.timed_out = True
            raise
        finally:
            _end_children(before)
        return exit_code, _printed(stdout), _printed(stderr)

    def _start(
        self,
        arguments: list[str],
        folder: Path,
        temporary: Path,
        environment: dict[str, str],
        stdout: Path,
        stderr: Path,
    ) -> int:
        """Run the solution in a new process; returns its exit status."""
        command = [self._python, str(self._solution), *arguments]
        if any(len(argument.encode()) > LONGEST_ARGUMENT for argument in arguments):
            listed = folder / "arguments.json"
            listed.write_text(json.dumps(command[1:]), encoding="utf-8")
            command = [self._python, "-c", LAUNCHER, str(listed)]
        # Files rather than pipes: a process that the solution leaves behind would keep a pipe open.
        with stdout.open("wb") as out, stderr.open("wb") as err:
            process = subprocess.Popen(  # noqa: S603  # the argument list is built above
                command,
                cwd=temporary,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                return process.wait(self._seconds)
            except subprocess.TimeoutExpired:
                raise SolutionTimedOutError(f"The solution did not end within {self._seconds:g} s.") from None
            finally:
                _end_group(process.pid)
                process.wait()


class SolutionServer:
    """Runs the solution in copies of a process that has imported its slow modules; see `solution_server.py`.

    Args:
        python: Interpreter of the solution's environment.
        modules: What to import.
    """

    def __init__(self, python: str, modules: list[str]) -> None:
        self._process: subprocess.Popen[bytes] | None = subprocess.Popen(  # noqa: S603  # a list built here
            [python, str(HERE / "solution_server.py"), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        self._number = 0
        self._read = b""

    @classmethod
    def for_program(cls, python: str, program: Path) -> SolutionServer | None:
        """A server for a program that imports slow modules; None for another one, and where it can't work."""
        try:
            modules = slow_imports(program.read_text(encoding="utf-8"))
        except (OSError, ValueError, SyntaxError):
            return None
        return cls(python, modules) if modules and sys.platform == "linux" else None

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
        order = {
            "number": self._number,
            "arguments": arguments,
            "folder": str(folder),
            "environment": environment,
            "stdout": str(stdout),
            "stderr": str(stderr),
        }
        if not self._order(order):
            return None
        # The first answer waits for the imports.
        started = self._answer(time.monotonic() + seconds)
        if started is None:
            self.close()
            return None
        ended = self._answer(time.monotonic() + seconds)
        _end_group(started["pid"])
        if ended is None and self._alive():
            self._answer(time.monotonic() + 5.0)  # its end, now that it was killed
            raise SolutionTimedOutError(f"The solution did not end within {seconds:g} s.")
        if ended is None:
            return -signal.SIGKILL  # it took the server with it
        return ended["exit_code"]

    def close(self) -> None:
        """End the server."""
        process, self._process = self._process, None
        if process is None:
            return
        _end_group(process.pid)
        with contextlib.suppress(ChildProcessError):
            process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                stream.close()

    def _alive(self) -> bool:
        return self._process is not None and Path(f"/proc/{self._process.pid}/exe").exists()

    def _order(self, order: dict[str, Any]) -> bool:
        if self._process is None or self._process.stdin is None:
            return False
        left = json.dumps(order).encode() + b"\n"
        try:
            while left:
                left = left[os.write(self._process.stdin.fileno(), left) :]
        except BrokenPipeError:
            self.close()
            return False
        return True

    def _answer(self, until: float) -> dict[str, int] | None:
        """The next answer to the last order; None if none comes."""
        if self._process is None or self._process.stdout is None:
            return None
        descriptor = self._process.stdout.fileno()
        while True:
            line, newline, rest = self._read.partition(b"\n")
            if newline:
                self._read = rest
                answer: dict[str, int] = json.loads(line)
                if answer["number"] == self._number:
                    return answer
                continue
            if not select.select([descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
                return None
            more = os.read(descriptor, 65536)
            if not more:
                return None
            self._read += more


def slow_imports(code: str) -> list[str]:
    """The modules that a program imports and that are slow to import, in order."""
    names: dict[str, None] = {}
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names.update(dict.fromkeys(alias.name for alias in node.names))
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names[node.module] = None
    return [name for name in names if name.partition(".")[0] in SLOW_MODULES]


def _end_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def protect() -> None:
    """Keep the solution from reading and changing this process, and take in the processes that it leaves behind."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        library.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        library.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def in_copy(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a copy of this process.

    Args:
        function: What to call; its result must survive JSON.
        *arguments: What to call it with.

    Returns:
        Its result; None if the copy ended before it had one.
    """
    before = _children()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            result = json.dumps(function(*arguments))
            with os.fdopen(writer, "w") as stream:
                stream.write(result)
        finally:
            os._exit(0)  # nothing of this process may run twice
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    os.waitpid(child, 0)
    _end_children(before)
    return json.loads(text) if text else None


def _text(name: str, kind: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if kind == "File":
        if isinstance(value, os.PathLike):
            return str(Path(value))
        raise TypeError(f"{name} is a File: pass a path, not {type(value).__name__}. Write the data to tmp_path first.")
    if not isinstance(value, (bool, int, float, values.datetime.datetime, values.datetime.timedelta)):
        # numpy's scalars, which tests take from their tables, have a plain value inside
        value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, tuple(values.SCALAR_TYPES.values())):
        raise TypeError(f"{name} is of type {kind}: {type(value).__name__} can't be passed for it.")
    text: str = values.format_scalar(value)
    return text


def _printed(path: Path) -> str:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - LONGEST_PRINTED))
        return stream.read().decode(errors="replace")


def _children() -> set[int]:
    """The processes whose parent is this one."""
    found = set()
    own = str(os.getpid())
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            # The name in brackets may have spaces; what follows is the state and the parent.
            if entry.read_text(errors="replace").rpartition(")")[2].split()[1] == own:
                found.add(int(entry.parent.name))
    return found


def _end_children(before: set[int]) -> None:
    """End what a run left behind: orphans come to this process, as `protect` asked for."""
    while left := _children() - before:
        for child in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
        before |= {child for child in left if Path(f"/proc/{child}").exists()}
        time.sleep(0)
