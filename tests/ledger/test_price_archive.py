"""What priced a call can be read back from the store, the same to the last digit."""

from __future__ import annotations

from typing import Any

import pytest

from spanledger.ledger.price_archive import PriceArchive
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.prices.rates import records_of
from spanledger.semconv.usage import Usage

MIDDAY = 1_795_000_000_000_000_000


@pytest.mark.parametrize(
    ("provider", "model", "usage"),
    [
        ("openai", "gpt-4o-mini", Usage(input_uncached=1_000, cache_read=200, output_text=100)),
        ("groq", "whisper-large-v3-turbo", Usage(counts={"audio_seconds": 3})),
    ],
)
def test_a_snapshot_comes_back_as_it_was(client: Any, provider: str, model: str, usage: Usage) -> None:
    book = PriceBook()
    cost = book.price(usage, provider=provider, model=model, at_ns=MIDDAY)
    kept = book.snapshot(cost.price_id)
    assert kept is not None
    archive = PriceArchive(client)
    archive.keep(records_of(kept))
    found = archive.snapshot(cost.price_id)
    assert found is not None
    assert (found.price_id, found.rates, found.minimums) == (cost.price_id, kept.rates, kept.minimums)
    assert found.conditions == kept.conditions


def test_what_was_never_recorded_is_not_invented(client: Any) -> None:
    assert PriceArchive(client).snapshot("nobody:knows") is None
