"""The Python interpreters of this machine, and what of them a program has to see."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from flyteplugins.codegen.core.commands import Finished, run_command
from flyteplugins.codegen.core.uv import run_uv


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
    found = await run_uv(["python", "find", "--system", "--no-python-downloads", "--no-project", version])
    path = found.stdout.strip()
    if found.exit_code == 0 and path:
        return await asyncio.to_thread(Path(path).resolve)
    return await asyncio.to_thread(_pyenv_interpreter, version)


def _pyenv_interpreter(version: str) -> Path | None:
    # uv looks at pyenv's shims alone, which answer only for the version that is switched on.
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return next((path.resolve() for path in sorted(root.glob(f"versions/{version}.*/bin/python{version}"))), None)


async def python_problem(version: str) -> str | None:
    """Why there is no interpreter of `version` (`major.minor`) and what to do; None if there is."""
    if await find_interpreter(version):
        return None
    return (
        f"There is no Python {version} on this machine. Install it with `uv python install {version}`, or leave "
        f"python_version out for {sys.version_info.major}.{sys.version_info.minor}."
    )


async def run_python(interpreter: Path, *arguments: str) -> Finished:
    """Run an interpreter with code of ours, without anything that is installed for it; a cancelled call ends it.

    Returns:
        Exit status and what it printed.
    """
    return await run_command([str(interpreter), "-I", "-S", *arguments])


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
