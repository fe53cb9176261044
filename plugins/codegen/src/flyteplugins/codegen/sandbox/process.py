"""A plain process, without any isolation, for those who ask for it by name."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Final

from flyteplugins.codegen.core.contract import INPUT_ROOT, OUTPUT_ROOT
from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import SandboxFailedError
from flyteplugins.codegen.core.scratch import scratch_in
from flyteplugins.codegen.sandbox.contract import Argument, At, Availability, Job, Outcome, Python
from flyteplugins.codegen.sandbox.environments import EnvironmentStore
from flyteplugins.codegen.sandbox.interpreters import host_interpreter, python_problem
from flyteplugins.codegen.sandbox.launch import GUEST, LAUNCHER, standard_variables, through_file, too_long
from flyteplugins.codegen.sandbox.outputs import Staging
from flyteplugins.codegen.sandbox.supervise import Program, supervise

_NAME: Final = "process"


class ProcessRuntime:
    """Runs each job as a process of this user, which can read and change whatever this user can.

    Limits, the named environment, copied inputs and the end of the whole process tree are as in the runtimes that
    isolate; `network=False` is not enforced, and on macOS neither are memory, processes and a daemon's end.
    """

    name = _NAME
    isolates = False
    installs_system_packages = False

    def __init__(self, store: EnvironmentStore | None = None) -> None:
        """Use a store of environments, the product's own if None."""
        self._store = store or EnvironmentStore()

    async def probe(self) -> Availability:
        """It is available wherever there are POSIX processes."""
        if sys.platform == "win32":
            return Availability(False, "Plain processes need Linux or macOS.")
        return Availability(True, "plain processes of this user, no isolation")

    async def python_problem(self, version: str) -> str | None:
        """Why there is no interpreter of `version`, and what to do."""
        return await python_problem(version)

    async def prepare(self, lock: Lock) -> str:
        """Build the environment of a lock, or verify the one that exists."""
        await self._store.ensure(lock)
        return f"{_NAME}:{lock.key}"

    async def run(self, job: Job) -> Outcome:
        """Run a job; see `Runtime.run`."""
        staging = Staging(job.outputs)
        async with scratch_in() as work:
            try:
                program = await asyncio.to_thread(self._assemble, job, staging, work)
                command = [str(host_interpreter()), "-I", "-S", str(GUEST / "init.py")]
                written = [staging.path, work / "tmp"]
                outcome = await supervise(command, "adopt", program, job.limits, written)
                await asyncio.to_thread(staging.take_over)
                return outcome
            finally:
                await asyncio.to_thread(staging.remove)

    def _assemble(self, job: Job, staging: Staging, work: Path) -> Program:
        temporary = work / "tmp"
        temporary.mkdir()
        for at, host in job.files.items():
            if not host.exists():
                raise SandboxFailedError(f"The input file {host} does not exist.")
            _copy(host, _place(at, staging, work))

        def text(argument: Argument) -> str:
            if isinstance(argument, Python):
                return f"{argument.prefix}{self._python(argument.image)}"
            if isinstance(argument, At):
                return f"{argument.prefix}{_place(argument.path, staging, work)}"
            return argument

        argv = [text(argument) for argument in job.argv]
        if isinstance(job.argv[0], Python) and too_long(argv):
            argv, content = through_file(argv, str(LAUNCHER), str(work / "arguments.json"))
            (work / "arguments.json").write_bytes(content)
        env = standard_variables(job.limits, str(temporary)) | {name: text(value) for name, value in job.env.items()}
        return Program(argv, env, str(temporary))

    def _python(self, image: str) -> Path:
        name, _, key = image.partition(":")
        if name != _NAME or not key:
            raise SandboxFailedError(f"{image!r} is not an image of the runtime {_NAME}.")
        self._store.base_prefix(key)
        return self._store.path(key) / "bin" / "python"


def _place(path: str, staging: Staging, work: Path) -> Path:
    """The real path of one that runtimes with mounts show under `/var/inputs` or `/var/outputs`."""
    parts = Path(path).parts
    for root, place in ((INPUT_ROOT, work / "inputs"), (OUTPUT_ROOT, staging.path)):
        if (path == root or path.startswith(f"{root}/")) and ".." not in parts:
            return place / Path(path).relative_to(root)
    raise SandboxFailedError(f"{path!r} is no path under {INPUT_ROOT} or {OUTPUT_ROOT}.")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=shutil.copyfile)
        return
    shutil.copyfile(source, target)
    target.chmod(0o444)
