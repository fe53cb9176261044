"""Whose fault a failure is, where that needs no judgement."""

from __future__ import annotations

import re
from typing import Final

from flyteplugins.codegen.checks.text import last_lines, signature
from flyteplugins.codegen.core.errors import JobError, JobOutOfMemoryError, JobTimedOutError, OutputTooLargeError
from flyteplugins.codegen.core.verdict import Failure, Stage
from flyteplugins.codegen.packages.distributions import detect_packages
from flyteplugins.codegen.sandbox.contract import Limits

_MISSING_MODULE: Final = (
    re.compile(r"^ModuleNotFoundError: No module named '([\w.]+)'", re.MULTILINE),
    re.compile(r"^ImportError: Missing optional dependency '([\w.-]+)'", re.MULTILINE),
    re.compile(r"^ImportError: Unable to find a usable engine; tried using: '(\w+)'", re.MULTILINE),
)
_MISSING_LIBRARY: Final = re.compile(r"^(?:ImportError|OSError): (\S+\.so\S*): cannot open shared object", re.MULTILINE)


def missing_module(stderr: str) -> str | None:
    """The top-level module whose absence ended a program, by its last words; None if it ended otherwise."""
    for pattern in _MISSING_MODULE:
        if found := pattern.findall(stderr):
            return str(found[-1]).partition(".")[0]
    return None


def distributions_of(module: str) -> tuple[str, ...]:
    """The distributions that bring a module; empty if the name can't be one of a module."""
    return detect_packages(f"import {module}") if module.isidentifier() else ()


def environment_failure(stage: Stage, stderr: str, what: str) -> Failure | None:
    """The failure of a program that lacked a module or a library.

    Args:
        stage: Where it ran.
        stderr: What it printed as errors.
        what: What ran, as the subject of a sentence.

    Returns:
        The failure; None if nothing was lacking.
    """
    if module := missing_module(stderr):
        return Failure(
            stage=stage,
            message=f"{what} needs the module `{module}`, which its environment lacks.\n{last_lines(stderr)}",
            signature=signature(stage, "module", module),
            error_type="environment",
            packages=distributions_of(module),
        )
    if library := _MISSING_LIBRARY.search(stderr):
        return Failure(
            stage=stage,
            message=(
                f"{what} needs the shared library `{library[1]}`, which its environment lacks. It comes with a Debian "
                f"package: add that one, or use a package that needs none.\n{last_lines(stderr)}"
            ),
            signature=signature(stage, "library", library[1]),
            error_type="environment",
        )
    return None


def limit_failure(stage: Stage, error: JobError, what: str, limits: Limits) -> Failure:
    """The failure of a program that did not exit by itself.

    Args:
        stage: Where it ran.
        error: How it ended.
        what: What ran, as the subject of a sentence.
        limits: What it could use.

    Returns:
        The failure, at the code's door.
    """
    final = isinstance(error, (JobTimedOutError, JobOutOfMemoryError))
    if isinstance(error, JobTimedOutError):
        reason = (
            f"{what} did not end within {limits.seconds or 0:g} s. Find what takes long or never ends. If it needs "
            "that time, the limit is raised with AutoCoderAgent(timeout=seconds)."
        )
    elif isinstance(error, JobOutOfMemoryError):
        reason = (
            f"{what} needs more than {limits.memory_bytes >> 20} MiB of memory. Hold less data at one time. If it "
            'needs that much, the limit is raised with AutoCoderAgent(resources=flyte.Resources(memory="4Gi")).'
        )
    elif isinstance(error, OutputTooLargeError):
        reason = f"{what} printed or wrote too much: {error}"
    else:
        reason = f"{what} was ended: {error}"
    printed = last_lines(error.stderr or error.stdout)
    return Failure(
        stage=stage,
        message=f"{reason}\n{printed}".strip(),
        signature=signature(stage, type(error).__name__),
        error_type="logic",
        final=final,
    )
