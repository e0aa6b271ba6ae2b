"""What the collector needs from others, as protocols: it is given these, it never reaches for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from spanledger.ledger.gather import SpanLink
from spanledger.ledger.store import IngestReport
from spanledger.semconv.dialects import Reading
from spanledger.semconv.observation import Observation
from spanledger.semconv.records import LogEntry, SpanRecord, SpanTable


class LedgerWriter(Protocol):
    """The ledger's single writer (`spanledger.ledger.store.Ledger`)."""

    def ingest(self, observations: Sequence[Observation], links: Sequence[SpanLink], /) -> IngestReport:
        """Bring evidence into the ledger: durable on return, and idempotent.

        Raises:
            RetryableStoreError: nothing is known to be stored; the same batch may succeed later.
            PermanentStoreError: the store refuses this batch.
        """
        ...


class RecordReader(Protocol):
    """Reads records into observations (`spanledger.semconv.dialects.Dialects`)."""

    def read_span(self, record: SpanRecord, /) -> Observation | None:
        """What a span says about a model call; ``None`` when it says nothing."""
        ...

    def read_table(self, table: SpanTable, /) -> Reading | None:
        """What spans that are alike say, as `read_span` would say it; ``None`` to read them one by one."""
        ...

    def read_log(self, record: LogEntry, /) -> Observation | None:
        """What a log record says about a model call; ``None`` when it says nothing."""
        ...


class TokenVerifier(Protocol):
    """Knows API tokens (`spanledger.ledger.tokens`)."""

    def verify(self, token: str, /) -> str | None:
        """The org that a token belongs to, ``None`` for a token that nobody issued or that was revoked.

        May raise when the store does not answer; the receivers then tell the sender to try again.
        """
        ...
