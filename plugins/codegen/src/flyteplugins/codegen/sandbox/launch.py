"""Arguments that are too long for the operating system, and the variables that every program gets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flyteplugins.codegen.sandbox.contract import Limits

GUEST: Final = Path(__file__).parent / "guest"
"""Files that run or are read inside a sandbox: `init.py`, `launch.py`, `passwd`, `group`, `hosts`, `nsswitch.conf`."""

LAUNCHER: Final = GUEST / "launch.py"
"""A script of the standard library alone that runs a Python program with arguments from a JSON file."""

_LONGEST_ARGUMENT: Final = 100_000
_LONGEST_LINE: Final = 1_000_000
_OPTIONS_WITH_VALUE: Final = frozenset({"-W", "-X"})


def too_long(argv: Sequence[str]) -> bool:
    """Whether the operating system may refuse `argv`: Linux takes 128 KiB an argument and about 2 MiB in all."""
    sizes = [len(argument.encode()) for argument in argv]
    return max(sizes, default=0) > _LONGEST_ARGUMENT or sum(sizes) > _LONGEST_LINE


def through_file(argv: Sequence[str], launcher: str, arguments: str) -> tuple[list[str], bytes]:
    """The same Python program, with its arguments in a file.

    Args:
        argv: The interpreter, its options, and the script, `-m module` or `-c code` with its arguments.
        launcher: Where the program sees `LAUNCHER`.
        arguments: Where the program will see the file.

    Returns:
        The short argument list, and the content of the file at `arguments`.
    """
    position = 1
    while position < len(argv) and argv[position].startswith("-") and argv[position] not in ("-m", "-c", "-"):
        position += 2 if argv[position] in _OPTIONS_WITH_VALUE else 1
    return [*argv[:position], launcher, arguments], json.dumps(list(argv[position:])).encode()


def standard_variables(limits: Limits, temporary: str) -> dict[str, str]:
    """The environment variables that every program gets; a job's own come on top.

    Args:
        limits: Its processors decide how many threads numeric libraries start, so that results and speed do not
            depend on the machine.
        temporary: The folder for temporary files, which is also the home folder.

    Returns:
        Values by name.
    """
    threads = str(max(1, int(limits.cpus)))
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": temporary,
        "TMPDIR": temporary,
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        **dict.fromkeys(
            (
                "OMP_NUM_THREADS",
                "OPENBLAS_NUM_THREADS",
                "MKL_NUM_THREADS",
                "NUMEXPR_MAX_THREADS",
                "POLARS_MAX_THREADS",
                "RAYON_NUM_THREADS",
                "LOKY_MAX_CPU_COUNT",
            ),
            threads,
        ),
    }
