"""Newer price data: read exactly, believed only when plausible, never in the way of pricing."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from datetime import time as day_time
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices.types as theirs
import pytest
from genai_prices.data import providers as DATA  # noqa: N812

from spanledger.semconv.prices import PriceBook
from spanledger.semconv.prices.base import BaseBook
from spanledger.semconv.prices.rates import records_of
from spanledger.semconv.prices.refresh import Refresher, RefreshError, parse_base
from spanledger.semconv.usage import Usage

NOVEMBER = int(datetime(2026, 11, 15, tzinfo=UTC).timestamp()) * 10**9
TEXT = Usage(input_uncached=1_000, output_text=100)


def plain(value: Any) -> Any:
    """The published JSON's shape of the package's own objects."""
    if isinstance(value, theirs.ModelPrice):
        return {key: plain(price) for key, price in value.__dict__.items() if price is not None}
    if is_dataclass(value):
        names = {"or_": "or", "and_": "and"}
        items = {names.get(f.name, f.name): getattr(value, f.name) for f in fields(value) if not f.name.startswith("_")}
        return {key: plain(item) for key, item in items.items() if item is not None and key != "extractors"}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (date, day_time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"@{format(value, 'f')}@"  # becomes a number with these very digits
    return value


@pytest.fixture(scope="module")
def document() -> list[dict[str, Any]]:
    return [plain(provider) for provider in DATA]


def encoded(document: list[dict[str, Any]]) -> bytes:
    return re.sub(r'"@([0-9.]+)@"', r"\1", json.dumps(document)).encode()


@pytest.fixture(scope="module")
def published(document: list[dict[str, Any]]) -> bytes:
    return encoded(document)


def changed(document: list[dict[str, Any]], price: str) -> bytes:
    """The document with another input price for gpt-4o."""
    copy = json.loads(json.dumps(document))
    openai = next(provider for provider in copy if provider["id"] == "openai")
    next(model for model in openai["models"] if model["id"] == "gpt-4o")["prices"]["input_mtok"] = f"@{price}@"
    return encoded(copy)


def cost(book: PriceBook) -> Decimal | None:
    return book.price(TEXT, provider="openai", model="gpt-4o", at_ns=NOVEMBER).total


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_the_published_form_of_the_bundled_data_gives_the_bundled_prices(published: bytes) -> None:
    base, bundled = parse_base(published, BaseBook()), BaseBook()
    assert base.providers == bundled.providers
    for provider in bundled.providers:
        assert rows(base, provider) == rows(bundled, provider)


def rows(base: BaseBook, provider: str) -> set[tuple[object, ...]]:
    return {
        (row.model, row.token_class, str(row.conditions), row.valid_from, row.rate, row.per)
        for model in base.listed(provider)
        for snapshot in base.schedules(model).standard.snapshots()
        for row in records_of(snapshot)
    }


def test_prices_are_read_as_exact_decimals(document: list[dict[str, Any]]) -> None:
    book = PriceBook(base=parse_base(changed(document, "2.123456789012345678")))
    assert cost(book) == Decimal("2.123456789012345678") / 1_000 + Decimal("0.001")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", "not JSON"),
        (b'{"models": []}', "not a list of providers"),
        (b'[{"id": "openai"}]', "another format"),
        (b"[]", "no models of openai, anthropic, google, aws_bedrock, azure_openai"),
    ],
)
def test_what_is_not_price_data_is_refused_in_one_line(content: bytes, message: str) -> None:
    with pytest.raises(RefreshError, match=message) as caught:
        parse_base(content, BaseBook())
    assert "\n" not in str(caught.value)


def test_data_that_lost_most_models_is_refused(document: list[dict[str, Any]]) -> None:
    few = [{**provider, "models": provider["models"][:3]} for provider in document]
    with pytest.raises(RefreshError, match="where"):
        parse_base(encoded(few), BaseBook())


def test_new_data_takes_over_and_old_snapshots_stay_citable(document: list[dict[str, Any]]) -> None:
    book = PriceBook()
    before = book.price(TEXT, provider="openai", model="gpt-4o", at_ns=NOVEMBER)
    refresher = Refresher(book, lambda: changed(document, "2"))
    assert refresher.refresh()
    after = book.price(TEXT, provider="openai", model="gpt-4o", at_ns=NOVEMBER)
    assert (before.total, after.total) == (Decimal("0.0035"), Decimal("0.003"))
    old, new = book.snapshot(before.price_id), book.snapshot(after.price_id)
    assert old is not None
    assert new is not None
    assert old.source_version == BaseBook().source_version
    assert new.source_version.startswith("data-")
    assert not refresher.refresh()  # the same document again changes nothing
    assert refresher.refreshes == 1


def test_a_failing_download_leaves_the_data_in_use(document: list[dict[str, Any]]) -> None:
    def fail() -> bytes:
        raise OSError("no route to host")

    book = PriceBook()
    refresher = Refresher(book, fail)
    assert not refresher.refresh()
    assert refresher.last_error == "OSError: no route to host"
    assert cost(book) == Decimal("0.0035")


def test_nonsense_from_the_network_leaves_the_data_in_use() -> None:
    book = PriceBook()
    refresher = Refresher(book, lambda: b"[]")
    assert not refresher.refresh()
    assert refresher.last_error.startswith("RefreshError: the price data has no models of")
    assert cost(book) == Decimal("0.0035")


def test_the_thread_fetches_and_keeps_a_copy_for_the_next_start(document: list[dict[str, Any]], tmp_path: Path) -> None:
    keep = tmp_path / "prices.json"
    fetchers: set[str] = set()

    def fetch() -> bytes:
        fetchers.add(threading.current_thread().name)
        return changed(document, "2")

    book = PriceBook()
    refresher = Refresher(book, fetch, keep=keep)
    refresher.start()
    assert eventually(lambda: refresher.refreshes == 1 and keep.is_file())
    refresher.stop()
    assert fetchers == {"spanledger-price-refresh"}
    assert cost(book) == Decimal("0.003")

    def offline() -> bytes:
        raise OSError("offline")

    restarted = PriceBook()
    again = Refresher(restarted, offline, keep=keep)
    again.start()
    assert eventually(lambda: again.refreshes == 1 and again.last_error != "")
    again.stop()
    assert cost(restarted) == Decimal("0.003")
