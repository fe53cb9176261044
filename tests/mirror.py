"""A script that gives back what it is given, of every type that a contract has; the standard library alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flyte.io import Dir
from handmade import made_result

MIRROR = """
import argparse
import json
import shutil
from pathlib import Path

INPUTS = {}
OUTPUTS = {}


def main():
    parser = argparse.ArgumentParser()
    for name, kind in INPUTS.items():
        several = {"action": "append"} if kind == "list[File]" else {}
        parser.add_argument(f"--{name}", required=True, **several)
    parser.add_argument("--outputs", default="/var/outputs")
    args = parser.parse_args()
    folder = Path(args.outputs)
    folder.mkdir(parents=True, exist_ok=True)
    for name, kind in OUTPUTS.items():
        value = getattr(args, name)
        if isinstance(value, list):
            (folder / name).mkdir()
            for number, path in enumerate(value):
                shutil.copyfile(path, folder / name / f"{number}-{Path(path).name}")
        elif kind == "Dir":
            shutil.copytree(value, folder / name, copy_function=shutil.copyfile)
        elif kind in ("File", "DataFrame", "pandas.DataFrame"):
            shutil.copyfile(value, folder / name)
        else:
            (folder / name).write_bytes(value.encode())


if __name__ == "__main__":
    main()
"""


async def mirror(inputs: Mapping[str, Any], outputs: Mapping[str, Any] | None = None, **settings: Any) -> Any:
    """A successful result whose code gives back each input under its name; several files as a folder of them."""
    from flyteplugins.codegen.core.contract import FILES, Contract

    names = Contract.declare((), inputs, None).inputs
    returned = outputs or {name: Dir if names[name] == FILES else kind for name, kind in inputs.items()}
    declared = Contract.declare((), None, returned).outputs
    code = MIRROR.replace("INPUTS = {}", f"INPUTS = {names}").replace("OUTPUTS = {}", f"OUTPUTS = {declared}")
    return await made_result(code, inputs, returned, **settings)
