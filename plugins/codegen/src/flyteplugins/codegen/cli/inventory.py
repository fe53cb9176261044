"""What is kept on this machine and on shelves: which things there are, how old and how large, and their end."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from flyteplugins.codegen.core import pinned
from flyteplugins.codegen.core.paths import home
from flyteplugins.codegen.record.record import FILES, KINDS, WITHDRAWN, body_of
from flyteplugins.codegen.record.shelf import Listed, LocalShelf, Shelf

_DAY: Final = 24 * 3600.0
_AT_ONCE: Final = 32
_ENTRY: Final = ".json"
_DIGEST: Final = re.compile(rb"[0-9a-f]{64}")

Tell = Callable[[], Awaitable[str]]


@dataclass(frozen=True)
class Item:
    """A thing that is kept, and can be removed by itself.

    Attributes:
        kind: One of `kinds()`.
        name: What tells it from others of its kind: a key, or a file name.
        size: Bytes. An environment shares most of them with uv's cache, an image with its base.
        modified: When it was written or, where that is known, last used; in seconds since 1970.
        remove: Removes it; False where it is in use, and stays.
        about: Tells what it is, in a few words.
    """

    kind: str
    name: str
    size: int
    modified: float
    remove: Callable[[], Awaitable[bool]] = field(repr=False, compare=False)
    about: Tell = field(repr=False, compare=False)


@dataclass(frozen=True)
class Inventory:
    """Everything that is kept somewhere.

    Attributes:
        where: The state folder, or the address of a store.
        kinds: The kinds of things that may be there.
        items: The things, the oldest first.
        notes: What could not be looked at, and why.
    """

    where: str
    kinds: tuple[str, ...]
    items: list[Item]
    notes: list[str] = field(default_factory=list)

    def of(self, kinds: Iterable[str]) -> list[Item]:
        """The things of some kinds, the oldest first."""
        wanted = set(kinds)
        return [item for item in self.items if item.kind in wanted]

    async def garbage(self, now: float) -> list[Item]:
        """The stored files that nothing on record names, and that nobody used for a day.

        Args:
            now: Seconds since 1970.

        Returns:
            The files.
        """
        old = [item for item in self.of([FILES]) if now - item.modified > _DAY]
        if not old:
            return []
        named: set[str] = set()
        for content in await _gathered([item.read for item in self.of(KINDS) if isinstance(item, _EntryItem)]):
            named.update(match.decode() for match in _DIGEST.findall(content))
        return [item for item in old if item.name not in named]


@dataclass(frozen=True)
class _EntryItem(Item):
    """An entry of a record."""

    read: Callable[[], Awaitable[bytes]] = field(kw_only=True, repr=False, compare=False)


async def inventory_of_shelf(shelf: Shelf) -> Inventory:
    """What lies on a shelf that several machines share.

    Args:
        shelf: The shelf.

    Returns:
        The entries and their files.
    """
    items = await _entries(shelf)
    items += [
        _file_on_shelf(shelf, listed)
        for listed in await shelf.listed(FILES)
        if "/" not in listed.path[len(FILES) + 1 :]
    ]
    return Inventory(shelf.where, (*KINDS, FILES), sorted(items, key=_age))


async def inventory_of_machine() -> Inventory:
    """What this machine keeps in its state folder, and the images of its Docker engine that were made here.

    Returns:
        Everything but what is in the making.
    """
    root, notes = home(), list[str]()
    items = await _entries(LocalShelf(root / "record"))
    items += await asyncio.to_thread(_files, pinned.store())
    items += await asyncio.to_thread(_environments)
    items += await asyncio.to_thread(_images, notes)
    items += await asyncio.to_thread(_plain_files, "locks", root / "locks", "*.json", _about_lock)
    items += await asyncio.to_thread(_plain_files, "endpoints", root / "endpoints", "*.json", _about_endpoint)
    items += await asyncio.to_thread(_plain_files, "transcripts", root / "transcripts", "*.jsonl", _about_transcript)
    kinds = (*KINDS, FILES, "environments", "images", "locks", "endpoints", "transcripts")
    return Inventory(str(root), kinds, sorted(items, key=_age), notes)


def _age(item: Item) -> tuple[float, str, str]:
    return item.modified, item.kind, item.name


async def _gathered(reads: Sequence[Callable[[], Awaitable[bytes]]]) -> list[bytes]:
    found: list[bytes] = []
    for start in range(0, len(reads), _AT_ONCE):
        found += await asyncio.gather(*(read() for read in reads[start : start + _AT_ONCE]))
    return found


async def _entries(shelf: Shelf) -> list[Item]:
    items: list[Item] = []
    for kind in KINDS:
        listed = await shelf.listed(kind)
        withdrawn = {one.path.removesuffix(WITHDRAWN) for one in listed if one.path.endswith(WITHDRAWN)}
        items += [
            _entry(shelf, kind, one, withdrawn=one.path.removesuffix(_ENTRY) in withdrawn)
            for one in listed
            if one.path.endswith(_ENTRY)
        ]
    return items


def _entry(shelf: Shelf, kind: str, listed: Listed, *, withdrawn: bool) -> Item:
    stem = listed.path.removesuffix(_ENTRY)
    *_, key, version = stem.split("/")

    async def remove() -> bool:
        await shelf.delete(listed.path)
        if withdrawn:
            await shelf.delete(f"{stem}{WITHDRAWN}")
        return True

    async def read() -> bytes:
        return await shelf.read(listed.path) or b""

    async def about() -> str:
        body = body_of(await read())
        told = "corrupt" if body is None else _about_entry(kind, body)
        return f"{told}, withdrawn" if withdrawn else told

    name = f"{key[:12]}/{int(version)}" if version.isdigit() else stem
    return _EntryItem(kind, name, listed.size, listed.modified, remove, about, read=read)


def _about_entry(kind: str, body: dict[str, Any]) -> str:
    if kind == "answers":
        return f"{body.get('step', '?')}, attempt {body.get('attempt', '?')}, {body.get('model', '?')}"
    if kind == "runs":
        outputs = body.get("outputs") or ()
        return f"{body.get('name') or 'run'}, exited {body.get('exit_code', '?')}, {len(outputs)} files"
    if kind == "reviews":
        return f"{body.get('kind', '?')} {body.get('verdict', '?')}, asked by {body.get('channel', '?')}"
    try:
        plan = json.loads(body["result"])["plan"]["description"]
    except (KeyError, TypeError, ValueError):
        return ""
    return " ".join(str(plan).split())[:100]


def _file_on_shelf(shelf: Shelf, listed: Listed) -> Item:
    async def remove() -> bool:
        await shelf.delete(listed.path)
        return True

    return Item(FILES, listed.path[len(FILES) + 1 :], listed.size, listed.modified, remove, _nothing)


def _files(store: Path) -> list[Item]:
    items = []
    for folder in _visible(store):
        contents = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
        size = sum(path.stat().st_size for path in contents)

        def names(contents: Sequence[Path] = contents) -> str:
            return ", ".join(sorted(path.name for path in contents))

        used = folder.stat().st_mtime

        async def remove(folder: Path = folder, used: float = used) -> bool:
            if await asyncio.to_thread(_last_used, folder) != used:
                return False  # somebody took it up since it was listed
            return await _removing(folder)()

        items.append(Item(FILES, folder.name, size, used, remove, _telling(names)))
    return items


def _last_used(folder: Path) -> float | None:
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return None


def _environments() -> list[Item]:
    from flyteplugins.codegen.sandbox.environments import EnvironmentStore

    store = EnvironmentStore()
    items = []
    for key in store.built():
        folder = store.path(key)

        async def remove(key: str = key) -> bool:
            return await store.remove(key)

        def about(folder: Path = folder) -> str:
            requirements = folder / "requirements.txt"
            return _requirements(requirements.read_text() if requirements.exists() else "")

        items.append(Item("environments", key, _size(folder), folder.stat().st_mtime, remove, _telling(about)))
    return items


def _images(notes: list[str]) -> list[Item]:
    from flyteplugins.codegen.sandbox.docker_engine import EngineError
    from flyteplugins.codegen.sandbox.made_images import made_images, remove_image

    try:
        found = made_images()
    except EngineError as error:
        notes.append(f"No Docker engine was asked for images: {error}")
        return []

    def removing(name: str) -> Callable[[], Awaitable[bool]]:
        return lambda: asyncio.to_thread(remove_image, name)

    return [Item("images", one.name, one.size, one.created, removing(one.name), _nothing) for one in found]


def _plain_files(kind: str, folder: Path, pattern: str, about: Callable[[str], str]) -> list[Item]:
    items = []
    for path in folder.glob(pattern):
        status = path.stat()

        def told(path: Path = path) -> str:
            return about(path.read_text(encoding="utf-8", errors="replace"))

        items.append(Item(kind, path.name, status.st_size, status.st_mtime, _removing(path), _telling(told)))
    return items


def _about_lock(text: str) -> str:
    lock = json.loads(text)
    return f"Python {lock['python']}, {_requirements(lock['requirements'])}"


def _about_endpoint(text: str) -> str:
    return ", ".join(f"{name}: {value}" for name, value in json.loads(text).items() if isinstance(value, str))


def _about_transcript(text: str) -> str:
    return f"{len(text.splitlines())} lines"


def _requirements(text: str) -> str:
    names = re.findall(r"^([A-Za-z0-9][A-Za-z0-9._-]*==[^\s;\\]+)", text, re.MULTILINE)
    return f"{', '.join(names[:6])}{f' and {len(names) - 6} more' if len(names) > 6 else ''}" or "no packages"


def _removing(path: Path) -> Callable[[], Awaitable[bool]]:
    def remove() -> bool:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        return not path.exists()

    return lambda: asyncio.to_thread(remove)


def _telling(about: Callable[[], str]) -> Tell:
    def tell() -> str:
        try:
            return about()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return "can't be read"

    return lambda: asyncio.to_thread(tell)


async def _nothing() -> str:
    return ""


def _visible(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except FileNotFoundError:
        return []


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
