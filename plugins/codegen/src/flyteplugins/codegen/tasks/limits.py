"""Flyte's resources as the limits of a sandbox."""

from __future__ import annotations

import re
from typing import Any, Final

import flyte

from flyteplugins.codegen.core.errors import InvalidRequestError
from flyteplugins.codegen.sandbox.contract import Limits

_DEFAULT_CPU: Final = 1.0
_DEFAULT_MEMORY: Final = "1Gi"
_QUANTITY: Final = re.compile(r"(\d+(?:\.\d+)?)([A-Za-z]*)")
_FACTORS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12} | {
    f"{letter}i": 1 << (10 * power) for power, letter in enumerate("KMGT", start=1)
}


def limits_of(resources: flyte.Resources | None, seconds: float | None) -> Limits:
    """The limits of a job.

    Args:
        resources: Processors and memory as Flyte takes them; of a pair (request, limit) the limit holds. 1 CPU and
            1 GiB where nothing is said.
        seconds: Wall time; None for no limit.

    Returns:
        The limits.

    Raises:
        InvalidRequestError: An amount can't be read.
    """
    cpu = _limit(resources.cpu) if resources else None
    memory = _limit(resources.memory) if resources else None
    return Limits(
        seconds=seconds,
        memory_bytes=_bytes(str(memory or _DEFAULT_MEMORY)),
        cpus=_cpus(str(cpu)) if cpu is not None else _DEFAULT_CPU,
    )


def _limit(amount: Any) -> Any:
    return amount[-1] if isinstance(amount, (tuple, list)) else amount


def _cpus(amount: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(m?)", amount)
    if not match or not float(match[1]):
        raise InvalidRequestError(f"resources: {amount!r} is no number of CPUs, such as 2, '1.5' or '500m'.")
    return float(match[1]) / (1000 if match[2] else 1)


def _bytes(amount: str) -> int:
    match = _QUANTITY.fullmatch(amount)
    if not match or match[2] not in _FACTORS or not float(match[1]):
        raise InvalidRequestError(f"resources: {amount!r} is no amount of memory, such as '512Mi' or '4Gi'.")
    return int(float(match[1]) * _FACTORS[match[2]])
