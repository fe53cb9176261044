"""The filter of a pod decides as it should on each machine; its program is run here instruction by instruction."""

from __future__ import annotations

import errno

import pytest

from flyteplugins.codegen.tasks.pod.guest.confine import FAMILIES, ONLY_LOCAL, filter_program

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
NUMBERS = {
    "x86_64": {
        "read": 0,
        "socket": 41,
        "clone": 56,
        "clone3": 435,
        "unshare": 272,
        "ptrace": 101,
        "io_uring_setup": 425,
    },
    "aarch64": {
        "read": 63,
        "socket": 198,
        "clone": 220,
        "clone3": 435,
        "unshare": 97,
        "ptrace": 117,
        "io_uring_setup": 425,
    },
}
UNIX, INET, INET6, NETLINK, VSOCK = 1, 2, 10, 16, 40
FORK, NEW_USER = 0x11, 0x10000000


def decided(machine: str, families: tuple[int, ...], call: str, first: int = 0, *, architecture: int = 0) -> str:
    """What becomes of a system call."""
    return run(machine, families, NUMBERS[machine][call], first, architecture or ARCHITECTURES[machine])


def run(machine: str, families: tuple[int, ...], number: int, first: int, architecture: int) -> str:
    program = filter_program(machine, families)
    data = {0: number, 4: architecture, 16: first & 0xFFFFFFFF}
    held, at = 0, 0
    while True:
        code, if_true, if_false, operand = program[at]
        at += 1
        if code == 0x20:
            held = data[operand]
        elif code == 0x06:
            return {0x7FFF0000: "allowed", 0x80000000: "killed"}.get(operand) or errno.errorcode[operand - 0x50000]
        else:
            holds = {0x15: held == operand, 0x35: held >= operand, 0x45: bool(held & operand)}[code]
            at += if_true if holds else if_false


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_without_a_network_only_local_sockets_are_made(machine: str) -> None:
    assert decided(machine, ONLY_LOCAL, "socket", UNIX) == "allowed"
    for family in (INET, INET6, NETLINK, VSOCK, 0, 17, -1):
        assert decided(machine, ONLY_LOCAL, "socket", family) == "EACCES"


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_with_a_network_no_socket_leads_past_it(machine: str) -> None:
    for family in (UNIX, INET, INET6, NETLINK):
        assert decided(machine, FAMILIES, "socket", family) == "allowed"
    assert decided(machine, FAMILIES, "socket", VSOCK) == "EACCES"


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize("families", [ONLY_LOCAL, FAMILIES])
def test_processes_may_be_made_and_namespaces_not(machine: str, families: tuple[int, ...]) -> None:
    assert decided(machine, families, "clone", FORK) == "allowed"
    assert decided(machine, families, "clone", FORK | NEW_USER) == "EPERM"
    assert decided(machine, families, "clone3") == "ENOSYS"
    assert decided(machine, families, "unshare", NEW_USER) == "EPERM"


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_what_is_not_named_is_allowed(machine: str) -> None:
    assert decided(machine, ONLY_LOCAL, "read") == "allowed"
    assert decided(machine, ONLY_LOCAL, "ptrace") == "EPERM"
    assert decided(machine, ONLY_LOCAL, "io_uring_setup") == "ENOSYS"


def test_calls_under_the_numbers_of_another_machine_are_not_let_through() -> None:
    i386, socket_under_x32 = 0x40000003, 0x40000000 + 41
    assert decided("x86_64", ONLY_LOCAL, "read", architecture=i386) == "killed"
    assert decided("aarch64", ONLY_LOCAL, "read", architecture=ARCHITECTURES["x86_64"]) == "killed"
    assert run("x86_64", ONLY_LOCAL, socket_under_x32, INET, ARCHITECTURES["x86_64"]) == "ENOSYS"
