"""Newer base data than the installed package bundles: opt-in, checked before it is used, never on a caller's thread.

The network is not this module's business: `Refresher` is given a function that returns the bytes. Whatever goes wrong,
the data in use stays in use.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, cast

from spanledger.semconv.prices.base import BaseBook
from spanledger.semconv.prices.book import PriceBook
from spanledger.semconv.prices.genai.bundled import from_objects

DATA_URL: Final = "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json"
"""Where genai-prices publishes its data (the address that the package itself refreshes from)."""

_INDISPENSABLE: Final = ("openai", "anthropic", "google", "aws_bedrock", "azure_openai")


class RefreshError(ValueError):
    """Downloaded data cannot be used; the text says why in one line."""


def parse_base(content: bytes, bundled: BaseBook | None = None) -> BaseBook:
    """Base data from the JSON that genai-prices publishes. Prices are read as exact decimals.

    Args:
        content: the document.
        bundled: what it is measured against: data that lost a main provider or a fifth of the models is not believed.

    Raises:
        RefreshError: not that JSON, or implausible.
    """
    try:
        raw: Any = json.loads(content, parse_float=Decimal)
    except ValueError as error:
        raise RefreshError(f"the price data is not JSON: {error}") from error
    if not isinstance(raw, list):
        raise RefreshError("the price data is not a list of providers")
    entries = cast("list[object]", raw)
    # genai-prices has no public function for this; its range is pinned and a test holds it to the bundled data.
    from genai_prices.types import _providers_from_raw  # pyright: ignore[reportPrivateUsage]

    try:
        providers = _providers_from_raw(entries)
    except ValueError as error:
        raise RefreshError(f"the price data has another format: {str(error).splitlines()[0]}") from error
    base = BaseBook(list(from_objects(providers)), f"data-{hashlib.sha256(content).hexdigest()[:12]}")
    if bundled is not None:
        _check(base, bundled)
    return base


def _check(base: BaseBook, bundled: BaseBook) -> None:
    lost = [provider for provider in _INDISPENSABLE if not base.models(provider)]
    if lost:
        raise RefreshError(f"the price data has no models of {', '.join(lost)}")
    before, now = (sum(len(book.models(provider)) for provider in book.providers) for book in (bundled, base))
    if now * 5 < before * 4:
        raise RefreshError(f"the price data has {now} models where {before} were known")


class Refresher:
    """Keeps a price book's base data fresh from one daemon thread.

    Args:
        book: the book to refresh.
        fetch: returns the document's bytes or raises; called on the daemon thread only.
        every_seconds: pause between two attempts.
        keep: file that holds the last good document, read first at start so that a restart does not forget it.
    """

    def __init__(
        self, book: PriceBook, fetch: Callable[[], bytes], *, every_seconds: int = 3_600, keep: Path | None = None
    ) -> None:
        self._book: Final = book
        self._fetch: Final = fetch
        self._every: Final = every_seconds
        self._keep: Final = keep
        self._stop: Final = threading.Event()
        self._thread: threading.Thread | None = None
        self._current = b""
        self.last_error = ""
        """Why the last attempt failed; ``""`` when it did not."""
        self.refreshes = 0
        """How often newer data was taken over."""

    def start(self) -> None:
        """Begin; returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="spanledger-price-refresh", daemon=True)
            self._thread.start()

    def stop(self, timeout_seconds: int = 5) -> None:
        """End; waits for an attempt under way for at most the timeout."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_seconds)

    def refresh(self) -> bool:
        """One attempt, on this thread: whether newer data was taken over."""
        try:
            return self._take(self._fetch(), should_keep=True)
        except Exception as error:  # noqa: BLE001 - the network's boundary: the data in use stays, the reason is kept
            self.last_error = f"{type(error).__name__}: {error}".splitlines()[0]
            return False

    def _run(self) -> None:
        if self._keep is not None and self._keep.is_file():
            try:
                self._take(self._keep.read_bytes(), should_keep=False)
            except (OSError, RefreshError) as error:
                self.last_error = str(error)
        while not self._stop.is_set():
            self.refresh()
            self._stop.wait(self._every)

    def _take(self, content: bytes, should_keep: bool) -> bool:
        if content == self._current:
            self.last_error = ""
            return False
        base = parse_base(content, BaseBook())
        self._book.use(base)
        self._current = content
        self.refreshes += 1
        self.last_error = ""
        if should_keep and self._keep is not None:
            fresh = self._keep.with_suffix(".new")
            fresh.write_bytes(content)
            fresh.replace(self._keep)
        return True
