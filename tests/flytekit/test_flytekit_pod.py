"""Generated code in a pod of Flyte 1: the exact command of flytekit's task in a real container."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from flyte.io import File
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.tools.translator import get_serializable
from handmade import TOTAL, made_result
from pods import Pod, container_from, engine, image_like_flytes

from flyteplugins.codegen.flytekit import CodeGenEvalResult
from flyteplugins.codegen.flytekit.task import image_of

NAMES_ITS_FILE = TOTAL.replace(
    '(outputs / "rows")', '(outputs / "name").write_text(args.sales)\n    (outputs / "rows")'
)


async def run(folder: Path, content: str, **pod: Any) -> Pod:
    """Stage a file as the sidecar of Flyte 1 does, alone and under the input's name, and run the task on it."""
    result = CodeGenEvalResult.of(
        await made_result(NAMES_ITS_FILE, inputs={"sales": File}, outputs={"total": float, "rows": int, "name": File})
    )
    task = result.as_task(name="total", timeout=60)
    spec = image_of(task.plan.lock, task.plan.registry)
    settings = SerializationSettings(
        image_config=ImageConfig(default_image=None, images=[Image(spec.id, "registry.example/codegen", "1")])
    )
    template = get_serializable(OrderedDict(), settings, task).to_flyte_idl().template
    # Flyte's propeller puts the address of each input there.
    for index, part in enumerate(template.container.command):
        template.container.command[index] = part.replace(
            "{{.inputs.sales}}", "s3://bucket/a%20b/o'brien%20%26%20co.csv"
        )
    (folder / "inputs").mkdir(parents=True)
    (folder / "inputs" / "sales").write_text(content)
    with (
        engine() as client,
        image_like_flytes(client) as image,
        container_from(client, image, template, folder, **pod) as container,
    ):
        return container.to_end()


async def test_a_file_arrives_under_its_own_name_and_outputs_are_written(tmp_path: Path) -> None:
    for number, pod in enumerate(({}, {"user": "0"})):
        ended = await run(tmp_path / str(number), "amount\n1\n2.5\n", **pod)
        assert (ended.status, ended.log) == (0, "")
        written = {path.name: path.read_text() for path in ended.outputs.iterdir()}
        assert Path(written.pop("name")).name == "o'brien & co.csv"
        assert written == {"total": "3.5", "rows": "2"}


async def test_a_failure_is_told_with_its_traceback(tmp_path: Path) -> None:
    ended = await run(tmp_path / "pod", "price\n1\n")
    assert ended.status == 1
    assert ended.message.strip().endswith("KeyError: 'amount'")
