"""What every receiver does with a request body: judge it, journal it, say how it went."""

from __future__ import annotations

from spanledger.collector.decode import Verdict, check_protobuf
from spanledger.collector.decode_json import check_json
from spanledger.collector.errors import (
    BrokenOffError,
    CollectorError,
    JournalFullError,
    MalformedError,
    TooLargeError,
    UnauthenticatedError,
    UnsupportedError,
)
from spanledger.collector.journal import Journal
from spanledger.collector.signals import Encoding, Signal
from spanledger.collector.stats import Stats

DEFAULT_MAX_BODY_BYTES = 64 << 20

_REASONS: tuple[tuple[type[CollectorError], str], ...] = (
    (MalformedError, "malformed"),
    (BrokenOffError, "broken_off"),
    (TooLargeError, "too_large"),
    (UnsupportedError, "unsupported"),
    (UnauthenticatedError, "unauthenticated"),
    (JournalFullError, "journal_full"),
)


def judge(signal: Signal, encoding: Encoding, body: bytes) -> Verdict:
    """Which records of a request body can be read.

    Raises:
        MalformedError: the body is not OTLP.
    """
    return check_json(signal, body) if encoding is Encoding.JSON else check_protobuf(signal, body)


class Intake:
    """The one door to the journal, shared by all receivers. Thread-safe."""

    def __init__(self, journal: Journal, stats: Stats, *, max_body_bytes: int = DEFAULT_MAX_BODY_BYTES) -> None:
        self._journal = journal
        self._stats = stats
        self.max_body_bytes = max_body_bytes

    def accept(self, transport: str, org_id: str, signal: Signal, encoding: Encoding, body: bytes) -> Verdict:
        """Take a request; on return its readable records are durable (metrics are only counted).

        Returns:
            What was accepted and refused: the sender learns of refused records by `partial_success`.

        Raises:
            MalformedError: the body is not OTLP.
            TooLargeError: it is over `max_body_bytes`.
            RetryableError: nothing was stored, try again.
        """
        if len(body) > self.max_body_bytes:
            raise TooLargeError(f"the body has {len(body)} bytes, the limit is {self.max_body_bytes}")
        verdict = judge(signal, encoding, body)
        if verdict.accepted and signal is not Signal.METRICS:
            self._journal.append(org_id, signal, encoding, body)
        self.count(transport, signal, len(body), verdict)
        return verdict

    def count(self, transport: str, signal: Signal, size: int, verdict: Verdict) -> None:
        """Count a request that was taken."""
        name = signal.name.lower()
        with self._stats.lock:
            self._stats.requests[f"{transport}/{name}"] += 1
            self._stats.received_bytes += size
            self._stats.accepted_records[name] += verdict.accepted
            self._stats.refused_records.update(verdict.refused)
            if signal is Signal.METRICS:
                self._stats.dropped_records[name] += verdict.accepted

    def count_refusal(self, error: CollectorError) -> None:
        """Count a request that was refused as a whole. Receivers call it once per refusal."""
        reason = next((word for kind, word in _REASONS if isinstance(error, kind)), "unavailable")
        with self._stats.lock:
            self._stats.refused_requests[reason] += 1
