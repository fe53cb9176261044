"""Wheels that a test makes itself, and an index on loopback that has them."""

from __future__ import annotations

import hashlib
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from flyteplugins.codegen.core.environment import Lock


def wheel(folder: Path, name: str, code: str, version: str = "1.0") -> Path:
    """Make a wheel with one module.

    Args:
        folder: Where to.
        name: Of the distribution and its module.
        code: The module.
        version: Of the distribution.

    Returns:
        The wheel.
    """
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(zipfile.ZipInfo(inside), text)  # no time of today: the same wheel each time
    return path


def lock_of(*wheels: Path) -> Lock:
    """The lock of exactly these wheels."""
    lines = []
    for path in wheels:
        name, version, *_ = path.name.split("-")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{digest}\n")
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return Lock(python=python, platform="x86_64-unknown-linux-gnu", requirements="".join(lines))


@contextmanager
def index_of(*wheels: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve wheels as a package index does.

    Args:
        wheels: The wheels; their folder is served.

    Yields:
        The address of the index, and the paths that were asked for, which grow.
    """
    asked: list[str] = []

    class Index(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if not self.path.startswith("/simple/"):
                return super().do_GET()
            name = self.path.strip("/").rpartition("/")[2]
            links = [f'<a href="/{path.name}">{path.name}</a>' for path in wheels if path.name.startswith(f"{name}-")]
            content = "".join(links).encode()
            self.send_response(200 if links else 404)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return None

        def log_message(self, *_: Any) -> None:
            """Nothing is said of the requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Index, directory=str(wheels[0].parent)))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple", asked
    finally:
        server.shutdown()
        server.server_close()
