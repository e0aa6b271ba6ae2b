"""A store filled with calls and their bill, for tests that run commands on it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from hashlib import blake2b
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from spanledger.cli import access
from spanledger.ledger.client import StoreTarget, connect
from spanledger.ledger.migrate import migrate
from spanledger.ledger.store import Ledger
from spanledger.reconciler.batch import LineBuffer
from spanledger.reconciler.bill_line import BillLine, Kind
from spanledger.reconciler.clock import SystemClock
from spanledger.reconciler.fx import FxRates
from spanledger.reconciler.store import BillStore, Place
from spanledger.reconciler.units import Money
from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.usage import Usage

DAY = datetime(2026, 9, 3, tzinfo=UTC)


class Books:
    """A store that is filled and read in turns; it stays open, as opening it again would be most of a test's time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.client = connect(StoreTarget.embedded(path))
        migrate(self.client)
        self._ledger = Ledger(self.client, PriceBook())
        self._bills = BillStore(self.client, SystemClock())

    @contextmanager
    def serving_commands(self) -> Generator[None]:
        """Within, commands that name this store find it open."""
        opened = access.client

        def client(data: Path, clickhouse: str, *, make: bool = False) -> AbstractContextManager[Client]:
            return nullcontext(self.client) if data == self.path else opened(data, clickhouse, make=make)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(access, "client", client)
            yield

    def close(self) -> None:
        self.client.close()

    def calls(
        self,
        org: str,
        *,
        count: int,
        project: str = "web",
        team: str = "search",
        day: int = 0,
        provider: str = "openai",
        model: str = "gpt-4o-2024-08-06",
    ) -> None:
        """Calls of one million input tokens and a hundred thousand output tokens each."""
        start = int((DAY + timedelta(days=day, hours=12)).timestamp()) * 10**9
        self._ledger.ingest(
            [
                Observation(
                    org_id=org,
                    trace_id=blake2b(f"{org} {project} {team} {day} {provider} {n}".encode(), digest_size=16).digest(),
                    span_id=n.to_bytes(8, "big"),
                    dialect="test",
                    received_ns=start,
                    started_ns=start + n,
                    ended_ns=start + n + 10**9,
                    provider=provider,
                    operation="chat",
                    request_model=model,
                    response_model=model,
                    response_id=f"chatcmpl-{org}-{project}-{team}-{day}-{provider}-{n}",
                    usage=Usage(input_uncached=1_000_000, cache_read=0, output_text=100_000),
                    project=project,
                    team_id=team,
                    service_name="api",
                )
                for n in range(count)
            ]
        )
        self._ledger.counters(org)  # brings the rollups up to date

    def bill(
        self, org: str, *, calls: int, project: str = "web", discount: str = "1", day: int = 0, name: str = "prod"
    ) -> None:
        """The true bill of as many calls: $2.50 a million input, $10 a million output, times a discount."""
        start = DAY + timedelta(days=day)
        buffer = LineBuffer(FxRates())
        for token_class, quantity, rate in (("input_uncached", 10**6, "2.5"), ("output_text", 10**5, "10")):
            buffer.add(
                BillLine(
                    kind=Kind.COST,
                    start=start,
                    end=start + timedelta(days=1),
                    provider="openai",
                    model="gpt-4o-2024-08-06",
                    token_class=token_class,
                    project=project,
                    quantity=D(quantity * calls),
                    unit="tokens",
                    money=Money(D(quantity * calls) * D(rate) * D(discount) / 10**6, "USD"),
                ),
                start.date().isoformat(),
                is_final=True,
                evidence=f"page-{project}",
            )
        place = Place(org, name, f"costs-{project}")
        version = self._bills.new_version(place)
        self._bills.write_lines(place, buffer.take(), version, start)
        self._bills.commit(place, buffer.slots, version=version, run_id="r1", fetched_at=start)
