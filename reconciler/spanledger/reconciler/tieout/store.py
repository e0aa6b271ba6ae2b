"""Tie-outs in the store: written once for each change of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import store_errors
from spanledger.reconciler.clock import Clock
from spanledger.reconciler.tieout.items import Finding
from spanledger.reconciler.tieout.prices import ImpliedPrice
from spanledger.reconciler.tieout.run import TieOut
from spanledger.reconciler.tieout.sql import load

_SHARE: Final = Decimal("0.000001")
_UNIT: Final = Decimal("1e-18")
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class TieOutStore:
    """Keeps each org's tie-outs. Raises `spanledger.ledger.errors.StoreError`."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def save(self, org_id: str, results: Sequence[TieOut]) -> int:
        """Write the results that differ from what is stored; running twice changes nothing.

        Residuals are written before the tie-out that makes them visible: a crash between the two shows the old result.

        Returns:
            How many were new or changed.
        """
        current = self._current(org_id)
        now = self._clock.now()
        residuals: list[Mapping[str, object]] = []
        tieouts: list[Mapping[str, object]] = []
        for result in results:
            old_version, old_hash = current.get((result.connection, result.period.name), (0, b""))
            content = _content_hash(result)
            if content == old_hash:
                continue
            version = max((now - _EPOCH) // timedelta(microseconds=1), old_version + 1)
            residuals += [_residual_row(org_id, result, version, finding) for finding in result.findings]
            tieouts.append(_tieout_row(org_id, result, version, content, now))
        prices = self._new_prices(org_id, results, now)
        with store_errors("writing tie-outs"):
            self._insert("spanledger.implied_price_versions", prices)
            self._insert("spanledger.tieout_residual_versions", residuals)
            self._insert("spanledger.tieout_versions", tieouts)
        return len(tieouts)

    def _new_prices(self, org_id: str, results: Sequence[TieOut], now: datetime) -> list[Mapping[str, object]]:
        """The rows of every day whose implied prices differ from what is stored; a day is replaced as a whole."""
        rows: list[Mapping[str, object]] = []
        for result in results:
            stored = self._stored_prices(org_id, result)
            days: dict[date, list[ImpliedPrice]] = {day: [] for day in stored}
            for price in result.prices:
                days.setdefault(price.day, []).append(price)
            for day, prices in sorted(days.items()):
                old_version, old_hash = stored.get(day, (0, b""))
                content = hashlib.blake2b(repr(prices).encode(), digest_size=16).digest()
                if content == old_hash:
                    continue
                version = max((now - _EPOCH) // timedelta(microseconds=1), old_version + 1)
                common: Mapping[str, object] = {
                    "org_id": org_id,
                    "connection": result.connection,
                    "provider": result.provider,
                    "day": day,
                    "content_hash": content,
                    "computed_at": now,
                    "version": version,
                }
                kept: Sequence[ImpliedPrice | None] = prices or [None]
                rows += [{**common, **_price_row(price)} for price in kept]
        return rows

    def _stored_prices(self, org_id: str, result: TieOut) -> dict[date, tuple[int, bytes]]:
        with store_errors("reading the last implied prices"):
            rows = self._client.query(  # pyright: ignore[reportUnknownMemberType]
                load("price_versions"),
                parameters={
                    "org": org_id,
                    "connection": result.connection,
                    "since": result.period.start,
                    "until": result.period.end,
                },
            ).result_rows
        return {day: (int(version), bytes(content)) for day, version, content in rows}

    def _insert(self, table: str, rows: Sequence[Mapping[str, object]]) -> None:
        if rows:
            columns = list(rows[0])
            self._client.insert(table, [[row[name] for name in columns] for row in rows], column_names=columns)

    def _current(self, org_id: str) -> dict[tuple[str, str], tuple[int, bytes]]:
        with store_errors("reading the last tie-outs"):
            rows = self._client.query(  # pyright: ignore[reportUnknownMemberType]
                load("current_versions"), parameters={"org": org_id}
            ).result_rows
        return {(str(c), str(p)): (int(version), bytes(content)) for c, p, version, content in rows}


def _content_hash(result: TieOut) -> bytes:
    return hashlib.blake2b(repr(result).encode(), digest_size=16).digest()


def _tieout_row(org_id: str, result: TieOut, version: int, content: bytes, now: datetime) -> Mapping[str, object]:
    return {
        "org_id": org_id,
        "connection": result.connection,
        "provider": result.provider,
        "period": result.period.name,
        "period_start": result.period.start,
        "period_end": result.period.end,
        "billed_usd": result.billed_usd,
        "booked_usd": result.booked_usd,
        "booked_high_usd": result.booked_high_usd,
        "coverage": None if result.coverage is None else result.coverage.quantize(_SHARE),
        "variance": result.variance.quantize(_SHARE),
        "missing_days": list[date](result.missing_days),
        "problems": list(result.problems),
        "content_hash": content,
        "computed_at": now,
        "version": version,
    }


def _residual_row(org_id: str, result: TieOut, version: int, finding: Finding) -> Mapping[str, object]:
    dims = finding.dims
    return {
        "org_id": org_id,
        "connection": result.connection,
        "period": result.period.name,
        "version": version,
        "residual": finding.name.value,
        "day": dims.day,
        "model": dims.model,
        "token_class": dims.token_class,
        "api_key": dims.api_key,
        "project": dims.project,
        "workspace": dims.workspace,
        "service_tier": dims.service_tier,
        "batch": dims.batch,
        "amount_usd": finding.amount,
        "quantity": finding.quantity,
        "billed_unit_price": _unit(finding.billed_unit_price),
        "booked_unit_price": _unit(finding.booked_unit_price),
        "cause": finding.cause,
        "source_ids": list(finding.source_ids),
    }


def _price_row(price: ImpliedPrice | None) -> Mapping[str, object]:
    """The columns of a price; of ``None``, a day that has none any more, a row that no view shows."""
    return {
        "model": price.meter.model if price else "",
        "token_class": price.meter.token_class if price else "",
        "service_tier": price.meter.service_tier if price else "",
        "batch": price.meter.batch if price else "",
        "quantity": price.quantity if price else Decimal(0),
        "billed_usd": price.billed_usd if price else Decimal(0),
        "billed_unit_price": price.billed_unit_price if price else None,
        "matched_quantity": price.matched_quantity if price else Decimal(0),
        "matched_billed_usd": price.matched_billed_usd if price else Decimal(0),
        "matched_booked_usd": price.matched_booked_usd if price else Decimal(0),
        "booked_unit_price": price.booked_unit_price if price else None,
        "drift": price.drift if price else None,
        "is_final": price.is_final if price else True,
    }


def _unit(price: Decimal | None) -> Decimal | None:
    return None if price is None else price.quantize(_UNIT)
