"""What the tests of the runtimes share: a runtime at work, and ways to look at the host."""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import SandboxUnavailableError
from flyteplugins.codegen.sandbox.contract import (
    Argument,
    At,
    Job,
    Limits,
    Outcome,
    Python,
    Runtime,
    Start,
    StartsEarly,
)
from flyteplugins.codegen.sandbox.select import choose

PRELUDE = "import colorsys"
"""What a sandbox that was started early has run."""

OUTPUTS = At("/var/outputs")
SOON = Limits(seconds=60.0, memory_bytes=512 << 20)


@dataclass
class Bench:
    """A runtime with an image, and the folder that the last job's outputs are in."""

    runtime: Runtime
    image: str
    folder: Path
    early: bool = False
    outputs: Path = field(init=False)

    async def python(
        self,
        code: str,
        *arguments: Argument,
        files: Mapping[str, Path] | None = None,
        env: Mapping[str, Argument] | None = None,
        limits: Limits = SOON,
        network: bool = False,
    ) -> Outcome:
        """Run `code` with arguments; its `sys.argv[1]` is the first of them."""
        self.outputs = self.folder / secrets.token_hex(4)
        self.outputs.mkdir()
        argv = (Python(self.image), "-c", code, *arguments)
        job = Job(argv, self.outputs, files or {}, env or {}, limits, network)
        return await (self.run_early(job) if self.early else self.runtime.run(job))

    async def run_early(self, job: Job) -> Outcome:
        """Run a job in a sandbox that was started before."""
        assert isinstance(self.runtime, StartsEarly)
        images = tuple(part for part in job.argv if isinstance(part, Python))
        # With the code as a comment, so that the process is found by what stands in the code.
        prelude = f"{PRELUDE}\n" + "".join(f"# {line}\n" for line in str(job.argv[2]).splitlines())
        start = Start(job.argv[:1], prelude, images, {}, job.env, job.limits, job.network)
        self.runtime.start_early(start)
        await asyncio.sleep(0)  # it begins to start; the job waits for the rest
        try:
            return await self.runtime.run(replace(job, preludes=(prelude,)))
        finally:
            await self.runtime.end_early()


def empty_lock() -> Lock:
    """An environment with an interpreter like ours and nothing else."""
    system = "unknown-linux-gnu" if sys.platform == "linux" else "apple-darwin"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Lock(python=version, platform=f"{platform.machine()}-{system}", requirements="")


def processes_with(token: str) -> list[int]:
    """Processes of this machine whose command line holds a token, whatever namespace they are in."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and token in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


async def make_bench(name: str, folder: Path, known: dict[str, tuple[Runtime, str] | str]) -> Bench:
    """The bench of a runtime; `known` remembers what was found, and skips with the reason where it is not available.

    With ` early` after its name, each job gets a sandbox that was started before.
    """
    name, _, early = name.partition(" ")
    if name not in known:
        try:
            runtime, _ = await choose(name)
            known[name] = runtime, await runtime.prepare(empty_lock())
        except SandboxUnavailableError as error:
            known[name] = str(error)
    found = known[name]
    if isinstance(found, str):
        pytest.skip(found)
    return Bench(*found, folder, bool(early))


async def until(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    """Wait until a function of no arguments is true; False where it does not come to that."""
    for _ in range(int(seconds / 0.02)):
        if condition():
            return True
        await asyncio.sleep(0.02)
    return bool(condition())
