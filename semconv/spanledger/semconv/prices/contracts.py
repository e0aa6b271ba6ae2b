"""Lay a user's overrides over the base prices: one schedule per call's names, tier, organisation and project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Final, TypeVar

from spanledger.semconv.money import CONTEXT
from spanledger.semconv.prices import geography, reasons
from spanledger.semconv.prices.base import Schedules, doubtful
from spanledger.semconv.prices.overrides import Alias, Commitment, ContractRates, Discount, Overrides, Rule, Scope
from spanledger.semconv.prices.rates import DayPlan, Flat, Rate, RateSnapshot, Schedule, Tariff, unit_of

HUNDRED: Final = Decimal(100)

AnyRule = TypeVar("AnyRule", bound=Rule)
ListPrices = Callable[[str, Sequence[str]], Schedules | str]
"""(provider, names to try in order) → the list prices, or the reason why there are none."""


@dataclass(frozen=True, slots=True)
class _Target:
    """What a call's names stand for on a day: list prices or the reason why there are none, and all its names."""

    listed: Schedules | str
    names: tuple[str, ...]
    model: str


@dataclass(frozen=True, slots=True)
class Call:
    """What of a call decides its prices. ``names``: response model first, then request model."""

    provider: str
    names: tuple[str, ...]
    tier: str
    is_batch: bool
    org: str
    project: str
    place: str = ""


def compose(overrides: Overrides, call: Call, list_prices: ListPrices) -> Schedule | str:
    """The schedule of a call under the overrides; a text is the reason why there is none at any time."""
    aliases = [a for a in overrides.aliases if _covers(a.scope, call.names, call)]
    days = {day for alias in aliases for day in _days(alias.scope)}
    targets: dict[date | None, _Target] = {}
    for day in (None, *sorted(days)):
        targets[day] = _target(overrides, call, aliases, day, list_prices)
    every_name = {name for target in targets.values() for name in target.names}
    for target in targets.values():
        if isinstance(target.listed, Schedules):
            days |= set(target.listed.pick(call.tier, call.is_batch).days)
    rates = [r for r in overrides.rates if _covers(r.scope, every_name, call)]
    discounts = [d for d in overrides.discounts if _covers(d.scope, every_name, call)]
    commitments = [c for c in overrides.commitments if _covers(c.scope, every_name, call)]
    every_rule: list[Rule] = [*rates, *discounts, *commitments]
    for rule in every_rule:
        days |= set(_days(rule.scope))
    for agreement in rates:
        days |= set(overrides.exchange_days(agreement.currency))

    bounds = sorted(days)
    plans: list[Tariff | DayPlan | str] = []
    for start, end in zip([None, *bounds], [*bounds, None], strict=True):
        target = targets[max((d for d in targets if d and start and d <= start), default=None)]
        plans.append(_Segment(overrides, call, target, start, end).plan(rates, discounts, commitments))
    return _joined(bounds, plans)


def _joined(bounds: Sequence[date], plans: Sequence[Tariff | DayPlan | str]) -> Schedule | str:
    """One schedule; days without any price (a custom model before its first rate) are an empty tariff."""
    priced = [plan for plan in plans if not isinstance(plan, str)]
    if not priced:
        first = plans[0]
        assert isinstance(first, str)
        return first
    kept_days: list[date] = []
    kept: list[Tariff | DayPlan] = []
    for start, plan in zip([None, *bounds], plans, strict=True):
        usable = _nothing(priced[0]) if isinstance(plan, str) else plan
        if kept and usable is kept[-1]:
            continue
        if start is not None:
            kept_days.append(start)
        kept.append(usable)
    return Schedule(kept_days, kept)


def _nothing(like: Tariff | DayPlan) -> Tariff:
    """A tariff without rates: what is used under it is unpriced, with the reason ``no_rate``."""
    model = (like if isinstance(like, Tariff) else like.tariffs[0]).base.snapshot
    return Tariff(
        Flat(
            RateSnapshot(
                provider=model.provider,
                model=model.model,
                rates={},
                source=model.source,
                source_version=model.source_version,
                valid_to=model.valid_from,
            )
        )
    )


def _target(
    overrides: Overrides, call: Call, aliases: Sequence[Alias], day: date | None, list_prices: ListPrices
) -> _Target:
    """List prices on a day, aliases applied, and every name under which rules may speak of the call.

    A name that the price book knows is believed before an alias of a less direct name: the response model says what
    answered, whatever a deployment used to stand for.
    """
    reason = ""
    for name in call.names:
        held = [a for a in aliases if a.scope.holds_on(day) and _covers(a.scope, (name,), call)]
        alias = _best(held)
        provider, wanted = (alias.provider or call.provider, alias.model) if alias else (call.provider, name)
        found = list_prices(provider, (wanted,))
        if isinstance(found, Schedules):
            return _Target(found, tuple(dict.fromkeys((*call.names, wanted, found.name))), found.name)
        if alias:
            return _Target(found, tuple(dict.fromkeys((*call.names, wanted))), wanted)
        reason = reason or found
    return _Target(reason or reasons.UNKNOWN_MODEL, call.names, call.names[0] if call.names else "")


@dataclass(frozen=True, slots=True)
class _Segment:
    """A span of days in which the same rules hold."""

    overrides: Overrides
    call: Call
    target: _Target
    start: date | None
    end: date | None

    def plan(
        self, rates: Sequence[ContractRates], discounts: Sequence[Discount], commitments: Sequence[Commitment]
    ) -> Tariff | DayPlan | str:
        listed = self.target.listed
        held = self._held(rates)
        agreed = [rule for rule in held if self._same_tier(rule)]
        off = self._held(discounts)
        commitment = _best(self._held(commitments))
        if commitment is not None:
            return self._provisioned(commitment, listed)
        if isinstance(listed, str):
            if agreed:
                return self._tariff(None, agreed, off)
            return self._from_standard(rates, discounts) if held and self._is_special else listed
        picked = listed.pick(self.call.tier, self.call.is_batch)
        base = geography.schedule_in(picked, self.call.provider, self.call.place).plan_on(self.start)
        if not agreed and not off:
            return base
        if isinstance(base, DayPlan):
            return DayPlan(base.starts, tuple(self._tariff(tariff, agreed, off) for tariff in base.tariffs))
        return self._tariff(base, agreed, off)

    @property
    def _is_special(self) -> bool:
        return self.call.is_batch or bool(self.call.tier)

    def _held(self, rules: Iterable[AnyRule]) -> list[AnyRule]:
        return [r for r in rules if r.scope.holds_on(self.start) and _covers(r.scope, self.target.names, self.call)]

    def _same_tier(self, rule: ContractRates) -> bool:
        return rule.is_batch == self.call.is_batch and (self.call.is_batch or rule.service_tier == self.call.tier)

    def _from_standard(self, rates: Sequence[ContractRates], discounts: Sequence[Discount]) -> Tariff | DayPlan | str:
        """A custom model served in a tier that the file has no rates for: its standard rates, marked as doubtful."""
        standard = replace(self.call, tier="", is_batch=False)
        plan = _Segment(self.overrides, standard, self.target, self.start, self.end).plan(rates, discounts, ())
        if isinstance(plan, str):
            return plan
        return doubtful(Schedule((), (plan,)), self.call.tier, self.call.is_batch).plan_on(None)

    def _provisioned(self, commitment: Commitment, listed: Schedules | str) -> Tariff:
        """Tokens are paid by the month; what is billed by the use (searches) keeps its list rate."""
        rates: dict[str, Rate] = {"input_uncached": Rate(Decimal(0)), "output_text": Rate(Decimal(0))}
        if isinstance(listed, Schedules):
            plan = listed.pick("", False).plan_on(self.start)
            standard = (plan if isinstance(plan, Tariff) else plan.tariffs[0]).base.snapshot
            rates |= {name: rate for name, rate in standard.rates.items() if unit_of(name) != "tokens"}
        snapshot = self._snapshot(rates, {"commitment": commitment.name}, commitment.scope, None)
        return Tariff(Flat(snapshot), note=reasons.PROVISIONED)

    def _tariff(self, base: Tariff | None, agreed: Sequence[ContractRates], off: Sequence[Discount]) -> Tariff:
        thresholds = {threshold for threshold, _ in base.over} if base else set[int]()
        thresholds |= {rule.prompt_over for rule in agreed if rule.prompt_over is not None}
        over = tuple((t, self._flat(base, agreed, off, t)) for t in sorted(thresholds))
        is_agreed = bool(agreed)
        return Tariff(
            self._flat(base, agreed, off, None),
            over,
            doubt="" if base is None or is_agreed else base.doubt,
            doubt_below=base is not None and not is_agreed and base.doubt_below,
            doubt_above=base is not None and not is_agreed and base.doubt_above,
            at_most=None if base is None or is_agreed else base.at_most,
        )

    def _flat(
        self,
        base: Tariff | None,
        agreed: Sequence[ContractRates],
        off: Sequence[Discount],
        threshold: int | None,
    ) -> Flat:
        listed = base.flat(0 if threshold is None else threshold + 1).snapshot if base else None
        rule = _best([r for r in agreed if r.prompt_over is None])
        longer = [
            r for r in agreed if r.prompt_over is not None and threshold is not None and r.prompt_over <= threshold
        ]
        long_rule = max(longer, key=lambda r: (r.prompt_over or 0, _precedence(r)), default=None)
        rates = _listed_rates(listed, off) if listed else {}
        by_class = {name: _best([rule for rule in off if not rule.classes or name in rule.classes]) for name in rates}
        rates = {name: self._discounted(by_class[name], rate) for name, rate in rates.items()}
        used = list(dict.fromkeys(rule for rule in by_class.values() if rule is not None))
        for agreement in (rule, long_rule):
            if agreement is None:
                continue
            if agreement.replaces:
                rates = {}
            rates |= {name: self._in_dollars(agreement, rate) for name, rate in agreement.rates.items()}
        deciding = long_rule or rule
        foremost = deciding or _best(used) or _best(off)
        scope = foremost.scope if foremost else Scope()
        contract = "+".join(r.name for r in (*used, rule, long_rule) if r is not None and r.name)
        conditions = dict(listed.conditions) if listed else {}
        if self.call.tier and not self.call.is_batch and rule is not None:
            conditions["service_tier"] = self.call.tier
        if self.call.is_batch and rule is not None:
            conditions["batch"] = "true"
        if threshold is not None:
            conditions["prompt_over"] = str(threshold)
        if contract:
            conditions["contract"] = contract
        return Flat(self._snapshot(rates, conditions, scope, listed))

    def _discounted(self, discount: Discount | None, rate: Rate) -> Rate:
        if discount is None:
            return rate
        kept = CONTEXT.divide(CONTEXT.subtract(HUNDRED, discount.percent), HUNDRED)
        return Rate(CONTEXT.multiply(rate.amount, kept), rate.per).storable()

    def _in_dollars(self, agreement: ContractRates, rate: Rate) -> Rate:
        return Rate(self.overrides.usd(rate.amount, agreement.currency, self.start), rate.per).storable()

    def _snapshot(
        self,
        rates: Mapping[str, Rate],
        conditions: Mapping[str, str],
        scope: Scope,
        listed: RateSnapshot | None,
    ) -> RateSnapshot:
        where = {key: value for key, value in (("org", scope.org), ("project", scope.project)) if value}
        version = self.overrides.source_version
        if listed is not None:
            version = f"{version}+{listed.source}-{listed.source_version}"
        return RateSnapshot(
            provider=self.call.provider,
            model=self.target.model,
            rates=rates,
            source=self.overrides.source,
            source_version=version,
            valid_from=self.start,
            valid_to=self.end,
            conditions={**conditions, **where},
            minimums=listed.minimums if listed else {},
        )


def _listed_rates(listed: RateSnapshot, off: Sequence[Discount]) -> dict[str, Rate]:
    """The list's rates, and one each for classes that a discount names and that are billed under another class."""
    rates = dict(listed.rates)
    for name in sorted({name for rule in off for name in rule.classes}):
        rate = listed.rate_of(name)
        if rate is not None:
            rates.setdefault(name, rate)
    return rates


def _covers(scope: Scope, names: Iterable[str], call: Call) -> bool:
    return scope.covers(names, call.provider, call.org, call.project)


def _days(scope: Scope) -> Iterable[date]:
    return [day for day in (scope.valid_from, scope.valid_to) if day is not None]


def _best(rules: Sequence[AnyRule]) -> AnyRule | None:
    """The most specific rule; of two alike the one that holds since later, then the later one in the file."""
    best: AnyRule | None = None
    for rule in rules:
        if best is None or _precedence(rule) >= _precedence(best):
            best = rule
    return best


def _precedence(rule: Rule) -> tuple[tuple[bool, bool, bool, int, bool], bool, date]:
    has_classes = isinstance(rule, Discount) and bool(rule.classes)
    return rule.scope.rank, has_classes, rule.scope.valid_from or date.min
