"""The first process of a sandbox: starts the program, clears up after it and reports its true wait status.

Runs outside the package, with `python -I -S`, on whatever interpreter the sandbox has. It imports `os` and builtins
only, because each further import would be paid for by every job.

    init.py contain|adopt SPEC STATUS GO

`SPEC`, `STATUS` and `GO` are file descriptors. `ready` is written to STATUS; one byte read from GO starts the program
that SPEC describes: fields that end with NUL, the working folder, the number of arguments, the arguments, then the
environment as `NAME=value`. In the end STATUS receives `exited <wait status> <peak kilobytes>` or `failed <reason>`.
With `contain` it is process 1 of a namespace, whose end takes all others with it; with `adopt` it inherits the
orphans of the program and ends them itself, also when GO closes because the host process is gone.
"""

# pathlib and contextlib cost more to import than all that this does.
# ruff: noqa: PTH112, PTH123, PTH208, SIM105

import os
import sys

_SIGKILL, _SIGSTOP, _SIGINT, _SIGPIPE, _SIGXFSZ = 9, 19, 2, 13, 25
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Start the program, wait for it and for nothing else, and report."""
    mode = sys.argv[1]
    spec, status, go = (int(fd) for fd in sys.argv[2:5])
    for fd in (spec, status, go):
        os.set_inheritable(fd, False)
    if mode == "adopt":
        _adopt_orphans()
    os.write(status, b"ready\n")
    if os.read(go, 1) != b"g":
        return
    folder, argv, env = _read_spec(spec)
    try:
        os.chdir(folder)
        # Python ignores these two; the program gets the defaults, as from a shell.
        child = os.posix_spawnp(argv[0], argv, env, setsigdef=[_SIGINT, _SIGPIPE, _SIGXFSZ])
    except OSError as error:
        os.write(status, f"failed {argv[0]}: {error.strerror}\n".encode())
        return
    if mode == "adopt":
        _follow_host(go)
    while True:
        pid, wait_status, usage = os.wait4(-1, 0)
        if pid == child:
            break
    if mode == "adopt":
        end_descendants()
    os.write(status, b"exited %d %d\n" % (wait_status, usage.ru_maxrss))


def _read_spec(fd: int) -> tuple[str, list[str], dict[bytes, bytes]]:
    with os.fdopen(fd, "rb") as file:
        fields = file.read().split(b"\0")[:-1]
    count = int(fields[1])
    argv = [os.fsdecode(field) for field in fields[2 : 2 + count]]
    return os.fsdecode(fields[0]), argv, dict(field.split(b"=", 1) for field in fields[2 + count :])


def _adopt_orphans() -> None:
    # A process that its parent left would otherwise move to the host's process 1 and out of our sight.
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _follow_host(go: int) -> None:
    import _thread

    def wait_for_end() -> None:
        os.read(go, 1)
        end_descendants()
        os._exit(1)

    _thread.start_new_thread(wait_for_end, ())


def end_descendants() -> None:
    """Stop all processes below this one, so that none can start another, then end them."""
    stopped: set[int] = set()
    while new := _descendants() - stopped:
        for pid in new:
            _signal(pid, _SIGSTOP)
        stopped |= new
    for pid in stopped:
        _signal(pid, _SIGKILL)


def _descendants() -> set[int]:
    parents: dict[int, int] = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else []:
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue
    found: set[int] = set()
    new = {os.getpid()}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return found


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except OSError:
        pass


main()
