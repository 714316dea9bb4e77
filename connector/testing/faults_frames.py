"""HTTP/2 frames out of a stream of bytes: as much of the protocol as it takes to tell gRPC calls apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
HEADERS, RESET = 1, 3
END_STREAM = 1


@dataclass(frozen=True)
class Frame:
    """Bytes to pass on as they are.

    Attributes:
        data: the frame, header and all; or bytes that are no frame.
        stream: its call, odd numbers; 0 where it belongs to none.
        begins: whether a call begins with it (of a client's frames).
        ends: whether an answer is whole with it (of a server's frames).
    """

    data: bytes
    stream: int = 0
    begins: bool = False
    ends: bool = False


class Frames:
    """Cuts one direction of a connection into frames.

    Args:
        client: whether the bytes are the client's, which begin with a preface.
    """

    def __init__(self, *, client: bool) -> None:
        self._client = client
        self._preface = client
        self._opaque = False
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames that are whole with `data`."""
        self._held += data
        if self._preface and not self._opaque:
            if not PREFACE.startswith(self._held[: len(PREFACE)]):
                self._opaque = True
            elif len(self._held) < len(PREFACE):
                return
            else:
                self._preface = False
                yield Frame(self._take(len(PREFACE)))
        if self._opaque:
            yield Frame(self._take(len(self._held)))
            return
        while len(self._held) >= HEADER_BYTES:
            size = HEADER_BYTES + int.from_bytes(self._held[:3], "big")
            if len(self._held) < size:
                return
            yield self._frame(self._take(size))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken

    def _frame(self, data: bytes) -> Frame:
        kind, flags = data[3], data[4]
        stream = int.from_bytes(data[5:9], "big") & 0x7FFFFFFF
        if self._client:
            return Frame(data, stream, begins=kind == HEADERS)
        ended = kind == RESET or (kind in (0, HEADERS) and bool(flags & END_STREAM))
        return Frame(data, stream, ends=ended)
