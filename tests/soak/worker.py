"""Carries out entries of the matrix: starts a generation, kills it, starts it again, and compares."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from observed import (
    Model,
    Place,
    Snapshot,
    containers,
    control_groups,
    differences,
    leftovers,
    lock_keys,
    remove_images,
)

HERE = Path(__file__).parent
_ENGINE = threading.Lock()
_DURING_SECONDS = {"bubblewrap": 0.03, "process": 0.03, "docker": 0.5}
"""How long after its start a program is taken to be running."""

_LONGEST_RUN = 240.0


class Zygote:
    """The process that starts children; see `zygote.py`."""

    def __init__(self, source: Path, command: Sequence[str] = (), **variables: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(source), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        environment |= {"DO_NOT_TRACK": "1", "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore", **variables}
        self._process = subprocess.Popen(
            [*command, sys.executable, str(HERE / "zygote.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.pid: int = self._answer()["ready"]

    def start(self, configs: Sequence[dict[str, Any]]) -> list[int]:
        """Start children at once."""
        self._say({"children": list(configs)})
        pids: list[int] = self._answer()["pids"]
        return pids

    def wait(self, pids: Sequence[int]) -> list[int]:
        """Wait for all of them; one that takes far too long is ended."""
        clock = threading.Timer(_LONGEST_RUN, lambda: [_kill(pid) for pid in pids])
        clock.start()
        try:
            statuses: list[int] = self._answer()["statuses"]
            return statuses
        finally:
            clock.cancel()

    def orphans(self) -> list[str]:
        """What still runs of all children so far."""
        self._say({"orphans": True})
        found: list[str] = self._answer()["orphans"]
        return found

    def close(self) -> None:
        """End it."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)

    def _say(self, asked: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or '{"gone": true}')
        return answer


def _key(number: int) -> str:
    """The API key by which the model tells the starts of a generation from each other."""
    return f"start-{number}"


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@dataclass
class Outcome:
    """What came of one entry of the matrix.

    Attributes:
        name: The point, or the moments.
        problems: What did not hold; empty where all did.
        kills: How often the process was killed.
        starts: How often it was started.
        again: Requests that came twice because they were in flight at a kill.
        seconds: Wall time.
    """

    name: str
    problems: list[str] = field(default_factory=list)
    kills: int = 0
    starts: int = 0
    again: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Undisturbed:
    """What a generation that nobody kills comes to.

    Attributes:
        result: Its result, without times.
        runs: Keys and versions of its recorded runs.
        operations: Names of its operations, in order.
        saved: Names of the files that it saved.
        asked: How many requests it makes.
        seconds: Wall time of its process.
        images: Keys of the images that it built for its code; empty for other runtimes than Docker.
    """

    result: dict[str, Any]
    runs: frozenset[str]
    operations: tuple[str, ...]
    saved: frozenset[str]
    asked: int
    seconds: float
    images: frozenset[str] = frozenset()


class Worker:
    """Carries out entries of the matrix, one after the other.

    Args:
        root: Folder for all that it makes.
        template: A state folder with the environment of the tests.
        source: Where the product is imported from.
        zygote: What starts the children; one of its own if None.
        keep: Where the folders of what failed are copied to; nowhere if None.
        **more: Further entries of the configuration of each start.
    """

    def __init__(
        self,
        root: Path,
        template: Path,
        source: Path,
        zygote: Zygote | None = None,
        keep: Path | None = None,
        **more: Any,
    ) -> None:
        self.model = Model()
        self.zygote = zygote or Zygote(source)
        self._root, self._template, self._keep = root, template, keep
        self._numbers = itertools.count()
        self._expected: dict[str, Undisturbed] = {}
        self._more = more

    def __enter__(self) -> Worker:
        self.model.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.zygote.close()
        self.model.__exit__()

    @contextlib.contextmanager
    def place(self) -> Iterator[Place]:
        """Fresh folders for one generation, with a state that has the tests' environment and nothing else."""
        place = Place(self._root / f"{next(self._numbers):04d}")
        for name in ("state", "user", "tmp", "out"):
            (place.root / name).mkdir(parents=True)
        if self._template.exists():
            subprocess.run(["cp", "-al", f"{self._template}/.", str(place.state)], check=True)
        self.model.forget()
        try:
            yield place
        finally:
            shutil.rmtree(place.root, ignore_errors=True)

    def config(
        self, place: Place, number: int, sandbox: str = "bubblewrap", point: str | None = None, **more: Any
    ) -> dict[str, Any]:
        """The configuration of a child; a point of the model's is none of its own."""
        own = point if point and not point.startswith("asking-") else None
        delay = _DURING_SECONDS[sandbox] if own and own.startswith("during-") else 0.0
        return {
            "env": place.environment(UV_OFFLINE="1", UV_CACHE_DIR=uv_cache(), OPENAI_API_KEY=_key(number)),
            "api_base": self.model.endpoint.url,
            "sandbox": sandbox,
            "folder": str(place.root / "out"),
            "output": str(place.root / "output"),
            "log": str(place.root / f"log-{number}"),
            "point": own.replace("during-", "after-") if own else None,
            "delay": delay,
            **self._more,
            **more,
        }

    def undisturbed(self, sandbox: str = "bubblewrap") -> Undisturbed:
        """What a generation that nobody kills comes to; carried out once for each runtime."""
        if sandbox not in self._expected:
            with self.place() as place:
                began = time.monotonic()
                (status,) = self.zygote.wait(self.zygote.start([self.config(place, 0, sandbox)]))
                seconds = time.monotonic() - began
                if status:
                    raise SystemExit(f"The undisturbed generation ended with {status}:\n{tail(place)}")
                if left := [*leftovers(place), *self.zygote.orphans()]:
                    raise SystemExit(f"The undisturbed generation left {left}")
                self._expected[sandbox] = Undisturbed(
                    place.result(),
                    frozenset(Snapshot.of(place).runs),
                    tuple(place.log(0)),
                    saved(place),
                    sum(self.model.asked.values()),
                    seconds,
                    images=lock_keys(place.state) - lock_keys(self._template) if sandbox == "docker" else frozenset(),
                )
        return self._expected[sandbox]

    def entry(self, name: str, kills: Sequence[str | float], sandbox: str = "bubblewrap") -> Outcome:
        """Kill a generation at each of some points, one start after the other, then let it end.

        Args:
            name: What it is called.
            kills: Points, or parts of the time that an undisturbed generation takes.
            sandbox: The runtime.

        Returns:
            What came of it.
        """
        # The engine's images are everybody's: entries that remove and build them take turns.
        with _ENGINE if sandbox == "docker" else contextlib.nullcontext():
            return self._entry(name, kills, sandbox)

    def _entry(self, name: str, kills: Sequence[str | float], sandbox: str) -> Outcome:
        expected = self.undisturbed(sandbox)
        outcome, began = Outcome(_named(name, kills)), time.monotonic()
        with self.place() as place:
            try:
                if sandbox == "docker":
                    remove_images(expected.images)
                self._lives(place, kills, sandbox, expected, outcome)
            except Exception as error:
                outcome.problems.append(f"{type(error).__name__}: {error}\n{tail(place)}")
            if outcome.problems and self._keep:
                shutil.copytree(place.root, self._keep / f"{name}-{time.time_ns()}", symlinks=True)
        outcome.seconds = time.monotonic() - began
        return outcome

    def _lives(
        self, place: Place, kills: Sequence[str | float], sandbox: str, expected: Undisturbed, outcome: Outcome
    ) -> None:
        before, pids = Snapshot(), set[int]()
        for number, kill in enumerate([*kills, None]):
            moment = kill * expected.seconds if isinstance(kill, float) else kill
            pid, status = self._life(place, number, sandbox, moment)
            pids.add(pid)
            outcome.starts += 1
            earlier = {digest for other in range(number) for digest in self.model.asked_by[_key(other)]}
            outcome.again += len(earlier & set(self.model.asked_by[_key(number)]))
            outcome.problems += self._repeated(place, number, before)
            before = Snapshot.of(place)
            if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
                outcome.kills += 1
                if orphans := self.zygote.orphans():
                    outcome.problems.append(f"outlived the killed process: {orphans}")
            elif status:
                outcome.problems.append(f"start {number + 1} ended with {status}:\n{tail(place)}")
            elif isinstance(kill, str):
                outcome.problems.append(f"{kill} was never reached; operations: {' '.join(place.log(number))}")
        if not outcome.problems:
            outcome.problems += self._end(place, expected, pids)

    def _life(self, place: Place, number: int, sandbox: str, kill: str | float | None) -> tuple[int, int]:
        point = kill if isinstance(kill, str) else None
        (pid,) = self.zygote.start([self.config(place, number, sandbox, point)])
        timer = None
        if isinstance(kill, float):
            timer = threading.Timer(kill, _kill, [pid])
            timer.start()
        elif point and point.startswith("asking-"):
            wanted = point.removeprefix("asking-").removesuffix("-1")
            self.model.on_request = lambda step: _kill(pid) if step == wanted else None
        try:
            (status,) = self.zygote.wait([pid])
        finally:
            self.model.on_request = lambda step: None
            if timer:
                timer.cancel()
        return pid, status

    def _repeated(self, place: Place, number: int, before: Snapshot) -> list[str]:
        """What was done again in a start although it was on record before it."""
        problems = []
        for digest, count in self.model.asked_by[_key(number)].items():
            if self.model.answered[digest] in before.answers:
                problems.append(f"start {number + 1} asked for {self.model.steps[digest]} again, which was on record")
            if count > 1:
                problems.append(f"start {number + 1} asked for {self.model.steps[digest]} twice")
        now = Snapshot.of(place)
        problems += [f"run {key} was recorded again" for key in before.runs if now.runs.get(key) != before.runs[key]]
        doubled = [key for key in now.runs if not key.endswith("/0000.json")]
        problems += [f"run {key} is another version" for key in doubled]
        problems += [
            f"environment {key} was built again"
            for key in before.environments
            if now.environments.get(key) != before.environments[key]
        ]
        # Of a program that was run again there would be another version. A recorded generation runs nothing at all.
        started = [name for name in place.log(number) if name.startswith(("sandbox-", "process-", "uv-"))]
        if before.generations and started:
            problems.append(f"start {number + 1} started {started}, though the whole generation was on record")
        return problems

    def _end(self, place: Place, expected: Undisturbed, pids: set[int]) -> list[str]:
        problems = [f"the result is another: {line}" for line in differences(expected.result, place.result())]
        if (runs := frozenset(Snapshot.of(place).runs)) != expected.runs:
            problems.append(f"other runs are on record: {sorted(runs ^ expected.runs)}")
        if (files := saved(place)) != expected.saved:
            problems.append(f"other files are saved: {sorted(files ^ expected.saved)}")
        problems += [f"left behind: {path}" for path in leftovers(place)]
        problems += [f"left behind: {path}" for path in control_groups(pids)]
        problems += [f"left behind: container {name}" for name in (containers(pids) if expected.images else ())]
        problems += [f"still running: {line}" for line in self.zygote.orphans()]
        return problems


def _named(name: str, kills: Sequence[str | float]) -> str:
    moments = [f"{kill:.3f}" for kill in kills if isinstance(kill, float)]
    return f"{name}, at {' and '.join(moments)} of it" if moments else name


def saved(place: Place) -> frozenset[str]:
    """The files of the saved generation."""
    root = place.root / "out/saved"
    return frozenset(str(path.relative_to(root)) for path in root.rglob("*"))


def tail(place: Place) -> str:
    """The end of what the children printed."""
    path = place.root / "output"
    return path.read_text(errors="replace")[-3000:] if path.exists() else "nothing was printed"


def uv_cache() -> str:
    """The cache of uv that this process would use."""
    return os.environ.get("UV_CACHE_DIR") or str(
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"
    )
