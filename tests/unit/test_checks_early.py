"""What may be imported before a program is known, and which programs would notice."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from flyteplugins.codegen.checks.harness.early_imports import STANDARD, bears_early_imports
from flyteplugins.codegen.checks.head_start import preludes, preludes_of_tests

LOADED = "import json, sys; print(json.dumps(list(sys.modules)))"


def loaded_after(*modules: str) -> set[str]:
    imports = "".join(f"import {module}\n" for module in modules)
    done = subprocess.run([sys.executable, "-c", imports + LOADED], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout))


@pytest.mark.slow
def test_what_is_imported_early_brings_nothing_that_a_program_would_find_without_importing_it() -> None:
    early = loaded_after(*STANDARD)
    parents = {name.rpartition(".")[0] for name in early if "." in name}
    for parent in sorted(name for name in parents if not name.startswith("_")):
        for name in sorted(early - loaded_after(parent)):
            if name.rpartition(".")[0] == parent:
                assert not bears_early_imports(f"import {parent}\n{name}\n"), name
                assert bears_early_imports(f"import {name}\n{name}\n"), name


@pytest.mark.parametrize(
    ("code", "bears"),
    [
        ("import argparse, csv\nfrom pathlib import Path\n", True),
        ("import collections\ncollections.Counter()\n", True),
        ("import collections\ncollections.abc.Mapping\n", False),
        ("import collections.abc\ncollections.abc.Mapping\n", True),
        ("import urllib\nurllib.parse.quote('a')\n", False),
        ("import urllib.request\nurllib.request.urlopen\nurllib.parse.quote('a')\n", False),
        ("import importlib\nimportlib.import_module('json')\n", True),
    ],
)
def test_a_program_that_uses_what_it_did_not_import_bears_no_early_imports(code: str, bears: bool) -> None:
    assert bears_early_imports(code) is bears
    assert bool(preludes(code)) is bool(preludes_of_tests(code)) is bears


def test_nothing_slow_is_imported_early_that_the_program_does_not_import_itself() -> None:
    lean, numpy, pandas = (preludes(f"import {module}\n") for module in ("csv", "numpy as np", "pandas"))
    assert len(lean) == 1
    assert lean[-1] == numpy[-1] == pandas[-1]
    assert "numpy" not in lean[0]
    assert "numpy" in numpy[0]
    assert "pandas" not in numpy[0]
    assert {"import pandas", "import numpy"} <= set(pandas[0].splitlines())
    assert numpy[0] in pandas
