"""``spanledger report``: spend, variance, chargeback, change and forecast, for people, pages and scripts."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

from spanledger.cli import options, output, pricing
from spanledger.cli.errors import UserError

if TYPE_CHECKING:
    from spanledger.cli.reports.sections import Document
    from spanledger.reconciler.tieout.run import Period


class What(StrEnum):
    """Parts of the report."""

    all = "all"
    spend = "spend"
    variance = "variance"
    chargeback = "chargeback"
    change = "change"
    forecast = "forecast"
    prices = "prices"


class ReportFormat(StrEnum):
    """How it is drawn."""

    table = "table"
    html = "html"
    csv = "csv"
    json = "json"


def report(
    what: Annotated[
        What,
        typer.Argument(help="One part: spend, variance, chargeback, change, forecast or prices.", show_default=False),
    ] = What.all,
    period: Annotated[
        str,
        options.option(
            "--period", "A month (2026-11), a day (2026-11-03) or days (2026-11-01..2026-11-15); default: this month."
        ),
    ] = "",
    since: Annotated[str, options.option("--since", "First day, UTC (2026-11-01), instead of --period.")] = "",
    until: Annotated[str, options.option("--until", "Last day, UTC (default: today), with --since.")] = "",
    by: Annotated[
        str,
        options.option("--by", "Break down by these: team, feature, user, session, service, project, model, ..."),
    ] = "team",
    compare: Annotated[
        str, options.option("--compare", "The period to compare with (default: the one before, as long).")
    ] = "",
    format_: Annotated[ReportFormat, options.option("--format", "table, html, csv or json.")] = ReportFormat.table,
    prices: pricing.Prices = None,
    file: Annotated[Path | None, options.option("--output", "The file to write (default: standard output).")] = None,
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> None:
    """Show what was spent, whether the bill agrees, who pays, why it changed, and what the month will cost.

    Totals are shown as [low, high] while calls were interrupted and no final bill settles them. CSV holds one part:
    spend by --by, or the one that is named. Nothing is written to the store.
    """
    from spanledger.cli import access
    from spanledger.cli.reports.document import document
    from spanledger.reconciler.clock import SystemClock
    from spanledger.reconciler.reporting.report import Part
    from spanledger.reconciler.reporting.report import report as gather
    from spanledger.reconciler.reporting.spend import DimensionError, parse_dimensions
    from spanledger.reconciler.tieout.model_names import ModelNames

    today = datetime.now(UTC).date()
    days = _period(period, since, until, today)
    try:
        dimensions = parse_dimensions(by)
    except DimensionError as error:
        raise UserError(str(error)) from error
    with access.client(data, clickhouse) as client, access.readable_errors():
        found = gather(
            client,
            org_id=org,
            period=days,
            by=dimensions,
            parts=frozenset(Part) if what is What.all else frozenset({Part(what.value)}),
            clock=SystemClock(),
            names=ModelNames.of(pricing.contracts(prices), org),
            today=today,
            compare=_parse(compare, "--compare") if compare else None,
        )
    _write(document(found), ReportFormat.json if as_json else format_, file)


def _write(document: Document, format_: ReportFormat, file: Path | None) -> None:
    from spanledger.cli.reports import files, page, terminal

    def draw(to: IO[str]) -> None:
        match format_:
            case ReportFormat.html:
                page.write_html(document, to)
            case ReportFormat.csv:
                files.write_csv(document.sections[0], to)
            case _:
                to.write(files.to_json(document))

    if format_ is ReportFormat.table:
        if file is not None:
            raise UserError("--format table is for the terminal: choose html, csv or json for --output")
        terminal.show(document)
        return
    if file is None:
        draw(sys.stdout)
        return
    try:
        with file.open("w", encoding="utf-8", newline="") as text:
            draw(text)
    except OSError as error:
        raise UserError(f"cannot write {file}: {error.strerror}") from error
    output.say(f"written to {file}")


def _period(period: str, since: str, until: str, today: date) -> Period:
    from spanledger.reconciler.tieout.run import Period

    if period and (since or until):
        raise UserError("--period and --since, --until say the same: choose one")
    if until and not since:
        raise UserError("--until needs --since, the first day")
    if since:
        first = _day(since, "--since")
        last = _day(until, "--until") if until else today
        if last < first:
            raise UserError(f"--until {last} is before --since {first}: swap them")
        return Period(first, last + timedelta(days=1), f"{first}..{last}" if first != last else f"{first}")
    return _parse(period or f"{today:%Y-%m}", "--period")


def _parse(text: str, flag: str) -> Period:
    from spanledger.reconciler.tieout.run import Period, PeriodError

    try:
        return Period.parse(text)
    except PeriodError as error:
        raise UserError(f"{flag}: {error}") from error


def _day(text: str, flag: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{flag}: not a day: {text!r}; write 2026-11-01") from error
