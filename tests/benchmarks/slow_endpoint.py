"""A model endpoint on loopback, in a process of its own, that answers the benchmarks' requests after a fixed delay.

    python slow_endpoint.py SECONDS

prints its address, serves until its standard input closes, and then prints the number of requests by step as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workload import CONSTRAINTS, answer


class Endpoint:
    """The endpoint as whoever started it sees it.

    Attributes:
        url: Its address, as OpenAI's clients want it.
        calls: After the end: how many requests came, by step.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._process = process
        self.url = process.stdout.readline().strip()
        self.calls: dict[str, int] = {}

    def close(self) -> None:
        """End it and read what it counted."""
        counted, _ = self._process.communicate("")
        self.calls = json.loads(counted)


@contextlib.contextmanager
def endpoint(seconds: float) -> Iterator[Endpoint]:
    """An endpoint that takes so long for each answer."""
    command = [sys.executable, str(Path(__file__)), str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        started = Endpoint(process)
        try:
            yield started
        finally:
            started.close()


async def _serve(seconds: float) -> None:
    calls: Counter[str] = Counter()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"(?i)^content-length: (\d+)", head, re.MULTILINE)
                body = json.loads(await reader.readexactly(int(length[1]) if length else 0))
                step = body["response_format"]["json_schema"]["name"]
                calls[step] += 1
                await asyncio.sleep(seconds)
                content = json.dumps(_completion(step, body)).encode()
                header = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
                writer.write(header.encode() + content)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, limit=1 << 24)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    sys.stdout.write(json.dumps(calls))
    sys.stdout.flush()
    os._exit(0)  # clients keep their connections open


def _completion(step: str, body: dict[str, Any]) -> dict[str, Any]:
    asked = json.dumps(body["messages"])
    number = re.search(r"Case #(\d+)", asked)
    content = answer(
        step,
        int(number[1]) if number else 0,
        pandas="with pandas" in asked,
        constraints=CONSTRAINTS[0] in asked,
    )
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": json.dumps(content)},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200},
    }


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
