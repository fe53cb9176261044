"""Tasks of generated code in workflows of flytekit: on this machine, as they are serialised, and as a container."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flyte
import flytekit
import pytest
from eager_queue import placed
from flyte.io import File
from flytekit import Secret, workflow
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.core.context_manager import FlyteContextManager
from flytekit.tools.translator import get_serializable
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile
from google.protobuf import text_format
from handmade import TOTAL, TYPES, made_result

from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import (
    InvalidInputError,
    InvalidRequestError,
    MissingCredentialError,
    SolutionFailedError,
)
from flyteplugins.codegen.flytekit import CodeGenEvalResult, SolutionTask
from flyteplugins.codegen.flytekit.convert import flytekit_type
from flyteplugins.codegen.flytekit.task import image_of

GOLDENS = Path(__file__).parent / "goldens"

KINDS = {
    "s": str,
    "i": int,
    "f": float,
    "b": bool,
    "d": datetime.datetime,
    "t": datetime.timedelta,
    "report": File,
}

READS_A_VARIABLE = """
import argparse, os
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("--outputs")
if __name__ == "__main__":
    Path(parser.parse_args().outputs, "length").write_text(str(len(os.environ["SHOP_TOKEN"])))
"""


@pytest.fixture
async def total(sales: Path) -> CodeGenEvalResult:
    return CodeGenEvalResult.of(
        await made_result(
            TOTAL, outputs={"total": float, "rows": int}, samples={"sales": File(path=str(sales))}, name="total"
        )
    )


async def all_types() -> CodeGenEvalResult:
    return CodeGenEvalResult.of(await made_result(TYPES, inputs=KINDS, outputs=KINDS, name="types"))


def serialised(task: SolutionTask, image: str = "registry.example/codegen:1") -> Any:
    """The task as Flyte 1 is told of it."""
    # What an image is called is said by the hash of its specification; here none is built for it.
    spec = image_of(task.plan.lock, task.plan.registry)
    images = [Image(spec.id, *image.rsplit(":", 1))]
    settings = SerializationSettings(
        project="project", domain="domain", version="v1", image_config=ImageConfig(default_image=None, images=images)
    )
    return get_serializable(OrderedDict(), settings, task).to_flyte_idl().template


@pytest.mark.isolation
def test_in_a_workflow_outputs_have_names_and_samples_are_defaults(total: CodeGenEvalResult, tmp_path: Path) -> None:
    task = total.as_task()

    @workflow
    def summed(other: FlyteFile) -> tuple[float, int, float]:
        of_other = task(sales=other).with_overrides(node_name="of-other")
        return of_other.total, of_other.rows, task().total

    assert [node.id for node in summed.nodes] == ["of-other", "n1"]
    path = tmp_path / "other.csv"
    for content, expected in (("1\n", (1.0, 1, 3.5)), ("1\n2\n", (3.0, 2, 3.5)), ("1\n", (1.0, 1, 3.5))):
        path.write_text(f"amount\n{content}")
        assert tuple(summed(other=FlyteFile(str(path)))) == expected


@pytest.mark.isolation
async def test_every_type_crosses_a_workflow(tmp_path: Path) -> None:
    task = (await all_types()).as_task()

    @workflow
    def through(
        s: str, report: FlyteFile, d: datetime.datetime, t: datetime.timedelta
    ) -> tuple[str, int, float, bool, datetime.datetime, datetime.timedelta, FlyteFile]:
        given = task(s=s, i=-3, f=1e-7, b=False, d=d, t=t, report=report)
        return given.s, given.i, given.f, given.b, given.d, given.t, given.report

    path = tmp_path / "o'brien & co.txt"
    path.write_bytes(b"\x00\xff")
    text, moment = (
        "O'; id; '\n$(HOME) {{.inputs.i}} ü ",
        datetime.datetime(2026, 3, 1, 9, 30, tzinfo=datetime.timezone.utc),
    )
    *plain, report = through(s=text, report=FlyteFile(str(path)), d=moment, t=datetime.timedelta(days=-2, seconds=3))
    assert plain == [text, -3, 1e-7, False, moment, datetime.timedelta(days=-2, seconds=3)]
    assert Path(report.download()).read_bytes() == b"\x00\xff"


@pytest.mark.isolation
async def test_run_gives_files_of_flytekit(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_text("content")
    result = CodeGenEvalResult.of(await made_result(TYPES, inputs={"report": File}, outputs={"report": File}))
    given = await result.run.aio(report=FlyteFile(str(path)))
    assert isinstance(given, FlyteFile)
    assert Path(given.download()).read_text() == "content"


@pytest.mark.isolation
async def test_a_failing_script_fails_the_workflow_with_its_traceback() -> None:
    result = await made_result("if __name__ == '__main__':\n    raise ValueError('no rows')\n", outputs={"o": int})
    with pytest.raises(SolutionFailedError, match="ValueError: no rows"):
        CodeGenEvalResult.of(result).as_task()()


@pytest.mark.isolation
async def test_a_secret_is_a_variable_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "0123456")
    result = CodeGenEvalResult.of(await made_result(READS_A_VARIABLE, outputs={"length": int}))
    task = result.as_task(secrets=[Secret(group="shop", key="token")])
    assert task() == 7
    (secret,) = serialised(task).security_context.secrets
    assert (secret.group, secret.key, secret.env_var) == ("shop", "token", "SHOP_TOKEN")
    assert secret.mount_requirement == secret.ENV_VAR


@pytest.mark.isolation
@pytest.mark.parametrize("place", ["variable", "file"])
async def test_on_this_machine_a_secret_is_found_where_flytekit_looks(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place == "variable":
        monkeypatch.setenv("_FSEC_SHOP_TOKEN", "0123456")
    else:
        monkeypatch.setenv("FLYTE_SECRETS_DEFAULT_DIR", str(tmp_path))
        (tmp_path / "shop").mkdir()
        (tmp_path / "shop" / "token").write_text("0123456\n")
    result = CodeGenEvalResult.of(await made_result(READS_A_VARIABLE, outputs={"length": int}))
    secrets = [Secret(group="shop", key="token")]
    assert result.as_task(secrets=secrets)() == 7
    assert await result.run.aio(secrets=secrets) == 7
    assert "SHOP_TOKEN" not in os.environ


async def test_a_secret_that_is_nowhere_is_named() -> None:
    result = CodeGenEvalResult.of(await made_result(READS_A_VARIABLE, outputs={"length": int}))
    with pytest.raises(MissingCredentialError, match="SHOP_TOKEN"):
        result.as_task(secrets=[Secret(group="shop", key="token")])()


async def test_a_secret_without_a_group_is_refused() -> None:
    result = CodeGenEvalResult.of(await made_result(READS_A_VARIABLE, outputs={"length": int}))
    with pytest.raises(InvalidInputError, match="group"):
        result.as_task(secrets=[flyte.Secret("token")])


@pytest.mark.parametrize("name", ["total", "types"])
async def test_a_task_is_serialised_as_a_stock_raw_container(
    name: str, total: CodeGenEvalResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "total":
        task = total.as_task(
            timeout=60, retries=2, env_vars={"REGION": "eu"}, resources=flytekit.Resources(cpu="2", mem="3Gi")
        )
    else:
        task = (await all_types()).as_task(cache="disable")
    template = serialised(task)
    entry, code, *_ = template.container.command[2:]
    template.container.command[2:4] = ["<the entry>", "<the code>"]
    template.metadata.runtime.version = "<flytekit's>"
    if template.metadata.discovery_version:
        assert template.metadata.discovery_version == task.plan.version
        template.metadata.discovery_version = "<made from code, lock and limits>"
    golden = GOLDENS / f"{name}.txt"
    if os.environ.get("CODEGEN_WRITE_GOLDENS"):
        golden.write_text(text_format.MessageToString(template))
    assert text_format.MessageToString(template) == golden.read_text()
    assert compile(entry, "entry", "exec")
    assert code not in entry


def test_uploaded_samples_are_defaults_on_a_cluster(total: CodeGenEvalResult, sales: Path) -> None:
    task = total.as_task(samples_at="memory://bucket/samples", image="registry.example/codegen:1")

    @workflow
    def of_the_sample() -> float:
        return task().total  # type: ignore[no-any-return] # flytekit has no types

    settings = SerializationSettings(image_config=ImageConfig(default_image=None), version="v1")
    context = FlyteContextManager.current_context()
    with FlyteContextManager.with_context(context.with_serialization_settings(settings)):
        node = get_serializable(OrderedDict(), settings, of_the_sample).to_flyte_idl().template.nodes[0]
    digest = hashlib.sha256(sales.read_bytes()).hexdigest()
    assert node.inputs[0].binding.scalar.blob.uri == f"memory://bucket/samples/{digest}/sales.csv"
    with pytest.raises(InvalidInputError, match="address"):
        total.as_task(samples_at="samples")


async def test_what_decides_the_outcome_decides_the_version(total: CodeGenEvalResult) -> None:
    def version(**settings: Any) -> str:
        text: str = serialised(total.as_task(**settings)).metadata.discovery_version
        return text

    versions = {version(**settings) for settings in ({}, {"env_vars": {"A": "1"}}, {"timeout": 9}, {"name": "other"})}
    assert len(versions) == 3  # a name decides nothing
    edited = total.model_copy(update={"solution": total.solution.model_copy(update={"code": TOTAL + "# edited\n"})})
    assert serialised(edited.as_task()).metadata.discovery_version not in versions
    assert total.as_task().metadata.cache is True


async def test_the_image_is_the_lock(total: CodeGenEvalResult) -> None:
    lock = Lock(
        python="3.12",
        platform="aarch64-unknown-linux-gnu",
        requirements="pandas==2.3.3 \\\n    --hash=sha256:00\nnumpy==2.3.5 \\\n    --hash=sha256:01\n",
        system_packages=("libgomp1",),
    )
    spec = image_of(lock, "registry.example/team")
    assert spec.packages == ["pandas==2.3.3", "numpy==2.3.5"]
    assert (spec.apt_packages, spec.python_version, spec.platform) == (["libgomp1"], "3.12", "linux/arm64")
    assert spec.image_name().startswith("registry.example/team/codegen:")
    assert image_of(lock, "registry.example/team").id == spec.id
    assert serialised(total.as_task(image="registry.example/own:2")).container.image == "registry.example/own:2"


async def test_a_ready_image_installs_the_lock_before_the_code_runs(total: CodeGenEvalResult) -> None:
    lock = total.lock
    assert lock
    defaults = total.defaults.model_copy(update={"image_strategy": "install", "base_image": "registry.example/ready:1"})
    pinned = lock.model_copy(update={"requirements": "idna==3.10 --hash=sha256:00\n"})
    result = total.model_copy(update={"defaults": defaults, "lock": pinned})
    ready = serialised(result.as_task()).container
    built = serialised(result.as_task(image="registry.example/own:2")).container
    assert (ready.image, built.image) == ("registry.example/ready:1", "registry.example/own:2")
    # What installs comes first; the rest is the same.
    assert list(ready.command)[-len(built.command) + 1 :] == list(built.command)[1:]
    assert len(ready.command) > len(built.command)
    assert compile(ready.command[2], "install", "exec")


def run_container(template: Any, folder: Path, **values: str | bytes | tuple[str, bytes]) -> Callable[[str], str]:
    """Run a container's command with inputs staged as Flyte 1 stages them; gives a reader of the outputs."""
    inputs, outputs = folder / "inputs", folder / "outputs"
    inputs.mkdir()
    outputs.mkdir()
    addresses = {}
    for name, value in values.items():
        if isinstance(value, tuple):
            addresses[name], value = value
        (inputs / name).write_bytes(value if isinstance(value, bytes) else value.encode())
    command = placed(template, folder, addresses)
    assert not any("{{" in part for part in command[4:])
    subprocess.run([sys.executable, *command[1:]], check=True, cwd=folder)
    return lambda name: (outputs / name).read_text(encoding="utf-8")


async def test_the_container_takes_values_as_flyte_1_stages_them(tmp_path: Path) -> None:
    read = run_container(
        serialised((await all_types()).as_task()),
        tmp_path,
        s="O'; id; '$(HOME)\n",
        i="-3",
        f="0.0000001",
        b="true",
        d="2026-03-01T09:30:00Z",
        t="-47h59m57.5s",
        report=("s3://bucket/x/report.csv", b"a,b"),
    )
    assert read("s") == "O'; id; '$(HOME)\n"
    assert (read("i"), read("b"), float(read("f"))) == ("-3", "true", 1e-7)
    assert read("d") == "2026-03-01T09:30:00+00:00"
    assert float(read("t").removesuffix("s")) == -172797.5
    assert read("report") == "a,b"


async def test_in_the_container_a_file_has_its_own_name(tmp_path: Path) -> None:
    code = TYPES.replace("Path(value).read_bytes()", "Path(value).name.encode()")
    assert code != TYPES
    result = CodeGenEvalResult.of(await made_result(code, inputs={"report": File}, outputs={"report": File}))
    read = run_container(serialised(result.as_task()), tmp_path, report=("s3://bucket/x/week%201.csv.gz", b""))
    assert read("report") == "week 1.csv.gz"


def test_what_flytekit_has_no_type_for_is_refused() -> None:
    assert flytekit_type("File") is FlyteFile
    with pytest.raises(InvalidRequestError, match="Matrix"):
        flytekit_type("Matrix")


async def test_a_result_is_the_same_under_both(total: CodeGenEvalResult, tmp_path: Path) -> None:
    loaded = CodeGenEvalResult.load(total.save(tmp_path / "saved"))
    assert isinstance(loaded, CodeGenEvalResult)
    assert isinstance(loaded.as_task(), SolutionTask)
    assert json.loads(loaded.model_dump_json())["declared_outputs"] == {"total": "float", "rows": "int"}
    assert FlyteDirectory not in loaded.declared_inputs.values()
