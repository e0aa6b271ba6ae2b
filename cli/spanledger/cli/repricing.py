"""Pricing calls anew, by this process or through the server that owns the store: one request, the same lines back."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spanledger.cli import access, pricing
from spanledger.cli.errors import CommandError, UserError
from spanledger.ledger.errors import RetryableStoreError, StoreError
from spanledger.ledger.price_archive import ArchivingPricer, PriceArchive
from spanledger.ledger.reprice import Repriced
from spanledger.ledger.store import Ledger
from spanledger.semconv import money
from spanledger.semconv.prices.overrides import MissingRateError, Overrides

if TYPE_CHECKING:
    from spanledger.cli.runtime import RunningServer

PATH = "/reprice"
Feed = Callable[[], Iterator[bytes]]
"""Does the work and says what changes: one JSON object per line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Which calls to price anew, and how.

    Attributes:
        since, until: first and last day (UTC).
        org: only this organisation's calls; ``""`` for all.
        prices: the overrides file; ``None``: the price book that is in use anyway.
        dry_run: change nothing.
    """

    since: date
    until: date
    org: str = ""
    prices: Path | None = None
    dry_run: bool = False

    def parameters(self) -> dict[str, str]:
        """As the query of a URL."""
        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "org": self.org,
            "prices": "" if self.prices is None else str(self.prices.absolute()),
            "dry_run": "1" if self.dry_run else "",
        }

    @classmethod
    def parse(cls, values: Mapping[str, str]) -> Request:
        """The inverse of `parameters`.

        Raises:
            ValueError: a day is missing or is none.
        """
        return cls(
            since=date.fromisoformat(values.get("since", "")),
            until=date.fromisoformat(values.get("until", "")),
            org=values.get("org", ""),
            prices=Path(values["prices"]) if values.get("prices") else None,
            dry_run=bool(values.get("dry_run")),
        )


def run(ledger: Ledger, request: Request, data: Path, contracts: Overrides | None) -> Iterator[Repriced]:
    """Price anew in this process, then give the calls that commitments cover their shares.

    Args:
        ledger: the open ledger; its own price book counts unless the request names an overrides file.
        request: what to price.
        data: directory that may hold refreshed base prices.
        contracts: the overrides of the ledger's own price book.

    Raises:
        UserError: the overrides file cannot be used.
        StoreError: days yielded before are done.
    """
    pricer = None
    if request.prices is not None:
        contracts = pricing.contracts(request.prices)
        pricer = ArchivingPricer(pricing.book(request.prices, data), PriceArchive(ledger.client))
    until = request.until + timedelta(days=1)
    yield from ledger.reprice(request.since, until, org_id=request.org, dry_run=request.dry_run, prices=pricer)
    if contracts is not None:
        yield from ledger.spread(contracts, request.since, until, dry_run=request.dry_run)


def by_itself(request: Request, data: Path, clickhouse: str) -> Generator[Repriced]:
    """Open the store, price anew, close it. Raises `UserError` and `CommandError`."""
    with ExitStack() as parts, access.readable_errors():
        ledger = Ledger.open(access.target(data, clickhouse), prices=pricing.book(request.prices, data))
        parts.callback(ledger.close)
        yield from run(ledger, request, data, None)


def through(server: RunningServer, request: Request) -> Iterator[Repriced]:
    """Have the server that owns the store do it. Raises `UserError` and `CommandError`."""
    is_complete = False
    for line in server.lines(PATH, request.parameters()):
        said: dict[str, Any] = json.loads(line)
        if "error" in said:
            raise (UserError if said["is_users"] else CommandError)(said["error"])
        is_complete = "done" in said
        if not is_complete:
            yield _read(said)
    if not is_complete:
        raise CommandError(f"the server (process {server.pid}) stopped meanwhile; run it again")


def feed(ledger: Ledger, data: Path, contracts: Overrides | None, values: Mapping[str, str]) -> Feed:
    """What the server answers.

    Raises:
        ValueError: the parameters are not a request.
    """
    request = Request.parse(values)

    def lines() -> Iterator[bytes]:
        try:
            for change in run(ledger, request, data, contracts):
                yield _line(_said(change))
            yield _line({"done": True})
        except (UserError, StoreError, MissingRateError) as error:
            yield _line({"error": str(error), "is_users": not isinstance(error, RetryableStoreError)})

    return lines


def _line(said: Mapping[str, object]) -> bytes:
    return json.dumps(said).encode() + b"\n"


def _said(change: Repriced) -> dict[str, object]:
    return {
        "day": change.day.isoformat(),
        "provider": change.provider,
        "model": change.model,
        "calls": change.calls,
        "old_usd": _text(change.old_usd),
        "new_usd": _text(change.new_usd),
    }


def _read(said: Mapping[str, Any]) -> Repriced:
    return Repriced(
        day=date.fromisoformat(said["day"]),
        provider=said["provider"],
        model=said["model"],
        calls=said["calls"],
        old_usd=_amount(said["old_usd"]),
        new_usd=_amount(said["new_usd"]),
    )


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else money.text(amount)


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else money.parse(text)
