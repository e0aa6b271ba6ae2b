"""``spanledger reprice``: settled calls priced anew."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated

from spanledger.cli import options, output, pricing, runtime
from spanledger.cli.errors import UserError
from spanledger.semconv import money

COLUMNS = ("day", "provider", "model", "calls", "old_usd", "new_usd", "difference_usd")


def reprice(
    since: Annotated[str, options.option("--since", "First day to price anew, UTC (2026-11-01).")],
    until: Annotated[str, options.option("--until", "Last day, UTC (default: today).")] = "",
    dry_run: Annotated[bool, options.option("--dry-run", "Show what would change, and change nothing.")] = False,
    org: Annotated[str, options.option("--org", "Only this organisation's calls (default: all).")] = "",
    prices: pricing.Prices = None,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> None:
    """Price settled calls anew, and show old → new by day and model.

    New versions are written; the old ones stay in `calls_history`. Counters never go down. While a server runs on
    --data it does the work, with --prices where given, else with its own price book.
    """
    from spanledger.cli import repricing

    request = repricing.Request(
        since=_day(since, "--since"),
        until=_day(until, "--until") if until else datetime.now(UTC).date(),
        org=org,
        prices=prices,
        dry_run=dry_run,
    )
    if request.until < request.since:
        raise UserError(f"--until {request.until} is before --since {request.since}: swap them")
    server = None if clickhouse else runtime.find(data)
    if server is not None:
        pricing.book(prices, data)  # a mistake in the file is told before the server is asked
        changed = list(repricing.through(server, request))
    else:
        changed = list(repricing.by_itself(request, data, clickhouse))
    zero = Decimal(0)
    rows = [
        (c.day, c.provider, c.model, c.calls, c.old_usd, c.new_usd, (c.new_usd or zero) - (c.old_usd or zero))
        for c in changed
    ]
    if as_json:
        output.print_json(output.records(COLUMNS, rows))
        return
    if not rows:
        output.say("Nothing changes: every call has the price that it would get now.")
        return
    output.print_table(COLUMNS, rows)
    total = sum((row[6] for row in rows), zero)
    calls = sum(c.calls for c in changed)
    output.say(f"{calls} calls {'would change' if dry_run else 'changed'}: {money.text(total)} USD")


def _day(text: str, flag: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise UserError(f"{flag}: not a day: {text!r}; write 2026-11-01") from error
