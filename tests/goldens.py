"""What is serialised for a cluster, as text beside the tests: a change of it is seen in the review."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from google.protobuf import text_format

FOLDER: Final = Path(__file__).parent / "flyte" / "golden"


def text_of_specs(specs: Iterable[Any]) -> str:
    """Specifications of tasks as text, by name."""
    named = {spec.task_template.id.name: spec for spec in specs}
    return "\n".join(f"# {name}\n{text_format.MessageToString(named[name], as_utf8=True)}" for name in sorted(named))


def assert_golden(name: str, told: str) -> None:
    """What was serialised, without what differs from machine to machine; renewed with CODEGEN_WRITE_GOLDENS=1."""
    golden = FOLDER / f"{name}.txt"
    told = neutral(told)
    if os.environ.get("CODEGEN_WRITE_GOLDENS"):
        golden.write_text(told, encoding="utf-8")
    kept = golden.read_text(encoding="utf-8")
    # pytest explains what it compares in tests, not in what stands beside them.
    assert told == kept, "\n".join(difflib.unified_diff(kept.splitlines(), told.splitlines(), golden.name, "now", n=1))


def neutral(told: str) -> str:
    """The text with the versions of Flyte and Python, its registry, hashes and packed code taken out."""
    for pattern, instead in (
        (r'args: "\\"\\"\\"What a container on a cluster runs.*', 'args: "<entry.py>"'),
        (r'args: "\\"\\"\\"What a container of a ready image.*', 'args: "<install.py>"'),
        (r'args: "eJ[A-Za-z0-9+/=]{60,}"', 'args: "<the code, packed>"'),
        (r'args: "H4sI[A-Za-z0-9+/=]{50,}"', 'args: "<the images>"'),
        (r'discovery_version: "[0-9a-f]{32,}"', 'discovery_version: "<hash>"'),
        (r'image: "(\S*?):[^"/]+"', r'image: "\1:<tag>"'),
        (r'image: "[^"/]+/flyteorg/', 'image: "<registry>/flyteorg/'),
        (r'version: "\d+\.\d+\.\d+[^"]*"', 'version: "<of Flyte>"'),
        (r"/uploads/[0-9a-f]{32}/fast[^\"]*", "/uploads/<hash>/<the project>"),
        (r"/uploads/[0-9a-f]{32}/", "/uploads/<hash>/"),
        (r'"/[^"]*/sales\.csv"', '"<here>/sales.csv"'),
    ):
        told = re.sub(pattern, instead, told)
    return told
