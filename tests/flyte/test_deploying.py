"""Tasks of generated code in environments, deployed to a control plane on loopback."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flyte
import pytest
from control_plane import BUCKET, ControlPlane
from flyte._internal.image_cache import ImageCache  # what a pod is told of images
from flyte._internal.imagebuild.remote_builder import _get_build_secrets_from_image  # what it asks Flyte for
from flyte.errors import RuntimeSystemError
from flyte.extras import serialize
from flyte.io import File
from flyte.sandbox import ImageConfig
from goldens import assert_golden, text_of_specs
from handmade import TOTAL, made_result

from flyteplugins.codegen import AutoCoderAgent, CodeGenEvalResult
from flyteplugins.codegen.backends.defaults import defaults_of
from flyteplugins.codegen.core.errors import InvalidInputError

TESTS = Path(__file__).parents[1]
SALES = "amount\n1\n2.5\n"

PIPELINE = '''
"""A project with a generated task in the middle."""

from pathlib import Path

import flyte
from flyte.io import File
from flyteplugins.codegen import CodeGenEvalResult

GENERATION = Path(__file__).parent / "generation"

add_up = CodeGenEvalResult.load(GENERATION).as_task(name="add-up", retries=2, timeout=600)
env = flyte.TaskEnvironment("pipeline", depends_on=[add_up.environment("generated")], include=("generation",))


@env.task
async def report(sales: File) -> str:
    total, rows = await add_up.aio(sales=sales)
    return f"{rows} rows, {total} in all"
'''

DEPLOYS = """
import sys
from pathlib import Path

import flyte
from control_plane import BuiltElsewhere

import pipeline

flyte.init(
    endpoint=sys.argv[1],
    insecure=True,
    org="org",
    project="project",
    domain="development",
    image_builder=BuiltElsewhere(),
    root_dir=Path(pipeline.__file__).parent,
)
flyte.deploy(pipeline.env, version="v1")
"""


@pytest.fixture
def control_plane() -> Iterator[ControlPlane]:
    with ControlPlane() as serving:
        yield serving


@pytest.fixture
async def total(tmp_path: Path) -> CodeGenEvalResult:
    sales = tmp_path / "sales.csv"
    sales.write_text(SALES)
    return await made_result(
        TOTAL, outputs={"total": float, "rows": int}, samples={"sales": File(path=str(sales))}, name="total"
    )


@pytest.fixture
def project(total: CodeGenEvalResult, tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pipeline.py").write_text(PIPELINE)
    total.save(folder / "generation")
    return folder


def deploy(project: Path, control_plane: ControlPlane) -> None:
    """In a process of its own: `flyte.init` is for a whole process."""
    done = subprocess.run(
        [sys.executable, "-c", DEPLOYS, control_plane.endpoint],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def default_of(spec: Any) -> Any:
    [default] = spec.default_inputs
    return default.parameter.default


def test_a_deployment_uploads_the_samples_and_names_them_as_defaults(
    project: Path, control_plane: ControlPlane
) -> None:
    deploy(project, control_plane)
    assert set(control_plane.deployed) == {"add-up", "pipeline.report"}
    default = default_of(control_plane.deployed["add-up"])
    address = default.scalar.blob.uri
    assert address.startswith(BUCKET)
    assert address.endswith("/sales.csv")
    assert control_plane.uploads[address] == SALES.encode()
    assert default.hash == hashlib.sha256(SALES.encode()).hexdigest()


def test_a_project_with_a_generated_task_is_deployed_whole(project: Path, control_plane: ControlPlane) -> None:
    deploy(project, control_plane)
    specs = control_plane.deployed
    assert_golden("project", text_of_specs(specs.values()))
    assert specs["add-up"].environment.name == "generated"


def test_a_local_run_and_serialising_upload_nothing(project: Path, control_plane: ControlPlane) -> None:
    program = DEPLOYS.replace(
        'flyte.deploy(pipeline.env, version="v1")',
        'print(flyte.with_runcontext(mode="local").run(pipeline.add_up).outputs())',
    )
    assert program != DEPLOYS
    done = subprocess.run(
        [sys.executable, "-c", program, control_plane.endpoint],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3.5" in done.stdout, done.stderr
    assert not control_plane.uploads


def test_samples_go_to_an_address_of_the_users(total: CodeGenEvalResult) -> None:
    task = total.as_task(name="elsewhere")
    uploaded = task.with_uploaded_samples("memory://bucket/samples")
    uploaded.environment()
    default = default_of(serialize(uploaded))
    digest = hashlib.sha256(SALES.encode()).hexdigest()
    assert default.scalar.blob.uri == f"memory://bucket/samples/{digest}/sales.csv"
    assert default.hash == digest
    assert uploaded() == (3.5, 2)  # this machine reads it from there
    again = task.with_uploaded_samples("memory://bucket/samples")
    assert again.plan.defaults == uploaded.plan.defaults
    with pytest.raises(InvalidInputError, match="s3://"):
        task.with_uploaded_samples("samples")


def test_a_sample_that_is_gone_is_named(total: CodeGenEvalResult, tmp_path: Path) -> None:
    task = total.as_task(name="gone")
    (tmp_path / "sales.csv").unlink()
    with pytest.raises(InvalidInputError, match=r"'sales'.*not on this machine"):
        task.with_uploaded_samples("memory://bucket/gone")


def test_a_task_without_an_environment_can_not_be_serialised(total: CodeGenEvalResult) -> None:
    with pytest.raises(RuntimeSystemError, match="no parent environment"):
        serialize(total.as_task(name="alone"))


def test_the_environment_of_a_task_stays(total: CodeGenEvalResult) -> None:
    task = total.as_task(name="Total of Sales")
    task.environment()  # kept by the task alone
    environment = task.environment()
    assert environment.name == "total-of-sales"
    assert list(environment.tasks.values()) == [task]
    assert task.override(retries=1).environment() is environment
    with pytest.raises(InvalidInputError, match="total-of-sales"):
        task.environment("another")
    beside = flyte.TaskEnvironment("beside")
    assert total.as_task(name="other").environment(depends_on=[beside]).depends_on == [beside]


GUIDE = '''
"""The program that the guide begins with, with secrets and a registry of the agent."""

import flyte
from flyte.io import File
from flyte.sandbox import ImageConfig, sandbox_environment
from flyteplugins.codegen import AutoCoderAgent

agent = AutoCoderAgent(
    model="gpt-4.1",
    name="summarize-sales",
    secrets=[flyte.Secret(key="warehouse", as_env_var="WAREHOUSE_URL")],
    image_config=ImageConfig(registry="registry.example/team", registry_secret="registry-creds"),
)

env = flyte.TaskEnvironment(
    name="my-env",
    secrets=[flyte.Secret(key="openai_key", as_env_var="OPENAI_API_KEY")],
    image=flyte.Image.from_debian_base().with_pip_packages("flyteplugins-codegen"),
    depends_on=[sandbox_environment],
)


@env.task
async def process_data(csv_file: File) -> tuple[float, int, int]:
    result = await agent.generate.aio(
        prompt="Read the CSV and compute total_revenue, total_units and row_count.",
        samples={"sales": csv_file},
        outputs={"total_revenue": float, "total_units": int, "row_count": int},
    )
    return await result.run.aio()
'''


def test_the_program_of_the_guide_is_deployed_whole(tmp_path: Path, control_plane: ControlPlane) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pipeline.py").write_text(GUIDE)
    deploy(project, control_plane)
    assert_golden("guide", text_of_specs(control_plane.deployed.values()))
    [spec] = control_plane.deployed.values()
    assert [secret.key for secret in spec.task_template.security_context.secrets] == ["openai_key"]
    arguments = list(spec.task_template.container.args)
    images = ImageCache.from_transport(arguments[arguments.index("--image-cache") + 1]).image_lookup
    # The tasks that are made in the pod find the image of the environment that is depended on there.
    assert set(images) == {"my-env", "sandbox-runtime"}


async def test_secrets_and_the_registry_of_an_agent_are_those_of_its_tasks(total: CodeGenEvalResult) -> None:
    secrets = [flyte.Secret(key="warehouse", as_env_var="WAREHOUSE_URL"), flyte.Secret(key="token", group="shop")]
    defaults = defaults_of(
        AutoCoderAgent(
            name="summarize-sales",
            secrets=secrets,
            image_config=ImageConfig(
                registry="registry.example/team",
                registry_secret="registry-creds",  # noqa: S106 # its name
            ),
        )
    )
    task = total.model_copy(update={"defaults": defaults}).as_task()
    task.environment()
    spec = serialize(task)
    asked = [(one.group, one.key, one.env_var) for one in spec.task_template.security_context.secrets]
    assert asked == [("", "warehouse", "WAREHOUSE_URL"), ("shop", "token", "SHOP_TOKEN")]
    assert spec.task_template.container.image.startswith("registry.example/team/codegen:")
    assert [secret.key for secret in _get_build_secrets_from_image(task.image) or []] == ["registry-creds"]
    other = total.model_copy(update={"defaults": defaults}).as_task(name="other", secrets=[])
    other.environment()
    assert not serialize(other).task_template.security_context.secrets


def test_the_sandbox_environment_may_be_depended_on(total: CodeGenEvalResult) -> None:
    from flyte.sandbox import sandbox_environment

    task = total.as_task(name="guide")
    env = flyte.TaskEnvironment("guide-env", depends_on=[sandbox_environment, task.environment()])
    assert serialize(task).environment.name == "guide"
    assert sandbox_environment in env.depends_on
