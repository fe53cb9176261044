"""The runtimes of this machine, each with an environment that has nothing installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flyteplugins.codegen.core.paths import HOME_VARIABLE

sys.path.insert(0, str(Path(__file__).parent))  # for the helpers that stand beside this file

from sandbox_bench import Bench, make_bench


@pytest.fixture(scope="session")
def sandbox_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One state folder for this session, so that environments are built once."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("home")
        patch.setenv(HOME_VARIABLE, str(home))
        yield home


@pytest.fixture(params=["bubblewrap", "docker", "process"])
async def bench(request: pytest.FixtureRequest, sandbox_home: Path, tmp_path: Path) -> Bench:
    """Each runtime in turn."""
    return await make_bench(request.param, tmp_path)


@pytest.fixture(params=["bubblewrap", "docker"])
async def isolated(request: pytest.FixtureRequest, sandbox_home: Path, tmp_path: Path) -> Bench:
    """Each runtime that isolates in turn."""
    return await make_bench(request.param, tmp_path)


@pytest.fixture
async def bubblewrap(sandbox_home: Path, tmp_path: Path) -> Bench:
    """Bubblewrap alone."""
    return await make_bench("bubblewrap", tmp_path)
