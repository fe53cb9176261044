"""From a spec to a lock, with the real uv and the index that it is set to."""

from __future__ import annotations

import asyncio
import pickle
import sys
from pathlib import Path

import pytest

from flyteplugins.codegen.core.errors import EnvironmentBuildError
from flyteplugins.codegen.packages.errors import (
    NoWheelError,
    PackageConflictError,
    PackageError,
    PackageNotFoundError,
)
from flyteplugins.codegen.packages.resolve import default_platform, linux_platform, resolve
from flyteplugins.codegen.packages.spec import environment_spec

pytestmark = pytest.mark.slow

CLOSED = "http://127.0.0.1:9/simple"
"""An index on a port of this machine that nothing listens on."""


def cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """No index can be reached from here on, as without a network."""
    monkeypatch.setenv("UV_DEFAULT_INDEX", CLOSED)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    for name in ("UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)


async def test_a_lock_has_exact_versions_and_hashes_for_its_platform(codegen_home: Path) -> None:
    lock = await resolve(
        environment_spec("3.11", ["python-dateutil==2.9.0.post0"]), platform="x86_64-unknown-linux-gnu"
    )
    names = [line.partition("==")[0] for line in lock.requirements.splitlines() if "==" in line]
    assert names == ["python-dateutil", "six"]
    assert lock.requirements.count("--hash=sha256:") >= 2
    assert "://" not in lock.requirements
    assert (lock.python, lock.platform) == ("3.11", "x86_64-unknown-linux-gnu")


async def test_the_same_spec_is_resolved_once_and_needs_no_network_then(
    codegen_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await resolve(environment_spec("3.11", ["tabulate"]))
    cut_off(monkeypatch)
    assert await resolve(environment_spec("3.11", ["Tabulate"])) == first
    # Another spec has to ask: the index is really out of reach.
    with pytest.raises(EnvironmentBuildError):
        await resolve(environment_spec("3.11", ["tabulate<1000"]), platform=default_platform())


async def test_a_remembered_lock_that_is_damaged_is_made_anew(codegen_home: Path) -> None:
    spec = environment_spec("3.11", ["tabulate"])
    first = await resolve(spec)
    [remembered] = (codegen_home / "locks").glob("*.json")
    remembered.write_text(remembered.read_text()[:40])
    assert await resolve(spec) == first


async def test_many_that_want_the_same_lock_get_the_same(codegen_home: Path) -> None:
    spec = environment_spec("3.11", ["tabulate"])
    locks = await asyncio.gather(*(resolve(spec) for _ in range(12)))
    assert len({lock.key for lock in locks}) == 1
    assert [path.suffix for path in (codegen_home / "locks").glob("*.json")] == [".json"]


async def test_a_spec_without_packages_needs_no_index(codegen_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off(monkeypatch)
    lock = await resolve(environment_spec("3.11", [], ["libgomp1"]))
    assert lock.requirements == ""
    assert lock.system_packages == ("libgomp1",)


async def test_a_name_that_no_one_has_published_is_named_and_said_to_be_a_guess(codegen_home: Path) -> None:
    made_up = "this-distribution-does-not-exist-and-never-did"
    with pytest.raises(PackageNotFoundError, match=f"No distribution is called {made_up}.*Guessed") as caught:
        await resolve(environment_spec("3.11", ["tabulate", made_up]), guessed=[made_up])
    assert caught.value.packages == (made_up,)
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own error, as Flyte's processes hand it on
    assert (type(copy), copy.packages, str(copy)) == (PackageNotFoundError, (made_up,), str(caught.value))


@pytest.mark.parametrize(
    ("packages", "error", "named"),
    [
        (["tabulate", "python-dateutil==99"], PackageNotFoundError, ("python-dateutil",)),
        (["tabulate", "pywin32"], NoWheelError, ("pywin32",)),
        (["tabulate", "tabulate==0.8"], NoWheelError, ("tabulate",)),
        (["six<1.5", "python-dateutil==2.9.0.post0", "tabulate"], PackageConflictError, ("python-dateutil", "six")),
    ],
)
async def test_packages_that_can_not_be_had_are_named_with_the_kind_of_trouble(
    packages: list[str], error: type[PackageError], named: tuple[str, ...], codegen_home: Path
) -> None:
    with pytest.raises(error) as caught:
        await resolve(environment_spec("3.11", packages), platform="x86_64-unknown-linux-gnu")
    assert caught.value.packages == named


async def test_an_index_out_of_reach_is_the_infrastructures_fault(
    codegen_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(monkeypatch)
    with pytest.raises(EnvironmentBuildError, match="network") as caught:
        await resolve(environment_spec("3.11", ["tabulate"]))
    assert not isinstance(caught.value, PackageError)


async def test_a_name_missing_offline_is_not_the_models_invention(
    codegen_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty-cache"))
    with pytest.raises(EnvironmentBuildError) as caught:
        await resolve(environment_spec("3.11", ["tabulate"]))
    assert not isinstance(caught.value, PackageError)


async def test_settings_of_a_project_that_the_user_stands_in_do_not_reach_a_lock(
    codegen_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[project]\nname = 'p'\nversion = '0'\n[tool.uv]\nconstraint-dependencies = ['tabulate<0.9']\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UV_CONSTRAINT", str(tmp_path / "absent.txt"))
    lock = await resolve(environment_spec("3.11", ["tabulate>=0.9"]))
    assert "tabulate==" in lock.requirements


async def test_a_cancelled_resolution_ends_uv(codegen_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listening = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listening.set()
        await reader.read()  # until the other side is gone
        ended.set()
        writer.close()

    ended = asyncio.Event()
    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    cut_off(monkeypatch)
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with server:
        running = asyncio.create_task(resolve(environment_spec("3.11", ["tabulate"])))
        await asyncio.wait_for(listening.wait(), 20)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await asyncio.wait_for(ended.wait(), 5)


@pytest.mark.skipif(sys.platform != "linux", reason="names the platform of a Linux machine")
def test_the_default_platform_is_this_machines() -> None:
    assert default_platform().endswith(("-unknown-linux-gnu", "-unknown-linux-musl"))
    assert linux_platform().partition("-")[0] == default_platform().partition("-")[0]
