"""Makes the pictures of a saved generation, show.svg and report*.png, from a run of the demo.

Needs a Chromium on PATH (Debian, Ubuntu: apt-get install chromium).

.venv/bin/python docs/images/make_report.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from make_run import FORMAT, HERE, WIDTH
from rich.console import Console
from rich.text import Text

sys.path.insert(0, str(HERE.parents[1] / "tests"))

from browser import Browser

DESKTOP, PHONE = (1100, 1750), (390, 1400)
"""Width and height of what is shown, in pixels."""


def main() -> None:
    """Run the demo with nothing built before, and draw what is shown of it."""
    with tempfile.TemporaryDirectory() as state:
        folder = Path(state, "demo-output")
        codegen(state, "demo", "--out", str(folder))
        draw(codegen(state, "show", "generation", cwd=folder).replace(f"{folder}/", ""))
        with Browser() as browser:
            for name, (width, height) in (("report", DESKTOP), ("report-phone", PHONE)):
                browser.open(folder / "generation" / "report.html", width=width, height=height)
                (HERE / f"{name}.png").write_bytes(browser.screenshot())
            browser.open(folder / "generation" / "report.html", width=DESKTOP[0])
            (HERE / "report-data.png").write_bytes(browser.screenshot("#codegen-data"))


def codegen(state: str, *arguments: str, cwd: Path | None = None) -> str:
    """What the command prints."""
    done = subprocess.run(  # noqa: S603 # the command of this checkout
        [Path(sys.executable).with_name("codegen"), *arguments],
        cwd=cwd,
        env=os.environ | {"COLUMNS": str(WIDTH), "FLYTEPLUGINS_CODEGEN_HOME": f"{state}/home"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def draw(printed: str) -> None:
    """Draw what `codegen show` printed as a terminal would show it."""
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"))  # noqa: SIM115, PTH123 # records only
    console.print(Text("$ codegen show generation", style="bold green"))
    for line in printed.splitlines():
        console.print(Text(line, style="bold" if line.startswith("Done in") else ""))
    console.save_svg(str(HERE / "show.svg"), title="codegen show generation", code_format=FORMAT)


if __name__ == "__main__":
    main()
