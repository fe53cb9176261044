"""Containers of a Docker engine as a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
import shutil
import signal
import stat
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from flyteplugins.codegen.core.contract import INPUT_ROOT, OUTPUT_ROOT
from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import (
    EnvironmentBuildError,
    JobKilledError,
    JobOutOfMemoryError,
    JobTimedOutError,
    OutputTooLargeError,
    SandboxFailedError,
)
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.scratch import scratch
from flyteplugins.codegen.sandbox import docker_images
from flyteplugins.codegen.sandbox.capture import Kept
from flyteplugins.codegen.sandbox.contract import Argument, At, Availability, Job, Limits, Outcome, Python
from flyteplugins.codegen.sandbox.docker_engine import (
    LABEL,
    OWNER_LABEL,
    EngineError,
    connect,
    engine_errors,
    owner,
    remove_leftovers,
)
from flyteplugins.codegen.sandbox.launch import GUEST, standard_variables, through_file, too_long
from flyteplugins.codegen.sandbox.outputs import Staging, usage
from flyteplugins.codegen.sandbox.supervise import Program

if TYPE_CHECKING:
    from docker import APIClient

T = TypeVar("T")

_NOBODY: Final = 65534
_TEMPORARY: Final = "/tmp"  # noqa: S108 # the container's own
_VERSIONS: Final = ("3.10", "3.11", "3.12", "3.13", "3.14")
_SECONDS_TO_END: Final = 30.0
_SECONDS_BETWEEN_LOOKS: Final = 0.25
_CONTROL: Final = "/run/codegen"
"""Where a container sees what starts its program: `init.py`, what it starts, and where it reports the end."""

_START: Final = f'exec "$@" 3<{_CONTROL}/spec 4>>{_CONTROL}/status 5<&0 </dev/null'
"""`init.py` waits for a byte on the container's standard input, and ends everything when that closes: should this
process be killed, its containers end with it."""

_LARGEST_FILE_ABOVE_CAP: Final = 1 << 20
"""One file may grow a little over the cap of all, so that the program is ended for it rather than told of an error."""

_READ_ONLY: Final = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/pressure", "/proc/sys", "/proc/sysrq-trigger"]
"""The engine's own list and `/proc/pressure`, where a program could set the kernel to work."""

Excess = Literal["seconds", "output", "disk"]


class DockerRuntime:
    """Runs jobs in containers: no network, no root, a read-only root file system, no capabilities, limits.

    Inputs and outputs are bind mounts, so the engine has to see this machine's files: a remote engine does not, and
    Docker Desktop only shows the folders that its file sharing settings name (the home and temporary folders, unless
    that was changed).

    Attributes:
        name: `docker`.
        isolates: True.
        installs_system_packages: True.
    """

    name = "docker"
    isolates = True
    installs_system_packages = True

    async def probe(self) -> Availability:
        """Find out, by running something small, whether containers can be run here; nothing is pulled.

        Containers that a killed process left behind are removed on the way.
        """
        return await asyncio.to_thread(_probe)

    async def python_problem(self, version: str) -> str | None:
        """Why an interpreter of `version` (`major.minor`) can't be had here and what to do; None if it can.

        Where the engine has no base image for it, its registry is asked whether there is one; nothing is pulled.
        """
        return await asyncio.to_thread(_python_problem, version)

    async def prepare(self, lock: Lock) -> str:
        """Build the image of an environment, once however many want it, and verify it where it exists already.

        Args:
            lock: The environment, locked for Linux.

        Returns:
            The image's name.

        Raises:
            EnvironmentBuildError: It can't be built.
        """
        return await docker_images.build(lock)

    async def run(self, job: Job) -> Outcome:
        """Run a job in a container of its own to its end; see `Runtime.run`."""
        try:
            image = await _image_for(job)
            container = _Container(job, image)
            try:
                return await container.run()
            finally:
                await _to_the_end(container.close())
        except (EngineError, EnvironmentBuildError) as error:
            raise SandboxFailedError(f"Docker could not run the job: {error}") from error


async def _image_for(job: Job) -> str:
    arguments: list[Argument] = [*job.argv, *job.env.values()]
    images = {argument.image for argument in arguments if isinstance(argument, Python)}
    if images:
        return await docker_images.combine(images)
    return await asyncio.to_thread(_any_base)


def _any_base() -> str:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    with closing(connect()) as engine:
        for candidate in (version, *_VERSIONS):
            if base := docker_images.find_base(engine, candidate):
                return base
    raise EngineError("it has no base image yet, and the job names no environment. Prepare one first.")


@dataclass(frozen=True)
class _Started:
    """A container that runs.

    Attributes:
        engine: The connection of its control thread.
        staging: Where it writes its outputs.
        stream: Its three standard streams; what it prints comes in frames that name the stream.
        report: Where its `init.py` reports the end of the program.
    """

    engine: APIClient
    staging: Staging
    stream: Any
    report: Path


class _Container:
    """One container, from its creation to its removal.

    The engine's answers are waited for in threads of this container's own: the event loop never blocks, and containers
    that run for long do not use up the threads that others need.
    """

    def __init__(self, job: Job, image: str) -> None:
        self._job = job
        self._image = image
        self._name = f"{LABEL}-{uuid.uuid4().hex}"
        # One thread, so that a removal comes after the creation that was cancelled while it was under way.
        self._control = ThreadPoolExecutor(1, f"{LABEL}-control")
        self._reader = ThreadPoolExecutor(1, f"{LABEL}-reader")
        self._removal, self._cleanup = ExitStack(), ExitStack()
        self._following: asyncio.Future[int] | None = None
        self._stdout, self._stderr = Kept(), Kept()
        self._over = asyncio.Event()

    async def run(self) -> Outcome:
        """Create and start the container, follow it to its end, and judge that."""
        loop = asyncio.get_running_loop()
        started = await self._call(self._start)
        began = time.monotonic()
        following = self._following = loop.run_in_executor(self._reader, self._follow, started.stream, loop)
        excess = await self._watch(following, started.staging)
        if excess is not None:
            await self._call(self._kill, started.engine)
        try:
            status = await asyncio.wait_for(asyncio.shield(following), _SECONDS_TO_END if excess else None)
        except asyncio.TimeoutError:
            raise EngineError(f"the container did not end within {_SECONDS_TO_END:.0f} s of being killed") from None
        seconds = time.monotonic() - began
        report = await self._call(_read_report, started.report)
        out_of_memory = await self._call(self._out_of_memory, started.engine, report, status)
        if not await self._call(self._take_outputs, started.staging):
            excess = excess or "disk"
        return self._judge(excess, report, out_of_memory, seconds)

    async def close(self) -> None:
        """Remove the container, whatever state it is in, and what it needed on the host."""
        try:
            await self._call(self._removal.close)
            if self._following is not None:
                # It reads from what is closed next. Whatever it fails with now has been told already, or cancelled.
                await asyncio.wait({self._following}, timeout=_SECONDS_TO_END)
                if self._following.done() and not self._following.cancelled():
                    self._following.exception()
            await self._call(self._cleanup.close)
        finally:
            self._control.shutdown(wait=False)
            self._reader.shutdown(wait=False)

    async def _call(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._control, functools.partial(function, *arguments))

    # What follows up to `_watch` runs in this container's own threads.

    def _start(self) -> _Started:
        engine = connect()
        self._cleanup.callback(engine.close)
        with engine_errors():
            folder = self._cleanup.enter_context(scratch(home() / "docker"))
            staging = Staging(self._job.outputs)
            self._cleanup.callback(staging.remove)
            user = _user(engine)
            if os.geteuid() == 0:
                os.chown(staging.path, user, user)
            self._removal.callback(self._remove, engine)
            engine.create_container(**self._configuration(engine, user, folder, staging.path))
            # Attached before it starts: nothing is kept by the engine, so what came earlier would be lost.
            streams = dict.fromkeys(("stdin", "stdout", "stderr", "stream"), 1)
            stream = engine.attach_socket(self._name, params=streams)
            self._cleanup.callback(stream.close)
            engine.start(self._name)
            os.write(stream.fileno(), b"g")
        return _Started(engine, staging, stream, folder / "control" / "status")

    def _configuration(self, engine: APIClient, user: int, folder: Path, outputs: Path) -> dict[str, Any]:
        job, limits = self._job, self._job.limits
        for path in job.files:
            if not path.startswith(f"{INPUT_ROOT}/") or ".." in PurePosixPath(path).parts:
                raise EngineError(f"{path} does not lie under {INPUT_ROOT}")
        shown = {path: _readable(source, user, folder) for path, source in job.files.items()}
        control = folder / "control"
        _write_control(control, job)
        return {
            "image": self._image,
            "name": self._name,
            "command": [
                *("sh", "-c", _START, "sh"),
                *("python3", "-I", "-S", f"{_CONTROL}/init.py", "adopt", "3", "4", "5"),
            ],
            "stdin_open": True,
            "entrypoint": [],
            "user": f"{user}:{user}",
            "working_dir": _TEMPORARY,
            "labels": {LABEL: "job", OWNER_LABEL: owner()},
            # The user's proxies would become variables that nobody named, with a password in them perhaps.
            "use_config_proxy": False,
            "host_config": engine.create_host_config(
                mounts=[
                    _bind(outputs, OUTPUT_ROOT, read_only=False),
                    _bind(control, _CONTROL),
                    _bind(control / "status", f"{_CONTROL}/status", read_only=False),
                    *(_bind(source, path) for path, source in sorted(shown.items())),
                ],
                **_confinement(limits, network=job.network),
            )
            | {"ReadonlyPaths": _READ_ONLY},
        }

    def _follow(self, stream: Any, loop: asyncio.AbstractEventLoop) -> int:
        """Read what the program prints until the container has ended; returns its exit status."""
        from docker.utils.socket import STDERR, frames_iter

        total = 0
        with engine_errors():
            for source, part in frames_iter(stream, tty=False):  # type: ignore[no-untyped-call] # so in its stubs
                (self._stderr if source == STDERR else self._stdout).add(part)
                total += len(part)
                if total > self._job.limits.output_bytes:
                    loop.call_soon_threadsafe(self._over.set)
        # The other thread's connection may be in use.
        with closing(connect()) as engine, engine_errors():
            return int(engine.wait(self._name, timeout=None)["StatusCode"])

    def _kill(self, engine: APIClient) -> None:
        # One that has just ended by itself can't be killed.
        with contextlib.suppress(EngineError), engine_errors():
            engine.kill(self._name)

    def _out_of_memory(self, engine: APIClient, report: str, status: int) -> bool:
        if report.startswith("exited 0 "):
            return False
        for _ in range(5):
            with engine_errors():
                state = engine.inspect_container(self._name)["State"]
            if state.get("Error"):
                raise EngineError(str(state["Error"]))
            if state["OOMKilled"]:
                return True
            if not report.startswith(f"exited {int(signal.SIGKILL)} ") and status != 128 + signal.SIGKILL:
                break
            # The engine may learn of it a moment after the container's end.
            time.sleep(0.05)
        return False

    def _take_outputs(self, staging: Staging) -> bool:
        """Move the outputs to their folder; False, without moving any, where they are over the cap."""
        cap = self._job.limits.disk_bytes
        if usage(staging.path, cap) > cap:
            return False
        if os.geteuid() == 0:
            _own(staging.path)
        staging.take_over()
        return True

    def _remove(self, engine: APIClient) -> None:
        # What can't be removed now is found by its label later; what was never created is no trouble.
        with contextlib.suppress(EngineError), engine_errors():
            engine.remove_container(self._name, force=True, v=True)

    async def _watch(self, following: asyncio.Future[int], staging: Staging) -> Excess | None:
        """Wait for the end of the container or for the first limit that it passes and the engine does not watch."""
        over = asyncio.ensure_future(self._over.wait())
        disk = asyncio.ensure_future(self._disk_full(staging))
        waited: set[asyncio.Future[Any]] = {following, over, disk}
        try:
            done, _ = await asyncio.wait(waited, timeout=self._job.limits.seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
            disk.cancel()
        if self._over.is_set():
            return "output"
        if following in done:
            return None
        return "disk" if disk in done else "seconds"

    async def _disk_full(self, staging: Staging) -> None:
        cap = self._job.limits.disk_bytes
        while await asyncio.to_thread(usage, staging.path, cap) <= cap:  # noqa: ASYNC110 # nothing tells when a folder grows
            await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)

    def _judge(self, excess: Excess | None, report: str, out_of_memory: bool, seconds: float) -> Outcome:
        limits, printed = self._job.limits, (self._stdout.text(), self._stderr.text())
        if excess == "seconds":
            raise JobTimedOutError(f"The program ran longer than its limit of {limits.seconds:g} s.", *printed)
        if excess == "output":
            raise OutputTooLargeError(
                f"The program printed more than its limit of {limits.output_bytes / (1 << 20):g} MiB.", *printed
            )
        if excess == "disk":
            raise OutputTooLargeError(
                f"The program wrote more than its limit of {limits.disk_bytes / (1 << 20):g} MiB.", *printed
            )
        if out_of_memory:
            raise JobOutOfMemoryError(
                f"The program used more than its memory limit of {limits.memory_bytes / (1 << 20):.0f} MiB.", *printed
            )
        word, _, rest = report.partition(" ")
        if word == "failed":
            raise SandboxFailedError(f"The program can't be started: {rest}.")
        if word != "exited":
            if report == "":
                raise SandboxFailedError(f"The container could not be set up: {printed[1].strip()[-2000:]}")
            raise JobKilledError("The program was ended from outside.", *printed)
        wait_status, kilobytes = map(int, rest.split())
        if os.WIFSIGNALED(wait_status):
            number = os.WTERMSIG(wait_status)
            raise JobKilledError(f"The program was ended by signal {number} ({signal.Signals(number).name}).", *printed)
        return Outcome(os.WEXITSTATUS(wait_status), *printed, seconds, kilobytes << 10)


def _read_report(path: Path) -> str:
    """The last line that `init.py` wrote; the program may write there too, so little is read and less is believed."""
    with path.open("rb") as file:
        lines = file.read(4096).decode(errors="replace").splitlines()
    if not lines:
        return ""
    return lines[-1] if re.fullmatch(r"exited \d{1,9} \d{1,15}|failed .*", lines[-1]) else "ready"


def _confinement(limits: Limits, *, network: bool) -> dict[str, Any]:
    """The part of a container's settings that keeps the program in."""
    from docker.types import LogConfig, Ulimit

    temporary = min(limits.disk_bytes, limits.memory_bytes // 2)
    largest = limits.disk_bytes + _LARGEST_FILE_ABOVE_CAP
    return {
        "network_mode": "bridge" if network else "none",
        "read_only": True,
        # Temporary files count as memory: half of it, so that filling them is an error that the program sees.
        "tmpfs": {
            _TEMPORARY: f"rw,exec,nosuid,nodev,mode=1777,size={temporary}",
            "/dev/mqueue": "ro,size=4k",  # message queues would be another place to write to
        },
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": limits.processes + 1,  # and ours
        "mem_limit": limits.memory_bytes,
        "memswap_limit": limits.memory_bytes,  # the sum of both: no swap
        "nano_cpus": int(limits.cpus * 1e9),
        "ulimits": [
            Ulimit(name="core", soft=0, hard=0),
            Ulimit(name="fsize", soft=largest, hard=largest),
            Ulimit(name="nofile", soft=4096, hard=4096),
        ],
        "ipc_mode": "private",
        # What is printed is read as it comes; the engine would keep all of it on the host's disk.
        "log_config": LogConfig(type="none"),
    }


def _write_control(control: Path, job: Job) -> None:
    """Write what starts the program; read by another user, in a folder that only this one can enter."""
    control.mkdir()
    argv = [_text(argument) for argument in job.argv]
    if too_long(argv):
        argv, content = through_file(argv, f"{_CONTROL}/launch.py", f"{_CONTROL}/arguments.json")
        (control / "arguments.json").write_bytes(content)
    env = standard_variables(job.limits, _TEMPORARY) | {name: _text(value) for name, value in job.env.items()}
    (control / "spec").write_bytes(Program(argv, env, _TEMPORARY).spec())
    (control / "status").touch()
    for script in ("init.py", "launch.py"):
        shutil.copyfile(GUEST / script, control / script)
    for file in control.iterdir():
        file.chmod(0o644)
    (control / "status").chmod(0o666)
    control.chmod(0o755)


def _text(argument: Argument) -> str:
    if isinstance(argument, Python):
        return f"{argument.prefix}{docker_images.interpreter(argument.image)}"
    if isinstance(argument, At):
        return f"{argument.prefix}{argument.path}"
    return argument


def _bind(source: Path, target: str, *, read_only: bool = True) -> Any:
    from docker.types import Mount

    return Mount(target=target, source=str(source.resolve()), type="bind", read_only=read_only)


def _readable(source: Path, user: int, folder: Path) -> Path:
    """The file, or a copy that the container's user can read where it can't read the original."""
    info = source.stat()
    if user == info.st_uid or user == 0 or info.st_mode & stat.S_IROTH or not stat.S_ISREG(info.st_mode):
        return source
    copy = folder / uuid.uuid4().hex
    shutil.copyfile(source, copy)
    copy.chmod(0o644)
    return copy


def _user(engine: APIClient) -> int:
    """The user that programs run as: this one, so that it can read and delete the outputs, and never root.

    In an engine that runs without root, user 0 of a container is the user that the engine runs as, with no more rights
    than that one; any other is somebody whose files this process could not delete.
    """
    if any("rootless" in option for option in engine.info().get("SecurityOptions") or ()):
        return 0
    return os.geteuid() or _NOBODY


def _own(folder: Path) -> None:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files, ""):
            os.chown(Path(parent, name), os.geteuid(), os.getegid(), follow_symlinks=False)


def _probe() -> Availability:
    try:
        with closing(connect()) as engine, engine_errors():
            info = engine.info()
            if info.get("OSType") != "linux":
                return Availability(False, f"The Docker engine runs {info.get('OSType')} containers; Linux is needed.")
            if any("userns" in option for option in info.get("SecurityOptions") or ()):
                return Availability(
                    False, "The Docker engine maps users to others (userns-remap), so outputs could not be read back."
                )
            remove_leftovers(engine)
            found = {version: docker_images.find_base(engine, version) for version in _VERSIONS}
            bases = [base for base in found.values() if base]
            if bases:
                _try_container(engine, bases[0])
    except EngineError as error:
        return Availability(
            False,
            f"No Docker engine can be used: {error}. Install and start one (on Debian or Ubuntu: "
            "apt-get install docker.io), and let this user use it.",
        )
    version = info.get("ServerVersion", "?")
    if bases:
        return Availability(True, f"Docker engine {version}, base image {', '.join(bases)}")
    public = docker_images.PUBLIC_BASE.format(version="X.Y")
    return Availability(
        True,
        f"Docker engine {version}; it will pull {public} for the first environment. Where it reaches no registry, make "
        "a base with images/build-base.sh.",
    )


def _try_container(engine: APIClient, base: str) -> None:
    """Run nothing, under the same settings as every job; raises where the engine can't do that."""
    container = engine.create_container(
        base,
        ["true"],
        entrypoint=[],
        user=f"{_NOBODY}:{_NOBODY}",
        labels={LABEL: "probe", OWNER_LABEL: owner()},
        use_config_proxy=False,
        host_config=engine.create_host_config(**_confinement(Limits(memory_bytes=64 << 20), network=False)),
    )["Id"]
    try:
        engine.start(container)
        status = engine.wait(container)["StatusCode"]
    finally:
        engine.remove_container(container, force=True, v=True)
    if status:
        raise EngineError(f"a container of {base} that does nothing ended with status {status}")


def _python_problem(version: str) -> str | None:
    if version not in _VERSIONS:
        return f"Python {version} is not supported. Choose one of {', '.join(_VERSIONS)}."
    public = docker_images.PUBLIC_BASE.format(version=version)
    try:
        with closing(connect()) as engine, engine_errors():
            if not docker_images.find_base(engine, version):
                engine.inspect_distribution(public)  # type: ignore[no-untyped-call] # so in its stubs
    except EngineError as error:
        return (
            f"The Docker engine has no image with Python {version} and can't get {public}: {error} Run "
            f"'docker pull {public}' where there is a network, or choose the version of an image that is there."
        )
    return None


async def _to_the_end(work: Any) -> None:
    """Wait for work that has to be done also where the caller is cancelled, meanwhile or before."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
