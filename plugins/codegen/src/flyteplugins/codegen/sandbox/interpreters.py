"""The Python interpreters of this machine, and what of them a program has to see."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from flyteplugins.codegen.core.errors import EnvironmentBuildError

_SECONDS_TO_ANSWER = 30.0


def host_interpreter() -> Path:
    """The interpreter that runs this program, outside any virtual environment."""
    return Path(sys.executable).resolve()


async def find_interpreter(version: str) -> Path | None:
    """Find an installed interpreter; nothing is downloaded.

    Args:
        version: `major.minor`, such as `3.12`.

    Returns:
        Its real path, or None.
    """
    host = host_interpreter()
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return host
    find = ["python", "find", "--system", "--no-python-downloads", "--no-project", version]
    code, stdout, _ = await run_tool([uv_binary(), *find])
    found = stdout.strip()
    return await asyncio.to_thread(Path(found).resolve) if code == 0 and found else None


async def python_problem(version: str) -> str | None:
    """Why there is no interpreter of `version` (`major.minor`) and what to do; None if there is."""
    if await find_interpreter(version):
        return None
    return (
        f"There is no Python {version} on this machine. Install it with `uv python install {version}`, or leave "
        f"python_version out for {sys.version_info.major}.{sys.version_info.minor}."
    )


def uv_binary() -> str:
    """The uv that the package `uv` brought along.

    Raises:
        EnvironmentBuildError: It did not.
    """
    from uv import find_uv_bin

    try:
        return find_uv_bin()
    except FileNotFoundError as error:
        raise EnvironmentBuildError(f"The package uv has no program: {error}. Install it again.") from error


async def run_tool(argv: list[str]) -> tuple[int, str, str]:
    """Run a trusted program of ours; a cancelled call ends it.

    Returns:
        Exit status, standard output and standard error.
    """
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        stdout, stderr = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        await process.wait()
        raise
    return process.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace")


def visible_parts(prefix: Path) -> list[Path]:
    """What of an interpreter's prefix a sandbox has to show.

    Args:
        prefix: `sys.base_prefix` of the interpreter.

    Returns:
        The prefix itself where it is a folder for this interpreter alone; only the interpreter's own files where
        much else lives there too, such as `~/.local`.
    """
    shared = [Path("/"), *Path.home().parents, Path.home(), Path.home() / ".local"]
    if prefix not in shared:
        return [prefix]
    patterns = ("bin/python3*", "lib/python3.*", "lib/libpython3*")
    return [path for pattern in patterns for path in prefix.glob(pattern)]
