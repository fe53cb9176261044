"""Makes run.svg, the picture in the README, from a run of the demo.

.venv/bin/python docs/images/make_run.py
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

HERE = Path(__file__).parent
WIDTH = 108
# The reader's own monospaced font: a picture that loads one from a server is refused by most viewers.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def main() -> None:
    """Run the demo with nothing built before, and draw what it prints."""
    with tempfile.TemporaryDirectory() as state:
        done = subprocess.run(  # noqa: S603 # the demo of this checkout
            [Path(sys.executable).with_name("codegen"), "demo"],
            cwd=HERE.parents[1],
            env=os.environ | {"COLUMNS": str(WIDTH), "FLYTEPLUGINS_CODEGEN_HOME": state},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123 # records only
    console.print(Text("$ make demo", style="bold green"))
    for line in done.stdout.splitlines():
        console.print(Text(line, style="bold" if line.startswith("Done in") else ""))
    console.save_svg(str(HERE / "run.svg"), title="make demo", code_format=FORMAT)


if __name__ == "__main__":
    main()
