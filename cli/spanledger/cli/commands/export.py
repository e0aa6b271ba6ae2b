"""``spanledger export``: spend as files for other tools."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from spanledger.cli import options, output, pricing
from spanledger.cli.errors import UserError


class FocusVersion(StrEnum):
    """Versions of the specification."""

    v1_0 = "1.0"
    v1_2 = "1.2"
    v1_4 = "1.4"


class FileFormat(StrEnum):
    """How the file is written."""

    csv = "csv"
    parquet = "parquet"


def focus(
    period: Annotated[
        str, options.option("--period", "A month (2026-11), a day (2026-11-03) or days (2026-11-01..2026-11-15).")
    ],
    version: Annotated[
        FocusVersion, options.option("--focus-version", "Version of the specification.")
    ] = FocusVersion.v1_2,
    format_: Annotated[FileFormat, options.option("--file-format", "csv or parquet.")] = FileFormat.csv,
    prices: pricing.Prices = None,
    file: Annotated[Path | None, options.option("--output", "The file to write (default: standard output).")] = None,
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
) -> None:
    """Write a period's spend as a FOCUS file.

    Booked spend by day, model, token class, project, team and feature. The period is tied out, and every residual is a
    row of its own, so that BilledCost sums to the invoice. Once the period is closed, the file keeps the sums of its
    statement and x_Provisional is false; what changes later comes as corrections with the next period that is closed.
    """
    from spanledger.cli import access
    from spanledger.exporters.focus.rows import FocusPeriod, focus_rows
    from spanledger.exporters.focus.write import write_csv, write_parquet
    from spanledger.reconciler.clock import SystemClock
    from spanledger.reconciler.tieout.model_names import ModelNames
    from spanledger.reconciler.tieout.report import tie_out_period
    from spanledger.reconciler.tieout.run import Period, PeriodError

    try:
        days = Period.parse(period)
    except PeriodError as error:
        raise UserError(str(error)) from error
    if format_ is FileFormat.parquet and file is None:
        raise UserError("parquet needs a file: --output spend.parquet")
    with access.client(data, clickhouse) as client, access.readable_errors():
        # Calls and bills may have come since the last one: without it the rows would not sum to the invoice.
        tie_out_period(
            client,
            org_id=org,
            period=days,
            names=ModelNames.of(pricing.contracts(prices), org),
            clock=SystemClock(),
            today=datetime.now(UTC).date(),
        )

        def read(statement: str, parameters: Mapping[str, Any]) -> Any:
            return client.query(statement, parameters=dict(parameters))  # pyright: ignore[reportUnknownMemberType]

        rows = focus_rows(read, org_id=org, period=FocusPeriod(days.start, days.end, days.name))
        try:
            if file is None:
                write_csv(rows, sys.stdout, version=version.value)
                return
            if format_ is FileFormat.parquet:
                with file.open("wb") as binary:
                    count = write_parquet(rows, binary, version=version.value)
            else:
                with file.open("w", encoding="utf-8", newline="") as text:
                    count = write_csv(rows, text, version=version.value)
        except OSError as error:
            raise UserError(f"cannot write {file}: {error.strerror}") from error
    output.say(f"{count} rows written to {file}")
