"""The files that stand beside the tests, in the sandbox and in a saved generation."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Mapping
from importlib import resources

from flyteplugins.codegen.core import values
from flyteplugins.codegen.core.contract import Contract


def fixture_files(contract: Contract, samples: Mapping[str, str | list[str]]) -> dict[str, str]:
    """What the tests need beside them, so that `pytest` works there.

    Args:
        contract: What the solution takes and gives.
        samples: Path of each sample, absolute or relative to the folder of the tests; a list where it is several files.

    Returns:
        Texts by file name: the fixture, its runner, the parser of values, pytest's settings and `contract.json`.
    """
    files = dict(constant_files())
    document = {"inputs": contract.inputs, "outputs": contract.outputs, "samples": dict(samples)}
    files["contract.json"] = json.dumps(document, indent=2) + "\n"
    return dict(sorted(files.items()))


@functools.cache
def constant_files() -> Mapping[str, str]:
    """Those of `fixture_files` that are always the same: all but `contract.json`."""
    harness = resources.files("flyteplugins.codegen.checks") / "harness"
    files = {
        entry.name: entry.read_text(encoding="utf-8")
        for entry in harness.iterdir()
        if entry.is_file() and entry.name != "__init__.py"
    }
    return files | {"solution_values.py": inspect.getsource(values)}
