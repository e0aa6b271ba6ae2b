"""Pulling one slice: from responses to committed bill lines.

Order of writes: lines under a new version, raw responses, the commit. Nothing is visible before the commit, and a slice
that is pulled again replaces what it brought before, so a crash at any point and any repetition end in the same lines.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from spanledger.reconciler.batch import LineBuffer, SlotContent
from spanledger.reconciler.bill_line import BillLine
from spanledger.reconciler.clock import Clock
from spanledger.reconciler.errors import PermanentSyncError, State
from spanledger.reconciler.fx import FxRates
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.http.messages import ApiResponse
from spanledger.reconciler.store import BillStore, Place, RawResponse, SlotState, compress
from spanledger.reconciler.streams import Context, Page, Stream, pages, request_context
from spanledger.reconciler.windows import Window
from spanledger.semconv.money import MoneyError

SPILL_LINES: Final = 40_000
"""More lines than this of one slice are written before the slice is complete (still invisible), to bound memory."""

KEEP_BODY_BYTES: Final = 64 * 1024 * 1024
"""Larger bodies are kept by hash only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceOutcome:
    """What one slice brought."""

    lines: int
    slots_changed: int
    slots_unchanged: int
    notes: Counter[str]
    delayed_until: datetime | None = None


@dataclass(slots=True, kw_only=True)
class _Pull:
    buffer: LineBuffer
    context: Context
    version: int
    responses: list[RawResponse] = field(default_factory=list[RawResponse])
    spilled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicePuller:
    """Pulls slices of one stream into the store."""

    store: BillStore
    clock: Clock
    fx: FxRates
    api: Api
    stream: Stream
    place: Place
    run_id: str

    def pull(self, window: Window) -> SliceOutcome:
        """Pull a slice and replace its slots.

        Raises:
            SyncError: the slice failed; nothing of it was taken over.
            StoreError: the store failed; nothing of it is visible.
        """
        notes: Counter[str] = Counter()
        context = Context(window, self.clock.now(), notes)
        pull = _Pull(buffer=LineBuffer(self.fx, notes), context=context, version=self.store.new_version(self.place))
        try:
            for response in pages(self.api, self.stream, window):
                self._take_page(response, pull)
        except MoneyError as error:
            raise PermanentSyncError(
                State.DEGRADED, f"{self.api.name}, {self.stream.name}, {window.since} to {window.until}: {error}"
            ) from error
        return self._replace(pull)

    def replace_from(self, kept: Iterable[Page], window: Window, responses: list[RawResponse]) -> SliceOutcome:
        """Parse kept pages again and replace the slots of ``window``; the responses are kept under the new version."""
        notes: Counter[str] = Counter()
        context = Context(window, self.clock.now(), notes)
        pull = _Pull(
            buffer=LineBuffer(self.fx, notes),
            context=context,
            version=self.store.new_version(self.place),
            responses=responses,
        )
        for page in kept:
            self._take_lines(self.stream.parse(page, context), pull, page.body)
        return self._replace(pull)

    def _take_page(self, response: ApiResponse, pull: _Pull) -> None:
        body = self.api.redactor.clean_bytes(response.body)
        pull.responses.append(_raw(response, body))
        self._take_lines(self.stream.parse(Page.of(response), pull.context), pull, body)
        if len(pull.buffer.rows) > SPILL_LINES:
            self.store.write_lines(self.place, pull.buffer.take(), pull.version, pull.context.now)
            pull.spilled = True

    def _take_lines(self, lines: Iterable[BillLine], pull: _Pull, body: bytes) -> None:
        window, now, final_after = pull.context.window, pull.context.now, self.stream.policy.final_after
        evidence = hashlib.sha256(body).hexdigest()[:16]
        asked = frozenset(window.slots())
        places: dict[datetime, tuple[str, bool]] = {}
        for index, line in enumerate(lines):
            place = places.get(line.start)
            if place is None:
                slot = window.slot_of(line.start)
                place = places[line.start] = (slot, window.slot_end(slot) + final_after <= now)
            slot, is_final = place
            if slot not in asked:
                # Some providers answer with neighbouring days; those belong to their own slice.
                pull.context.notes["outside_range"] += 1
                continue
            pull.buffer.add(line, slot, is_final=is_final, evidence=f"raw:{evidence}#{index}")

    def _replace(self, pull: _Pull) -> SliceOutcome:
        window, now = pull.context.window, pull.context.now
        names = window.slots()
        known = self.store.slots(self.place, names)
        found = {name: pull.buffer.slots.get(name) or self._empty(window, name, now) for name in names}
        changed = {
            name: content
            for name, content in found.items()
            # Spilled lines stand in the store already: committing them costs less than removing them.
            if (pull.spilled and content.lines) or _differs(content, known.get(name))
        }
        self.store.write_lines(self.place, pull.buffer.take(frozenset(changed)), pull.version, now)
        if changed:
            self.store.keep_raw(
                self.place,
                pull.responses,
                run_id=self.run_id,
                since=window.since,
                until=window.until,
                version=pull.version,
            )
        self.store.commit(
            self.place,
            changed,
            version=pull.version,
            run_id=self.run_id,
            fetched_at=now,
            grouped_by=self.stream.grouped_by,
        )
        return SliceOutcome(
            lines=_lines(found),
            slots_changed=len(changed),
            slots_unchanged=len(found) - len(changed),
            notes=pull.context.notes,
            delayed_until=pull.context.delayed_until,
        )

    def _empty(self, window: Window, slot: str, now: datetime) -> SlotContent:
        return SlotContent(is_final=window.slot_end(slot) + self.stream.policy.final_after <= now)


def _lines(found: Mapping[str, SlotContent]) -> int:
    return sum(content.lines for content in found.values())


def _differs(content: SlotContent, known: SlotState | None) -> bool:
    return known is None or (known.content_hash, known.lines, known.is_final) != (
        content.content_hash,
        content.lines,
        content.is_final,
    )


def _raw(response: ApiResponse, body: bytes) -> RawResponse:
    return RawResponse(
        url=response.url,
        status=response.status,
        content_type=response.headers.get("content-type", ""),
        sha256=hashlib.sha256(body).digest(),
        size=len(body),
        body=compress(body) if len(body) <= KEEP_BODY_BYTES else None,
        context=request_context(response.request),
        fetched_at=response.fetched_at,
    )
