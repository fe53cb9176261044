"""A model endpoint on loopback that says what a test tells it to: real HTTP, shaped as OpenAI's and as Anthropic's.

    endpoint.say("first answer", Reply(status=429, headers={"retry-after": "0"}), {"an": "answer as JSON"})
    endpoint.say_to("plan", {...})          # by step: the name of the JSON schema in the request
    endpoint.respond = lambda request: ...  # or full control
    with Endpoint(tls=self_signed(folder)): # over TLS, with a certificate that nobody vouches for

`endpoint.requests` has what arrived; `endpoint.abandoned` counts the clients that went away before their answer.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class Reply:
    """What the endpoint does with one request."""

    text: str = ""
    finish_reason: str = "stop"
    refusal: str | None = None
    status: int = 200
    error: str = "scripted error"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    reset: bool = False
    """Close the connection with a reset, halfway through the body."""
    hang_up: bool = False
    """Close the connection before anything is said."""
    stall: bool = False
    """Send half of the body and then nothing, with the connection open, until the client goes away."""
    drip: float | None = None
    """Send the body byte by byte, with so many seconds between."""
    raw: str | None = None
    """Send this as the body instead."""
    tokens: tuple[int, int] | None = (100, 20)
    """Tokens in and out, as the endpoint reports them; None reports none."""
    cached: int = 0
    """How many of the tokens in were in the endpoint's cache."""
    thinking: str | None = None
    """Thinking in front of the text: a field or a part of its own, as the provider has it."""
    parts: bool = False
    """Send the content as a list of parts, in OpenAI's shape."""
    words: bool = False
    """Answer in words where the request forces a tool."""


Answer = Reply | BaseModel | dict[str, Any] | str


@dataclass(frozen=True)
class Received:
    """A request that arrived."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float

    @property
    def key(self) -> str:
        """The key that it came with."""
        return self.headers.get("x-api-key") or self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def step(self) -> str | None:
        """The name of the JSON schema, or of the tool, that it asks for."""
        form = self.body.get("response_format") or {}
        name: str | None = (form.get("json_schema") or {}).get("name") or _forced_tool(self.body)
        return name

    @property
    def form(self) -> str:
        """The form that it asks for, in OpenAI's shape: `schema`, `tool`, `json` or `text`."""
        if _forced_tool(self.body):
            return "tool"
        kind: str = (self.body.get("response_format") or {}).get("type", "text")
        return {"json_schema": "schema", "json_object": "json"}.get(kind, kind)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The conversation that it carries."""
        messages: list[dict[str, Any]] = self.body["messages"]
        return messages


class Endpoint:
    """The server. Use it as a context manager, or through the fixture `endpoint`.

    Args:
        tls: Speak TLS, with the certificate and key in this file.
        port: Where to listen; any free port if 0.
    """

    def __init__(self, tls: Path | None = None, port: int = 0) -> None:
        self.requests: list[Received] = []
        self.abandoned = 0
        self.any_path = False
        """Answer on the paths of other providers, too, in the shape of OpenAI's."""
        self.respond: Callable[[Received], Answer] = self._scripted
        self._script: deque[Answer] = deque()
        self._by_step: dict[str, deque[Answer]] = {}
        self._lock = threading.Lock()
        self._server = _Server(self, tls, port)

    @property
    def root(self) -> str:
        """The address that Anthropic's clients want."""
        return f"{self._server.scheme}://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The address that OpenAI's clients want."""
        return f"{self.root}/v1"

    def say(self, *answers: Answer) -> None:
        """Add answers, in order, for requests of steps that have none of their own."""
        self._script.extend(answers)

    def say_to(self, step: str, *answers: Answer) -> None:
        """Add answers, in order, for one step."""
        self._by_step.setdefault(step, deque()).extend(answers)

    def _scripted(self, request: Received) -> Answer:
        with self._lock:
            queue = self._by_step.get(request.step or "") or self._script
            return queue.popleft() if queue else Reply(status=404, error=f"no answer scripted for {request.step!r}")

    def __enter__(self) -> Endpoint:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, endpoint: Endpoint, tls: Path | None, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.endpoint = endpoint
        self.scheme = "https" if tls else "http"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            # The handshake is made when a handler first reads, so that one that fails holds up no other.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body waits 40 ms behind the headers

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Received(self.path, headers, body, time.monotonic())
        self.server.endpoint.requests.append(request)
        if not self.server.endpoint.any_path and not self.path.endswith(("/chat/completions", "/messages")):
            self._send(404, json.dumps({"error": {"message": f"no such path: {self.path}"}}), {})
            return
        answer = self.server.endpoint.respond(request)
        reply = answer if isinstance(answer, Reply) else Reply(_text(answer))
        if reply.delay and self._client_left_within(reply.delay):
            self.server.endpoint.abandoned += 1
            self.close_connection = True
            return
        if reply.hang_up:
            self.close_connection = True
            return
        shape = _anthropic if self.path.endswith("/messages") else _openai
        payload = reply.raw if reply.raw is not None else json.dumps(shape(reply, request.body))
        self._send(reply.status, payload, reply.headers, reply)

    def _client_left_within(self, seconds: float) -> bool:
        readable, _, _ = select.select([self.connection], [], [], seconds)
        return bool(readable) and self.connection.recv(1, socket.MSG_PEEK) == b""

    def _send(self, status: int, payload: str, headers: Mapping[str, str], fault: Reply | None = None) -> None:
        data, fault = payload.encode(), fault or Reply()
        self.send_response(status)
        for name, value in {"content-type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if fault.drip is not None:
            self._drip(data, fault.drip)
            return
        self.wfile.write(data[: len(data) // 2] if fault.reset or fault.stall else data)
        if fault.stall:
            self._wait_until_the_client_leaves()
        if fault.reset:
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True

    def _drip(self, data: bytes, seconds: float) -> None:
        for byte in data:
            if self._client_left_within(seconds):
                self._wait_until_the_client_leaves()
                return
            self.wfile.write(bytes([byte]))

    def _wait_until_the_client_leaves(self) -> None:
        self.close_connection = True
        if self._client_left_within(30):
            self.server.endpoint.abandoned += 1

    def log_message(self, *_: object) -> None:
        """Say nothing on standard error."""


def self_signed(folder: Path) -> Path:
    """A file with a key and a certificate for loopback that no authority has signed; made by `openssl`."""
    path = folder / "loopback.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    subject = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(folder / "certificate.pem")]
    subprocess.run([*made, *subject], check=True, capture_output=True)
    with path.open("a") as file:
        file.write((folder / "certificate.pem").read_text())
    return path


def _text(answer: BaseModel | dict[str, Any] | str) -> str:
    if isinstance(answer, BaseModel):
        return answer.model_dump_json()
    return answer if isinstance(answer, str) else json.dumps(answer)


def _forced_tool(body: dict[str, Any]) -> str | None:
    choice = body.get("tool_choice") or {}
    if not isinstance(choice, dict):
        return None
    name: str | None = choice.get("name") or (choice.get("function") or {}).get("name")
    return name


def _openai(reply: Reply, body: dict[str, Any]) -> dict[str, Any]:
    if reply.status >= 400:
        return {"error": {"message": reply.error, "type": "scripted", "code": None, "param": None}}
    finish_reason = reply.finish_reason
    message: dict[str, Any] = {"role": "assistant", "content": None if reply.refusal else reply.text}
    if reply.refusal:
        message["refusal"] = reply.refusal
    elif reply.parts:
        thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": reply.thinking}]}]
        message["content"] = [*(thinking if reply.thinking else []), {"type": "text", "text": reply.text}]
    elif reply.thinking:
        message["reasoning_content"] = reply.thinking
    if (tool := _forced_tool(body)) and not reply.words and not reply.refusal:
        call = {"id": "call_1", "type": "function", "function": {"name": tool, "arguments": reply.text}}
        message |= {"content": None, "tool_calls": [call]}
        finish_reason = "tool_calls" if finish_reason == "stop" else finish_reason
    answer: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": body.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
    }
    if reply.tokens:
        sent, received = reply.tokens
        answer["usage"] = {
            "prompt_tokens": sent,
            "completion_tokens": received,
            "total_tokens": sent + received,
            "prompt_tokens_details": {"cached_tokens": reply.cached},
        }
    return answer


def _anthropic(reply: Reply, body: dict[str, Any]) -> dict[str, Any]:
    if reply.status >= 400:
        return {"type": "error", "error": {"type": "scripted", "message": reply.error}}
    content: dict[str, Any] = {"type": "text", "text": reply.text}
    forced = _forced_tool(body) if not reply.words else None
    if forced:
        content = {"type": "tool_use", "id": "toolu_1", "name": forced, "input": json.loads(reply.text)}
    thinking = [{"type": "thinking", "thinking": reply.thinking, "signature": "c2lnbmVk"}] if reply.thinking else []
    reasons = {"stop": "end_turn", "length": "max_tokens"}
    sent, received = reply.tokens or (0, 0)
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": [*thinking, content],
        "stop_reason": "tool_use" if forced else reasons.get(reply.finish_reason, reply.finish_reason),
        "stop_sequence": None,
        # Anthropic counts apart what was in the cache.
        "usage": {
            "input_tokens": sent - reply.cached,
            "output_tokens": received,
            "cache_read_input_tokens": reply.cached,
            "cache_creation_input_tokens": 0,
        },
    }
