"""Where this package keeps what it has built and recorded."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from stat import S_IMODE, S_ISDIR
from typing import Final

HOME_VARIABLE: Final = "FLYTEPLUGINS_CODEGEN_HOME"
_NAME: Final = "flyteplugins-codegen"
_NOWHERE: Final = Path("/nonexistent") / _NAME


def home() -> Path:
    """The folder for environments, the record and stored files.

    Returns:
        `wanted_home()`, or, where that can't be written, a folder of this user's own in the system's folder for
        temporary files. It need not exist yet.
    """
    wanted = wanted_home()
    return wanted if _is_writable(wanted) else _substitute() or wanted


def wanted_home() -> Path:
    """The folder that the user's settings name.

    Returns:
        `$FLYTEPLUGINS_CODEGEN_HOME`, else `$XDG_CACHE_HOME/flyteplugins-codegen`, else
        `~/.cache/flyteplugins-codegen`.
    """
    if chosen := os.environ.get(HOME_VARIABLE):
        return Path(chosen)
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / _NAME
    try:
        return Path.home() / ".cache" / _NAME
    except RuntimeError:  # a user without a home folder
        return _NOWHERE


def _is_writable(folder: Path) -> bool:
    """Whether a folder can be written to, or made."""
    if folder == _NOWHERE:
        return False
    for place in (folder, *folder.parents):
        if os.path.lexists(place):
            return place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    return False


def _substitute() -> Path | None:
    """A folder that nobody else can enter; None where there is none."""
    if not hasattr(os, "geteuid"):
        return None  # Windows, where nothing runs
    try:
        folder = Path(tempfile.gettempdir()) / f"flyteplugins-codegen-{os.geteuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    # Somebody else may have made it, or a link of that name.
    own = S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not S_IMODE(status.st_mode) & 0o077
    return folder if own else None
