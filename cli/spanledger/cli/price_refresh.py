"""Fetching newer base prices: once by command, or regularly in a serving process. Prices in use stay until then."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from spanledger.cli.pricing import REFRESHED
from spanledger.cli.recurring import Recurring
from spanledger.ledger.errors import StoreError
from spanledger.ledger.price_archive import PriceArchive
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.prices.refresh import Refresher

_log = logging.getLogger(__name__)

EVERY_SECONDS: Final = 3_600.0
TIMEOUT_SECONDS: Final = 30.0


def download(url: str) -> bytes:
    """A document's bytes.

    Raises:
        httpx.HTTPError: there is no good answer.
    """
    import httpx

    return httpx.get(url, timeout=TIMEOUT_SECONDS, follow_redirects=True).raise_for_status().content


class PriceRefresh(Recurring):
    """Keeps a serving process's price book fresh, on a thread of its own: at the start, then every hour.

    Newer data is checked, kept in the data directory for the next start, and recorded in ``prices`` with the time from
    which we knew it. Whatever fails, the prices in use stay; `numbers` and the log say so.
    """

    def __init__(
        self,
        book: PriceBook,
        archive: PriceArchive,
        data: Path,
        fetch: Callable[[], bytes],
        *,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        """
        Args:
            book: the book to keep fresh.
            archive: where its rates are recorded; used by this thread alone.
            data: directory that keeps the newest data.
            fetch: returns the document that genai-prices publishes, or raises.
            every_seconds: pause between two attempts.
        """
        super().__init__("spanledger-price-refresh", every_seconds)
        self._book = book
        self._archive = archive
        self._refresher = Refresher(book, fetch, keep=data / REFRESHED)
        self._failures = 0

    def stop(self, seconds: float | None = 1.0) -> None:
        """End; a download under way is left behind after so long."""
        super().stop(seconds)

    @property
    def trouble(self) -> str:
        """Why the last attempt failed, one line; ``""`` when it did not."""
        return self._refresher.last_error

    def numbers(self) -> dict[str, int]:
        """For metrics: editions taken over, failed attempts."""
        return {"price_refreshes": self._refresher.refreshes, "price_refresh_failures": self._failures}

    def work(self) -> None:
        """One attempt."""
        before = self._refresher.last_error
        if self._refresher.refresh():
            _log.info("base prices were refreshed")
            self._record()
        elif self._refresher.last_error:
            self._failures += 1
            if self._refresher.last_error != before:
                _log.warning("base prices were not refreshed, those in use stay: %s", self._refresher.last_error)

    def _record(self) -> None:
        try:
            self._archive.keep(self._book.records())
        except StoreError as error:
            # What prices a call is recorded with the call anyway.
            _log.warning("refreshed prices were not recorded: %s", error)
