"""Replacing slots as a whole: lines under a new version, the evidence, then one commit.

Nothing is visible before the commit, and slots that are pulled again replace what they brought before: a crash at any
point and any repetition end in the same lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Final

from spanledger.reconciler.batch import LineBuffer, SlotContent
from spanledger.reconciler.bill_line import BillLine
from spanledger.reconciler.store import BillStore, Place, RawResponse, SlotState

SPILL_LINES: Final = 20_000
"""More lines than this are written before the pull is complete (still invisible), to bound memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a takeover brought."""

    lines: int
    slots_changed: int
    slots_unchanged: int
    notes: Counter[str]
    delayed_until: datetime | None = None


@dataclass(slots=True, kw_only=True)
class Takeover:
    """Collects the lines of some slots and replaces those slots in the end.

    Attributes:
        store: where to.
        place: whose lines.
        run_id: the sync or import that this belongs to.
        version: from `BillStore.new_version`.
        now: when the pull began.
        buffer: collects the lines.
        responses: the evidence, in order.
    """

    store: BillStore
    place: Place
    run_id: str
    version: int
    now: datetime
    buffer: LineBuffer
    responses: list[RawResponse] = field(default_factory=list[RawResponse])
    _spilled: bool = False

    def add(self, line: BillLine, slot: str, *, is_final: bool, evidence: str) -> None:
        """See `LineBuffer.add`; writes what has gathered when it is much. Raises `StoreError`, `MoneyError`."""
        self.buffer.add(line, slot, is_final=is_final, evidence=evidence)
        if len(self.buffer.rows) >= SPILL_LINES:
            self.store.write_lines(self.place, self.buffer.take(), self.version, self.now)
            self._spilled = True

    def replace(
        self,
        slots: Sequence[str],
        *,
        since: date,
        until: date,
        empty_is_final: Callable[[str], bool],
        grouped_by: Sequence[str] = (),
        fetched_at: datetime | None = None,
    ) -> Outcome:
        """Make what was added the content of ``slots``; slots without lines become empty. Raises `StoreError`."""
        fetched_at = fetched_at or self.now
        known = self.store.slots(self.place, slots)
        found = {slot: self.buffer.slots.get(slot) or SlotContent(is_final=empty_is_final(slot)) for slot in slots}
        changed = {
            slot: content
            for slot, content in found.items()
            # Spilled lines stand in the store already: committing them costs less than removing them.
            if (self._spilled and content.lines) or _differs(content, known.get(slot))
        }
        self.store.write_lines(self.place, self.buffer.take(frozenset(changed)), self.version, fetched_at)
        if changed:
            self.store.keep_raw(
                self.place, self.responses, run_id=self.run_id, since=since, until=until, version=self.version
            )
        self.store.commit(
            self.place,
            changed,
            version=self.version,
            run_id=self.run_id,
            fetched_at=fetched_at,
            grouped_by=grouped_by,
        )
        return Outcome(
            lines=_lines(found),
            slots_changed=len(changed),
            slots_unchanged=len(found) - len(changed),
            notes=self.buffer.notes,
        )


def _lines(found: Mapping[str, SlotContent]) -> int:
    return sum(content.lines for content in found.values())


def _differs(content: SlotContent, known: SlotState | None) -> bool:
    return known is None or (known.content_hash, known.lines, known.is_final) != (
        content.content_hash,
        content.lines,
        content.is_final,
    )
