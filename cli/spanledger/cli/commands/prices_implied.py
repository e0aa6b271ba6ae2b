"""``spanledger prices implied``: what providers charged for a unit, since when, and what would mend the books."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from spanledger.cli import options, output
from spanledger.cli.errors import UserError

DAYS = 90


def implied(
    since: Annotated[str, options.option("--since", f"First day (default: {DAYS} days ago).")] = "",
    model: Annotated[str, options.option("--model", "Part of a model's name (default: all).")] = "",
    drifting: Annotated[bool, options.option("--drifting", "Only what differs from the books.")] = False,
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> None:
    """List billed unit prices by model and token class, as the tie-outs found them, with the days on which they held.

    Where the billed price is not the booked one, the command that would mend it is printed; nothing is applied.
    """
    from spanledger.cli import access
    from spanledger.cli.reports.document import prices_section
    from spanledger.cli.reports.terminal import table
    from spanledger.reconciler.reporting.prices import read_prices, stretches, suggestions
    from spanledger.reconciler.tieout.run import Period

    today = datetime.now(UTC).date()
    first = _day(since) if since else today - timedelta(days=DAYS)
    with access.client(data, clickhouse) as client, access.readable_errors():
        found = stretches(read_prices(client, org, Period(first, today + timedelta(days=1), f"since {first}")))
    found = [s for s in found if model.lower() in s.meter.model.lower()]
    advice = suggestions(found, today=today)
    section = prices_section([s for s in found if s.drifts or not drifting], advice)
    if as_json:
        output.print_json(
            {
                "prices": [dict(record) for record in section.records],
                "suggestions": [{"why": each.why, "command": each.command} for each in advice],
            }
        )
        return
    table(section)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"--since: not a day: {text!r}; write 2026-11-01") from error
