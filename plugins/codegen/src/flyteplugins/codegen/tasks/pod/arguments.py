"""What a pod is sent to run generated code in: the entry, and packed with the script what watches and confines it."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable
from importlib import resources as package_files
from typing import Final

from flyteplugins.codegen.core.contract import Contract
from flyteplugins.codegen.sandbox.contract import Limits

_GUESTS: Final = {
    "staging.py": (__package__, "guest/staging.py"),
    "supervise.py": (__package__, "guest/supervise.py"),
    "confine.py": (__package__, "guest/confine.py"),
    "values.py": ("flyteplugins.codegen.core", "values.py"),
    "launch.py": ("flyteplugins.codegen.sandbox", "guest/launch.py"),
}


def pod_arguments(
    code: str,
    contract: Contract,
    *,
    network: bool,
    strict: bool,
    seconds: float | None,
    variables: Iterable[str],
    secrets: Iterable[str],
) -> list[str]:
    """The arguments of `python` in a pod, up to where the values are.

    Args:
        code: The script.
        contract: Its inputs and outputs.
        network: Whether it may use the network.
        strict: Whether it is not to run where the pod can't keep it from the network, or from tokens that are there.
        seconds: Time limit; None for no limit.
        variables: The names of the environment variables that it sees, beside `PATH`, `HOME`, `LANG` and `TMPDIR`.
        secrets: The names of those that hold secrets.

    Returns:
        The arguments; the same for the same code and settings.
    """
    files = {name: _text(package, path) for name, (package, path) in _GUESTS.items()}
    settings = {
        "network": network,
        "strict": strict,
        "seconds": seconds,
        "processes": Limits().processes,
        "variables": sorted(variables),
        "secrets": sorted(secrets),
    }
    return [
        *("-c", _text(__package__, "guest/entry.py")),
        base64.b64encode(zlib.compress(json.dumps(files | {"solution.py": code}).encode())).decode(),
        json.dumps([contract.inputs, contract.outputs]),
        json.dumps(settings),
    ]


def _text(package: str | None, path: str) -> str:
    return package_files.files(package or "").joinpath(path).read_text(encoding="utf-8")
