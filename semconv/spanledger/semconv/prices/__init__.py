"""The price book: dated rates per provider, model, tier and contract, and exact costs of calls.

Importing this package loads no price data; that happens on first use.
"""

from spanledger.semconv.prices.book import PriceBook
from spanledger.semconv.prices.rates import PriceRecord, Rate, RateSnapshot

__all__ = ["PriceBook", "PriceRecord", "Rate", "RateSnapshot"]
