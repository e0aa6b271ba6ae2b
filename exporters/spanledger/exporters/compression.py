"""HTTP compression of bodies: what clients send and accept."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import zstandard

_LEVEL: Final = 1
"""Answers go over loopback or a local network as a rule: cheap beats small."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Compresses one body piece by piece: `add` every piece, then send what `end` returns."""

    name: str
    add: Callable[[bytes], bytes]
    end: Callable[[], bytes]


def encoder_for(accept_encoding: str) -> Encoder | None:
    """The best encoding that an ``Accept-Encoding`` header allows; ``None`` for a plain body."""
    accepted = {name for name, weight in map(_weighted, accept_encoding.split(",")) if weight > 0}
    if "zstd" in accepted:
        zstd = zstandard.ZstdCompressor(level=_LEVEL).compressobj()
        return Encoder("zstd", zstd.compress, zstd.flush)
    if "gzip" in accepted:
        gzip = zlib.compressobj(_LEVEL, wbits=31)
        return Encoder("gzip", gzip.compress, gzip.flush)
    if "deflate" in accepted:
        deflate = zlib.compressobj(_LEVEL)
        return Encoder("deflate", deflate.compress, deflate.flush)
    return None


def _weighted(item: str) -> tuple[str, float]:
    name, _, parameter = item.strip().lower().partition(";")
    _, _, weight = parameter.partition("q=")
    try:
        return name.strip(), float(weight) if weight else 1.0
    except ValueError:
        return name.strip(), 0.0


def decode_body(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo ``Content-Encoding``, to at most `limit` bytes.

    Raises:
        ValueError: unknown encoding, damaged data, or more than `limit` bytes; the message is one readable line.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    try:
        if name == "zstd":
            plain = zstandard.ZstdDecompressor().stream_reader(body).read(limit + 1)
        elif name in ("gzip", "deflate"):
            plain = zlib.decompressobj(wbits=47).decompress(body, limit + 1)
        else:
            raise ValueError(f"Content-Encoding {name[:20]!r} is not served: use gzip, deflate or zstd")
    except (zlib.error, zstandard.ZstdError) as error:
        raise ValueError(f"the body is not valid {name}: {error}") from None
    if len(plain) > limit:
        raise ValueError(f"the body unpacks to more than {limit} bytes")
    return plain
