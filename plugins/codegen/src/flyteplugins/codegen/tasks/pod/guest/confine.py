"""What a process in a pod gives up before it becomes generated code, as far as the pod's kernel lets it.

Standard library only; its text is part of the command of a container on a cluster. A pod is no sandbox of ours: nobody
asked whether it may make namespaces, and its seccomp profile may refuse them. So each means is tried, the strongest
first, and what could not be had is said:

- the network: a namespace of its own with nothing but loopback, else a seccomp filter that refuses every socket but
  those of the file system;
- files: Landlock, which leaves the program its inputs, its outputs, temporary folders and what the image installs;
- root and capabilities: another user, no capability, none to be had again;
- system calls that escapes are made of: seccomp.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import resource
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass

# These are system calls, on paths as the kernel takes them.
# ruff: noqa: PTH112, PTH118, PTH123, PTH208

NOBODY = 65534
TOKENS = ("/var/run/secrets", "/run/secrets")
"""Where Kubernetes mounts the tokens of service accounts, its own and those of cloud providers."""

_PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/etc", "/var/lib", "/var/cache")
_KERNEL = ("/proc", "/sys")
_TEMPORARY = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 # a pod's own, not shared with anybody
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_ACCELERATORS = ("nvidia", "dri", "kfd", "accel")
"""How devices are called that a pod has only if it asked for them."""

_libc = ctypes.CDLL(None, use_errno=True)


class NotConfinedError(Exception):
    """Something that must hold can't be had here."""


@dataclass(frozen=True)
class Bounds:
    """What the program is to be kept to.

    Attributes:
        network: Whether it may use the network.
        strict: Whether it is not to start where its bounds can't be had.
        read: What it reads besides what the image installs.
        outputs: Where it writes what it gives; None if it gives nothing.
        processes: Processes and threads at one time.
        temporary: Its temporary folder; the usual ones are its own as well.
    """

    network: bool
    strict: bool
    read: tuple[str, ...]
    outputs: str | None
    processes: int
    temporary: str = "/tmp"  # noqa: S108 # a pod's own, not shared with anybody


def confine(bounds: Bounds) -> list[str]:
    """Give up what generated code must not have; for a process that is about to become it.

    Args:
        bounds: What it is to be kept to.

    Returns:
        What could not be had, a sentence each.

    Raises:
        NotConfinedError: The bounds are strict, and the network could not be blocked or a token not be hidden.
    """
    missing: list[str] = []
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    in_namespace = not bounds.network and _takes_effect(_network_of_its_own)
    _leave_root(bounds, missing)
    _prctl(_PR_SET_DUMPABLE, 1)  # else its own entry in /proc, which a user namespace is set up through, is root's
    if not bounds.network and not in_namespace:
        in_namespace = _takes_effect(lambda: _namespaces_of_a_user(bounds.processes))
    _check(_prctl(_PR_SET_NO_NEW_PRIVS, 1), "no_new_privs")
    _drop_capabilities()
    hidden = _attempt(lambda: _restrict_files(bounds, block_tcp=not bounds.network and not in_namespace))
    families = ONLY_LOCAL if not bounds.network and not in_namespace else FAMILIES
    filtered = _attempt(lambda: _filter_calls(families))
    if hidden:
        missing.append(f"files are not confined: Landlock can't be had ({hidden})")
        if tokens := readable_tokens():
            missing.append(f"it can read what is mounted in {', '.join(tokens)}")
            if bounds.strict:
                raise NotConfinedError(f"A token is mounted that it could read, and {missing[-2]}")
    if filtered:
        missing.append(f"dangerous system calls are not refused: seccomp can't be had ({filtered})")
        if not bounds.network and not in_namespace:
            missing.append("the network is not blocked: neither a network namespace nor seccomp can be had")
            if bounds.strict:
                raise NotConfinedError(missing[-1].capitalize())
    return missing


def readable_tokens() -> list[str]:
    """The folders of tokens that hold a file which this process can read."""
    found = []
    for root in sorted({os.path.realpath(root) for root in TOKENS}):
        paths = (os.path.join(folder, name) for folder, _, names in os.walk(root) for name in names)
        if any(os.access(path, os.R_OK) for path in paths):
            found.append(root)
    return found


def _attempt(step: Callable[[], None]) -> str:
    """Do a step; why it failed, empty if it did not."""
    try:
        step()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _takes_effect(step: Callable[[], None]) -> bool:
    """Do a step that could fail half way; only if it works in another process."""
    if _said_elsewhere(lambda: _attempt(step)):
        return False
    step()
    return True


def _said_elsewhere(step: Callable[[], str]) -> str:
    """What a step says in a process of its own, which changes nothing here."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "it failed"
        try:
            said = step()
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as stream:
        said = stream.read()
    os.waitpid(pid, 0)
    return said


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


# --- root and capabilities ---

_PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 4, 24, 38, 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITIES_VERSION = 0x20080522
_LARGEST_CAPABILITY = 63


def _prctl(option: int, argument: int) -> int:
    return int(_libc.prctl(option, ctypes.c_ulong(argument), *[ctypes.c_ulong(0)] * 3))


def _leave_root(bounds: Bounds, missing: list[str]) -> None:
    if os.geteuid() != 0:
        return
    if bounds.outputs is not None:
        with contextlib.suppress(OSError):
            os.chown(bounds.outputs, NOBODY, NOBODY)
    # Who is nobody can't become root again, so another process tries it.
    if why := _said_elsewhere(lambda: _attempt(_become_nobody) or _out_of_reach(bounds)):
        missing.append(f"it runs as root, though without root's capabilities: {why}")
        if bounds.outputs is not None:
            with contextlib.suppress(OSError):
                os.chown(bounds.outputs, 0, 0)
    else:
        _become_nobody()


def _become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _out_of_reach(bounds: Bounds) -> str:
    needed = [(path, os.R_OK | os.X_OK) for path in (sys.executable, sys.prefix, sys.base_prefix, *bounds.read)]
    needed += [(path, os.W_OK | os.X_OK) for path in (bounds.outputs, bounds.temporary) if path is not None]
    denied = next((path for path, access in needed if not os.access(path, access)), "")
    return denied and f"another user has no access to {denied}"


def _drop_capabilities() -> None:
    """No capability, whoever the user is; with no_new_privs none comes back with another program."""
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(_LARGEST_CAPABILITY + 1):
        _prctl(_PR_CAPBSET_DROP, capability)  # refused where there is nothing to drop from
    header = struct.pack("Ii", _CAPABILITIES_VERSION, 0)
    _check(_libc.capset(header, bytes(24)), "capset")


# --- namespaces ---

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


def _network_of_its_own() -> None:
    """For a privileged process; leaves nothing but loopback."""
    _check(_libc.unshare(_CLONE_NEWNET), "unshare")
    _start_loopback()


def _namespaces_of_a_user(processes: int) -> None:
    user, group = os.geteuid(), os.getegid()
    _check(_libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    _start_loopback()
    # Where processes count by namespace; elsewhere those of other pods on the node would count as well.
    if tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2]) >= (5, 14):
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))


def _start_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP))


# --- Landlock: files ---

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = 1 << 6, 1 << 9, 1 << 10, 1 << 11, 1 << 12
_TRUNCATE, _IOCTL = 1 << 14, 1 << 15
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_RIGHTS_BY_VERSION = (0, 13, 14, 15, 15, 16, 16)
"""How many of the rights above each version of Landlock knows, from version 0 on; the last holds for later ones."""

_BIND_AND_CONNECT_TCP, _ABSTRACT_SOCKETS_AND_SIGNALS = 3, 3


def _restrict_files(bounds: Bounds, *, block_tcp: bool) -> None:
    version = _check(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION), "landlock")
    every = (1 << _RIGHTS_BY_VERSION[min(version, len(_RIGHTS_BY_VERSION) - 1)]) - 1
    tcp = _BIND_AND_CONNECT_TCP if version >= 4 and block_tcp else 0
    scoped = _ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0
    attributes = struct.pack("QQQ", every, tcp, scoped)[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = _check(_libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0), "landlock")
    reading = _READ_FILE | _READ_DIR
    writing = every & ~(_EXECUTE | _MAKE_CHAR | _MAKE_BLOCK | _IOCTL)
    accelerators = [f"/dev/{name}" for name in os.listdir("/dev") if name.startswith(_ACCELERATORS)]
    given = writing & ~(_MAKE_SYM | _MAKE_SOCK | _MAKE_FIFO)  # whoever takes the outputs may follow or open them
    for paths, rights in (
        ((*_PROGRAMS, sys.prefix, sys.base_prefix), reading | _EXECUTE),
        ((*_KERNEL, *bounds.read), reading),
        ((*_TEMPORARY, bounds.temporary), writing | _EXECUTE),
        ((bounds.outputs,) if bounds.outputs else (), given),
        ((*_DEVICES, *accelerators), reading | _WRITE_FILE | _TRUNCATE | _IOCTL),
    ):
        for path in paths:
            _allow(rules, path, rights & every)
    _check(_libc.syscall(_RESTRICT_SELF, rules, 0), "landlock")
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not there, or not to be seen: nothing to allow
    if not os.path.isdir(path):
        rights &= _OF_A_FILE
    try:
        rule = struct.pack("=Qi", rights, beneath)
        _check(_libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0), f"landlock: {path}")
    finally:
        os.close(beneath)


# --- seccomp: system calls ---

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2
_ALLOW, _KILL, _REFUSE = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_OTHER_NUMBERS_OF_X86 = 0x40000000  # the same calls under other numbers
_MAKES_NAMESPACES = 0x7E020000

_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16
ONLY_LOCAL = (_UNIX,)
FAMILIES = (_UNIX, _INET, _INET6, _NETLINK)  # no namespace holds, for example, those to a virtual machine's host

_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""By machine: what the kernel calls it, and the column of the table."""

_SOCKET, _CLONE = (41, 198), (56, 220)
_REFUSED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "mount_setattr": (442, 442),
    "setns": (308, 268),
    "unshare": (272, 97),
    "open_by_handle_at": (304, 265),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "reboot": (169, 142),
}
_NOT_THERE = {
    # They do what the filter can't look into; whoever uses them has a way without.
    "clone3": (435, 435),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
}


def _filter_calls(families: tuple[int, ...]) -> None:
    machine = platform.machine()
    if machine not in _MACHINES or sys.byteorder != "little" or struct.calcsize("P") != 8:
        raise OSError(errno.ENOTSUP, f"there is no filter for {machine}")
    program = filter_program(machine, families)
    code = array.array("B", b"".join(struct.pack("HBBI", *instruction) for instruction in program))
    address, _ = code.buffer_info()
    pointer = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program), address))
    _check(_libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, pointer, 0, 0), "seccomp")


def filter_program(machine: str, families: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """What decides over each system call, as instructions of classic BPF.

    Args:
        machine: As the kernel calls it.
        families: The families of sockets that may be made.

    Returns:
        The instructions: code, how many to skip if true, and if false, and the operand.
    """
    architecture, column = _MACHINES[machine]
    program = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, architecture), (_RETURN, 0, 0, _KILL)]
    program += [(_LOAD, 0, 0, _NUMBER)]
    if machine == "x86_64":
        program += [(_AT_LEAST, 0, 1, _OTHER_NUMBERS_OF_X86), (_RETURN, 0, 0, _REFUSE | errno.ENOSYS)]
    for numbers, refusal in ((_REFUSED, errno.EPERM), (_NOT_THERE, errno.ENOSYS)):
        for number in numbers.values():
            program += [(_EQUAL, 0, 1, number[column]), (_RETURN, 0, 0, _REFUSE | refusal)]
    program += [
        (_EQUAL, 0, 4, _CLONE[column]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_ANY_BIT, 0, 1, _MAKES_NAMESPACES),
        (_RETURN, 0, 0, _REFUSE | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
        (_EQUAL, 0, 2 + 2 * len(families), _SOCKET[column]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
    ]
    for family in families:
        program += [(_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
    return [*program, (_RETURN, 0, 0, _REFUSE | errno.EACCES), (_RETURN, 0, 0, _ALLOW)]
