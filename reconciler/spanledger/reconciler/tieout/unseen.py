"""Shadow spend (billed, never seen in spans) and ghost spend (seen in spans, on no bill), with evidence and causes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Final

from spanledger.reconciler.tieout.grain import Span, by_day
from spanledger.reconciler.tieout.items import Billed, Booked, Charge, Dims, Finding, ResidualName, compatible
from spanledger.reconciler.tieout.listing import Source, among, list_calls, list_lines

KINDS: Final = ("project", "workspace", "api_key", "model")
"""What can be billed without being seen, the word that names an owner best first."""
_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """A name that only one side knows.

    Attributes:
        kind: one of `KINDS`, or ``account`` where neither side names anything.
        name: its name; ``""`` for an account.
        amount_usd: billed money (shadow) or booked cost (ghost) there.
        quantity: units there, as far as they are known.
        first_day, last_day: the billing days on which it stands, both included.
        models: the models there.
        cause: what it most likely is.
        mend: what to do about it.
        evidence: SQL that lists the bill lines or calls behind it.
    """

    kind: str
    name: str
    amount_usd: Decimal
    quantity: Decimal
    first_day: date
    last_day: date
    models: tuple[str, ...]
    cause: str
    mend: str
    evidence: str


def shadow_spend(
    findings: Iterable[Finding],
    booked: Sequence[Booked],
    family: Callable[[str], str],
    source: Source,
    *,
    span: Span = by_day,
) -> list[Unseen]:
    """Keys, projects, workspaces and models that are billed, but that no span names; the dearest first.

    Args:
        findings: of a tie-out; those of days that are not final count as well.
        booked: the ledger's side of it.
        family: a model's name without its snapshot.
        source: whose they are.
        span: the days that places stand for.
    """
    family = cache(family)
    seen = {(kind, _mark(item.dims, kind, family)) for item in booked for kind in KINDS}
    groups: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.kind is not ResidualName.MISSING_TELEMETRY or finding.amount <= 0:
            continue
        for kind in KINDS:
            mark = _mark(finding.dims, kind, family)
            if mark and (kind, mark) not in seen:
                groups[kind, mark].append(finding)
                break
    told = {kind for kind, mark in seen if mark}
    return _sorted(
        _unseen(kind, name, group, *_shadow_words(kind, kind in told), _bill_query(kind, group, source, span), span)
        for (kind, name), group in groups.items()
    )


def ghost_spend(
    findings: Iterable[Finding],
    billed: Sequence[Billed],
    family: Callable[[str], str],
    source: Source,
    *,
    span: Span = by_day,
) -> list[Unseen]:
    """What spans show and no bill does, by project, workspace and model; the dearest first.

    Args:
        findings: of a tie-out; those of days that are not final count as well.
        billed: the bill's side of it.
        family: a model's name without its snapshot.
        source: whose they are.
        span: the days that places stand for.
    """
    family = cache(family)
    bill = _Bill(billed, family)
    groups: dict[tuple[str, str, str], list[Finding]] = defaultdict(list)
    for finding in findings:
        if finding.kind is not ResidualName.EXCESS_TELEMETRY or finding.amount >= 0:
            continue
        kind = next((kind for kind in KINDS if _mark(finding.dims, kind, family)), "account")
        name = "" if kind == "account" else _mark(finding.dims, kind, family)
        groups[kind, name, bill.reason(finding)].append(finding)
    return _sorted(
        _unseen(kind, name, group, cause, _MENDS[cause], _calls_query(kind, group, source, span), span)
        for (kind, name, cause), group in groups.items()
    )


_NOT_YET: Final = "not billed yet: the bill of these days is not final"
_OTHER_ACCOUNT: Final = "another account: no bill of this connection names it"
_OTHER_MODEL: Final = "the bill does not name this model at all: a free tier, another account, or a name to map"
_TWICE: Final = "as much again as was billed: the same calls recorded twice without a shared id"
_MORE: Final = "more than was billed: retries or failed calls that are not billed, free quota, or double recording"
_MENDS: Final = {
    _NOT_YET: "tie out again when the provider's days are final",
    _OTHER_ACCOUNT: "spanledger connections add for the account that pays it",
    _OTHER_MODEL: "spanledger connections list, then the provider's console",
    _TWICE: "spanledger doctor finds double instrumentation; spanledger explain shows the witnesses of a call",
    _MORE: "compare the calls with the provider's console: spanledger explain CALL_ID",
}


class _Bill:
    """What the bill names, and how much of it."""

    def __init__(self, billed: Sequence[Billed], family: Callable[[str], str]) -> None:
        self._family = family
        usage = [item for item in billed if item.charge in (Charge.USAGE, Charge.TOOL_FEE)]
        self._marks = {(kind, _mark(item.dims, kind, family)) for item in usage for kind in KINDS}
        self._told = {kind for kind, mark in self._marks if mark}
        self._here: dict[tuple[date, str, str], list[Billed]] = defaultdict(list)
        for item in usage:
            self._here[self._place(item.dims)].append(item)

    def _place(self, dims: Dims) -> tuple[date, str, str]:
        return dims.day, self._family(dims.model), dims.token_class

    def reason(self, finding: Finding) -> str:
        """The likeliest reason why a finding's calls are on no bill."""
        if finding.likely is not None:
            return _NOT_YET
        for kind in ("project", "workspace"):
            mark = _mark(finding.dims, kind, self._family)
            if mark and kind in self._told and (kind, mark) not in self._marks:
                return _OTHER_ACCOUNT
        if ("model", _mark(finding.dims, "model", self._family)) not in self._marks and "model" in self._told:
            return _OTHER_MODEL
        here = self._here.get(self._place(finding.dims), ())
        billed = sum((item.quantity or _ZERO for item in here if compatible(item.dims, finding.dims)), _ZERO)
        return _TWICE if billed > 0 and -(finding.quantity or _ZERO) >= billed else _MORE


def _shadow_words(kind: str, told: bool) -> tuple[str, str]:
    match kind:
        case "model":
            return "called by something that sends no spans", "find who calls it and instrument it"
        case "api_key":
            return (
                "used by something that sends no spans (they name no keys: another one of the account may be meant)",
                "find who holds it and instrument it, or revoke it",
            )
        case _ if told:
            return "nothing in it sends spans", "instrument what uses it"
        case _:
            return (
                f"no span names a {kind}: its calls may be there under no name",
                f"label calls with their {kind}, or instrument what uses it",
            )


def _mark(dims: Dims, kind: str, family: Callable[[str], str]) -> str:
    value: str = getattr(dims, kind)
    return family(value) if kind == "model" and value else value


def _unseen(kind: str, name: str, group: Sequence[Finding], cause: str, mend: str, evidence: str, span: Span) -> Unseen:
    first, last = span(finding.dims for finding in group)
    return Unseen(
        kind=kind,
        name=name,
        amount_usd=abs(sum((finding.amount for finding in group), _ZERO)),
        quantity=abs(sum((finding.quantity or _ZERO for finding in group), _ZERO)),
        first_day=first,
        last_day=last,
        models=tuple(sorted({finding.dims.model for finding in group if finding.dims.model})),
        cause=cause,
        mend=mend,
        evidence=evidence,
    )


def _sorted(found: Iterable[Unseen]) -> list[Unseen]:
    return sorted(found, key=lambda each: (-each.amount_usd, each.kind, each.name, each.cause))


def _bill_query(kind: str, group: Sequence[Finding], source: Source, span: Span) -> str:
    names = {getattr(finding.dims, kind) for finding in group}
    which = source.of_models(names, calls=False) if kind == "model" else among(kind, names)
    return list_lines(source, span(finding.dims for finding in group), which)


def _calls_query(kind: str, group: Sequence[Finding], source: Source, span: Span) -> str:
    names = {getattr(finding.dims, kind) for finding in group} if kind in ("project", "workspace") else set[str]()
    conditions = [*among(kind, names), *source.of_models({finding.dims.model for finding in group}, calls=True)]
    return list_calls(source, span(finding.dims for finding in group), conditions)
