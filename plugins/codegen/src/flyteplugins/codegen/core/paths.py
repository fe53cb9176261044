"""Where this package keeps what it has built and recorded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

HOME_VARIABLE: Final = "FLYTEPLUGINS_CODEGEN_HOME"


def home() -> Path:
    """The folder for environments, recorded runs and stored files.

    Returns:
        `$FLYTEPLUGINS_CODEGEN_HOME`, else `$XDG_CACHE_HOME/flyteplugins-codegen`, else
        `~/.cache/flyteplugins-codegen`. It need not exist yet.
    """
    if chosen := os.environ.get(HOME_VARIABLE):
        return Path(chosen)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "flyteplugins-codegen"
