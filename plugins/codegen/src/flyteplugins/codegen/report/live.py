"""The view of a generation while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from flyteplugins.codegen.core.events import Event, ReviewAnswered, ReviewAsked
from flyteplugins.codegen.report.progress import Progress, Row
from flyteplugins.codegen.report.words import cost_of, count_of, one_line

_HEADER: Final = f"{'attempt':<8}{'step':<14}{'elapsed':>9}{'tokens in':>11}{'out':>8}  "
_INDENT: Final = 8
"""Where the rest of a line goes on that is too long for a terminal: below the names of the steps."""

_REFRESH_PER_SECOND: Final = 8


class View:
    """Shows events; a context manager around the generation whose `on_event` it is.

    Finished steps are printed one line each and stay; on a terminal the running ones stand below, with their time.

    Args:
        console: Where to; whether it is a terminal decides how.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress()
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._headed = False
        self._live = (
            Live(get_renderable=self._running, console=console, refresh_per_second=_REFRESH_PER_SECOND, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> View:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()
        if kind is None:
            for row in self._progress.end(time.monotonic()):
                self._print(self._line(row, time.monotonic()))

    def on_event(self, event: Event) -> None:
        """Show an event; called from whichever thread it happens in.

        Args:
            event: What happened.
        """
        now = time.monotonic()
        if self._live and isinstance(event, ReviewAsked):
            self._live.stop()  # the terminal is the person's now
        with self._lock:
            rows = self._progress.take(event, now)
            # Not before something happened: a request that can't be used needs no table.
            head, self._headed = not self._headed, True
        # Not under our lock: printing waits for the lock of the live region, whose thread may be waiting for ours.
        if head:
            self._print(Text(_HEADER + "result", style="bold"))
        for row in rows:
            self._print(self._line(row, now))
        if self._live and isinstance(event, ReviewAnswered):
            self._live.start()

    def _print(self, line: Text) -> None:
        # A line for a file is never broken or cut.
        self._console.print(line, soft_wrap=not self._console.is_terminal)

    def _running(self) -> RenderableType:
        with self._lock:
            now = time.monotonic()
            progress = self._progress
            # The checks of an attempt follow each other and say only what came of them.
            waits = "checks" if progress.attempt else "starts"
            idle = Row(progress.attempt, waits, progress.latest or self._started, running=True)
            rows = [self._line(row, now) for row in progress.running or [idle]]
            total = Text(self._total(now), style="dim")
        for line in (*rows, total):
            # A region that is drawn again and again has a line for each row, whatever the width.
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(*rows, total)

    def _total(self, now: float) -> str:
        progress = self._progress
        served = f" ({progress.served} from the record)" if progress.served else ""
        used = f"{progress.input_tokens:,} tokens in, {progress.output_tokens:,} out"
        cost = cost_of(progress.cost) if progress.calls else ""
        parts = [f"{count_of(progress.calls, 'answer')}{served}", used, cost, f"{now - self._started:.0f} s"]
        return ", ".join(filter(None, parts))

    def _line(self, row: Row, now: float) -> Text:
        # One line each, whatever a model or a program put into its message.
        detail = one_line(row.detail)
        if not row.step:
            return self._broken(Text(detail, style="dim"), indent="")
        seconds = now - row.started if row.running else row.seconds
        line = Text(
            f"{row.attempt or '':<8}{row.step:<14}{'' if seconds is None else f'{seconds:.1f} s':>9}"
            f"{f'{row.input_tokens:,}' if row.input_tokens else '':>11}"
            f"{f'{row.output_tokens:,}' if row.output_tokens else '':>8}  "
        )
        mark, style = ("...", "cyan") if row.running else ("ok", "green") if row.passed else ("failed", "red")
        line.append(f"{mark}{': ' if detail else ''}", style=style)
        line.append(detail)
        return line if row.running else self._broken(line, indent=" " * _INDENT)

    def _broken(self, line: Text, indent: str) -> Text:
        """The line as a terminal shows it: what does not fit goes on below, indented, so that steps stand out."""
        if not self._console.is_terminal:
            return line
        first, *rest = line.wrap(self._console, self._console.width)
        if not rest:
            return line
        for part in rest:
            part.rstrip()
        remaining = Text(" ").join(rest)
        below = remaining.wrap(self._console, max(_INDENT, self._console.width - len(indent)))
        return Text("\n").join([first, *(Text(indent).append_text(part) for part in below)])
