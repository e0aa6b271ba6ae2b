"""Reading the kept responses again with today's parsers: better tables, new exchange rates, no network."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

import zstandard

from spanledger.reconciler.clock import Clock
from spanledger.reconciler.connections import Connection
from spanledger.reconciler.connectors import connector
from spanledger.reconciler.engine import StreamReport
from spanledger.reconciler.errors import ConfigError, PermanentSyncError, State, SyncError
from spanledger.reconciler.fx import FxRates
from spanledger.reconciler.slices import SlicePuller
from spanledger.reconciler.store import BillStore, Place, RawResponse, decompress
from spanledger.reconciler.streams import Page, Stream, kept_page
from spanledger.reconciler.windows import Window

_CURRENT: Final = (
    "SELECT current_version, groupArray(slot), any(fetched_at) FROM spanledger.bill_slots_current "
    "WHERE org_id = {org:String} AND connection = {name:String} AND stream = {stream:String} "
    "AND slot >= {since:String} AND slot < {until:String} GROUP BY current_version ORDER BY current_version"
)
_PAGES: Final = (
    "SELECT position, url, status, content_type, sha256, body_bytes, context, r.fetched_at, since, until, "
    "b.body AS packed "
    "FROM spanledger.raw_responses AS r LEFT JOIN (SELECT sha256, any(body) AS body FROM spanledger.raw_bodies "
    "WHERE org_id = {org:String} AND connection = {name:String} GROUP BY sha256) AS b USING (sha256) "
    "WHERE org_id = {org:String} AND connection = {name:String} AND stream = {stream:String} "
    "AND version = {version:UInt64} ORDER BY position"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reparser:
    """Parses what was kept once more."""

    store: BillStore
    clock: Clock
    fx: FxRates

    def reparse(self, connection: Connection, *, since: date, until: date, stream: str = "") -> list[StreamReport]:
        """Parse the kept responses of a connection's slots in ``[since, until)`` again.

        Slots whose lines come out the same stay as they are; the others get a new version with the old fetch time.

        Args:
            connection: whose bills.
            since, until: days; months count when they begin in the range.
            stream: one stream only.

        Raises:
            ConfigError: the connection's connector or the stream is unknown.
            StoreError: the store failed.
        """
        found = connector(connection.connector)
        settings = {setting.name: connection.setting(found.spec, setting.name) for setting in found.spec.settings}
        streams = [reader for reader in found.readers(settings) if stream in ("", reader.name)]
        if not streams and stream:
            names = ", ".join(dict.fromkeys(reader.name for reader in found.readers(settings))) or "none"
            raise ConfigError(f"connection {connection.name} keeps no stream {stream!r}; it keeps {names}")
        reports: dict[str, StreamReport] = {}
        for name in dict.fromkeys(reader.name for reader in streams):
            readers = [reader for reader in streams if reader.name == name]
            report = reports[name] = StreamReport(stream=name, since=since, until=until)
            try:
                self._stream(Place(connection.org_id, connection.name, name), readers, report)
            except SyncError as error:
                report.state, report.detail = error.state, str(error)
        return list(reports.values())

    def _stream(self, place: Place, readers: Sequence[Stream], report: StreamReport) -> None:
        parameters = {"org": place.org_id, "name": place.connection, "stream": place.stream}
        versions = self.store.rows(
            _CURRENT,
            # A month's name sorts before its days: 2026-11 < 2026-11-01.
            parameters | {"since": f"{report.since:%Y-%m-%d}"[:7], "until": report.until.isoformat()},
            "looking for kept responses",
        )
        run_id = f"reparse-{uuid.uuid4().hex}"
        for version, slots, fetched_at in versions:
            wanted = [str(slot) for slot in slots if len(slot) == 7 or str(slot) >= report.since.isoformat()]
            if not wanted:
                continue
            kept = self.store.rows(
                _PAGES, parameters | {"version": int(version)}, "reading kept responses", as_bytes=("packed",)
            )
            if not kept:
                report.notes["without_kept_responses"] += len(wanted)
                continue
            if not all(row[10] for row in kept):
                report.notes["kept_by_hash_only"] += len(wanted)
                continue
            self._slice(place, readers, kept, wanted, fetched_at, run_id, report)

    def _slice(
        self,
        place: Place,
        readers: Sequence[Stream],
        kept: Sequence[Sequence[Any]],
        slots: Sequence[str],
        fetched_at: datetime,
        run_id: str,
        report: StreamReport,
    ) -> None:
        pages = list(_pages(kept))
        reader = next((found for found in readers if found.reads(pages[0][0])), readers[0])
        policy = reader.policy
        puller = SlicePuller(store=self.store, clock=self.clock, fx=self.fx, stream=reader, place=place, run_id=run_id)
        window = Window(kept[0][8], kept[0][9], policy.grain, policy.zone)
        report.add(puller.parse_again(pages, window, slots, fetched_at))


def _pages(kept: Sequence[Sequence[Any]]) -> Iterator[tuple[Page, RawResponse]]:
    for _, url, status, content_type, sha256, size, said, fetched_at, _, _, packed in kept:
        context = json.loads(said)
        body = _unpacked(packed, bytes(sha256), str(url))
        page = kept_page(body, context, fetched_at, url=str(url), content_type=str(content_type))
        raw = RawResponse(
            url=str(url),
            status=int(status),
            content_type=str(content_type),
            sha256=bytes(sha256),
            size=int(size),
            body=packed,
            context=context,
            fetched_at=fetched_at,
        )
        yield page, raw


def _unpacked(packed: bytes, sha256: bytes, url: str) -> bytes:
    """A kept body, if it still is what was received. Raises `PermanentSyncError`."""
    try:
        body = decompress(packed)
    except zstandard.ZstdError:
        body = b""
    if hashlib.sha256(body).digest() != sha256:
        raise PermanentSyncError(
            State.DEGRADED, f"the kept response of {url} does not fit its SHA-256 any more: pull its days again"
        )
    return body
