"""Reading ahead in a stream of bytes, packed or not, without holding more than a piece of it."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Final

import zstandard

from spanledger.collector.compression import ZSTD_CHUNK, ZSTD_WINDOW_MAX
from spanledger.collector.errors import MalformedError

_CHUNK: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


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


def unpacked(file: IO[bytes]) -> ByteStream:
    """The plain content of a seekable file that may be packed with gzip or zstd, told by its first bytes.

    Reading raises MalformedError where the packing is damaged.
    """
    head = file.read(4)
    file.seek(0)
    if head.startswith(_GZIP):
        return ByteStream(_gunzip(file))
    if head.startswith(_ZSTD):
        return ByteStream(_unzstd(file))
    return ByteStream(lambda: file.read(_CHUNK))


def _gunzip(file: IO[bytes]) -> Callable[[], bytes]:
    plain = gzip.GzipFile(fileobj=file)

    def read_some() -> bytes:
        try:
            return plain.read(_CHUNK)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise MalformedError(f"the gzip file is damaged: {error}") from error

    return read_some


def _unzstd(file: IO[bytes]) -> Callable[[], bytes]:
    def parts() -> Iterator[bytes]:
        unpacker = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_MAX)
        frame = unpacker.decompressobj()
        begun = False
        while packed := file.read(ZSTD_CHUNK):
            while packed:
                plain = frame.decompress(packed)
                begun, packed = True, b""
                if frame.eof:
                    packed = frame.unused_data
                    frame, begun = unpacker.decompressobj(), False
                if plain:
                    yield plain
        if begun:
            raise MalformedError("the zstd file ends in the middle")

    each = parts()

    def read_some() -> bytes:
        try:
            return next(each, b"")
        except zstandard.ZstdError as error:
            raise MalformedError(f"the zstd file is damaged: {error}") from error

    return read_some
