"""What a container on a cluster runs: the script, between the inputs that Flyte staged and the outputs that it takes.

Standard library only; the text of this file is an argument of the container's command, and so are the script and the
modules in `guest`, packed: `staging` speaks Flyte's language, `supervise` runs the script to its end, `confine` takes
from it what it must not have.

    python -c ENTRY PACKED CONTRACT SETTINGS [ARGUMENT...]

How the arguments say where the values are stands in `staging`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import sys
import tempfile
import traceback
import types
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

FAILED, OUT_OF_TIME, NOT_STARTED, STOPPED, SIGNAL = 1, 124, 125, 143, 128
"""Exit statuses where the script's own does not say it."""

KILLED = 137
"""Of a container whose node went away; Flyte may try such a one again, so it never stands for what the script did."""

ADVICE = (
    "Let the pod's seccomp profile permit it, or take sandbox='process', which runs the code with what there is, at "
    "your own risk."
)

MESSAGE = pathlib.Path("/dev/termination-log")
"""What Kubernetes shows as the reason of a container's end, and Flyte with it; of what is longer, nothing."""

MESSAGE_BYTES = 4096
SHOWN_LINES = 20
SHORTEST_SECRET = 4  # shorter ones stand in every other line by chance


def main() -> None:
    """Run the script, and end as it ended."""
    packed, contract, text, *arguments = sys.argv[1:]
    files = json.loads(zlib.decompress(base64.b64decode(packed)))
    inputs, outputs = json.loads(contract)
    settings = json.loads(text)
    paths = {name.lstrip("<-"): pathlib.Path(path) for name, _, path in (one.partition("=") for one in arguments)}
    folder = paths.get("outputs") if outputs else None
    roots = sorted({str(paths[name].parent) for name in inputs})
    staging = module("staging", files)
    try:
        ended = run(files, staging.new_folder(), staging.script_arguments(arguments, inputs), settings, roots, folder)
        status, said = judge(ended)
        if status == 0 and folder:
            staging.settle(folder)
            staging.normalise(folder, outputs, module("values", files), flat="@outputs=flat" in arguments)
    except ValueError as error:
        status, said = FAILED, str(error)
    except Exception as error:
        traceback.print_exc()
        status, said = NOT_STARTED, f"{type(error).__name__}: {error}"
    if status:
        tell(without_secrets(said, settings["secrets"]), folder)
    sys.exit(status)


def run(
    files: Mapping[str, str],
    folder: pathlib.Path,
    arguments: Sequence[str],
    settings: Mapping[str, Any],
    roots: Sequence[str],
    outputs: pathlib.Path | None,
) -> Any:
    """Run the script in a process of its own, with as little as it needs."""
    confine, supervise = module("confine", files), module("supervise", files)
    for name in ("solution.py", "launch.py"):
        (folder / name).write_text(files[name], encoding="utf-8", newline="")
    # A value may be longer than the system takes as an argument.
    (folder / "arguments.json").write_text(json.dumps([str(folder / "solution.py"), *arguments]), encoding="utf-8")
    temporary = tempfile.gettempdir()
    env = {"HOME": temporary, "TMPDIR": temporary, "LANG": "C.UTF-8", "PATH": os.environ.get("PATH", os.defpath)}
    named = (*settings["variables"], *settings["secrets"])
    env |= {name: os.environ[name] for name in named if name in os.environ}
    bounds = confine.Bounds(
        network=settings["network"],
        strict=settings["strict"],
        read=(*roots, str(folder)),
        outputs=str(outputs) if outputs else None,
        temporary=temporary,
        processes=settings["processes"],
    )
    return supervise.supervise(
        [sys.executable, str(folder / "launch.py"), str(folder / "arguments.json")],
        env,
        folder=temporary,
        confine=lambda: confine.confine(bounds),
        seconds=settings["seconds"],
        processes=settings["processes"],
    )


def judge(ended: Any) -> tuple[int, str]:
    """The exit status of the container, and what is said of it."""
    shown = "\n".join((ended.stderr or ended.stdout).strip().splitlines()[-SHOWN_LINES:])
    if ended.reason == "not started":
        return NOT_STARTED, f"The code was not run: {ended.stderr}. {ADVICE}"
    if ended.reason == "stopped":
        return STOPPED, "The container was told to stop, and the code was ended."
    if ended.reason == "out of time":
        return OUT_OF_TIME, f"The code ran longer than its time limit and was ended.\n{shown}"
    if ended.reason == "exited" and ended.status >= 0:
        # One that says it was killed as a node that goes away kills would be tried again.
        status = FAILED if ended.status == KILLED else ended.status
        return status, f"The code exited with status {ended.status}:\n{shown}"
    why = {"out of memory": "it used more memory than its container has"}.get(ended.reason, ended.reason)
    why = f"signal {-ended.status}" if ended.reason == "exited" else why
    status = SIGNAL - ended.status
    return (FAILED if status == KILLED else status), f"The code was ended: {why}.\n{shown}"


def tell(said: str, outputs: pathlib.Path | None) -> None:
    """Say why it failed where Kubernetes, and where Flyte's sidecar looks for it."""
    first, _, rest = said.partition("\n")
    print(first, file=sys.stderr, flush=True)  # noqa: T201 # the rest has been printed
    if MESSAGE.is_file():
        end = rest.encode()[-(MESSAGE_BYTES - len(first.encode()[:1024]) - 1) :].decode(errors="ignore")
        with contextlib.suppress(OSError):
            MESSAGE.write_bytes(f"{first[:1024]}\n{end}".encode()[:MESSAGE_BYTES])
    if outputs:
        with contextlib.suppress(OSError):
            (outputs / "_ERROR").unlink(missing_ok=True)
            (outputs / "_ERROR").write_text(said, encoding="utf-8")


def without_secrets(said: str, names: Sequence[str]) -> str:
    """The text with a secret's name where its value was printed: a message is seen by more people than a log."""
    for name in names:
        if len(value := os.environ.get(name, "")) >= SHORTEST_SECRET:
            said = said.replace(value, f"<secret {name}>")
    return said


def module(name: str, files: Mapping[str, str]) -> types.ModuleType:
    """One of the modules that came with the script."""
    made = sys.modules[name] = types.ModuleType(name)
    exec(compile(files[f"{name}.py"], f"<{name}.py>", "exec"), made.__dict__)  # noqa: S102 # our own
    return made


if __name__ == "__main__":
    main()
