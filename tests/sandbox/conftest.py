"""The runtimes of this machine, each with an environment that has nothing installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flyteplugins.codegen.core.paths import HOME_VARIABLE
from flyteplugins.codegen.sandbox.contract import Runtime

sys.path.insert(0, str(Path(__file__).parent))  # for the helpers that stand beside this file

from sandbox_bench import Bench, make_bench

Known = dict[str, tuple[Runtime, str] | str]


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Known]:
    """What is known of the runtimes. One state folder for this session, so that environments are built once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(tmp_path_factory.mktemp("home")))
        yield {}


@pytest.fixture(params=["bubblewrap", "bubblewrap early", "docker", "process"])
async def bench(request: pytest.FixtureRequest, known: Known, tmp_path: Path) -> Bench:
    """Each runtime in turn."""
    return await make_bench(request.param, tmp_path, known)


@pytest.fixture(params=["bubblewrap", "bubblewrap early", "docker"])
async def isolated(request: pytest.FixtureRequest, known: Known, tmp_path: Path) -> Bench:
    """Each runtime that isolates in turn."""
    return await make_bench(request.param, tmp_path, known)


@pytest.fixture
async def bubblewrap(known: Known, tmp_path: Path) -> Bench:
    """Bubblewrap alone."""
    return await make_bench("bubblewrap", tmp_path, known)
