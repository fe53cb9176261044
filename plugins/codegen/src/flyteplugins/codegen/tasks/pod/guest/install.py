"""What a container of a ready image runs first: installs the locked packages, then becomes the entry.

Standard library only; the text of this file is an argument of the container's command, and so is the lock, packed. The
arguments of the entry follow:

    python -c INSTALL LOCK SETTINGS -c ENTRY ...

The packages come from the index that the image's own settings for uv or pip name, or from a folder of wheels and
nowhere else. Whatever they come from, only files with the hashes of the lock are installed, and none is built. Where
`FLYTEPLUGINS_CODEGEN_HOME` names a folder that can be written, such as a volume of the node, wheels are kept there for
the next container. It is wheels that are kept, and no environments: generated code may find a way to write there, and
a wheel is compared with its hash each time.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Sequence

FAILED = 125
"""The exit status where the code could not be started, as of the entry."""

MESSAGE = pathlib.Path("/dev/termination-log")
"""What Kubernetes shows as the reason of a container's end; 4,096 bytes of it."""

CHECKED = ("--quiet", "--require-hashes", "--only-binary", ":all:", "--no-deps")


class NotInstalledError(Exception):
    """The packages can't be had."""


def main() -> None:
    """Install, and become the entry."""
    packed, settings, *entry = sys.argv[1:]
    wanted = json.loads(settings)
    try:
        python = install(zlib.decompress(base64.b64decode(packed)).decode(), wanted["python"], wanted["wheels"])
    except (NotInstalledError, OSError) as error:
        told = f"The packages of the code could not be installed: {error}"
        print(told, file=sys.stderr, flush=True)  # noqa: T201 # a container's log
        if MESSAGE.is_file():
            with contextlib.suppress(OSError):
                MESSAGE.write_bytes(told.encode()[:4096])
        sys.exit(FAILED)
    os.execv(python, [python, *entry])  # noqa: S606 # no shell is wanted


def install(requirements: str, version: str, wheels: str | None) -> str:
    """Make an environment with the locked packages; its interpreter."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if here != version:
        raise NotInstalledError(f"the image has Python {here}, and they are locked for {version}")
    os.umask(0o022)  # the code runs as another user
    folder = pathlib.Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    lock, environment = folder / "requirements.txt", folder / "environment"
    lock.write_text(requirements, encoding="utf-8")
    run([sys.executable, "-m", "venv", "--without-pip", str(environment)])
    python = str(environment / "bin" / "python")
    command = [*installer(python), *CHECKED, "-r", str(lock)]
    if wheels:
        run([*command, "--no-index", "--find-links", wheels])
    elif cache := wheel_cache():
        from_cache(command, lock, cache)
    else:
        run(command)
    return python


def installer(python: str) -> list[str]:
    """The command that installs into an environment: uv's where there is one, else pip's."""
    if uv := shutil.which("uv"):
        os.environ.setdefault("UV_LINK_MODE", "copy")
        return [uv, "pip", "install", "--python", python]
    if pip := find_pip():
        return [*pip, "--python", python, "install"]
    raise NotInstalledError("the image has neither uv nor pip")


def find_pip() -> list[str] | None:
    """The command of pip; an environment that the image runs in may have none, and its base one."""
    for python in dict.fromkeys((sys.executable, str(getattr(sys, "_base_executable", sys.executable)))):
        command = [python, "-m", "pip", "--disable-pip-version-check", "--no-input"]
        with contextlib.suppress(NotInstalledError):
            run([*command, "--version"])
            return command
    return None


def wheel_cache() -> pathlib.Path | None:
    """The folder where wheels are kept for other containers; None where there is none."""
    home = os.environ.get("FLYTEPLUGINS_CODEGEN_HOME")
    if not home:
        return None
    folder = pathlib.Path(home) / "wheels"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder if os.access(folder, os.R_OK | os.W_OK | os.X_OK) else None


def from_cache(command: Sequence[str], lock: pathlib.Path, cache: pathlib.Path) -> None:
    """Install from the wheels that are kept; fetch them first where one is missing."""
    kept = [*command, "--no-index", "--find-links", str(cache)]
    with contextlib.suppress(NotInstalledError):
        run(kept)
        return
    pip = find_pip()
    if pip is None:  # uv does not download
        run(command)
        return
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        run([*pip, "download", *CHECKED, "-r", str(lock), "--dest", folder])
        for wheel in pathlib.Path(folder).iterdir():
            wheel.replace(cache / wheel.name)
    run(kept)


def run(command: Sequence[str]) -> None:
    """Run a command; what it printed is the error where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 # a command of ours
    if done.returncode:
        raise NotInstalledError((done.stderr or done.stdout).strip()[-3000:])


if __name__ == "__main__":
    main()
