"""Docker images of environments: one an environment, named by the lock's key, and one for each set used together.

Wheels are fetched and unpacked by uv on the host, which has the index settings and a cache; the engine only takes them
in. So a build needs no network, unless there are apt packages or the base image is still to be pulled. Images are
committed containers rather than built from a Dockerfile: the engine's builder copies everything twice.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shlex
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, Final

from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import EnvironmentBuildError
from flyteplugins.codegen.core.files import file_lock
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.scratch import scratch_in
from flyteplugins.codegen.core.uv import run_uv
from flyteplugins.codegen.sandbox.docker_engine import (
    LABEL,
    OWNER_LABEL,
    EngineError,
    NoSuchImageError,
    connect,
    engine_errors,
    owner,
)

if TYPE_CHECKING:
    from docker import APIClient

LOCAL_BASE: Final = "flyteplugins-codegen-base:py{version}"
"""A base that somebody made on this machine, such as with `images/build-base.sh`; preferred where it is there."""

PUBLIC_BASE: Final = "python:{version}-slim"
"""The base that the engine pulls where there is no local one."""

_REPOSITORY: Final = "flyteplugins-codegen"
_ROOT: Final = "/opt/codegen"
_LAYOUT: Final = "1"
"""Counted up when images are built in another way, so that older ones are not taken for current."""

_LAYOUT_LABEL: Final = f"{LABEL}.layout"
_LOCK_LABEL: Final = f"{LABEL}.lock"
_SECONDS_TO_BUILD: Final = 1800
_APT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}

_COMPILE: Final = (
    "import compileall, py_compile, re, sys; "
    "compileall.compile_dir(sys.argv[1], quiet=2, workers=0, rx=re.compile('/tests/'), "
    "invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)"
)
"""A container's root is read-only: what is not compiled in the image is compiled again by every run. The tests that
libraries bring along are half of their code, and nothing imports them."""


@dataclass(frozen=True)
class _Content:
    """A tar archive and the folder of a container where it is unpacked."""

    place: str
    archive: IO[bytes] | Iterable[bytes]


def interpreter(image: str) -> str:
    """The path of an image's interpreter, also in an image that combines several.

    Args:
        image: What `build` returned.

    Returns:
        Its absolute path.
    """
    return f"{_ROOT}/{image.rpartition(':')[2]}/bin/python"


def find_base(engine: APIClient, version: str) -> str | None:
    """The base image for a Python version that the engine has already; None if it has none."""
    for name in (LOCAL_BASE, PUBLIC_BASE):
        if _inspect(engine, name.format(version=version)):
            return name.format(version=version)
    return None


async def build(lock: Lock) -> str:
    """Build the image of an environment; where the engine has it, only ask whether it does.

    Args:
        lock: The environment.

    Returns:
        The image's name.

    Raises:
        EnvironmentBuildError: It can't be built.
    """
    image = f"{_REPOSITORY}:{lock.key}"
    if await asyncio.to_thread(_is_there, image):
        return image
    _check(lock)
    async with file_lock(home() / "docker" / f"{lock.key}.lock"):
        if await asyncio.to_thread(_is_there, image):
            return image
        async with scratch_in(home() / "docker") as folder:
            await _install(lock, folder)
            await asyncio.to_thread(_build_environment, lock, image, folder / "site")
    return image


async def combine(images: Iterable[str]) -> str:
    """One image that has the environments of several.

    Args:
        images: What `build` returned; at least one.

    Returns:
        The image's name.

    Raises:
        EnvironmentBuildError: It can't be built, or one of them is not there.
    """
    parts = sorted(set(images))
    if len(parts) == 1:
        return parts[0]
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
    image = f"{_REPOSITORY}:{key}"
    if await asyncio.to_thread(_is_there, image):
        return image
    async with file_lock(home() / "docker" / f"{key}.lock"), scratch_in(home() / "docker"):
        if not await asyncio.to_thread(_is_there, image):
            await asyncio.to_thread(_build_combined, parts, image)
    return image


def _check(lock: Lock) -> None:
    if "linux" not in lock.platform:
        raise EnvironmentBuildError(
            f"The environment is locked for {lock.platform}, and Docker's containers run Linux. Resolve it for "
            "'x86_64-unknown-linux-gnu' or 'aarch64-unknown-linux-gnu'."
        )
    for name in lock.system_packages:
        # A lock may come from elsewhere, as in a saved result, and this name goes onto a command line.
        if not _APT_NAME.fullmatch(name):
            raise EnvironmentBuildError(f"{name!r} is not the name of an apt package.", (name,))


async def _install(lock: Lock, folder: Path) -> None:
    """Unpack the wheels into `folder/site`, for the image's platform, which need not be this machine's."""
    site = folder / "site"
    await asyncio.to_thread(site.mkdir)
    if not lock.requirements.strip():
        return
    requirements = folder / "requirements.txt"
    await asyncio.to_thread(requirements.write_text, lock.requirements)
    result = await run_uv(
        [
            "pip",
            "install",
            "--python",
            sys.executable,
            "--target",
            str(site),
            "--python-version",
            lock.python,
            "--python-platform",
            lock.platform,
            "--only-binary",
            ":all:",
            "--no-deps",
            "--require-hashes",
            "--requirements",
            str(requirements),
        ]
    )
    if result.exit_code:
        raise EnvironmentBuildError(
            "The packages could not be downloaded for the image. Check the network and the index settings "
            f"(UV_DEFAULT_INDEX, proxies, certificates). uv said: {result.stderr.strip()[-2000:]}"
        )


def _build_environment(lock: Lock, image: str, site: Path) -> None:
    with _connected() as engine:
        base = find_base(engine, lock.python) or _pull(engine, lock.python)
        _check_machine(engine, base, lock)
        root = f"{_ROOT}/{lock.key}"
        packages = f"{root}/lib/python{lock.python}/site-packages"
        python = shlex.quote(f"python{lock.python}")
        # A real virtual environment: `sys.executable` starts the same environment again. The base's own interpreter
        # compiles: the new one would run what the packages put into their `.pth` files.
        commands = [
            *_apt(lock.system_packages),
            f"{python} -m venv --without-pip {root}",
            f"{python} -I -c {shlex.quote(_COMPILE)} {packages}",
        ]
        with tempfile.TemporaryFile(dir=home() / "docker") as archive:
            _write_archive(archive, site, packages.lstrip("/"))
            archive.seek(0)
            labels = {LABEL: "environment", _LAYOUT_LABEL: _LAYOUT, _LOCK_LABEL: lock.model_dump_json()}
            contents = [_Content("/", archive)]
            _commit(engine, base, contents, commands, image, labels, network=bool(lock.system_packages))


def _build_combined(parts: list[str], image: str) -> None:
    with _connected() as engine:
        locks = {part: _lock_of(engine, part) for part in parts}
        if len({lock.python for lock in locks.values()}) > 1:
            versions = ", ".join(sorted({lock.python for lock in locks.values()}))
            raise EnvironmentBuildError(
                f"One job can't use environments of several Python versions ({versions}) with Docker. Build them for "
                "one version."
            )
        # The others are copied into the largest.
        first = max(parts, key=lambda part: int((_inspect(engine, part) or {}).get("Size", 0)))
        missing = {name for lock in locks.values() for name in lock.system_packages} - set(locks[first].system_packages)
        labels = {LABEL: "combination", _LAYOUT_LABEL: _LAYOUT}
        with ExitStack() as sources:
            others = [part for part in parts if part != first]
            contents = [_Content(_ROOT, sources.enter_context(_folder_of(engine, part))) for part in others]
            _commit(engine, first, contents, _apt(sorted(missing)), image, labels, network=bool(missing))


@contextmanager
def _folder_of(engine: APIClient, image: str) -> Iterator[Iterable[bytes]]:
    """The environment of an image, as a tar archive of the folder below `_ROOT`."""
    with engine_errors():
        labels = {LABEL: "build", OWNER_LABEL: owner()}
        container = engine.create_container(image, ["true"], labels=labels, use_config_proxy=False)["Id"]
        try:
            yield engine.get_archive(container, interpreter(image).removesuffix("/bin/python"))[0]
        finally:
            _remove(engine, container)


def _commit(
    engine: APIClient,
    base: str,
    contents: Iterable[_Content],
    commands: list[str],
    image: str,
    labels: dict[str, str],
    *,
    network: bool,
) -> None:
    """Put archives into a container of `base`, run commands in it, and make an image of what comes out."""
    with engine_errors():
        # No name: somebody with another state folder may be building the same on this engine.
        container = engine.create_container(
            base,
            ["sleep", "infinity"],
            entrypoint=[],
            user="0:0",
            labels={**labels, OWNER_LABEL: owner()},
            use_config_proxy=False,
            host_config=engine.create_host_config(
                network_mode="bridge" if network else "none", security_opt=["no-new-privileges"], init=True
            ),
        )["Id"]
        try:
            for content in contents:
                engine.put_archive(container, content.place, content.archive)
            engine.start(container)
            script = ["sh", "-c", " && ".join(["true", *commands])]
            # What is set for one command is not kept in the image: a proxy's address may hold a password.
            execution = engine.exec_create(container, script, environment=_proxies() if network else {})["Id"]
            said = engine.exec_start(execution)
            if status := engine.exec_inspect(execution)["ExitCode"]:
                raise _command_error(base, status, said.decode(errors="replace"))
            engine.kill(container)
            repository, _, tag = image.rpartition(":")
            engine.commit(container, repository, tag, changes=['CMD ["python3"]', f'LABEL {OWNER_LABEL}=""'])
        finally:
            _remove(engine, container)


def _remove(engine: APIClient, container: str) -> None:
    with suppress(EngineError), engine_errors():
        engine.remove_container(container, force=True, v=True)


def _proxies() -> dict[str, str]:
    """The proxies that the user's Docker settings give to containers."""
    from docker.utils.config import load_general_config
    from docker.utils.proxy import ProxyConfig

    settings = load_general_config().get("proxies", {}).get("default", {})
    return {name: str(value) for name, value in ProxyConfig.from_dict(settings).get_environment().items()}


def _command_error(base: str, status: int, said: str) -> EnvironmentBuildError:
    if unknown := tuple(re.findall(r"E: Unable to locate package (\S+)", said)):
        return EnvironmentBuildError(f"apt has no package called {', '.join(unknown)}.", unknown)
    return EnvironmentBuildError(
        f"The environment could not be set up on {base} (exit status {status}). It said: {said.strip()[-2000:]}"
    )


def _pull(engine: APIClient, version: str) -> str:
    name, tag = PUBLIC_BASE.format(version=version).split(":")
    try:
        with engine_errors():
            engine.pull(name, tag)
    except EngineError as error:
        raise EnvironmentBuildError(
            f"The Docker engine could not get its base image {name}:{tag}: {error} Check its network, or make a local "
            "base with images/build-base.sh."
        ) from error
    return f"{name}:{tag}"


def _write_archive(archive: IO[bytes], site: Path, place: str) -> None:
    """Write a tar archive that puts the content of `site` at `place`, which is relative to the root."""

    def as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
        # The program in the container is neither root nor this user, and has to read all of it.
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        return member

    with tarfile.open(fileobj=archive, mode="w") as written:
        for parent in reversed(PurePosixPath(place).parents[:-1]):
            entry = tarfile.TarInfo(str(parent))
            entry.type = tarfile.DIRTYPE
            written.addfile(as_root(entry))
        written.add(site, place, filter=as_root)


def _apt(names: Iterable[str]) -> list[str]:
    wanted = " ".join(shlex.quote(name) for name in names)
    if not wanted:
        return []
    return [
        "export DEBIAN_FRONTEND=noninteractive",
        "apt-get update",
        f"apt-get install -y --no-install-recommends -- {wanted}",
        "rm -rf /var/lib/apt/lists/*",
    ]


def _is_there(image: str) -> bool:
    with _connected() as engine:
        found = _inspect(engine, image)
    return found is not None and _labels(found).get(_LAYOUT_LABEL) == _LAYOUT


def _inspect(engine: APIClient, image: str) -> dict[str, Any] | None:
    try:
        with engine_errors():
            found: dict[str, Any] = engine.inspect_image(image)  # type: ignore[no-untyped-call] # so in its stubs
            return found
    except NoSuchImageError:
        return None


def _lock_of(engine: APIClient, image: str) -> Lock:
    found = _inspect(engine, image)
    if found is None:
        raise EnvironmentBuildError(
            f"The Docker engine no longer has the image {image}. Prepare the environment again."
        )
    return Lock.model_validate_json(_labels(found)[_LOCK_LABEL])


def _labels(found: dict[str, Any]) -> dict[str, str]:
    return found["Config"].get("Labels") or {}


def _check_machine(engine: APIClient, base: str, lock: Lock) -> None:
    found = _inspect(engine, base) or {}
    machine = _MACHINES.get(found.get("Architecture", ""), found.get("Architecture", ""))
    if machine and not lock.platform.startswith(machine):
        raise EnvironmentBuildError(
            f"The environment is locked for {lock.platform}, and the Docker engine's image {base} is for {machine}. "
            f"Resolve it for '{machine}-unknown-linux-gnu'."
        )


@contextmanager
def _connected() -> Iterator[APIClient]:
    """A connection for the length of a block; an engine that fails is a failed build."""
    try:
        # Taking in a large environment takes the engine a while.
        with closing(connect(_SECONDS_TO_BUILD)) as engine:
            yield engine
    except EngineError as error:
        raise EnvironmentBuildError(f"The Docker engine does not answer: {error}. Start it, then try again.") from error
