"""The journal's file format: frames in segment files.

A segment starts with 8 bytes: ``SLJ1`` and a random salt. A frame is one acknowledged export request::

    4  magic        F5 4A 46 0A
    4  length       bytes of payload, u32
    4  checksum     crc32 (zlib), started from the segment's salt, of everything after this field, u32
    8  received_ns  when we received it, ns since the epoch, UTC, i64
    2  org length   bytes of org id, u16
    1  signal       `Signal`
    1  encoding     `Encoding`
    n  org id       UTF-8
    n  payload      the request body as received, unpacked

All numbers are little-endian. Frames follow each other without padding, and never span two segments. The salt keeps a
sender from smuggling a frame of another org inside a payload, to be found when the frame around it is torn by a crash.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from typing import Final, NamedTuple

from spanledger.collector.signals import Encoding, Signal

MAGIC: Final = b"\xf5JF\n"
SUFFIX: Final = ".journal"

_SEGMENT: Final = struct.Struct("<4sI")
_SEGMENT_MAGIC: Final = b"SLJ1"
_PREFIX: Final = struct.Struct("<4sII")
_FIELDS: Final = struct.Struct("<qHBB")
SEGMENT_HEADER_BYTES: Final = _SEGMENT.size
FRAME_HEADER_BYTES: Final = _PREFIX.size + _FIELDS.size


class Position(NamedTuple):
    """A place between two frames: segment number and byte offset. Later places compare greater."""

    segment: int
    offset: int


@dataclass(frozen=True, slots=True)
class Frame:
    """One request as it stands in the journal; `end` is the place right after it."""

    org_id: str
    signal: Signal
    encoding: Encoding
    received_ns: int
    payload: bytes
    end: Position


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes that are no valid frame although valid frames, or the end of a finished segment, come after them."""

    data: bytes
    end: Position


def new_segment_header() -> tuple[bytes, int]:
    """The first bytes of a new segment, and its salt."""
    salt = int.from_bytes(os.urandom(4), "little")
    return _SEGMENT.pack(_SEGMENT_MAGIC, salt), salt


def segment_salt(data: bytes) -> int | None:
    """The salt of a segment that starts with `data`; ``None`` when this is no segment of ours."""
    if len(data) < SEGMENT_HEADER_BYTES:
        return None
    magic, salt = _SEGMENT.unpack_from(data)
    return int(salt) if magic == _SEGMENT_MAGIC else None


@dataclass(frozen=True, slots=True)
class FrameFields:
    """What is stored of a request beside its payload."""

    org_id: str
    signal: Signal
    encoding: Encoding
    received_ns: int

    def frame_size(self, payload: bytes) -> int:
        """Bytes of the whole frame."""
        return FRAME_HEADER_BYTES + len(self.org_id.encode()) + len(payload)

    def head(self, payload: bytes, salt: int) -> bytes:
        """Everything of the frame that stands before its payload."""
        org = self.org_id.encode()
        fields = _FIELDS.pack(self.received_ns, len(org), self.signal, self.encoding) + org
        return _PREFIX.pack(MAGIC, len(payload), zlib.crc32(payload, zlib.crc32(fields, salt))) + fields


def claimed_frame_size(data: bytes, offset: int) -> int | None:
    """Size that the header at `offset` claims for its frame; ``None`` when there is no whole header."""
    if len(data) - offset < FRAME_HEADER_BYTES or not data.startswith(MAGIC, offset):
        return None
    length: int = _PREFIX.unpack_from(data, offset)[1]
    org_length: int = _FIELDS.unpack_from(data, offset + _PREFIX.size)[1]
    return FRAME_HEADER_BYTES + org_length + length


def valid_frame_size(data: bytes, offset: int, salt: int) -> int | None:
    """Size of the frame at `offset` when all of it is there and its checksum holds, else ``None``."""
    size = claimed_frame_size(data, offset)
    if size is None or offset + size > len(data):
        return None
    checksum: int = _PREFIX.unpack_from(data, offset)[2]
    with memoryview(data) as view:
        return size if zlib.crc32(view[offset + _PREFIX.size : offset + size], salt) == checksum else None


def parse_frame(data: bytes, offset: int, salt: int, base: Position) -> Frame | None:
    """The valid frame at `offset` of `data`, which was read from `base`; ``None`` when there is none that we know."""
    size = valid_frame_size(data, offset, salt)
    if size is None:
        return None
    received_ns, org_length, signal, encoding = _FIELDS.unpack_from(data, offset + _PREFIX.size)
    payload = offset + FRAME_HEADER_BYTES + org_length
    try:
        return Frame(
            org_id=data[offset + FRAME_HEADER_BYTES : payload].decode(),
            signal=Signal(signal),
            encoding=Encoding(encoding),
            received_ns=received_ns,
            payload=data[payload : offset + size],
            end=Position(base.segment, base.offset + offset + size),
        )
    except ValueError:
        return None  # written by a version that knows more signals or encodings


def next_valid(data: bytes, offset: int, salt: int) -> int | None:
    """Offset of the first valid frame at or after `offset`; ``None`` when there is none."""
    while (offset := data.find(MAGIC, offset)) >= 0:
        if valid_frame_size(data, offset, salt) is not None:
            return offset
        offset += 1
    return None


def last_whole_frame(data: bytes) -> int:
    """Where the last valid frame of a segment ends: what stands behind it was never acknowledged."""
    salt = segment_salt(data)
    if salt is None:
        return 0
    end = SEGMENT_HEADER_BYTES
    while True:
        size = valid_frame_size(data, end, salt)
        if size is not None:
            end += size
            continue
        resume = next_valid(data, end + 1, salt)
        if resume is None:
            return end
        end = resume
