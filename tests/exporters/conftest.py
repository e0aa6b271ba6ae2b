"""A real ledger with two organisations, real HTTP servers: what the exporters are tested against."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from spanledger.exporters.access import Access
from spanledger.ledger.client import StoreTarget
from spanledger.ledger.store import Ledger
from spanledger.semconv.observation import Observation, Role, ToolCall
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.usage import Usage

NOW = datetime(2026, 11, 20, 12, 34, 56, tzinfo=UTC)
"""The fixed present of every test that reads the shared ledger."""

TOKENS = {"token-of-acme": "acme", "token-of-globex": "globex"}


@dataclass(slots=True)
class Author:
    """Makes observations whose ids never repeat."""

    number: int = 0

    def call(self, org_id: str = "acme", *, at: datetime = NOW, **fields: Any) -> Observation:
        self.number += 1
        started = int(at.timestamp()) * 10**9 + self.number
        values: dict[str, Any] = {
            "org_id": org_id,
            "trace_id": self.number.to_bytes(16, "big"),
            "span_id": self.number.to_bytes(8, "big"),
            "scope_name": "test",
            "dialect": "test",
            "started_ns": started,
            "ended_ns": started + 10**9,
            "received_ns": int(NOW.timestamp()) * 10**9,
            "provider": "openai",
            "operation": "chat",
            "request_model": "gpt-4o",
            "response_id": f"{org_id}-response-{self.number}",
            "usage": Usage(input_uncached=1000, output_text=100),
            "exact_cost_usd": Decimal("0.0035"),
        }
        return Observation(**(values | fields))


@dataclass(slots=True)
class Books:
    """The ledger under test and who writes it."""

    ledger: Ledger
    author: Author = field(default_factory=Author)
    now: datetime = NOW
    secret: str = "globex-secret-"
    """Stands in every free text of the other organisation's calls: must never be seen with acme's token."""

    def book(self, *observations: Observation) -> None:
        self.ledger.ingest(observations, [])


def fill(books: Books) -> None:
    """Two organisations: acme's 12 calls (one unpriced, one failed, one with two witnesses), globex's 5."""
    call, secret = books.author.call, books.secret
    acme = [
        call(at=NOW - timedelta(minutes=minute), team_id=team, feature="search", session_id=f"acme-{minute % 3}")
        for minute, team in enumerate(["red", "red", "red", "blue", "blue", "blue", "", ""])
    ]
    acme += [
        call(at=NOW - timedelta(days=3), team_id="red", session_id="acme-old"),
        call(at=NOW - timedelta(minutes=30), request_model="no-such-model-2", exact_cost_usd=None),
        call(at=NOW - timedelta(minutes=31), status="error", error_type="timeout", usage=Usage(), exact_cost_usd=None),
        call(at=NOW - timedelta(minutes=32), provider="anthropic", request_model="Claude-Sonnet-4-5", user_id="u-1"),
    ]
    twice = replace(acme[0], trace_id=b"t" * 16, span_id=b"s" * 8, dialect="other")
    globex = [
        call(
            "globex",
            at=NOW - timedelta(minutes=minute),
            exact_cost_usd=Decimal("7.25"),
            team_id=secret + "team",
            feature=secret + "feature",
            session_id=f"{secret}{minute}",
            user_id=secret + "user",
            service_name=secret + "service",
            labels={secret + "key": secret + "value"},
            tool_calls=(ToolCall(name=secret + "tool", id=secret + "id"),),
            response_id=f"{secret}response-{minute}",
        )
        for minute in range(4)
    ]
    globex.append(call("globex", request_model="", response_id=secret + "no-model"))
    copy = replace(globex[0], trace_id=b"x" * 16, span_id=b"y" * 8, dialect=secret + "dialect")
    fill_bills(books)
    aggregate = call("globex", role=Role.AGGREGATE, request_model="gpt-4o", response_id="")
    books.book(*acme, twice, *globex, copy, aggregate)


def fill_bills(books: Books) -> None:
    """A connection of each organisation, tied out for two months: acme's pulled an hour ago, globex's never."""
    client, at = books.ledger.client, NOW
    for org_id in ("acme", "globex"):
        secret = books.secret if org_id == "globex" else ""
        client.insert(
            "spanledger.connection_versions",
            [[org_id, f"{secret}prod", "openai", at - timedelta(days=3), 1]],
            column_names=["org_id", "name", "connector", "created_at", "version"],
        )
        client.insert(
            "spanledger.tieout_versions",
            [
                [
                    org_id,
                    f"{secret}prod",
                    "openai",
                    period,
                    start,
                    Decimal("10.5"),
                    Decimal(booked),
                    coverage,
                    variance,
                    1,
                ]
                # A single day's is newer, and somebody's question.
                for period, start, booked, coverage, variance in (
                    ("2026-11-18", date(2026, 11, 18), "0", Decimal(0), Decimal(1)),
                    ("2026-10", date(2026, 10, 1), "10.5", Decimal(1), Decimal(0)),
                    ("2026-11", date(2026, 11, 1), "9.25", Decimal("0.88"), Decimal("0.12")),
                )
            ],
            column_names=[
                "org_id",
                "connection",
                "provider",
                "period",
                "period_start",
                "billed_usd",
                "booked_usd",
                "coverage",
                "variance",
                "version",
            ],
        )
    client.insert(
        "spanledger.sync_runs",
        [
            ["acme", "prod", "costs", "run", "ok", at - timedelta(hours=5)],
            ["acme", "prod", "costs", "run", "ok", at - timedelta(hours=1)],
            ["acme", "prod", "costs", "run", "auth_failed", at],
            ["acme", "prod", "costs", "slice", "ok", at],
        ],
        column_names=["org_id", "connection", "stream", "step", "state", "finished_at"],
    )


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """An embedded ledger that holds `fill`. Module-wide: tests that write use organisations of their own."""
    ledger = Ledger.open(
        StoreTarget.embedded(tmp_path_factory.mktemp("store") / "data"),
        prices=PriceBook(),
        clock=lambda: int(NOW.timestamp()) * 10**9,
    )
    try:
        books = Books(ledger)
        fill(books)
        yield books
    finally:
        ledger.close()


@pytest.fixture
def access() -> Access:
    """Loopback with tokens: a request without one sees everything."""
    return Access(verify=TOKENS.get, is_open=True)


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Any], str]]:
    """Hosts an ASGI application on a free loopback port and returns its URL."""
    with ExitStack() as servers:

        def start(app: Any) -> str:
            listener = socket.socket()
            servers.callback(listener.close)
            listener.bind(("127.0.0.1", 0))
            server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off"))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
            thread.start()

            def stop() -> None:
                server.should_exit = True
                thread.join(10)

            servers.callback(stop)
            deadline = time.monotonic() + 10
            while not server.started:
                assert thread.is_alive()
                assert time.monotonic() < deadline
                time.sleep(0.005)
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        yield start


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parents[2]
