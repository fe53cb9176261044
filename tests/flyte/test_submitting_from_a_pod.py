"""In a task on a cluster, a generated task is submitted, and each file is where the other pod can read it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from flyte.io import File
from handmade import TOTAL, made_result

CALLS = '''
"""Flyte's context of a pod, around calls of a generated task; what would be submitted is printed."""

import asyncio, json, sys

import flyte
from flyte import storage
from flyte._context import internal_ctx
from flyte._internal import controllers
from flyte._internal.runtime.convert import convert_from_native_to_inputs
from flyte.io import File
from flyte.models import RawDataPath
from flyteplugins.codegen import CodeGenEvalResult

task = CodeGenEvalResult.load("generation").as_task(name="add-up")
env = flyte.TaskEnvironment("pod", depends_on=[task.environment()])


class Submits:
    async def submit(self, submitted, **values):
        inputs = await convert_from_native_to_inputs(submitted.native_interface, **values)
        [literal] = inputs.proto_inputs.literals
        print(json.dumps([literal.value.scalar.blob.uri, literal.value.hash]))
        return 0.0, 0


@env.task
async def calls() -> None:
    await storage.put("sales.csv", "memory://elsewhere/there.csv")
    context = internal_ctx()
    pod = context.data.task_context.replace(mode="remote", raw_data_path=RawDataPath(path="memory://raw/data"))
    controllers._ControllerState.controller = Submits()
    with context.replace_task_context(pod):
        await task.aio()
        await task.aio(sales=File(path="memory://elsewhere/there.csv"))
        await task.aio(sales="more.csv")


flyte.init()
flyte.with_runcontext(mode="local").run(calls)
'''


async def test_files_of_the_pod_are_uploaded_and_others_are_passed_on(tmp_path: Path) -> None:
    contents = {"sales.csv": "amount\n1\n2.5\n", "more.csv": "amount\n10\n"}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    samples = {"sales": File(path=str(tmp_path / "sales.csv"))}
    result = await made_result(TOTAL, outputs={"total": float, "rows": int}, samples=samples, name="total")
    result.save(tmp_path / "generation")
    done = subprocess.run(
        [sys.executable, "-c", CALLS], cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    default, there, local = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("["))
    for (address, digest), name in ((default, "sales.csv"), (local, "more.csv")):
        assert address.startswith("memory://raw/data/")
        assert address.endswith(name)
        assert digest == hashlib.sha256(contents[name].encode()).hexdigest()
    assert there[0] == "memory://elsewhere/there.csv"
