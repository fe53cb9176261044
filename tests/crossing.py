"""A result of every type that a raw container of Flyte 1 can't carry by itself, declared in flytekit's words."""

from __future__ import annotations

import datetime

import pandas as pd
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile
from flytekit.types.structured import StructuredDataset
from handmade import made_result

from flyteplugins.codegen.flytekit import CodeGenEvalResult
from flyteplugins.codegen.flytekit.convert import declared

CROSSES = """
import argparse, json, shutil
from pathlib import Path


def main():
    parser = argparse.ArgumentParser()
    for name in ("table", "options", "items", "day", "folder"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--files", action="append", required=True)
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    outputs = Path(args.outputs)
    outputs.mkdir(parents=True, exist_ok=True)
    for name in ("table", "frame"):
        shutil.copyfile(args.table, outputs / name)
    (outputs / "options").write_text(json.dumps({"given": json.loads(args.options)}))
    (outputs / "items").write_text(json.dumps([json.loads(args.items), [Path(path).name for path in args.files]]))
    (outputs / "day").write_text(args.day)
    (outputs / "folder").mkdir()
    for path in Path(args.folder).rglob("*"):
        if path.is_file():
            shutil.copyfile(path, outputs / "folder" / path.name)


if __name__ == "__main__":
    main()
"""
INPUTS = {
    "table": StructuredDataset,
    "options": dict,
    "items": list,
    "day": datetime.date,
    "folder": FlyteDirectory,
    "files": list[FlyteFile],
}
OUTPUTS = {
    "table": StructuredDataset,
    "frame": pd.DataFrame,
    "options": dict,
    "items": list,
    "day": datetime.date,
    "folder": FlyteDirectory,
}


async def crossing(old: str = "", new: str = "") -> CodeGenEvalResult:
    """The result, with `old` in its code replaced by `new`."""
    assert old in CROSSES
    code = CROSSES.replace(old, new) if old else CROSSES
    return CodeGenEvalResult.of(
        await made_result(code, inputs=declared(INPUTS), outputs=declared(OUTPUTS), name="crossing")
    )
