"""What a user knows better than any public list: contracts, names of deployments, own models, prepaid capacity, FX.

These are plain values; `spanledger.semconv.prices.overrides_file` reads them from a file, and
`spanledger.semconv.prices.contracts` lays them over the base prices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Final

from spanledger.semconv.money import CONTEXT
from spanledger.semconv.prices.rates import Rate

USD: Final = "USD"


class MissingRateError(LookupError):
    """No exchange rate is known for a currency on a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """To which calls a rule applies.

    Attributes:
        provider: the ledger's word; ``""`` for every provider.
        model: glob over the names of a call's model (request, response and price book name), case-insensitive.
        org: the ledger's organisation; ``""`` for all.
        project: the provider's project, workspace or account; ``""`` for all.
        valid_from: first UTC day; ``None``: since ever.
        valid_to: first UTC day on which it no longer applies; ``None``: open.
    """

    provider: str = ""
    model: str = "*"
    org: str = ""
    project: str = ""
    valid_from: date | None = None
    valid_to: date | None = None

    def covers(self, names: Iterable[str], provider: str, org: str, project: str) -> bool:
        """Whether it applies at some time to a call of that provider, organisation, project and any of the names."""
        return (
            self.provider in ("", provider)
            and self.org in ("", org)
            and self.project in ("", project)
            and any(fnmatchcase(name.lower(), self.model.lower()) for name in names)
        )

    def holds_on(self, day: date | None) -> bool:
        """Whether it applies on a day; ``None`` is the time before every date that anybody wrote down."""
        if day is None:
            return self.valid_from is None
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_to is None or day < self.valid_to)

    @property
    def is_one_name(self) -> bool:
        """Whether it is about one name, not a pattern."""
        return not set("*?[") & set(self.model)

    @property
    def rank(self) -> tuple[bool, bool, bool, int, bool]:
        """The more specific rule wins: by project, organisation, exact model, longer pattern, provider."""
        length = len(self.model.replace("*", ""))
        return bool(self.project), bool(self.org), self.is_one_name, length, bool(self.provider)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What all rules have in common."""

    scope: Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount(Rule):
    """Percent off the rates of a contract's models; negative for a surcharge."""

    percent: Decimal
    name: str = ""
    classes: frozenset[str] = frozenset()
    """Token classes and counts that it applies to; empty: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractRates(Rule):
    """Agreed rates: final, no discount on top. Classes that are not named keep the list rate, unless ``replaces``."""

    rates: Mapping[str, Rate]
    name: str = ""
    currency: str = USD
    service_tier: str = ""
    is_batch: bool = False
    prompt_over: int | None = None
    """Only for prompts of more tokens than this."""
    replaces: bool = False
    """These are all rates there are: what is not named has no rate of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias(Rule):
    """A name that only the user can explain (an Azure deployment, a Bedrock profile): which model it stands for."""

    model: str
    provider: str = ""
    """Whose prices apply; ``""``: those of the call's own provider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment(Rule):
    """Capacity paid by the month (Azure PTU, Bedrock or Vertex provisioned throughput).

    Calls that it covers cost nothing by the token; the ledger spreads the month's amount over them.
    """

    monthly: Decimal
    name: str
    currency: str = USD
    units: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeRate:
    """How many US dollars one unit of a currency is worth from a day on."""

    currency: str
    usd: Decimal
    valid_from: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """All rules of one file. ``source_version`` names its content, so that prices made from it can be told apart.

    Raises:
        MissingRateError: a rule is in a currency that has no exchange rate on the rule's first day.
    """

    discounts: tuple[Discount, ...] = ()
    rates: tuple[ContractRates, ...] = ()
    aliases: tuple[Alias, ...] = ()
    commitments: tuple[Commitment, ...] = ()
    exchange: tuple[ExchangeRate, ...] = ()
    source: str = "overrides"
    source_version: str = ""
    orgs: frozenset[str] = field(init=False)
    projects: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        scopes = [rule.scope for rule in self.rules()]
        object.__setattr__(self, "orgs", frozenset(scope.org for scope in scopes if scope.org))
        object.__setattr__(self, "projects", frozenset(scope.project for scope in scopes if scope.project))
        first_days = [(rule.currency, rule.scope.valid_from) for rule in self.rates]
        first_days += [(rule.currency, rule.scope.valid_from) for rule in self.commitments]
        for currency, day in first_days:
            self.usd(Decimal(1), currency, day)

    def rules(self) -> Iterator[Rule]:
        """Every rule that has a scope."""
        yield from self.discounts
        yield from self.rates
        yield from self.aliases
        yield from self.commitments

    def usd(self, amount: Decimal, currency: str, day: date | None) -> Decimal:
        """An amount in US dollars at the rate of a day, exactly.

        Raises:
            MissingRateError: no rate for the currency on that day.
        """
        if currency == USD:
            return amount
        found = [rate for rate in self.exchange if rate.currency == currency]
        held = [r for r in found if r.valid_from is None or (day is not None and r.valid_from <= day)]
        if not held:
            raise MissingRateError(f"no exchange rate for {currency} on {day or 'any day'}")
        latest = max(held, key=lambda rate: rate.valid_from or date.min)
        return CONTEXT.multiply(amount, latest.usd)

    def exchange_days(self, currency: str) -> Iterator[date]:
        """Days on which a currency's rate changes."""
        if currency != USD:
            yield from (r.valid_from for r in self.exchange if r.currency == currency and r.valid_from is not None)
