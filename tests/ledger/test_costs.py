"""Costs as columns: what the price book says of each call, to the last unit."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.ledger.costs import booked, of_costs
from spanledger.ledger.evidence import Batch
from spanledger.ledger.pricing import price
from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.prices.overrides_file import load_overrides
from spanledger.semconv.usage import Usage

T0 = 1_795_200_000 * 10**9
BOOK = PriceBook()
MODELS = (
    ("openai", "gpt-4o"),
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-sonnet-4-6"),
    ("google", "gemini-2.5-pro"),
    ("deepseek", "deepseek-chat"),
    ("openai", "text-embedding-3-small"),
    ("openai", "unheard-of"),
    ("self_hosted", "llama"),
)
COUNTS = st.one_of(st.none(), st.sampled_from([0, 1, 7, 199_999, 200_001, 10**9, 2**53]), st.integers(0, 250_000))


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    provider, model = draw(st.sampled_from(MODELS))
    other = draw(st.booleans())
    usage = Usage(
        input_uncached=draw(COUNTS),
        cache_read=draw(COUNTS),
        output_text=draw(COUNTS),
        cache_write_5m=draw(st.sampled_from([None, 0, 12])) if other else None,
        reasoning=draw(st.sampled_from([None, 0, 12])) if other else None,
        counts=draw(st.sampled_from([{}, {"web_searches": 2}])) if other else {},
        partial=other and draw(st.booleans()),
        estimated=other and draw(st.booleans()),
    )
    return Observation(
        org_id=draw(st.sampled_from(["acme", "other"])),
        provider=provider,
        request_model=draw(st.sampled_from([model, "alias"])),
        response_model=draw(st.sampled_from([model, ""])),
        service_tier=draw(st.sampled_from(["", "", "flex", "priority"])),
        inference_geo=draw(st.sampled_from(["", "", "global", "us"])),
        is_batch=draw(st.booleans()),
        started_ns=draw(st.sampled_from([T0, T0 - 300 * 86_400 * 10**9, 5])),
        ended_ns=T0,
        received_ns=T0,
        usage=usage,
        labels=draw(st.sampled_from([{}, {"tier": "gold"}, {"billing": "subscription"}])) if other else {},
        exact_cost_usd=draw(st.sampled_from([None, Decimal("0.1")])) if other else None,
        claimed_cost_usd=draw(st.sampled_from([None, Decimal("0.2")])) if other else None,
        status=draw(st.sampled_from(["ok", "error"])) if other else "ok",
        span_id=draw(st.integers(1, 10**6)).to_bytes(8, "big"),
    )


def as_rows(columns: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: column.to_pylist() for name, column in columns.items()}


@settings(max_examples=120, deadline=None)
@given(st.lists(observations(), min_size=1, max_size=40))
def test_columns_say_what_the_price_book_says(seen: list[Observation]) -> None:
    """Every status, bound, share, price id and reason, for calls of every kind side by side."""
    assert as_rows(booked(BOOK, Batch(seen))) == as_rows(of_costs(price(BOOK, seen)))


def test_contracts_hold_in_columns_too(tmp_path: Any, observe: Callable[..., Observation]) -> None:
    """A rate of one organisation's own, with more digits than the ledger has, is nobody else's and rounded once."""
    file = tmp_path / "prices.toml"
    file.write_text(
        '[[rates]]\nprovider = "openai"\nmodel = "gpt-4o"\norg = "acme"\nper_million = { input = 0.1234567 }\n'
    )
    book = PriceBook(load_overrides(file))
    seen = [observe(n, org_id="acme" if n % 2 else "other", usage=(n * 1001, n)) for n in range(1, 30)]
    assert as_rows(booked(book, Batch(seen))) == as_rows(of_costs(price(book, seen)))


def test_usual_calls_are_priced_without_the_price_book(
    observe: Callable[..., Observation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text at certain rates takes no call of the price book for each."""
    asked: list[int] = []
    real = PriceBook.price_many
    monkeypatch.setattr(PriceBook, "price_many", lambda self, given: asked.append(len(given)) or real(self, given))
    seen = [observe(n, usage=(n * 10, n)) for n in range(1, 100)] + [observe(200, usage=Usage(reasoning=4))]
    booked(PriceBook(), Batch(seen))
    assert asked == [1]
