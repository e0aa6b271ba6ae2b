"""Providers and their models: which of them a name means, and which prices hold at an instant.

The rules are those of ``genai-prices`` (its ``types.py``), to which a test holds them, model by model.
"""

from __future__ import annotations

import marshal
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple

FROM: Final = "from"
HOURS: Final = "hours"
Constraint = tuple[str, int, int]
"""``(FROM, ordinal, 0)``: from that UTC day on; ``(HOURS, start, end)``: seconds of each UTC day, without the end."""
Match = tuple[str, "str | list[Match]"]
"""A clause about a model's name in lower case, or several joined by ``or`` or ``and``."""
Amount = str | tuple[str, list[tuple[int, str]]]
"""A price as a decimal text, or the same with ``(threshold, price)``, rising: for prompts of more tokens than that."""
Prices = dict[str, Amount]
"""By the data's own price keys (``input_mtok``)."""
Stage = tuple[Constraint | None, Prices]
Variant = tuple[dict[str, str], Constraint | None, Prices]
"""Prices for requests of a kind (``{"service_tier": "flex"}``)."""

_COMPACT_DATE: Final = re.compile(r"(-)(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")


class Model(NamedTuple):
    """A model: its name, the names that mean it, its prices one after the other, those of special requests."""

    id: str
    match: Match
    stages: Sequence[Stage]
    variants: Sequence[Variant]

    def packed(self) -> bytes:
        """The model as bytes: a tenth of the memory of its objects."""
        plain: Any = tuple(self)
        return marshal.dumps(plain)

    @classmethod
    def unpacked(cls, packed: bytes) -> Model:
        return cls._make(marshal.loads(packed))  # noqa: S302 - packed above, in this process

    def prices_at(self, at: datetime, wanted: Mapping[str, str] | None = None) -> dict[str, Price]:
        """The prices at an instant; with ``wanted``, those of such requests where there are any.

        The last stage that holds counts, else the first; of several variants the first that has a price for a key.
        """
        held = [prices for constraint, prices in self.stages if is_active(constraint, at)]
        found = dict(held[-1] if held else self.stages[0][1] if self.stages else {})
        special: Prices = {}
        if wanted:
            for when, constraint, prices in self.variants:
                if is_active(constraint, at) and all(wanted.get(key) == value for key, value in when.items()):
                    special = prices | special
        return {key: Price.of(amount) for key, amount in (found | special).items()}


class Price(NamedTuple):
    """A price and what it becomes for longer prompts: ``(threshold in tokens, price)``, rising."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    @classmethod
    def of(cls, amount: Amount) -> Price:
        if isinstance(amount, str):
            return cls(Decimal(amount))
        base, tiers = amount
        return cls(Decimal(base), tuple((start, Decimal(price)) for start, price in tiers))


class Provider:
    """A provider. Its models are kept packed: an application that calls three models needs no objects for thousands."""

    __slots__ = ("_packed", "fallback_model_providers", "id")

    def __init__(
        self,
        *,
        id: str,
        models: Sequence[bytes] = (),
        fallback_model_providers: Sequence[str] | None = None,
        **about: object,
    ) -> None:
        del about
        self.id: Final = id
        self.fallback_model_providers: Final = tuple(fallback_model_providers or ())
        self._packed: Final = marshal.dumps(list(models))

    def models(self) -> Iterator[Model]:
        """All models, in the order in which a name is looked for."""
        packed: list[bytes] = marshal.loads(self._packed)  # noqa: S302 - packed above, in this process
        return map(Model.unpacked, packed)


@dataclass(frozen=True, slots=True)
class Found:
    """A model and whose list has it."""

    provider: str
    model: Model


def find(providers: Mapping[str, Provider], provider: Provider, name: str) -> Found | None:
    """The model that a name means with a provider: of its own list, else of those that it resells."""
    lists = [provider, *(providers[other] for other in provider.fallback_model_providers if other in providers)]
    name = name.lower()
    for spelling in dict.fromkeys((name, _dashed(name))):
        for listed in lists:
            for model in listed.models():
                if matches(model.match, spelling):
                    return Found(listed.id, model)
    return None


def matches(clause: Match, name: str) -> bool:
    """Whether a clause holds for a name in lower case."""
    kind, what = clause
    if isinstance(what, list):
        return any(matches(part, name) for part in what) if kind == "or" else all(matches(part, name) for part in what)
    if kind == "equals":
        return name == what
    if kind == "starts_with":
        return name.startswith(what)
    if kind == "ends_with":
        return name.endswith(what)
    return what in name if kind == "contains" else re.search(what, name) is not None


def is_active(constraint: Constraint | None, at: datetime) -> bool:
    """Whether a constraint holds at an instant (UTC); hours may go over midnight."""
    if constraint is None:
        return True
    kind, start, end = constraint
    if kind == FROM:
        return at.toordinal() >= start
    second = at.hour * 3600 + at.minute * 60 + at.second
    return start <= second < end if start <= end else second >= start or second < end


def constraints(model: Model) -> Iterator[Constraint]:
    """Everything on which a model's prices depend."""
    for constraint, _ in model.stages:
        if constraint is not None:
            yield constraint
    for _, constraint, _ in model.variants:
        if constraint is not None:
            yield constraint


def _dashed(name: str) -> str:
    """``gpt-5.2-20251211`` → ``gpt-5.2-2025-12-11``: routers write the first, the data the second."""

    def dashed(found: re.Match[str]) -> str:
        year, month, day = (int(found[part]) for part in (2, 3, 4))
        try:
            return f"{found[1]}{date(year, month, day).isoformat()}"
        except ValueError:
            return found[0]

    return _COMPACT_DATE.sub(dashed, name)
