"""The way into the ledger that serving and importing share: store, journal, pipeline."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from spanledger.cli import pricing
from spanledger.collector.deadletter import DeadLetters
from spanledger.collector.intake import DEFAULT_MAX_BODY_BYTES, Intake
from spanledger.collector.journal import Journal, JournalSettings
from spanledger.collector.pipeline import Pipeline, PipelineSettings
from spanledger.collector.stats import Stats
from spanledger.ledger.client import StoreTarget, check_directory
from spanledger.ledger.store import Ledger
from spanledger.semconv.dialects import Dialects
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.prices.overrides import Overrides

DEFAULT_JOURNAL_BYTES: Final = 8 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest:
    """A running pipeline and what it works on."""

    book: PriceBook
    contracts: Overrides | None
    """The user's overrides that the book lies under."""
    ledger: Ledger
    stats: Stats
    journal: Journal
    intake: Intake
    pipeline: Pipeline


@contextmanager
def open_ingest(
    data: Path,
    target: StoreTarget,
    *,
    left: Callable[[], float],
    prices: Path | None = None,
    journal_bytes: int = DEFAULT_JOURNAL_BYTES,
    request_bytes: int = DEFAULT_MAX_BODY_BYTES,
    keep_all_spans: bool = False,
) -> Generator[Ingest]:
    """Open the store and the journal in ``data``, and work the journal off in the background until the block ends.

    Args:
        data: directory of the journal, and of the store when that is embedded.
        target: where the ledger is.
        prices: the user's overrides file, if any.
        left: how many seconds may be spent, at the end, on working off what is still in the journal.
        journal_bytes: limit of the journal.
        request_bytes: limit of one request.
        keep_all_spans: hand over the place of every span, not only in traces that hold model calls.

    Raises:
        StartupError, PermanentStoreError, RetryableStoreError: one readable line.
    """
    with ExitStack() as parts:
        check_directory(data)
        contracts = pricing.contracts(prices)
        book = PriceBook(contracts, pricing.base(data))
        ledger = Ledger.open(target, prices=book)
        parts.callback(ledger.close)
        stats = Stats()
        journal = Journal.open(data / "journal", JournalSettings(limit_bytes=journal_bytes), stats=stats)
        parts.callback(journal.close)
        pipeline = Pipeline(
            journal,
            Dialects(),
            ledger,
            DeadLetters(data / "dead-letters"),
            stats=stats,
            settings=PipelineSettings(keep_all_spans=keep_all_spans),
        )
        pipeline.start()
        parts.callback(lambda: pipeline.stop(left()))
        intake = Intake(journal, stats, max_body_bytes=request_bytes)
        yield Ingest(
            book=book,
            contracts=contracts,
            ledger=ledger,
            stats=stats,
            journal=journal,
            intake=intake,
            pipeline=pipeline,
        )
