"""What keeping inference to a place adds to the price.

Two sellers of Claude bill a tenth more on every token when inference is kept to a place; what is counted by the
use costs the same everywhere:

- Anthropic, when inference stays in the United States (``usage.inference_geo`` of the answer is ``us``), for Claude 4.6
  and later (platform.claude.com, data residency).
- Google Vertex AI, on its regional and multi-region endpoints, for Claude 4.5 and later
  (cloud.google.com/vertex-ai/generative-ai/pricing; the base data has the rates of the global endpoint).

Bedrock sells the two kinds under names of their own (``us.``, ``global.``), each with rates in the base data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from spanledger.semconv.money import CONTEXT
from spanledger.semconv.places import GLOBAL
from spanledger.semconv.prices import reasons
from spanledger.semconv.prices.rates import Flat, Rate, Schedule, Tariff, unit_of

PREMIUM: Final = Decimal("1.1")
_CLAUDE: Final = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:-(\d{1,2}))?(?!\d)")


@dataclass(frozen=True, slots=True)
class _Rule:
    """How one seller charges for keeping inference to a place.

    Attributes:
        since: Claude's version from which on it costs more.
        place: the one place that costs more; ``""``: every place but the whole world.
        is_asked_for: whether a call of which no place is known ran where it costs nothing extra.
        is_new: whether earlier models cannot be kept to a place: what is told of them contradicts the rule.
    """

    since: tuple[int, int]
    place: str
    is_asked_for: bool
    is_new: bool


_RULES: Final[Mapping[str, _Rule]] = {
    "anthropic": _Rule((4, 6), "us", is_asked_for=True, is_new=True),
    "google_vertex": _Rule((4, 5), "", is_asked_for=False, is_new=False),
}


def dearer_places(provider: str) -> tuple[str, ...]:
    """A name for each kind of place with rates of its own."""
    rule = _RULES.get(provider)
    return () if rule is None else (rule.place or "regional",)


def schedule_in(schedule: Schedule, provider: str, place: str) -> Schedule:
    """The schedule of calls that ran in a place: dearer rates, or a doubt where it is not known whether they apply."""
    rule = _RULES.get(provider)
    if rule is None or place == GLOBAL or (not place and rule.is_asked_for):
        return schedule
    return schedule.mapped(lambda tariff: _tariff_in(tariff, rule, place))


def _tariff_in(tariff: Tariff, rule: _Rule, place: str) -> Tariff:
    found = _CLAUDE.search(tariff.base.snapshot.model.lower())
    if found is None:
        return tariff
    is_dear = (int(found[1]), int(found[2] or 0)) >= rule.since
    if is_dear and place and rule.place in ("", place):
        word = rule.place or "regional"
        over = tuple((threshold, _dearer(flat, word)) for threshold, flat in tariff.over)
        return replace(tariff, base=_dearer(tariff.base, word), over=over)
    if is_dear or rule.is_new:
        return _doubt(tariff, PREMIUM if place in ("", rule.place) else None)
    return tariff


def _doubt(tariff: Tariff, at_most: Decimal | None) -> Tariff:
    """The tariff, with the doubt that calls cost up to so many times as much; ``None``: nobody knows how much."""
    return replace(
        tariff,
        doubt=reasons.join(tariff.doubt, reasons.INFERENCE_GEO),
        doubt_above=True,
        at_most=None if tariff.doubt_above else at_most,
    )


def _dearer(flat: Flat, word: str) -> Flat:
    snapshot = flat.snapshot
    derived = ",".join(filter(None, (snapshot.conditions.get("derived"), reasons.INFERENCE_GEO)))
    return Flat(
        replace(
            snapshot,
            rates={name: _raised(rate) if unit_of(name) == "tokens" else rate for name, rate in snapshot.rates.items()},
            conditions={**snapshot.conditions, "inference_geo": word, "derived": derived},
        )
    )


def _raised(rate: Rate) -> Rate:
    return Rate(CONTEXT.multiply(rate.amount, PREMIUM), rate.per)
