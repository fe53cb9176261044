"""`codegen cache list`, `prune` and `clear`: what is kept, and its end."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Final

import rich_click as click

from flyteplugins.codegen.cli.console import Screen
from flyteplugins.codegen.cli.inventory import Inventory, Item, inventory_of_machine, inventory_of_shelf
from flyteplugins.codegen.core.errors import InvalidRequestError, StorageFailedError
from flyteplugins.codegen.record.opening import shelf_at

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 24 * 3600, "w": 7 * 24 * 3600}
_BYTES: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY: Final = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_NUMBER: Final = r"\s*([0-9]+(?:\.[0-9]+)?)\s*"


@dataclass
class _Removal:
    """What was removed, or would be, and what stays."""

    removed: list[Item] = field(default_factory=list)
    in_use: list[Item] = field(default_factory=list)


def list_(screen: Screen, kinds: tuple[str, ...], details: bool, store: str | None) -> None:
    """List by kind, or each thing; the arguments are those of the command."""
    found = asyncio.run(_look(store))
    wanted = _kinds(found, kinds)
    screen.say(found.where)
    document: dict[str, Any] = {"where": found.where, "kinds": [_summary(kind, found.of([kind])) for kind in wanted]}
    for kind in wanted:
        items = found.of([kind])
        ages = f"{_when(items[0])} to {_when(items[-1])}" if items else ""
        screen.say(f"  {kind:<13}{len(items):>7}  {_amount(items):>9}  {ages}".rstrip())
    screen.say(f"  {'in all':<13}{len(found.of(wanted)):>7}  {_amount(found.of(wanted)):>9}")
    if details:
        document["entries"] = asyncio.run(_details(screen, found.of(wanted)))
    document["notes"] = found.notes
    for note in found.notes:
        screen.say(f"note: {note}")
    screen.document(document)


def prune(screen: Screen, older_than: str | None, max_size: str | None, dry_run: bool, store: str | None) -> None:
    """Remove garbage, and what is too old or too much; the arguments are those of the command."""
    seconds = _age_of(older_than) if older_than else None
    most = _size_of(max_size) if max_size else None
    removal = asyncio.run(_prune(store, seconds, most, dry_run))
    _tell(screen, removal, dry_run)


def clear(screen: Screen, kinds: tuple[str, ...], yes: bool, store: str | None) -> None:
    """Remove everything, or all of some kinds; the arguments are those of the command."""
    found = asyncio.run(_look(store))
    wanted = _kinds(found, kinds)
    items = found.of(wanted)
    if not yes:
        if screen.as_json:
            raise InvalidRequestError("Say --yes: nothing can be asked where a document is wanted.")
        what = f"{len(items)} things ({', '.join(wanted)}; {_amount(items)}) from {found.where}"
        click.confirm(f"Remove {what}? What was paid for is paid for again.", abort=True)
    _tell(screen, asyncio.run(_clear(items, store)), dry_run=False)


async def _look(store: str | None) -> Inventory:
    if store is None:
        return await inventory_of_machine()
    shelf = shelf_at(store)
    try:
        return await inventory_of_shelf(shelf)
    except OSError as error:
        raise StorageFailedError(f"The record in {shelf.where} can't be read: {error}.") from error


async def _prune(store: str | None, seconds: float | None, most: int | None, dry_run: bool) -> _Removal:
    if store is None and not dry_run:
        await _clear_leftovers()
    found, now = await _look(store), time.time()
    items = {id(item): item for item in await found.garbage(now)}
    if seconds is not None:
        items |= {id(item): item for item in found.items if now - item.modified > seconds}
    removal = await _remove(items.values(), dry_run)
    if most is not None:
        gone = {id(item) for item in removal.removed}
        # Images lie elsewhere, and share their bases: how much room one takes can't be told.
        left = [item for item in found.items if id(item) not in gone and item.kind != "images"]
        over = sum(item.size for item in left) - most
        for item in left:  # the oldest first
            if over <= 0:
                break
            one = await _remove([item], dry_run)
            removal.removed += one.removed
            removal.in_use += one.in_use
            over -= sum(removed.size for removed in one.removed)
    return removal


async def _clear(items: Sequence[Item], store: str | None) -> _Removal:
    if store is None:
        await _clear_leftovers()
    return await _remove(items, dry_run=False)


async def _clear_leftovers() -> None:
    from flyteplugins.codegen.sandbox.leftovers import clear_leftovers

    await asyncio.to_thread(clear_leftovers)


async def _remove(items: Iterable[Item], dry_run: bool) -> _Removal:
    removal = _Removal()
    for item in items:
        try:
            removed = dry_run or await item.remove()
        except OSError as error:
            raise StorageFailedError(f"{item.kind} {item.name} can't be removed: {error}.") from error
        (removal.removed if removed else removal.in_use).append(item)
    return removal


async def _details(screen: Screen, items: Sequence[Item]) -> list[dict[str, Any]]:
    document = []
    for item in items:
        about = await item.about()
        screen.say(f"  {item.kind:<13}{_when(item)}  {_amount([item]):>9}  {item.name}  {about}".rstrip())
        document.append(
            {"kind": item.kind, "name": item.name, "bytes": item.size, "modified": _time(item), "about": about}
        )
    return document


def _tell(screen: Screen, removal: _Removal, dry_run: bool) -> None:
    kinds = dict.fromkeys(item.kind for item in removal.removed)
    removed = [_summary(kind, [item for item in removal.removed if item.kind == kind]) for kind in kinds]
    for kind in kinds:
        items = [item for item in removal.removed if item.kind == kind]
        screen.say(f"  {kind:<13}{len(items):>7}  {_amount(items):>9}")
    would = "would be removed" if dry_run else "removed"
    screen.say(f"{len(removal.removed)} {would}, {_amount(removal.removed)}")
    for item in removal.in_use:
        screen.say(f"in use, and kept: {item.kind} {item.name}")
    screen.document(
        {
            "success": True,
            "dry_run": dry_run,
            "removed": removed,
            "bytes": sum(item.size for item in removal.removed),
            "in_use": [{"kind": item.kind, "name": item.name} for item in removal.in_use],
        }
    )


def _summary(kind: str, items: Sequence[Item]) -> dict[str, Any]:
    return {
        "kind": kind,
        "count": len(items),
        "bytes": sum(item.size for item in items),
        "oldest": _time(items[0]) if items else None,
        "newest": _time(items[-1]) if items else None,
    }


def _kinds(found: Inventory, wanted: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := [kind for kind in wanted if kind not in found.kinds]:
        raise InvalidRequestError(f"{', '.join(unknown)}: no such kind here. There are: {', '.join(found.kinds)}.")
    return wanted or found.kinds


def _age_of(text: str) -> float:
    match = re.fullmatch(rf"{_NUMBER}([smhdw])", text.lower())
    if not match:
        raise InvalidRequestError(f"--older-than {text!r} is no age. Write it as 30d, 12h or 2w.")
    return float(match[1]) * _SECONDS[match[2]]


def _size_of(text: str) -> int:
    match = re.fullmatch(rf"{_NUMBER}([kmgt]?)(i?)b?\s*", text.lower())
    if not match or (match[3] and not match[2]):
        raise InvalidRequestError(f"--max-size {text!r} is no size. Write it as 5GB, 500MB or 2GiB.")
    return int(float(match[1]) * (_BINARY[match[2]] if match[3] else _BYTES[match[2]]))


def _amount(items: Sequence[Item]) -> str:
    size = float(sum(item.size for item in items))
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _when(item: Item) -> str:
    return datetime.fromtimestamp(item.modified).strftime("%Y-%m-%d %H:%M")


def _time(item: Item) -> str:
    return datetime.fromtimestamp(item.modified, timezone.utc).isoformat(timespec="seconds")
