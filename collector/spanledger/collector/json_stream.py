"""OTLP JSON of any size, cut into request bodies of bearable size.

A file may hold one document or many (JSON lines), on one line or pretty-printed. The outer levels (request, resource,
scope) are walked here, because a parser for whole documents would need many times the file's size of memory; each
record, resource and scope is checked by the standard library's parser and passed on as it stands in the file.
"""

from __future__ import annotations

import codecs
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from spanledger.collector.bytestream import ByteStream
from spanledger.collector.signals import Signal

_VALUE_MAX: Final = 64 << 20
"""Characters of one record, resource or scope, and of records that wait for their resource."""
_CHUNK: Final = 1 << 20
_REREAD_MAX: Final = 1 << 20
"""Characters that are kept behind, because a line that breaks off may have taken the next one for its own."""
_NAMED_BREAKS: Final = 20
"""So many broken places of a file are named one by one."""
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_NEXT_DOCUMENT: Final = re.compile(r"\n(?=\{)")
_PARSER: Final = json.JSONDecoder()

_NAMES: Final = {
    Signal.TRACES: ("resourceSpans", "scopeSpans", "spans"),
    Signal.LOGS: ("resourceLogs", "scopeLogs", "logRecords"),
    Signal.METRICS: ("resourceMetrics", "scopeMetrics", "metrics"),
}
_GROUPS: Final = {
    "resourceSpans": Signal.TRACES,
    "resource_spans": Signal.TRACES,
    "resourceLogs": Signal.LOGS,
    "resource_logs": Signal.LOGS,
    "resourceMetrics": Signal.METRICS,
    "resource_metrics": Signal.METRICS,
}
_SCOPES: Final = {"scopeSpans", "scope_spans", "scopeLogs", "scope_logs", "scopeMetrics", "scope_metrics"}
_RECORDS: Final = {"spans", "logRecords", "log_records", "metrics"}


def json_pieces(stream: ByteStream, piece_bytes: int, refused: Counter[str]) -> Iterator[tuple[Signal, bytes]]:
    """Request bodies of about `piece_bytes`; what cannot be read is counted in `refused` by reason."""
    cursor = _Cursor(stream)
    pieces = _Pieces(piece_bytes)
    breaks = 0
    while cursor.peek():
        cursor.begin()
        try:
            yield from _document(cursor, pieces)
        except _SyntaxError as error:
            breaks += 1
            place = f"JSON at character {cursor.position}: {error}"
            refused[place if breaks <= _NAMED_BREAKS else "JSON that is broken at further places"] += 1
            pieces.rescue(refused)
            if not cursor.skip_to_next_document():
                break
    yield from pieces.flush()


class _SyntaxError(Exception):
    """The text is not what it should be at this place."""


@dataclass(slots=True)
class _Scope:
    text: str | None = None
    records: list[str] = field(default_factory=list[str])


@dataclass(slots=True)
class _Group:
    """One resource and what is known of its records; everything as JSON text."""

    signal: Signal
    resource: str | None = None
    scopes: list[_Scope] = field(default_factory=list[_Scope])
    size: int = 0

    @property
    def text(self) -> str:
        _, scopes_name, records_name = _NAMES[self.signal]
        scopes = ",".join(
            f'{{"scope":{scope.text or "{}"},"{records_name}":[{",".join(scope.records)}]}}' for scope in self.scopes
        )
        return f'{{"resource":{self.resource or "{}"},"{scopes_name}":[{scopes}]}}'


class _Pieces:
    """Gathers groups into request bodies."""

    def __init__(self, piece_bytes: int) -> None:
        self._piece_bytes = piece_bytes
        self._signal = Signal.TRACES
        self._groups: list[str] = []
        self._size = 0
        self.current: _Group | None = None

    def add(self, group: _Group) -> Iterator[tuple[Signal, bytes]]:
        """Take a group; yields a body when there is enough for one."""
        if group.signal is not self._signal or self._size + group.size > self._piece_bytes:
            yield from self.flush()
        self._signal = group.signal
        self._groups.append(group.text)
        self._size += group.size

    def add_part(self, scope: _Scope) -> Iterator[tuple[Signal, bytes]]:
        """Pass on the records so far when they are many and it is known whose they are."""
        group = self.current
        if group is None or group.size < self._piece_bytes:
            return
        if group.resource is not None and scope.text is not None:
            yield from self.add(group)
            scope_text = scope.text
            scope.records = []
            group.scopes[:] = [scope]
            scope.text, group.size = scope_text, 0
        elif group.size > _VALUE_MAX:
            raise _SyntaxError("too many records stand before their resource and scope")

    def rescue(self, refused: Counter[str]) -> None:
        """Keep the whole records of a group that broke off, if it is known whose they are."""
        group, self.current = self.current, None
        if group is None:
            return
        if group.resource is None:
            lost = sum(len(scope.records) for scope in group.scopes)
            if lost:
                refused["a record whose resource was not reached"] += lost
        else:
            self._groups.append(group.text)
            self._signal = group.signal
            self._size += group.size

    def flush(self) -> Iterator[tuple[Signal, bytes]]:
        """What is left, as a body."""
        if self._groups:
            yield self._signal, f'{{"{_NAMES[self._signal][0]}":[{",".join(self._groups)}]}}'.encode()
        self._groups, self._size = [], 0


def _document(cursor: _Cursor, pieces: _Pieces) -> Iterator[tuple[Signal, bytes]]:
    known = empty = True
    for key in cursor.members():
        if empty:
            known = empty = False
        signal = _GROUPS.get(key)
        if signal is None:
            cursor.value()
            continue
        known = True
        for _ in cursor.items():
            pieces.current = _Group(signal)
            yield from _group(cursor, pieces.current, pieces)
            pieces.current = None
    if not known:
        raise _SyntaxError("a document without resourceSpans, resourceLogs or resourceMetrics")


def _group(cursor: _Cursor, group: _Group, pieces: _Pieces) -> Iterator[tuple[Signal, bytes]]:
    for key in cursor.members():
        if key == "resource":
            group.resource = cursor.value()
        elif key in _SCOPES:
            for _ in cursor.items():
                yield from _scope(cursor, group, pieces)
        else:
            cursor.value()
    yield from pieces.add(group)


def _scope(cursor: _Cursor, group: _Group, pieces: _Pieces) -> Iterator[tuple[Signal, bytes]]:
    scope = _Scope()
    group.scopes.append(scope)
    for key in cursor.members():
        if key == "scope":
            scope.text = cursor.value()
        elif key in _RECORDS:
            for _ in cursor.items():
                record = cursor.value()
                scope.records.append(record)
                group.size += len(record)
                yield from pieces.add_part(scope)
        else:
            cursor.value()


class _Cursor:
    """Reads JSON values from a text stream, holding little more than the current one."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._buffer = ""
        self._at = 0
        self._begin = 0
        self._passed = 0

    def begin(self) -> None:
        """A document begins here."""
        self._begin = self._at

    @property
    def position(self) -> int:
        """Characters read so far."""
        return self._passed + self._at

    def peek(self) -> str:
        """The next character that is not white space; ``""`` at the end."""
        while True:
            space = _SPACE.match(self._buffer, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def value(self) -> str:
        """The text of the next value, whatever it is."""
        self.peek()
        while True:
            try:
                _, end = _PARSER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                # Cut off by the end of the buffer, or really wrong?
                cut = error.msg.startswith("Unterminated string") or error.pos > len(self._buffer) - 16
                if not cut:
                    raise _SyntaxError(error.msg) from error
                if len(self._buffer) - self._at > _VALUE_MAX:
                    raise _SyntaxError(f"a value of more than {_VALUE_MAX >> 20} MiB") from error
                if not self._more():
                    raise _SyntaxError("the file ends in the middle of a value") from error
                continue
            except (ValueError, RecursionError) as error:
                raise _SyntaxError(str(error)[:100]) from error
            if end == len(self._buffer) and self._more():
                continue  # a number may go on
            text = self._buffer[self._at : end]
            self._at = end
            return text

    def members(self) -> Iterator[str]:
        """The keys of the next object; the caller must read each key's value before it asks for the next key."""
        if self.peek() == "n":
            self.value()
            return
        self._take("{")
        while self.peek() != "}":
            key = json.loads(self.value())
            if not isinstance(key, str):
                raise _SyntaxError("a key is not a string")
            self._take(":")
            yield key
            if self.peek() == ",":
                self._take(",")
            elif self.peek() != "}":
                raise _SyntaxError(f"',' or '}}' expected{self._found()}")
        self._take("}")

    def items(self) -> Iterator[None]:
        """Stops before each item of the next array; the caller must read the item."""
        if self.peek() == "n":
            self.value()
            return
        self._take("[")
        while self.peek() != "]":
            yield
            if self.peek() == ",":
                self._take(",")
            elif self.peek() != "]":
                raise _SyntaxError(f"',' or ']' expected{self._found()}")
        self._take("]")

    def skip_to_next_document(self) -> bool:
        """Go to the first line after the document's beginning that starts with ``{``; ``False`` when there is none."""
        self._at = self._begin
        while True:
            found = _NEXT_DOCUMENT.search(self._buffer, self._at)
            if found:
                self._at = found.end()
                return True
            self._begin = self._at = max(self._at, len(self._buffer) - 1)
            if not self._more():
                return False

    def _take(self, character: str) -> None:
        if self.peek() != character:
            raise _SyntaxError(f"'{character}' expected{self._found()}")
        self._at += 1

    def _found(self) -> str:
        return f", not '{character}'" if (character := self.peek()) else ", but the file ends"

    def _more(self) -> bool:
        data = self._stream.read(_CHUNK)
        chunk = self._decoder.decode(data, final=not data)
        if not data and not chunk:
            return False
        read = max(self._begin, self._at - _REREAD_MAX)
        self._passed += read
        self._buffer = self._buffer[read:] + chunk
        self._at -= read
        self._begin = 0
        return True
