"""What a program can not do in a runtime that isolates. Each probe aims at something that the test itself made."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_bench import Bench

from flyteplugins.codegen.core.errors import JobKilledError

REACH = """
import socket, sys
try:
    socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2).sendall(b"here")
    print("reached")
except OSError as error:
    print("refused", error)
"""


@pytest.fixture
def listener() -> Iterator[tuple[int, list[bytes]]]:
    """A server on loopback of the host, and what it got."""
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    got.append(connection.recv(16))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], got
        server.shutdown(socket.SHUT_RDWR)
        thread.join(2)


async def test_the_hosts_loopback_is_out_of_reach(isolated: Bench, listener: tuple[int, list[bytes]]) -> None:
    port, got = listener
    outcome = await isolated.python(REACH, str(port))
    assert outcome.stdout.startswith("refused")
    assert got == []


async def test_with_network_the_same_probe_gets_through(bubblewrap: Bench, listener: tuple[int, list[bytes]]) -> None:
    port, got = listener
    outcome = await bubblewrap.python(REACH, str(port), network=True)
    assert outcome.stdout == "reached\n"
    assert got == [b"here"]


async def test_a_unix_socket_of_the_host_is_out_of_reach(isolated: Bench) -> None:
    name = f"\0codegen-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()
        outcome = await isolated.python(f"import socket; socket.socket(socket.AF_UNIX).connect({name!r})")
    assert outcome.exit_code == 1
    assert "ConnectionRefusedError" in outcome.stderr


async def test_udp_leaves_nowhere(isolated: Bench) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.3)
        port = server.getsockname()[1]
        await isolated.python(
            f"import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port}))"
        )
        with pytest.raises(TimeoutError if hasattr(socket, "timeout") else OSError):
            server.recv(1)


async def test_files_of_the_host_can_not_be_read(isolated: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    places = [
        str(secret),
        "/etc/shadow",
        f"{Path.home()}/.bashrc",
        "/proc/1/root/etc/shadow",
        f"/proc/{os.getpid()}/environ",
    ]
    outcome = await isolated.python(
        "import sys\nfor p in sys.argv[1:]:\n    try:\n        print('read', p, open(p).read()[:20])\n"
        "    except OSError as e:\n        print('no', e.errno)",
        *[place for place in places if place != "/etc/shadow"],
    )
    assert "read" not in outcome.stdout
    assert outcome.stdout.count("no") == len(places) - 1


async def test_the_host_shows_nothing_of_its_own_accounts_and_homes(isolated: Bench) -> None:
    outcome = await isolated.python(
        "import os, pwd\nprint(os.listdir('/home') if os.path.exists('/home') else [])\n"
        "print([p.pw_name for p in pwd.getpwall() if p.pw_uid >= 1000 and p.pw_uid < 65534])\n"
        "print(os.path.exists('/var/run/docker.sock'))"
    )
    assert outcome.stdout == "[]\n[]\nFalse\n"


async def test_writing_works_in_outputs_and_temporary_folders_alone(isolated: Bench) -> None:
    outcome = await isolated.python(
        "import os, sys\nfound = set()\nfor parent, names, _ in os.walk('/'):\n"
        "    if parent == '/': names.remove('proc')\n"
        "    if os.access(parent, os.W_OK):\n"
        "        try:\n            open(parent + '/probe', 'w').close(); found.add(parent)\n"
        "        except OSError: pass\n"
        "print(*sorted(found))"
    )
    places = outcome.stdout.split()
    assert "/var/outputs" in places
    assert [place for place in places if not re.fullmatch(r"/(tmp|dev/shm|var/tmp|var/outputs)(/.*)?", place)] == []


async def test_the_environment_is_read_only(isolated: Bench) -> None:
    outcome = await isolated.python(
        "import sys, os\nfor p in (sys.prefix, os.path.dirname(os.__file__)):\n"
        "    try:\n        open(p + '/probe', 'w'); print('written', p)\n    except OSError as e:\n        print('no')"
    )
    assert outcome.stdout == "no\nno\n"


async def test_the_kernels_settings_can_not_be_changed(isolated: Bench) -> None:
    # Nothing is written: opening for writing is all that the probe does.
    outcome = await isolated.python(
        "import os, stat\nopened = []\nfor parent, names, files in os.walk('/proc'):\n"
        "    if parent == '/proc':\n"
        "        names[:] = [n for n in names if not n.isdigit() and n not in ('self', 'thread-self')]\n"
        "    for name in files:\n        path = os.path.join(parent, name)\n"
        "        try:\n            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)\n        except OSError: continue\n"
        "        if stat.S_ISREG(os.fstat(fd).st_mode): opened.append(path)\n        os.close(fd)\n"
        "print(opened)"
    )
    assert outcome.stdout == "[]\n"


async def test_there_are_no_capabilities_and_no_way_to_get_some(isolated: Bench) -> None:
    outcome = await isolated.python(
        "import os\nlines = open('/proc/self/status').read().splitlines()\n"
        "status = dict(line.split(':\\t') for line in lines if ':\\t' in line)\n"
        "print(os.getuid() != 0, {status[k] for k in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')},"
        " status['NoNewPrivs'])"
    )
    assert outcome.stdout == "True {'0000000000000000'} 1\n"


async def test_nested_namespaces_are_refused(isolated: Bench) -> None:
    outcome = await isolated.python(
        "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000):\n    print(libc.unshare(flag))"
    )
    assert outcome.stdout == "-1\n" * 4


async def test_mounting_and_tracing_the_first_process_are_refused(isolated: Bench) -> None:
    outcome = await isolated.python(
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "print(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None))\n"
        "os.mkdir('/tmp/root'); print(libc.chroot(b'/tmp/root'))\n"
        "try: print(os.mknod('/tmp/disk', 0o60600, os.makedev(254, 0)))\nexcept OSError: print('no device')"
    )
    assert outcome.stdout == "-1\n-1\nno device\n"


async def test_processes_of_the_host_are_not_to_be_seen(isolated: Bench) -> None:
    outcome = await isolated.python(
        "import os\nprint(len([n for n in os.listdir('/proc') if n.isdigit()]))\n"
        f"try: os.kill({os.getpid()}, 0); print('there')\nexcept OSError: print('not there')"
    )
    count, there = outcome.stdout.split("\n", 1)
    assert int(count) <= 3
    assert there == "not there\n"


async def test_nonsense_on_the_way_to_the_host_is_not_believed(bubblewrap: Bench) -> None:
    with pytest.raises(JobKilledError):
        await bubblewrap.python(
            "import os\nfor n in os.listdir('/proc/1/fd'):\n    try:\n"
            "        fd = os.open('/proc/1/fd/' + n, os.O_WRONLY | os.O_NONBLOCK)\n"
            "        if int(n) > 2: os.write(fd, b'exited 0 0 and more ' * 9000)\n    except OSError: pass\n"
        )


async def test_the_host_name_and_the_clock_are_the_sandboxes(bubblewrap: Bench) -> None:
    outcome = await bubblewrap.python("import socket, time; print(socket.gethostname(), time.tzname[0])")
    assert outcome.stdout == "sandbox UTC\n"


async def test_common_tools_of_programs_work(isolated: Bench) -> None:
    outcome = await isolated.python(
        "import getpass, multiprocessing, os, pathlib, socket, subprocess, tempfile, threading\n"
        "print(multiprocessing.get_context('fork').Pool(2).map(abs, [-1, 2]))\n"
        "server = socket.create_server(('127.0.0.1', 0)); socket.create_connection(server.getsockname())\n"
        "print(subprocess.run(['sh', '-c', 'echo hello'], capture_output=True, text=True).stdout.strip())\n"
        "with tempfile.NamedTemporaryFile() as f: f.write(b'x')\n"
        "pathlib.Path.home().joinpath('.config').mkdir(); print(len(os.urandom(3)), bool(getpass.getuser()))"
    )
    assert outcome.stderr == ""
    assert outcome.stdout == "[1, 2]\nhello\n3 True\n"
