"""``spanledger query``: read-only SQL against the ledger."""

from __future__ import annotations

import csv
import json
import re
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from spanledger.cli import options, output
from spanledger.cli.errors import CommandError


class Format(StrEnum):
    """How rows are printed."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


def query(
    sql: Annotated[str, typer.Argument(help="One statement, for example: SELECT count() FROM calls")],
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    format_: Annotated[
        Format, options.option("--format", "table for people; json, jsonl or csv for scripts.")
    ] = Format.table,
) -> None:
    """Run read-only SQL on the ledger.

    The tables stand in docs/tables.md; `calls` has one row per billable call.
    """
    columns, rows = run(sql, data, clickhouse)
    if format_ is Format.table:
        output.print_table(columns, rows)
    elif format_ is Format.json:
        output.print_json(output.records(columns, rows))
    elif format_ is Format.jsonl:
        for record in output.records(columns, rows):
            sys.stdout.write(json.dumps(record, default=output.plain) + "\n")
    else:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([["" if value is None else output.plain(value) for value in row] for row in rows])


def run(sql: str, data: Any, clickhouse: str) -> tuple[list[str], list[tuple[object, ...]]]:
    """Column names and rows of one read-only statement.

    Raises:
        CommandError: the store refused the statement.
    """
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from spanledger.cli import access

    with access.client(data, clickhouse) as client:
        client.database = "spanledger"
        try:
            result = client.query(sql, settings={"readonly": 1})  # pyright: ignore[reportUnknownMemberType]
        except ClickHouseError as error:
            raise CommandError(f"query refused: {_reason(str(error))}") from error
        return list(result.column_names), [tuple(row) for row in result.result_rows]


def _reason(message: str) -> str:
    """The engine's own words, without the transport around them."""
    found = re.search(r"DB::Exception: (?:\w+: )?(.+?)(?: \(for url .*)?$", message.strip(), re.MULTILINE)
    return found[1] if found else message.strip().split("\n")[0]
