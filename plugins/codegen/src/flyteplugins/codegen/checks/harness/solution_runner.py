"""Runs the solution for its tests, each time in a process of its own with a fresh folder for outputs.

Standard library only: this file stands beside the tests, in a sandbox and in a saved generation.
"""

from __future__ import annotations

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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
LONGEST_ARGUMENT = 100_000  # bytes; Linux refuses single arguments of 128 KiB and more
LONGEST_PRINTED = 1_000_000  # characters of what a run printed that tests get to see
TABLES = ("DataFrame", "pandas.DataFrame")
LANES = 2  # programs that run at one time in the solution's place
PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 4, 36
LAUNCHER = """
import json, runpy, sys
with open(sys.argv[1], encoding="utf-8") as stream:
    sys.argv[:] = json.load(stream)
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError("no loader for Python files")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


values = _load("solution_values")
early_imports = _load("early_imports")


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
        samples: Sample files by input name; a list of them where the input is one.
    """

    inputs: dict[str, str]
    outputs: dict[str, str]
    samples: dict[str, Path | list[Path]]

    @classmethod
    def read(cls, path: Path) -> Contract:
        """Read `contract.json`; paths of samples in it are relative to its folder."""
        document = json.loads(path.read_text(encoding="utf-8"))
        samples: dict[str, Path | list[Path]] = {}
        for name, sample in document["samples"].items():
            if isinstance(sample, list):
                samples[name] = [(path.parent / one).resolve() for one in sample]
            else:
                samples[name] = (path.parent / sample).resolve()
        return cls(document["inputs"], document["outputs"], samples)


class Outputs(Mapping[str, Any]):
    """What a run wrote: plain values parsed to their declared type, a File and a Dir as a path, a table by pandas."""

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
        if not self._is_written(name):
            raise MissingOutputError(f"The solution did not write the output {name!r}. {self._how_it_ended}")
        if kind in ("File", "Dir"):
            return path
        try:
            if kind in TABLES:
                return _read_table(path)
            # `read_text` would make every end of a line the same.
            return values.parse_value(path.read_bytes().decode(), kind)
        except ValueError as error:
            raise MissingOutputError(f"Output {name!r}: {error}. {self._how_it_ended}") from None

    def _is_written(self, name: str) -> bool:
        path = self._folder / name
        if path.is_symlink():
            return False
        if self._contract.outputs[name] == "Dir":
            return any(one.is_file() and not one.is_symlink() for one in path.rglob("*"))
        return path.is_file()

    def __iter__(self) -> Iterator[str]:
        return filter(self._is_written, self._contract.outputs)

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
        stub: Texts by output name. Each run then writes these and ends with exit status 0; nothing is started.
    """

    def __init__(
        self,
        contract: Contract,
        solution: Path,
        python: str,
        folder: Path,
        seconds: float,
        server: SolutionServer | None = None,
        stub: Mapping[str, str] | None = None,
    ) -> None:
        self._contract = contract
        self._stub = stub
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
            **inputs: A value for each input: a path for a File and a Dir, a list of paths for a list[File], a path or a
                DataFrame of pandas for a DataFrame, a value of the declared type for the rest, or a str, which is
                passed as it is. Inputs with sample data may be left out and then get the sample.

        Returns:
            What came of it, whatever the exit status.

        Raises:
            TypeError: An input is unknown, missing or of a wrong type.
            SolutionTimedOutError: It did not end within its time limit.
        """
        given = self._given(inputs)
        folder = self._folder / f"run-{self._count + 1}"
        texts = {name: _texts(name, kind, given[name], folder) for name, kind in self._contract.inputs.items()}
        self._count += 1
        outputs, temporary = folder / "outputs", folder / "tmp"
        outputs.mkdir(parents=True)
        temporary.mkdir()
        arguments = [f"--{name}={text}" for name, several in texts.items() for text in several]
        if self._contract.outputs:
            arguments.append(f"--outputs={outputs}")
        if self._stub is None:
            exit_code, stdout, stderr = self._execute(arguments, folder, temporary)
        else:
            exit_code, stdout, stderr = 0, "", ""
            for name, text in self._stub.items():
                _write_stub(outputs / name, self._contract.outputs[name], text)
        how = f"It ended with exit status {exit_code}" + (f" and said:\n{stderr[-600:]}" if stderr.strip() else ".")
        run = Run(exit_code, Outputs(self._contract, outputs, how), stdout, stderr)
        self.runs.append(run)
        return run

    def _given(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        declared = self._contract.inputs
        unknown = sorted(set(inputs) - set(declared))
        if unknown:
            raise TypeError(f"run_solution() got {', '.join(unknown)}; the inputs are {', '.join(declared) or 'none'}.")
        given = {**self._contract.samples, **inputs}
        missing = [name for name in declared if name not in given]
        if missing:
            raise TypeError(f"run_solution() needs a value for {', '.join(missing)}: there is no sample data for it.")
        return given

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
        _end_group(started["pid"])
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
            _end_group(self._process.pid)
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


def _end_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def protect() -> None:
    """Keep the solution from reading and changing this process, and take in the processes that it leaves behind."""
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        library.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
        library.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Copy:
    """A copy of this process that waits, as it is now, until it is told to call a function.

    Args:
        function: What it calls; its argument and its result must survive JSON.
    """

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._before = _children()
        order_reader, self._order = os.pipe()
        self._result, result_writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                os.close(self._order)
                os.close(self._result)
                order = _read_all(order_reader)
                if order:
                    _write_all(result_writer, json.dumps(function(json.loads(order))).encode())
            finally:
                os._exit(0)  # nothing of this process may run twice
        os.close(order_reader)
        os.close(result_writer)

    def order(self, argument: Any) -> None:
        """Let it call the function and end."""
        content = json.dumps(argument).encode()
        order, self._order = self._order, -1  # closed below, whatever happens
        with contextlib.suppress(BrokenPipeError):
            _write_all(order, content)

    def result(self) -> Any:
        """What the function returned, once it has; None if the copy ended before."""
        descriptor, self._result = self._result, -1  # as above
        result = _read_all(descriptor)
        return json.loads(result) if result else None

    def close(self) -> None:
        """End it, whether it was told anything or not."""
        for descriptor in (self._order, self._result):
            if descriptor >= 0:
                os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        _end_children(self._before)


def in_copy(function: Callable[[Any], Any], argument: Any) -> Any:
    """Call a function in a copy of this process; returns its result, None if the copy ended before it had one."""
    return in_copies(function, [argument])[0]


def in_copies(function: Callable[[Any], Any], arguments: Sequence[Any]) -> list[Any]:
    """Call a function once for each argument, at the same time, each in a copy of this process.

    Returns:
        The results; None of a copy that ended before it had one.
    """
    with contextlib.ExitStack() as copies:
        started = []
        for argument in arguments:
            copy = copies.enter_context(contextlib.closing(Copy(function)))
            copy.order(argument)  # before the next one is made, which would keep this one's pipe open
            started.append(copy)
        return [copy.result() for copy in started]


def _read_all(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


def _write_all(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)


def _texts(name: str, kind: str, value: Any, folder: Path) -> list[str]:
    """What stands for a value on the command line, once for each file of a list; `folder` is for files made of it."""
    if kind == "list[File]" and not isinstance(value, (str, os.PathLike)):
        paths = [_text(name, "File", one) for one in value]
        if not paths:
            raise TypeError(f"{name} is a list[File]: pass at least one path.")
        return paths
    if kind in TABLES and hasattr(value, "to_parquet"):
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.parquet"
        value.to_parquet(path, index=False)
        return [str(path)]
    return [_text(name, kind, value)]


def _text(name: str, kind: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if kind in ("File", "Dir", "list[File]", *TABLES):
        if isinstance(value, os.PathLike):
            return str(Path(value))
        raise TypeError(
            f"{name} is a {kind}: pass a path, not {type(value).__name__}. Write the data to tmp_path first."
        )
    if not isinstance(value, tuple(values.PLAIN_TYPES.values())):
        # numpy's scalars, which tests take from their tables, have a plain value inside
        value = value.item() if hasattr(value, "item") else value
    if not isinstance(value, tuple(values.PLAIN_TYPES.values())):
        raise TypeError(f"{name} is of type {kind}: {type(value).__name__} can't be passed for it.")
    try:
        text: str = values.format_value(value)
    except ValueError as error:
        raise TypeError(f"{name} is of type {kind}: {error}.") from None
    return text


def _read_table(path: Path) -> Any:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except Exception as error:  # pyarrow's are no ValueError all
        raise ValueError(f"pandas can't read it as Parquet: {error}") from error


def _write_stub(path: Path, kind: str, text: str) -> None:
    """Write an output of a program that does nothing: `text`, or a folder and a table that hold nothing of it."""
    if kind == "Dir":
        path.mkdir()
        (path / "empty").write_text(text, encoding="utf-8")
    elif kind in TABLES:
        import pandas as pd

        pd.DataFrame().to_parquet(path)
    else:
        path.write_text(text, encoding="utf-8")


def _printed(path: Path) -> str:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - LONGEST_PRINTED))
        return stream.read().decode(errors="replace")


def _children() -> set[int]:
    """The processes whose parent is this one."""
    listed = f"/proc/self/task/{os.getpid()}/children"  # which not every kernel has; all threads but one start none
    if os.path.exists(listed):  # noqa: PTH110 # many times a second
        with open(listed) as stream:  # noqa: PTH123 # as above
            return {int(pid) for pid in stream.read().split()}
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
