"""Becomes a Python program that is not known yet when this starts.

    python [options] early.py PRELUDE GO ORDER [ARGUMENT...]

`PRELUDE` is Python code, which is run at once and finds the arguments as `arguments`. One that knows what the job will
be may begin with it, call `wait()` where it needs the job's files, and end the process when the job is done. `GO` is a
file descriptor: one byte read from it means that there is a job, its end that there will be none. `ORDER` is a JSON
file, there from then on, with what would have followed the options: `["script.py", ...]`, `["-m", "module", ...]` or
`["-c", "code", ...]`.
Standard library only; runs outside the package.
"""

# As Python itself does it: text paths, and `exec`. A module more to import would be one more that the program finds.
# ruff: noqa: PTH109, PTH120, PTH123, S102, SIM105

from __future__ import annotations

import json
import os
import sys
from types import TracebackType


def prepare() -> list[str]:
    """Run the prelude, wait for the job and return its order."""
    prelude, go, order, *arguments = sys.argv[1:]
    given: list[str] = []

    def wait() -> list[str]:
        if not given:
            sys.stdout.flush()  # the host does not use a sandbox whose prelude printed something
            with open(int(go), "rb", buffering=0) as stream:
                if stream.read(1) != b"g":
                    os._exit(0)
            with open(order, encoding="utf-8") as text:
                given.extend(json.load(text))
        return given

    names = {"__name__": "prelude", "arguments": arguments, "wait": wait}
    try:
        exec(compile(prelude, "<prelude>", "exec", dont_inherit=True), names)
    except Exception:  # noqa: S110 # what it can't import, the program can't either, and will say so
        pass
    return wait()


def run(given: list[str]) -> None:
    """Be the program, in the place of this file: it is the main module, for pickle and for whoever looks."""
    sys.orig_argv = [*sys.orig_argv[: -len(sys.argv)], *given]
    if given[0] == "-m":
        import runpy

        sys.argv = given[1:]
        if not sys.flags.isolated:
            sys.path[0] = os.getcwd()
        runpy.run_module(given[1], run_name="__main__", alter_sys=True)
        return
    path, source = ("<string>", given.pop(1)) if given[0] == "-c" else (given[0], None)
    sys.argv = given
    if not sys.flags.isolated:
        sys.path[0] = "" if source is not None else os.path.dirname(path)
    own, show = __file__, sys.__excepthook__  # the names of this module will be gone

    def excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        while traceback is not None and traceback.tb_frame.f_code.co_filename == own:
            traceback = traceback.tb_next
        # The traceback of the error itself is what is printed.
        show(kind, error.with_traceback(traceback), traceback)

    sys.excepthook = excepthook
    names: dict[str, object] = globals()
    if source is None:
        with open(path, "rb") as stream:
            program = compile(stream.read(), path, "exec", dont_inherit=True)
    else:
        program = compile(source, path, "exec", dont_inherit=True)
    for name in [name for name in names if not name.startswith("__")]:
        del names[name]
    names.update(__file__=path, __doc__=None)
    exec(program, names)


if __name__ == "__main__":
    run(prepare())
