"""Pulling one slice: from a provider's pages to committed bill lines."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from spanledger.reconciler.batch import LineBuffer
from spanledger.reconciler.bill_line import BillLine
from spanledger.reconciler.clock import Clock
from spanledger.reconciler.errors import PermanentSyncError, State
from spanledger.reconciler.fx import FxRates
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.store import BillStore, Place, RawResponse, compress
from spanledger.reconciler.streams import Context, Page, Stream, page_context
from spanledger.reconciler.takeover import Outcome, Takeover
from spanledger.reconciler.windows import Window
from spanledger.semconv.money import MoneyError

KEEP_BODY_BYTES: Final = 64 * 1024 * 1024
"""Larger bodies are kept by hash only."""


GoOn = Callable[[], None]
"""Raises `SyncError` when the pull must not go on."""


def always() -> None:
    """For pulls that nothing stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicePuller:
    """Pulls slices of one stream into the store."""

    store: BillStore
    clock: Clock
    fx: FxRates
    stream: Stream
    place: Place
    run_id: str
    api: Api | None = None
    """Needed to pull; not to parse again."""
    go_on: GoOn = always
    """Asked once more before a slice is taken over: a pull may take long."""

    def pull(self, window: Window) -> Outcome:
        """Pull a slice and replace its slots.

        Raises:
            SyncError: the slice failed; nothing of it was taken over.
            StoreError: the store failed; nothing of it is visible.
        """
        assert self.api is not None
        takeover, context = self._begin(window, self.clock.now())
        slots = window.slots()
        asked, answered = frozenset(slots), set[str]()
        pages: set[frozenset[tuple[str, int, int]]] = set()
        try:
            for page in self.stream.pull(self.api, window):
                raw = raw_response(page)
                takeover.responses.append(raw)
                answered.add(page.period)
                before = takeover.buffer.marks()
                self._take(self.stream.parse(page, context), takeover, context, raw.sha256, asked)
                brought = takeover.buffer.added(before)
                if brought and brought in pages and page.file is None:
                    # Lines differ in their dimensions: two pages of the same lines are one page.
                    raise PermanentSyncError(
                        State.DEGRADED, f"{self.api.name} sent a page of {window.since} twice; nothing was taken over"
                    )
                pages.add(brought)
                del page  # a page of a large account is large: not two at once
        except MoneyError as error:
            raise PermanentSyncError(
                State.DEGRADED,
                f"{self.place.connection}, {self.stream.name}, {window.since} to {window.until}: {error}",
            ) from error
        self.go_on()
        if self.stream.policy.by_period:
            slots = self._without_kept(slots, answered, context)
        return self._finish(takeover, context, slots)

    def _without_kept(self, slots: Sequence[str], answered: set[str], context: Context) -> list[str]:
        """The slots to replace: those that were answered, and those that have nothing to lose."""
        known = self.store.slots(self.place, [slot for slot in slots if slot not in answered])
        kept = {slot: state.lines for slot, state in known.items() if state.lines}
        if kept:
            context.notes["kept_without_an_export"] += sum(kept.values())
        return [slot for slot in slots if slot not in kept]

    def parse_again(
        self,
        kept: Iterable[tuple[Page, RawResponse]],
        window: Window,
        slots: Sequence[str],
        fetched_at: datetime,
    ) -> Outcome:
        """Parse the kept pages of a slice with today's parser, and replace those of its slots whose lines differ.

        Args:
            kept: the pages of one pull, in order.
            window: what that pull asked for.
            slots: the slots of the window that still stand as that pull left them.
            fetched_at: when the pages came; finality is judged as of then.

        Raises:
            SyncError: a page cannot be read any more.
            StoreError: the store failed; nothing of it is visible.
        """
        takeover, context = self._begin(window, fetched_at)
        for page, raw in kept:
            takeover.responses.append(raw)
            self._take(self.stream.parse(page, context), takeover, context, raw.sha256, frozenset(slots))
        context.notes.pop("outside_range", None)
        return self._finish(takeover, context, slots)

    def _begin(self, window: Window, now: datetime) -> tuple[Takeover, Context]:
        notes: Counter[str] = Counter()
        takeover = Takeover(
            store=self.store,
            place=self.place,
            run_id=self.run_id,
            version=self.store.new_version(self.place),
            now=now,
            buffer=LineBuffer(self.fx, notes),
        )
        return takeover, Context(window, now, notes)

    def _take(
        self,
        lines: Iterable[BillLine],
        takeover: Takeover,
        context: Context,
        sha256: bytes,
        asked: frozenset[str],
    ) -> None:
        window, now, final_after = context.window, context.now, self.stream.policy.final_after
        evidence = sha256.hex()[:16]
        places: dict[datetime | str, tuple[str, bool]] = {}
        for index, line in enumerate(lines):
            key = line.slot or line.start
            place = places.get(key)
            if place is None:
                slot = line.slot or window.slot_of(line.start)
                place = places[key] = (slot, slot in asked and window.slot_end(slot) + final_after <= now)
            slot, is_final = place
            if slot not in asked:
                # Some providers answer with neighbouring days; those belong to their own slice.
                context.notes["outside_range"] += 1
                continue
            takeover.add(line, slot, is_final=is_final, evidence=f"raw:{evidence}#{index}")

    def _finish(self, takeover: Takeover, context: Context, slots: Sequence[str]) -> Outcome:
        window, final_after = context.window, self.stream.policy.final_after
        outcome = takeover.replace(
            slots,
            since=window.since,
            until=window.until,
            empty_is_final=lambda slot: window.slot_end(slot) + final_after <= context.now,
            grouped_by=self.stream.grouped_by,
        )
        return replace(outcome, delayed_until=context.delayed_until)


def raw_response(page: Page) -> RawResponse:
    """The copy to keep; of a very large body, only its hash."""
    if page.file is not None:
        with page.file.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").digest()
        size = page.file.stat().st_size
        kept = compress(page.file.read_bytes()) if size <= KEEP_BODY_BYTES else None
    else:
        sha256, size = hashlib.sha256(page.body).digest(), len(page.body)
        kept = compress(page.body) if size <= KEEP_BODY_BYTES else None
    return RawResponse(
        url=page.url,
        status=page.status,
        content_type=page.content_type,
        sha256=sha256,
        size=size,
        body=kept,
        context=page_context(page),
        fetched_at=page.fetched_at,
    )
