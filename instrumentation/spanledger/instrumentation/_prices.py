"""The price book of an instrumented application: loaded by the thread that completes spans, not by the application."""

from __future__ import annotations

import threading
from typing import Any, Protocol

from spanledger.semconv.cost import Cost
from spanledger.semconv.usage import Usage


class Prices(Protocol):
    """The part of `spanledger.semconv.prices.PriceBook` that prices calls here."""

    def prefetch(self, *, provider: str, model: str) -> None: ...

    def price(
        self,
        usage: Usage,
        *,
        provider: str,
        model: str,
        at_ns: int,
        service_tier: str = "",
        is_batch: bool = False,
        max_output_tokens: int | None = None,
        request_model: str = "",
        inference_geo: str = "",
    ) -> Cost: ...

    def try_price(
        self,
        usage: Usage,
        *,
        provider: str,
        model: str,
        at_ns: int,
        service_tier: str = "",
        is_batch: bool = False,
        max_output_tokens: int | None = None,
        request_model: str = "",
        inference_geo: str = "",
    ) -> Cost | None: ...


class LazyPrices:
    """The price book that comes with Spanledger. Importing its code takes some 20 ms, reading its data some 10 ms.

    `price` may take that long and is called where that does not matter. `try_price` and `prefetch`, which run in an
    application's request, start a thread for it instead.
    """

    def __init__(self) -> None:
        self._book: Prices | None = None
        self._loading: threading.Thread | None = None

    def price(self, usage: Usage, *, provider: str, model: str, at_ns: int, **details: Any) -> Cost:
        return self._loaded().price(usage, provider=provider, model=model, at_ns=at_ns, **details)

    def try_price(self, usage: Usage, *, provider: str, model: str, at_ns: int, **details: Any) -> Cost | None:
        if self._book is None:
            self.prefetch(provider=provider, model=model)
            return None
        return self._book.try_price(usage, provider=provider, model=model, at_ns=at_ns, **details)

    def prefetch(self, *, provider: str, model: str) -> None:
        if self._book is not None:
            self._book.prefetch(provider=provider, model=model)
        elif self._loading is None or not self._loading.is_alive():
            self._loading = threading.Thread(target=self._loaded, name="spanledger-prices", daemon=True)
            self._loading.start()

    def _loaded(self) -> Prices:
        from spanledger.semconv.prices import PriceBook

        if self._book is None:
            self._book = PriceBook()  # two threads may both make one: no lock that a fork could leave held
        return self._book
