"""Bill lines as columns: what a pull holds in memory, hashes and writes."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from spanledger.ledger.arrow import pa
from spanledger.reconciler.bill_line import BillLine, Kind
from spanledger.reconciler.fx import FxRates
from spanledger.reconciler.units import Money
from spanledger.semconv.money import LEDGER_SCALE, text, to_ledger
from spanledger.semconv.usage import TOKEN_CLASSES

_TEXT: Final[Any] = pa.string()
_MONEY: Final[Any] = pa.decimal128(38, LEDGER_SCALE)
_TIME: Final[Any] = pa.timestamp("ms", "UTC")

COLUMNS: Final[dict[str, Any]] = {
    "slot": _TEXT,
    "provider": _TEXT,
    "kind": _TEXT,
    "period_start": _TIME,
    "period_end": _TIME,
    "model": _TEXT,
    "token_class": _TEXT,
    "project": _TEXT,
    "workspace": _TEXT,
    "api_key": _TEXT,
    "service_tier": _TEXT,
    "is_batch": pa.bool_(),
    "line_item": _TEXT,
    "quantity": _MONEY,
    "unit": _TEXT,
    "amount": _MONEY,
    "currency": _TEXT,
    "amount_usd": _MONEY,
    "list_amount": _MONEY,
    "charge": _TEXT,
    "is_final": pa.bool_(),
    "source_id": _TEXT,
    "dimensions": pa.map_(_TEXT, _TEXT),
}
"""Columns of ``bill_line_versions`` that come from a line, in row order, with their Arrow types."""

_COUNTS_TOKENS: Final = frozenset({*TOKEN_CLASSES, "cache_read_audio", "cache_read_image"})
_GAP: Final = "\x1f"
_HASH_MASK: Final = (1 << 128) - 1


@dataclass(slots=True)
class SlotContent:
    """What a pull found in one slot. ``digest`` does not depend on the order of the lines."""

    lines: int = 0
    digest: int = 0
    is_final: bool = True

    @property
    def content_hash(self) -> bytes:
        return self.digest.to_bytes(16, "big")


@dataclass(slots=True)
class LineBuffer:
    """Collects lines of one pull as rows, with the digest of each slot.

    Attributes:
        fx: exchange rates for ``amount_usd``.
        notes: counts what could not be read in full, by kind.
        rows: lines not yet taken.
        slots: everything added so far, by slot, rows taken included.
    """

    fx: FxRates
    notes: Counter[str] = field(default_factory=Counter[str])
    rows: list[tuple[object, ...]] = field(default_factory=list[tuple[object, ...]])
    slots: dict[str, SlotContent] = field(default_factory=dict[str, SlotContent])
    _texts: dict[datetime, str] = field(default_factory=dict[datetime, str])

    def add(self, line: BillLine, slot: str, *, is_final: bool, evidence: str) -> None:
        """Take over one line.

        Args:
            line: as the parser made it.
            slot: where it belongs.
            is_final: the stream's rule, used where the provider does not say itself.
            evidence: where the line came from, used as its id where the provider gives none.

        Raises:
            spanledger.semconv.money.MoneyError: a number does not fit the ledger.
        """
        dimensions = line.dimensions
        amount, amount_usd, currency, list_amount = None, None, "", None
        if line.money is not None:
            amount, currency = to_ledger(line.money.amount), line.money.currency
            if amount != line.money.amount:
                dimensions = {**dimensions, "amount_exact": text(line.money.amount)}
            amount_usd = self._usd(line.money, amount, line.start)
        elif line.kind is Kind.COST:
            self.notes["without_amount"] += 1
        if line.list_money is not None:
            list_amount = to_ledger(line.list_money.amount)
        final = is_final if line.is_final is None else line.is_final
        quantity, unit = None if line.quantity is None else to_ledger(line.quantity), line.unit
        if quantity is not None and unit != "tokens" and line.token_class in _COUNTS_TOKENS:
            # Characters, or a provider's units of who knows how many tokens: summed as tokens they would be wrong by a
            # factor.
            dimensions = {**dimensions, "quantity": f"{text(quantity)} {unit or 'of unknown unit'}"}
            quantity, unit = None, ""
            self.notes["without_a_number_of_tokens"] += 1
        texts = (
            line.provider,
            line.kind,
            line.model,
            line.token_class,
            line.project,
            line.workspace,
            line.api_key,
            line.service_tier,
            line.line_item,
            unit,
            currency,
            line.charge,
            self._times(line.start),
            self._times(line.end),
            # Unknown and absent must not hash like an empty text.
            f"{line.is_batch}{_GAP}{quantity}{_GAP}{amount}{_GAP}{amount_usd}{_GAP}{list_amount}{_GAP}{final}",
        )
        said = _GAP.join(texts)
        if dimensions:
            said += _GAP + repr(sorted(dimensions.items()))
        content = self.slots.get(slot)
        if content is None:
            content = self.slots[slot] = SlotContent()
        content.digest = (content.digest + _hash(said)) & _HASH_MASK
        content.lines += 1
        content.is_final = content.is_final and final
        self.rows.append(
            (
                slot,
                line.provider,
                line.kind,
                line.start,
                line.end,
                line.model,
                line.token_class,
                line.project,
                line.workspace,
                line.api_key,
                line.service_tier,
                line.is_batch,
                line.line_item,
                quantity,
                unit,
                amount,
                currency,
                amount_usd,
                list_amount,
                line.charge,
                final,
                line.source_id or evidence,
                tuple(dimensions.items()),
            )
        )

    def marks(self) -> dict[str, tuple[int, int]]:
        """How many lines each slot has so far, and their digest: for `added`."""
        return {slot: (content.lines, content.digest) for slot, content in self.slots.items()}

    def added(self, before: Mapping[str, tuple[int, int]]) -> frozenset[tuple[str, int, int]]:
        """What each slot got since ``before``: equal for equal lines, empty for none."""
        found: set[tuple[str, int, int]] = set()
        for slot, content in self.slots.items():
            lines, digest = before.get(slot, (0, 0))
            if content.lines != lines:
                found.add((slot, content.lines - lines, (content.digest - digest) & _HASH_MASK))
        return frozenset(found)

    def _times(self, instant: datetime) -> str:
        """An instant as text; a pull has few different ones."""
        text = self._texts.get(instant)
        if text is None:
            text = self._texts[instant] = instant.isoformat()
        return text

    def _usd(self, money: Money, amount: Decimal, start: datetime) -> Decimal | None:
        if money.currency == "USD":
            return amount
        converted = self.fx.usd(money, start.date())
        if converted is None:
            self.notes["without_rate"] += 1
            return None
        return to_ledger(converted)

    def take(self, slots: frozenset[str] | None = None) -> list[tuple[object, ...]]:
        """Hand over the collected rows (of some slots only) and forget all of them."""
        taken = self.rows if slots is None else [row for row in self.rows if row[0] in slots]
        self.rows = []
        return taken


def _hash(said: str) -> int:
    return int.from_bytes(hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=16).digest(), "big")


def arrow_table(
    rows: list[tuple[object, ...]], constants: dict[str, object], fetched_at: datetime, version: int
) -> Any:
    """An Arrow table of ``bill_line_versions`` rows; ``constants`` are text columns equal on every row."""
    count = len(rows)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(COLUMNS)
    arrays: dict[str, Any] = {}
    for name, value in constants.items():
        arrays[name] = _repeat(value, _TEXT, count)
    for (name, kind), column in zip(COLUMNS.items(), columns, strict=True):
        arrays[name] = pa.array(column, kind)
    arrays["version"] = _repeat(version, pa.uint64(), count)
    arrays["fetched_at"] = _repeat(fetched_at, _TIME, count)
    return pa.table(arrays)


def _repeat(value: object, kind: Any, count: int) -> Any:
    return pa.array([value], kind).take(pa.array([0] * count, pa.int8()))
