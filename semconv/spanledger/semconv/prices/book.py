"""The price book: what did this call cost, at the rates that held when it was made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from spanledger.semconv.cost import Cost
from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import names, reasons
from spanledger.semconv.prices.arithmetic import cost_of, unpriced
from spanledger.semconv.prices.background import Worker
from spanledger.semconv.prices.base import BaseBook, Schedules
from spanledger.semconv.prices.rates import PriceRecord, RateSnapshot, Schedule, records_of
from spanledger.semconv.providers import SELF_HOSTED
from spanledger.semconv.usage import Usage

_CACHE_LIMIT: Final = 50_000
"""Names come from other people's spans: a cache that forgets everything now and then is bounded at no cost."""


class PriceBook:
    """Prices calls by provider, model and instant. Thread-safe and fork-safe.

    Rates are resolved once per model and kept; pricing a call after that is arithmetic. `price` resolves on the calling
    thread when it must. `try_price` and `prefetch` never do: they leave it to one daemon thread, so that they can be
    called from an application's own request path.
    """

    def __init__(self) -> None:
        self._base: BaseBook | None = None
        self._models: dict[tuple[str, str], Schedules | str] = {}
        self._schedules: dict[tuple[str, str, str, bool, str, str], Schedule | str] = {}
        self._snapshots: dict[str, RateSnapshot] | None = None
        self._worker: Final = Worker(self._resolve_quietly)

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
    ) -> Cost:
        """The cost of a call.

        Args:
            usage: what it consumed.
            provider: the ledger's word for who bills (`spanledger.semconv.providers.biller`).
            model: response model or, where that is unknown, request model.
            at_ns: when it started, ns since the epoch, UTC.
            service_tier: the tier that served it.
            is_batch: whether it came through a batch API.
            org_id: whose contract applies.
            project: the provider's project, workspace or account, for contracts that depend on it.
            max_output_tokens: the request's limit; bounds a broken stream.
        """
        key = (provider, model, service_tier, is_batch, org_id, project)
        schedule = self._schedules.get(key)
        if schedule is None:
            schedule = self._schedule(key)
        if isinstance(schedule, str):
            return unpriced(schedule if usage.is_known else reasons.NO_USAGE)
        return cost_of(schedule.only or schedule.at(at_ns), usage, max_output_tokens)

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
    ) -> Cost | None:
        """Like `price`, but ``None`` at once when the model is not resolved yet; a background thread resolves it."""
        key = (provider, model, service_tier, is_batch, org_id, project)
        schedule = self._schedules.get(key)
        if schedule is None:
            if (provider, model) not in self._models:
                self._worker.submit((provider, model))
                return None
            schedule = self._schedule(key)
        if isinstance(schedule, str):
            return unpriced(schedule if usage.is_known else reasons.NO_USAGE)
        return cost_of(schedule.only or schedule.at(at_ns), usage, max_output_tokens)

    def prefetch(self, *, provider: str, model: str) -> None:
        """Ask the background thread to resolve a model; returns at once."""
        if (provider, model) not in self._models:
            self._worker.submit((provider, model))

    def price_many(self, observations: Sequence[Observation]) -> list[Cost]:
        """The cost of each observation, in order; the response model decides where the price book knows it."""
        return [self._price_observation(observation) for observation in observations]

    def snapshot(self, price_id: str) -> RateSnapshot | None:
        """The rates behind a ``price_id``, or ``None`` when this book's sources do not have them."""
        if self._snapshots is None:
            self._snapshots = {snapshot.price_id: snapshot for snapshot in self._all_snapshots()}
        return self._snapshots.get(price_id)

    def records(self) -> Iterator[PriceRecord]:
        """Every rate of every snapshot, for a table of prices."""
        for snapshot in self._all_snapshots():
            yield from records_of(snapshot)

    def _price_observation(self, observation: Observation) -> Cost:
        model = observation.response_model or observation.request_model
        return self.price(
            observation.usage,
            provider=observation.provider,
            model=model,
            at_ns=observation.started_ns,
            service_tier=observation.service_tier,
            is_batch=observation.is_batch,
            org_id=observation.org_id,
            project=observation.project,
            max_output_tokens=observation.max_output_tokens,
        )

    def _schedule(self, key: tuple[str, str, str, bool, str, str]) -> Schedule | str:
        """The schedule for a key, from the resolved model; a text is the reason why there is none."""
        provider, model, service_tier, is_batch, _, _ = key
        schedules = self._resolve(provider, model)
        tier = names.tier(service_tier)
        found: Schedule | str
        if isinstance(schedules, str):
            found = schedules
        else:
            batch = is_batch or tier in names.BATCH_TIERS
            found = schedules.pick("" if tier in names.BATCH_TIERS else tier, batch)
        if len(self._schedules) >= _CACHE_LIMIT:
            self._schedules.clear()
        self._schedules[key] = found
        return found

    def _resolve(self, provider: str, model: str) -> Schedules | str:
        """Everything about a model, resolved now on this thread."""
        known = self._models.get((provider, model))
        if known is not None:
            return known
        found = self._look_up(provider, model)
        if len(self._models) >= _CACHE_LIMIT:
            self._models.clear()
        self._models[provider, model] = found
        return found

    def _resolve_quietly(self, wanted: tuple[str, str]) -> None:
        self._resolve(*wanted)

    def _look_up(self, provider: str, model: str) -> Schedules | str:
        if provider == SELF_HOSTED:
            return reasons.SELF_HOSTED
        base = self._loaded()
        if not base.knows(provider):
            return reasons.UNKNOWN_PROVIDER
        found = base.find(provider, model)
        return base.schedules(found) if found is not None else reasons.UNKNOWN_MODEL

    def _loaded(self) -> BaseBook:
        if self._base is None:
            self._base = BaseBook()  # two threads may both do it: no lock that a fork could leave held
        return self._base

    def _all_snapshots(self) -> Iterator[RateSnapshot]:
        base = self._loaded()
        for provider in base.providers:
            for model in base.listed(provider):
                schedules = base.schedules(model)
                for schedule in (schedules.standard, *schedules.by_tier.values()):
                    for tariff in schedule.tariffs():
                        if not tariff.doubt:
                            yield from (flat.snapshot for flat in tariff.flats())
