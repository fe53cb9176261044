from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import flyteplugins.codegen
from flyteplugins.codegen.core.settings import RUNTIMES

CODEGEN = Path(sys.executable).with_name("codegen")


def doctor(*options: str, **variables: str) -> str:
    done = subprocess.run(
        [str(CODEGEN), "doctor", *options],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def report(**variables: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(doctor("--json", **variables))
    return document


@pytest.mark.slow
def test_the_document_names_version_interpreter_package_and_every_runtime() -> None:
    found = report()
    assert found["version"].split(".")[0] == "3"
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["imported_from"] in list(flyteplugins.codegen.__path__)
    assert [runtime["name"] for runtime in found["runtimes"]] == [name for name in RUNTIMES if name != "auto"]
    for runtime in found["runtimes"]:
        assert set(runtime) == {"name", "available", "reason", "isolates"}
        assert runtime["reason"]
    assert [runtime["isolates"] for runtime in found["runtimes"] if runtime["name"] == "process"] == [False]


@pytest.mark.slow
def test_keys_are_told_by_name_and_never_by_value() -> None:
    found = report(OPENAI_API_KEY="sk-verysecret", ANTHROPIC_API_KEY="")
    states = {name: state for model in found["models"] for name, state in model["variables"].items()}
    assert states["OPENAI_API_KEY"] == "present"
    assert states["ANTHROPIC_API_KEY"] == "absent"
    assert "sk-verysecret" not in json.dumps(found)
    assert "sk-verysecret" not in doctor(OPENAI_API_KEY="sk-verysecret")


@pytest.mark.slow
def test_another_distribution_of_the_plugin_on_the_path_is_told(tmp_path: Path) -> None:
    other = tmp_path / "flyteplugins_codegen-2.12.1.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: flyteplugins-codegen\nVersion: 2.12.1\n")
    found = report(PYTHONPATH=str(tmp_path))
    assert found["version"].split(".")[0] == "3"
    assert [(one["version"], one["imported"]) for one in found["distributions"]] == [
        ("2.12.1", False),
        (found["version"], True),
    ]
    assert any("2.12.1" in note and str(tmp_path) in note for note in found["notes"])


@pytest.mark.slow
def test_people_are_told_the_same_in_lines() -> None:
    text = doctor()
    for part in ("imported from", "bubblewrap", "docker", "process", "does NOT isolate", "OPENAI_API_KEY: "):
        assert part in text
