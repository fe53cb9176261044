"""From a spec to a lock, through uv; each spec is resolved once."""

from __future__ import annotations

import asyncio
import platform as host
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from flyteplugins.codegen.core.commands import Finished
from flyteplugins.codegen.core.environment import EnvironmentSpec, Lock
from flyteplugins.codegen.core.errors import EnvironmentBuildError
from flyteplugins.codegen.core.files import file_lock, storing, write_atomically
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.uv import run_uv
from flyteplugins.codegen.packages.errors import (
    InvalidRequirementError,
    NoWheelError,
    PackageConflictError,
    PackageError,
    PackageNotFoundError,
)
from flyteplugins.codegen.packages.spec import read_requirement


def linux_platform() -> str:
    """The platform of a Linux container on this machine's kind of processor, as uv names it."""
    return f"{_processor()}-unknown-linux-gnu"


def default_platform() -> str:
    """The platform of this machine, as uv names it, such as `x86_64-unknown-linux-gnu`."""
    if sys.platform == "darwin":
        return f"{_processor()}-apple-darwin"
    if sys.platform == "win32":
        return f"{_processor()}-pc-windows-msvc"
    # Alpine and its kin have another C library, which other wheels are made for.
    return f"{_processor()}-unknown-linux-{'gnu' if host.libc_ver()[0] == 'glibc' else 'musl'}"


async def resolve(spec: EnvironmentSpec, *, platform: str | None = None, guessed: Iterable[str] = ()) -> Lock:
    """Resolve a spec to exact distributions with hashes, wheels only.

    The lock is remembered under `home()/locks`: the same spec is never resolved twice, and needs no network the
    second time.

    Args:
        spec: What is wanted.
        platform: What it is for, as uv names it; this machine if None. For Docker: `linux_platform()`.
        guessed: Those of the distributions whose names were only guessed from imports; an error says so.

    Returns:
        The lock.

    Raises:
        PackageError: What was asked for can't be had; the subclass says why, `packages` which.
        EnvironmentBuildError: The index or this machine failed.
        StorageFailedError: There is no room for the lock.
    """
    target = platform or default_platform()
    place = home() / "locks" / f"{spec.key}-{target}.json"
    if lock := await asyncio.to_thread(_remembered, place):
        return lock
    async with file_lock(place.with_suffix(".lock")):
        if lock := await asyncio.to_thread(_remembered, place):
            return lock
        lock = Lock(
            python=spec.python,
            platform=target,
            requirements=await _compile(spec, target, frozenset(guessed)) if spec.packages else "",
            system_packages=spec.system_packages,
        )
        with storing(place.parent):
            await asyncio.to_thread(write_atomically, place, lock.model_dump_json().encode())
        return lock


def _remembered(place: Path) -> Lock | None:
    try:
        return Lock.model_validate_json(place.read_bytes())
    except (FileNotFoundError, ValidationError):
        # One that can't be read, as after a full disk, is made anew.
        return None


async def _compile(spec: EnvironmentSpec, platform: str, guessed: frozenset[str]) -> str:
    result = await run_uv(
        [
            "pip",
            "compile",
            "--python",
            sys.executable,
            "--python-version",
            spec.python,
            "--python-platform",
            platform,
            # Building a source distribution runs its code on this machine, outside any sandbox.
            "--only-binary",
            ":all:",
            "--generate-hashes",
            "--no-header",
            "--no-annotate",
            "--no-emit-index-url",
            "-",
        ],
        stdin="\n".join(spec.packages) + "\n",
    )
    if result.exit_code:
        raise _failure(spec, platform, result, guessed)
    return result.stdout


def _failure(spec: EnvironmentSpec, platform: str, result: Finished, guessed: frozenset[str]) -> EnvironmentBuildError:
    """The error for a resolution that uv gave up.

    uv has no machine-readable form of it, so its sentences decide. What matches none of them is taken for a failure of
    the infrastructure: that never blames the model for a machine's fault.
    """
    said = " ".join(line.strip() for line in result.stderr.splitlines() if not line.startswith("warning:")).strip()
    said = said.removeprefix("error: ")
    named = _named(spec, said)
    about, target = ", ".join(named), f"Python {spec.python} on {platform}"
    error: EnvironmentBuildError
    if missing := tuple(dict.fromkeys(re.findall(r"(\S+) was not found in the package registry", said))):
        error = PackageNotFoundError(
            f"No distribution is called {', '.join(missing)}. Use the name under which the package index has it, or do "
            f"without it.{_guess_note(missing, guessed)}",
            missing,
        )
    elif "Couldn't parse requirement" in said:
        error = InvalidRequirementError(f"A requirement can't be read: {said}", named)
    elif "No solution found" not in said or "network was disabled" in said:
        error = EnvironmentBuildError(
            f"The packages {', '.join(spec.packages)} could not be looked up. Check the network and the index "
            f"settings (UV_DEFAULT_INDEX, proxies, certificates). uv said: {said}"
        )
    elif "missing an upload date" in said:
        error = EnvironmentBuildError(
            "The package index gives no upload dates, so UV_EXCLUDE_NEWER leaves nothing to choose from. Unset it, or "
            f"use another index. uv said: {said}"
        )
    elif "no usable wheels" in said or "no wheels with a matching" in said:
        error = NoWheelError(
            f"{about}: no wheel for {target}, and nothing is built from source. Choose another version or another "
            f"package.{_guess_note(named, guessed)} uv said: {said}",
            named,
        )
    elif "there is no version of" in said:
        error = PackageNotFoundError(f"{about}: there is no such version. uv said: {said}", named)
    else:
        error = PackageConflictError(f"{about} can't be installed together for {target}. uv said: {said}", named)
    return error


def _named(spec: EnvironmentSpec, said: str) -> tuple[str, ...]:
    """The distributions of the spec that a message names; all of them if it names none."""
    names = tuple(dict.fromkeys(_name(text) for text in spec.packages))
    return tuple(name for name in names if re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", said)) or names


def _name(text: str) -> str:
    from packaging.utils import canonicalize_name

    try:
        return canonicalize_name(read_requirement(text).name)
    except PackageError:
        return text


def _guess_note(names: tuple[str, ...], guessed: frozenset[str]) -> str:
    guesses = [name for name in names if name in guessed]
    if not guesses:
        return ""
    return f" Guessed from the imports, as no distribution was named for them: {', '.join(guesses)}."


def _processor() -> str:
    machine = host.machine().lower()
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
