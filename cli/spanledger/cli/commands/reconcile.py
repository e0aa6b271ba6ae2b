"""``spanledger reconcile``: the tie-out of a period, and what its residuals mean."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

from spanledger.cli import options, output, pricing
from spanledger.cli.errors import UserError
from spanledger.cli.reports.sections import bounds, cents, unseen_record
from spanledger.semconv import money

if TYPE_CHECKING:
    from spanledger.reconciler.tieout.interrupted import Narrowed
    from spanledger.reconciler.tieout.items import Finding
    from spanledger.reconciler.tieout.report import Tied
    from spanledger.reconciler.tieout.run import TieOut
    from spanledger.reconciler.tieout.unseen import Unseen

TIED_OUT: Final = 0
VARIANCE: Final = 3
DATA_MISSING: Final = 4


_TO_BE_SEEN: Final = frozenset({"unmatched_line", "unexplained"})
"""Residuals of which only the lines themselves say more."""


class By(StrEnum):
    """How residuals are broken down."""

    residual = "residual"
    day = "day"
    model = "model"
    token_class = "token_class"  # noqa: S105 - a token here is a piece of text
    project = "project"
    workspace = "workspace"
    api_key = "api_key"


def reconcile(
    period: Annotated[
        str,
        options.option("--period", "A month (2026-11), a day (2026-11-03) or days (2026-11-01..2026-11-15)."),
    ],
    connection: Annotated[str, options.option("--connection", "Only this connection (default: all).")] = "",
    by: Annotated[By, options.option("--by", "Break the residuals down by this.")] = By.residual,
    threshold: Annotated[
        float,
        options.option("--threshold", "Variance in percent of the bill above which the exit code is 3.", min=0),
    ] = 1.0,
    prices: pricing.Prices = None,
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    json: options.Json = False,
) -> int:
    """Tie the ledger out with what providers billed, and name every difference.

    Billed minus booked is the sum of the named residuals, exactly. Exit code 0: tied out; 3: the variance is above the
    threshold; 4: data is missing (days that were never synced, lines without an exchange rate, or no bill at all).
    """
    from spanledger.cli import access
    from spanledger.reconciler.clock import SystemClock
    from spanledger.reconciler.tieout.model_names import ModelNames
    from spanledger.reconciler.tieout.report import tie_out_period
    from spanledger.reconciler.tieout.run import Period, PeriodError

    try:
        days = Period.parse(period)
    except PeriodError as error:
        raise UserError(str(error)) from error
    with access.client(data, clickhouse) as client, access.readable_errors():
        tied = tie_out_period(
            client,
            org_id=org,
            period=days,
            only=connection,
            names=ModelNames.of(pricing.contracts(prices), org),
            clock=SystemClock(),
            today=datetime.now(UTC).date(),
        )
    if connection and not tied.results:
        raise UserError(
            f"no bill lines of a connection {connection!r} in {period}: spanledger sync, or spanledger connections list"
        )
    # The exit code is what was found, even if the reader of the output has gone.
    with output.until_the_reader_leaves():
        if json:
            output.print_json(_document(period, tied))
        else:
            _print(tied, by)
    limit = Decimal(str(threshold)) / 100
    if not tied.results or any(result.is_incomplete for result in tied.results):
        return DATA_MISSING
    return VARIANCE if any(result.variance > limit for result in tied.results) else TIED_OUT


def _document(period: str, tied: Tied) -> dict[str, object]:
    return {
        "period": period,
        "doubts": list(tied.doubts),
        "connections": [
            {
                "provider": result.provider,
                "name": result.connection,
                "billed_usd": money.text(result.billed_usd),
                "booked_usd": money.text(result.booked_usd),
                "booked_low_usd": money.text(result.booked_low_usd),
                "booked_high_usd": None if result.has_open_calls else money.text(result.booked_high_usd),
                "coverage": None if result.coverage is None else money.text(result.coverage),
                "residuals": {name.value: money.text(amount) for name, amount in result.residuals().items()},
                "missing_days": [day.isoformat() for day in result.missing_days],
                "problems": list(result.problems),
                "causes": [asdict(each) for each in tied.causes[result.connection]],
                "shadow": [unseen_record(each) for each in tied.shadow[result.connection]],
                "ghosts": [unseen_record(each) for each in tied.ghosts[result.connection]],
                "interrupted": [_narrowed(each) for each in result.interrupted],
            }
            for result in tied.results
        ],
    }


def _print(tied: Tied, by: By) -> None:
    if not tied.results:
        output.say("No bill lines in this period: spanledger connections add, then spanledger sync.")
    for index, result in enumerate(tied.results):
        if index:
            output.say("")
        difference = result.billed_usd - result.booked_usd
        coverage = "–" if result.coverage is None else f"{(result.coverage * 100).quantize(Decimal('0.01'))} %"
        output.print_table(
            ["billed USD", "booked USD", "difference", "coverage"],
            [[cents(result.billed_usd), _range(result), cents(difference), coverage]],
            title=f"{result.connection} ({result.provider}), {result.period.name}",
            right=("billed USD", "booked USD", "difference", "coverage"),
        )
        rows = _broken_down(result.findings, by)
        if rows:
            heads = [by.value, *(["residual"] if by is not By.residual else []), "USD"]
            output.say("")
            output.print_table(heads, rows, right=("USD",))
            output.say("")
        for cause in tied.causes[result.connection]:
            output.say(f"  {cents(cause.amount):>12}  {cause.name.value}: {cause.what}")
            if cause.mend:
                output.say(f"                → {cause.mend}")
            if cause.name in _TO_BE_SEEN:
                output.say(f"                  spanledger query {_in_shell(cause.evidence)}")
        for line in _interrupted(result):
            output.say(f"  {line}")
        _print_unseen("shadow spend: billed, never seen in spans", tied.shadow[result.connection])
        _print_unseen("ghost spend: seen in spans, on no bill", tied.ghosts[result.connection])
        for problem in result.problems:
            output.say(f"  note: {problem}")
        missing = [day.isoformat() for day in result.missing_days]
        if missing:
            more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
            days = ", ".join(missing[:5])
            output.say(f"  missing: {days}{more} were never synced: spanledger sync --since {missing[0]}")
    for doubt in tied.doubts:
        output.say(f"note: {doubt}")
    for provider, cost in tied.unbilled.items():
        output.say(f"no connection bills {provider}: ${cents(cost)} booked there cannot be tied out")


def _broken_down(findings: Sequence[Finding], by: By) -> list[list[object]]:
    sums: dict[tuple[str, ...], Decimal] = defaultdict(Decimal)
    for finding in findings:
        if by is By.residual:
            sums[(finding.name.value,)] += finding.amount
        else:
            sums[str(getattr(finding.dims, by.value)), finding.name.value] += finding.amount
    return [[*key, cents(amount)] for key, amount in sorted(sums.items()) if amount]


def _range(result: TieOut) -> str:
    high = None if result.has_open_calls else result.booked_high_usd
    if result.booked_low_usd == high:
        return cents(result.booked_usd)
    return bounds(result.booked_low_usd, high)


def _narrowed(each: Narrowed) -> dict[str, object]:
    place = each.interrupted.dims
    return {
        "day": place.day,
        "model": place.model,
        "project": place.project,
        "workspace": place.workspace,
        "calls": each.interrupted.calls,
        "booked_usd": each.interrupted.cost,
        "low_usd": each.low,
        "high_usd": each.high,
        "is_final": each.is_final,
    }


def _interrupted(result: TieOut) -> list[str]:
    """What is known about the cost of interrupted calls, open and settled ones apart."""
    lines: list[str] = []
    for is_final in (False, True):
        places = [each for each in result.interrupted if each.is_final is is_final]
        if not places:
            continue
        calls = sum(each.interrupted.calls for each in places)
        low = sum((each.low for each in places), Decimal(0))
        highs = [each.high for each in places if each.high is not None]
        high = sum(highs, Decimal(0)) if len(highs) == len(places) else None
        booked = sum((each.interrupted.cost for each in places), Decimal(0))
        if is_final:
            lines.append(f"interrupted calls: {calls}, booked {cents(booked)}, settled by the bill at {cents(low)}")
        else:
            lines.append(f"interrupted calls: {calls}, between {bounds(low, high)} until their days are final")
    return lines


def _print_unseen(title: str, found: Sequence[Unseen]) -> None:
    if not found:
        return
    output.say(f"  {title}")
    for each in found:
        days = f"{each.first_day}" if each.first_day == each.last_day else f"{each.first_day} to {each.last_day}"
        name = f"{each.kind.replace('_', ' ')} `{each.name}`" if each.name else "the account"
        output.say(f"  {cents(each.amount_usd):>12}  {name}, {days}: {each.cause}")
        output.say(f"                → {each.mend}")
        output.say(f"                  spanledger query {_in_shell(each.evidence)}")


def _in_shell(text: str) -> str:
    """A text as one word of a shell; SQL is full of single quotes, so in double ones."""
    return '"' + re.sub(r'([\\"$`])', r"\\\1", text) + '"'
