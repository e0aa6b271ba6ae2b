"""The tie-out's evidence, read from the store: bill lines, booked usage, and which days were pulled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import combinations
from typing import Any, Final, Generic, Protocol, TypeVar
from zoneinfo import ZoneInfo

from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import store_errors
from spanledger.reconciler.tieout.bill import BillRow, tier
from spanledger.reconciler.tieout.interrupted import Interrupted
from spanledger.reconciler.tieout.items import Booked, Dims
from spanledger.reconciler.tieout.run import Evidence, Period
from spanledger.reconciler.tieout.sql import load
from spanledger.reconciler.windows import midnight

_ZONES: Final = ("UTC", "America/Los_Angeles")
"""Billing days that providers use: Google's begin at midnight in Los Angeles, all others' in UTC."""


@dataclass(frozen=True, slots=True)
class Account:
    """A connection with bill lines: who bills through it, and in which zone its days begin."""

    connection: str
    providers: tuple[str, ...]
    zone: str


class TieOutReader:
    """Reads one org's evidence. Raises `spanledger.ledger.errors.StoreError` only."""

    def __init__(self, client: Client, org_id: str) -> None:
        self._client = client
        self._org = org_id

    def evidence(self, period: Period, *, only: str = "") -> list[Evidence]:
        """What to tie out: every connection that has bill lines around the period, or the one called ``only``."""
        since, until = period.start - timedelta(days=1), period.end + timedelta(days=1)
        accounts = [a for a in self.accounts(since, until) if only in ("", a.connection)]
        books: dict[tuple[str, ...], list[Booked]] = {}
        broken: dict[tuple[str, ...], list[Interrupted]] = {}
        found: list[tuple[Account, list[BillRow]]] = []
        for account in accounts:
            key = (account.zone, *account.providers)
            if key not in books:
                books[key] = self._booked(account, since, until)
                broken[key] = self._interrupted(account, since, until)
            found.append((account, self.billed(account, since, until)))
        twins = self._twins(period)
        return [
            Evidence(
                connection=account.connection,
                provider="+".join(account.providers),
                rows=rows,
                booked=shares.items,
                pulled_days=self._pulled_days(account, period),
                problems=(*shares.problems, *twins.get(account.connection, ())),
                interrupted=share_of(account, rows, broken[account.zone, *account.providers], found).items,
            )
            for account, rows in found
            for shares in (share_of(account, rows, books[account.zone, *account.providers], found),)
        ]

    def _twins(self, period: Period) -> dict[str, list[str]]:
        """By connection: bills that stand there twice, as equal sums of one provider in different streams."""
        rows = self._query("sums", since=midnight(period.start, "UTC"), until=midnight(period.end, "UTC"))
        said: dict[str, list[str]] = defaultdict(list)
        for one, other in combinations(rows, 2):
            same = ("connection", "provider", "amount")
            if all(one[name] == other[name] for name in same):
                said[one["connection"]].append(
                    f"{one['stream']} and {other['stream']} bill the same ${one['amount']:.2f}: the same invoice "
                    "imported twice, under two --part names?"
                )
        return said

    def unbilled_providers(self, period: Period) -> dict[str, Decimal]:
        """Booked cost of providers that no connection bills: nothing to tie them out with."""
        rows = self._query(
            "unbilled",
            since=midnight(period.start, "UTC"),
            until=midnight(period.end, "UTC"),
        )
        return {row["provider"]: row["cost"] for row in rows}

    def _query(self, name: str, *, source: str = "", **parameters: object) -> list[dict[str, Any]]:
        sql = load(name).replace("{{source}}", source)
        with store_errors("reading what to tie out"):
            result = self._client.query(  # pyright: ignore[reportUnknownMemberType]
                sql, parameters={"org": self._org, **parameters}
            )
            rows: Sequence[Sequence[Any]] = result.result_rows
            return [dict(zip(result.column_names, row, strict=True)) for row in rows]

    def accounts(self, since: date, until: date) -> list[Account]:
        """Connections with bill lines that touch the days ``[since, until)``."""
        rows = self._query(
            "accounts",
            since=midnight(since, "UTC"),
            until=midnight(until, "UTC"),
        )
        return [Account(r["connection"], tuple(r["providers"]), _zone(r["hours"], r["first"])) for r in rows]

    def _booked(self, account: Account, since: date, until: date) -> list[Booked]:
        source = "spanledger.usage_by_day" if account.zone == "UTC" else "spanledger.usage_by_hour"
        rows = self._query(
            "booked",
            source=source,
            providers=list(account.providers),
            zone=account.zone,
            since=midnight(since, account.zone),
            until=midnight(until, account.zone),
        )
        return [
            Booked(
                dims=_dims(row),
                quantity=Decimal(row["priced_quantity"]),
                cost=row["cost"],
                unpriced_quantity=Decimal(row["unpriced_quantity"]),
            )
            for row in rows
        ]

    def _interrupted(self, account: Account, since: date, until: date) -> list[Interrupted]:
        parameters: dict[str, Any] = {
            "providers": list(account.providers),
            "since": midnight(since, account.zone),
            "until": midnight(until, account.zone),
        }
        if not self._query("has_bounded", **parameters)[0]["found"]:
            return []
        return [
            Interrupted(
                dims=_dims(row),
                calls=row["calls"],
                cost=row["cost"],
                room=row["room"],
                open_calls=row["open_calls"],
            )
            for row in self._query("interrupted", zone=account.zone, **parameters)
        ]

    def billed(self, account: Account, since: date, until: date) -> list[BillRow]:
        """A connection's bill around the days ``[since, until)``, the longest periods included."""
        rows = self._query(
            "billed",
            connection=account.connection,
            zone=account.zone,
            since=midnight(since, account.zone),
            until=midnight(until, account.zone),
        )
        return [_bill_row(row) for row in rows]

    def _pulled_days(self, account: Account, period: Period) -> frozenset[date]:
        """Days whose slot (the day itself, or its month) was committed by a sync or an import of charges."""
        rows = self._query("pulled_slots", connection=account.connection)
        slots = {row["slot"] for row in rows}
        return frozenset(day for day in period.days() if day.isoformat() in slots or f"{day:%Y-%m}" in slots)


def _dims(row: dict[str, Any]) -> Dims:
    """Where a row of the ledger's side belongs; whole calls have no class."""
    return Dims(
        day=row["day"],
        model=row["model"],
        token_class=row.get("class", ""),
        project=row["project"],
        workspace=row["workspace"],
        service_tier=tier(row["service_tier"]),
        batch=str(bool(row["is_batch"])).lower(),
    )


def _bill_row(row: dict[str, Any]) -> BillRow:
    row["source_ids"] = tuple(row["source_ids"])
    row["is_final"] = bool(row["is_final"])
    return BillRow(**row)


def _zone(hours: Sequence[int], sample: datetime) -> str:
    """The zone in which every line begins at midnight; UTC when none fits (hourly lines)."""
    for zone in _ZONES:
        offset = ZoneInfo(zone).utcoffset(sample.astimezone(UTC).replace(tzinfo=None))
        at_midnight = int(-(offset or timedelta()).total_seconds() // 3600) % 24
        # Daylight saving time moves a zone's midnight by an hour within one bill.
        if all(hour in (at_midnight, (at_midnight - 1) % 24, (at_midnight + 1) % 24) for hour in hours):
            return zone
    return "UTC"


class _Placed(Protocol):
    """Something of the ledger that stands in a place."""

    @property
    def dims(self) -> Dims: ...


Held = TypeVar("Held", bound=_Placed)


@dataclass(frozen=True, slots=True)
class Share(Generic[Held]):
    """One account's part of what the ledger holds of a provider, and what must be said about it."""

    items: list[Held]
    problems: tuple[str, ...] = ()


def share_of(
    account: Account,
    rows: Sequence[BillRow],
    booked: list[Held],
    all_accounts: Sequence[tuple[Account, list[BillRow]]],
) -> Share[Held]:
    """One account's part of a provider's books, where the org has several accounts with the provider.

    A booked item goes to the one account whose bill knows its project or workspace; what no bill knows stays with the
    first account, and is said.
    """
    rivals = [(a, r) for a, r in all_accounts if set(a.providers) & set(account.providers)]
    if len(rivals) < 2:
        return Share(booked)
    homes: dict[tuple[str, str], set[str]] = defaultdict(set)
    for rival, rival_rows in rivals:
        for row in rival_rows:
            homes["project", row.project].add(rival.connection)
            homes["workspace", row.workspace].add(rival.connection)
    first = rivals[0][0].connection
    mine: list[Held] = []
    homeless = 0
    for item in booked:
        known = [homes[kind, name] for kind, name in _marks(item) if len(homes[kind, name]) == 1]
        owner = next(iter(known[0])) if known else first
        homeless += not known and owner == account.connection
        if owner == account.connection:
            mine.append(item)
    if not homeless:
        return Share(mine)
    problem = (
        f"{homeless} places of the ledger could belong to any of {len(rivals)} accounts and stay with this one: "
        "label calls with their project or workspace"
    )
    return Share(mine, (problem,))


def _marks(item: _Placed) -> list[tuple[str, str]]:
    marks = [("project", item.dims.project), ("workspace", item.dims.workspace)]
    return [(kind, name) for kind, name in marks if name]
