"""Rows of CSV, Parquet and JSON-lines files, plain or compressed, as texts: no number passes through a float.

Formats are recognised by content. Parquet columns of floating-point type are written with the shortest digits that give
the same float, which is what their writer printed.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final, cast

import zstandard

from spanledger.reconciler.documents import load
from spanledger.reconciler.errors import ConfigError

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZIP: Final = b"PK\x03\x04"
_PARQUET: Final = b"PAR1"
_PDF: Final = b"%PDF"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_WORKBOOK: Final = "[Content_Types].xml"
"""Every spreadsheet of today is an archive with this file."""
_SEPARATOR_NOTE: Final = re.compile(r"sep=.", re.I)
"""A first line for spreadsheets, that says which sign separates the cells."""
_BATCH_ROWS: Final = 8192

Row = dict[str, str]
"""Column → text; ``""`` is null."""


class FileError(ConfigError):
    """A file cannot be read as a bill; names the file, the line and the mend."""


def read_rows(path: Path, name: str = "") -> Iterator[tuple[int, Row]]:
    """Every row with its number (the line of a text file, counted from 1 with the header; the row of a Parquet file).

    Args:
        path: the file.
        name: what to call it in messages, when ``path`` is a temporary copy.

    Raises:
        FileError: no such file, an unknown format, a broken row.
    """
    name = name or str(path)
    with _readable(name):
        magic = _magic(path, name)
        if magic == _PARQUET:
            yield from _parquet_rows(path, name)
        else:
            with _text(path, magic, name) as text:
                yield from _text_rows(text, name)


def columns(path: Path, name: str = "") -> tuple[str, ...]:
    """The columns of a file; those of the first row for JSON lines. See `read_rows`."""
    name = name or path.name
    with _readable(name):
        magic = _magic(path, name)
        if magic == _PARQUET:
            with _parquet(path, name) as file:
                return tuple(str(column) for column in file.schema_arrow.names)
        with _text(path, magic, name) as text:
            first = _first_line(text, name)
            if first.lstrip().startswith("{"):
                return tuple(_json_row(first, 1, name))
            return tuple(_header(next(csv.reader([first], delimiter=_delimiter(first))), name))


def sha256_of(path: Path) -> str:
    """The hash of a file's content, in hex. Raises `FileError`."""
    with _readable(path.name), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _readable(name: str) -> Generator[None]:
    """What libraries say about broken files, as `FileError`."""
    try:
        yield
    except (OSError, EOFError, zlib.error, zstandard.ZstdError, zipfile.BadZipFile, csv.Error) as error:
        raise FileError(f"{name} cannot be read: {error}") from None
    except UnicodeError:
        raise FileError(f"{name} is not UTF-8 or UTF-16 text; save it as CSV (UTF-8)") from None


def _magic(path: Path, name: str) -> bytes:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == _PDF:
        raise FileError(f"{name} is a PDF; import the CSV that goes with the invoice")
    return magic


@contextmanager
def _text(path: Path, magic: bytes, name: str) -> Generator[IO[str], None, None]:
    with path.open("rb") as raw:
        stream: IO[bytes]
        if magic.startswith(_GZIP):
            stream = cast("IO[bytes]", gzip.GzipFile(fileobj=raw))
        elif magic == _ZSTD:
            stream = cast("IO[bytes]", zstandard.ZstdDecompressor().stream_reader(raw))
        elif magic == _ZIP:
            archive = zipfile.ZipFile(raw)
            members = [member for member in archive.namelist() if not member.endswith("/")]
            if _WORKBOOK in members:
                raise FileError(f"{name} is a spreadsheet; save its sheet as CSV (UTF-8)")
            if len(members) != 1:
                raise FileError(f"{name} is an archive of {len(members)} files; unpack it and give the files")
            stream = archive.open(members[0])
        else:
            stream = raw
        packed: io.BufferedReader[Any] = io.BufferedReader(cast("Any", stream))
        # Spreadsheets write a byte order mark: utf-8-sig and utf-16 drop it.
        encoding = "utf-16" if packed.peek(2)[:2] in _UTF16 else "utf-8-sig"
        yield io.TextIOWrapper(packed, encoding=encoding, newline="")


def _text_rows(text: IO[str], name: str) -> Iterator[tuple[int, Row]]:
    first = _first_line(text, name)
    if first.lstrip().startswith("{"):
        yield from _json_rows(first, text, name)
    else:
        yield from _csv_rows(first, text, name)


def _first_line(text: IO[str], name: str) -> str:
    for line in text:
        if line.lstrip().startswith("["):
            raise FileError(f"{name} is a JSON array; write one object per line (jq -c '.[]')")
        if line.strip() and not _SEPARATOR_NOTE.fullmatch(line.strip()):
            return line
    raise FileError(f"{name} is empty")


def _header(cells: list[str], name: str) -> list[str]:
    header = [column.strip() for column in cells]
    repeated = sorted({column for column in header if column and header.count(column) > 1})
    if repeated:
        raise FileError(f"{name}: the header names {', '.join(repeated)} twice")
    return header


def _csv_rows(first: str, text: IO[str], name: str) -> Iterator[tuple[int, Row]]:
    def lines() -> Iterator[str]:
        yield first
        yield from text

    reader = csv.reader(lines(), delimiter=_delimiter(first))
    try:
        header = _header(next(reader), name)
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise FileError(
                    f"{name}, line {reader.line_num}: {len(cells)} fields under a header of {len(header)}; "
                    "is the file cut off?"
                )
            yield reader.line_num, dict(zip(header, map(str.strip, cells), strict=True))
    except csv.Error as error:
        raise FileError(f"{name}, line {reader.line_num}: {error}") from None


def _delimiter(header: str) -> str:
    return max((",", ";", "\t"), key=header.count)


def _json_rows(first: str, text: IO[str], name: str) -> Iterator[tuple[int, Row]]:
    number, line = 1, first
    while line:
        if line.strip():
            yield number, _json_row(line, number, name)
        number, line = number + 1, text.readline()


def _json_row(line: str, number: int, name: str) -> Row:
    try:
        found = load(line)
    except ValueError as error:
        raise FileError(f"{name}, line {number}: not JSON ({error})") from None
    if not isinstance(found, dict):
        raise FileError(f"{name}, line {number}: not a JSON object")
    return {column: cell_text(value) for column, value in cast("dict[str, Any]", found).items()}


@contextmanager
def _parquet(path: Path, name: str) -> Generator[Any]:
    broken = cast("Any", import_module("pyarrow")).ArrowException
    try:
        with cast("Any", import_module("pyarrow.parquet")).ParquetFile(path) as file:
            yield file
    except broken as error:
        raise FileError(f"{name} is no whole Parquet file: {' '.join(str(error).split())}") from None


def _parquet_rows(path: Path, name: str) -> Iterator[tuple[int, Row]]:
    number = 0
    with _parquet(path, name) as file:
        for batch in file.iter_batches(batch_size=_BATCH_ROWS):
            for row in batch.to_pylist(maps_as_pydicts="lossy"):
                number += 1
                yield number, {str(column): cell_text(value) for column, value in row.items()}


def cell_text(value: object) -> str:
    """A cell as text: null is ``""``, times are ISO 8601 in UTC, nested values are JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Decimal):
        return format(value, "f") if value else "0"
    if isinstance(value, datetime):
        instant = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return instant.isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=cell_text, sort_keys=True)
    return str(value)
