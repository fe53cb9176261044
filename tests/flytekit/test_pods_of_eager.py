"""Checks and tests as pods: what an `@eager` workflow on a cluster starts, each with its exact container command."""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flyte
import pytest
from eager_queue import Queue, Remote
from endpoint import Endpoint
from flytekit import ImageSpec, eager
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.core.context_manager import ExecutionState, FlyteContextManager
from flytekit.core.worker_queue import Controller
from flytekit.models.core.identifier import Identifier, ResourceType
from flytekit.types.file import FlyteFile
from handmade import add_up

from flyteplugins.codegen.core.environment import EnvironmentSpec
from flyteplugins.codegen.core.errors import (
    InvalidInputError,
    InvalidRequestError,
    JobTimedOutError,
    SandboxFailedError,
)
from flyteplugins.codegen.flytekit import AutoCoderAgent
from flyteplugins.codegen.flytekit.pods import PodRuntime
from flyteplugins.codegen.packages.resolve import resolve
from flyteplugins.codegen.sandbox.contract import At, Job, Limits, Python
from flyteplugins.codegen.sandbox.select import choose

pytestmark = pytest.mark.isolation

GIVEN = "hunter-two-two"
IMAGE = "registry.example/app:7"


@eager  # type: ignore[untyped-decorator] # flytekit has no types
async def pipeline(address: str, sales: FlyteFile) -> tuple[float, int]:
    agent = AutoCoderAgent(name="total", model="openai/scripted", api_base=address)
    result = await agent.generate.aio(
        "Add up the amounts and count the rows.", samples={"sales": sales}, outputs={"total": float, "rows": int}
    )
    summed = result.as_task(name="total-of-sales")(sales=sales)
    return summed.total, summed.rows


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    """The context of an `@eager` workflow in its pod, up to the queue that it hands tasks to."""
    monkeypatch.setenv("FLYTE_INTERNAL_IMAGE", IMAGE)
    queue = Queue(tmp_path / "pods", SHOP_TOKEN=GIVEN)
    context = FlyteContextManager.current_context()
    state = context.new_execution_state().with_params(mode=ExecutionState.Mode.EAGER_EXECUTION)
    with FlyteContextManager.with_context(context.with_execution_state(state).with_worker_queue(queue)):
        yield queue


async def a_job(folder: Path, code: str, *, build: bool = False, **changes: Any) -> tuple[PodRuntime, Job]:
    runtime, _ = await choose("auto")
    pods = PodRuntime(runtime, secrets=[flyte.Secret("token", group="shop")], retries=2, build=build)
    lock = await resolve(EnvironmentSpec(python=f"{sys.version_info.major}.{sys.version_info.minor}"))
    script = folder / "script.py"
    script.write_text(code)
    at = "/var/inputs/script.py"
    job = Job(
        argv=(Python(await pods.prepare(lock)), At(at), At("/var/outputs", "--outputs=")),
        outputs=folder / "taken",
        files={at: script},
    )
    return pods, dataclasses.replace(job, **changes)


async def test_each_run_of_a_generation_is_a_container_task(queue: Queue, endpoint: Endpoint, sales: Path) -> None:
    endpoint.respond = add_up
    given = await pipeline.run_with_backend(address=endpoint.url, sales=FlyteFile(str(sales)))
    assert given == (3.5, 2)
    *runs, last = queue.started
    assert last == "total-of-sales"
    assert len(runs) >= 3  # on the samples, again, and the tests
    for name in runs:
        template = queue.templates[name]
        assert (template.type, template.container.image) == ("raw-container", IMAGE)
        assert template.metadata.discoverable
        assert template.metadata.discovery_version.startswith(name.removeprefix("codegen-run-"))
        assert list(template.metadata.cache_ignore_input_vars) == ["job"]
        assert not template.container.env
    assert len({queue.templates[name].metadata.discovery_version for name in runs}) == len(runs)


async def test_what_decides_a_run_decides_its_version_and_nothing_else(queue: Queue, tmp_path: Path) -> None:
    code = "import sys, pathlib\npathlib.Path(sys.argv[1].split('=')[1], 'o').write_text('1')\n"
    changed: list[dict[str, Any]] = [{}, {}, {"network": True}, {"limits": Limits(seconds=9)}]
    for number, changes in enumerate(changed):
        folder = tmp_path / str(number)
        folder.mkdir()
        pods, job = await a_job(folder, code, **changes)
        assert (await pods.run(job)).exit_code == 0
        assert (job.outputs / "o").read_text() == "1"
    first, again, *others = queue.started
    assert first == again
    assert len({first, *others}) == 3
    assert queue.templates[first].metadata.retries.retries == 2


async def test_an_exit_status_comes_back_with_what_was_printed(queue: Queue, tmp_path: Path) -> None:
    pods, job = await a_job(tmp_path, "import sys\nprint('so far')\nsys.exit('no rows')\n")
    outcome = await pods.run(job)
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (1, "so far\n", "no rows\n")


async def test_a_time_out_fails_the_pod_and_is_a_time_out_here(queue: Queue, tmp_path: Path) -> None:
    code = "import time\nprint('begun', flush=True)\ntime.sleep(60)\n"
    pods, job = await a_job(tmp_path, code, limits=Limits(seconds=1))
    with pytest.raises(JobTimedOutError) as caught:
        await pods.run(job)
    assert caught.value.stdout == "begun\n"


async def test_a_pod_that_fails_by_itself_is_no_verdict_on_the_code(queue: Queue, tmp_path: Path) -> None:
    pods, job = await a_job(tmp_path, "print(1)\n")
    pods.name = "gone"  # a sandbox that the pod does not have
    with pytest.raises(SandboxFailedError, match="gone"):
        await pods.run(job)


async def test_a_pod_that_is_lost_is_started_once_more(queue: Queue, tmp_path: Path) -> None:
    pods, job = await a_job(tmp_path, "print('here')\n")
    queue.lost = 1
    assert (await pods.run(job)).stdout == "here\n"
    queue.lost = 2
    with pytest.raises(SandboxFailedError, match="node went away"):
        await pods.run(job)


async def test_a_secret_that_flyte_1_can_not_have_is_refused_at_once(queue: Queue) -> None:
    runtime, _ = await choose("auto")
    with pytest.raises(InvalidInputError, match="group"):
        PodRuntime(runtime, secrets=[flyte.Secret("token")])


async def test_a_secret_is_given_to_the_pod_by_flyte(queue: Queue, tmp_path: Path) -> None:
    code = "import os\nprint(len(os.environ['SHOP_TOKEN']), os.environ['PLAIN'])\n"
    env = {"SHOP_TOKEN": GIVEN, "PLAIN": "text"}
    pods, job = await a_job(tmp_path, code, env=env)
    assert (await pods.run(job)).stdout == "14 text\n"
    (template,) = queue.templates.values()
    assert not any(b"hunter" in content for content in queue.files)
    assert "hunter" not in str(template)
    # A pod's log and what it leaves are kept by others.
    pods, job = await a_job(tmp_path, "import os\nprint(os.environ['SHOP_TOKEN'])\n", env=env)
    assert (await pods.run(job)).stdout == "<secret SHOP_TOKEN>\n"
    pods, job = await a_job(
        tmp_path,
        "import os, time\nprint(os.environ['SHOP_TOKEN'], flush=True)\ntime.sleep(60)\n",
        env=env,
        limits=Limits(seconds=1),
    )
    with pytest.raises(JobTimedOutError) as caught:
        await pods.run(job)
    assert caught.value.stdout == "<secret SHOP_TOKEN>\n"
    (secret,) = template.security_context.secrets
    assert (secret.group, secret.key, secret.env_var) == ("shop", "token", "SHOP_TOKEN")


@eager(container_image="registry.example/of-its-own:3")  # type: ignore[untyped-decorator] # flytekit has no types
async def with_an_image() -> None:
    """A workflow whose pod has another image than its project."""


@eager(container_image=ImageSpec(name="spec"))  # type: ignore[untyped-decorator] # flytekit has no types
async def with_a_spec() -> None:
    """A workflow whose image was built for it."""


@pytest.mark.parametrize(
    ("workflow", "default", "image"),
    [
        (pipeline, "registry.example/project:1", "registry.example/project:1"),
        (with_an_image, "registry.example/project:1", "registry.example/of-its-own:3"),
        (with_a_spec, "registry.example/project:1", None),
        (pipeline, None, None),
    ],
)
async def test_the_pods_have_the_image_that_the_workflow_was_registered_with(
    workflow: Any, default: str | None, image: str | None, queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FLYTE_INTERNAL_IMAGE")
    runtime, _ = await choose("auto")
    config = ImageConfig(default_image=Image("default", *default.rsplit(":", 1)) if default else None)
    task_id = Identifier(ResourceType.TASK, "p", "d", workflow.name, "v1")
    context = FlyteContextManager.current_context()
    parameters = context.user_space_params.builder()
    parameters.task_id = task_id
    state = context.execution_state.with_params(user_space_params=parameters.build())
    builder = context.with_execution_state(state).with_serialization_settings(SerializationSettings(config))
    with FlyteContextManager.with_context(builder):
        if image is None:
            with pytest.raises(InvalidRequestError, match="run_image"):
                PodRuntime(runtime)
        else:
            pods, job = await a_job(tmp_path, "print(1)\n")
            await pods.run(job)
            (template,) = queue.templates.values()
            assert template.container.image == image
        assert PodRuntime(runtime, image="registry.example/own:1").name == runtime.name


async def test_environments_are_an_image_spec_where_images_are_built(queue: Queue, tmp_path: Path) -> None:
    pods, job = await a_job(tmp_path, "print('here')\n", build=True)
    assert (await pods.run(job)).stdout == "here\n"
    (template,) = queue.templates.values()
    assert template.container.image == "registry.example/built:1"
    (spec,) = queue.specs
    assert (spec.base_image, spec.python_exec) == (IMAGE, sys.executable)
    # What the image runs when it is built, with the state folder elsewhere.
    prepare, opened = spec.commands
    home = tmp_path / "in-the-image"
    env = os.environ | {"FLYTEPLUGINS_CODEGEN_HOME": str(home)}
    subprocess.run(shlex.split(prepare), env=env, check=True)
    subprocess.run(shlex.split(opened.replace("/opt/codegen", str(home))), check=True)
    assert spec.env == {"FLYTEPLUGINS_CODEGEN_HOME": "/opt/codegen"}
    assert len(list((home / "environments").iterdir())) >= 1
    again, other = await a_job(tmp_path, "print('there')\n", build=True)
    await again.run(other)
    assert [spec.id for spec in queue.specs] == [spec.id] * 2


async def test_flytekits_own_controller_starts_the_pods_and_a_retry_finds_them(queue: Queue, tmp_path: Path) -> None:
    """A second attempt of the workflow's pod asks for executions of the same names, which Flyte then hands back."""
    remote = Remote(queue)
    for attempt in range(2):
        settings = SerializationSettings(image_config=ImageConfig(default_image=None), version="v7")
        controller = Controller(remote, settings, tag="the-execution", root_tag="the-execution", exec_prefix="e-main")
        context = FlyteContextManager.current_context().with_worker_queue(controller)
        with FlyteContextManager.with_context(context):
            (tmp_path / str(attempt)).mkdir()
            pods, job = await a_job(tmp_path / str(attempt), "print('here')\n")
            assert (await pods.run(job)).stdout == "here\n"
            # Another job meanwhile, which fails.
            pods, job = await a_job(tmp_path / str(attempt), "import time; time.sleep(9)\n", limits=Limits(seconds=1))
            with pytest.raises(JobTimedOutError):
                await pods.run(job)
        controller.stopping_condition.set()
    first, failing, again, failing_again = remote.executions
    assert (first, failing) == (again, failing_again)
    assert {version for _, version in remote.executions} == {"v7"}
