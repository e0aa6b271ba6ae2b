"""OTLP files of any size, cut into request bodies of bearable size.

Understood, told apart by content and not by name: protobuf request bodies (several one after the other are one valid
message), OTLP JSON, JSON lines as the Collector's file exporter writes them, its length-prefixed protobuf
(``format: proto``), and each of them packed with gzip or zstd. Traces and logs may be mixed in one file.

Protobuf's outer levels are walked by hand (a tag, a length, bytes), because the parser wants the whole message
in memory.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Final

from google.protobuf.message import DecodeError

from spanledger.collector import wire
from spanledger.collector.bytestream import ByteStream, unpacked
from spanledger.collector.errors import MalformedError
from spanledger.collector.json_stream import json_pieces
from spanledger.collector.signals import Encoding, Signal

PIECE_BYTES: Final = 2 << 20
_GROUP_MAX: Final = 32 << 20
"""A resource's records beyond this are not read at once but scope by scope, record by record."""
_RECORD_MAX: Final = 64 << 20
_TRUNCATED: Final = "the file ends in the middle of a message"
_HEAD_BYTES: Final = 256
# A protobuf body may start with 0A 7B ("\\n{"), but never with a brace, a quote and a letter.
_JSON_START: Final = re.compile(rb'(\xef\xbb\xbf)?\s*\{\s*(\}|"[A-Za-z_])')
_JSON_LATER: Final = re.compile(rb'\n\s*\{\s*"resource_?([Ss]pans|[Ll]ogs|[Mm]etrics)"')
_LATER_BYTES: Final = 65_536
"""So far from its beginning the first line of OTLP JSON is looked for, behind lines of something else."""
_VARINT: Final = 0
_FIXED64: Final = 1
_LENGTH_DELIMITED: Final = 2
_FIXED_SIZES: Final = {_FIXED64: 8, 5: 4}


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a file that is a complete export request."""

    signal: Signal
    encoding: Encoding
    body: bytes


@dataclass(slots=True)
class Problems:
    """Parts of a file that could not be read, by reason."""

    refused: Counter[str] = field(default_factory=Counter[str])


def read_pieces(file: IO[bytes], problems: Problems) -> Iterator[Piece]:
    """The requests in an OTLP file or pipe, one after the other; what cannot be read is noted in `problems`.

    Raises:
        MalformedError: this is not OTLP in any form that we know.
    """
    stream = unpacked(file, lambda reason: problems.refused.update((reason,)))
    head = stream.peek(_HEAD_BYTES)
    is_binary = head.startswith((b"\x0a", b"\x00"))
    if _JSON_START.match(head) or (not is_binary and _JSON_LATER.search(stream.peek(_LATER_BYTES))):
        for signal, body in json_pieces(stream, PIECE_BYTES, problems.refused):
            yield Piece(signal, Encoding.JSON, body)
    elif head.startswith(b"\x0a"):
        yield from _join(_groups(_Wire(stream), problems), problems)
    elif head.startswith(b"\x00"):
        yield from _length_prefixed(stream, problems)
    elif head.strip():
        raise MalformedError("this is no OTLP: neither a protobuf export request nor OTLP JSON")


def _length_prefixed(stream: ByteStream, problems: Problems) -> Iterator[Piece]:
    """The file exporter's ``format: proto``: each message after its length, four bytes, big-endian."""
    while prefix := stream.read(4):
        length = int.from_bytes(prefix, "big")
        data = stream.read(length) if len(prefix) == 4 and length <= _RECORD_MAX else b""
        if len(data) < length or len(prefix) < 4:
            problems.refused[_TRUNCATED] += 1
            return
        yield from read_pieces(io.BytesIO(data), problems)


class _Wire:
    """Protobuf's outermost grammar, read from a stream."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self.position = 0

    def varint(self) -> int | None:
        """The next varint; ``None`` at the end of the stream, or where there is none."""
        result = 0
        for shift in range(0, 70, 7):
            byte = self._stream.read(1)
            if not byte:
                return None
            self.position += 1
            result |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return result
        return None

    def read(self, length: int) -> bytes:
        """`length` bytes, fewer only at the end of the stream."""
        data = self._stream.read(length)
        self.position += len(data)
        return data

    def skip(self, length: int) -> None:
        while length > 0 and (data := self.read(min(length, 1 << 20))):
            length -= len(data)

    def fields(self, length: int | None, problems: Problems) -> Iterator[tuple[int, int]]:
        """(number, length) of each length-delimited field of a message of `length` bytes (``None``: to the end).

        The caller must read or skip the field's bytes before it asks for the next.
        """
        end = None if length is None else self.position + length
        while end is None or self.position < end:
            start = self.position
            tag = self.varint()
            if tag is None:
                if end is not None or self.position > start:
                    problems.refused[_TRUNCATED] += 1
                return
            kind = tag & 7
            if kind == _LENGTH_DELIMITED:
                size = self.varint()
                if size is None:
                    problems.refused[_TRUNCATED] += 1
                    return
                yield tag >> 3, size
            elif kind in _FIXED_SIZES:
                self.skip(_FIXED_SIZES[kind])
            elif kind == _VARINT:
                self.varint()
            else:
                problems.refused["bytes that are not protobuf"] += 1
                return


def _field(number: int, data: bytes | bytearray) -> bytes:
    """A length-delimited field."""
    header = bytearray((number << 3 | _LENGTH_DELIMITED,))
    size = len(data)
    while size > 0x7F:
        header.append(size & 0x7F | 0x80)
        size >>= 7
    header.append(size)
    return bytes(header) + data


def _groups(wire_stream: _Wire, problems: Problems) -> Iterator[bytes]:
    """The ResourceSpans or ResourceLogs messages of a request, the very large ones in several parts."""
    for number, length in wire_stream.fields(None, problems):
        if number != 1:
            wire_stream.skip(length)
        elif length > _GROUP_MAX:
            yield from _large_group(wire_stream, length, problems)
        elif len(data := wire_stream.read(length)) == length:
            yield data
        else:
            problems.refused[_TRUNCATED] += 1


def _large_group(wire_stream: _Wire, length: int, problems: Problems) -> Iterator[bytes]:
    resource, begun = b"", False
    for number, size in wire_stream.fields(length, problems):
        if number == 1 and size <= _RECORD_MAX:
            if begun:
                problems.refused["a resource that stands after its records, in a group too large to hold"] += 1
            resource = _field(1, wire_stream.read(size))
        elif number == 2 and size <= _GROUP_MAX:
            begun = True
            data = wire_stream.read(size)
            if len(data) == size:
                yield resource + _field(2, data)
            else:
                problems.refused[_TRUNCATED] += 1
        elif number == 2:
            begun = True
            for part in _large_scope(wire_stream, size, problems):
                yield resource + _field(2, part)
        else:
            wire_stream.skip(size)


def _large_scope(wire_stream: _Wire, length: int, problems: Problems) -> Iterator[bytes]:
    scope, records = b"", bytearray()
    for number, size in wire_stream.fields(length, problems):
        if number == 1 and size <= _RECORD_MAX:
            scope = _field(1, wire_stream.read(size))
        elif number == 2 and size <= _RECORD_MAX:
            data = wire_stream.read(size)
            if len(data) < size:
                problems.refused[_TRUNCATED] += 1
                break
            records += _field(2, data)
            if len(records) >= PIECE_BYTES:
                yield scope + records
                records.clear()
        else:
            if number == 2:
                problems.refused[f"a record of more than {_RECORD_MAX} bytes"] += 1
            wire_stream.skip(size)
    if records:
        yield scope + records


def _join(groups: Iterator[bytes], problems: Problems) -> Iterator[Piece]:
    """Request bodies of about `PIECE_BYTES` out of groups."""
    body, signal = bytearray(), None
    for group in groups:
        found = _signal_of(group, problems)
        if found is None:
            continue
        if body and signal is not None and (found is not signal or len(body) + len(group) > PIECE_BYTES):
            yield Piece(signal, Encoding.PROTOBUF, bytes(body))
            body.clear()
        signal = found
        body += _field(1, group)
    if body and signal is not None:
        yield Piece(signal, Encoding.PROTOBUF, bytes(body))


def _signal_of(group: bytes, problems: Problems) -> Signal | None:
    """What the first record of a group is; ``None`` when there is no record or it is none that we know."""
    try:
        message = wire.RawGroup.FromString(group)
    except DecodeError:
        problems.refused["a part that is not valid protobuf"] += 1
        return None
    record = next((raw for scope in message.scopes for raw in scope.records), None)
    if record is None:
        return None
    signal = sniff_record(record)
    if signal is None:
        problems.refused["a part that holds neither spans nor log records nor metrics"] += 1
    return signal


def sniff_record(record: bytes) -> Signal | None:
    """Tell a Span, a LogRecord and a Metric apart by the shape of their fields (opentelemetry-proto v1).

    A span has times as fixed64 in fields 7 and 8, and ids of 16 and 8 bytes in 1 and 2; a log record has times as
    fixed64 in 1 and 11, and a varint in 2; a metric has its name in 1 and its data as a message in 5, 7, 9, 10 or 11.
    """
    kinds: dict[int, int] = {}
    lengths: dict[int, int] = {}
    parts = iter((record,))
    stream = _Wire(ByteStream(lambda: next(parts, b"")))
    while (tag := stream.varint()) is not None:
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            stream.varint()
        else:
            length = stream.varint() if kind == _LENGTH_DELIMITED else _FIXED_SIZES.get(kind)
            if length is None:
                return None
            stream.skip(length)
            lengths[number] = length
        kinds[number] = kind
    if kinds.get(7) == _FIXED64 or kinds.get(8) == _FIXED64 or (lengths.get(1) == 16 and lengths.get(2) == 8):
        return Signal.TRACES
    if kinds.get(1) == _FIXED64 or kinds.get(11) == _FIXED64 or kinds.get(2) == _VARINT:
        return Signal.LOGS
    if kinds.get(1) == _LENGTH_DELIMITED:
        data = any(kinds.get(number) == _LENGTH_DELIMITED for number in (5, 7, 9, 10, 11))
        return Signal.METRICS if data else Signal.TRACES
    return Signal.LOGS if kinds.get(5) == _LENGTH_DELIMITED or kinds.get(6) == _LENGTH_DELIMITED else None
