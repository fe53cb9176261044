"""Generated code in a pod: the exact command of the serialised task in a real container, as Flyte stages and reads it.

Each kind of pod that a cluster may give is tried: the image's own user, root, another user without capabilities on a
read-only file system, and one whose seccomp profile permits namespaces. What the code reaches for is the test's own.
"""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import flyte
import pytest
from flyte.io import Dir, File
from handmade import made_result
from pods import LABEL, Pod, container_of, engine, image_like_flytes, listening, wait_for

PODS: Final[dict[str, dict[str, Any]]] = {
    "the image's user": {},
    "root": {"user": "0"},
    "restricted": {
        "user": "4711:4711",
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "tmpfs": {"/tmp": ""},  # noqa: S108 # the container's
    },
    "namespaces permitted": {"security_opt": ["seccomp=unconfined"]},
}

HEAD: Final = """
import argparse, ctypes, json, os, signal, socket, subprocess, sys, time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--text")
parser.add_argument("--sales")
parser.add_argument("--several", action="append")
for name in ("folder", "date", "document"):
    parser.add_argument(f"--{name}")
parser.add_argument("--outputs")
args = parser.parse_args()
outputs = Path(args.outputs or "/var/outputs")
"""

REACHES_FOR_THE_NETWORK: Final = (
    HEAD
    + """
def over(family, kind, *more):
    try:
        with socket.socket(family, kind, *more) as any_socket:
            any_socket.settimeout(3)
            any_socket.connect((args.text, 7000))
            any_socket.send(b"x")
            return "reached"
    except OSError as error:
        return type(error).__name__

found = {
    "TCP": over(socket.AF_INET, socket.SOCK_STREAM),
    "UDP": over(socket.AF_INET, socket.SOCK_DGRAM),
    "raw": over(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "io_uring": ctypes.CDLL(None).syscall(425, 8, ctypes.create_string_buffer(120)),
    "machine": over(socket.AF_VSOCK, socket.SOCK_STREAM),
}
child = "import socket; socket.create_connection((%r, 7000), 3)" % args.text
found["child"] = subprocess.run([sys.executable, "-c", child], stderr=subprocess.DEVNULL).returncode
(outputs / "found").write_text(json.dumps(found))
"""
)

REACHES_FOR_FILES: Final = (
    HEAD
    + """
found = []
for path in ("/var/run/secrets/kubernetes.io/serviceaccount/token", "/run/secrets/kubernetes.io/serviceaccount/token",
             "/mnt/other/data", "/home/flyte/.bashrc", "/proc/1/environ", f"/proc/{os.getppid()}/environ"):
    try:
        found.append(["read", path, open(path).read()])
    except OSError:
        pass
for path in ("/etc/x", "/usr/x", "/opt/venv/x", "/home/flyte/x", "/mnt/other/data", "/mnt/other/x", "/var/inputs/x",
             "/var/inputs/text", "/dev/termination-log", "/run/x", "/x"):
    try:
        open(path, "a").write("x")
        found.append(["written", path])
    except OSError:
        pass
for name, make in {
    "symlink": lambda: os.symlink("/var/run/secrets/kubernetes.io/serviceaccount/token", outputs / "link"),
    "pipe": lambda: os.mkfifo(outputs / "pipe"),
    "socket": lambda: socket.socket(socket.AF_UNIX).bind(str(outputs / "socket")),
}.items():
    try:
        make()
        found.append(["made", name])
    except OSError:
        pass
libc = ctypes.CDLL(None, use_errno=True)
for name, call in {
    "namespace": lambda: libc.unshare(0x10000000),
    "mount": lambda: libc.mount(b"none", b"/mnt", b"tmpfs", 0, None),
    "trace": lambda: libc.ptrace(16, os.getppid(), 0, 0),
    "root": lambda: libc.setresuid(0, 0, 0) if os.getuid() else -1,
    "signal": lambda: os.kill(os.getppid(), signal.SIGSTOP) or 0,
}.items():
    try:
        if call() >= 0:
            found.append(["done", name])
    except OSError:
        pass
status = open("/proc/self/status").read()
found += [line.split() for line in status.splitlines() if line.startswith(("CapEff", "CapPrm", "NoNewPrivs"))]
temporary = Path(os.environ["TMPDIR"], "mine")
temporary.write_text("x")
(outputs / "found").write_text(json.dumps(found))
"""
)

HIDDEN_LINK: Final = """
(outputs / "found").mkdir()
(outputs / "found" / "deep").mkdir()
os.symlink("/etc/passwd", outputs / "found" / "deep" / "link")
(outputs / "found" / "deep").chmod(0)
"""
VARIABLES: Final = HEAD + '(outputs / "found").write_text(json.dumps(dict(os.environ)))\n'
FAILS: Final = HEAD + 'print("so far")\ntotal = {"amount": 1}[args.text]\n'
NEVER_ENDS: Final = (
    HEAD
    + """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("begun", flush=True)
while True:
    time.sleep(0.1)
"""
)
NORMAL: Final = (
    HEAD
    + """
import csv
amounts = [float(row["amount"]) for row in csv.DictReader(open(args.sales, newline=""))]
print("rows:", len(amounts))
(outputs / "total").write_text(f" {sum(amounts)}\\n")
(outputs / "rows").write_text(f"{len(amounts)}\\n")
(outputs / "empty").write_text("False")
(outputs / "copy").write_text(" " + args.text + "\\r\\n", newline="")
(outputs / "when").write_text("2026-03-29T02:30:00")
(outputs / "took").write_text("-1 day, 23:59:59.500000")
(outputs / "day").write_text(args.date)
document = {"names": [Path(path).name for path in args.several], **json.loads(args.document)}
(outputs / "document").write_text(json.dumps(document))
(outputs / "report").write_bytes(bytes(range(256)))
(outputs / "report").chmod(0o600)
(outputs / "parts" / "deep").mkdir(parents=True)
for path in Path(args.folder).rglob("*.txt"):
    (outputs / "parts" / "deep" / path.name).write_text(path.read_text())
(outputs / "parts").chmod(0o700)
"""
)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with engine() as found:
        yield found


@pytest.fixture(scope="module")
def image(client: Any) -> Iterator[str]:
    with image_like_flytes(client) as made:
        yield made


@pytest.fixture(scope="module")
def network(client: Any) -> Iterator[str]:
    """A network that leads nowhere, as the cluster's."""
    name = f"flyteplugins-codegen-test-{uuid.uuid4().hex[:8]}"
    client.create_network(name, internal=True)
    yield name
    client.remove_network(name)


@pytest.fixture
def listener(client: Any, image: str, network: str) -> Iterator[tuple[str, str]]:
    """A container that the pod must not reach: its identity and its address."""
    identity, address = listening(client, network, image)
    yield identity, address
    client.remove_container(identity, force=True)


async def task_of(code: str, outputs: dict[str, Any] | None = None, **settings: Any) -> Any:
    result = await made_result(code, inputs={"text": str}, outputs=outputs or {"found": File})
    changed = {name: settings.pop(name) for name in ("block_network", "sandbox") if name in settings}
    result = result.model_copy(update={"defaults": result.defaults.model_copy(update=changed)})
    return result.as_task(name="in-pod", **settings)


async def run(client: Any, image: str, code: str, folder: Path, text: str = "", **more: Any) -> Pod:
    names = ("timeout", "env_vars", "secrets", "block_network", "sandbox", "outputs")
    settings = {name: more.pop(name) for name in names if name in more}
    task = await task_of(code, **settings)
    with container_of(client, image, task, {"text": text}, folder, **more) as container:
        return container.to_end()


# --- what the code is given and gives ---


@pytest.mark.parametrize("pod", PODS)
async def test_outputs_are_what_the_sidecar_reads(client: Any, image: str, pod: str, tmp_path: Path) -> None:
    (sales := tmp_path / "o'brien & co.csv").write_text("amount\n1.5\n2\n")
    (folder := tmp_path / "folder" / "below").mkdir(parents=True)
    (folder / "a.txt").write_text("in a folder")
    several = [tmp_path / "2.csv", tmp_path / "1.csv"]
    for path in several:
        path.write_text("amount\n")
    values: dict[str, tuple[Any, Any]] = {
        "text": (str, "O'; id; $(id) {{.inputs.text}}"),
        "sales": (File, File(path=str(sales))),
        "several": (list[File], [File(path=str(path)) for path in several]),
        "folder": (Dir, Dir(path=str(folder.parent))),
        "date": (datetime.date, datetime.date(2026, 3, 29)),
        "document": (dict, {"ü": [1, None]}),
    }
    outputs = {
        "total": float,
        "rows": int,
        "empty": bool,
        "copy": str,
        "report": File,
        "parts": Dir,
        "day": datetime.date,
    }
    outputs |= {"when": datetime.datetime, "took": datetime.timedelta, "document": dict}
    result = await made_result(NORMAL, inputs={name: kind for name, (kind, _) in values.items()}, outputs=outputs)
    task = result.as_task(name="in-pod", timeout=60)
    staged = {name: value for name, (_, value) in values.items()}
    with container_of(client, image, task, staged, tmp_path / "pod", **PODS[pod]) as container:
        ended = container.to_end()
    assert ended.status == 0, ended.log
    taken = ended.taken_up()
    assert taken.pop("report").read_bytes() == bytes(range(256))
    assert (taken.pop("parts") / "deep" / "a.txt").read_text() == "in a folder"
    assert taken.pop("copy").read_bytes().decode() == " O'; id; $(id) {{.inputs.text}}\r\n"
    assert json.loads(taken.pop("document").read_text()) == {"names": ["2.csv", "1.csv"], "ü": [1, None]}
    assert taken == {
        "total": 3.5,
        "rows": 2,
        "empty": False,
        "day": datetime.datetime(2026, 3, 29, tzinfo=datetime.timezone.utc),
        "when": datetime.datetime(2026, 3, 29, 2, 30, tzinfo=datetime.timezone.utc),
        "took": "-0.5s",
    }
    assert "rows: 2" in ended.log
    assert ended.message == ""


@pytest.mark.parametrize("pod", PODS)
async def test_of_the_pods_variables_the_code_sees_those_that_were_declared(
    client: Any, image: str, pod: str, tmp_path: Path
) -> None:
    ended = await run(
        client,
        image,
        VARIABLES,
        tmp_path / "pod",
        env_vars={"REGION": "eu", "MODE": "a b"},
        secrets=[flyte.Secret(key="token", as_env_var="API_TOKEN")],
        variables={"API_TOKEN": "of the shop", "OTHER_TOKEN": "of the cluster"},  # Flyte sets them in the pod
        **PODS[pod],
    )
    assert ended.status == 0, ended.log
    seen = json.loads((ended.outputs / "found").read_text())
    seen.pop("LC_CTYPE", None)  # of the interpreter itself
    assert sorted(seen) == ["API_TOKEN", "HOME", "LANG", "MODE", "PATH", "REGION", "TMPDIR"]
    assert (seen["REGION"], seen["MODE"], seen["API_TOKEN"]) == ("eu", "a b", "of the shop")


# --- what it must not reach ---


@pytest.mark.parametrize("pod", PODS)
async def test_nothing_of_the_network_is_reached(
    client: Any, image: str, network: str, listener: tuple[str, str], pod: str, tmp_path: Path
) -> None:
    ended = await run(
        client, image, REACHES_FOR_THE_NETWORK, tmp_path / "pod", text=listener[1], network=network, **PODS[pod]
    )
    assert ended.status == 0, ended.log
    found = json.loads((ended.outputs / "found").read_text())
    assert found.pop("io_uring") == -1
    assert found.pop("child") != 0
    assert "reached" not in found.values()
    assert all(found.values())
    assert client.logs(listener[0]).decode() == "listening\n"


async def test_where_the_network_is_allowed_it_is_reached(
    client: Any, image: str, network: str, listener: tuple[str, str], tmp_path: Path
) -> None:
    ended = await run(
        client,
        image,
        REACHES_FOR_THE_NETWORK,
        tmp_path / "pod",
        text=listener[1],
        network=network,
        block_network=False,
    )
    found = json.loads((ended.outputs / "found").read_text())
    assert (found["TCP"], found["UDP"], found["child"]) == ("reached", "reached", 0)
    assert found["io_uring"] == -1
    assert "reached by TCP" in client.logs(listener[0]).decode()


@pytest.mark.parametrize("pod", PODS)
async def test_neither_tokens_nor_what_is_mounted_nor_the_supervisor_are_within_reach(
    client: Any, image: str, pod: str, tmp_path: Path
) -> None:
    token, other = tmp_path / "token", tmp_path / "other"
    token.write_text("the token of the service account")
    other.mkdir(mode=0o777)
    (other / "data").write_text("of somebody else")
    for path in (token, other / "data", other):
        path.chmod(0o777)
    ended = await run(
        client,
        image,
        REACHES_FOR_FILES,
        tmp_path / "pod",
        mounts={token: "/run/secrets/kubernetes.io/serviceaccount/token", other: "/mnt/other"},
        **PODS[pod],
    )
    assert ended.status == 0, ended.log
    found = json.loads((ended.outputs / "found").read_text())
    assert found == [["CapPrm:", "0000000000000000"], ["CapEff:", "0000000000000000"], ["NoNewPrivs:", "1"]]
    assert (other / "data").read_text() == "of somebody else"


@pytest.mark.parametrize(
    "make",
    ['os.symlink("/etc/passwd", outputs / "found")', 'os.mkfifo(outputs / "found")', HIDDEN_LINK],
    ids=["link", "pipe", "hidden link"],
)
async def test_without_landlock_links_and_pipes_among_the_outputs_are_refused(
    client: Any, image: str, make: str, tmp_path: Path
) -> None:
    profile = without_calls("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")
    ended = await run(client, image, f"{HEAD}{make}\n", tmp_path / "pod", security_opt=[f"seccomp={profile}"])
    assert ended.status == 1
    assert "among the outputs is neither a file nor a folder" in ended.message
    assert "files are not confined" in ended.log


async def test_a_token_that_can_not_be_hidden_keeps_the_code_from_running(
    client: Any, image: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("the token of the service account")
    profile = without_calls("landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")
    pod = {"mounts": {token: "/run/secrets/token"}, "security_opt": [f"seccomp={profile}"]}
    ended = await run(client, image, HEAD, tmp_path / "strict", **pod)
    assert ended.status == 125
    assert "was not run" in ended.message
    assert "Landlock can't be had" in ended.message
    ended = await run(client, image, VARIABLES, tmp_path / "lax", sandbox="process", **pod)
    assert ended.status == 0
    assert "it can read what is mounted in /run/secrets" in ended.log


async def test_a_network_that_can_not_be_blocked_keeps_the_code_from_running(
    client: Any, image: str, tmp_path: Path
) -> None:
    pod = {"security_opt": [f"seccomp={without_calls('unshare', 'prctl(PR_SET_SECCOMP)')}"]}
    ended = await run(client, image, VARIABLES, tmp_path / "strict", **pod)
    assert (ended.status, "network is not blocked" in ended.message) == (125, True)
    assert not (ended.outputs / "found").exists()
    assert "sandbox='process'" in ended.message
    ended = await run(client, image, VARIABLES, tmp_path / "lax", sandbox="process", **pod)
    assert (ended.status, "network is not blocked" in ended.log) == (0, True)


def without_calls(*names: str) -> str:
    """A seccomp profile that permits all but some calls."""
    filters = [{"names": [name], "action": "SCMP_ACT_ERRNO"} for name in names if "(" not in name]
    if "prctl(PR_SET_SECCOMP)" in names:
        ours = {"index": 0, "value": 22, "op": "SCMP_CMP_EQ"}
        filters.append({"names": ["prctl"], "action": "SCMP_ACT_ERRNO", "args": [ours]})
    return json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": filters})


# --- how it ends ---


@pytest.mark.parametrize("pod", PODS)
async def test_a_failure_is_told_with_its_traceback_and_its_status(
    client: Any, image: str, pod: str, tmp_path: Path
) -> None:
    ended = await run(client, image, FAILS, tmp_path / "pod", text="total", **PODS[pod])
    assert ended.status == 1
    first, *rest = ended.message.splitlines()
    assert first == "The code exited with status 1:"
    assert rest[0] == "Traceback (most recent call last):"
    assert rest[-1] == "KeyError: 'total'"
    assert 'total = {"amount": 1}[args.text]' in ended.message
    assert ended.message.strip() == (ended.outputs / "_ERROR").read_text().strip()  # what the sidecar uploads
    assert "so far" in ended.log
    assert "KeyError: 'total'" in ended.log


@pytest.mark.parametrize(
    ("ending", "status"),
    [("sys.exit(3)", 3), ("sys.exit('no rows')", 1), ("os.kill(os.getpid(), 9)", 1), ("os._exit(137)", 1)],
)
async def test_the_status_of_the_code_is_the_containers_but_never_that_of_a_lost_node(
    client: Any, image: str, ending: str, status: int, tmp_path: Path
) -> None:
    ended = await run(client, image, f"{HEAD}{ending}\n", tmp_path / "pod")
    assert ended.status == status
    assert ended.message


async def test_the_message_of_a_failure_holds_no_secret(client: Any, image: str, tmp_path: Path) -> None:
    ended = await run(
        client,
        image,
        f"{HEAD}raise ValueError(os.environ['API_TOKEN'])\n",
        tmp_path / "pod",
        secrets=[flyte.Secret(key="token", as_env_var="API_TOKEN")],
        variables={"API_TOKEN": "only for the shop"},
    )
    assert ended.message.strip().endswith("ValueError: <secret API_TOKEN>")
    assert "only for the shop" not in (ended.outputs / "_ERROR").read_text()


async def test_a_long_traceback_is_told_by_its_end(client: Any, image: str, tmp_path: Path) -> None:
    ended = await run(client, image, f"{HEAD}raise ValueError('é' * 100_000 + 'the end')\n", tmp_path / "pod")
    assert ended.message.startswith("The code exited with status 1:\n")
    assert ended.message.strip().endswith("the end")
    assert len(ended.message.encode()) <= 4096


@pytest.mark.parametrize(
    ("writes", "said"),
    [
        ("", "did not write its output 'found'"),
        ('(outputs / "found").write_text("12 pieces")', "'12 pieces' is not "),
    ],
)
async def test_an_output_that_is_missing_or_of_no_use_fails_by_name(
    client: Any, image: str, writes: str, said: str, tmp_path: Path
) -> None:
    ended = await run(client, image, f"{HEAD}{writes}\n", tmp_path / "pod", outputs={"found": int})
    assert ended.status == 1
    assert said in ended.message


@pytest.mark.parametrize("pod", PODS)
async def test_the_time_limit_ends_code_that_ignores_signals_and_what_it_started(
    client: Any, image: str, pod: str, tmp_path: Path
) -> None:
    ended = await run(client, image, NEVER_ENDS, tmp_path / "pod", timeout=1, **PODS[pod])
    assert ended.status == 124
    assert "longer than its time limit" in ended.message


@pytest.mark.parametrize("pod", PODS)
async def test_a_pod_that_is_told_to_stop_stops_at_once(client: Any, image: str, pod: str, tmp_path: Path) -> None:
    task = await task_of(NEVER_ENDS)
    with container_of(client, image, task, {"text": ""}, tmp_path / "pod", **PODS[pod]) as container:
        client.start(container.identity)
        wait_for(client, container.identity, b"begun")
        client.stop(container.identity, timeout=60)  # then the engine would end it, with status 137
        ended = container.ended()
    assert ended.status == 143


async def test_too_much_memory_is_told_as_that(client: Any, image: str, tmp_path: Path) -> None:
    code = f"{HEAD}held = [bytearray(1 << 20) for _ in range(1000)]\n"
    ended = await run(client, image, code, tmp_path / "pod", mem_limit="96m", memswap_limit="96m")
    assert ended.status == 1
    assert "more memory" in ended.message


async def test_too_many_processes_are_ended(client: Any, image: str, tmp_path: Path) -> None:
    code = f"{HEAD}while True:\n    if os.fork() == 0:\n        time.sleep(1000)\n"
    ended = await run(client, image, code, tmp_path / "pod", pids_limit=2000)
    assert ended.status == 1
    assert "processes" in ended.message or "BlockingIOError" in ended.message


async def test_what_the_code_leaves_running_ends_with_it(client: Any, image: str, tmp_path: Path) -> None:
    code = f"""{HEAD}
(outputs / "found").write_text("in time")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1000)
"""
    # Processes of another container in one namespace with it, as with shareProcessNamespace, outlive the entry.
    other = client.create_container(image, ["sleep", "1000"], labels={LABEL: "test"})["Id"]
    client.start(other)
    try:
        task = await task_of(code)
        with container_of(client, image, task, {"text": ""}, tmp_path / "pod", pid_mode=f"container:{other}") as made:
            ended = made.to_end()
            running = [process[-1] for process in client.top(other)["Processes"]]
    finally:
        client.remove_container(other, force=True)
    assert ended.status == 0, ended.log
    assert running == ["sleep 1000"]
