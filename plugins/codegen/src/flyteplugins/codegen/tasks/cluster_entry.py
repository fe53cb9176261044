"""What a container on a cluster runs: puts Flyte's staged inputs into the script's contract, and its outputs back.

Standard library only; the text of this file is an argument of the container's command. An argument `<name=path` says
that the value lies in that file, as Flyte stages each input that is no file. So no value is part of the command, where
Kubernetes would put variables in the place of their names and no more than 128 kB would fit. Flyte stages a file input
as a folder that holds the one file under its own name, writes durations as `1h2m3.5s`, `3.5s` or
`seconds:3 nanos:500000000`, and takes dates and durations in its own forms. Flyte 1 stages the file alone; an argument
`@sales=s3://...` says what it is called.
"""

import base64
import datetime
import json
import pathlib
import re
import runpy
import sys
import tempfile
import urllib.parse
import zlib


def given(value: str, kind: str, address: str = "") -> str:
    """An argument as the script's contract has it."""
    if kind == "File":
        path = pathlib.Path(value)
        return str(next(path.iterdir())) if path.is_dir() else named(path, address)
    if kind == "datetime":
        return re.sub("Z$", "+00:00", value)  # Python 3.10 does not read a final `Z`
    return duration(value) if kind == "timedelta" else value


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
    link = pathlib.Path(tempfile.mkdtemp()) / name
    link.symlink_to(path)
    return str(link)


def taken(text: str, kind: str) -> str:
    """An output as Flyte reads it."""
    if kind == "datetime":
        # Python 3.10 does not read a final `Z`.
        moment = datetime.datetime.fromisoformat(re.sub("[Zz]$", "+00:00", text.strip()))
        return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.timezone.utc)).isoformat()
    if kind == "timedelta":
        match = re.fullmatch(r"(?:(-?\d+) days?(?:, )?)?(?:(\d+):(\d+):(\d+(?:\.\d+)?))?", text.strip())
        if not match or not text.strip():
            raise ValueError(f"{text[:80]!r} is not a duration as str(timedelta) writes it, such as '1 day, 2:00:00'")
        days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
        span = datetime.timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        whole, rest = divmod(abs(span) // datetime.timedelta(microseconds=1), 10**6)
        return f"{'-' if span < datetime.timedelta(0) else ''}{whole}{f'.{rest:06}'.rstrip('0') if rest else ''}s"
    return text.strip() if kind == "bool" else text


def main() -> None:
    """Run the script as `__main__`."""
    packed, contract, *arguments = sys.argv[1:]
    addresses = dict(argument[1:].split("=", 1) for argument in arguments if argument.startswith("@"))
    arguments = [argument for argument in arguments if not argument.startswith("@")]
    arguments = [read(argument) if argument.startswith("<") else argument for argument in arguments]
    inputs, outputs = json.loads(contract)
    names = [argument[2:].partition("=")[0] for argument in arguments]
    values = [argument.partition("=")[2] for argument in arguments]
    script = pathlib.Path(tempfile.mkdtemp()) / "solution.py"
    script.write_bytes(zlib.decompress(base64.b64decode(packed)))
    sys.argv = [str(script)]
    sys.argv += [
        f"--{name}={given(value, inputs.get(name, 'str'), addresses.get(name, ''))}"
        for name, value in zip(names, values, strict=True)
    ]
    folder = next((pathlib.Path(value) for name, value in zip(names, values, strict=True) if name == "outputs"), None)
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as end:  # `sys.exit(main())` is how many scripts end well
        if end.code not in (None, 0):
            raise
    for name, kind in outputs.items():
        if folder and kind in ("bool", "datetime", "timedelta"):
            path = folder / name
            path.write_text(taken(path.read_text(encoding="utf-8"), kind), encoding="utf-8")


if __name__ == "__main__":
    main()
