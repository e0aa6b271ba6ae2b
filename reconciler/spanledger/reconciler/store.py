"""The reconciler's tables: bill lines with their commits, raw responses, sync runs."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

import zstandard
from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import store_errors
from spanledger.ledger.errors import RetryableStoreError
from spanledger.reconciler.batch import SlotContent, arrow_table
from spanledger.reconciler.clock import Clock
from spanledger.reconciler.errors import State

_RANDOM_BITS: Final = 22

INSERT_ROWS: Final = 20_000
"""Lines per insert: large enough that the cost per insert vanishes, small enough to bound memory."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whose lines: one stream of one connection."""

    org_id: str
    connection: str
    stream: str

    def constants(self) -> dict[str, object]:
        return {"org_id": self.org_id, "connection": self.connection, "stream": self.stream}


@dataclass(frozen=True, slots=True)
class SlotState:
    """The committed content of a slot."""

    version: int
    content_hash: bytes
    lines: int
    is_final: bool
    fetched_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResponse:
    """A response as it is kept. ``context`` is what the parser needs beside the body."""

    url: str
    status: int
    content_type: str
    sha256: bytes
    size: int
    body: bytes | None
    """zstd-compressed; ``None`` when only the hash is kept (very large files that live elsewhere)."""
    context: Mapping[str, Any]
    fetched_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One step of a sync as ``sync_runs`` shows it."""

    place: Place
    run_id: str
    step: str
    since: date
    until: date
    run_since: date
    run_until: date
    state: State
    is_complete: bool
    detail: str
    started_at: datetime
    finished_at: datetime
    requests: int = 0
    retries: int = 0
    response_bytes: int = 0
    lines: int = 0
    slots_changed: int = 0
    slots_unchanged: int = 0
    notes: Mapping[str, int] = field(default_factory=dict[str, int])


class BillStore:
    """Reads and writes the reconciler's tables. Thread-safe: one statement at a time."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._last_version = 0

    def rows(
        self, sql: str, parameters: Mapping[str, object], doing: str, *, as_bytes: Sequence[str] = ()
    ) -> Sequence[Sequence[Any]]:
        """Run a query; text columns named in ``as_bytes`` come undecoded. Raises `StoreError`."""
        formats: dict[str, str | dict[str, str]] = dict.fromkeys(as_bytes, "bytes")
        with self._lock, store_errors(doing):
            result = self._client.query(  # pyright: ignore[reportUnknownMemberType]
                sql, parameters=dict(parameters), column_formats=formats
            )
            return result.result_rows

    def new_version(self, place: Place) -> int:
        """A version above every committed one of the connection, whatever the clock does, and never used before.

        Milliseconds above, random bits below: lines of an attempt that was never committed must not be found under the
        version of a later one.
        """
        found = self.rows(
            "SELECT max(version) FROM spanledger.bill_slots WHERE org_id = {org:String} AND connection = {name:String}",
            {"org": place.org_id, "name": place.connection},
            "choosing a version for bill lines",
        )
        now = int(self._clock.now().timestamp() * 1000)
        with self._lock:
            highest = max(int(found[0][0]), self._last_version)
            self._last_version = max(now, (highest >> _RANDOM_BITS) + 1) << _RANDOM_BITS | secrets.randbits(
                _RANDOM_BITS
            )
            return self._last_version

    def slots(self, place: Place, names: Iterable[str]) -> dict[str, SlotState]:
        """The committed state of some slots; slots never pulled are missing."""
        found = self.rows(
            "SELECT slot, current_version, content_hash, lines, is_final, fetched_at "
            "FROM spanledger.bill_slots_current "
            "WHERE org_id = {org:String} AND connection = {name:String} AND stream = {stream:String} "
            "AND slot IN {slots:Array(String)}",
            {"org": place.org_id, "name": place.connection, "stream": place.stream, "slots": list(names)},
            "reading the committed days",
        )
        return {
            str(slot): SlotState(int(version), bytes(content), int(lines), bool(final), fetched)
            for slot, version, content, lines, final, fetched in found
        }

    def slot_names(self, place: Place) -> dict[str, int]:
        """Every committed slot of a stream with its number of lines."""
        found = self.rows(
            "SELECT slot, lines FROM spanledger.bill_slots_current "
            "WHERE org_id = {org:String} AND connection = {name:String} AND stream = {stream:String}",
            {"org": place.org_id, "name": place.connection, "stream": place.stream},
            "reading the committed days",
        )
        return {str(slot): int(lines) for slot, lines in found}

    def write_lines(self, place: Place, rows: list[tuple[object, ...]], version: int, fetched_at: datetime) -> None:
        """Write lines under a version that nobody sees before `commit`."""
        for first in range(0, len(rows), INSERT_ROWS):
            table = arrow_table(rows[first : first + INSERT_ROWS], place.constants(), fetched_at, version)
            with self._lock, store_errors("writing bill lines"):
                self._client.insert_arrow(  # pyright: ignore[reportUnknownMemberType]
                    "spanledger.bill_line_versions", table
                )

    def commit(
        self,
        place: Place,
        slots: Mapping[str, SlotContent],
        *,
        version: int,
        run_id: str,
        fetched_at: datetime,
        grouped_by: Sequence[str] = (),
    ) -> None:
        """Make a version current for ``slots``, all at once. Slots without lines become empty.

        Raises:
            RetryableStoreError: the store does not hold the lines that were written (a lost or repeated insert);
                nothing was committed.
        """
        if not slots:
            return
        if any(content.lines for content in slots.values()):
            self._check_written(place, slots, version)
        now = self._clock.now()
        data: list[list[object]] = [
            [
                place.org_id, place.connection, place.stream, slot, version, run_id, content.lines,
                content.content_hash, content.is_final, list(grouped_by), fetched_at, now,
            ]
            for slot, content in slots.items()
        ]  # fmt: skip
        names = (
            "org_id", "connection", "stream", "slot", "version", "run_id", "lines",
            "content_hash", "is_final", "grouped_by", "fetched_at", "committed_at",
        )  # fmt: skip
        self._insert("bill_slots", data, names, "committing bill lines")

    def _check_written(self, place: Place, slots: Mapping[str, SlotContent], version: int) -> None:
        found = self.rows(
            "SELECT slot, count() FROM spanledger.bill_line_versions WHERE org_id = {org:String} "
            "AND connection = {name:String} AND stream = {stream:String} AND version = {version:UInt64} "
            "AND slot IN {slots:Array(String)} GROUP BY slot",
            {
                "org": place.org_id,
                "name": place.connection,
                "stream": place.stream,
                "version": version,
                "slots": list(slots),
            },
            "checking written bill lines",
        )
        written = {str(slot): int(count) for slot, count in found}
        for slot, content in slots.items():
            if written.get(slot, 0) != content.lines:
                raise RetryableStoreError(
                    f"{place.connection}, {place.stream}, {slot}: wrote {content.lines} bill lines and the store holds "
                    f"{written.get(slot, 0)}; nothing was committed, run the sync again"
                )

    def keep_raw(
        self, place: Place, responses: Sequence[RawResponse], *, run_id: str, since: date, until: date, version: int
    ) -> None:
        """Keep the responses that a version was read from."""
        if not responses:
            return
        bodies: list[list[object]] = [
            [place.org_id, place.connection, raw.sha256, raw.body] for raw in responses if raw.body is not None
        ]
        if bodies:
            self._insert("raw_bodies", bodies, ("org_id", "connection", "sha256", "body"), "keeping raw responses")
        data: list[list[object]] = [
            [
                place.org_id, place.connection, place.stream, run_id, since, until, position, raw.url, raw.status,
                raw.content_type, raw.sha256, raw.size, json.dumps(raw.context), version, raw.fetched_at,
            ]
            for position, raw in enumerate(responses)
        ]  # fmt: skip
        names = (
            "org_id", "connection", "stream", "run_id", "since", "until", "position", "url", "status",
            "content_type", "sha256", "body_bytes", "context", "version", "fetched_at",
        )  # fmt: skip
        self._insert("raw_responses", data, names, "keeping raw responses")

    def record(self, runs: Sequence[RunRecord]) -> None:
        """Append to the history of syncs."""
        names = (
            "org_id", "connection", "stream", "run_id", "step", "since", "until", "run_since", "run_until", "state",
            "is_complete", "detail", "started_at", "finished_at", "requests", "retries", "response_bytes", "lines",
            "slots_changed", "slots_unchanged", "notes",
        )  # fmt: skip
        data: list[list[object]] = [
            [
                run.place.org_id, run.place.connection, run.place.stream, run.run_id, run.step, run.since, run.until,
                run.run_since, run.run_until, run.state.value, run.is_complete, run.detail, run.started_at,
                run.finished_at, run.requests, run.retries, run.response_bytes, run.lines, run.slots_changed,
                run.slots_unchanged, dict(run.notes),
            ]
            for run in runs
        ]  # fmt: skip
        self._insert("sync_runs", data, names, "recording the sync")

    def _insert(self, table: str, data: list[list[object]], names: Sequence[str], doing: str) -> None:
        with self._lock, store_errors(doing):
            self._client.insert(f"spanledger.{table}", data, column_names=list(names))


def compress(body: bytes) -> bytes:
    """zstd, level 3: what ``raw_bodies.body`` holds."""
    return zstandard.ZstdCompressor(level=3).compress(body)


def decompress(body: bytes) -> bytes:
    """The inverse of `compress`. Raises `zstandard.ZstdError`."""
    return zstandard.ZstdDecompressor().decompress(body)
