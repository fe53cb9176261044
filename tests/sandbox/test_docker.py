"""Docker as a sandbox: what is its own, against a real engine. What all runtimes share is in the conformance suite."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import (
    EnvironmentBuildError,
    JobKilledError,
    JobOutOfMemoryError,
    JobTimedOutError,
    OutputTooLargeError,
    SandboxFailedError,
)
from flyteplugins.codegen.sandbox.contract import Argument, At, Job, Limits, Outcome, Python
from flyteplugins.codegen.sandbox.docker import DockerRuntime
from flyteplugins.codegen.sandbox.processes import mark

docker = pytest.importorskip("docker")

VERSION = "3.11"
BASE = f"flyteplugins-codegen-base:py{VERSION}"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """The engine; the tests are skipped where none answers or it lacks the base image."""
    try:
        client = docker.APIClient(version="auto")
        client.inspect_image(BASE)
    except docker.errors.ImageNotFound:
        pytest.skip(f"the Docker engine has no {BASE}: run images/build-base.sh")
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    yield client
    client.close()


@pytest.fixture
def runtime(engine: Any, codegen_home: Path) -> Iterator[DockerRuntime]:
    """The runtime; afterwards neither a container nor a file of a job is left."""
    yield DockerRuntime()
    assert containers(engine) == []
    left = [path.name for path in (codegen_home / "docker").glob("*") if path.suffix != ".lock"]
    assert left == []


def containers(engine: Any) -> list[dict[str, Any]]:
    """The containers of this test process."""
    label = f"flyteplugins-codegen.owner={socket.gethostname()} {mark()}"
    found: list[dict[str, Any]] = engine.containers(all=True, filters={"label": label})
    return found


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    """A job that runs Python code with the base image's own interpreter, or with another."""

    def make(
        code: str,
        *arguments: Argument,
        python: Argument = "python3",
        files: dict[str, Path] | None = None,
        env: dict[str, Argument] | None = None,
        network: bool = False,
        **limits: Any,
    ) -> Job:
        outputs = tmp_path / f"outputs-{uuid.uuid4().hex[:8]}"
        outputs.mkdir()
        return Job((python, "-c", code, *arguments), outputs, files or {}, env or {}, Limits(**limits), network=network)

    return make


def fresh_lock(requirements: str = "") -> Lock:
    """A lock that no image has been built for yet: a comment makes its content its own."""
    return Lock(
        python=VERSION,
        platform=f"{os.uname().machine}-unknown-linux-gnu",
        requirements=f"# {uuid.uuid4()}\n{requirements}",
    )


@pytest.fixture
def images(engine: Any) -> Iterator[list[str]]:
    """Images that a test made, to be removed after it."""
    made: list[str] = []
    yield made
    for image in reversed(made):
        with contextlib.suppress(docker.errors.ImageNotFound):
            engine.remove_image(image, force=True)


TABULATE = "tabulate==0.9.0 --hash=sha256:024ca478df22e9340661486f85298cff5f6dcdba14f3813e8830015b9ed1948f"
SIX = "six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274"


# --- what it can do here ---


async def test_the_probe_says_which_engine_and_base_image_were_found(runtime: DockerRuntime) -> None:
    found = await runtime.probe()
    assert found.available
    assert BASE in found.reason


async def test_without_an_engine_the_probe_says_what_to_install(
    codegen_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    found = await DockerRuntime().probe()
    assert not found.available
    assert "apt-get install docker.io" in found.reason


async def test_without_an_engine_a_job_and_a_build_fail_as_infrastructure(
    codegen_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Callable[..., Job]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine.sock")
    with pytest.raises(SandboxFailedError):
        await DockerRuntime().run(job("print(1)"))
    with pytest.raises(EnvironmentBuildError):
        await DockerRuntime().prepare(fresh_lock())


async def test_a_python_version_is_had_where_its_base_image_is(runtime: DockerRuntime) -> None:
    assert await runtime.python_problem(VERSION) is None


async def test_a_python_version_that_is_too_old_is_refused_and_the_choice_named(runtime: DockerRuntime) -> None:
    problem = await runtime.python_problem("3.6")
    assert problem is not None
    assert "3.12" in problem


# --- environments ---


async def test_an_image_is_built_once_however_many_want_it(
    runtime: DockerRuntime, engine: Any, images: list[str], job: Callable[..., Job]
) -> None:
    lock = fresh_lock(TABULATE)
    names = await asyncio.gather(*(runtime.prepare(lock) for _ in range(4)))
    images.extend(set(names))
    assert len(set(names)) == 1
    built = engine.inspect_image(names[0])["Id"]
    assert await runtime.prepare(lock) == names[0]
    assert engine.inspect_image(names[0])["Id"] == built
    code = "import tabulate, sys; print(tabulate.__version__, sys.prefix != sys.base_prefix)"
    assert (await runtime.run(job(code, python=Python(names[0])))).stdout == "0.9.0 True\n"


async def test_modules_in_an_image_are_compiled_so_that_no_run_pays_for_it(
    runtime: DockerRuntime, images: list[str], job: Callable[..., Job]
) -> None:
    images.append(image := await runtime.prepare(fresh_lock(TABULATE)))
    outcome = await runtime.run(
        job("import tabulate, os; print(os.path.exists(tabulate.__cached__))", python=Python(image))
    )
    assert outcome.stdout == "True\n"


async def test_an_image_that_somebody_removed_is_built_again(
    runtime: DockerRuntime, engine: Any, images: list[str]
) -> None:
    lock = fresh_lock()
    images.append(image := await runtime.prepare(lock))
    engine.remove_image(image, force=True)
    assert await runtime.prepare(lock) == image
    assert engine.inspect_image(image)


async def test_a_job_uses_the_environments_of_the_tests_and_of_the_solution_side_by_side(
    runtime: DockerRuntime, images: list[str], engine: Any, job: Callable[..., Job]
) -> None:
    before = combinations(engine)
    tests = await runtime.prepare(fresh_lock(SIX))
    solution = await runtime.prepare(fresh_lock(TABULATE))
    code = """
import os, six, subprocess, sys
try:
    import tabulate
except ImportError:
    print("apart", flush=True)
subprocess.run([sys.argv[1].partition("=")[2], "-c", "import tabulate; print(tabulate.__name__)"], check=True)
subprocess.run([os.environ["SOLUTION"], "-c", "import tabulate; print(tabulate.__name__)"], check=True)
"""
    outcome = await runtime.run(
        job(code, Python(solution, "--python="), python=Python(tests), env={"SOLUTION": Python(solution)})
    )
    images.extend([tests, solution, *(combinations(engine) - before)])
    assert (outcome.stdout, outcome.exit_code) == ("apart\ntabulate\ntabulate\n", 0), outcome.stderr


def combinations(engine: Any) -> set[str]:
    """The images that were made of several environments."""
    found = engine.images(filters={"label": "flyteplugins-codegen=combination"})
    return {name for image in found for name in image["RepoTags"] or ()}


async def test_wheels_whose_hash_is_not_the_locks_are_refused(runtime: DockerRuntime) -> None:
    with pytest.raises(EnvironmentBuildError, match=r"[Hh]ash"):
        await runtime.prepare(fresh_lock(TABULATE.replace("024ca", "12345")))


async def test_a_lock_for_another_system_is_refused_and_the_right_one_named(runtime: DockerRuntime) -> None:
    lock = fresh_lock().model_copy(update={"platform": "aarch64-apple-darwin"})
    with pytest.raises(EnvironmentBuildError, match="unknown-linux-gnu"):
        await runtime.prepare(lock)


async def test_an_apt_name_that_is_an_option_never_reaches_apt(runtime: DockerRuntime) -> None:
    lock = fresh_lock().model_copy(update={"system_packages": ("-o=APT::Update::Pre-Invoke::=id",)})
    with pytest.raises(EnvironmentBuildError, match="not the name of an apt package"):
        await runtime.prepare(lock)


async def test_apt_packages_are_installed_and_an_unknown_one_is_named(
    runtime: DockerRuntime, images: list[str], job: Callable[..., Job]
) -> None:
    lock = fresh_lock().model_copy(update={"system_packages": ("hello",)})
    try:
        images.append(image := await runtime.prepare(lock))
    except EnvironmentBuildError as error:
        if "resolving" in str(error) or "connect" in str(error):
            pytest.skip(f"containers of this engine don't reach Debian's packages: {str(error)[:200]}")
        raise
    outcome = await runtime.run(job("import subprocess; subprocess.run(['hello'], check=True)", python=Python(image)))
    assert outcome.stdout == "Hello, world!\n"
    unknown = lock.model_copy(update={"system_packages": ("no-such-package-in-debian",)})
    with pytest.raises(EnvironmentBuildError, match="no-such-package-in-debian") as caught:
        await runtime.prepare(unknown)
    assert caught.value.packages == ("no-such-package-in-debian",)


async def test_a_job_whose_image_is_gone_fails_as_infrastructure(
    runtime: DockerRuntime, job: Callable[..., Job]
) -> None:
    with pytest.raises(SandboxFailedError, match=r"(?i)no such image"):
        await runtime.run(job("print(1)", python=Python(f"flyteplugins-codegen:{'0' * 64}")))


# --- isolation ---

LOOK_AROUND = """
import os
status = dict(line.rstrip().split(":\\t") for line in open("/proc/self/status") if ":\\t" in line)
print("root" if 0 in (os.getuid(), os.geteuid(), os.getgid()) or 0 in os.getgroups() else "nobody")
print("capabilities", int(status["CapEff"], 16), int(status["CapBnd"], 16), "privileges", status["NoNewPrivs"])
print("interfaces", *sorted(os.listdir("/sys/class/net")))
print("processes", sum(name.isdigit() for name in os.listdir("/proc")) < 8)
for path in ("/x", "/etc/passwd", "/usr/lib/python3/x", "/opt/x", "/var/x", "/root/x", "/var/inputs/x", "/run/x"):
    try:
        open(path, "a")
    except OSError:
        continue
    print("written", path)
open("/tmp/x", "w").write("x")
print(os.path.exists("/var/run/docker.sock"))
"""


async def test_a_program_is_nobody_on_a_read_only_root_without_a_network(
    runtime: DockerRuntime, job: Callable[..., Job]
) -> None:
    outcome = await runtime.run(job(LOOK_AROUND))
    assert outcome.stdout.splitlines() == [
        "nobody",
        "capabilities 0 0 privileges 1",
        "interfaces lo",
        "processes True",
        "False",
    ], outcome.stderr


async def test_a_listener_on_the_host_is_out_of_reach(runtime: DockerRuntime, job: Callable[..., Job]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0)
        port = listener.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 2)"
        outcome = await runtime.run(job(code))
        assert outcome.exit_code == 1
        assert "ConnectionRefusedError" in outcome.stderr
        with pytest.raises(BlockingIOError):
            listener.accept()


async def test_a_job_that_may_use_the_network_has_one(runtime: DockerRuntime, job: Callable[..., Job]) -> None:
    outcome = await runtime.run(job("import os; print(len(os.listdir('/sys/class/net')) > 1)", network=True))
    assert outcome.stdout == "True\n"


async def test_only_named_variables_arrive(
    runtime: DockerRuntime, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_HOST", "x")
    code = "import os; print(os.environ.get('SECRET_OF_THE_HOST'), os.environ['GIVEN'], os.environ['PLACE'])"
    outcome = await runtime.run(job(code, env={"GIVEN": "a\nb $(id) '\"", "PLACE": At("/var/outputs/x", "at:")}))
    assert outcome.stdout == "None a\nb $(id) '\" at:/var/outputs/x\n"


async def test_the_proxies_of_the_users_docker_settings_stay_out_of_jobs_and_images(
    runtime: DockerRuntime,
    engine: Any,
    images: list[str],
    job: Callable[..., Job],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxies = {"default": {"httpProxy": "http://user:password@127.0.0.1:9"}}
    (tmp_path / "config.json").write_text(json.dumps({"proxies": proxies}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    images.append(image := await runtime.prepare(fresh_lock()))
    outcome = await runtime.run(job("import os; print(dict(os.environ))", python=Python(image)))
    assert "PATH" in outcome.stdout
    assert "password" not in outcome.stdout + json.dumps(engine.inspect_image(image))


async def test_inputs_are_read_also_private_ones_and_can_not_be_changed(
    runtime: DockerRuntime, job: Callable[..., Job], tmp_path: Path
) -> None:
    secret = tmp_path / "named, as it was.csv"
    secret.write_text("a\n1\n")
    secret.chmod(0o600)
    path = f"/var/inputs/sales/{secret.name}"
    code = """
import os, sys
print(open(sys.argv[1]).read(), end="")
for attempt in (lambda: open(sys.argv[1], "w"), lambda: os.remove(sys.argv[1]), lambda: os.chmod(sys.argv[1], 0o777)):
    try:
        attempt()
    except OSError:
        print("refused")
"""
    outcome = await runtime.run(job(code, At(path), files={path: secret}))
    assert outcome.stdout == "a\n1\n" + "refused\n" * 3, outcome.stderr
    assert secret.read_text() == "a\n1\n"
    assert secret.stat().st_mode & 0o777 == 0o600


async def test_outputs_arrive_as_the_users_own_and_links_do_not(
    runtime: DockerRuntime, job: Callable[..., Job], tmp_path: Path
) -> None:
    target = tmp_path / "of the host"
    target.write_text("secret")
    code = f"""
import os
os.chdir("/var/outputs")
os.symlink("/etc/passwd", "absolute")
os.symlink({str(target)!r}, "host")
os.symlink("../../..", "folder")
os.mkfifo("pipe")
os.makedirs("a/b")
open("a/b/report.csv", "w").write("x")
os.chmod("a/b/report.csv", 0)
os.chmod("a/b", 0o500)
open("total", "w").write("1")
os.chmod("total", 0o4755)
"""
    task = job(code)
    outcome = await runtime.run(task)
    assert outcome.exit_code == 0, outcome.stderr
    arrived = sorted(str(path.relative_to(task.outputs)) for path in task.outputs.rglob("*"))
    assert arrived == ["a", "a/b", "a/b/report.csv", "total"]
    assert (task.outputs / "a/b/report.csv").read_text() == "x"
    for path in (task.outputs / "total", task.outputs / "a/b/report.csv"):
        assert path.stat().st_uid == os.geteuid()
        assert path.stat().st_mode & 0o7022 == 0


# --- what comes of a run ---


@pytest.mark.parametrize("status", [0, 1, 7, 125, 200])
async def test_an_exit_status_comes_back(status: int, runtime: DockerRuntime, job: Callable[..., Job]) -> None:
    outcome = await runtime.run(
        job(f"import sys; print('out'); print('err', file=sys.stderr); sys.exit({status})", seconds=None)
    )
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (status, "out\n", "err\n")


async def test_a_program_that_a_signal_ended_is_no_exit(runtime: DockerRuntime, job: Callable[..., Job]) -> None:
    with pytest.raises(JobKilledError, match="SIGSEGV") as caught:
        await runtime.run(job("import os; print('before', flush=True); os.kill(os.getpid(), 11)"))
    assert caught.value.stdout == "before\n"


async def test_a_program_that_is_not_there_fails_as_infrastructure(
    runtime: DockerRuntime, job: Callable[..., Job]
) -> None:
    for seconds in (10.0, None):
        with pytest.raises(SandboxFailedError, match="no-such-program"):
            await runtime.run(job("", python="no-such-program", seconds=seconds))


@pytest.mark.parametrize("size", [1, 1_000_000], ids=["short", "1 MB"])
async def test_arguments_arrive_unchanged(size: int, runtime: DockerRuntime, job: Callable[..., Job]) -> None:
    given = ["", "it's", 'a "b"', "$(id) `id` ; id", "two\nlines\\n", "--flag=-1", "é 漢 \t", "*", "x" * size]
    task = job("import sys, json; json.dump(sys.argv[1:], open('/var/outputs/a', 'w'))", *given)
    outcome = await runtime.run(task)
    assert outcome.exit_code == 0, outcome.stderr
    assert json.loads((task.outputs / "a").read_text()) == given


async def test_the_time_limit_ends_the_whole_tree_and_keeps_what_was_printed(
    runtime: DockerRuntime, job: Callable[..., Job], engine: Any
) -> None:
    code = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"], start_new_session=True)
print("so far", flush=True)
print("and this", file=sys.stderr, flush=True)
time.sleep(100)
"""
    began = time.monotonic()
    with pytest.raises(JobTimedOutError, match="1 s") as caught:
        await runtime.run(job(code, seconds=1.0))
    assert (caught.value.stdout, caught.value.stderr) == ("so far\n", "and this\n")
    assert time.monotonic() - began < 10
    assert containers(engine) == []


async def test_what_a_program_leaves_running_ends_with_it(runtime: DockerRuntime, job: Callable[..., Job]) -> None:
    code = "import subprocess; subprocess.Popen(['sleep', '100'], start_new_session=True); print('done')"
    outcome = await asyncio.wait_for(runtime.run(job(code)), 20)
    assert outcome.stdout == "done\n"


async def test_memory_over_the_limit_is_out_of_memory(runtime: DockerRuntime, job: Callable[..., Job]) -> None:
    with pytest.raises(JobOutOfMemoryError, match="128 MiB") as caught:
        await runtime.run(job("print('before', flush=True); x = bytearray(1 << 30)", memory_bytes=128 << 20))
    assert caught.value.stdout == "before\n"


async def test_memory_of_a_child_counts_too(runtime: DockerRuntime, job: Callable[..., Job]) -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = bytearray(1 << 30)'], check=True)"
    with pytest.raises(JobOutOfMemoryError):
        await runtime.run(job(code, memory_bytes=128 << 20))


async def test_processes_are_limited(runtime: DockerRuntime, job: Callable[..., Job]) -> None:
    code = """
import os, time
started = 0
try:
    for _ in range(100):
        if os.fork() == 0:
            time.sleep(100)
        started += 1
except BlockingIOError:
    print(started)
"""
    outcome = await runtime.run(job(code, processes=16))
    assert 1 < int(outcome.stdout) <= 16


async def test_output_over_its_cap_ends_the_program_within_bounded_memory(
    runtime: DockerRuntime, job: Callable[..., Job]
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(OutputTooLargeError, match="printed") as caught:
        await runtime.run(job("while True: print('x' * 10_000)", output_bytes=64 << 20))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    assert grown < 48 << 20
    assert 0 < len(caught.value.stdout) < 4 << 20


@pytest.mark.parametrize(
    "code",
    [
        "import time\nfor i in range(64): open(f'/var/outputs/{i}', 'wb').write(bytes(1 << 20)); time.sleep(0.02)",
        "for i in range(8): open(f'/var/outputs/{i}', 'wb').write(bytes(1 << 20))",
    ],
    ids=["while it runs", "at its end"],
)
async def test_files_over_their_cap_are_an_error(code: str, runtime: DockerRuntime, job: Callable[..., Job]) -> None:
    task = job(code, disk_bytes=4 << 20)
    with pytest.raises(OutputTooLargeError, match="wrote"):
        await runtime.run(task)
    assert list(task.outputs.iterdir()) == []


async def test_a_single_file_can_not_outgrow_the_cap_and_temporary_files_are_limited(
    runtime: DockerRuntime, job: Callable[..., Job]
) -> None:
    code = """
for path in ("/var/outputs/x", "/tmp/x"):
    try:
        with open(path, "wb") as file:
            for _ in range(64):
                file.write(bytes(1 << 20))
    except OSError as error:
        print(error.strerror)
import os
os.remove("/var/outputs/x")
"""
    outcome = await runtime.run(job(code, disk_bytes=8 << 20))
    assert outcome.stdout.splitlines() == ["File too large"] * 2 or outcome.stdout.splitlines() == [
        "File too large",
        "No space left on device",
    ]


async def test_a_cancelled_job_leaves_no_container(
    runtime: DockerRuntime, job: Callable[..., Job], engine: Any
) -> None:
    running = asyncio.create_task(runtime.run(job("import time; time.sleep(100)")))
    await until(lambda: [found for found in containers(engine) if found["State"] == "running"])
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert containers(engine) == []


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1, 0.2])
async def test_a_job_that_is_cancelled_while_it_starts_leaves_no_container(
    delay: float, runtime: DockerRuntime, job: Callable[..., Job], engine: Any
) -> None:
    running = asyncio.create_task(runtime.run(job("import time; time.sleep(100)")))
    await asyncio.sleep(delay)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert containers(engine) == []


async def test_the_event_loop_is_free_while_jobs_run(runtime: DockerRuntime, job: Callable[..., Job]) -> None:
    longest = 0.0

    async def beat() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    beating = asyncio.create_task(beat())
    outcomes: list[Outcome] = await asyncio.gather(
        *(runtime.run(job(f"import time; time.sleep(1); print({number})")) for number in range(8))
    )
    beating.cancel()
    assert [outcome.stdout for outcome in outcomes] == [f"{number}\n" for number in range(8)]
    assert longest < 0.7


async def test_a_container_ends_with_the_process_that_started_it_and_the_next_look_removes_it(
    runtime: DockerRuntime, engine: Any, tmp_path: Path
) -> None:
    program = """
import asyncio, sys
from pathlib import Path
from flyteplugins.codegen.sandbox.contract import Job
from flyteplugins.codegen.sandbox.docker import DockerRuntime
asyncio.run(DockerRuntime().run(Job(("sleep", "100"), Path(sys.argv[1]))))
"""
    environment = {**os.environ, "FLYTEPLUGINS_CODEGEN_HOME": str(tmp_path / "other-home")}
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "outputs")], env=environment) as driver:
        label = f"flyteplugins-codegen.owner={socket.gethostname()} {mark(driver.pid)}"
        await until(lambda: engine.containers(filters={"label": label}))
        driver.send_signal(signal.SIGKILL)
    await until(lambda: not engine.containers(filters={"label": label, "status": "running"}), 10)
    assert (await runtime.probe()).available
    assert engine.containers(all=True, filters={"label": label}) == []


def test_the_script_for_the_base_image_does_nothing_where_it_is_there(engine: Any) -> None:
    before = engine.inspect_image(BASE)["Id"]
    done = subprocess.run(["sh", str(ROOT / "images/build-base.sh")], capture_output=True, text=True, check=True)
    assert "already" in done.stdout
    assert engine.inspect_image(BASE)["Id"] == before


async def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a condition that is asked for again and again."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
