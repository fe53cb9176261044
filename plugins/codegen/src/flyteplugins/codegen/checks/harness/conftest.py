"""Gives pytest the fixtures of the tests of a solution; what they do is in `solution_session.py`.

By hand, in the folder of a saved generation: `pytest`. The solution is then run with the interpreter that pytest runs
on, or with the one of `--solution-python`.

PYTEST_DONT_REWRITE: there is no assertion in here, and rewriting takes as long as a test.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def _load(name: str) -> ModuleType:
    path = Path(__file__).resolve().with_name(f"{name}.py")
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(path):
        return loaded  # before the tests were known; what was loaded of another generation stays that one's
    # By path: the tests' folder is not on the import path, where it would shadow other modules.
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("no loader for Python files")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_load("solution_runner")
_session = _load("solution_session")

pytest_addoption = _session.pytest_addoption
pytest_configure = _session.pytest_configure
pytest_collection = _session.pytest_collection
_contract = _session._contract  # noqa: SLF001  # a fixture of the other fixtures
samples = _session.samples
run_solution = _session.run_solution
