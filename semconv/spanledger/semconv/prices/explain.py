"""Costs spelled out for people: the arithmetic behind a figure."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from spanledger.semconv.cost import Cost, CostStatus
from spanledger.semconv.money import CONTEXT, text
from spanledger.semconv.prices import reasons
from spanledger.semconv.prices.rates import Rate, RateSnapshot, unit_of

WHY: Final = {
    reasons.NO_USAGE: "no token count and no other count was reported",
    reasons.UNKNOWN_MODEL: "the price book does not know this model of this provider",
    reasons.UNKNOWN_PROVIDER: "the price book has no prices of this provider",
    reasons.SELF_HOSTED: "a self-hosted model has no price unless the overrides file gives it one",
    reasons.NO_RATE: "something was used that has no rate here",
    reasons.PROVISIONED: "covered by a monthly commitment: adds nothing by the token",
    reasons.PARTIAL_USAGE: "the answer broke off: the rest of the output is unknown",
    reasons.ESTIMATED_USAGE: "the token counts were guessed by the emitter",
    reasons.INPUT_UNKNOWN: "the prompt's tokens were not reported",
    reasons.OUTPUT_UNKNOWN: "the generated tokens were not reported",
    reasons.CACHE_LIFETIME: "the lifetime of the written cache was not reported: the shorter one is assumed",
    reasons.SERVICE_TIER: "no rate is known for the tier that served the call: standard rates",
    reasons.OTHER_MODEL: "some of the tokens are those of a model that declined, at rates of its own",
    reasons.INFERENCE_GEO: "it is not known whether the place of inference costs extra: priced without",
    reasons.BATCH: "no batch rate is known: standard rates",
}


class Part(NamedTuple):
    """What one class or count of a call cost. ``quantity`` and ``rate`` are ``None`` where the rates are not known."""

    name: str
    quantity: int | None
    rate: Rate | None
    amount: Decimal

    def __str__(self) -> str:
        if self.rate is None:
            return f"{self.name}: ${text(self.amount)}"
        each = f"${text(self.rate.amount)} / {self.rate.per:,} {unit_of(self.name)}"
        if self.quantity is None:
            return f"{self.name}: any quantity x $0 = $0"
        return f"{self.name}: {self.quantity:,} x {each} = ${text(self.amount)}"


def parts(cost: Cost, snapshot: RateSnapshot | None) -> list[Part]:
    """A cost class by class, in the order in which it was added up."""
    return [_part(name, amount, snapshot) for name, amount in cost.by_class.items()]


def lines(cost: Cost, snapshot: RateSnapshot | None) -> list[str]:
    """The arithmetic of a cost: one line per class, then the sum, the bounds, the doubts, the source of the rates."""
    if cost.status is CostStatus.UNPRICED or cost.total is None:
        return [f"unpriced: {WHY.get(cost.reason, cost.reason)}"]
    found = [str(part) for part in parts(cost, snapshot)]
    found.append(f"total = ${text(cost.total)} ({cost.status.value})")
    if cost.status is CostStatus.BOUNDED:
        high = "unknown" if cost.high is None else f"${text(cost.high)}"
        found.append(f"between ${text(cost.low or Decimal(0))} and {high}")
    found.extend(f"because {WHY.get(reason, reason)}" for reason in cost.reason.split(",") if reason)
    if snapshot is not None:
        found.append(f"rates: {_origin(snapshot)}")
    elif cost.price_id:
        found.append(f"rates: snapshot {cost.price_id} is not in this price book")
    return found


def _part(name: str, amount: Decimal, snapshot: RateSnapshot | None) -> Part:
    rate = _rate(name, snapshot)
    if rate is None:
        return Part(name, None, None, amount)
    if name == "requests":
        return Part(name, 1, rate, amount)
    if not rate.amount:
        return Part(name, None, rate, amount)
    quantity = CONTEXT.divide(CONTEXT.multiply(amount, Decimal(rate.per)), rate.amount)
    return Part(name, int(quantity.to_integral_value()), rate, amount)


def _rate(name: str, snapshot: RateSnapshot | None) -> Rate | None:
    if snapshot is None:
        return None
    return snapshot.rate_of("cache_write_5m" if name == "cache_write" else name)


def _origin(snapshot: RateSnapshot) -> str:
    return ", ".join(_origin_parts(snapshot))


def _origin_parts(snapshot: RateSnapshot) -> Iterator[str]:
    yield f"{snapshot.provider}/{snapshot.model}"
    yield f"{snapshot.source} {snapshot.source_version}".strip()
    if snapshot.valid_from:
        yield f"from {snapshot.valid_from}"
    if snapshot.valid_to:
        yield f"until before {snapshot.valid_to}"
    yield from (f"{key} {value}" for key, value in snapshot.conditions.items())
    yield f"snapshot {snapshot.price_id}"
