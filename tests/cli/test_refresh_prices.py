"""Newer base prices in a serving process: taken over in the background, recorded, and never in the way."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices.types as theirs
import pytest
from genai_prices.data import providers as bundled

from spanledger.cli import pricing
from spanledger.cli.app import run
from spanledger.cli.price_refresh import PriceRefresh
from spanledger.ledger.client import StoreTarget, connect
from spanledger.ledger.migrate import migrate
from spanledger.ledger.price_archive import PriceArchive
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.usage import Usage

NOVEMBER = int(datetime(2026, 11, 15, tzinfo=UTC).timestamp()) * 10**9


def plain(value: Any) -> Any:
    """Bundled data in the shape in which it is published; prices keep their digits."""
    if isinstance(value, Decimal):
        return f"@{value:f}@"
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, theirs.ModelPrice):
        value = value.__dict__
    elif is_dataclass(value):
        value = {f.name.rstrip("_"): getattr(value, f.name) for f in fields(value) if not f.name.startswith("_")}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item is not None and key != "extractors"}
    return value


@pytest.fixture(scope="module")
def newer() -> bytes:
    """What is bundled, but for the price of one model."""
    document = [plain(provider) for provider in bundled]
    openai = next(provider for provider in document if provider["id"] == "openai")
    next(model for model in openai["models"] if model["id"] == "gpt-4o")["prices"]["input_mtok"] = "@7.125@"
    return re.sub(r'"@([0-9.]+)@"', r"\1", json.dumps(document)).encode()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[PriceArchive]:
    client = connect(StoreTarget.embedded(tmp_path / "store"))
    migrate(client)
    yield PriceArchive(client)
    client.close()


def test_newer_prices_are_used_kept_and_recorded(
    newer: bytes, archive: PriceArchive, tmp_path: Path, wait_for: Callable[..., Any]
) -> None:
    book = PriceBook()
    answers = iter([newer, b"<html>down for maintenance</html>"])

    def fetch() -> bytes:
        try:
            return next(answers)
        except StopIteration:
            raise ConnectionError("nobody answers") from None

    refresh = PriceRefresh(book, archive, tmp_path, fetch, every_seconds=0.01)
    refresh.start()
    wait_for(lambda: refresh.numbers()["price_refresh_failures"] > 1, "two failures", 60)
    refresh.stop(30)
    assert refresh.numbers()["price_refreshes"] == 1
    assert "nobody answers" in refresh.trouble
    cost = book.price(Usage(input_uncached=1_000_000), provider="openai", model="gpt-4o", at_ns=NOVEMBER)
    assert cost.total == Decimal("7.125")
    snapshot = archive.snapshot(cost.price_id)
    assert snapshot is not None
    assert snapshot.rates["input_uncached"].amount == Decimal("7.125")
    assert pricing.base(tmp_path) is not None, "kept for the next start"


def test_a_server_goes_on_with_the_prices_in_use(serve: Callable[..., Any], wait_for: Callable[..., Any]) -> None:
    served = serve("--refresh-prices", "--prices-url", "http://127.0.0.1:1/prices.json")
    wait_for(lambda: "spanledger_price_refresh_failures_total 1.0" in served.get("/metrics"), "the failure", 60)
    with urllib.request.urlopen(served.url("http") + "/readyz", timeout=30) as answer:
        said = json.loads(answer.read())
    assert said["status"] == "ready"
    assert said["notes"]["prices"].startswith("base prices are not fresh: ConnectError")


def test_a_fetch_that_fails_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["prices", "refresh", "--prices-url", "http://127.0.0.1:1/x", "--data", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("spanledger: cannot fetch http://127.0.0.1:1/x: ")
    assert list(tmp_path.iterdir()) == []
