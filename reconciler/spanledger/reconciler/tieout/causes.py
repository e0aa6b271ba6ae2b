"""What a residual most likely means, and what to do about it, in words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from shlex import quote
from typing import Final

from spanledger.reconciler.tieout.grain import Span, by_day
from spanledger.reconciler.tieout.interrupted import CAUSE as INTERRUPTED
from spanledger.reconciler.tieout.items import SPLIT_DIMS, Dims, Finding, ResidualName
from spanledger.reconciler.tieout.listing import Source, among, list_calls, list_lines
from spanledger.reconciler.tieout.pairing import OTHER_TIER
from spanledger.reconciler.tieout.run import NEVER_SYNCED
from spanledger.semconv.money import text
from spanledger.semconv.usage import TOKEN_CLASSES

_MILLION: Final = Decimal(1_000_000)
_CENT: Final = Decimal("0.01")

_OF_CALLS: Final = frozenset({ResidualName.EXCESS_TELEMETRY, ResidualName.UNPRICED})
"""Calls stand behind these names; behind every other stand bill lines."""

_CONDITIONS: Final[Mapping[ResidualName, str]] = {
    ResidualName.UNPRICED: "cost_status = 'unpriced'",
    ResidualName.TAX: "charge = 'tax'",
    ResidualName.CREDITS_AND_DISCOUNTS: "(charge IN ('credit', 'adjustment') OR amount < 0)",
    ResidualName.UNMATCHED_LINE: "(charge = 'purchase' OR (charge = 'usage' AND model = '' AND token_class = ''))",
}
"""What the lines or calls behind a name have in common."""

_OF_THE_ACCOUNT: Final = frozenset(
    {
        ResidualName.CREDITS_AND_DISCOUNTS,
        ResidualName.TAX,
        ResidualName.TIMING,
        ResidualName.ROUNDING,
        ResidualName.NOT_FINAL_YET,
        ResidualName.UNMATCHED_LINE,
    }
)
"""Names whose reason does not depend on the project or model."""


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


def causes(
    findings: Iterable[Finding],
    booked_places: Iterable[Dims],
    source: Source,
    *,
    family: Callable[[str], str] = str,
    span: Span = by_day,
) -> list[Cause]:
    """Group findings by what they have in common and say what they mean, largest amount first.

    Args:
        findings: of one connection.
        booked_places: every place in which the ledger holds something, to tell a place that was never seen from one
            that was seen in part.
        source: whose they are, for the queries.
        family: a model's name without its snapshot.
        span: the days that places stand for.
    """
    seen = _Seen(booked_places, family)
    groups: dict[Hashable, list[Finding]] = defaultdict(list)
    for finding in findings:
        groups[_kind(finding, seen)].append(finding)
    found = [_cause(group, seen, source, span) for group in groups.values()]
    return sorted((c for c in found if c.amount), key=lambda c: (-abs(c.amount), c.name, c.what))


class _Seen:
    """What the ledger's side names."""

    def __init__(self, places: Iterable[Dims], family: Callable[[str], str]) -> None:
        self._family = family
        self._marks = {(kind, self._name(kind, value)) for dims in set(places) for kind, value in _marks(dims) if value}
        self._kinds = {kind for kind, _ in self._marks}

    def _name(self, kind: str, value: str) -> str:
        return self._family(value) if kind == "model" else value

    def lacks(self, dims: Dims) -> tuple[str, str] | None:
        """The first name of a place that no span bears."""
        marks = ((kind, value) for kind, value in _marks(dims) if value)
        return next(((kind, v) for kind, v in marks if (kind, self._name(kind, v)) not in self._marks), None)

    def names(self, kind: str) -> bool:
        """Whether any span bears a name of that kind."""
        return kind in self._kinds


def _kind(finding: Finding, seen: _Seen) -> Hashable:
    """Findings of one kind have one reason."""
    name, dims = finding.name, finding.dims
    kind = (name, finding.cause, finding.likely)
    if name in _OF_THE_ACCOUNT:
        return kind
    if name is ResidualName.TOOL_FEES:
        return *kind, dims.token_class
    if name is ResidualName.RATE_DIFFERENCE:
        return *kind, dims.model, dims.token_class in TOKEN_CLASSES, finding.amount > 0
    if name is ResidualName.MISSING_TELEMETRY and finding.cause != INTERRUPTED and (lacking := seen.lacks(dims)):
        return *kind, lacking
    return *kind, dims.project or dims.workspace or dims.api_key, dims.model


def _marks(dims: Dims) -> tuple[tuple[str, str], ...]:
    return (("project", dims.project), ("workspace", dims.workspace), ("API key", dims.api_key), ("model", dims.model))


def _cause(group: Sequence[Finding], seen: _Seen, source: Source, span: Span) -> Cause:
    name = group[0].name
    first, last = span(finding.dims for finding in group)
    what, mend = _words(name, group, seen, first)
    when = f"{first}" if first == last else f"{first} to {last}"
    return Cause(
        name=name,
        amount=sum((finding.amount for finding in group), Decimal(0)),
        what=f"{what}, {when}",
        mend=mend,
        evidence=_evidence(group, source, (first, last)),
    )


def _evidence(group: Sequence[Finding], source: Source, days: tuple[date, date]) -> str:
    name, places = group[0].kind, [finding.dims for finding in group]
    shared = [
        *([_CONDITIONS[name]] if name in _CONDITIONS else ()),
        *among("project", _all(dims.project for dims in places)),
        *among("workspace", _all(dims.workspace for dims in places)),
        *source.of_models(_all(dims.model for dims in places), calls=name in _OF_CALLS),
    ]
    if name in _OF_CALLS:
        return list_calls(source, days, shared)
    keys, classes = _all(dims.api_key for dims in places), _all(dims.token_class for dims in places)
    return list_lines(source, days, [*shared, *among("api_key", keys), *among("token_class", classes)])


def _all(values: Iterable[str]) -> set[str]:
    """The values, or none of them where one place does not say."""
    said = set(values)
    return set() if "" in said else said


def _common(group: Sequence[Finding]) -> Dims:
    """What all places of a group agree in."""
    first = group[0].dims
    names = ("model", "token_class", *SPLIT_DIMS)
    same = {name: getattr(first, name) for name in names if len({getattr(f.dims, name) for f in group}) == 1}
    return Dims(day=first.day, **same)


def _words(name: ResidualName, group: Sequence[Finding], seen: _Seen, first: date) -> tuple[str, str]:
    dims = _common(group)
    place, cause = _place(dims), group[0].cause
    match name:
        case ResidualName.MISSING_TELEMETRY:
            what, mend = _missing_words(group, seen, place)
        case ResidualName.EXCESS_TELEMETRY:
            what, mend = (
                f"{place}: the spans show more than was billed",
                "another account, a free tier, double instrumentation without a shared id, or unbilled calls",
            )
        case ResidualName.RATE_DIFFERENCE:
            what, mend = _rate_words(group, place, first)
        case ResidualName.UNPRICED:
            what, mend = (
                f"{place}: seen, but without a price",
                f"spanledger prices unknown, then give `{dims.model}` a price",
            )
        case ResidualName.TOOL_FEES:
            what, mend = f"{dims.token_class or 'tool'} fees that no span counts", ""
        case ResidualName.CREDITS_AND_DISCOUNTS:
            what, mend = "credits, discounts and adjustments on the bill", ""
        case ResidualName.TAX:
            what, mend = "tax on the bill", ""
        case ResidualName.TIMING:
            return "calls over the end of the period", ""
        case ResidualName.ROUNDING:
            what, mend = "rounding of the bill's lines", ""
        case ResidualName.NOT_FINAL_YET:
            return _open_words(cause, group[0].kind)
        case ResidualName.UNMATCHED_LINE:
            what, mend = (
                "lines that name no model and no known item",
                "see what they charge for; bill files can name it: spanledger bills import --mapping",
            )
        case ResidualName.UNEXPLAINED:
            return f"{place}: {cause or 'no reason was found'}", "compare the calls with the provider's console"
    return (f"{what} ({cause})" if cause else what), mend


def _missing_words(group: Sequence[Finding], seen: _Seen, place: str) -> tuple[str, str]:
    if group[0].cause == INTERRUPTED:
        return f"{place}: settles interrupted calls", ""
    unseen = seen.lacks(group[0].dims)
    if unseen is None:
        return (
            f"{place}: the provider saw more than the spans show",
            "look for processes without instrumentation, dropped or sampled spans",
        )
    kind, value = unseen
    if kind == "model":
        return f"model `{value}` is billed but was never seen in spans", "find who calls it and instrument it"
    if seen.names(kind):
        return f"{kind} `{value}` is billed but was never seen in spans", "instrument what uses it"
    return (
        f"{kind} `{value}` is billed for calls that no span shows (no span names its {kind}: another one may be meant)",
        f"instrument what uses it; calls that bear their {kind} can be told apart"
        if kind != "API key"
        else "find who holds it and instrument it",
    )


def _open_words(cause: str, likely: ResidualName) -> tuple[str, str]:
    so_far = f", so far {likely.value}" if likely is not ResidualName.NOT_FINAL_YET else ""
    if cause == NEVER_SYNCED:
        return f"{cause}{so_far}", "spanledger sync, or import their bill"
    return f"the provider may still restate these days{so_far}", "run the tie-out again when they are final"


def _place(dims: Dims) -> str:
    parts = [f"{kind} `{value}`" for kind, value in _marks(dims) if value]
    return ", ".join(parts) or "the account"


def _rate_words(group: Sequence[Finding], place: str, first: date) -> tuple[str, str]:
    priced = [f for f in group if f.billed_unit_price is not None and f.booked_unit_price is not None]
    if not priced:
        return f"{place}: billed at another price than booked", ""
    largest = max(priced, key=lambda f: abs(f.amount))
    billed, booked = largest.billed_unit_price, largest.booked_unit_price
    assert billed is not None
    assert booked is not None
    name = largest.dims.token_class
    what = f"{place}: {name} billed at {_rate(billed, name)}, booked at {_rate(booked, name)}"
    if largest.cause.endswith(OTHER_TIER):
        return what, "record the tier that served the call: newer instrumentation reads it from the answer"
    if largest.cause:
        return what, "send the split: newer instrumentation reports it"
    show = f"spanledger prices implied --model {quote(largest.dims.model)} --since {first}"
    percent = ((billed / booked - 1) * 100).quantize(_CENT) if booked else None
    if not billed:
        return what, f"free of charge: a free tier, or tokens for shared data? {show} shows since when"
    if percent is not None and percent < 0:
        discount = f"a contract discount of {text(-percent)} % since {first}?"
        return what, f"{discount} {show} shows it, and the override while it lasts"
    return what, f"a price change? {show} shows since when"


def _rate(unit_price: Decimal, name: str) -> str:
    if name and name not in TOKEN_CLASSES:
        return f"${text(unit_price.quantize(Decimal('0.000001')))} each"
    return f"${text((unit_price * _MILLION).quantize(Decimal('0.0001')))}/M"
