"""Closing a period: its tie-out becomes a statement that cannot be changed unnoticed.

What providers restate after that never touches a closed statement: the difference is an adjustment of the next period
that is closed. Reopening needs a reason and is an entry of the same chain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Final

from clickhouse_connect.driver.client import Client
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from spanledger.ledger.client import store_errors
from spanledger.reconciler.clock import Clock
from spanledger.reconciler.closing.chargeback import Chargeback, by_owner
from spanledger.reconciler.closing.entry import Entry
from spanledger.reconciler.closing.sql import load
from spanledger.reconciler.closing.totals import Totals, ledger_adjustments, stated_totals
from spanledger.reconciler.statements import GENESIS, Statement, close, parse, verify
from spanledger.reconciler.tieout.items import ResidualName
from spanledger.reconciler.tieout.model_names import ModelNames
from spanledger.reconciler.tieout.report import tie_out_period
from spanledger.reconciler.tieout.run import Period, TieOut
from spanledger.reconciler.windows import midnight
from spanledger.semconv.money import text

SHARES_BY: Final = ("team", "feature")
"""Over whom a statement spreads the bill."""


class PeriodStateError(ValueError):
    """A period cannot be closed or reopened now; the text says why and what to do, in one line."""


class Periods:
    """One org's closed periods. Raises `spanledger.ledger.errors.StoreError`."""

    def __init__(self, client: Client, clock: Clock, names: ModelNames, org_id: str) -> None:
        self._client = client
        self._clock = clock
        self._names = names
        self._org = org_id

    def log(self) -> list[Entry]:
        """Every entry, oldest first."""
        with store_errors("reading the closed periods"):
            result = self._client.query(load("log"), parameters={"org": self._org})  # pyright: ignore[reportUnknownMemberType]
        rows: Sequence[Sequence[Any]] = result.result_rows
        return [Entry(int(n), p, a, r, parse(document), at) for n, p, a, r, document, at in rows]

    def verify(self, *, trusted_keys: frozenset[str] | None = None) -> int:
        """Check the whole chain in the store; returns its length.

        Raises:
            StatementError: names the first entry that does not verify.
        """
        chain = [entry.statement for entry in self.log()]
        verify(chain, trusted_keys=trusted_keys)
        return len(chain)

    def close(
        self, period: Period, *, today: date, key: Ed25519PrivateKey | None = None, force: bool = False
    ) -> Statement:
        """Freeze a period.

        Args:
            period: what to close; it must be over.
            today: the current day, UTC.
            key: signs the statement.
            force: close although days are missing or may still be restated; the statement says so.

        Raises:
            PeriodStateError: it is closed already, not over, or not final.
        """
        log = self.log()
        if period.name in _closed(log):
            raise PeriodStateError(
                f"{period.name} is closed already: spanledger periods reopen it first, with a reason"
            )
        overlapping = [name for name in _closed(log) if _overlap(Period.parse(name), period)]
        if overlapping:
            raise PeriodStateError(
                f"{period.name} has days in common with {overlapping[0]}, which is closed: no day is stated twice"
            )
        if period.end > today:
            raise PeriodStateError(f"{period.name} is not over before {period.end}: close it then")
        results = self._tie_out(period, today)
        if not force:
            _check_final(period, results)
        body = {
            "action": "close",
            "org": self._org,
            "period": period.name,
            "closed_at": self._clock.now().isoformat(),
            "connections": [_connection(result) for result in results],
            "ledger": self._ledger(period),
            "shares": self._shares(period),
            "adjustments": self._adjustments(log, today),
            "ledger_adjustments": self._ledger_adjustments(log),
        }
        return self._append(log, body, reason="forced" if force else "", key=key)

    def reopen(self, period: Period, reason: str, *, key: Ed25519PrivateKey | None = None) -> Statement:
        """Take a closing back, for a reason that stays in the chain.

        Raises:
            PeriodStateError: the period is not closed, or the reason is empty.
        """
        log = self.log()
        if period.name not in _closed(log):
            raise PeriodStateError(f"{period.name} is not closed: there is nothing to reopen")
        if not reason.strip():
            raise PeriodStateError(f"say why {period.name} is reopened: --reason TEXT")
        body = {
            "action": "reopen",
            "org": self._org,
            "period": period.name,
            "reopened_at": self._clock.now().isoformat(),
            "reason": reason.strip(),
        }
        return self._append(log, body, reason=reason.strip(), key=key)

    def restatements(self, today: date) -> list[dict[str, Any]]:
        """What has changed at closed periods since they were stated: the next closing's adjustments."""
        return self._adjustments(self.log(), today)

    def _tie_out(self, period: Period, today: date) -> Sequence[TieOut]:
        return tie_out_period(
            self._client, org_id=self._org, period=period, names=self._names, clock=self._clock, today=today
        ).results

    def _ledger(self, period: Period) -> list[dict[str, str]]:
        with store_errors("reading the ledger's totals"):
            result = self._client.query(  # pyright: ignore[reportUnknownMemberType]
                load("ledger_totals"),
                parameters={
                    "org": self._org,
                    "since": midnight(period.start, "UTC"),
                    "until": midnight(period.end, "UTC"),
                },
            )
        rows: Sequence[Sequence[Any]] = result.result_rows
        return [
            {
                name: text(value) if isinstance(value, Decimal) else str(value)
                for name, value in zip(result.column_names, row, strict=True)
            }
            for row in rows
        ]

    def _shares(self, period: Period) -> list[dict[str, object]]:
        spread = Chargeback(self._client, self._clock, self._names, self._org).spread(period, SHARES_BY)
        return [
            {"connection": name, "owner": dict(zip(SHARES_BY, owner, strict=True)), "amount_usd": text(amount)}
            for name, shares in sorted(spread.items())
            for owner, amount in by_owner(shares).items()
        ]

    def _adjustments(self, log: Sequence[Entry], today: date) -> list[dict[str, Any]]:
        """Current totals of closed periods minus everything that was stated about them so far."""
        found: list[dict[str, Any]] = []
        for name in _closed(log):
            stated = stated_totals(log, name)
            current = {r.connection: Totals.of(r) for r in self._tie_out(Period.parse(name), today)}
            found += [
                {"period": name, "connection": connection, **difference}
                for connection in sorted(stated.keys() | current.keys())
                if (difference := current.get(connection, Totals()).minus(stated.get(connection, Totals())))
            ]
        return found

    def _ledger_adjustments(self, log: Sequence[Entry]) -> dict[str, list[dict[str, str]]]:
        """By closed period, what was booked, repriced or taken back since: also of providers that nobody bills."""
        changes = {name: ledger_adjustments(log, name, self._ledger(Period.parse(name))) for name in _closed(log)}
        return {name: rows for name, rows in changes.items() if rows is not None}

    def _append(
        self, log: Sequence[Entry], body: Mapping[str, Any], *, reason: str, key: Ed25519PrivateKey | None
    ) -> Statement:
        statement = close(body, previous=log[-1].statement.digest if log else GENESIS, key=key)
        row: dict[str, object] = {
            "org_id": self._org,
            "number": log[-1].number + 1 if log else 1,
            "period": body["period"],
            "action": body["action"],
            "reason": reason,
            "digest": statement.digest.encode(),
            "statement": statement.to_json(),
            "recorded_at": self._clock.now(),
        }
        with store_errors("recording the statement"):
            self._client.insert("spanledger.periods", [list(row.values())], column_names=list(row))
        return statement


def _closed(log: Sequence[Entry]) -> list[str]:
    """The periods whose last entry is a closing, in the order of closing."""
    last = {entry.period: entry.action for entry in log}
    return [name for name, action in last.items() if action == "close"]


def _overlap(one: Period, other: Period) -> bool:
    return one.start < other.end and other.start < one.end


def _check_final(period: Period, results: Sequence[TieOut]) -> None:
    if not results:
        raise PeriodStateError(f"{period.name} has no bill: spanledger sync first, or close it with --force")
    for result in results:
        if result.missing_days:
            raise PeriodStateError(
                f"{period.name}, {result.connection}: {len(result.missing_days)} days were never synced, the first is "
                f"{result.missing_days[0]}: spanledger sync --since {result.missing_days[0]}, or close with --force"
            )
        if result.lines_without_rate:
            raise PeriodStateError(
                f"{period.name}, {result.connection}: {result.lines_without_rate} lines have no exchange rate: "
                "spanledger bills rates FILE, then spanledger bills reparse, or close with --force"
            )
        if result.residuals().get(ResidualName.NOT_FINAL_YET):
            raise PeriodStateError(
                f"{period.name}, {result.connection}: days may still be restated: wait, or close with --force"
            )


def _connection(result: TieOut) -> dict[str, object]:
    return {
        "name": result.connection,
        "provider": result.provider,
        "billed_usd": text(result.billed_usd),
        "booked_usd": text(result.booked_usd),
        "coverage": None if result.coverage is None else text(result.coverage),
        "residuals": {name.value: text(amount) for name, amount in result.residuals().items()},
        "missing_days": [day.isoformat() for day in result.missing_days],
    }
