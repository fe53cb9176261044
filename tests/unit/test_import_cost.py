"""What importing the package and making an agent brings in; how long it takes is measured by `make bench`."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

HEAVY = ("litellm", "pandas", "pandera", "docker", "pyarrow", "jinja2", "rich", "uv")

BASE = "import flyte, flyte.io, flyte.sandbox"
OURS = "from flyteplugins.codegen import AutoCoderAgent; AutoCoderAgent()"

# An audit hook can't be taken out again, and sees the lookups and connections of C code that goes through Python.
PROBE = """
import json, sys
reached = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        reached.append(repr((event, arguments)))
sys.addaudithook(watch)
{statements}
print(json.dumps({{"modules": sorted(sys.modules), "reached": reached}}))
"""


def probe(*statements: str) -> dict[str, list[str]]:
    program = PROBE.format(statements="\n".join(statements))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    answer: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.fixture(scope="module")
def with_ours() -> dict[str, list[str]]:
    return probe(BASE, OURS)


def test_making_an_agent_loads_no_heavy_package(with_ours: dict[str, list[str]]) -> None:
    already = set(probe(BASE)["modules"])
    brought = {module.partition(".")[0] for module in set(with_ours["modules"]) - already}
    assert brought & set(HEAVY) == set()
    assert "flyteplugins" in brought


def test_making_an_agent_opens_no_connection(with_ours: dict[str, list[str]]) -> None:
    assert with_ours["reached"] == []


def test_the_probe_sees_a_connection() -> None:
    attempt = "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"
    assert any("socket.connect" in event for event in probe(attempt)["reached"])
