"""From a price book's answer to what the ledger books for a call."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Protocol

from spanledger.ledger.evidence import storable
from spanledger.ledger.matching import failed
from spanledger.semconv.cost import Cost, CostStatus
from spanledger.semconv.observation import Observation
from spanledger.semconv.sheet import columns

NOT_BILLED: Final = "not_billed"
"""Reason of a failed attempt: it has no cost, and nobody needs to look for one."""
SUBSCRIPTION: Final = "subscription"
"""Reason of a call under a flat plan: it adds nothing to the bill."""
QUIET_REASONS: Final = (NOT_BILLED, SUBSCRIPTION)
"""Unpriced calls for these reasons are not a fault: they are kept out of the unpriced counts."""
BILLING_LABEL: Final = "billing"


class Pricer(Protocol):
    """What the ledger needs of a price book."""

    def price_many(self, observations: Sequence[Observation]) -> list[Cost]:
        """One cost for each observation, in their order."""
        ...


def price(pricer: Pricer, observations: Sequence[Observation]) -> list[Cost]:
    """What the ledger books, in the order of `observations`.

    What the provider itself said wins over the price book, the price book over what the emitter computed.
    """
    exact, labels = columns(observations, ("exact_cost_usd", "labels"))
    return [
        # The usual case is decided here: a call for each of thousands of rows would cost as much as pricing them.
        cost
        if cost.total is not None and said_exactly is None and BILLING_LABEL not in named
        else _booked(observations[row], cost)
        for row, (cost, said_exactly, named) in enumerate(
            zip(pricer.price_many(observations), exact, labels, strict=True)
        )
    ]


def _booked(observation: Observation, cost: Cost) -> Cost:
    if observation.labels and observation.labels.get(BILLING_LABEL) == SUBSCRIPTION:
        return Cost(status=CostStatus.UNPRICED, reason=SUBSCRIPTION)
    exact = observation.exact_cost_usd
    if exact is not None and storable(exact) is not None:
        return said(CostStatus.EXACT, exact)
    if cost.status is not CostStatus.UNPRICED:
        return cost
    claimed = observation.claimed_cost_usd
    # Emitters write 0 for models whose price they do not know: a zero claim says nothing.
    if claimed and storable(claimed) is not None:
        return said(CostStatus.CLAIMED, claimed, observation.claimed_price_id)
    if failed(observation):
        return Cost(status=CostStatus.UNPRICED, reason=NOT_BILLED)
    return cost


def said(status: CostStatus, amount: Decimal, price_id: str = "") -> Cost:
    """A cost that somebody else stated."""
    return Cost(status=status, total=amount, low=amount, high=amount, price_id=price_id)
