"""What every test gets: an environment without keys, and a model endpoint on loopback where it asks for one."""

from __future__ import annotations

import asyncio
import functools
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that any test can import the helpers that stand beside this file

from endpoint import Endpoint

ROOT = Path(__file__).parents[1]

_SCRUBBED = re.compile(
    r"(API_KEY|API_TOKEN|AUTH_TOKEN|ACCESS_KEY|ACCESS_KEY_ID)\Z"
    r"|\A(OPENAI|ANTHROPIC|AZURE|GEMINI|OLLAMA|OPENROUTER|LITELLM)_"
)

# Whoever starts the tests in the background of a shell has them ignore Ctrl-C, and the programs that they start too.
signal.signal(signal.SIGINT, signal.default_int_handler)


@functools.cache
def _why_nothing_isolates() -> str:
    """What each runtime says, where none that isolates works here; empty where one does."""
    from flyteplugins.codegen.sandbox.select import survey

    found = [one for one in asyncio.run(survey()) if one.isolates]
    return "" if any(one.available for one in found) else "; ".join(f"{one.name}: {one.reason}" for one in found)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The folders of whole programs and real sandboxes are slow, but for the tests in them that say otherwise."""
    for item in items:
        if item.path.parent.name in {"sandbox", "flyte", "flytekit", "e2e"} and not item.get_closest_marker("quick"):
            item.add_marker("slow")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a sandbox that isolates where there is none."""
    if item.get_closest_marker("isolation") and (reason := _why_nothing_isolates()):
        pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def own_user_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A HOME for each process of the test run: Flyte keeps its list of runs there. uv's cache stays where it is."""
    uv_cache = os.environ.get("UV_CACHE_DIR") or (
        f"{os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'}/uv"  # as uv itself finds it
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYENV_ROOT", os.environ.get("PYENV_ROOT") or str(Path.home() / ".pyenv"))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("user")))
        patch.setenv("UV_CACHE_DIR", uv_cache)
        patch.delenv("XDG_CACHE_HOME", raising=False)
        yield


@pytest.fixture(autouse=True)
def scrubbed_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no endpoint and no setting of whoever runs the tests; nothing is told to anybody."""
    for name in [name for name in os.environ if _SCRUBBED.search(name)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    monkeypatch.setenv("DO_NOT_TRACK", "1")


@pytest.fixture(autouse=True)
def fresh_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder of each test's own, so that nothing is served from another test or another day.

    Environments and locks alone are shared, under `.work`: they are kept by content and verified at each use.
    """
    home = tmp_path_factory.mktemp("home")
    for name in ("environments", "locks"):
        shared = ROOT / ".work" / "tests" / name
        shared.mkdir(parents=True, exist_ok=True)
        (home / name).symlink_to(shared, target_is_directory=True)
    monkeypatch.setenv("FLYTEPLUGINS_CODEGEN_HOME", str(home))


@pytest.fixture
def codegen_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of this test's own, with nothing in it."""
    home = tmp_path / "codegen-home"
    monkeypatch.setenv("FLYTEPLUGINS_CODEGEN_HOME", str(home))
    return home


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """A model endpoint that says what the test tells it to; see `endpoint.py`."""
    with Endpoint() as server:
        yield server
