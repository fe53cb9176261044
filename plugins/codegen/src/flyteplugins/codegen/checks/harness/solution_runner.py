"""Runs the solution for its tests, each time in a process of its own with a fresh folder for outputs.

Standard library only: this file stands beside the tests, in a sandbox and in a saved generation.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LONGEST_ARGUMENT = 100_000  # bytes; Linux refuses single arguments of 128 KiB and more
LONGEST_PRINTED = 1_000_000  # characters of what a run printed that tests get to see
TABLES = ("DataFrame", "pandas.DataFrame")
LAUNCHER = """
import json, runpy, sys
with open(sys.argv[1], encoding="utf-8") as stream:
    sys.argv[:] = json.load(stream)
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def _load(name: str) -> Any:
    """A module that stands beside this one: the folder is not on the import path."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    if spec is None or spec.loader is None:
        raise ImportError("no loader for Python files")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


values = _load("solution_values")
early_imports = _load("early_imports")
processes = _load("solution_processes")
served = _load("solution_served")


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
        server: A `SolutionServer`, which starts runs faster; None where there is none.
        stub: Texts by output name. Each run then writes these and ends with exit status 0; nothing is started.
    """

    def __init__(
        self,
        contract: Contract,
        solution: Path,
        python: str,
        folder: Path,
        seconds: float,
        server: Any = None,
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
        before = processes.children()
        stdout, stderr = folder / "stdout", folder / "stderr"
        exit_code = None
        try:
            if self._server:
                command = [str(self._solution), *arguments]
                exit_code = self._server.run(command, temporary, environment, stdout, stderr, self._seconds)
            if exit_code is None:
                exit_code = self._start(arguments, folder, temporary, environment, stdout, stderr)
        except served.SolutionTimedOutError:
            self.timed_out = True
            raise
        finally:
            processes.end_children(before)
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
                raise served.SolutionTimedOutError(f"The solution did not end within {self._seconds:g} s.") from None
            finally:
                processes.end_group(process.pid)
                process.wait()


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
