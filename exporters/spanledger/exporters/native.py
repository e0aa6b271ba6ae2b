"""The Native format as newer clients want it.

The embedded engine always writes Native blocks in their oldest form (revision 0). Clients that send
``client_protocol_version`` 54454 or higher (clickhouse-go, and with it Grafana's ClickHouse data source) expect two
additions: a block info before each block, and after each column's type a byte that says whether its data is serialised
in a special way (ours never is). The data itself is the same, so it is copied; but to find where a column ends, its
type must be understood. See ClickHouse's NativeWriter and BlockInfo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

MIN_REVISION: Final = 54454
"""DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION; clients below it understand revision 0 by leaving the parameter out."""

# Field 1 (is_overflows) = 0, field 2 (bucket_num) = -1, end.
_BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"
_PLAIN: Final = b"\x00"

_WIDTHS: Final = {
    "BFloat16": 2,
    "Bool": 1,
    "Date": 2,
    "Date32": 4,
    "DateTime": 4,
    "DateTime32": 4,
    "DateTime64": 8,
    "Decimal32": 4,
    "Decimal64": 8,
    "Decimal128": 16,
    "Decimal256": 32,
    "Enum8": 1,
    "Enum16": 2,
    "Float32": 4,
    "Float64": 8,
    "IPv4": 4,
    "IPv6": 16,
    "Int8": 1,
    "Int16": 2,
    "Int32": 4,
    "Int64": 8,
    "Int128": 16,
    "Int256": 32,
    "Nothing": 1,
    "Point": 16,
    "Time": 4,
    "Time64": 8,
    "UInt8": 1,
    "UInt16": 2,
    "UInt32": 4,
    "UInt64": 8,
    "UInt128": 16,
    "UInt256": 32,
    "UUID": 16,
}
"""Bytes of one value of the types that have a fixed width."""

_DECIMALS: Final = ((9, 4), (18, 8), (38, 16), (76, 32))

_STATE_BYTES: Final = 8
_SHARED_DICTIONARY: Final = 0x100

Skip = Callable[[bytes, int, int], int]
"""(data, start, rows) → where the column's data ends."""


class UnsupportedTypeError(ValueError):
    """A column has a type whose serialisation is not known here; the message is one readable line."""


def revised(blocks: bytes) -> bytes:
    """Turn whole blocks of revision 0 into blocks of `MIN_REVISION`.

    Raises:
        UnsupportedTypeError: a type such as JSON or Variant.
    """
    return b"".join(_blocks(blocks))


def _blocks(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        start = at
        columns, at = _varint(data, at)
        rows, at = _varint(data, at)
        yield _BLOCK_INFO + data[start:at]
        for _ in range(columns):
            start = at
            _, at = _text(data, at)
            type_name, at = _text(data, at)
            yield data[start:at] + _PLAIN
            start = at
            if rows:
                # Every dictionary's state comes first, in the order of the type's parts.
                at += _STATE_BYTES * type_name.count("LowCardinality(")
                at = skip_for(type_name)(data, at, rows)
            yield data[start:at]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _text(data: bytes, at: int) -> tuple[str, int]:
    length, at = _varint(data, at)
    return data[at : at + length].decode(), at + length


def skip_for(type_name: str) -> Skip:
    """How to find the end of a column of this type.

    Raises:
        UnsupportedTypeError: it is not known.
    """
    name, arguments = _parts(type_name)
    width = _width(name, arguments)
    if width is not None:
        return lambda _data, at, rows: at + rows * width
    match name:
        case "String":
            return _skip_strings
        case "Nullable":
            nested = skip_for(arguments[0])
            return lambda data, at, rows: nested(data, at + rows, rows)
        case "SimpleAggregateFunction":
            return skip_for(arguments[-1])
        case "LowCardinality":
            wrapper, inner = _parts(arguments[0])
            # NULL is the dictionary's first entry, not a mask.
            return _skip_dictionary(skip_for(inner[0] if wrapper == "Nullable" else arguments[0]))
        case "Array":
            return _skip_arrays(skip_for(arguments[0]))
        case "Map":
            return _skip_arrays(_skip_tuple([skip_for(argument) for argument in arguments]))
        case "Tuple":
            return _skip_tuple([skip_for(_without_name(argument)) for argument in arguments])
        case "Nested":
            return _skip_arrays(_skip_tuple([skip_for(_without_name(argument)) for argument in arguments]))
        case _:
            raise UnsupportedTypeError(
                f"columns of type {type_name[:80]} are not served in this form: CAST them to String"
            )


def _width(name: str, arguments: Sequence[str]) -> int | None:
    if name == "FixedString":
        return int(arguments[0])
    if name == "Decimal":
        return next(width for digits, width in _DECIMALS if int(arguments[0]) <= digits)
    if name.startswith("Interval"):
        return 8
    return _WIDTHS.get(name)


def _skip_strings(data: bytes, at: int, rows: int) -> int:
    for _ in range(rows):
        byte = data[at]
        if byte < 0x80:
            at += byte + 1
        else:
            length, at = _varint(data, at)
            at += length
    return at


def _skip_arrays(nested: Skip) -> Skip:
    def skip(data: bytes, at: int, rows: int) -> int:
        at += rows * 8
        items = _fixed(data, at - 8)
        return nested(data, at, items) if items else at

    return skip


def _skip_dictionary(keys: Skip) -> Skip:
    def skip(data: bytes, at: int, rows: int) -> int:
        while rows > 0:
            flags, at = _fixed(data, at), at + 8
            if flags & _SHARED_DICTIONARY:
                raise UnsupportedTypeError(
                    "columns with shared dictionaries are not served in this form: CAST them to String"
                )
            count, at = _fixed(data, at), at + 8
            at = keys(data, at, count)
            indexes, at = _fixed(data, at), at + 8
            at += indexes << (flags & 0xFF)
            rows -= indexes
        return at

    return skip


def _fixed(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _skip_tuple(parts: Sequence[Skip]) -> Skip:
    if not parts:
        raise UnsupportedTypeError("columns of type Tuple() are not served in this form: CAST them to String")

    def skip(data: bytes, at: int, rows: int) -> int:
        for part in parts:
            at = part(data, at, rows)
        return at

    return skip


def _parts(type_name: str) -> tuple[str, list[str]]:
    """``Map(String, Array(UInt8))`` → ``Map``, [``String``, ``Array(UInt8)``]."""
    name, bracket, rest = type_name.strip().partition("(")
    return name, _split(rest[:-1]) if bracket else []


def _split(text: str) -> list[str]:
    """Split at the commas that stand in no brackets and no quotes."""
    parts: list[str] = []
    depth = start = at = 0
    while at < len(text):
        char = text[at]
        if char in "'`":
            at = _quote_end(text, at)
        elif char == "(":
            depth += 1
        elif char == ")":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:at].strip())
            start = at + 1
        at += 1
    last = text[start:].strip()
    return [*parts, last] if last else parts


def _quote_end(text: str, at: int) -> int:
    quote = text[at]
    at += 1
    while text[at] != quote:
        at += 2 if text[at] == "\\" else 1
    return at


def _without_name(element: str) -> str:
    """``a UInt8`` or ```odd name` UInt8`` → ``UInt8``; an element without a name stays."""
    if element.startswith("`"):
        return element[_quote_end(element, 0) + 1 :].strip()
    name, space, rest = element.partition(" ")
    return rest.strip() if space and name.replace("_", "").isalnum() else element
