"""What priced a call can be read back from the store, the same to the last digit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spanledger.ledger.price_archive import PriceArchive
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.prices.overrides_file import load_overrides
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


def test_rates_of_a_contract_come_back_whatever_its_numbers(client: Any, tmp_path: Path) -> None:
    """Percentages and exchange rates with many digits, days that no column can hold: recorded as they priced."""
    file = tmp_path / "prices.toml"
    file.write_text(
        '[[discounts]]\nprovider = "openai"\npercent = 33.333333333333333333\nfrom = 0001-01-01\nuntil = 9999-12-31\n'
        '[[rates]]\nprovider = "mistral"\nmodel = "m"\ncurrency = "EUR"\n'
        "per_million = { input = 0.123456789123456789 }\n"
        '[[fx]]\ncurrency = "EUR"\nusd = 1.085012345678912345\n'
    )
    book, archive = PriceBook(load_overrides(file)), PriceArchive(client)
    for provider, model in (("openai", "gpt-4o-mini"), ("mistral", "m")):
        cost = book.price(Usage(input_uncached=1_000), provider=provider, model=model, at_ns=MIDDAY)
        kept = book.snapshot(cost.price_id)
        assert kept is not None
        archive.keep(records_of(kept))
        found = archive.snapshot(cost.price_id)
        assert found is not None
        assert (found.price_id, found.rates) == (cost.price_id, kept.rates)


def test_what_was_never_recorded_is_not_invented(client: Any) -> None:
    assert PriceArchive(client).snapshot("nobody:knows") is None
