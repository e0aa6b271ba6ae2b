"""``spanledger bills``: bills as files, exchange rates, and reading again what was kept."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from spanledger.cli import options, output
from spanledger.cli.commands.sync import parse_day
from spanledger.cli.errors import UserError
from spanledger.cli.options import option
from spanledger.cli.reconciler import bills
from spanledger.semconv import money

if TYPE_CHECKING:
    from spanledger.reconciler.bill_line import BillLine
    from spanledger.reconciler.files.formats import FormatOptions
    from spanledger.reconciler.files.importing import ImportReport, RowFate

SHOWN: Final = 50
"""Rows that a dry run shows; ``--json`` shows all."""


def import_(
    paths: Annotated[list[Path], typer.Argument(help="Bill files: CSV, Parquet, JSON lines; .gz and .zst too.")],
    connection: Annotated[str, option("--connection", "Whose bill it is; made when there is none of that name.")] = "",
    file_format: Annotated[
        str, option("--format", "auto, focus, cur, azure, generic, or a preset (openai-costs, anthropic-cost, ...).")
    ] = "auto",
    mapping: Annotated[Path | None, option("--mapping", "A file (TOML) that says which column means what.")] = None,
    provider: Annotated[str, option("--provider", "Who bills, where the rows do not say (openai, cohere, ...).")] = "",
    currency: Annotated[str, option("--currency", "Currency of amounts without one (USD, EUR, ...).")] = "",
    decimal: Annotated[
        str, option("--decimal", "Decimal sign of numbers in CSVs that can be read in two ways: . or ,")
    ] = "",
    part: Annotated[str, option("--part", "Name of one of several bills of the same months.")] = "",
    all_services: Annotated[bool, option("--all-services", "Keep a cloud's rows that are no model use.")] = False,
    dry_run: Annotated[bool, option("--dry-run", "Show what each row becomes, and change nothing.")] = False,
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> int:
    """Take files over as the bill of the months that they have lines for.

    The files of one import are together the whole bill of their months (of this --part): importing a corrected file
    replaces it. A file with a row that cannot be read changes nothing.
    """
    from spanledger.reconciler.files.formats import FormatOptions

    how = FormatOptions(
        format=file_format,
        mapping=mapping,
        provider=provider,
        currency=currency,
        decimal=decimal,
        all_services=all_services,
    )
    missing = [path for path in paths if not path.is_file()]
    if missing:
        if missing[0].is_dir():
            raise UserError(
                f"{missing[0]} is a folder: give its files, or have it read every night with "
                f"spanledger connections add file --path {missing[0]}"
            )
        raise UserError(f"{missing[0]}: there is no such file")
    if dry_run:
        return _dry_run(paths, how, as_json=as_json)
    if not connection:
        raise UserError("say whose bill it is: --connection NAME (or look first: --dry-run)")
    with bills(data, clickhouse, make=True) as found:
        from spanledger.reconciler.connections import Connection, check

        known = {each.name: each for each in found.connections.all(org)}
        if connection in known and known[connection].connector != "file":
            raise UserError(
                f"{connection} pulls its bill from {known[connection].connector}: the file would be counted beside it; "
                "give another --connection name"
            )
        if connection in known and not part and known[connection].settings.get("watch") != "off":
            raise UserError(
                f"{connection} reads {known[connection].settings['path']} every night, which would replace the import: "
                "put the file there, or give another --connection name"
            )
        # It stands for the files that were imported by hand: there is no folder to watch.
        settings = {"path": str(paths[0].resolve()), "format": file_format, "watch": "off"}
        fresh = check(Connection(org_id=org, name=connection, connector="file", settings=settings))
        report = found.import_files(paths, how, org_id=org, connection=connection, part=part)
        if not report.errors and connection not in known:
            found.connections.put(fresh)
    return _print_report(report, connection, as_json=as_json)


def _dry_run(paths: list[Path], how: FormatOptions, *, as_json: bool) -> int:
    from spanledger.reconciler.errors import ConfigError
    from spanledger.reconciler.files.importing import fates
    from spanledger.reconciler.files.rows import Remarks

    remarks, counts = Remarks(), Counter[str]()
    found: list[RowFate] = []
    try:
        for fate in fates(paths, how, remarks):
            counts["errors" if fate.error else "skipped" if fate.skipped else "lines"] += max(1, len(fate.lines))
            if as_json or fate.error or len(found) < SHOWN:
                found.append(fate)
    except ConfigError as error:
        raise UserError(str(error)) from error
    if as_json:
        output.print_json({"rows": [_fate(fate) for fate in found], "counts": counts, "notes": remarks.counts})
    else:
        rows = [row for fate in found for row in _fate_rows(fate)]
        columns = ("file", "row", "becomes", "days", "model", "class", "quantity", "amount", "remark")
        output.print_table(columns, rows)
        output.say(f"{counts['lines']} lines, {counts['skipped']} rows left out, {counts['errors']} unreadable rows")
        for kind, count in sorted(remarks.counts.items()):
            output.say(f"  {count} {kind.replace('_', ' ')}")
    return 1 if counts["errors"] else 0


def _fate(fate: RowFate) -> dict[str, object]:
    return {
        "file": fate.file,
        "row": fate.number,
        "lines": [_line(line) for line in fate.lines],
        "skipped": fate.skipped,
        "error": fate.error,
    }


def _line(line: BillLine) -> dict[str, object]:
    return {
        "kind": line.kind.value,
        "charge": line.charge.value,
        "period_start": line.start,
        "period_end": line.end,
        "provider": line.provider,
        "model": line.model,
        "token_class": line.token_class,
        "project": line.project,
        "workspace": line.workspace,
        "api_key": line.api_key,
        "line_item": line.line_item,
        "quantity": line.quantity,
        "unit": line.unit,
        "amount": None if line.money is None else line.money.amount,
        "currency": "" if line.money is None else line.money.currency,
    }


def _fate_rows(fate: RowFate) -> list[tuple[object, ...]]:
    if fate.error or fate.skipped:
        what = "unreadable" if fate.error else "left out"
        return [(fate.file, fate.number, what, "", "", "", None, None, fate.error or fate.skipped)]
    return [
        (
            fate.file, fate.number, f"{line.kind.value} ({line.charge.value})", f"{line.start:%Y-%m-%d}", line.model,
            line.token_class or "?", line.quantity,
            None if line.money is None else f"{money.text(line.money.amount)} {line.money.currency}", line.line_item,
        )
        for line in fate.lines
    ]  # fmt: skip


def _print_report(report: ImportReport, connection: str, *, as_json: bool) -> int:
    if as_json:
        output.print_json(
            {
                "connection": connection,
                "rows": report.rows,
                "lines": report.lines,
                "months": list(report.months),
                "months_changed": report.months_changed,
                "skipped": dict(report.skipped),
                "notes": dict(report.notes),
                "errors": [_fate(fate) for fate in report.errors],
            }
        )
    elif report.errors:
        for fate in report.errors[:SHOWN]:
            output.warn(f"{fate.file}, row {fate.number}: {fate.error}")
        output.say(f"{len(report.errors)} of {report.rows} rows cannot be read; nothing was imported")
    else:
        months = ", ".join(report.months) or "no month"
        output.say(f"{report.rows} rows, {report.lines} lines for {months} ({report.months_changed} changed)")
        for why, count in report.skipped.most_common(10):
            output.say(f"  {count} rows left out: {why}")
        for kind, count in sorted(report.notes.items()):
            output.say(f"  {count} lines {kind.replace('_', ' ')}")
    return 1 if report.errors else 0


def reparse(
    connection: Annotated[str, typer.Argument(help="The connection whose kept responses are read again.")],
    since: Annotated[str, option("--since", "First day (default: 400 days ago).")] = "",
    until: Annotated[str, option("--until", "First day that is not read (default: today included).")] = "",
    stream: Annotated[str, option("--stream", "Only this stream.")] = "",
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> int:
    """Read the kept responses again with this version's tables and today's exchange rates; asks no provider."""
    today = datetime.now(UTC).date()
    first = parse_day("--since", since) or today - timedelta(days=400)
    end = parse_day("--until", until) or today + timedelta(days=1)
    if first >= end:
        raise UserError(f"--since {first} must be before --until {end}")
    with bills(data, clickhouse) as found:
        reports = found.reparse(found.connections.get(org, connection), since=first, until=end, stream=stream)
    if as_json:
        output.print_json(
            [
                {
                    "stream": report.stream,
                    "state": report.state.value,
                    "detail": report.detail,
                    "lines": report.lines,
                    "changed": report.slots_changed,
                    "unchanged": report.slots_unchanged,
                    "notes": dict(report.notes),
                }
                for report in reports
            ]
        )
    else:
        rows = [(each.stream, each.lines, each.slots_changed, each.slots_unchanged, each.detail) for each in reports]
        output.print_table(("stream", "lines", "changed", "unchanged", "remark"), rows)
    return 1 if any(report.state.value != "ok" for report in reports) else 0


def rates(
    path: Annotated[Path, typer.Argument(help="CSV: date,currency,usd; or the ECB's reference rates.")],
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
) -> None:
    """Take over dated exchange rates; bills in other currencies get their dollars with the next sync or reparse."""
    from spanledger.reconciler.errors import ConfigError
    from spanledger.reconciler.fx import read_rates

    try:
        found_rates = list(read_rates(path))
    except ConfigError as error:
        raise UserError(str(error)) from error
    with bills(data, clickhouse, make=True) as found:
        found.learn_rates(found_rates)
    output.say(f"{len(found_rates)} rates of {len({rate.currency for rate in found_rates})} currencies")
