"""A container on a ready image: it installs what is locked, and nothing else, then runs the code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flyte.extras import serialize
from goldens import assert_golden, text_of_specs
from handmade import made_result
from pods import container_of, engine, image_like_flytes
from staged import run_staged
from wheels import index_of, lock_of, wheel

from flyteplugins.codegen import AutoCoderAgent, CodeGenEvalResult
from flyteplugins.codegen.core.environment import EnvironmentSpec, Lock
from flyteplugins.codegen.core.errors import EnvironmentBuildError, InvalidRequestError
from flyteplugins.codegen.core.uv import uv_binary
from flyteplugins.codegen.packages.resolve import resolve
from flyteplugins.codegen.sandbox.environments import EnvironmentStore

GREETS = """
import argparse
from pathlib import Path

import greeter


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--who")
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    Path(args.outputs, "greeting").write_text(greeter.greeting(args.who))


if __name__ == "__main__":
    main()
"""
MODULE = "def greeting(who):\n    return f'Good day, {who}.'\n"
GREETING = "Good day, O'Hara $(id)."


@pytest.fixture
def greeter(tmp_path: Path) -> Path:
    return wheel(tmp_path / "wheels", "greeter", MODULE)


async def result_of(lock: Lock, **settings: Any) -> CodeGenEvalResult:
    settings = {"image_strategy": "install", "sandbox": "process", **settings}
    result = await made_result(GREETS, inputs={"who": str}, outputs={"greeting": str}, name="greets", **settings)
    return result.model_copy(update={"lock": lock})


def greeted(result: CodeGenEvalResult, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command of the container; it says what it did, or why not."""
    task = result.as_task(name="greets")
    task.environment()
    return run_staged(task, {"who": "O'Hara $(id)"}, folder, env={"PATH": "/usr/bin:/bin", **env})


def greeting(folder: Path) -> str:
    return (folder / "outputs" / "greeting").read_text()


@pytest.mark.parametrize("tool", ["uv", "pip"])
async def test_packages_come_from_a_folder_of_wheels_without_any_network(
    greeter: Path, tmp_path: Path, tool: str
) -> None:
    result = await result_of(lock_of(greeter), wheels=str(greeter.parent))
    path = {"PATH": f"{Path(uv_binary()).parent}:/usr/bin:/bin"} if tool == "uv" else {}
    # An index that can't be reached: whatever looks at it fails.
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple"}
    done = greeted(result, tmp_path / "pod", **nowhere, **path)
    assert done.returncode == 0, done.stderr
    assert greeting(tmp_path / "pod") == GREETING


@pytest.mark.parametrize("tool", ["uv", "pip"])
async def test_a_wheel_with_another_content_is_not_installed(greeter: Path, tmp_path: Path, tool: str) -> None:
    result = await result_of(lock_of(greeter), wheels=str(greeter.parent))
    wheel(greeter.parent, "greeter", "def greeting(who):\n    return 'poisoned'\n")
    path = {"PATH": f"{Path(uv_binary()).parent}:/usr/bin:/bin"} if tool == "uv" else {}
    done = greeted(result, tmp_path / "pod", **path)
    assert done.returncode == 125
    assert "could not be installed" in done.stderr
    assert "greeter" in done.stderr
    assert not list((tmp_path / "pod" / "outputs").iterdir())


async def test_wheels_of_an_index_are_kept_on_a_volume_and_compared_with_their_hashes(
    greeter: Path, tmp_path: Path
) -> None:
    result = await result_of(lock_of(greeter))
    volume = tmp_path / "volume"
    with index_of(greeter) as (address, asked):
        node = {"PIP_INDEX_URL": address, "FLYTEPLUGINS_CODEGEN_HOME": str(volume)}
        assert greeted(result, tmp_path / "one", **node).returncode == 0
        fetched = len(asked)
        assert fetched
        assert greeted(result, tmp_path / "two", **node).returncode == 0
        assert len(asked) == fetched
        [kept] = (volume / "wheels").glob("*.whl")
        kept.write_bytes(b"poisoned")
        done = greeted(result, tmp_path / "three", **node)
        assert done.returncode == 0, done.stderr
        assert len(asked) > fetched
    assert {greeting(tmp_path / pod) for pod in ("one", "two", "three")} == {GREETING}


@pytest.mark.parametrize("user", ["the image's", "root"])
async def test_a_container_installs_without_a_network_and_runs_confined(
    greeter: Path, tmp_path: Path, user: str
) -> None:
    """The exact command in a real container, on an image that has uv and nothing of the packages."""
    lock = lock_of(greeter).model_copy(update={"python": "3.11"})
    result = await result_of(lock, wheels="/opt/wheels", sandbox="auto")
    task = result.as_task(name="greets")
    greeter.parent.chmod(0o755)
    mounts = {greeter.parent: "/opt/wheels", Path(uv_binary()): "/usr/local/bin/uv"}
    host = {"user": "0"} if user == "root" else {}
    with (
        engine() as client,
        image_like_flytes(client) as image,
        container_of(client, image, task, {"who": "O'Hara $(id)"}, tmp_path / "pod", mounts=mounts, **host) as made,
    ):
        pod = made.to_end()
    assert pod.status == 0, pod.log
    assert (pod.outputs / "greeting").read_text() == GREETING
    assert "sandbox:" not in pod.log


async def test_a_container_that_can_not_install_says_why_to_kubernetes(greeter: Path, tmp_path: Path) -> None:
    lock = lock_of(greeter).model_copy(update={"python": "3.11"})
    task = (await result_of(lock, wheels="/opt/nowhere", sandbox="auto")).as_task(name="greets")
    with (
        engine() as client,
        image_like_flytes(client) as image,
        container_of(client, image, task, {"who": "x"}, tmp_path / "pod") as made,
    ):
        pod = made.to_end()
    assert pod.status == 125
    assert pod.message == "The packages of the code could not be installed: the image has neither uv nor pip"


async def test_an_image_of_another_python_is_told(greeter: Path, tmp_path: Path) -> None:
    lock = lock_of(greeter).model_copy(update={"python": "3.9"})
    done = greeted(await result_of(lock, wheels=str(greeter.parent)), tmp_path / "pod")
    assert done.returncode == 125
    assert "locked for 3.9" in done.stderr


async def test_nothing_is_installed_where_there_are_no_packages() -> None:
    result = await made_result(GREETS, inputs={"who": str}, outputs={"greeting": str}, image_strategy="install")
    task = result.as_task(name="none")
    task.environment()
    container = serialize(task).task_template.container
    other = result.model_copy(update={"defaults": result.defaults.model_copy(update={"image_strategy": "build"})})
    built = other.as_task(name="none")
    built.environment()
    assert list(container.args) == list(serialize(built).task_template.container.args)
    assert container.image.partition("/")[2].startswith("flyteorg/flyte:py3.")


async def test_what_is_sent_to_a_cluster(greeter: Path) -> None:
    lock = lock_of(greeter).model_copy(update={"python": "3.11"})
    own = await result_of(lock, base_image="registry.example/team/python:3", wheels="/wheels")
    task = own.as_task(name="on-a-ready-image")
    task.environment()
    assert_golden("install", text_of_specs([serialize(task)]))


async def test_debian_packages_need_an_image_that_has_them(greeter: Path) -> None:
    lock = lock_of(greeter).model_copy(update={"system_packages": ("ffmpeg",)})
    with pytest.raises(InvalidRequestError, match=r"ffmpeg.*base_image"):
        (await result_of(lock)).as_task(name="films")
    (await result_of(lock, base_image="registry.example/films:1")).as_task(name="films")


async def test_environments_of_this_machine_come_from_wheels_where_uv_is_told_so(
    greeter: Path, tmp_path: Path, codegen_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_FIND_LINKS", str(greeter.parent))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    lock = await resolve(EnvironmentSpec(python=python, packages=("greeter",)))
    assert lock.requirements == lock_of(greeter).requirements
    environment = await EnvironmentStore().ensure(lock)
    assert list(environment.glob("lib/python3*/site-packages/greeter.py"))
    with pytest.raises(EnvironmentBuildError, match="six"):
        await resolve(EnvironmentSpec(python=python, packages=("six",)))


def test_an_agent_says_how_images_come_about() -> None:
    agent = AutoCoderAgent(image_strategy="install", base_image="python:3.12", wheels="/wheels")
    assert agent.image_strategy == "install"
    with pytest.raises(InvalidRequestError, match="image_strategy='cached' is unknown"):
        AutoCoderAgent(image_strategy="cached")  # type: ignore[arg-type]  # what is tested
    assert os.environ.get("FLYTEPLUGINS_CODEGEN_HOME")
