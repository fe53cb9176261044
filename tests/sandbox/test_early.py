"""Sandboxes that are started before their jobs are known: what a job finds, and what is left of those without one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from sandbox_bench import OUTPUTS, PRELUDE, SOON, Bench, processes_with, until

from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.sandbox.bubblewrap import BubblewrapRuntime
from flyteplugins.codegen.sandbox.contract import Argument, At, Job, Outcome, Python, Start
from flyteplugins.codegen.sandbox.early import MOST_WAITING

SCRIPT = """
import json, os, pickle, sys


class Thing:
    pass


state = {
    "name": __name__,
    "main": sys.modules["__main__"].__file__,
    "arguments": sys.argv,
    "original": sys.orig_argv[1:],
    "beside": sys.path[0],
    "folder": os.getcwd(),
    "pickles": type(pickle.loads(pickle.dumps(Thing()))) is Thing,
    "names": sorted(name for name in globals() if not name.startswith("__")),
    "inputs": sorted(os.listdir("/var/inputs")),
    "descriptors": sorted(os.listdir("/proc/self/fd")),
    "environment": dict(os.environ),
    "input": open(sys.argv[1]).read(),
    "stdin": sys.stdin.read(),
}
json.dump(state, open(sys.argv[2] + "/state", "w"), indent=1, sort_keys=True)
print("out")
if len(sys.argv) > 3:
    sys.exit(int(sys.argv[3]))
def fail():
    raise ValueError("as asked")
fail()
"""
AT = At("/var/inputs/_solution/solution.py")
DATA = At("/var/inputs/sales/sales.csv")
WAS_EARLY = "import sys; print('colorsys' in sys.modules)"


def job(bench: Bench, folder: Path, script: str, *arguments: Argument, options: Sequence[str] = ()) -> Job:
    source, outputs = folder / "script.py", folder / secrets.token_hex(4)
    source.write_text(script)
    (folder / "sales.csv").write_text("a,b\n1,2\n")
    files = {AT.path: source, DATA.path: folder / "sales.csv"}
    python = (Python(bench.image), *options)
    return Job((*python, AT, *arguments), outputs, files, {"GIVEN": "it's"}, SOON, preludes=(PRELUDE,))


def start(job: Job, prelude: str = PRELUDE) -> Start:
    return Start(job.argv[: job.argv.index(AT)], prelude, (), {}, job.env, job.limits, job.network)


async def run_early(bench: Bench, job: Job, *starts: Start) -> Outcome:
    runtime = bench.runtime
    assert isinstance(runtime, BubblewrapRuntime)
    for each in starts:
        runtime.start_early(each)
    await asyncio.sleep(0)
    try:
        return await runtime.run(job)
    finally:
        await runtime.end_early()


@pytest.mark.parametrize("options", [(), ("-I", "-B")], ids=["plain", "isolated"])
@pytest.mark.parametrize("status", [(), ("0",), ("3",)], ids=["raises", "0", "3"])
async def test_a_program_can_not_tell_whether_its_sandbox_was_started_early(
    bubblewrap: Bench, tmp_path: Path, options: tuple[str, ...], status: tuple[str, ...]
) -> None:
    cold = job(bubblewrap, tmp_path, SCRIPT, DATA, OUTPUTS, *status, options=options)
    early = replace(cold, outputs=tmp_path / "early")
    first = await bubblewrap.runtime.run(cold)
    second = await run_early(bubblewrap, early, start(early))
    told = (first.exit_code, first.stdout, first.stderr)
    assert told == (second.exit_code, second.stdout, second.stderr)
    assert told[0] == int(*status or "1")
    assert (cold.outputs / "state").read_text() == (early.outputs / "state").read_text()


async def test_a_job_gets_the_waiting_sandbox_with_the_best_prelude_that_it_bears(
    bubblewrap: Bench, tmp_path: Path
) -> None:
    script = "import sys; print(*sorted({'colorsys', 'wave', 'netrc'} & set(sys.modules)))"
    wanted = replace(job(bubblewrap, tmp_path, script), preludes=("import colorsys, wave", PRELUDE))
    starts = [start(wanted), start(wanted, "import netrc"), start(wanted, "import colorsys, wave")]
    assert (await run_early(bubblewrap, wanted, *starts)).stdout == "colorsys wave\n"
    assert (await run_early(bubblewrap, wanted, *starts[:2])).stdout == "colorsys\n"
    assert (await run_early(bubblewrap, wanted, starts[1])).stdout == "\n"


async def test_a_waiting_sandbox_serves_one_job_and_no_second(bubblewrap: Bench, tmp_path: Path) -> None:
    assert isinstance(bubblewrap.runtime, BubblewrapRuntime)
    wanted = job(bubblewrap, tmp_path, WAS_EARLY + "; open('/tmp/mark', 'x')")
    bubblewrap.runtime.start_early(start(wanted))
    await asyncio.sleep(0)
    outcomes = [await bubblewrap.runtime.run(wanted) for _ in range(2)]
    assert [(each.exit_code, each.stdout) for each in outcomes] == [(0, "True\n"), (0, "False\n")]


@pytest.mark.parametrize("changed", ["env", "limits", "network", "options", "prelude"])
async def test_a_sandbox_that_differs_from_the_job_is_not_used(bubblewrap: Bench, tmp_path: Path, changed: str) -> None:
    wanted = job(bubblewrap, tmp_path, WAS_EARLY)
    other = {
        "env": replace(start(wanted), env={"GIVEN": "other"}),
        "limits": replace(start(wanted), limits=replace(SOON, processes=9)),
        "network": replace(start(wanted), network=True),
        "options": replace(start(wanted), python=(Python(bubblewrap.image), "-B")),
        "prelude": start(wanted, "import colorsys  # another"),
    }
    assert (await run_early(bubblewrap, wanted, other[changed])).stdout == "False\n"
    assert (await run_early(bubblewrap, wanted, start(wanted))).stdout == "True\n"


@pytest.mark.parametrize("prelude", ["print('hello')", "import os; os._exit(3)", "import os; os.abort()"])
async def test_a_prelude_that_prints_or_ends_spoils_its_sandbox_and_not_the_job(
    bubblewrap: Bench, tmp_path: Path, prelude: str
) -> None:
    assert isinstance(bubblewrap.runtime, BubblewrapRuntime)
    wanted = replace(job(bubblewrap, tmp_path, WAS_EARLY), preludes=(prelude,))
    bubblewrap.runtime.start_early(start(wanted, prelude))
    await asyncio.sleep(1.0)
    outcome = await bubblewrap.runtime.run(wanted)
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (0, "False\n", "")


async def test_a_prelude_that_fails_is_the_programs_to_find_out(bubblewrap: Bench, tmp_path: Path) -> None:
    prelude = "import colorsys, not_there"
    wanted = replace(job(bubblewrap, tmp_path, WAS_EARLY + "\nimport not_there"), preludes=(prelude,))
    outcome = await run_early(bubblewrap, wanted, start(wanted, prelude))
    assert (outcome.exit_code, outcome.stdout) == (1, "True\n")
    assert "No module named 'not_there'" in outcome.stderr


async def test_a_prelude_may_begin_with_the_job_that_it_was_started_for(bubblewrap: Bench, tmp_path: Path) -> None:
    begins = "import os\nprint(arguments, open(wait()[1]).read(), flush=True)\nos._exit(5)"
    wanted = replace(job(bubblewrap, tmp_path, "print('begun anew')", DATA), preludes=(begins,))
    started = replace(start(wanted, begins), arguments=(DATA,), program=(AT, DATA))
    outcome = await run_early(bubblewrap, wanted, started)
    assert (outcome.exit_code, outcome.stdout) == (5, f"['{DATA.path}'] a,b\n1,2\n\n")
    other = replace(wanted, argv=(*wanted.argv, "more"), outputs=tmp_path / "other")
    assert (await run_early(bubblewrap, other, started)).stdout == "begun anew\n"


async def test_a_prelude_that_gives_up_the_job_it_began_leaves_it_to_be_begun_anew(
    bubblewrap: Bench, tmp_path: Path
) -> None:
    begins = "wait()\nraise OSError"
    wanted = replace(job(bubblewrap, tmp_path, "print('begun anew')"), preludes=(begins,))
    assert (await run_early(bubblewrap, wanted, start(wanted, begins))).stdout == "begun anew\n"


async def test_a_folder_as_input_goes_to_a_sandbox_of_its_own(bubblewrap: Bench, tmp_path: Path) -> None:
    wanted = job(bubblewrap, tmp_path, WAS_EARLY + "\nimport os; print(os.listdir('/var/inputs/folder'))")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    wanted = replace(wanted, files={**wanted.files, "/var/inputs/folder": tmp_path / "folder"})
    assert (await run_early(bubblewrap, wanted, start(wanted))).stdout == "False\n['file']\n"


async def test_sandboxes_without_a_job_leave_nothing_and_few_wait_at_a_time(bubblewrap: Bench, tmp_path: Path) -> None:
    assert isinstance(bubblewrap.runtime, BubblewrapRuntime)
    token = secrets.token_hex(8)
    wanted = job(bubblewrap, tmp_path, WAS_EARLY)
    for _ in range(2 * MOST_WAITING):
        bubblewrap.runtime.start_early(start(wanted, f"import colorsys  # {token}"))

    def waiting() -> int:
        return len(processes_with(token))

    assert await until(lambda: waiting() >= MOST_WAITING, 20.0)
    await asyncio.sleep(0.5)
    assert waiting() == MOST_WAITING
    await bubblewrap.runtime.end_early()
    assert await until(lambda: not waiting(), 3.0)
    assert not list((home() / "running").iterdir())
    # The places are free again.
    assert (await run_early(bubblewrap, wanted, start(wanted))).stdout == "True\n"
