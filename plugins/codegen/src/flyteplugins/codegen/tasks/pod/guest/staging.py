"""Puts what Flyte stages into the script's contract, and what the script gives into the form that Flyte reads.

Standard library only; its text is part of the command of a container on a cluster.

An argument `<name=path` says that the value lies in that file, as Flyte stages each input that is plain. So no value
is part of the command, where Kubernetes would put variables in the place of their names and no more than 128 kB would
fit. Flyte stages a file input as a folder that holds the one file under its own name, writes durations as `1h2m3.5s`,
`3.5s` or `seconds:3 nanos:500000000`, and takes dates and durations in its own forms. Flyte 1 stages the file alone; an
argument `@sales=s3://...` says what it is called. The files of a list lie in one folder, under names of their own;
their order stands in `inputs.json` beside it. A dict and a list come as JSON.

Under Flyte 1 the files of a list come as a folder of folders called `0`, `1` and so on, each with one file, and a
folder is staged under its whole address. `@outputs=flat` says that what uploads a folder leaves out those in it.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import re
import stat
import tempfile
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any

TABLES = ("DataFrame", "pandas.DataFrame")

FORMS = {
    "int": r"[+-]?\d+",
    "float": r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|infinity|nan)",
    "bool": "true|false",
}
"""What Flyte reads, and nobody has to guess at."""


def script_arguments(arguments: Sequence[str], inputs: Mapping[str, str]) -> list[str]:
    """The command line of the script, as its contract has it."""
    addresses = dict(argument[1:].split("=", 1) for argument in arguments if argument.startswith("@"))
    found = []
    for argument in arguments:
        if not argument.startswith("@"):
            name, _, value = (read(argument) if argument.startswith("<") else argument)[2:].partition("=")
            kind = inputs.get(name, "str")
            if kind == "list[File]":
                folder = staged(pathlib.Path(value), addresses.get(name, ""))
                found += [f"--{name}={path}" for path in several(folder)]
            else:
                found.append(f"--{name}={given(value, kind, addresses.get(name, ''))}")
    return found


def given(value: str, kind: str, address: str = "") -> str:
    """An argument as the script's contract has it."""
    if kind in ("File", *TABLES):
        path = pathlib.Path(value)
        return str(next(path.iterdir())) if path.is_dir() else named(path, address)
    if kind == "Dir":
        return str(staged(pathlib.Path(value), address))
    if kind == "datetime":
        return re.sub("Z$", "+00:00", value)  # Python 3.10 does not read a final `Z`
    if kind == "date":
        return value.partition("T")[0]  # Flyte has moments only: midnight in UTC
    return duration(value) if kind == "timedelta" else value


def several(folder: pathlib.Path) -> list[str]:
    """The files of a list, in their order."""
    try:
        listed = json.loads((folder.parent / "inputs.json").read_bytes())[folder.name]
        ordered = [folder / pathlib.PurePosixPath(path).name for path in listed]
    except (OSError, ValueError, KeyError, TypeError):
        ordered = []
    # A sidecar that keeps no names calls them 0, 1, 2 and so on.
    there = sorted(folder.iterdir(), key=lambda path: (path.name.isdigit() and int(path.name), path.name))
    found = ordered if sorted(ordered) == sorted(there) else there
    return [str(next(path.iterdir()) if path.is_dir() else path) for path in found]


def staged(folder: pathlib.Path, address: str) -> pathlib.Path:
    """Where the files of a folder are."""
    inside = folder / urllib.parse.urlsplit(address).path.strip("/")
    return inside if inside.is_dir() else folder


def duration(value: str) -> str:
    """A duration as `str(timedelta)` writes it."""
    if parts := dict(re.findall(r"(seconds|nanos):(-?\d+)", value)):
        seconds, nanos = (int(parts.get(part, 0)) for part in ("seconds", "nanos"))
        return str(datetime.timedelta(seconds=seconds, microseconds=nanos / 1000))
    units = {"h": 3600e6, "m": 60e6, "s": 1e6, "ms": 1e3, "\u00b5s": 1, "ns": 1e-3}
    if re.fullmatch(rf"-?(\d+(\.\d+)?({'|'.join(units)}))+", value):
        found = re.findall(r"(\d+(?:\.\d+)?)([^\d.]+)", value)
        microseconds = sum(round(float(number) * units[unit]) for number, unit in found)
        return str(datetime.timedelta(microseconds=-microseconds if value.startswith("-") else microseconds))
    return value


def read(argument: str) -> str:
    """`<name=path` as `--name=` and the content of the file, to the last byte."""
    name, _, path = argument[1:].partition("=")
    return f"--{name}={pathlib.Path(path).read_bytes().decode()}"


def named(path: pathlib.Path, address: str) -> str:
    """A file under its own name: Flyte 1 stages it under the input's, and has its own in its address alone."""
    name = urllib.parse.unquote(address.rstrip("/").rpartition("/")[2])
    if name in {"", ".", "..", path.name}:
        return str(path)
    link = new_folder() / name
    link.symlink_to(path)
    return str(link)


def taken(text: str, value: Any, kind: str) -> str:
    """An output as Flyte reads it: `text` is what was written, `value` what it stands for."""
    if kind == "datetime":
        return str((value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)).isoformat())
    if kind == "date":
        return f"{value}T00:00:00+00:00"
    if kind == "timedelta":
        whole, rest = divmod(abs(value) // datetime.timedelta(microseconds=1), 10**6)
        return f"{'-' if value < datetime.timedelta(0) else ''}{whole}{f'.{rest:06}'.rstrip('0') if rest else ''}s"
    if kind in FORMS:
        text = text.strip()
        if not re.fullmatch(FORMS[kind], text, re.IGNORECASE):
            raise ValueError(f"{text[:80]!r} is not {'an' if kind == 'int' else 'a'} {kind}")
    return text.lower() if kind == "bool" else text


def normalise(folder: pathlib.Path, outputs: Mapping[str, str], values: Any, *, flat: bool = False) -> None:
    """Put each output into the form that Flyte reads; raise ValueError where one is missing or has none.

    `values` is the module that reads values everywhere else: what is wrong there is wrong here. With `flat`, folders in
    an output folder would be lost.
    """
    for name, kind in outputs.items():
        path = folder / name
        written = any(one.is_file() for one in path.rglob("*")) if kind == "Dir" else path.is_file()
        if not written:
            raise ValueError(f"The code exited with status 0 and did not write its output {name!r}.")
        try:
            if kind in TABLES:
                check_table(path)
            elif kind == "Dir" and flat and any(one.is_dir() for one in path.iterdir()):
                raise ValueError("it has folders in it, and this Flyte keeps those of its files alone")
            elif kind in values.PLAIN_TYPES:
                text = path.read_bytes().decode()
                path.write_bytes(taken(text, values.parse_value(text, kind), kind).encode())
        except ValueError as error:
            raise ValueError(f"Output {name!r}: {error}.") from error


def check_table(path: pathlib.Path) -> None:
    """See that a file may be Parquet; what reads it whole is not here."""
    with path.open("rb") as stream:
        start = stream.read(4)
        stream.seek(max(0, path.stat().st_size - 4))
        if not (start == stream.read(4) == b"PAR1"):
            raise ValueError("it is no Parquet file")


def settle(folder: pathlib.Path) -> None:
    """Make what was written readable for a sidecar of another user, and refuse what is neither a file nor a folder.

    Links lead out of the folder, in the container of whoever follows them; pipes never end.
    """
    for root, folders, files in os.walk(folder, onerror=unreadable):
        for path in (pathlib.Path(root, name) for name in (*folders, *files)):
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise ValueError(f"{path.relative_to(folder)} among the outputs is neither a file nor a folder.")
            with contextlib.suppress(OSError):
                path.chmod(0o755 if stat.S_ISDIR(mode) else 0o644)


def unreadable(error: OSError) -> None:
    """What can't be looked at is not passed on."""
    raise ValueError(f"The outputs can't be read: {error.strerror}: {error.filename}.") from error


def new_folder() -> pathlib.Path:
    """A temporary folder that another user can read."""
    folder = pathlib.Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    return folder
