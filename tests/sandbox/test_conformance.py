"""What every runtime does, whatever it is made of."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import secrets
import sys
from pathlib import Path

import pytest
from sandbox_bench import OUTPUTS, Bench, processes_with, until

from flyteplugins.codegen.core.errors import (
    JobError,
    JobKilledError,
    JobOutOfMemoryError,
    JobTimedOutError,
    OutputTooLargeError,
    SandboxFailedError,
)
from flyteplugins.codegen.sandbox.contract import At, Job, Limits, Python

MIB = 1 << 20
AWKWARD = [
    "it's",
    'a "b"',
    "$(id)",
    "`id`; rm -rf /",
    "line\nbreak\r\n",
    "--outputs",
    "",
    "ünï\N{SNOWMAN}",
    "a\\b",
    "*",
]


async def test_an_exit_status_is_the_programs_own(bench: Bench) -> None:
    codes = [0, 1, 2, 126, 127, 128, 137, 139, 143, 255]
    outcomes = await asyncio.gather(*(bench.python(f"import os; os._exit({code})") for code in codes))
    assert [outcome.exit_code for outcome in outcomes] == codes


async def test_a_signal_is_no_exit_status(bench: Bench) -> None:
    for number in (6, 11, 15):
        with pytest.raises(JobKilledError, match=str(number)) as caught:
            await bench.python(f"import os; print('so far', flush=True); os.kill(os.getpid(), {number})")
        assert caught.value.stdout == "so far\n"


async def test_what_is_printed_comes_back_apart(bench: Bench) -> None:
    outcome = await bench.python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)")
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (3, "out\n", "err\n")


async def test_bytes_that_are_no_text_are_replaced(bench: Bench) -> None:
    outcome = await bench.python("import os; os.write(1, b'a\\xffb')")
    assert outcome.stdout == "a\ufffdb"


async def test_arguments_arrive_unchanged(bench: Bench) -> None:
    outcome = await bench.python("import json, sys; print(json.dumps(sys.argv[1:]))", *AWKWARD)
    assert json.loads(outcome.stdout) == AWKWARD


async def test_megabytes_in_one_argument_arrive_unchanged(bench: Bench) -> None:
    value = "".join(AWKWARD) * (3 * MIB // len("".join(AWKWARD)))
    outcome = await bench.python(
        "import sys, hashlib; print(len(sys.argv), hashlib.sha256(sys.argv[1].encode()).hexdigest())", value
    )
    import hashlib

    assert outcome.stdout.split() == ["2", hashlib.sha256(value.encode()).hexdigest()]


async def test_a_script_with_a_long_argument_runs_as_it_would_without(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "solution.py").write_text(
        "import sys\nfrom pathlib import Path\n"
        "def main():\n    assert Path(sys.argv[0]).name == 'solution.py'\n    raise ValueError(len(sys.argv[1]))\n"
        "if __name__ == '__main__':\n    main()\n"
    )
    at = "/var/inputs/solution/solution.py"
    outputs = tmp_path / "outputs"
    job = Job((Python(bench.image), At(at), "x" * 200_000), outputs, {at: tmp_path / "solution.py"})
    outcome = await bench.runtime.run(job)
    assert outcome.exit_code == 1
    assert outcome.stderr.endswith("ValueError: 200000\n")
    assert "launch.py" not in outcome.stderr
    assert "runpy" not in outcome.stderr


async def test_only_the_named_variables_and_a_fixed_few_are_there(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_SECRET", "hidden")
    outcome = await bench.python(
        "import json, os; print(json.dumps(dict(os.environ)))", env={"GIVEN": "it's $HOME", "PLACE": OUTPUTS}
    )
    seen = json.loads(outcome.stdout)
    assert seen["GIVEN"] == "it's $HOME"
    assert Path(seen["PLACE"]).is_absolute()
    assert "HOST_SECRET" not in seen
    assert "hidden" not in outcome.stdout
    assert (seen["TZ"], seen["PYTHONHASHSEED"], seen["LANG"]) == ("UTC", "0", "C.UTF-8")
    assert seen["OMP_NUM_THREADS"] == "1"
    assert seen["HOME"] != os.environ.get("HOME")


async def test_an_input_keeps_its_name_and_its_content(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "original"
    source.write_bytes(b"a,b\r\n1,2\r\n")
    at = At("/var/inputs/sales/monthly sales (1).csv.gz")
    outcome = await bench.python(
        "import sys, pathlib; p = pathlib.Path(sys.argv[1]); print(p.name, p.read_bytes())", at, files={at.path: source}
    )
    assert outcome.stdout == "monthly sales (1).csv.gz b'a,b\\r\\n1,2\\r\\n'\n"


async def test_the_users_file_can_not_be_changed_through_an_input(bench: Bench, tmp_path: Path) -> None:
    source = tmp_path / "sales.csv"
    source.write_text("precious")
    at = At("/var/inputs/sales/sales.csv")
    await bench.python(
        "import os, sys, contextlib\n"
        "for harm in (lambda p: os.chmod(p, 0o777), lambda p: open(p, 'w').write('gone'), os.unlink,\n"
        "             lambda p: os.truncate(p, 0), lambda p: os.rename(p, p + '.old')):\n"
        "    with contextlib.suppress(OSError):\n        harm(sys.argv[1])\n",
        at,
        files={at.path: source},
    )
    assert source.read_text() == "precious"
    assert list(tmp_path.glob("sales.csv*")) == [source]


async def test_files_and_folders_that_are_written_come_back(bench: Bench) -> None:
    await bench.python(
        "import os, sys\nos.makedirs(sys.argv[1] + '/part/deep')\n"
        "open(sys.argv[1] + '/part/deep/x', 'wb').write(bytes(range(256)))\n"
        "open(sys.argv[1] + '/total', 'w').write('7')",
        OUTPUTS,
    )
    assert (bench.outputs / "total").read_text() == "7"
    assert (bench.outputs / "part" / "deep" / "x").read_bytes() == bytes(range(256))
    assert sorted(path.name for path in bench.outputs.iterdir()) == ["part", "total"]


async def test_outputs_come_back_also_where_the_program_fails(bench: Bench) -> None:
    outcome = await bench.python("import sys; open(sys.argv[1] + '/total', 'w').write('7'); sys.exit(5)", OUTPUTS)
    assert outcome.exit_code == 5
    assert (bench.outputs / "total").read_text() == "7"


async def test_only_plain_files_are_taken_from_the_outputs(bench: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    await bench.python(
        "import os, socket, sys\nos.chdir(sys.argv[1])\n"
        "os.symlink(sys.argv[2], 'link'); os.symlink('/etc', 'folder'); os.mkfifo('pipe')\n"
        "socket.socket(socket.AF_UNIX).bind('socket')\n"
        "open('plain', 'w').write('1'); os.chmod('plain', 0o4755); os.link('plain', 'again')\n"
        "os.mkdir('closed'); open('closed/file', 'w').write('2'); os.chmod('closed', 0)\n",
        OUTPUTS,
        str(secret),
    )
    assert sorted(path.name for path in bench.outputs.iterdir()) == ["again", "closed", "plain"]
    assert (bench.outputs / "plain").stat().st_mode & 0o7000 == 0
    assert (bench.outputs / "plain").stat().st_nlink == 1
    assert (bench.outputs / "closed" / "file").read_text() == "2"
    assert secret.read_text() == "of the host"


async def test_two_jobs_at_once_do_not_meet(bench: Bench) -> None:
    code = (
        "import os, sys, time, tempfile\nfrom pathlib import Path\n"
        "Path(tempfile.gettempdir(), 'mine').write_text(sys.argv[1]); time.sleep(0.3)\n"
        "print(Path(tempfile.gettempdir(), 'mine').read_text())"
    )
    first, second = await asyncio.gather(bench.python(code, "one"), bench.python(code, "two"))
    assert (first.stdout, second.stdout) == ("one\n", "two\n")


async def test_the_time_limit_ends_a_program_and_keeps_what_it_printed(bench: Bench) -> None:
    with pytest.raises(JobTimedOutError, match=r"1\.5 s") as caught:
        await bench.python(
            "import sys, time; print('begun', flush=True); print('e', file=sys.stderr); time.sleep(60)",
            limits=Limits(seconds=1.5),
        )
    assert (caught.value.stdout, caught.value.stderr) == ("begun\n", "e\n")


DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(2):
    if os.fork():
        if {stay}: time.sleep(60)
        os._exit(0)
    os.setsid()
    {stay} = False
print('daemon', flush=True)
time.sleep(60)
# {token}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("stay", [True, False], ids=["timed out", "exited"])
async def test_a_daemon_that_left_its_parents_ends_too(bench: Bench, stay: bool) -> None:
    token = secrets.token_hex(8)
    code = DAEMON.format(stay="stay", token=token).replace("import os", f"stay = {stay}\nimport os", 1)
    if stay:
        with pytest.raises(JobTimedOutError):
            await bench.python(code, limits=Limits(seconds=1.5))
    else:
        assert (await bench.python(code)).exit_code == 0
    assert await until(lambda: not processes_with(token), 2.0)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
async def test_a_cancelled_job_leaves_no_process(bench: Bench) -> None:
    token = secrets.token_hex(8)
    task = asyncio.create_task(
        bench.python(f"import os, time; os.fork(); os.setsid() if os.fork() == 0 else 0; time.sleep(60)  # {token}")
    )
    assert await until(lambda: len(processes_with(token)) >= 4, 30.0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await until(lambda: not processes_with(token), 2.0)
    assert list(bench.outputs.iterdir()) == []


async def test_a_job_that_is_cancelled_at_any_moment_leaves_nothing(bench: Bench) -> None:
    token = secrets.token_hex(8)
    for milliseconds in range(0, 60, 4 if bench.runtime.name == "bubblewrap" else 15):
        task = asyncio.create_task(bench.python(f"import time; time.sleep(60)  # {token}"))
        await asyncio.sleep(milliseconds / 1000)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await until(lambda: not processes_with(token), 3.0)


async def test_memory_is_limited_for_the_whole_tree(bench: Bench) -> None:
    code = (
        "import os, sys, time\n"
        "for _ in range(3):\n    if os.fork() == 0:\n        held = bytearray(os.urandom(1)) * (150 << 20)\n"
        "        time.sleep(5)\n        os._exit(0)\n"
        "sys.exit(max(os.wait()[1] for _ in range(3)) != 0)\n"
    )
    with pytest.raises(JobOutOfMemoryError, match="400 MiB"):
        await bench.python(code, limits=Limits(seconds=20, memory_bytes=400 * MIB))


async def test_memory_below_the_limit_is_no_trouble(bench: Bench) -> None:
    outcome = await bench.python(
        "x = bytearray(b'1') * (200 << 20); print(len(x))", limits=Limits(memory_bytes=400 * MIB)
    )
    assert outcome.exit_code == 0
    assert outcome.peak_memory_bytes is None or outcome.peak_memory_bytes > 150 * MIB


async def test_forking_without_end_is_bounded(bench: Bench) -> None:
    token = secrets.token_hex(8)
    # 512 processes where nothing stops it: far over the limit, and no harm to this machine.
    code = (
        "import os, time\n"
        "for _ in range(9):\n    try:\n        os.fork()\n    except OSError:\n        time.sleep(0.1)\n"
        f"time.sleep(2)  # {token}"
    )
    job = asyncio.create_task(bench.python(code, limits=Limits(seconds=4, processes=40)))
    most = 0
    while not job.done():
        most = max(most, len(processes_with(token)))
        await asyncio.sleep(0.05)
    try:
        await job
    except JobError as error:
        assert isinstance(error, (JobKilledError, JobTimedOutError))  # noqa: PT017 # either end is right, neither is needed
    assert most <= 60 if bench.runtime.isolates else most <= 520
    assert await until(lambda: not processes_with(token), 2.0)


async def test_output_over_the_cap_ends_the_program_with_bounded_memory(bench: Bench) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(OutputTooLargeError, match="4 MiB") as caught:
        await bench.python(
            "import sys\nprint('first')\nfor _ in range(50): sys.stdout.write('x' * (1 << 20))",
            limits=Limits(seconds=30, output_bytes=4 * MIB),
        )
    assert caught.value.stdout.startswith("first\n")
    assert len(caught.value.stdout) < 2 * MIB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


async def test_long_output_below_the_cap_keeps_head_and_tail(bench: Bench) -> None:
    outcome = await bench.python("print('first'); print('x' * (5 << 20)); print('last')")
    assert outcome.exit_code == 0
    assert outcome.stdout.startswith("first\n")
    assert outcome.stdout.endswith("last\n")
    assert "left out" in outcome.stdout
    assert len(outcome.stdout) < 2 * MIB


@pytest.mark.parametrize("files", [1, 100], ids=["one file", "many files"])
async def test_writing_over_the_disk_cap_ends_the_program(bench: Bench, files: int) -> None:
    code = (
        "import sys, time\n"
        f"for n in range(200):\n    open(f'{{sys.argv[1]}}/{{n % {files}}}', 'ab').write(bytes(1 << 20))\n"
        "    time.sleep(0.01)\n"
        "time.sleep(30)"
    )
    with pytest.raises(OutputTooLargeError, match="50 MiB"):
        await bench.python(code, OUTPUTS, limits=Limits(seconds=20, disk_bytes=50 * MIB))
    assert list(bench.outputs.iterdir()) == []


async def test_folders_nested_without_end_are_no_outputs(bench: Bench) -> None:
    code = "import os, sys\nos.chdir(sys.argv[1])\nfor _ in range(1500):\n    os.mkdir('d' * 100); os.chdir('d' * 100)"
    with pytest.raises(OutputTooLargeError):
        await bench.python(code, OUTPUTS)
    assert list(bench.outputs.iterdir()) == []


async def test_temporary_files_count_as_disk(bench: Bench) -> None:
    code = (
        "import tempfile, time\nf = tempfile.TemporaryFile()\n"
        "for _ in range(300):\n    f.write(bytes(1 << 20)); f.flush()\nprint('wrote all')"
    )
    try:
        outcome = await bench.python(code, limits=Limits(seconds=20, disk_bytes=50 * MIB))
    except OutputTooLargeError:
        return
    assert outcome.exit_code != 0
    assert "wrote all" not in outcome.stdout


async def test_a_program_that_is_not_there_is_the_sandboxes_failure(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(SandboxFailedError, match="no-such-program"):
        await bench.runtime.run(Job(("no-such-program",), tmp_path / "outputs"))


async def test_an_input_that_is_not_there_is_the_sandboxes_failure(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises(SandboxFailedError, match=r"missing\.csv"):
        await bench.python("pass", files={"/var/inputs/a/missing.csv": tmp_path / "missing.csv"})


async def test_an_image_of_another_runtime_is_refused(bench: Bench, tmp_path: Path) -> None:
    with pytest.raises((SandboxFailedError, ValueError)):
        await bench.runtime.run(Job((Python("elsewhere:0123"), "-c", "pass"), tmp_path / "outputs"))


async def test_a_version_of_python_that_nobody_has_is_named(bench: Bench) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert await bench.runtime.python_problem(version) is None
    problem = await bench.runtime.python_problem("3.99")
    assert problem is not None
    assert "3.99" in problem
