"""The price book: what did this call cost, at the rates that held when it was made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal, localcontext
from itertools import chain, product
from typing import TYPE_CHECKING, Final

from spanledger.semconv.cost import Cost
from spanledger.semconv.money import CONTEXT
from spanledger.semconv.observation import Observation
from spanledger.semconv.places import GLOBAL
from spanledger.semconv.prices import geography, names, reasons
from spanledger.semconv.prices.background import Worker
from spanledger.semconv.prices.base import BaseBook, Schedules
from spanledger.semconv.prices.quick import FlatRates, Pricer, flat_rates, pricer
from spanledger.semconv.prices.rates import PriceRecord, RateSnapshot, Schedule, records_of
from spanledger.semconv.providers import SELF_HOSTED
from spanledger.semconv.sheet import columns
from spanledger.semconv.usage import Usage

if TYPE_CHECKING:  # an instrumented application has neither contracts nor people who ask for an explanation
    from spanledger.semconv.prices.overrides import Commitment, Overrides

_CACHE_LIMIT: Final = 50_000
"""Names come from other people's spans: a cache that forgets everything now and then is bounded at no cost."""

_EARLIEST_NS: Final = 1_420_070_400_000_000_000
"""2015-01-01: an earlier start time is a broken clock."""

_PRICED_BY: Final = (
    "provider",
    "request_model",
    "response_model",
    "service_tier",
    "is_batch",
    "org_id",
    "project",
    "usage",
    "started_ns",
    "ended_ns",
    "received_ns",
    "inference_geo",
    "max_output_tokens",
)
"""What of an observation decides its price."""

_Key = tuple[str, str, str, str, bool, str, str, str]
"""provider, model, request model, service tier, batch, organisation, project, place of inference."""


class PriceBook:
    """Prices calls by provider, model and instant. Thread-safe and fork-safe.

    Rates are resolved once per model and kept; pricing a call after that is arithmetic. `price` resolves on the calling
    thread when it must. `try_price` and `prefetch` never do: they leave it to one daemon thread, so that they can be
    called from an application's own request path.
    """

    def __init__(self, overrides: Overrides | None = None, base: BaseBook | None = None) -> None:
        """A book of the bundled prices, or of those in ``base``, under the user's ``overrides``."""
        self._overrides: Final = overrides
        self._orgs: Final = overrides.orgs if overrides else frozenset[str]()
        self._projects: Final = overrides.projects if overrides else frozenset[str]()
        self._resolved = _Resolved(base)
        self._snapshots: dict[str, RateSnapshot] = {}
        self._has_all_snapshots = False
        self._worker: Final = Worker[_Key](self._resolve_in_background)

    def use(self, base: BaseBook) -> None:
        """Price by another edition of the base data from now on; snapshots of the old one stay citable."""
        self._resolved = _Resolved(base)
        self._has_all_snapshots = False

    def price(
        self,
        usage: Usage,
        *,
        provider: str,
        model: str,
        at_ns: int,
        service_tier: str = "",
        is_batch: bool = False,
        org_id: str = "",
        project: str = "",
        max_output_tokens: int | None = None,
        request_model: str = "",
        inference_geo: str = "",
    ) -> Cost:
        """The cost of a call.

        Args:
            usage: what it consumed.
            provider: the ledger's word for who bills (`spanledger.semconv.providers.biller`).
            model: the model that answered or, where that is unknown, the requested one.
            at_ns: when it started, ns since the epoch, UTC.
            service_tier: the tier that served it.
            is_batch: whether it came through a batch API.
            org_id: whose contract applies.
            project: the provider's project, workspace or account, for contracts that depend on it.
            max_output_tokens: the request's limit; bounds a broken stream.
            request_model: the requested model, where it differs (an Azure deployment); used when `model` is unknown,
                and for overrides that name it.
            inference_geo: where inference ran (`spanledger.semconv.places.place`).
        """
        if org_id and org_id not in self._orgs:
            org_id = ""
        if project and project not in self._projects:
            project = ""
        key = (provider, model, request_model, service_tier, is_batch, org_id, project, inference_geo)
        try:
            price = self._resolved.pricers[key]
        except KeyError:
            price = self._resolve(key)
        return price(usage, at_ns, max_output_tokens)

    def try_price(
        self,
        usage: Usage,
        *,
        provider: str,
        model: str,
        at_ns: int,
        service_tier: str = "",
        is_batch: bool = False,
        org_id: str = "",
        project: str = "",
        max_output_tokens: int | None = None,
        request_model: str = "",
        inference_geo: str = "",
    ) -> Cost | None:
        """Like `price`, but ``None`` at once when the model is not resolved yet; a background thread resolves it."""
        if org_id and org_id not in self._orgs:
            org_id = ""
        if project and project not in self._projects:
            project = ""
        key = (provider, model, request_model, service_tier, is_batch, org_id, project, inference_geo)
        price = self._resolved.pricers.get(key)
        if price is None:
            if not self._is_resolved(key):
                self._worker.submit(key)
                return None
            price = self._resolve(key)
        return price(usage, at_ns, max_output_tokens)

    def prefetch(self, *, provider: str, model: str) -> None:
        """Ask the background thread to resolve a model; returns at once."""
        key = (provider, model, "", "", False, "", "", "")
        if key not in self._resolved.pricers:
            self._worker.submit(key)

    def price_many(self, observations: Sequence[Observation]) -> list[Cost]:
        """The cost of each observation, in order, exactly as `price` gives it.

        The response model decides; where the price book does not know it, the request model (see `names.spoken` for
        the exceptions). A start time before 2015 is a broken clock: then the end or else the time of receipt counts.
        """
        pricers, orgs, projects = self._resolved.pricers, self._orgs, self._projects
        costs: list[Cost] = []
        append = costs.append
        with localcontext(CONTEXT):  # no cost of a contract has too many digits for the quick way
            for (
                provider,
                requested,
                answered,
                tier,
                is_batch,
                org_id,
                project,
                usage,
                at_ns,
                ended_ns,
                received_ns,
                place,
                limit,
            ) in zip(*columns(observations, _PRICED_BY), strict=True):
                key = (
                    provider,
                    answered or requested,
                    requested if answered else "",
                    tier,
                    is_batch,
                    org_id if orgs and org_id in orgs else "",
                    project if projects and project in projects else "",
                    place,
                )
                price = pricers.get(key) or self._resolve(key)
                if at_ns < _EARLIEST_NS:
                    at_ns = ended_ns if ended_ns >= _EARLIEST_NS else received_ns
                append(price(usage, at_ns, limit))
        return costs

    def flat_rates(self, seen: Observation, first_ns: int, last_ns: int) -> FlatRates | None:
        """By which rates `price_many` prices calls like this one that report text alone; ``None`` where it takes more.

        Args:
            seen: one of the calls; the others have its provider, models, tier, batch flag, owners and place.
            first_ns, last_ns: when the first and the last of them started, ns since the epoch, UTC.
        """
        if first_ns < _EARLIEST_NS:
            return None
        key = self._key(seen)
        if key not in self._resolved.pricers:
            self._resolve(key)
        plan = self._resolved.plans.get(key)
        return None if plan is None else flat_rates(plan, first_ns, last_ns)

    def _key(self, seen: Observation) -> _Key:
        requested, answered = seen.request_model, seen.response_model
        return (
            seen.provider,
            answered or requested,
            requested if answered else "",
            seen.service_tier,
            seen.is_batch,
            seen.org_id if seen.org_id in self._orgs else "",
            seen.project if seen.project in self._projects else "",
            seen.inference_geo,
        )

    def explain(self, cost: Cost) -> list[str]:
        """A cost's arithmetic, line by line: quantities, rates, where the rates come from, what is in doubt."""
        from spanledger.semconv.prices import explain

        return explain.lines(cost, self.snapshot(cost.price_id) if cost.price_id else None)

    def suggest(self, *, provider: str, model: str, limit: int = 3) -> list[str]:
        """The nearest names of models with prices, best first, for a model without (``provider/model``)."""
        from spanledger.semconv.prices import similar

        return similar.models(self._resolved.loaded(), provider, model, limit)

    def commitments(self, day: date, org_id: str = "") -> list[tuple[Commitment, Decimal]]:
        """Commitments that hold on a UTC day for an organisation, each with its month's amount in US dollars."""
        overrides = self._overrides
        if overrides is None:
            return []
        return [
            (rule, overrides.usd(rule.monthly, rule.currency, day))
            for rule in overrides.commitments
            if rule.scope.holds_on(day) and rule.scope.org in ("", org_id)
        ]

    def snapshot(self, price_id: str) -> RateSnapshot | None:
        """The rates behind a ``price_id``, or ``None`` when this book's sources do not have them."""
        if price_id not in self._snapshots and not self._has_all_snapshots:
            self._snapshots.update((snapshot.price_id, snapshot) for snapshot in self._all_snapshots())
            self._has_all_snapshots = True
        return self._snapshots.get(price_id)

    def records(self) -> Iterator[PriceRecord]:
        """Every rate of every snapshot, base and overrides, for a table of prices.

        An override for a pattern of names (``Qwen/*``) is there once a call of such a name was priced.
        """
        seen: set[str] = set()
        for snapshot in chain(self._all_snapshots(), list(self._snapshots.values())):
            if snapshot.price_id not in seen:
                seen.add(snapshot.price_id)
                yield from records_of(snapshot)

    @property
    def background_errors(self) -> int:
        """How often resolving in the background failed (a broken installation of the price data)."""
        return self._worker.errors

    def _is_resolved(self, key: _Key) -> bool:
        """Whether `_resolve` needs nothing but what is in memory already."""
        provider, model, request_model = key[:3]
        if self._overrides is not None:
            return False
        models = self._resolved.models
        found = models.get((provider, model))
        if found is None:
            return False
        return not isinstance(found, str) or not request_model or (provider, request_model) in models

    def _resolve_in_background(self, key: _Key) -> None:
        self._resolve(key)

    def _resolve(self, key: _Key) -> Pricer:
        """What prices the calls of a key, worked out now on this thread."""
        provider, model, request_model, service_tier, is_batch, org, project, place = key
        resolved = self._resolved
        tier = names.tier(service_tier)
        if tier in names.BATCH_TIERS:
            tier, is_batch = "", True
        spoken = names.spoken(provider, model, request_model)
        if self._overrides is not None:
            from spanledger.semconv.prices.contracts import Call, compose

            call = Call(provider, spoken, tier, is_batch, org, project, place)
            found = compose(self._overrides, call, resolved.list_prices)
        else:
            listed = resolved.list_prices(provider, spoken)
            found = listed if isinstance(listed, str) else listed.pick(tier, is_batch)
            if not isinstance(found, str):
                found = geography.schedule_in(found, provider, place)
        if len(resolved.pricers) >= _CACHE_LIMIT:
            resolved.pricers.clear()
            resolved.plans.clear()
            self._snapshots.clear()
            self._has_all_snapshots = False
        resolved.plans[key] = found
        price = resolved.pricers[key] = pricer(found)
        if not isinstance(found, str):
            self._snapshots.update((snapshot.price_id, snapshot) for snapshot in found.snapshots())
        return price

    def _all_snapshots(self) -> Iterator[RateSnapshot]:
        base = self._resolved.loaded()
        for provider in base.providers:
            for model in base.listed(provider):
                schedules = base.schedules(model)
                for schedule in (schedules.standard, *schedules.by_tier.values()):
                    for place in (GLOBAL, *geography.dearer_places(provider)):
                        yield from _certain(geography.schedule_in(schedule, provider, place))
        yield from self._override_snapshots(base)

    def _override_snapshots(self, base: BaseBook) -> Iterator[RateSnapshot]:
        """Snapshots that exist only because of the overrides: every model, tier and organisation that they speak of."""
        if self._overrides is None:
            return
        from spanledger.semconv.prices.contracts import Call, compose

        rules = list(self._overrides.rules())
        tiers = {("", False), ("", True), *((rule.service_tier, rule.is_batch) for rule in self._overrides.rates)}
        for provider in {rule.scope.provider for rule in rules}:
            for word in [provider] if provider else base.providers:
                scopes = [rule.scope for rule in rules if rule.scope.provider in ("", word)]
                named = sorted({scope.model for scope in scopes if scope.is_one_name})
                owners = {("", ""), *((scope.org, scope.project) for scope in scopes)}
                places = (GLOBAL, *geography.dearer_places(word))
                models = [*base.models(word), *named]
                for model, (org, project), (tier, is_batch), place in product(models, owners, tiers, places):
                    if not any(scope.covers((model,), word, org, project) for scope in scopes):
                        continue
                    call = Call(word, (model,), tier, is_batch, org, project, place)
                    found = compose(self._overrides, call, self._resolved.list_prices)
                    if not isinstance(found, str):
                        yield from _certain(found)


class _Resolved:
    """What was resolved from one edition of the base data. Replaced as a whole when the data changes."""

    __slots__ = ("base", "models", "plans", "pricers")

    def __init__(self, base: BaseBook | None) -> None:
        self.base = base
        self.models: Final[dict[tuple[str, str], Schedules | str]] = {}
        self.pricers: Final[dict[_Key, Pricer]] = {}
        self.plans: Final[dict[_Key, Schedule | str]] = {}

    def loaded(self) -> BaseBook:
        if self.base is None:
            self.base = BaseBook()  # two threads may both do it: no lock that a fork could leave held
        return self.base

    def list_prices(self, provider: str, spoken: Sequence[str]) -> Schedules | str:
        """List prices of the first name that the base data knows, or the reason why there are none."""
        reason = ""
        for name in spoken:
            found = self.models.get((provider, name))
            if found is None:
                found = self._look_up(provider, name)
                if len(self.models) >= _CACHE_LIMIT:
                    self.models.clear()
                self.models[provider, name] = found
            if not isinstance(found, str):
                return found
            reason = reason or found
        return reason or reasons.UNKNOWN_MODEL

    def _look_up(self, provider: str, model: str) -> Schedules | str:
        if provider == SELF_HOSTED:
            return reasons.SELF_HOSTED
        base = self.loaded()
        if not base.knows(provider):
            return reasons.UNKNOWN_PROVIDER
        found = base.find(provider, model)
        return base.schedules(found) if found is not None else reasons.UNKNOWN_MODEL


def _certain(schedule: Schedule) -> Iterator[RateSnapshot]:
    for tariff in schedule.tariffs():
        if not tariff.doubt:
            yield from (flat.snapshot for flat in tariff.flats())
