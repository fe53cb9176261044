"""What can be seen of a generation from outside: the questions that reached the model, and what is on disk."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import scenario
from endpoint import Answer, Endpoint, Received, Reply

TIMES = frozenset({"seconds", "elapsed", "at", "start", "end", "timeline", "peak_memory_bytes"})
"""The fields of a result that are times or tell when something happened; all others are the same in every run."""

_SCRATCH = ".codegen-scratch-"
_FOLDERS = frozenset({".writing", ".incoming", ".locks"})
"""Folders of the state that stay, empty."""


class Model:
    """A model that answers by the content of the request alone, and counts each request by its content.

    Attributes:
        asked: How often each request came, by a digest of its content.
        asked_by: The same for each start, by its API key. A request that a process sent before it was killed may be
            read when the next one runs already.
        answered: The answer to each, by the same digest.
        steps: Its step, numbered where a step is asked more than once, by the same digest.
    """

    def __init__(self, delay: float = 0.0) -> None:
        self.endpoint = Endpoint()
        self.endpoint.respond = self._respond
        self.asked: Counter[str] = Counter()
        self.asked_by: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.answered: dict[str, str] = {}
        self.steps: dict[str, str] = {}
        self.on_request: Callable[[str], None] = lambda step: None
        self._delay = delay
        self._lock = threading.Lock()

    def __enter__(self) -> Model:
        self.endpoint.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.endpoint.__exit__()

    def forget(self) -> None:
        """Begin anew."""
        with self._lock:
            self.asked, self.answered, self.steps = Counter(), {}, {}
            self.asked_by = defaultdict(Counter)

    def _respond(self, request: Received) -> Answer:
        digest = hashlib.sha256(json.dumps(request.body, sort_keys=True).encode()).hexdigest()
        said = scenario.answer(request.step, request.messages)
        if said is None:
            return Reply(status=404, error=f"no answer for {request.step!r}")
        with self._lock:
            if digest not in self.steps:
                before = sum(step.split("-")[0] == request.step for step in self.steps.values())
                self.steps[digest] = f"{request.step}-{before + 1}" if before else str(request.step)
            self.asked[digest] += 1
            self.asked_by[request.key][digest] += 1
            self.answered[digest] = text = json.dumps(said)
        self.on_request(self.steps[digest])
        return Reply(text=text, delay=self._delay)


@dataclass(frozen=True)
class Place:
    """The folders of one generation: nothing of any other is in them.

    Attributes:
        root: It has `state`, `user` (the HOME), `tmp` and `out`.
    """

    root: Path

    @property
    def state(self) -> Path:
        """The state folder of the product."""
        return self.root / "state"

    def environment(self, **more: str) -> dict[str, str]:
        """The variables of the child."""
        return {
            "FLYTEPLUGINS_CODEGEN_HOME": str(self.state),
            "HOME": str(self.root / "user"),
            "TMPDIR": str(self.root / "tmp"),
            **more,
        }

    def result(self) -> dict[str, Any]:
        """The result, without what differs from run to run: times, and where the folders are."""
        text = (self.root / "out/result.json").read_text().replace(str(self.root), "<root>")
        return dict(without_times(json.loads(text)))

    def log(self, number: int) -> list[str]:
        """The named operations of a child."""
        path = self.root / f"log-{number}"
        return path.read_text().split() if path.exists() else []


@dataclass(frozen=True)
class Snapshot:
    """What is on disk at a moment.

    Attributes:
        answers: The text of each answer on record.
        runs: By key and version of each recorded run: which file it is.
        environments: By key of each whole environment: which file its marker is.
        generations: Keys of the recorded generations.
    """

    answers: frozenset[str] = frozenset()
    runs: dict[str, tuple[int, int]] = field(default_factory=dict)
    environments: dict[str, tuple[int, int]] = field(default_factory=dict)
    generations: frozenset[str] = frozenset()

    @classmethod
    def of(cls, place: Place) -> Snapshot:
        """Look at the state of a place."""
        record = place.state / "record"
        answers = [read.partition(b"\n")[2] for read in map(Path.read_bytes, record.glob("answers/*/*/*.json"))]
        return cls(
            frozenset(json.loads(document)["answer"] for document in answers),
            {f"{path.parent.name}/{path.name}": _which(path) for path in record.glob("runs/*/*/*.json")},
            {path.parent.name: _which(path) for path in place.state.glob("environments/*/environment.json")},
            frozenset(path.parent.name for path in record.glob("generations/*/*/*.json")),
        )


def without_times(value: Any) -> Any:
    """A document without its times."""
    if isinstance(value, dict):
        return {name: without_times(part) for name, part in value.items() if name not in TIMES}
    if isinstance(value, list):
        return [without_times(part) for part in value]
    if isinstance(value, str):
        return re.sub(r"\b\d+\.\d+ ?s\b", "<seconds>", value)
    return value


def differences(expected: Any, got: Any, at: str = "") -> list[str]:
    """Where two documents differ, in a few words each."""
    if isinstance(expected, dict) and isinstance(got, dict):
        names = sorted({*expected, *got})
        return [line for name in names for line in differences(expected.get(name), got.get(name), f"{at}.{name}")]
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = enumerate(zip(expected, got, strict=True))
        return [line for index, (one, other) in pairs for line in differences(one, other, f"{at}[{index}]")]
    return [] if expected == got else [f"{at}: {str(expected)[:300]!r} became {str(got)[:300]!r}"]


def leftovers(place: Place) -> list[str]:
    """Temporary files and folders that are still there."""
    found = list((place.root / "tmp").iterdir())
    for path in place.state.rglob("*"):
        hidden = path.name.startswith(".") and path.name not in _FOLDERS
        inside = path.parent.name in _FOLDERS
        if "environments" in path.relative_to(place.state).parts[:-1] and _SCRATCH not in str(path) and not inside:
            continue
        if hidden or inside or path.suffix == ".lock" or path.parent.name == "running":
            found.append(path)
    found += (place.root / "out").rglob(f"{_SCRATCH}*")
    return [str(path.relative_to(place.root)) for path in found]


def control_groups(pids: set[int]) -> list[str]:
    """The control groups that processes of ours left."""
    found = []
    for parent, folders, _ in os.walk("/sys/fs/cgroup"):
        for name in folders:
            owner = re.match(r"codegen-(\d+)\.", name)
            if owner and int(owner[1]) in pids:
                found.append(os.path.join(parent, name))  # noqa: PTH118 # as os.walk gives it
    return found


def containers(pids: set[int]) -> list[str]:
    """The containers that processes of ours left, running or not."""
    shape = '{{.Names}} {{.Label "flyteplugins-codegen.owner"}}'
    listing = ["docker", "ps", "--all", "--filter", "label=flyteplugins-codegen.owner", "--format", shape]
    told = subprocess.run(listing, capture_output=True, text=True, check=True).stdout
    return [line for line in told.splitlines() if any(f" {pid}." in line for pid in pids)]


def lock_keys(state: Path) -> frozenset[str]:
    """The keys of the locks that a state folder remembers; images are named by them."""
    from flyteplugins.codegen.core.environment import Lock

    return frozenset(Lock.model_validate_json(path.read_bytes()).key for path in state.glob("locks/*.json"))


def remove_images(keys: Collection[str]) -> None:
    """Remove the images of some environments, so that they are built again."""
    images = [f"flyteplugins-codegen:{key}" for key in keys]
    subprocess.run(["docker", "rmi", *images], capture_output=True, check=False)


def _which(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns
