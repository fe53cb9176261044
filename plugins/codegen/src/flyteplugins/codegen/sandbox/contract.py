"""The contract of a sandbox: a job goes in, an outcome comes out, and anything but an exit status is raised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from flyteplugins.codegen.core.environment import Lock


@dataclass(frozen=True)
class Python:
    """In an argument list: the interpreter of an image, at the path where the program sees it.

    Attributes:
        image: What `Runtime.prepare` returned.
        prefix: Text put before the path, such as `--python=`.
    """

    image: str
    prefix: str = ""


@dataclass(frozen=True)
class At:
    """In an argument list: a path of the sandbox, as the program sees it.

    Runtimes that mount show it at this very path; a runtime that does not puts the real one here.

    Attributes:
        path: Absolute path under `/var/inputs` or `/var/outputs`.
        prefix: Text put before the path, such as `--sales=`.
    """

    path: str
    prefix: str = ""


Argument = str | Python | At


@dataclass(frozen=True)
class Limits:
    """What a job may use at most.

    Attributes:
        seconds: Wall time; None for no limit.
        memory_bytes: Memory of the whole process tree.
        cpus: Processors.
        processes: Processes and threads at one time.
        disk_bytes: What it may write, outputs and temporary files together.
        output_bytes: What it may print, standard output and error together.
    """

    seconds: float | None = 300.0
    memory_bytes: int = 1 << 30
    cpus: float = 1.0
    processes: int = 256
    disk_bytes: int = 4 << 30
    output_bytes: int = 16 << 20


@dataclass(frozen=True)
class Job:
    """One run to do.

    Attributes:
        argv: The program and its arguments; never passed through a shell.
        outputs: An empty folder of the host that receives what the program writes under `/var/outputs`.
        files: Host files by the absolute path under `/var/inputs` where the program sees them, read-only.
        env: The only environment variables of the user's that the program sees; a value may name a path or an
            interpreter.
        limits: What it may use.
        network: Whether it may open connections.
        preludes: Python code, each of which the interpreter may have run before the program without the program
            telling a difference, the best first: imports that take long. They decide the speed of a job, never its
            outcome. See `Start`.
    """

    argv: tuple[Argument, ...]
    outputs: Path
    files: Mapping[str, Path] = field(default_factory=dict)
    env: Mapping[str, Argument] = field(default_factory=dict)
    limits: Limits = Limits()
    network: bool = False
    preludes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Start:
    """A sandbox to start before its job is known: its interpreter runs a prelude, then waits. It serves one job.

    It fits a job that names the prelude among its own and is the same in all that is here.

    Attributes:
        python: The interpreter and its options, with which the job's arguments begin.
        prelude: The code that it runs.
        arguments: What the prelude finds as `arguments`; the images that it names, the job may name as well.
        files: Host files that the prelude needs, as in a job.
        env: The job's variables.
        limits: What both together may use; the seconds are counted from the job on.
        network: Whether the job may open connections.
        program: What follows in the job's arguments, where that is known and the prelude begins with it; else empty.
    """

    python: tuple[Argument, ...]
    prelude: str
    arguments: tuple[Argument, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    env: Mapping[str, Argument] = field(default_factory=dict)
    limits: Limits = Limits()
    network: bool = False
    program: tuple[Argument, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """A program that exited by itself.

    Attributes:
        exit_code: Its exit status.
        stdout: What it printed, the tail where it was long.
        stderr: What it printed as errors, the tail where it was long.
        seconds: Wall time.
        peak_memory_bytes: Largest resident size of the process tree, where it was measured.
    """

    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    peak_memory_bytes: int | None = None


@dataclass(frozen=True)
class Availability:
    """Whether a runtime can be used here.

    Attributes:
        available: It can.
        reason: Why not and what to install, or what was found.
    """

    available: bool
    reason: str


class Runtime(Protocol):
    """Where untrusted code runs.

    Attributes:
        name: `bubblewrap`, `docker` or `process`.
        isolates: Whether it keeps the program from the host.
        installs_system_packages: Whether images can have apt packages.
    """

    name: str
    isolates: bool
    installs_system_packages: bool

    async def probe(self) -> Availability:
        """Find out, by running something small, whether it can be used here."""
        ...

    async def python_problem(self, version: str) -> str | None:
        """Why an interpreter of `version` (`major.minor`) can't be had here and what to do; None if it can."""
        ...

    async def prepare(self, lock: Lock) -> str:
        """Build the environment, once however many want it, and verify it where it exists already.

        Args:
            lock: The environment.

        Returns:
            The image: what this runtime calls the environment.

        Raises:
            EnvironmentBuildError: It can't be built.
        """
        ...

    async def run(self, job: Job) -> Outcome:
        """Run a job to its end; a cancelled call ends the whole process tree.

        Args:
            job: The job.

        Returns:
            The outcome of a program that exited by itself, with whatever status.

        Raises:
            JobTimedOutError: The time limit passed.
            JobOutOfMemoryError: The memory limit was hit.
            JobKilledError: A signal that was not ours ended it.
            OutputTooLargeError: It printed or wrote more than its cap.
            SandboxFailedError: The sandbox failed, not the program.
        """
        ...


@runtime_checkable
class StartsEarly(Protocol):
    """A runtime that can start a sandbox before its job is known. One that can't has none of this."""

    def start_early(self, start: Start) -> None:
        """Begin to start a sandbox for a job to come; `run` uses it for the first job that it fits.

        Nothing is raised: a sandbox that can't be started, for whatever reason, is not there.

        Args:
            start: What to start.
        """
        ...

    async def end_early(self) -> None:
        """End the sandboxes that got no job."""
        ...
