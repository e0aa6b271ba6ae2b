"""Fixtures of the ledger's tests: a store, a price book, and a maker of evidence.

Tests share one embedded store per module (a process has one open at a time) and keep apart by their org.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import StoreTarget, connect
from spanledger.ledger.evidence import Batch
from spanledger.ledger.migrate import migrate
from spanledger.ledger.settlement import Evidence
from spanledger.ledger.store import Ledger
from spanledger.semconv.cost import Cost, CostStatus
from spanledger.semconv.observation import Observation
from spanledger.semconv.usage import Usage

T0 = 1_795_200_000 * 10**9
"""2026-11-20T17:20:00Z, ns since the epoch."""
SECOND = 10**9
_orgs = itertools.count(1)


class Prices:
    """A small price book: dollars per million tokens, by model. Unknown models are unpriced."""

    def __init__(self, **rates: tuple[str, str]) -> None:
        self.rates = {"gpt-4o": ("2.5", "10"), "gpt-4o-mini": ("0.15", "0.6"), "claude": ("3", "15")} | {
            name.replace("_", "-"): rate for name, rate in rates.items()
        }

    def price_many(self, observations: Sequence[Observation]) -> list[Cost]:
        return [self._price(o) for o in observations]

    def _price(self, o: Observation) -> Cost:
        rate = self.rates.get(o.response_model or o.request_model)
        if rate is None:
            return Cost(status=CostStatus.UNPRICED, reason="unknown_model")
        if not o.usage.is_known:
            return Cost(status=CostStatus.UNPRICED, reason="no_usage")
        million = Decimal(1_000_000)
        shares = {
            name: Decimal(count) * Decimal(rate[side]) / million
            for side, names in enumerate(
                (("input_uncached", "cache_read", "cache_write"), ("output_text", "reasoning"))
            )
            for name in names
            if (count := getattr(o.usage, name)) is not None
        }
        total = sum(shares.values(), Decimal(0))
        if o.usage.partial:
            high = (
                None
                if o.max_output_tokens is None
                else total + Decimal(o.max_output_tokens) * Decimal(rate[1]) / million
            )
            return Cost(status=CostStatus.BOUNDED, total=total, low=total, high=high, by_class=shares, price_id="test")
        return Cost(status=CostStatus.LIST, total=total, low=total, high=total, by_class=shares, price_id="test")


def make(number: int = 1, **fields: Any) -> Observation:
    """An observation of one chat call; `number` makes its ids, `at` (seconds) moves it, `usage` is (input, output)."""
    at = int(fields.pop("at", 0) * SECOND)
    lasted = int(fields.pop("lasted", 2) * SECOND)
    usage = fields.pop("usage", (1000, 200)) or Usage()
    parent = fields.pop("parent", 0)
    trace = fields.pop("trace", number)
    defaults: dict[str, Any] = {
        "org_id": "org",
        "trace_id": trace.to_bytes(16, "big") if trace else b"",
        "span_id": number.to_bytes(8, "big") if number else b"",
        "parent_span_id": parent.to_bytes(8, "big") if parent else b"",
        "scope_name": "sdk",
        "dialect": "test",
        "received_ns": T0 + at + lasted + SECOND,
        "started_ns": T0 + at,
        "ended_ns": T0 + at + lasted,
        "provider": "openai",
        "operation": "chat",
        "request_model": "gpt-4o",
        "response_model": "gpt-4o",
        "response_id": f"chatcmpl-{number}",
        "usage": usage if isinstance(usage, Usage) else Usage(input_uncached=usage[0], output_text=usage[1]),
        "service_name": "app",
    }
    return Observation(**(defaults | fields))


def as_evidence(observations: Sequence[Observation]) -> list[Evidence]:
    """With the content hashes that the ledger gives them."""
    contents = Batch(observations).content.tolist()
    return [Evidence(content, o) for content, o in zip(contents, observations, strict=True)]


@pytest.fixture(scope="session")
def observe() -> Callable[..., Observation]:
    return make


@pytest.fixture(scope="session")
def evidence() -> Callable[[Sequence[Observation]], list[Evidence]]:
    return as_evidence


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = connect(StoreTarget.embedded(tmp_path_factory.mktemp("store")))
    migrate(client)
    yield client
    client.close()


@pytest.fixture
def org() -> str:
    """An org of the test's own."""
    return f"org{next(_orgs)}"


@pytest.fixture
def prices() -> Prices:
    return Prices()


class Books:
    """Everything that an org can see, in a form that can be compared."""

    def __init__(self, client: Client, org: str) -> None:
        self.client = client
        self.org = org

    def rows(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.client.query(sql, parameters={"org": self.org, **parameters}).result_rows]

    def calls(self, columns: str = "* EXCEPT settled_at") -> list[tuple[Any, ...]]:
        return self.rows(
            f"SELECT {columns} FROM spanledger.calls WHERE org_id = {{org:String}} ORDER BY started_at, call_id"
        )

    def call(self, columns: str) -> tuple[Any, ...]:
        (only,) = self.calls(columns)
        return only

    def witnesses(self) -> list[tuple[Any, ...]]:
        return self.rows(
            "SELECT trace_id, span_id, signal, call_id, role, reason, would_be_cost_usd FROM spanledger.witnesses "
            "WHERE org_id = {org:String} ORDER BY ALL"
        )

    def duplicates(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT * FROM spanledger.duplicates_by_minute WHERE org_id = {org:String} ORDER BY ALL")

    def usage(self, unit: str) -> list[tuple[Any, ...]]:
        return self.rows(f"SELECT * FROM spanledger.usage_by_{unit} WHERE org_id = {{org:String}} ORDER BY ALL")

    def tool_calls(self) -> list[tuple[Any, ...]]:
        return self.rows("SELECT * FROM spanledger.tool_calls WHERE org_id = {org:String} ORDER BY ALL")

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        return {
            "calls": self.calls(),
            "witnesses": self.witnesses(),
            "tool_calls": self.tool_calls(),
            "duplicates": self.duplicates(),
            "evidence": self.rows(
                "SELECT * EXCEPT (received_at, version) FROM spanledger.observations FINAL "
                "WHERE org_id = {org:String} ORDER BY content_hash"
            ),
            **{unit: self.usage(unit) for unit in ("minute", "hour", "day")},
        }


@pytest.fixture
def books(client: Client, org: str) -> Books:
    return Books(client, org)


@pytest.fixture
def books_of(client: Client) -> Callable[[str], Books]:
    """``books_of(org)``: the books of any org."""
    return lambda org: Books(client, org)


class Writer:
    """A ledger whose evidence all belongs to one org."""

    def __init__(self, client: Client, org: str, prices: Prices, **options: Any) -> None:
        self.ledger = Ledger(client, prices, **options)
        self.org = org

    def __call__(self, *observations: Observation, links: Sequence[Any] = ()) -> Any:
        report = self.ledger.ingest(
            [replace(o, org_id=self.org) for o in observations], [replace(link, org_id=self.org) for link in links]
        )
        self.ledger.counters(self.org)  # brings the rollups up to date
        return report


@pytest.fixture(scope="module")
def writer_of(client: Client) -> Callable[[str], Writer]:
    """``writer_of(org)``: a writer for fixtures that live as long as the module."""
    return lambda org: Writer(client, org, Prices())


@pytest.fixture
def new_writer(client: Client, prices: Prices) -> Callable[..., Writer]:
    """``new_writer(org)``: a writer that starts afresh, as a new process would."""
    return lambda org, **options: Writer(client, org, options.pop("prices", prices), **options)


@pytest.fixture
def ingest(new_writer: Callable[..., Writer], org: str) -> Writer:
    return new_writer(org)
