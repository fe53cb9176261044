"""A person approves in a terminal: the command line in a pty, with a model over HTTP and a real editor command."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from endpoint import Endpoint
from handmade import ADD_UP, STRICT_TOTAL, coded

pytestmark = pytest.mark.isolation

OTHER = STRICT_TOTAL.replace("import argparse", "import argparse  # as asked for")
QUESTION = "[a]pprove, [r]eject, or [e]dit in $EDITOR?"


class Terminal:
    """A program in a pty: what it writes, and what is typed."""

    def __init__(self, *arguments: str, cwd: Path, **env: str) -> None:
        controller, terminal = pty.openpty()
        self._controller = controller
        self.seen = ""
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=cwd,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120", "PYTHONUNBUFFERED": "1", **env},
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        )
        os.close(terminal)

    def until(self, text: str, seconds: float = 90) -> str:
        """What it writes until `text` is there."""
        end, fresh = time.monotonic() + seconds, ""
        while text not in fresh:
            assert time.monotonic() < end, f"{text!r} did not come. It wrote:\n{self.seen}"
            if select.select([self._controller], [], [], 0.2)[0]:
                try:
                    fresh += os.read(self._controller, 65536).decode(errors="replace")
                except OSError:  # it ended
                    self.seen += fresh
                    assert text in fresh, f"{text!r} did not come. It wrote:\n{self.seen}"
        self.seen += fresh
        return fresh

    def type(self, line: str) -> None:
        os.write(self._controller, f"{line}\n".encode())

    def press_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def end(self, seconds: float = 90) -> int:
        """Its exit status; what it writes until then is in `seen`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if select.select([self._controller], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self._controller, 65536).decode(errors="replace")
                except OSError:
                    break
        try:
            return self.process.wait(max(1.0, end - time.monotonic()))
        finally:
            self.process.kill()
            os.close(self._controller)


@pytest.fixture
def folder(endpoint: Endpoint, tmp_path: Path) -> Path:
    for step, answer in ADD_UP.items():
        endpoint.say_to(step, answer)
    endpoint.say_to("repair_code", coded(OTHER))
    (tmp_path / "sales.csv").write_text("amount\n1\n2.5\n")
    return tmp_path


def codegen(endpoint: Endpoint, folder: Path, *more: str, **env: str) -> Terminal:
    return Terminal(
        *("-m", "flyteplugins.codegen.cli.main", "generate", "Add up the amounts and count the rows."),
        *("--sample", "sales=sales.csv", "--output", "total:float", "--output", "rows:int"),
        *("--model", "openai/scripted", "--api-base", endpoint.url, "--out", "generation", *more),
        cwd=folder,
        **env,
    )


def test_code_is_rejected_with_a_reason_and_the_next_version_approved(endpoint: Endpoint, folder: Path) -> None:
    terminal = codegen(endpoint, folder, "--review", "code")
    shown = terminal.until(QUESTION)
    assert "To be approved: the code" in shown
    assert "def main" in re.sub(r"\x1b\[[0-9;]*m", "", shown)
    terminal.type("what?")
    terminal.until(QUESTION)
    terminal.type("r")
    terminal.until("What is to be different?")
    terminal.type("Say that it was asked for.")
    assert "What is different from the version before" in terminal.until(QUESTION)
    terminal.type("a")
    assert terminal.end() == 0, terminal.seen
    assert "# as asked for" in (folder / "generation" / "solution.py").read_text()
    assert "Say that it was asked for." in str(endpoint.requests[-1].messages)


def test_code_is_edited_in_the_editor(endpoint: Endpoint, folder: Path) -> None:
    (folder / "editor").write_text("#!/bin/sh\nsed -i 's/^import argparse/import argparse  # mine/' \"$1\"\n")
    (folder / "editor").chmod(0o755)
    terminal = codegen(endpoint, folder, "--review", "code", EDITOR=str(folder / "editor"), VISUAL="")
    terminal.until(QUESTION)
    terminal.type("e")
    assert terminal.end() == 0, terminal.seen
    assert "# mine" in (folder / "generation" / "solution.py").read_text()


def test_escape_sequences_of_a_model_do_not_reach_the_terminal(endpoint: Endpoint, folder: Path) -> None:
    sly = STRICT_TOTAL.replace("import argparse", "import argparse  # \x1b]0;owned\x07 \x1b[2J")
    endpoint.respond = lambda request: {**ADD_UP, "code": coded(sly)}[request.step or ""]
    terminal = codegen(endpoint, folder, "--review", "code")
    shown = terminal.until(QUESTION)
    assert "\x1b]0;owned" not in shown
    assert "\x1b[2J" not in shown
    assert "<U+001B>[2J" in re.sub(r"\x1b\[[0-9;]*m", "", shown)
    terminal.type("r")
    terminal.until("What is to be different?")
    terminal.type("")
    assert terminal.end() == 1
    assert "rejected the code and gave no reason" in terminal.seen


def test_where_nobody_types_in_time_the_default_holds(endpoint: Endpoint, folder: Path) -> None:
    terminal = codegen(endpoint, folder, "--review", "plan", "--review-timeout", "0.5", "--review-default", "approve")
    terminal.until(QUESTION)
    assert terminal.end() == 0, terminal.seen
    assert "Nobody answered within 0.5 s" in " ".join(terminal.seen.split())


def test_an_editor_that_fails_decides_nothing_and_ctrl_c_ends_the_command(endpoint: Endpoint, folder: Path) -> None:
    terminal = codegen(endpoint, folder, "--review", "code", EDITOR="/bin/false", VISUAL="")
    terminal.until(QUESTION)
    terminal.type("e")
    assert "Name another editor" in terminal.until(QUESTION)
    terminal.press_ctrl_c()
    assert terminal.end() != 0
    assert not (folder / "generation").exists()


def test_without_a_terminal_the_command_says_so_and_pays_for_nothing(endpoint: Endpoint, folder: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "flyteplugins.codegen.cli.main", "generate", "Add up.", "--review", "code"),
            *("--model", "openai/scripted", "--api-base", endpoint.url, "--output", "total:float"),
        ],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "nobody is there to ask" in done.stderr
    assert endpoint.requests == []
