"""What a residual most likely means, and what to do about it, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from spanledger.reconciler.tieout.interrupted import CAUSE as INTERRUPTED
from spanledger.reconciler.tieout.items import Dims, Finding, ResidualName
from spanledger.semconv.money import text

_MILLION: Final = Decimal(1_000_000)
_CENT: Final = Decimal("0.01")

EVIDENCE: Final[Mapping[ResidualName, str]] = {
    ResidualName.MISSING_TELEMETRY: "SELECT * FROM spanledger.bill_lines WHERE {place}",
    ResidualName.EXCESS_TELEMETRY: "SELECT * FROM spanledger.calls WHERE {place}",
    ResidualName.UNPRICED: "SELECT * FROM spanledger.calls WHERE cost_status = 'unpriced' AND {place}",
}
"""The query that lists what stands behind a cause; every other name is shown by its bill lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One readable reason for a part of the difference.

    Attributes:
        name: the residual.
        amount: its dollars, billed minus booked.
        what: what happened, in one line.
        mend: what to do, in one line; ``""`` when there is nothing to do.
        evidence: SQL that lists the calls or bill lines behind it.
    """

    name: ResidualName
    amount: Decimal
    what: str
    mend: str
    evidence: str


def causes(findings: Iterable[Finding], booked_places: Iterable[Dims]) -> list[Cause]:
    """Group findings by what they have in common and say what they mean, largest amount first.

    Args:
        findings: of one connection.
        booked_places: every place in which the ledger holds something, to tell a place that was never seen from one
            that was seen in part.
    """
    seen = {(kind, value) for dims in booked_places for kind, value in _marks(dims) if value}
    groups: dict[tuple[ResidualName, str, str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        dims = finding.dims
        groups[finding.name, dims.project or dims.workspace or dims.api_key, dims.model, finding.cause].append(finding)
    found = [_cause(name, group, seen) for (name, *_), group in groups.items()]
    return sorted((c for c in found if c.amount), key=lambda c: (-abs(c.amount), c.name, c.what))


def _marks(dims: Dims) -> tuple[tuple[str, str], ...]:
    return (("project", dims.project), ("workspace", dims.workspace), ("API key", dims.api_key), ("model", dims.model))


def _cause(name: ResidualName, group: Sequence[Finding], seen: set[tuple[str, str]]) -> Cause:
    amount = sum((finding.amount for finding in group), Decimal(0))
    dims = group[0].dims
    what, mend = _words(name, group, seen)
    days = sorted({finding.dims.day for finding in group})
    when = f"{days[0]}" if len(days) == 1 else f"{days[0]} to {days[-1]}"
    said = name is ResidualName.UNEXPLAINED or not group[0].cause
    extra = "" if said else f" ({group[0].cause})"
    return Cause(
        name=name,
        amount=amount,
        what=f"{what}{extra}, {when}",
        mend=mend,
        evidence=EVIDENCE.get(name, EVIDENCE[ResidualName.MISSING_TELEMETRY]).format(place=_condition(dims, name)),
    )


def _condition(dims: Dims, name: ResidualName) -> str:
    calls = name in (ResidualName.EXCESS_TELEMETRY, ResidualName.UNPRICED)
    parts = [
        f"{kind} = '{_quoted(value)}'"
        for kind, value in (("project", dims.project), ("workspace", dims.workspace))
        if value
    ]
    if dims.model:
        parts.append(f"lower({'response_model' if calls else 'model'}) LIKE '{_quoted(dims.model)}%'")
    if dims.api_key and not calls:
        parts.append(f"api_key = '{_quoted(dims.api_key)}'")
    return " AND ".join(parts) or "1"


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _words(name: ResidualName, group: Sequence[Finding], seen: set[tuple[str, str]]) -> tuple[str, str]:
    dims = group[0].dims
    place = _place(dims)
    match name:
        case ResidualName.MISSING_TELEMETRY if group[0].cause == INTERRUPTED:
            return f"{place}: settles interrupted calls", ""
        case ResidualName.MISSING_TELEMETRY:
            unseen = next(((kind, v) for kind, v in _marks(dims) if v and (kind, v) not in seen), None)
            if unseen and unseen[0] != "model":
                return f"{unseen[0]} `{unseen[1]}` is billed but was never seen in spans", "instrument what uses it"
            if unseen:
                return (
                    f"model `{unseen[1]}` is billed but was never seen in spans",
                    "find who calls it and instrument it",
                )
            return (
                f"{place}: the provider saw more than the spans show",
                "look for processes without instrumentation, dropped or sampled spans",
            )
        case ResidualName.EXCESS_TELEMETRY:
            return (
                f"{place}: the spans show more than was billed",
                "another account, a free tier, double instrumentation without a shared id, or unbilled calls",
            )
        case ResidualName.RATE_DIFFERENCE:
            return _rate_words(group, place)
        case ResidualName.UNPRICED:
            return f"{place}: seen, but without a price", f"spanledger prices unknown, then give `{dims.model}` a price"
        case ResidualName.TOOL_FEES:
            return f"{dims.token_class or 'tool'} fees that no span counts", ""
        case ResidualName.CREDITS_AND_DISCOUNTS:
            return "credits and discounts on the bill", ""
        case ResidualName.TAX:
            return "tax on the bill", ""
        case ResidualName.TIMING:
            return f"{place}: calls over the end of the period", ""
        case ResidualName.ROUNDING:
            return "rounding of the bill's lines", ""
        case ResidualName.NOT_FINAL_YET:
            return f"{place}: the provider may still restate these days", "run the tie-out again when they are final"
        case ResidualName.UNMATCHED_LINE:
            return (
                "lines that name no model and no known item",
                "map them: spanledger reconcile --show-lines, then an alias",
            )
        case ResidualName.UNEXPLAINED:
            return (
                f"{place}: {group[0].cause or 'no reason was found'}",
                "compare the calls with the provider's console",
            )


def _place(dims: Dims) -> str:
    parts = [f"{kind} `{value}`" for kind, value in _marks(dims) if value]
    return ", ".join(parts) or "the account"


def _rate_words(group: Sequence[Finding], place: str) -> tuple[str, str]:
    priced = [f for f in group if f.billed_unit_price is not None and f.booked_unit_price is not None]
    if not priced:
        return f"{place}: billed at another price than booked", ""
    largest = max(priced, key=lambda f: abs(f.amount))
    billed, booked = largest.billed_unit_price, largest.booked_unit_price
    assert billed is not None
    assert booked is not None
    what = f"{place}: {largest.dims.token_class} billed at ${_rate(billed)}/M, booked at ${_rate(booked)}/M"
    if largest.cause:
        return what, "send the split: newer instrumentation reports it"
    percent = ((billed / booked - 1) * 100).quantize(_CENT) if booked else None
    since = min(f.dims.day for f in priced)
    if percent is not None and percent < 0:
        return what, (
            f"a contract discount of {text(-percent)} % since {since}? "
            f"spanledger prices implied --model {largest.dims.model} prints the override"
        )
    return what, f"a price change? spanledger prices implied --model {largest.dims.model} shows since when"


def _rate(unit_price: Decimal) -> str:
    return text((unit_price * _MILLION).quantize(Decimal("0.0001")))
