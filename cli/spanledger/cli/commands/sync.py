"""``spanledger sync``: pull bills and usage now."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from spanledger.cli import options, output
from spanledger.cli.errors import UserError
from spanledger.cli.options import option
from spanledger.cli.reconciler import bills, chosen

if TYPE_CHECKING:
    from spanledger.reconciler.engine import Progress, StreamReport


MOST_DAYS: Final = 3650
"""How far back a backfill may ask: further than any provider answers."""


def sync(
    provider: Annotated[
        list[str] | None, typer.Argument(help="Connections or providers to pull (default: all connections).")
    ] = None,
    since: Annotated[
        str, option("--since", "First day, for example 2026-01-01 (default: what may have changed).")
    ] = "",
    days: Annotated[
        int, option("--days", "Backfill so many days up to today, for example 30, 180 or 365 (instead of --since).")
    ] = 0,
    until: Annotated[str, option("--until", "First day that is not asked for (default: today included).")] = "",
    stream: Annotated[
        list[str] | None, option("--stream", "Only these streams (costs, usage.completions, ...).")
    ] = None,
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> int:
    """Pull what providers say was used and billed, and replace what they restated.

    Without a range the days that a provider may still restate are pulled. A backfill that was interrupted goes on where
    it stopped when the same command is given again. Exit code 1 when a stream could not be pulled in full.
    """
    first, end = parse_day("--since", since), parse_day("--until", until)
    today = datetime.now(UTC).date()
    if days:
        if first or end or not 0 < days <= MOST_DAYS:
            raise UserError(
                f"--days takes a number of days up to {MOST_DAYS}, counted back from today, and goes without --since "
                "and --until"
            )
        end = today + timedelta(days=1)
        first = end - timedelta(days=days)
    if first and first > today:
        raise UserError(f"--since {first} is yet to come")
    if first and end and first >= end:
        raise UserError(f"--since {first} must be before --until {end}")
    failed = False
    pulled: list[tuple[str, list[StreamReport]]] = []
    with bills(data, clickhouse, settling=True) as found, bars(quiet=as_json) as show:
        for connection in chosen(found, org, provider or []):
            reports = found.sync(
                connection,
                since=first,
                until=end,
                streams=frozenset(stream) if stream else None,
                progress=show,
            )
            failed = failed or any(report.state.value not in ("ok", "delayed_by_provider") for report in reports)
            pulled.append((connection.name, reports))
    if as_json:
        output.print_json(
            [{"connection": name, "streams": [_document(report) for report in reports]} for name, reports in pulled]
        )
    else:
        _print(pulled)
    return 1 if failed else 0


@contextmanager
def bars(*, quiet: bool) -> Generator[Callable[[Progress], None]]:
    """Progress bars, one per stream; nothing when quiet or not on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[tuple[str, str], TaskID] = {}
    with output.bars(*columns, quiet=quiet) as shown:

        def show(progress: Progress) -> None:
            key = (progress.connection, progress.stream)
            if key not in tasks:
                tasks[key] = shown.add_task(" ".join(key), total=progress.total)
            shown.update(tasks[key], completed=progress.done, total=progress.total)

        yield show


def parse_day(flag: str, text: str) -> date | None:
    """A day from an option; ``None`` when it is not given. Raises `UserError`."""
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise UserError(f"{flag} {text!r} is not a day like 2026-11-01") from None
    if not 2000 <= day.year < 2100:
        raise UserError(f"{flag} {text}: no bill is of that year")
    return day


def _document(report: StreamReport) -> dict[str, object]:
    return {
        "stream": report.stream,
        "since": report.since.isoformat(),
        "until": report.until.isoformat(),
        "state": report.state.value,
        "detail": report.detail,
        "lines": report.lines,
        "changed": report.slots_changed,
        "unchanged": report.slots_unchanged,
        "requests": report.requests,
        "retries": report.retries,
        "resumed_slices": report.resumed_slices,
        "notes": dict(report.notes),
    }


def _print(pulled: Sequence[tuple[str, Sequence[StreamReport]]]) -> None:
    rows = [
        (name, report.stream, f"{report.since}..{report.until}", report.lines, report.slots_changed, report.state.value)
        for name, reports in pulled
        for report in reports
    ]
    output.print_table(("connection", "stream", "days", "lines", "changed", "state"), rows)
    for name, reports in pulled:
        remarks: dict[str, list[str]] = {}
        for report in reports:
            if report.detail:
                remarks.setdefault(report.detail, []).append(report.stream)
        for detail, streams in remarks.items():
            others = f" and {len(streams) - 1} more" if len(streams) > 1 else ""
            output.say(f"  {name}, {streams[0]}{others}: {detail}")
