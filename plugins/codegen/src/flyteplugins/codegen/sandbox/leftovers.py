"""What processes of ours that were killed left on this machine, and its end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

from flyteplugins.codegen.core import pinned
from flyteplugins.codegen.core.files import WRITING, sweep_locks
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.core.pinned import INCOMING
from flyteplugins.codegen.core.scratch import sweep


@asynccontextmanager
async def leftovers_cleared(store: str | Path | None = None) -> AsyncIterator[None]:
    """Clear leftovers beside what is done in the block, which does not wait for it before its end.

    Args:
        store: As for `clear_leftovers`.

    Yields:
        Nothing.
    """
    clearing = asyncio.ensure_future(asyncio.to_thread(clear_leftovers, store))
    try:
        yield
    finally:
        await asyncio.wait({clearing})


def clear_leftovers(store: str | Path | None = None) -> None:
    """Remove the temporary files, control groups and containers of processes that are gone.

    What a living process uses stays, and several may clear at once. Nothing is raised: what can't be removed is left
    for the next time. Where nothing was left this takes a few milliseconds. Blocks: call it in a thread.

    Args:
        store: What `store=` names; a folder is looked at as well.
    """
    from flyteplugins.codegen.sandbox.control_group import sweep_groups

    root = home()
    for place in (None, root / "running", root / "environments", root / "record" / WRITING, root / "locks" / WRITING):
        sweep(place)
    sweep(pinned.store() / INCOMING)
    if store and "://" not in str(store):
        sweep(Path(store).expanduser() / WRITING)
    for folder in (root / "locks", root / "environments" / ".locks", root / "docker"):
        with contextlib.suppress(OSError):
            sweep_locks(folder)
    sweep_groups()
    # Each container has a scratch folder beside it: where none was left there is no need to ask the engine.
    if sweep(root / "docker"):
        _clear_containers()


def _clear_containers() -> None:
    from flyteplugins.codegen.sandbox.docker_engine import EngineError, connect, engine_errors, remove_leftovers

    with contextlib.suppress(EngineError), closing(connect()) as engine, engine_errors():
        remove_leftovers(engine)
