"""Reading ahead in a stream of bytes, packed or not, without holding more than a piece of it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import IO, Final, Protocol

import zstandard

from spanledger.collector.compression import ZSTD_CHUNK, ZSTD_WINDOW_MAX

_CHUNK: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_HEAD_BYTES: Final = 4


class ByteStream:
    """Bytes from a function that reads some more of them, ``b""`` at the end."""

    def __init__(self, read_some: Callable[[], bytes]) -> None:
        self._read_some = read_some
        self._buffer = b""
        self._at = 0

    def peek(self, length: int) -> bytes:
        """The next `length` bytes, fewer only at the end, without passing them."""
        while len(self._buffer) - self._at < length:
            more = self._read_some()
            if not more:
                break
            self._buffer = self._buffer[self._at :] + more
            self._at = 0
        return self._buffer[self._at : self._at + length]

    def read(self, length: int) -> bytes:
        """The next `length` bytes, fewer only at the end."""
        if len(self._buffer) - self._at >= length:
            data = self._buffer[self._at : self._at + length]
            self._at += length
            return data
        parts = [self._buffer[self._at :]]
        missing = length - len(parts[0])
        self._buffer, self._at = b"", 0
        while missing > 0 and (more := self._read_some()):
            parts.append(more[:missing])
            if len(more) > missing:
                self._buffer, self._at = more, missing
            missing -= len(parts[-1])
        return b"".join(parts)

    def read_some(self) -> bytes:
        """The next bytes, as many as come easily; ``b""`` at the end."""
        if self._at < len(self._buffer):
            data = self._buffer[self._at :]
            self._buffer, self._at = b"", 0
            return data
        return self._read_some()


def unpacked(file: IO[bytes], damaged: Callable[[str], None]) -> ByteStream:
    """The plain content of a file or pipe that may be packed with gzip or zstd, told by its first bytes.

    Args:
        file: at its start.
        damaged: called with a reason where the packing is damaged; the stream ends there.
    """
    head = b""
    while len(head) < _HEAD_BYTES and (data := file.read(_HEAD_BYTES - len(head))):
        head += data  # a pipe gives what it has
    waiting = [head]

    def read(size: int) -> bytes:
        return waiting.pop() if waiting else file.read(size)

    if head.startswith(_GZIP):
        return _unpack(read, "gzip", lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), damaged)
    if head.startswith(_ZSTD):
        unpacker = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_MAX)
        return _unpack(read, "zstd", unpacker.decompressobj, damaged)
    return ByteStream(lambda: read(_CHUNK))


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _unpack(
    read: Callable[[int], bytes], name: str, make: Callable[[], _Unpacker], damaged: Callable[[str], None]
) -> ByteStream:
    def parts() -> Iterator[bytes]:
        unpacker, is_begun = make(), False
        # Small bites, because a few bytes may unpack to very many.
        while packed := read(ZSTD_CHUNK):
            while packed:
                plain = unpacker.decompress(packed)
                is_begun, packed = True, b""
                if unpacker.eof:  # files may be concatenated
                    packed = unpacker.unused_data
                    unpacker, is_begun = make(), False
                if plain:
                    yield plain
        if is_begun:
            damaged(f"the {name} packing ends in the middle")

    each = parts()

    def read_some() -> bytes:
        try:
            return next(each, b"")
        except (zlib.error, zstandard.ZstdError) as error:
            damaged(f"the {name} packing is damaged: {error}")
            return b""

    return ByteStream(read_some)
