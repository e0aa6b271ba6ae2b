"""A store for the report's tests: calls whole and interrupted, bills good and odd, one organisation a case."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from hashlib import blake2b
from pathlib import Path

from spanledger.ledger.client import StoreTarget, connect
from spanledger.ledger.store import Ledger
from spanledger.reconciler.batch import LineBuffer
from spanledger.reconciler.bill_line import BillLine, Charge, Kind
from spanledger.reconciler.clock import SystemClock
from spanledger.reconciler.fx import FxRates
from spanledger.reconciler.store import BillStore, Place
from spanledger.reconciler.units import Money
from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.usage import Usage

MODEL = "gpt-4o-2024-08-06"
"""$2.50 a million input, $1.25 cached, $10 a million output."""


@dataclass
class Books:
    """What is put into the store: gather first, then `write` once."""

    path: Path
    observations: list[Observation] = field(default_factory=list)
    lines: dict[tuple[str, str], list[tuple[BillLine, bool]]] = field(default_factory=dict)

    def call(
        self, org: str, day: date, *, tokens: int = 1_000_000, output: int | None = 100_000, **more: object
    ) -> None:
        """One call; by default $3.50. ``output=None`` with ``partial`` is an interrupted one."""
        number = len(self.observations)
        at = int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp()) * 10**9 + number
        partial = bool(more.pop("partial", False))
        cached = more.pop("cached", 0)
        assert isinstance(cached, int)
        fields: dict[str, object] = {
            "org_id": org,
            "trace_id": blake2b(str(number).encode(), digest_size=16).digest(),
            "span_id": (number + 1).to_bytes(8, "big"),
            "dialect": "test",
            "received_ns": at,
            "started_ns": at,
            "ended_ns": at + 10**9,
            "provider": "openai",
            "operation": "chat",
            "request_model": MODEL,
            "response_model": MODEL,
            "response_id": f"chatcmpl-{number}",
            "usage": Usage(input_uncached=tokens, cache_read=cached, output_text=output, partial=partial),
            "project": "web",
            "team_id": "search",
            "service_name": "api",
        }
        self.observations.append(Observation(**(fields | more)))  # type: ignore[arg-type]

    def line(
        self,
        org: str,
        day: date,
        amount: str,
        *,
        quantity: int | None = None,
        connection: str = "prod",
        currency: str = "USD",
        is_final: bool = True,
        **more: object,
    ) -> None:
        """One line of a bill."""
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        fields: dict[str, object] = {
            "kind": Kind.COST,
            "start": start,
            "end": start + timedelta(days=1),
            "provider": "openai",
            "model": MODEL,
            "project": "web",
            "quantity": None if quantity is None else D(quantity),
            "unit": "tokens" if quantity is not None else "",
            "money": Money(D(amount), currency),
        }
        bill_line = BillLine(**(fields | more))  # type: ignore[arg-type]
        self.lines.setdefault((org, connection), []).append((bill_line, is_final))

    def bill(self, org: str, day: date, calls: int = 1, **more: object) -> None:
        """The true bill of so many whole calls."""
        for token_class, quantity, rate in (("input_uncached", 10**6, "2.5"), ("output_text", 10**5, "10")):
            amount = D(quantity * calls) * D(rate) / 10**6
            self.line(org, day, str(amount), quantity=quantity * calls, token_class=token_class, **more)  # type: ignore[arg-type]

    def write(self) -> None:
        """Put everything into the store."""
        ledger = Ledger.open(StoreTarget.embedded(self.path), PriceBook())
        try:
            ledger.ingest(self.observations)
        finally:
            ledger.close()
        client = connect(StoreTarget.embedded(self.path))
        try:
            store = BillStore(client, SystemClock())
            for (org, connection), lines in self.lines.items():
                place, buffer = Place(org, connection, "costs"), LineBuffer(FxRates())
                for bill_line, is_final in lines:
                    buffer.add(bill_line, bill_line.start.date().isoformat(), is_final=is_final, evidence="page")
                version = store.new_version(place)
                fetched = max(bill_line.end for bill_line, _ in lines)
                store.write_lines(place, buffer.take(), version, fetched)
                store.commit(place, buffer.slots, version=version, run_id="r1", fetched_at=fetched)
        finally:
            client.close()


CREDIT = Charge.CREDIT
