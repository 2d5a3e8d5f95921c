"""The chunked transfer coding (RFC 9112, section 7.1), read strictly: CR LF everywhere, no more than a stated size."""

from __future__ import annotations

from ridgeway_server.errors import Refusal

_LONGEST_LINE = 256
_LONGEST_TRAILERS = 8192
_HEX = frozenset(b"0123456789abcdefABCDEF")


class ChunkReader:
    r"""Takes a body apart as it arrives.

    Example:
        >>> reader, buffer = ChunkReader(100), bytearray(b"3\r\nabc\r\n0\r\n\r\nGET /")
        >>> reader.feed(buffer), bytes(reader.body), bytes(buffer)
        (True, b'abc', b'GET /')
    """

    def __init__(self, largest_bytes: int) -> None:
        self.body = bytearray()
        self.largest_bytes = largest_bytes
        self._left = 0
        self._state = "size"
        self._trailer_bytes = 0

    def feed(self, buffer: bytearray) -> bool:
        """Take from ``buffer`` what belongs to the body; True once it is complete.

        Raises:
            Refusal: 400 if it is not in chunks, 413 if it is larger than allowed.
        """
        while True:
            if self._state == "data":
                if not self._take(buffer):
                    return False
                continue
            line = self._line(buffer)
            if line is None:
                return False
            if self._state == "size":
                self._begin(line)
            elif self._state == "gap":
                if line:
                    raise Refusal(400, "a chunk longer than its size", "CR LF behind each chunk")
                self._state = "size"
            elif not line:
                return True
            else:
                self._trailer(line)

    def _take(self, buffer: bytearray) -> bool:
        piece = min(self._left, len(buffer))
        self.body += memoryview(buffer)[:piece]
        del buffer[:piece]
        self._left -= piece
        if self._left:
            return False
        self._state = "gap"
        return True

    def _line(self, buffer: bytearray) -> bytes | None:
        end = buffer.find(b"\n", 0, _LONGEST_LINE + 2 if self._state != "trailer" else _LONGEST_TRAILERS)
        if end < 0:
            if len(buffer) > (_LONGEST_LINE if self._state != "trailer" else _LONGEST_TRAILERS):
                raise Refusal(400, "a chunk without a size", "its length in hexadecimal")
            return None
        line = bytes(buffer[:end])
        del buffer[: end + 1]
        if not line.endswith(b"\r") or b"\r" in line[:-1] or b"\0" in line:
            raise Refusal(400, "a chunk line with stray control characters", "lines that end with CR LF")
        return line[:-1]

    def _begin(self, line: bytes) -> None:
        size = line.partition(b";")[0].rstrip(b" \t") if b";" in line else line
        if not size or len(size) > 12 or not _HEX.issuperset(size):
            raise Refusal(400, f"chunk size {size[:20].decode('latin-1')!r}", "a length in hexadecimal")
        self._left = int(size, 16)
        if len(self.body) + self._left > self.largest_bytes:
            raise Refusal(413, f"a body of more than {self.largest_bytes} bytes", f"at most {self.largest_bytes}")
        self._state = "data" if self._left else "trailer"

    def _trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if self._trailer_bytes > _LONGEST_TRAILERS or b":" not in line:
            raise Refusal(
                400, "trailers that are too long or not headers", f"at most {_LONGEST_TRAILERS} bytes of them"
            )
