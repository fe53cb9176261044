"""Running uv, for the rooms that resolve and that install."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from flyteplugins.codegen.core.commands import Finished, run_command
from flyteplugins.codegen.core.errors import EnvironmentBuildError

_KEPT: Final = re.compile(
    r"PATH|HOME|USER|LOGNAME|TMPDIR|LANG|LC_\w+|XDG_\w+|NETRC|"
    r"(HTTPS?|ALL|NO)_PROXY|https?_proxy|all_proxy|no_proxy|SSL_CERT_FILE|SSL_CERT_DIR|SSL_CLIENT_CERT|"
    r"UV_(DEFAULT_INDEX|INDEX|INDEX_URL|EXTRA_INDEX_URL|INDEX_\w+_(USERNAME|PASSWORD)|INDEX_STRATEGY|FIND_LINKS|"
    r"NO_INDEX|KEYRING_PROVIDER|CREDENTIALS_DIR|NATIVE_TLS|SYSTEM_CERTS|INSECURE_HOST|OFFLINE|HTTP_\w+|"
    r"REQUEST_TIMEOUT|CONCURRENT_\w+|CACHE_DIR|CONFIG_FILE|NO_CONFIG|LINK_MODE|EXCLUDE_NEWER)"
)
"""Variables that uv sees: where packages come from, how to get there and where the cache is. What would change an
environment behind its lock's back, such as `UV_CONSTRAINT` or `VIRTUAL_ENV`, is not passed on."""

_PIP_SETTINGS: Final = {
    "PIP_INDEX_URL": ("UV_DEFAULT_INDEX", "UV_INDEX_URL"),
    "PIP_EXTRA_INDEX_URL": ("UV_EXTRA_INDEX_URL", "UV_INDEX"),
    "PIP_CERT": ("SSL_CERT_FILE",),
}
"""pip's variables, which uv does not read, and uv's own: the first is set where none of them is."""


async def run_uv(arguments: Sequence[str], stdin: str = "") -> Finished:
    """Run the uv that is installed beside this package.

    It sees the user's index, proxy and certificate settings, and no project: uv would otherwise take constraints from
    the `pyproject.toml` of whichever folder the user stands in. A cancelled call ends it.

    Args:
        arguments: The command line without the program; paths in it must be absolute.
        stdin: Text for its standard input.

    Returns:
        Exit status and what it printed.

    Raises:
        EnvironmentBuildError: uv can't be started.
    """
    try:
        return await run_command([uv_binary(), *arguments], stdin=stdin, cwd=Path.home().anchor, env=uv_environment())
    except OSError as error:
        raise EnvironmentBuildError(f"uv can't be started: {error}. Install it with: pip install uv") from error


def uv_binary() -> str:
    """The path of the uv binary that the `uv` distribution brings.

    Returns:
        Its absolute path.

    Raises:
        FileNotFoundError: The distribution is installed without its binary.
    """
    import uv

    return uv.find_uv_bin()


def uv_environment() -> dict[str, str]:
    """The environment variables that uv is started with.

    Returns:
        The kept ones of this process, pip's index settings under uv's names where uv has none, and plain messages.
    """
    kept = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
    for pip_name, uv_names in _PIP_SETTINGS.items():
        if (value := os.environ.get(pip_name)) and not any(name in kept for name in uv_names):
            kept[uv_names[0]] = value
    # An interpreter is never downloaded: which ones there are is the runtime's business.
    return kept | {"UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1", "UV_NO_PROGRESS": "1"}
