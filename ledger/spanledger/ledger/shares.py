"""A month's fixed amount as shares of its calls: pure arithmetic in units of the ledger's last digit.

A commitment accrues by the day: its month's amount, at the exchange rate of the first day of the month on which it
holds, is cut into as many parts as the month has days, and the days on which it holds get theirs. A day's amount goes
to the calls that started on that day (UTC), in proportion to their tokens. The amount of a day without calls goes to
the next day that has some; what is left when the month is over goes to the last day that had some.

So the shares of a month's calls add up to the month's amount, exactly, and while the month runs to what has accrued up
to the last past day with calls. They follow from the set of calls alone, and a late call changes the shares of one day
(of two, when that day had none before).
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import accumulate, pairwise
from typing import Final

from spanledger.semconv.cost import Cost
from spanledger.semconv.money import CONTEXT, LEDGER_SCALE, to_ledger
from spanledger.semconv.prices import reasons
from spanledger.semconv.prices.overrides import Commitment, Overrides

SHARE: Final = "provisioned_share"
"""Reason of a call whose cost holds its share of a commitment."""
_ZERO: Final = Decimal(0)


@dataclass(frozen=True, slots=True, order=True)
class Pool:
    """Calls that share a commitment: its name, and the organisation and project that it is for (``""``: all)."""

    name: str
    org: str
    project: str

    def pays(self, rule: Commitment) -> bool:
        """Whether a rule of the overrides file is this commitment (on the days on which it holds)."""
        return (rule.name, rule.scope.org, rule.scope.project) == (self.name, self.org, self.project)


def month_days(day: date) -> list[date]:
    """Every day of a day's month."""
    first = day.replace(day=1)
    return [first + timedelta(days=number) for number in range(monthrange(first.year, first.month)[1])]


def accruals(pool: Pool, overrides: Overrides, month: Sequence[date]) -> dict[date, int] | None:
    """What each day of a month adds, in units; ``None`` when no rule for the pool holds in that month.

    Raises:
        MissingRateError: no exchange rate is known for the commitment's currency.
    """
    added: dict[date, int] = {}
    for rule in overrides.commitments:
        held = [day for day in month if rule.scope.holds_on(day)]
        if not pool.pays(rule) or not held:
            continue
        whole = units(to_ledger(overrides.usd(rule.monthly, rule.currency, held[0])))
        parts = split(whole, [1] * len(month))
        for day, part in zip(month, parts, strict=True):
            if rule.scope.holds_on(day):
                added[day] = added.get(day, 0) + part
    return added or None


def by_day(accrued: Mapping[date, int], used: Iterable[date], month: Sequence[date], today: date) -> dict[date, int]:
    """What the calls of each past day with calls share.

    Args:
        accrued: by day, in units.
        used: days with calls.
        month: all days of the month.
        today: the current UTC day; it and later days are not shared out yet.
    """
    with_calls = set(used)
    waiting = 0
    shared: dict[date, int] = {}
    for day in month:
        if day >= today:
            return shared
        waiting += accrued.get(day, 0)
        if day in with_calls:
            shared[day], waiting = waiting, 0
    if shared:
        shared[max(shared)] += waiting
    return shared


def split(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in parts proportional to `weights` (equal ones when all are 0): exact in sum, each within one unit."""
    if not any(weights):
        weights = [1] * len(weights)
    whole = sum(weights)
    bounds = (total * part // whole for part in accumulate(weights, initial=0))
    return [after - before for before, after in pairwise(bounds)]


def units(amount: Decimal) -> int:
    """An amount at the ledger's scale as a number of its last digit."""
    return int(amount.scaleb(LEDGER_SCALE, CONTEXT))


def amount(number: int) -> Decimal:
    """The inverse of `units`."""
    return Decimal(number).scaleb(-LEDGER_SCALE, CONTEXT)


def share_of(total: Decimal | None, by_class: Mapping[str, Decimal], reason: str) -> Decimal | None:
    """The share in a cost: what no class carries; ``None`` when the cost holds no share."""
    if total is None or SHARE not in reason.split(","):
        return None
    return CONTEXT.subtract(total, _sum(by_class.values()))


def with_share(cost: Cost, share: Decimal) -> Cost:
    """The cost of a call that a commitment covers, with its share. What is billed by the use keeps its class."""
    fees = {name: rounded for name, fee in cost.by_class.items() if (rounded := to_ledger(fee))}
    total = CONTEXT.add(_sum(fees.values()), share)
    reason = ",".join(SHARE if word == reasons.PROVISIONED else word for word in cost.reason.split(","))
    bounds = [None if bound is None else CONTEXT.add(bound, share) for bound in (cost.low, cost.high)]
    return cost._replace(total=total, low=bounds[0], high=bounds[1], by_class=fees, reason=reason)


def is_covered(cost: Cost) -> bool:
    """Whether a commitment covers a call that the price book just priced."""
    return reasons.PROVISIONED in cost.reason.split(",")


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = _ZERO
    for each in amounts:
        total = CONTEXT.add(total, each)
    return total
