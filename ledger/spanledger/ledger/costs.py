"""What calls cost, as columns.

Nearly every call reports text tokens at rates that are certain: its cost is two or three products and their sum, in
whole units of the ledger's scale. Those are computed for all calls of a model at once, in 64-bit integers, exactly.
Every other call is priced by the price book one by one, with the same result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import is_
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np

from spanledger.ledger.arrow import pa
from spanledger.ledger.columns import MONEY_TYPE, Kind
from spanledger.ledger.evidence import I64, Batch, Bools, array
from spanledger.ledger.pricing import BILLING_LABEL, Pricer, price
from spanledger.semconv.cost import Cost, CostStatus
from spanledger.semconv.money import CONTEXT, LEDGER_SCALE
from spanledger.semconv.observation import Observation
from spanledger.semconv.prices.quick import FlatRates
from spanledger.semconv.usage import TOKEN_CLASSES

_PRICED: Final = ("input_uncached", "cache_read", "output_text")
_DECIDING: Final = (
    "provider",
    "request_model",
    "response_model",
    "service_tier",
    "org_id",
    "project",
    "inference_geo",
)
_MOST: Final = 2**62
"""No sum of amounts (in units) comes near the end of 64 bits below this."""


@runtime_checkable
class FlatPricer(Protocol):
    """A price book that can say by which rates it prices (`spanledger.semconv.prices.PriceBook.flat_rates`)."""

    def flat_rates(self, seen: Observation, first_ns: int, last_ns: int) -> FlatRates | None:
        """The rates of calls like this one; ``None`` where pricing takes more than multiplication."""
        ...


def booked(pricer: Pricer, batch: Batch) -> dict[str, Any]:
    """The columns of money of ``calls_settled``, in the order of the batch."""
    flat = _Flat(len(batch))
    if isinstance(pricer, FlatPricer):
        _price_flat(pricer, batch, flat)
    rest = np.flatnonzero(~flat.done)
    if not len(rest):
        return flat.columns()
    if len(rest) == len(batch):
        return of_costs(price(pricer, batch.observations))
    slowly = of_costs(price(pricer, batch.take(rest).observations))
    done = np.flatnonzero(flat.done)
    quickly = flat.columns()
    order = np.empty(len(batch), np.int64)
    order[np.concatenate([done, rest])] = np.arange(len(batch))
    indices, rows = pa.array(order), pa.array(done)
    return {
        name: _joined(quickly[name].take(rows), slowly[name], Kind.WORD if name in _WORDS else None).take(indices)
        for name in quickly
    }


_WORDS: Final = ("cost_status", "cost_reason", "price_id")


def _joined(one: Any, other: Any, kind: Kind | None) -> Any:
    if kind is Kind.WORD:
        return pa.chunked_array([one, other]).unify_dictionaries().combine_chunks()
    return pa.concat_arrays([one, other])


def of_costs(costs: Sequence[Cost]) -> dict[str, Any]:
    """The same columns of costs that are known one by one."""
    statuses, totals, lows, highs, by_class, price_ids, reasons = map(list, zip(*costs, strict=True))
    columns: dict[str, Any] = {"cost_usd": array(Kind.MONEY_OR_NULL, totals)}
    for name, amounts in (("cost_low_usd", lows), ("cost_high_usd", highs)):
        same = all(map(is_, amounts, totals))
        columns[name] = columns["cost_usd"] if same else array(Kind.MONEY_OR_NULL, amounts)
    columns["cost_status"] = array(Kind.WORD, statuses)
    columns["cost_reason"] = array(Kind.WORD, reasons)
    columns["class_cost_usd"] = array(Kind.MONEY_MAP, by_class)
    columns["price_id"] = array(Kind.WORD, price_ids)
    return columns


class _Flat:
    """Costs in the making, in units of the ledger's scale."""

    def __init__(self, rows: int) -> None:
        self.done: Bools = np.zeros(rows, np.bool_)
        self.amounts: I64 = np.zeros((rows, len(_PRICED)), np.int64)
        self.used: Bools = np.zeros((rows, len(_PRICED)), np.bool_)
        self.word: I64 = np.zeros(rows, np.int64)
        self.words: list[tuple[str, str]] = [("", "")]
        """Price id and reason, by `word`."""

    def columns(self) -> dict[str, Any]:
        total = _money(self.amounts.sum(axis=1))
        offsets = np.zeros(len(self.done) + 1, np.int32)
        np.cumsum(self.used.sum(axis=1), out=offsets[1:])
        names = pa.array(_PRICED, pa.string()).take(pa.array(np.nonzero(self.used)[1]))
        shares = pa.MapArray.from_arrays(pa.array(offsets), names, _money(self.amounts[self.used]))
        status = [str(CostStatus.LIST)] * len(self.done)
        price_ids, reasons = (_coded(self.word, [pair[side] for pair in self.words]) for side in (0, 1))
        return {
            "cost_usd": total,
            "cost_low_usd": total,
            "cost_high_usd": total,
            "cost_status": array(Kind.WORD, status),
            "cost_reason": reasons,
            "class_cost_usd": shares,
            "price_id": price_ids,
        }


def _coded(codes: I64, words: Sequence[str]) -> Any:
    """Words by their numbers, without those that do not occur."""
    used, codes = np.unique(codes, return_inverse=True)
    encoded = pa.array([words[at] for at in used.tolist()], pa.string()).dictionary_encode()
    return encoded.take(pa.array(codes))


def _money(units: I64) -> Any:
    """Amounts from whole units; none is negative."""
    halves = np.zeros((len(units), 2), "<i8")
    halves[:, 0] = units
    return pa.Array.from_buffers(MONEY_TYPE, len(units), [None, pa.py_buffer(halves)])


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Token counts of a batch, by class in the order of `_PRICED`; which rows report these alone."""

    counts: I64
    plain: Bools


def _tokens(batch: Batch) -> _Tokens:
    columns = batch.columns
    plain = np.ones(len(batch), np.bool_)
    counts = np.zeros((len(batch), len(_PRICED)), np.int64)
    for name in TOKEN_CLASSES:
        column = columns[name]
        if column.null_count == len(column):
            if name in ("input_uncached", "output_text"):
                plain[:] = False
            continue
        values = column.fill_null(0).to_numpy(zero_copy_only=False)
        if name in _PRICED:
            plain &= values < np.uint64(_MOST)
            counts[:, _PRICED.index(name)] = np.where(plain, values, np.uint64(0)).astype(np.int64)
            if name != "cache_read" and column.null_count:
                plain &= column.is_valid().to_numpy(zero_copy_only=False)
        else:
            plain &= values == 0
    for name in ("usage_partial", "usage_estimated"):
        plain &= ~columns[name].to_numpy(zero_copy_only=False)
    if columns["exact_cost_usd"].null_count < len(batch):
        plain &= columns["exact_cost_usd"].is_null().to_numpy(zero_copy_only=False)
    if len(columns["usage_counts"].keys) or BILLING_LABEL in columns["labels"].keys.unique().to_pylist():
        plain[:] = False
    return _Tokens(counts, plain)


def _price_flat(pricer: FlatPricer, batch: Batch, flat: _Flat) -> None:
    tokens = _tokens(batch)
    if not tokens.plain.any():
        return
    kind_of = np.zeros(len(batch), np.int64)
    for name in _DECIDING:
        column = batch.columns[name]
        if len(column.dictionary) > 1:
            _, kind_of = np.unique(
                kind_of * len(column.dictionary) + column.indices.to_numpy(zero_copy_only=False), return_inverse=True
            )
    kind_of = kind_of * 2 + batch.columns["is_batch"].to_numpy(zero_copy_only=False)
    sent = batch.columns["started_ns"].to_numpy(zero_copy_only=False)
    for kind in np.unique(kind_of[tokens.plain]).tolist():
        rows = np.flatnonzero(tokens.plain & (kind_of == kind))
        # As sent: the price book has its own rule for clocks that cannot be believed.
        first, last = int(sent[rows].min()), int(sent[rows].max())
        rates = pricer.flat_rates(batch.observations[int(rows[0])], first, last)
        if rates is not None:
            _multiply(rates, tokens, rows, flat)


def _multiply(rates: FlatRates, tokens: _Tokens, rows: I64, flat: _Flat) -> None:
    counts = tokens.counts[rows]
    if rates.prompt_limit is not None:
        short = counts[:, 0] + counts[:, 1] <= rates.prompt_limit
        rows, counts = rows[short], counts[short]
    if not len(rows):
        return
    units: list[int] = []
    for rate, most in zip(
        (rates.input_uncached, rates.cache_read, rates.output_text), counts.max(axis=0).tolist(), strict=True
    ):
        unit = _units(rate)
        if most and (unit is None or most * unit >= _MOST // len(_PRICED)):
            return
        units.append(unit or 0)
    flat.done[rows] = True
    flat.amounts[rows] = counts * np.array(units, np.int64)
    flat.used[rows] = counts > 0
    flat.word[rows] = len(flat.words)
    flat.words.append((rates.price_id, rates.note))


def _units(rate: Decimal | None) -> int | None:
    """A rate in units of the ledger's scale, where that is a whole number."""
    if rate is None or rate < 0:
        return None
    units = CONTEXT.scaleb(rate, Decimal(LEDGER_SCALE))
    return int(units) if units == units.to_integral_value(context=CONTEXT) and units < _MOST else None
