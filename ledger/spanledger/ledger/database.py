"""The ledger's way to its store: named queries, Arrow inserts, errors translated. Thread-safe as its client is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.query import QueryResult

from spanledger.ledger.arrow import pa
from spanledger.ledger.client import store_errors
from spanledger.ledger.sql import query

Rows = Sequence[Sequence[Any]]


class Database:
    """One client, with the few calls that the ledger makes."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def rows(self, name: str, parameters: Mapping[str, Any], doing: str, **texts: str) -> Rows:
        """Run ``queries/<name>.sql`` and return its rows.

        Args:
            name: of the query.
            parameters: bound by the store.
            doing: completes "store failed while ...".
            texts: fragments of SQL for ``{{name}}`` places, never user input.
        """
        return self.select(_filled(name, texts), parameters, doing)

    def select(self, sql: str, parameters: Mapping[str, Any], doing: str) -> Rows:
        """Run one SELECT and return its rows."""
        with store_errors(doing):
            result: QueryResult = self.client.query(  # pyright: ignore[reportUnknownMemberType]
                sql, parameters=dict(parameters)
            )
            rows: Rows = result.result_rows
            return rows

    def arrow(self, name: str, parameters: Mapping[str, Any], doing: str, **texts: str) -> Any:
        """Run ``queries/<name>.sql`` and return an Arrow table."""
        with store_errors(doing):
            found: Any = self.client.query_arrow(  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
                _filled(name, texts), parameters=dict(parameters)
            )
            return found  # pyright: ignore[reportUnknownVariableType]

    def run(self, name: str, parameters: Mapping[str, Any], doing: str, **texts: str) -> None:
        """Run ``queries/<name>.sql`` for its effect."""
        with store_errors(doing):
            self.client.command(  # pyright: ignore[reportUnknownMemberType]
                _filled(name, texts), parameters=dict(parameters)
            )

    def command(self, sql: str, doing: str) -> None:
        """Run one statement for its effect."""
        with store_errors(doing):
            self.client.command(sql)  # pyright: ignore[reportUnknownMemberType]

    def insert(self, table: str, rows: Any, doing: str) -> None:
        """Insert an Arrow table into ``spanledger.<table>``; does nothing without rows.

        Columns that the Arrow table lacks get their defaults.
        """
        if len(rows):
            with store_errors(doing):
                self.client.raw_insert(  # pyright: ignore[reportUnknownMemberType]
                    f"spanledger.{table}",
                    rows.schema.names,
                    _arrow_file(rows, self.client.write_compression),
                    fmt="Arrow",
                )

    def insert_rows(self, table: str, columns: Sequence[str], rows: Rows, doing: str) -> None:
        """Insert a few Python rows into ``spanledger.<table>``."""
        with store_errors(doing):
            self.client.insert(  # pyright: ignore[reportUnknownMemberType]
                f"spanledger.{table}", rows, column_names=columns
            )


def _arrow_file(rows: Any, compression: str | None) -> Any:
    """The bytes of an Arrow file, as any object with a buffer.

    Written once, into a place of the right size: `Client.insert_arrow` copies them three times on their way.
    """
    if compression in ("lz4", "zstd"):
        packed = pa.BufferOutputStream()
        _write(rows, packed, pa.ipc.IpcWriteOptions(compression=compression))
        return memoryview(packed.getvalue())
    measured = pa.MockOutputStream()
    _write(rows, measured, None)
    buffer = pa.allocate_buffer(measured.size())
    _write(rows, pa.FixedSizeBufferWriter(buffer), None)
    return memoryview(buffer)


def _write(rows: Any, sink: Any, options: Any) -> None:
    with pa.ipc.new_file(sink, rows.schema, options=options) as writer:
        writer.write(rows)


def _filled(name: str, texts: Mapping[str, str]) -> str:
    text = query(name)
    for place, value in texts.items():
        text = text.replace("{{" + place + "}}", value)
    return text
