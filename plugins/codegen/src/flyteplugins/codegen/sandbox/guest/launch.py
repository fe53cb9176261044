"""Runs a Python program whose arguments are too long for the operating system.

    python [options] launch.py ARGUMENTS

`ARGUMENTS` is a JSON file with what would have followed the options: `["script.py", ...]`, `["-m", "module", ...]` or
`["-c", "code", ...]`. Standard library only; runs outside the package.
"""

# As Python itself does it: text paths, and `exec` for `-c`.
# ruff: noqa: PTH100, PTH109, PTH119, PTH120, PTH123, S102

import json
import os
import sys

_NAME = __file__


def main() -> None:
    """Become the program that the file describes."""
    import runpy

    with open(sys.argv[1], encoding="utf-8") as file:
        given = json.load(file)
    if given[0] == "-m":
        sys.argv = given[1:]
        if not sys.flags.isolated:
            sys.path[0] = os.getcwd()
        runpy.run_module(given[1], run_name="__main__", alter_sys=True)
    elif given[0] == "-c":
        sys.argv = ["-c", *given[2:]]
        if not sys.flags.isolated:
            sys.path[0] = ""
        exec(compile(given[1], "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
    else:
        sys.argv = given
        if not sys.flags.isolated:
            sys.path[0] = os.path.dirname(os.path.abspath(given[0]))
        runpy.run_path(given[0], run_name="__main__")


def _without_launcher(kind, error, traceback):  # type: ignore[no-untyped-def] # the shape of sys.excepthook
    while traceback is not None and _is_ours(traceback.tb_frame.f_code.co_filename):
        traceback = traceback.tb_next
    # The traceback of the error itself is what is printed.
    sys.__excepthook__(kind, error.with_traceback(traceback), traceback)


def _is_ours(name: str) -> bool:
    return name == _NAME or name.startswith("<frozen runpy") or os.path.basename(name) == "runpy.py"


if __name__ == "__main__":
    sys.excepthook = _without_launcher
    main()
