"""The pod template and the program of `docs/cluster.md`, as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from flyte import PodTemplate
from flyte.extras import serialize
from flyte.io import File
from handmade import TOTAL, made_result
from pods import container_of, engine, image_like_flytes

from flyteplugins.codegen.core.errors import InvalidInputError

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
[TEMPLATE] = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
[NAMES_IT] = [text for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "pod_template" in text]


async def result_of(folder: Path) -> Any:
    sales = folder / "sales.csv"
    sales.write_text("amount\n1\n2.5\n")
    samples = {"sales": File(path=str(sales))}
    return await made_result(TOTAL, outputs={"total": float, "rows": int}, samples=samples, name="total")


async def test_a_task_names_the_template_of_the_page(tmp_path: Path) -> None:
    (await result_of(tmp_path)).save(tmp_path / "generation")
    done = subprocess.run(
        [sys.executable, "-c", NAMES_IT],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == (f"{TEMPLATE['metadata']['name']}\n", 0), done.stderr


async def test_with_a_template_the_container_still_knows_its_inputs_and_outputs(tmp_path: Path) -> None:
    task = (await result_of(tmp_path)).as_task(name="add-up", retries=1).override(pod_template="generated-code")
    task.environment()
    template = serialize(task).task_template
    assert template.metadata.pod_template_name == "generated-code"
    assert template.container.data_config.output_path == "/var/outputs"
    assert template.metadata.retries.retries == 1
    assert task.override(retries=2).plan.pod_template == "generated-code"


async def test_a_specification_in_place_of_a_name_is_refused(tmp_path: Path) -> None:
    task = (await result_of(tmp_path)).as_task(name="add-up")
    with pytest.raises(InvalidInputError, match="name of a PodTemplate"):
        task.override(pod_template=PodTemplate())


async def test_a_container_as_the_template_has_it_runs_the_task(tmp_path: Path) -> None:
    pod = TEMPLATE["template"]["spec"]
    [container] = pod["containers"]
    wanted = container["securityContext"]
    assert pod["automountServiceAccountToken"] is False
    assert container["name"] == "primary"
    assert wanted["runAsNonRoot"]
    with engine() as client, image_like_flytes(client) as image:
        task = (await result_of(tmp_path)).as_task(name="add-up")
        values = {"sales": File(path=str(tmp_path / "sales.csv"))}
        with container_of(
            client,
            image,
            task,
            values,
            tmp_path / "pod",
            user=f"{wanted['runAsUser']}:{pod['securityContext']['fsGroup']}",
            cap_drop=wanted["capabilities"]["drop"],
            read_only=wanted["readOnlyRootFilesystem"],
            security_opt=["no-new-privileges"] if wanted["allowPrivilegeEscalation"] is False else [],
            tmpfs={mount["mountPath"]: "" for mount in container["volumeMounts"]},
        ) as made:
            ended = made.to_end()
    assert (ended.status, ended.log) == (0, "")
    assert ended.taken_up() == {"total": 3.5, "rows": 2}
