"""Builds environments and runs programs in them, each as a Flyte task and none of them twice."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import flyte
from flyte.io import File

from flyteplugins.codegen.core.contract import INPUT_ROOT
from flyteplugins.codegen.core.credentials import redact
from flyteplugins.codegen.core.environment import EnvironmentSpec, Lock
from flyteplugins.codegen.core.errors import JobError, OutputTooLargeError
from flyteplugins.codegen.core.files import storing
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.pinned import is_pinned, pin, pin_text
from flyteplugins.codegen.core.scratch import scratch_in
from flyteplugins.codegen.record import Record, local_record
from flyteplugins.codegen.sandbox.contract import Argument, At, Job, Limits, Python, Runtime, Start, StartsEarly
from flyteplugins.codegen.tasks import records
from flyteplugins.codegen.tasks.records import Execution
from flyteplugins.codegen.tasks.secrets import fingerprint
from flyteplugins.codegen.tasks.step import Step

_VERSION: Final = 1
"""Part of every key: raised when records of an older version of this package must not be served."""

_SHOWN: Final = 10_000
"""How many characters of what was printed Flyte is given to show; the record has all of it."""

_MOST_OUTPUT_FILES: Final = 10_000


@dataclass(frozen=True)
class Environment:
    """A built environment.

    Attributes:
        lock: What it consists of.
        image: What the runtime calls it.
        seconds: How long it took to resolve, and to build or verify.
    """

    lock: Lock
    image: str
    seconds: float


@dataclass(frozen=True)
class Work:
    """A program to run, with all that decides what comes of it.

    Attributes:
        name: What people see in the list of runs, after the agent's name.
        argv: The program and its arguments; never passed through a shell.
        locks: The environments of the images that `argv` refers to.
        files: By path under `/var/inputs`: a file, or the text of one.
        env: The only environment variables that the program sees, besides the secrets; a value may name a path or an
            interpreter.
        secrets: Secret environment variables; no value of them is stored, nor shown in what was printed.
        limits: What it may use.
        network: Whether it may open connections.
        collect: Relative paths under `/var/outputs` that are wanted, with a slash at the end of a folder's; None for
            every regular file.
        preludes: What the interpreter may have run before; see `Job`. No part of the key: nothing comes of it.
    """

    name: str
    argv: tuple[Argument, ...]
    locks: tuple[Lock, ...] = ()
    files: Mapping[str, File | str] = field(default_factory=dict)
    env: Mapping[str, Argument] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    limits: Limits = field(default_factory=Limits)
    network: bool = False
    collect: tuple[str, ...] | None = None
    preludes: tuple[str, ...] = ()


class Executor:
    """Builds and runs on one runtime, for one agent.

    Args:
        runtime: Where programs run.
        cache: `auto` serves what was run before; `override` runs again and renews the record; `disable` neither reads
            nor writes one.
        retries: How often Flyte tries again after a failure of the infrastructure.
        name: The agent's name, which the names of the tasks begin with.
        secrets: Secret environment variables of every program.
        record: Where runs are recorded; the one of this machine if None.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        cache: str = "auto",
        retries: int = 0,
        name: str = "auto-coder",
        secrets: Mapping[str, str] | None = None,
        record: Record | None = None,
    ) -> None:
        self.runtime = runtime
        self.cache = cache
        self.retries = retries
        self.name = name
        self.record = record or local_record()
        self._secrets = dict(secrets or {})

    async def build(self, spec: EnvironmentSpec, *, guessed: Iterable[str] = ()) -> Environment:
        """Resolve and build an environment; one that exists is verified and used.

        Args:
            spec: What is wanted.
            guessed: Those of its distributions whose names were only guessed; an error says so.

        Returns:
            The environment.

        Raises:
            EnvironmentBuildError: It can't be resolved or built.
        """

        async def body() -> Environment:
            from flyteplugins.codegen.packages.resolve import linux_platform, resolve

            start = time.monotonic()
            # Containers are Linux on every host.
            platform = linux_platform() if self.runtime.name == "docker" else None
            lock = await resolve(spec, platform=platform, guessed=guessed)
            image = await self.runtime.prepare(lock)
            return Environment(lock, image, time.monotonic() - start)

        return await self._build(", ".join(spec.packages) or f"Python {spec.python}", body)

    async def restore(self, lock: Lock) -> Environment:
        """Build the environment of a lock; one that exists is verified and used.

        Args:
            lock: What it consists of.

        Returns:
            The environment.

        Raises:
            EnvironmentBuildError: It can't be built.
        """

        async def body() -> Environment:
            start = time.monotonic()
            image = await self.runtime.prepare(lock)
            return Environment(lock, image, time.monotonic() - start)

        return await self._build(f"lock {lock.key[:12]}", body)

    async def execute(self, work: Work) -> Execution:
        """Run a program; the same work is not done twice, however many ask for it at the same time.

        Args:
            work: What to run.

        Returns:
            What came of it. Whatever its exit status, it is recorded.

        Raises:
            JobError: It went over a limit, or was killed.
            InfrastructureError: The sandbox failed, after the retries, or the disk is full.
        """
        work = dataclasses.replace(work, secrets={**self._secrets, **work.secrets})
        files = await asyncio.to_thread(_pin_all, work.files)
        key = _key(work, files, self.runtime.name)
        if self.cache == "disable":
            return await self._submit(work, files, key)
        async with self.record.lock(records.KIND, key):
            recorded = await records.load(self.record, key) if self.cache == "auto" else None
            if recorded is not None:
                return await self._submit(work, files, key, recorded.epoch, recorded.execution)
            epoch = records.new_epoch()
            execution = await self._submit(work, files, key, epoch)
            await records.save(self.record, key, epoch, execution, f"{self.name}-{work.name}")
            return execution

    async def start_early(self, start: Start, files: Mapping[str, File | str]) -> None:
        """Start a sandbox for work to come, where the runtime can; see `StartsEarly`.

        Args:
            start: What to start; the secrets and the files come on top.
            files: What its prelude needs, as in `Work`.
        """
        if isinstance(self.runtime, StartsEarly):
            pinned = await asyncio.to_thread(_pin_all, files)
            paths = {path: Path(file.path) for path, file in pinned.items()}
            env = {**start.env, **self._secrets}
            self.runtime.start_early(dataclasses.replace(start, files=paths, env=env))

    async def close(self) -> None:
        """End what was started for work that did not come."""
        if isinstance(self.runtime, StartsEarly):
            await self.runtime.end_early()

    async def _build(self, wanted: str, body: Any) -> Environment:
        # Not cached by Flyte: a cached image that was deleted since would still be served. `prepare` verifies.
        step: Step[Environment] = Step(
            f"{self.name}-environment",
            body,
            inputs={"packages": wanted},
            outputs={"image": str},
            show=lambda built: (built.image,),
            show_failure=lambda error: (f"{type(error).__name__}: {error}",),
            retries=self.retries,
            on_trouble=self.record.tell,
        )
        return await step.submit()

    async def _submit(
        self,
        work: Work,
        files: Mapping[str, File],
        key: str,
        epoch: str = "",
        recorded: Execution | None = None,
    ) -> Execution:
        async def body() -> Execution:
            return recorded or await _run(self.runtime, work, files)

        cache = flyte.Cache("disable")
        if epoch and self.cache == "auto":
            # Flyte serves what our record says and nothing else: a new record has an epoch that it never saw.
            cache = flyte.Cache("auto", version_override=f"{key}-{epoch}")
        step: Step[Execution] = Step(
            f"{self.name}-{work.name}",
            body,
            inputs={"command": _shown_command(work), "key": key},
            outputs={"outcome": str, "stdout": str, "stderr": str, "files": dict[str, File]},
            show=lambda done: (
                f"exited {done.exit_code} after {done.seconds:.2f} s",
                done.stdout[-_SHOWN:],
                done.stderr[-_SHOWN:],
                dict(done.outputs),
            ),
            show_failure=lambda error: (f"{type(error).__name__}: {error}", "", "", {}),
            cache=cache,
            retries=self.retries,
            on_trouble=self.record.tell,
        )
        return await step.submit(recorded)


async def _run(runtime: Runtime, work: Work, files: Mapping[str, File]) -> Execution:
    place = home() / "running"
    with storing(place):
        async with scratch_in(place) as folder:
            return await _run_in(folder, runtime, work, files)


async def _run_in(folder: Path, runtime: Runtime, work: Work, files: Mapping[str, File]) -> Execution:
    outputs = folder / "outputs"
    try:
        outcome = await runtime.run(
            Job(
                argv=work.argv,
                outputs=outputs,
                files={path: Path(file.path) for path, file in files.items()},
                env={**work.env, **work.secrets},
                limits=work.limits,
                network=work.network,
                preludes=work.preludes,
            )
        )
        return Execution(
            exit_code=outcome.exit_code,
            stdout=redact(outcome.stdout, work.secrets),
            stderr=redact(outcome.stderr, work.secrets),
            seconds=outcome.seconds,
            peak_memory_bytes=outcome.peak_memory_bytes,
            outputs=await asyncio.to_thread(_collect, outputs, work),
        )
    except JobError as error:
        error.args = tuple(redact(str(told), work.secrets) for told in error.args)
        error.stdout, error.stderr = redact(error.stdout, work.secrets), redact(error.stderr, work.secrets)
        raise


def _pin_all(files: Mapping[str, File | str]) -> dict[str, File]:
    pinned = {}
    for path, file in files.items():
        if not path.startswith(f"{INPUT_ROOT}/") or ".." in path.split("/"):
            raise ValueError(f"{path!r} is no path under {INPUT_ROOT}.")
        name = path.rsplit("/", 1)[-1]
        if isinstance(file, str):
            pinned[path] = pin_text(file, name)
        else:
            pinned[path] = file if is_pinned(file) else pin(Path(file.path), name)
    return pinned


def _collect(outputs: Path, work: Work) -> dict[str, File]:
    """Take the regular files that the program left; links of any kind are left where they are."""
    found: dict[str, Path] = {}
    total = 0
    for path in _regular_files(outputs):
        relative = path.relative_to(outputs).as_posix()
        if not relative.isprintable():  # bytes that are no UTF-8, or line breaks: nobody asked for such a name
            continue
        if work.collect is not None and not _is_wanted(relative, work.collect):
            continue
        total += path.stat().st_size
        if total > work.limits.disk_bytes or len(found) == _MOST_OUTPUT_FILES:
            raise OutputTooLargeError(
                f"{work.name} wrote more than {work.limits.disk_bytes} bytes or {_MOST_OUTPUT_FILES} files of output."
            )
        found[relative] = path
    return {relative: pin(path, move=True) for relative, path in sorted(found.items())}


def _is_wanted(relative: str, collect: tuple[str, ...]) -> bool:
    return any(relative.startswith(wanted) if wanted.endswith("/") else relative == wanted for wanted in collect)


def _regular_files(folder: Path) -> list[Path]:
    folder.chmod(0o700)  # the program may have closed it to us
    found = []
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink():
            continue
        if entry.is_dir():
            found += _regular_files(entry)
        elif entry.is_file():
            entry.chmod(0o600)
            found.append(entry)
    return found


def _key(work: Work, files: Mapping[str, File], runtime: str) -> str:
    document = {
        "version": _VERSION,
        "runtime": runtime,
        "argv": [_shown_argument(argument) for argument in work.argv],
        "locks": [lock.key for lock in work.locks],
        "files": {path: file.hash for path, file in files.items()},
        "env": {name: _shown_argument(value) for name, value in work.env.items()},
        "secrets": {name: fingerprint(value) for name, value in work.secrets.items()},
        "limits": dataclasses.asdict(work.limits),
        "network": work.network,
        "collect": work.collect,
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _shown_argument(argument: Argument) -> list[str]:
    if isinstance(argument, Python):
        return ["python", argument.prefix, argument.image]
    if isinstance(argument, At):
        return ["at", argument.prefix, argument.path]
    return ["text", argument]


def _shown_command(work: Work) -> str:
    return " ".join(
        argument
        if isinstance(argument, str)
        else argument.prefix + ("python" if isinstance(argument, Python) else argument.path)
        for argument in work.argv
    )[:_SHOWN]
