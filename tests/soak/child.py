"""One generation, in a process that may be killed at any moment."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import scenario
from points import Points


def main(config: dict[str, Any]) -> None:
    """Carry out the generation.

    Args:
        config: `env`, what `scenario.generate` takes, and `log`, `point` and `delay` of `points.Points`.
    """
    os.environ.update(config["env"])
    tempfile.tempdir = None  # the one of the process that this was forked from
    Points(Path(config["log"]), config.get("point"), config.get("delay", 0.0)).install()
    scenario.generate(config)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
