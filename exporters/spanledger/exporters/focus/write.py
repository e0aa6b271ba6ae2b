"""FOCUS rows as CSV or Parquet, exact: decimals are written as plain text or as decimal columns, never as floats."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from importlib import import_module
from itertools import islice
from typing import IO, Any, Final

from spanledger.exporters.focus.columns import DECIMALS, columns
from spanledger.exporters.focus.rows import Row
from spanledger.semconv.money import text

_BATCH: Final = 10_000


def write_csv(rows: Iterable[Row], file: IO[str], *, version: str) -> int:
    """Write a CSV file with a header; NULL is an empty field. Returns the number of rows."""
    names = columns(version)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    count = 0
    for row in rows:
        writer.writerow([_text(row.get(name)) for name in names])
        count += 1
    return count


def write_parquet(rows: Iterable[Row], file: IO[bytes], *, version: str) -> int:
    """Write a Parquet file with decimal and UTC timestamp columns. Returns the number of rows."""
    # Neither has type information.
    arrow: Any = import_module("pyarrow")
    parquet: Any = import_module("pyarrow.parquet")
    names = columns(version)
    schema = arrow.schema([(name, _arrow_type(arrow, name)) for name in names])
    count = 0
    writer: Any = parquet.ParquetWriter(file, schema, compression="zstd")
    with writer:
        source = iter(rows)
        while batch := list(islice(source, _BATCH)):
            count += len(batch)
            arrays = [
                arrow.array([_arrow_value(name, row.get(name)) for row in batch], _arrow_type(arrow, name))
                for name in names
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
    return count


def _text(value: str | Decimal | None) -> str:
    if value is None:
        return ""
    return text(value) if isinstance(value, Decimal) else value


def _is_time(name: str) -> bool:
    return name.endswith(("PeriodStart", "PeriodEnd"))


def _arrow_type(arrow: Any, name: str) -> Any:
    if name in DECIMALS:
        return arrow.decimal128(38, 12)
    return arrow.timestamp("ms", "UTC") if _is_time(name) else arrow.string()


def _arrow_value(name: str, value: str | Decimal | None) -> object:
    if isinstance(value, str) and _is_time(name):
        return datetime.fromisoformat(value)
    return value
