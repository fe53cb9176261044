"""`generate()` in the pods of a cluster: what a retried attempt finds, and what it asks for again."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, cluster_of, run_container, run_pod
from endpoint import Endpoint, Received, Reply
from handmade import STRICT_TOTAL, add_up

pytestmark = pytest.mark.isolation

PROGRAM = '''
"""A task that generates code; it ends itself after an event that it is told of in DIES_AFTER."""

import asyncio
import json
import os
import pathlib
import signal

import flyte
import pandas as pd
from flyteplugins.codegen import AutoCoderAgent
from flyteplugins.codegen.core.events import Event, ModelAnswered

env = flyte.TaskEnvironment("pod")
answered = set()


def told(event: Event) -> None:
    name = event.step if isinstance(event, ModelAnswered) else type(event).__name__
    print("EVENT", name, getattr(event, "served", ""), getattr(event, "message", ""), flush=True)
    if "The code runs on" in getattr(event, "message", ""):
        name = "ImageNote"
    if name == "plan" and "TROUBLE" in os.environ:
        pathlib.Path(os.environ["TROUBLE"]).touch()
    if isinstance(event, ModelAnswered):
        answered.add(name)
    # Code and tests are written side by side: what is in flight when a pod is lost was not recorded.
    if name == os.environ.get("DIES_AFTER") or os.environ.get("DIES_AFTER") == "+".join(sorted(answered - {"plan"})):
        os.kill(os.getpid(), signal.SIGKILL)


@env.task
async def generates() -> str:
    agent = AutoCoderAgent(
        name="total",
        model="openai/gpt-4.1",
        api_base=os.environ["ENDPOINT"],
        store=os.environ.get("STORE"),
        image_strategy=os.environ.get("STRATEGY", "auto"),
        sandbox_retries=int(os.environ.get("RETRIES", "0")),
        sandbox=os.environ.get("SANDBOX", "auto"),
        on_event=told,
    )
    result = await agent.generate.aio(
        prompt="Add up the amounts and count the rows.",
        samples={"sales": pd.DataFrame({"amount": [1, 2.5]})},
        outputs={"total": float, "rows": int},
    )
    if os.environ.get("FAILS") or not result.success:
        raise RuntimeError(result.error or "something else in this task failed")
    if "RUNS" in os.environ:
        task = result.as_task()
        ran = await asyncio.gather(task.aio(), task.aio(), result.run.aio())
        return json.dumps({"ran": ran, "image": result.image, "warnings": result.receipt.warnings})
    used = {step: use.model_dump(exclude={"seconds"}) for step, use in result.usage.by_step.items()}
    total = result.usage.total.model_dump(exclude={"seconds"})
    made = {"code": result.solution.code, "tests": result.tests, "not_checked": result.receipt.not_checked}
    return json.dumps({**made, "used": used, "total": total})
'''


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with cluster_of("cluster") as cluster:
        yield cluster


@pytest.fixture
def program(tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> Path:
    endpoint.respond = add_up
    monkeypatch.setenv("ENDPOINT", endpoint.url)
    path = tmp_path / "program" / "generating.py"
    path.parent.mkdir()
    path.write_text(PROGRAM)
    return path


def asked(endpoint: Endpoint) -> Counter[str]:
    return Counter(request.step or "" for request in endpoint.requests)


ONCE = Counter(["plan", "code", "tests"])


def test_a_retry_of_a_pod_that_was_killed_asks_for_nothing_again(
    cluster: Cluster, program: Path, endpoint: Endpoint, tmp_path: Path
) -> None:
    """Killed once for each stage, the task asks as often as one that nothing disturbs, and gives the same."""
    for attempt, event in enumerate(["plan", "code+tests", "CheckFinished"]):
        killed = run_pod(cluster, program, "generates", tmp_path / str(attempt), {"DIES_AFTER": event})
        assert killed.exit_code == -9, killed.log
    retried = run_pod(cluster, program, "generates", tmp_path / "last")
    assert asked(endpoint) == ONCE
    assert Counter(cluster.traces.values()) == Counter(f"ask_{step}" for step in ONCE)
    with cluster_of("undisturbed") as other:
        undisturbed = run_pod(other, program, "generates", tmp_path / "undisturbed")
    assert retried.output == undisturbed.output, retried.log + undisturbed.log
    assert retried.output["total"]["calls"] == len(ONCE)
    assert retried.output["total"]["input_tokens"] == 100 * len(ONCE)
    assert retried.output["total"]["cost"] > 0


def test_a_retry_of_a_task_that_failed_after_generating_asks_for_nothing_again(
    cluster: Cluster, program: Path, endpoint: Endpoint, tmp_path: Path
) -> None:
    failed = run_pod(cluster, program, "generates", tmp_path / "one", {"FAILS": "yes"})
    assert "something else" in failed.error
    assert failed.recoverable
    assert run_pod(cluster, program, "generates", tmp_path / "two").output["code"] == STRICT_TOTAL.lstrip()
    assert asked(endpoint) == ONCE


def test_a_failure_of_the_endpoint_is_asked_again_and_what_was_answered_is_not(
    cluster: Cluster, program: Path, endpoint: Endpoint, tmp_path: Path
) -> None:
    def respond(request: Received) -> Any:
        if request.step != "tests":
            return add_up(request)
        deadline = time.monotonic() + 60
        while "ask_code" not in cluster.traces.values() and time.monotonic() < deadline:
            time.sleep(0.05)  # what is in flight when a generation ends is not recorded
        return Reply(status=401, error="key is revoked")

    endpoint.respond = respond
    failed = run_pod(cluster, program, "generates", tmp_path / "one")
    assert "key is revoked" in failed.error
    assert failed.recoverable
    endpoint.respond = add_up
    retried = run_pod(cluster, program, "generates", tmp_path / "two")
    assert retried.output["code"] == STRICT_TOTAL.lstrip(), retried.log
    assert asked(endpoint) == ONCE + Counter(["tests"])
    assert retried.output["total"]["calls"] == len(ONCE)


def test_another_run_is_served_from_a_store_that_pods_share(
    cluster: Cluster, program: Path, endpoint: Endpoint, tmp_path: Path
) -> None:
    store = {"STORE": f"{cluster.bucket}/record"}
    killed = run_pod(cluster, program, "generates", tmp_path / "one", {**store, "DIES_AFTER": "CheckFinished"})
    assert killed.exit_code == -9
    retried = run_pod(cluster, program, "generates", tmp_path / "two", store)
    assert "EVENT plan False" in killed.log, "the record had it already"
    again = run_pod(cluster, program, "generates", tmp_path / "three", store, run="r2")
    assert retried.output == again.output, retried.log + again.log
    assert "EVENT GenerationFinished True" in again.log, again.log
    assert asked(endpoint) == ONCE


def test_a_mistake_in_the_request_is_not_tried_again(
    cluster: Cluster, program: Path, endpoint: Endpoint, tmp_path: Path
) -> None:
    program.write_text(PROGRAM.replace('"rows": int', '"rows": complex'))
    failed = run_pod(cluster, program, "generates", tmp_path / "one")
    assert "complex" in failed.error
    assert not failed.recoverable
    assert not endpoint.requests


FAILING_BWRAP = """#!/bin/sh
if [ -f {trouble} ] && [ "$(wc -c < {trouble})" -lt {times} ]; then
    printf x >> {trouble}
    echo "the node is in trouble" >&2
    exit 1
fi
exec {bwrap} "$@"
"""


def node_in_trouble(folder: Path, times: int) -> dict[str, str]:
    """The variables of a pod whose sandboxes can't be started, so many times after the plan is there."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        pytest.skip("There is no bwrap on PATH, which could fail for a while.")
    folder.mkdir()
    failing = folder / "bwrap"
    failing.write_text(FAILING_BWRAP.format(bwrap=bwrap, trouble=folder / "trouble", times=times))
    failing.chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "TROUBLE": str(folder / "trouble")}


def test_a_sandbox_that_fails_in_a_pod_is_tried_again(
    cluster: Cluster, program: Path, endpoint: Endpoint, tmp_path: Path
) -> None:
    failed = run_pod(cluster, program, "generates", tmp_path / "one", node_in_trouble(tmp_path / "first", 1000))
    assert "the node is in trouble" in failed.error, failed.log
    assert failed.recoverable
    trouble = {**node_in_trouble(tmp_path / "second", 12), "RETRIES": "12"}
    retried = run_pod(cluster, program, "generates", tmp_path / "two", trouble)
    assert retried.output, retried.error + retried.log
    assert (tmp_path / "second" / "trouble").read_text() == "x" * 12
    assert asked(endpoint) == ONCE


def test_a_pod_that_permits_no_sandbox_is_told_before_anything_is_asked(
    cluster: Cluster, program: Path, endpoint: Endpoint, tmp_path: Path
) -> None:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        pytest.skip("There is no bwrap on PATH, which could keep a pod from making user namespaces.")
    within = [bwrap, "--unshare-user", "--disable-userns", "--dev-bind", "/", "/"]
    no_docker = {"DOCKER_HOST": f"unix://{tmp_path}/no-docker.sock"}
    refused = run_pod(cluster, program, "generates", tmp_path / "one", no_docker, within=within)
    assert "Nothing here can run generated code in isolation." in refused.error, refused.log
    assert "bubblewrap works in one whose pod template lets it make user namespaces" in refused.error
    assert not refused.recoverable
    assert not endpoint.requests


def test_where_nothing_isolates_in_a_pod_that_is_said(cluster: Cluster, program: Path, tmp_path: Path) -> None:
    pod = run_pod(cluster, program, "generates", tmp_path / "one", {"SANDBOX": "process"})
    assert pod.output["code"] == STRICT_TOTAL.lstrip(), pod.log
    assert "EVENT Note  Sandbox: process, as asked for" in pod.log
    assert "It can read the tokens that are mounted there, too." in pod.log
    assert pod.output["not_checked"] == ["Nothing isolated the code from this machine."]


@pytest.fixture
def running(cluster: Cluster, tmp_path: Path) -> Cluster:
    """A cluster that runs the raw containers that are submitted."""
    cluster.runs = lambda request: run_container(cluster, request, tmp_path / "containers" / request.action_id.name)
    return cluster


def test_without_an_image_builder_the_result_runs_on_a_ready_image(
    running: Cluster, program: Path, tmp_path: Path
) -> None:
    pod = run_pod(running, program, "generates", tmp_path / "one", {"RUNS": "yes"})
    assert pod.output, pod.log
    assert pod.output["ran"] == [[3.5, 2]] * 3
    assert pod.output["image"].partition("/")[2].startswith("flyteorg/flyte:py3.")
    assert "Images: packages are installed on a ready image, for this cluster has no image builder." in pod.log
    assert "Checks and tests run in this task's pod." in pod.log
    for submitted in running.submitted:
        assert submitted.task.spec.task_template.container.image == pod.output["image"]
        assert submitted.task.spec.environment.name.startswith("codegen-")
    assert len(running.submitted) == 3


def test_where_an_image_must_be_built_and_can_not_nothing_is_asked(
    cluster: Cluster, program: Path, endpoint: Endpoint, tmp_path: Path
) -> None:
    pod = run_pod(cluster, program, "generates", tmp_path / "one", {"STRATEGY": "build"})
    assert "image_strategy='build' can't be used here: this cluster has no image builder." in pod.error, pod.log
    assert not pod.recoverable
    assert not endpoint.requests


BUILDER = """
import os
from pathlib import Path

from flyte import ImageBuild


class Builder:
    async def build_image(self, image, dry_run, wait=True, force=False):
        built = Path(os.environ["BUILT"])
        built.write_text((built.read_text() if built.exists() else "") + image.uri + "\\n")
        if "BROKEN" in os.environ:
            raise RuntimeError("no space left in the builder")
        return ImageBuild(uri=f"registry.example/{image.uri}", remote_run=None)

    def get_checkers(self):
        class Registry:
            @classmethod
            async def image_exists(cls, repository, tag, arch=("linux/amd64",)):
                built = Path(os.environ["BUILT"])
                there = built.exists() and f"{repository}:{tag}" in built.read_text().splitlines()
                return f"registry.example/{repository}:{tag}" if there else None

        return [Registry]
"""


@pytest.fixture
def builder(running: Cluster, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image builder that the cluster has as a plugin; what it built is in the file."""
    (program.parent / "builder_of_the_test.py").write_text(BUILDER)
    installed = program.parent / "builder_of_the_test-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: builder-of-the-test\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[flyte.plugins.image_builders]\nours = builder_of_the_test:Builder\n")
    config = tmp_path / "config.yaml"
    config.write_text(f"admin:\n  endpoint: {running.endpoint}\n  insecure: true\nimage:\n  builder: ours\n")
    monkeypatch.setenv("FLYTECTL_CONFIG", str(config))
    monkeypatch.setenv("BUILT", str(tmp_path / "built"))
    monkeypatch.setenv("PYTHONPATH", str(program.parent))
    return tmp_path / "built"


def test_an_image_is_built_once_also_where_the_task_is_tried_again(
    running: Cluster, builder: Path, program: Path, tmp_path: Path
) -> None:
    killed = run_pod(running, program, "generates", tmp_path / "one", {"RUNS": "yes", "DIES_AFTER": "ImageNote"})
    pod = run_pod(running, program, "generates", tmp_path / "two", {"RUNS": "yes"})
    assert pod.output, killed.log + pod.log
    [built] = builder.read_text().splitlines()
    assert pod.output["image"] == f"registry.example/{built}"
    images = [one.task.spec.task_template.container.image for one in running.submitted]
    assert images == [pod.output["image"]] * 3
    # Of the generation, of `run()`, and one for all calls of the task.
    assert list(running.traces.values()).count("build_image") == 3
    assert "build_image" in running.traces.values()


def test_a_build_that_fails_falls_back_to_installing(
    running: Cluster, builder: Path, program: Path, tmp_path: Path
) -> None:
    pod = run_pod(running, program, "generates", tmp_path / "one", {"RUNS": "yes", "BROKEN": "yes"})
    assert pod.output, pod.log
    assert pod.output["ran"] == [[3.5, 2]] * 3
    assert pod.output["image"].partition("/")[2].startswith("flyteorg/flyte:py3.")
    assert "no space left in the builder" in pod.log


def test_a_build_that_was_asked_for_and_fails_loses_no_result(
    running: Cluster, builder: Path, program: Path, endpoint: Endpoint, tmp_path: Path
) -> None:
    broken = {"BROKEN": "yes", "STRATEGY": "build"}
    pod = run_pod(running, program, "generates", tmp_path / "one", broken)
    assert pod.output, pod.log
    assert "no space left in the builder" in pod.log
