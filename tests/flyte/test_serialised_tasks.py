"""What tasks of generated code say to a cluster, in full; `CODEGEN_WRITE_GOLDENS=1 pytest <this file>` renews it."""

from __future__ import annotations

import re
import sys
from typing import Any

import flyte
import pytest
from flyte._internal.imagebuild.remote_builder import _get_build_secrets_from_image  # what it asks Flyte for
from flyte.extras import serialize, serialize_env
from goldens import assert_golden, text_of_specs
from handmade import TYPES, made_result

from flyteplugins.codegen import CodeGenEvalResult
from flyteplugins.codegen.core.contract import FILES, VALUE_TYPES
from flyteplugins.codegen.core.environment import Lock

PACKAGES = Lock(
    python=f"{sys.version_info.major}.{sys.version_info.minor}",
    platform="x86_64-unknown-linux-gnu",
    requirements=(
        "six==1.17.0 \\\n"
        "    --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274 \\\n"
        "    --hash=sha256:ff70335d468e7eb6ec65b95b99d3a2836546063f63acc5171de367e834932a81\n"
    ),
    system_packages=("ffmpeg", "libpq5"),
)
REGISTRY = {"registry": "registry.example/team", "registry_secret": "registry-creds"}
ALL = {f"a_{re.sub(r'[^a-z]+', '_', name.lower()).strip('_')}": kind for name, kind in VALUE_TYPES.items()}
OUTPUTS = {name: kind for name, kind in ALL.items() if kind != VALUE_TYPES[FILES]}


async def result_of(**settings: Any) -> CodeGenEvalResult:
    return await made_result(TYPES, inputs=ALL, outputs=OUTPUTS, **settings)


def spec_of(task: Any) -> Any:
    task.environment()
    return serialize(task)


async def test_every_type_and_setting() -> None:
    result = await result_of(name="every")
    task = result.as_task(
        name="every-type",
        resources=flyte.Resources(cpu=("500m", 2), memory="3Gi", disk="10Gi"),
        retries=3,
        timeout=90,
        env_vars={"REGION": "eu", "MODE": "a b"},
        secrets=[
            flyte.Secret(key="token", as_env_var="API_TOKEN"),
            flyte.Secret(key="password", group="shop", as_env_var="SHOP_PASSWORD"),
        ],
    )
    assert_golden("every-type", text_of_specs([spec_of(task)]))


async def test_what_the_agent_set_is_what_a_task_has() -> None:
    result = await result_of(name="set", cpu="2", memory="2Gi", retries=1, timeout=30, env_vars={"A": "1"})
    template = spec_of(result.as_task()).task_template
    assert template.id.name == "set-task"
    assert (template.metadata.timeout.seconds, template.metadata.retries.retries) == (30, 1)
    assert [(one.name, one.value) for one in template.container.resources.requests] == [(1, "2"), (3, "2Gi")]


@pytest.mark.parametrize("cache", ["auto", "override", "disable"])
async def test_caching(cache: str) -> None:
    result = await made_result(TYPES, inputs={"i": int}, outputs={"i": int})
    metadata = spec_of(result.as_task(name="cached", cache=cache)).task_template.metadata
    assert metadata.discoverable == (cache != "disable")
    if cache != "disable":
        assert metadata.discovery_version == result.as_task(name="other", cache="auto").plan.version


async def test_two_tasks_of_one_environment() -> None:
    result = await made_result(TYPES, inputs={"i": int}, outputs={"i": int})
    once = result.as_task(name="once")
    env = once.environment("both")
    assert [spec.task_template.id.name for spec in serialize_env(env)] == ["once"]
    other = await made_result("print()\n", inputs={"i": int})
    assert other.as_task(name="other").image.uri == once.image.uri  # the same packages, the same image


async def test_the_image(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # Flyte's builder for Docker says what it would build; a builder that is named is not looked for.
    monkeypatch.setenv("FLYTE_DOCKER_BUILDKIT_BUILDER_NAME", "none")
    result = (await result_of(**REGISTRY)).model_copy(update={"lock": PACKAGES})
    image = result.as_task(name="with-packages").image
    assert image.uri.startswith("registry.example/team/codegen:")
    await flyte.build.aio(image, dry_run=True)
    lines = capsys.readouterr().out.splitlines()
    ours = [line for line in lines if line.startswith("FROM python") or "ffmpeg" in line or "uv pip install" in line]
    told = "\n".join(" ".join(line.split()) for line in ours)
    told = re.sub(r"src=\S+/(requirements.txt)", r"src=<here>/\1", told)
    assert_golden("image", re.sub(r"python:3\.\d+", "python:<version>", told) + "\n")
    assert [secret.key for secret in _get_build_secrets_from_image(image) or []] == ["registry-creds"]
    changed = PACKAGES.model_copy(update={"requirements": PACKAGES.requirements.replace("sha256:4", "sha256:5")})
    other = result.model_copy(update={"lock": changed}).as_task(name="with-packages").image
    assert other.uri != image.uri
