"""What else may happen to a generation: another one beside it, a clock that jumps, a disk that fills."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from observed import Place, Snapshot, differences, leftovers
from worker import Outcome, Worker, Zygote, tail

_FAKETIME = "/usr/lib/*/faketime/libfaketime.so.1"


def two_at_once(worker: Worker, root: Path, template: Path, source: Path) -> Outcome:
    """Two processes generate the same: each question is asked once in all, each run is run once, both end well."""
    return _two(worker, "two-at-once", None)


def two_at_once_and_one_killed(worker: Worker, root: Path, template: Path, source: Path) -> Outcome:
    """The same, and one of them is killed in the middle."""
    return _two(worker, "two-at-once, one killed", 0.5)


def _two(worker: Worker, name: str, kill: float | None) -> Outcome:
    expected, outcome, began = worker.undisturbed(), Outcome(name, starts=2), time.monotonic()
    with worker.place() as place:
        configs = [worker.config(place, number) for number in range(2)]
        for number, config in enumerate(configs):
            config["folder"] = str(place.root / f"out-{number}")
            (place.root / f"out-{number}").mkdir()
        pids = worker.zygote.start(configs)
        timer = threading.Timer((kill or 0) * expected.seconds, os.kill, [pids[0], signal.SIGKILL])
        if kill:
            timer.start()
            outcome.kills = 1
        statuses = worker.zygote.wait(pids)
        timer.cancel()
        lost = 0
        for number, status in enumerate(statuses):
            if kill and number == 0 and status == signal.SIGKILL:
                lost = 2  # what was in flight: two are asked side by side at most
                continue
            if status:
                outcome.problems.append(f"number {number + 1} ended with {status}:\n{tail(place)}")
                continue
            shutil.rmtree(place.root / "out", ignore_errors=True)
            (place.root / f"out-{number}").rename(place.root / "out")
            found = differences(expected.result, place.result())
            outcome.problems += [f"the result of number {number + 1} is another: {line}" for line in found]
        outcome.again = sum(count - 1 for count in worker.model.asked.values())
        if outcome.again > lost or set(worker.model.asked.values()) - {1, 2}:
            repeated = [worker.model.steps[digest] for digest, count in worker.model.asked.items() if count > 1]
            outcome.problems.append(f"asked more than once: {repeated}")
        if (runs := frozenset(Snapshot.of(place).runs)) != expected.runs:
            outcome.problems.append(f"other runs are on record: {sorted(runs ^ expected.runs)}")
        outcome.problems += [f"still running: {line}" for line in worker.zygote.orphans()]
        if not kill:
            outcome.problems += [f"left behind: {path}" for path in leftovers(place)]
    outcome.seconds = time.monotonic() - began
    return outcome


def jumping_clock(worker: Worker, root: Path, template: Path, source: Path) -> Outcome:
    """The wall clock jumps back and forth by days all the time; the process is killed once; no budget is hurt by it."""
    outcome, began = Outcome("jumping-clock"), time.monotonic()
    library = next(Path("/").glob(_FAKETIME.lstrip("/")), None)
    if library is None:
        outcome.name += " (not run: there is no libfaketime; apt-get install libfaketime)"
        return outcome
    root.mkdir()
    stamp, stop = root / "time", threading.Event()
    stamp.write_text("+0")

    def jump() -> None:
        moments = ["-3d", "+400d", "+0", "-1h", "+20y", "+1h"]
        while not stop.wait(0.15):
            moments.append(moments.pop(0))
            fresh = stamp.with_suffix(".new")
            fresh.write_text(moments[0])
            fresh.replace(stamp)

    threading.Thread(target=jump, daemon=True).start()
    # The sandbox hands on none of these variables, so its programs have the real time.
    fake = {"LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(stamp), "FAKETIME_NO_CACHE": "1"}
    fake |= {"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}
    with Worker(root / "worker", template, source, Zygote(source, **fake), budget_seconds=600) as other:
        expected = other.undisturbed()
        for point in ("after-answer-code", "during-sandbox-7"):
            found = other.entry(f"jumping-clock/{point}", [point])
            outcome.problems += [f"{point}: {line}" for line in found.problems]
            outcome.kills += found.kills
            outcome.starts += found.starts
            outcome.again += found.again
        if expected.seconds > 120:
            outcome.problems.append(f"it took {expected.seconds:.0f} s")
    stop.set()
    outcome.seconds = time.monotonic() - began
    return outcome


def full_disk(worker: Worker, root: Path, template: Path, source: Path) -> Outcome:
    """The disk of the state fills at several moments, then has space again: nothing on record is lost."""
    outcome, began = Outcome("full-disk"), time.monotonic()
    if os.geteuid() != 0:
        outcome.name += " (not run: only root can mount)"
        return outcome
    root.mkdir()
    # A mount namespace of their own: nothing is mounted for anybody else, and all is gone with the processes.
    with Worker(root / "worker", template, source, Zygote(source, ["unshare", "--mount", "--"])) as other:
        expected = other.undisturbed()
        for kilobytes in (0, 60, 150, 250, 400):
            with other.place() as place:
                _fill_and_free(other, place, kilobytes, expected.result, outcome)
    outcome.seconds = time.monotonic() - began
    return outcome


def _fill_and_free(worker: Worker, place: Place, kilobytes: int, expected: dict[str, Any], outcome: Outcome) -> None:
    inside = Path(f"/proc/{worker.zygote.pid}/root")
    environments = place.root / "environments"
    (place.state / "environments").rename(environments)
    locks = {path.name: path.read_bytes() for path in (place.state / "locks").glob("*.json")}
    enter = ["nsenter", f"--target={worker.zygote.pid}", "--mount", "--"]
    subprocess.run([*enter, "mount", "-t", "tmpfs", "-o", "size=4m", "soak", str(place.state)], check=True)
    try:
        state = Path(f"{inside}{place.state}")
        (state / "environments").symlink_to(environments)
        (state / "locks").mkdir()
        for name, content in locks.items():
            (state / "locks" / name).write_bytes(content)
        _fill(state / "filler", kilobytes)
        (status,) = worker.zygote.wait(worker.zygote.start([worker.config(place, 0)]))
        outcome.starts += 1
        said = _said(place, status)
        seen = Place(Path(f"{inside}{place.root}"))
        answers, asked = Snapshot.of(seen).answers, worker.model.asked.copy()
        if not said:
            outcome.problems.append(f"{kilobytes} kB free: nothing says that the disk is full:\n{tail(place)}")
        (state / "filler").unlink()
        (status,) = worker.zygote.wait(worker.zygote.start([worker.config(place, 1)]))
        outcome.starts += 1
        if status:
            outcome.problems.append(f"{kilobytes} kB free: with space again it ended with {status}:\n{tail(place)}")
            return
        for digest in worker.model.asked - asked:
            if worker.model.answered[digest] in answers:
                outcome.problems.append(f"{kilobytes} kB free: {worker.model.steps[digest]} was asked for again")
        found = differences(expected, place.result())
        outcome.problems += [f"{kilobytes} kB free: the result is another: {line}" for line in found]
        outcome.problems += [f"{kilobytes} kB free: left behind: {path}" for path in leftovers(seen)]
    finally:
        subprocess.run([*enter, "umount", "--lazy", str(place.state)], check=False)


def _fill(path: Path, kilobytes: int) -> None:
    """Fill a file system up to some free space."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    size = path.stat().st_size - (kilobytes << 10)
    os.truncate(path, max(0, size))


def _said(place: Place, status: int) -> bool:
    """Whether a person was told: by the result, by the error that the process ended with, or by the log."""
    result = place.root / "out/result.json"
    told = tail(place) + (result.read_text() if result.exists() else "")
    return "No space left" in told or "disk" in told


CASES: dict[str, Callable[[Worker, Path, Path, Path], Outcome]] = {
    "two-at-once": two_at_once,
    "two-at-once-one-killed": two_at_once_and_one_killed,
    "jumping-clock": jumping_clock,
    "full-disk": full_disk,
}
"""By the name that `--cases` takes."""
