"""Booked spend of a period by any dimensions, with its bounds where calls were interrupted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import store_errors
from spanledger.reconciler.reporting.bounds import Bounds, Key, Open, Settled, bounds
from spanledger.reconciler.reporting.sql import load
from spanledger.reconciler.tieout.run import Period
from spanledger.reconciler.windows import midnight

DIMENSIONS: Final[Mapping[str, str]] = {
    "provider": "provider",
    "model": "model",
    "team": "team_id",
    "feature": "feature",
    "user": "user_id",
    "session": "session_id",
    "service": "service_name",
    "environment": "environment",
    "project": "project",
    "workspace": "workspace",
    "api_key": "api_key_fingerprint",
}
"""What spend can be broken down by, and the column for it."""
OF_CALLS: Final = frozenset({"user", "session"})
"""Dimensions that no rollup has: they are read from single calls."""

DAY: Final = "day"
_ZERO: Final = Decimal(0)


class DimensionError(ValueError):
    """Spend cannot be broken down by this; the text names what it can be broken down by."""


def parse_dimensions(text: str) -> tuple[str, ...]:
    """Names of `DIMENSIONS` from a comma-separated text, each once.

    Raises:
        DimensionError: a name is unknown, or there is none.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in DIMENSIONS]
    if unknown or not names:
        raise DimensionError(
            f"--by {', '.join(unknown) or text!r} is no dimension: "
            f"choose from {', '.join(DIMENSIONS)} (several with commas)"
        )
    return names


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What one place spent, in US dollars.

    Attributes:
        place: the values of the dimensions, in their order; ``()`` for the whole.
        calls, errors: how many there were.
        unpriced_calls: calls that should have a price and have none: their money is missing here.
        input_tokens, output_tokens: as far as they were reported.
        cost: what is booked; ``None`` when no call has a known cost.
        low, high: what the truth lies between; both equal to ``cost`` unless calls were interrupted, and to each other
            once a final bill has settled them; ``high`` is ``None`` when an interrupted call has no upper limit.
    """

    place: Key
    calls: int
    errors: int
    unpriced_calls: int
    input_tokens: int
    output_tokens: int
    cost: Decimal | None
    low: Decimal | None
    high: Decimal | None

    @property
    def is_bounded(self) -> bool:
        """Whether the cost is only known to lie between two bounds."""
        return self.cost is not None and self.low != self.high


class SpendReader:
    """Reads one org's booked spend. Raises `spanledger.ledger.errors.StoreError` only.

    Args:
        client: of the store.
        org_id: whose spend.
        final: what final bills say about interrupted calls; without it all of them stay between their bounds.
    """

    def __init__(self, client: Client, org_id: str, final: Settled | None = None) -> None:
        self._client = client
        self._org = org_id
        self._final: Settled = final or {}

    def total(self, period: Period) -> Spend:
        """The whole period in one."""
        found = self._read(period, "[]", of_calls=False)
        return found[0] if found else _nothing(())

    def by(self, period: Period, dimensions: Sequence[str]) -> list[Spend]:
        """By names of `DIMENSIONS`, the dearest first; unknown costs last."""
        key = "[" + ", ".join(f"toString(u.{DIMENSIONS[name]})" for name in dimensions) + "]"
        found = self._read(period, key, of_calls=not OF_CALLS.isdisjoint(dimensions))
        return sorted(found, key=lambda s: (s.cost is None, -(s.cost or _ZERO), s.place))

    def by_day(self, period: Period) -> dict[date, Spend]:
        """Each day of the period (UTC) that has calls."""
        found = self._read(period, "[toString(toDate(u.bucket, 'UTC'))]", of_calls=False)
        return {date.fromisoformat(spend.place[0]): spend for spend in found}

    def _read(self, period: Period, key: str, *, of_calls: bool) -> list[Spend]:
        calls = load("calls_as_usage")
        rows = self._rows("spend", period, key, calls if of_calls else "spanledger.usage_by_day")
        found: Mapping[Key, Bounds] = {}
        if any(row[8] for row in rows):
            found = bounds(
                (
                    Open(place=tuple(place), provider=biller, day=day, below=below, above=above, open_calls=open_calls)
                    for place, biller, day, below, above, open_calls in self._rows("bounds", period, key, calls)
                ),
                self._final,
            )
        # Where single calls are not kept any more, the rollup's own bounds are all that is left.
        return [_spend(row, found.get(tuple(row[0])) or Bounds(-row[9], row[10])) for row in rows]

    def _rows(self, name: str, period: Period, key: str, source: str) -> Sequence[Sequence[Any]]:
        key = "CAST([] AS Array(String))" if key == "[]" else key
        with store_errors("reading what was spent"):
            rows: Sequence[Sequence[Any]] = self._client.query(  # pyright: ignore[reportUnknownMemberType]
                load(name).replace("{{key}}", key).replace("{{source}}", source),
                parameters={
                    "org": self._org,
                    "since": midnight(period.start, "UTC"),
                    "until": midnight(period.end, "UTC"),
                },
            ).result_rows
        return rows


def _spend(row: Sequence[Any], off: Bounds) -> Spend:
    place, calls, errors, unpriced, without_cost, input_tokens, output_tokens, cost, *_ = row
    # An unknown price is never 0: only where some call has a cost is there an amount.
    known = calls > without_cost or calls == 0 or not unpriced
    return Spend(
        place=tuple(place),
        calls=int(calls),
        errors=int(errors),
        unpriced_calls=int(unpriced),
        input_tokens=int(input_tokens),
        output_tokens=int(output_tokens),
        cost=cost if known else None,
        low=cost + off.low if known else None,
        high=cost + off.high if known and off.high is not None else None,
    )


def _nothing(place: Key) -> Spend:
    return Spend(
        place=place,
        calls=0,
        errors=0,
        unpriced_calls=0,
        input_tokens=0,
        output_tokens=0,
        cost=_ZERO,
        low=_ZERO,
        high=_ZERO,
    )


def before(period: Period, *, today: date) -> tuple[Period, Period]:
    """A period and the one that it is compared with: the month, the day or as many days before.

    A period that is still running is cut to its completed days (to today when it has none), so that like is compared
    with like.

    Returns:
        The period as it is compared, and the earlier one of the same length where there is one.
    """
    end = period.end
    if end > today:
        end = max(today, period.start + timedelta(days=1))
    current = _days(period.start, end, period.name if end == period.end else "")
    if _is_month(period):
        first = (period.start - timedelta(days=1)).replace(day=1)
        if current.end == period.end:
            return current, Period(first, period.start, f"{first:%Y-%m}")
        return current, _days(first, min(first + (current.end - current.start), period.start))
    return current, _days(period.start - (current.end - current.start), period.start)


def _is_month(period: Period) -> bool:
    return (
        period.start.day == 1 and (period.end - timedelta(days=1)).month == period.start.month and period.end.day == 1
    )


def _days(start: date, end: date, name: str = "") -> Period:
    last = end - timedelta(days=1)
    return Period(start, end, name or (f"{start}" if start == last else f"{start}..{last}"))
