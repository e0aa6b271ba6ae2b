"""Counters of one collector process: plain numbers, which exporters show as ``spanledger_*``."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class Stats:
    """Live counters. Receivers and pipeline add under `lock`; readers take a `snapshot`.

    All values are totals since the process started; `Counter` keys stand at each field.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    requests: Counter[str] = field(default_factory=Counter[str])
    """Export requests that were acknowledged, by ``grpc/traces``, ``http/logs``, ``import/traces``, ..."""
    refused_requests: Counter[str] = field(default_factory=Counter[str])
    """Export requests that were refused, by ``malformed``, ``too_large``, ``unauthenticated``, ``journal_full``, ..."""
    received_bytes: int = 0
    accepted_records: Counter[str] = field(default_factory=Counter[str])
    """Records inside acknowledged requests, by signal."""
    refused_records: Counter[str] = field(default_factory=Counter[str])
    """Records refused inside acknowledged requests (`partial_success`), by reason."""

    processed_frames: int = 0
    observations: int = 0
    """Records that said something about a model call and are in the ledger."""
    repeated_observations: int = 0
    """Those of them that the ledger had already (redelivery)."""
    dropped_records: Counter[str] = field(default_factory=Counter[str])
    """Records that say nothing about a model call, by signal; metrics are always dropped."""
    decode_errors: Counter[str] = field(default_factory=Counter[str])
    """What could not be read after acceptance, by ``attribute``, ``dialect``, ``frame``."""
    dead_letters: int = 0
    """Frames put aside because they will never succeed."""
    store_retries: int = 0
    """Times the store refused a batch for now and the pipeline waited."""
    torn_bytes: int = 0
    """Bytes of unfinished, never acknowledged frames cut from the journal's tail at start."""
    corrupt_bytes: int = 0
    """Bytes of the journal that no longer match their checksum; kept aside in the dead-letter folder."""
    ingest_lag_seconds: float = 0.0
    """Age that the oldest request of the last batch had when it was in the ledger."""

    def copy(self) -> Stats:
        """A consistent copy that nobody counts on."""
        made = Stats()
        with self.lock:
            for name, value in self._values():
                setattr(made, name, value.copy() if isinstance(value, Counter) else value)
        return made

    def snapshot(self) -> dict[str, int | float | dict[str, int]]:
        """A consistent copy, JSON-ready."""
        with self.lock:
            return {
                name: dict[str, int](value) if isinstance(value, Counter) else value for name, value in self._values()
            }

    def _values(self) -> Iterator[tuple[str, int | float | Counter[str]]]:
        for each in fields(self):
            if each.name != "lock":
                yield each.name, getattr(self, each.name)
