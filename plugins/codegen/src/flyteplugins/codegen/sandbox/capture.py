"""What a program prints, read as it comes and kept within bounds."""

from __future__ import annotations

import asyncio
from typing import Final

_HEAD: Final = 256 << 10
_TAIL: Final = 768 << 10
_CHUNK: Final = 1 << 16


class Capture:
    """Reads the two streams of a process; of each the head and the tail are kept, 1 MiB together.

    Attributes:
        stdout: What was kept of standard output.
        stderr: What was kept of standard error.
        total: How many bytes came so far, both streams together.
        over: Set when both streams together passed the cap. Reading goes on, so that nothing blocks meanwhile.
    """

    def __init__(self, cap: int) -> None:
        """Set the cap.

        Args:
            cap: Bytes, both streams together.
        """
        self.stdout, self.stderr = Kept(), Kept()
        self.over = asyncio.Event()
        self._cap = cap
        self.total = 0

    def start(self, process: asyncio.subprocess.Process) -> list[asyncio.Task[None]]:
        """Begin to read; each task ends with its stream."""
        streams = ((process.stdout, self.stdout), (process.stderr, self.stderr))
        return [asyncio.create_task(self._read(stream, kept)) for stream, kept in streams if stream is not None]

    async def _read(self, stream: asyncio.StreamReader, kept: Kept) -> None:
        while chunk := await stream.read(_CHUNK):
            self.total += len(chunk)
            if self.total > self._cap:
                self.over.set()
            kept.add(chunk)


class Kept:
    """The head and the tail of a stream."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0

    def add(self, chunk: bytes) -> None:
        """Take the next bytes."""
        room = _HEAD - len(self._head)
        self._head += chunk[:room]
        self._tail += chunk[room:] if room > 0 else chunk
        if len(self._tail) > 2 * _TAIL:  # trimmed rarely, so that each byte is moved about once
            self._trim()

    def text(self) -> str:
        """What was kept, with a line where something was left out; bytes that are no UTF-8 are replaced."""
        self._trim()
        gap = f"\n... {self._left_out} bytes left out ...\n".encode() if self._left_out else b""
        return (bytes(self._head) + gap + bytes(self._tail)).decode(errors="replace")

    def _trim(self) -> None:
        extra = len(self._tail) - _TAIL
        if extra > 0:
            del self._tail[:extra]
            self._left_out += extra
