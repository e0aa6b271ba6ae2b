"""Unpacking of request bodies, bounded: a few kilobytes can claim to be gigabytes."""

from __future__ import annotations

import zlib
from typing import Final

import zstandard

from spanledger.collector.errors import MalformedError, TooLargeError, UnsupportedError

ZSTD_CHUNK: Final = 1 << 10
"""Bytes fed at once. A block of 4 bytes may unpack to 128 KiB (RFC 8878 3.1.1.2), so this bounds the overshoot beyond
the limit to 32 MiB; the unpacker itself knows no limit."""
ZSTD_WINDOW_MAX: Final = 128 << 20
"""The largest window that ``zstd`` itself accepts without being asked (``ZSTD_WINDOWLOG_LIMIT_DEFAULT``)."""

CODINGS: Final = ("identity", "gzip", "deflate", "zstd")


def unpack(data: bytes, coding: str, limit: int) -> bytes:
    """The plain body of a request.

    Args:
        data: the body as it was sent.
        coding: the ``Content-Encoding`` header, ``""`` for none.
        limit: the largest plain body that is accepted, in bytes; never more than this is unpacked.

    Raises:
        UnsupportedError: an unknown coding.
        MalformedError: the body is not packed like that.
        TooLargeError: the plain body is over the limit.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return data
    if coding in ("gzip", "x-gzip"):
        return _inflate(data, limit, 16 + zlib.MAX_WBITS, "gzip")
    if coding == "deflate":
        # RFC 9110 8.4.1.2: zlib format; some senders leave the zlib header out, whose first byte says deflate (8).
        raw = not data or data[0] & 0x0F != 8
        return _inflate(data, limit, -zlib.MAX_WBITS if raw else zlib.MAX_WBITS, "deflate")
    if coding == "zstd":
        return _unzstd(data, limit)
    raise UnsupportedError(f"content-encoding '{coding[:40]}' is not supported; use one of {', '.join(CODINGS)}")


def _inflate(data: bytes, limit: int, window_bits: int, name: str) -> bytes:
    plain = bytearray()
    while data:
        unpacker = zlib.decompressobj(window_bits)
        try:
            plain += unpacker.decompress(data, limit + 1 - len(plain))
        except zlib.error as error:
            raise MalformedError(f"the body is not valid {name}") from error
        if len(plain) > limit:
            raise _too_large(limit)
        if not unpacker.eof:
            raise MalformedError(f"the {name} body ends in the middle")
        data = unpacker.unused_data  # gzip files may be concatenated
    return bytes(plain)


def _unzstd(data: bytes, limit: int) -> bytes:
    unpacker = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_MAX)
    plain = bytearray()
    at = 0
    while at < len(data):  # zstd files may be concatenated
        frame = unpacker.decompressobj()
        while not frame.eof:
            if at >= len(data):
                raise MalformedError("the zstd body ends in the middle")
            try:
                plain += frame.decompress(data[at : at + ZSTD_CHUNK])
            except zstandard.ZstdError as error:
                raise MalformedError("the body is not valid zstd") from error
            at += ZSTD_CHUNK
            if len(plain) > limit:
                raise _too_large(limit)
        at = min(at, len(data)) - len(frame.unused_data)
    return bytes(plain)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"the body unpacks to more than the limit of {limit} bytes")
