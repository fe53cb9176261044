"""Docker images of environments: one an environment, named by the lock's key, and one for each set used together.

Wheels are fetched and unpacked by uv on the host, which has the index settings and a cache; the engine only copies
them. So a build needs no network, unless there are apt packages or the base image is still to be pulled.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import EnvironmentBuildError
from flyteplugins.codegen.core.files import file_lock
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.uv import run_uv
from flyteplugins.codegen.sandbox.docker_engine import (
    LABEL,
    EngineError,
    NoSuchImageError,
    connect,
    engine_errors,
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
_APT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}

_COMPILE: Final = (
    "import compileall, py_compile, sys; "
    "compileall.compile_dir(sys.argv[1], quiet=2, workers=0, "
    "invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)"
)
"""A container's root is read-only: what is not compiled in the image is compiled again by every run."""


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
        with tempfile.TemporaryDirectory(dir=home() / "docker", prefix=".build-") as folder:
            await _install(lock, Path(folder))
            await asyncio.to_thread(_build_environment, lock, image, Path(folder) / "site")
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
    async with file_lock(home() / "docker" / f"{key}.lock"):
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
        base = find_base(engine, lock.python)
        if base is not None:
            _check_machine(engine, base, lock)
        root = f"{_ROOT}/{lock.key}"
        packages = f"{root}/lib/python{lock.python}/site-packages"
        lines = [
            f"FROM {base or PUBLIC_BASE.format(version=lock.python)}",
            *_apt(lock.system_packages),
            # A real virtual environment: `sys.executable` starts the same environment again.
            _run(f"python{lock.python}", "-m", "venv", "--without-pip", root),
            f"COPY site {packages}/",
            _run(f"{root}/bin/python", "-c", _COMPILE, packages),
        ]
        labels = {LABEL: "environment", _LAYOUT_LABEL: _LAYOUT, _LOCK_LABEL: lock.model_dump_json()}
        _build(engine, image, lines, labels, site=site, network=base is None or bool(lock.system_packages))


def _build_combined(parts: list[str], image: str) -> None:
    with _connected() as engine:
        locks = {part: _lock_of(engine, part) for part in parts}
        if len({lock.python for lock in locks.values()}) > 1:
            versions = ", ".join(sorted({lock.python for lock in locks.values()}))
            raise EnvironmentBuildError(
                f"One job can't use environments of several Python versions ({versions}) with Docker. Build them for "
                "one version."
            )
        first = max(parts, key=lambda part: len(locks[part].system_packages))
        missing = {name for lock in locks.values() for name in lock.system_packages} - set(locks[first].system_packages)
        folders = [(part, interpreter(part).removesuffix("/bin/python")) for part in parts if part != first]
        lines = [
            f"FROM {first}",
            *_apt(sorted(missing)),
            *(f"COPY --from={part} {folder} {folder}" for part, folder in folders),
        ]
        labels = {LABEL: "combination", _LAYOUT_LABEL: _LAYOUT}
        _build(engine, image, lines, labels, site=None, network=bool(missing))


def _build(
    engine: APIClient, image: str, lines: list[str], labels: dict[str, str], *, site: Path | None, network: bool
) -> None:
    """Send the build to the engine and wait for its end."""
    with tempfile.TemporaryFile(dir=home() / "docker") as context:
        _write_context(context, lines, site)
        context.seek(0)
        said: list[str] = []
        try:
            with engine_errors():
                for event in engine.build(
                    fileobj=context,
                    custom_context=True,
                    tag=image,
                    labels=labels,
                    rm=True,
                    forcerm=True,
                    decode=True,
                    network_mode=None if network else "none",
                    # The user's proxy may hold a password; only what needs the network sees it.
                    use_config_proxy=network,
                ):
                    if "error" in event:
                        raise _build_error(str(event["error"]), "".join(said))
                    said.append(str(event.get("stream", "")))
        except EngineError as error:
            raise _build_error(str(error), "".join(said)) from error


def _build_error(error: str, said: str) -> EnvironmentBuildError:
    if unknown := tuple(re.findall(r"E: Unable to locate package (\S+)", said)):
        return EnvironmentBuildError(f"apt has no package called {', '.join(unknown)}.", unknown)
    if re.search(r"pull access denied|manifest unknown|dial tcp|no such host|i/o timeout|registry", error):
        return EnvironmentBuildError(
            f"The Docker engine could not get the base image: {error} Check its network, run 'docker pull' for the "
            "image by hand, or make a local one with images/build-base.sh."
        )
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said).strip()
    return EnvironmentBuildError(f"The Docker engine could not build the image: {error} {plain[-2000:]}")


def _write_context(context: IO[bytes], lines: list[str], site: Path | None) -> None:
    def as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
        # The program in the container is neither root nor this user, and has to read all of it.
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        return member

    with tarfile.open(fileobj=context, mode="w") as archive:
        dockerfile = ("\n".join(lines) + "\n").encode()
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        archive.addfile(entry, io.BytesIO(dockerfile))
        if site is not None:
            archive.add(site, "site", filter=as_root)


def _apt(names: Iterable[str]) -> list[str]:
    wanted = list(names)
    if not wanted:
        return []
    script = (
        "export DEBIAN_FRONTEND=noninteractive && apt-get update && "
        'apt-get install -y --no-install-recommends -- "$@" && rm -rf /var/lib/apt/lists/*'
    )
    return [_run("sh", "-c", script, "apt", *wanted)]


def _run(*argv: str) -> str:
    return f"RUN {json.dumps(argv)}"


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
        with closing(connect()) as engine:
            yield engine
    except EngineError as error:
        raise EnvironmentBuildError(f"The Docker engine does not answer: {error}. Start it, then try again.") from error
