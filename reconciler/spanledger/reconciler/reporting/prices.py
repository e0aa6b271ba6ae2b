"""Billed unit prices over time: stretches of days at one price, what drifted from the books, what would mend it.

Nothing is applied here: a suggestion is a command line for somebody to run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import store_errors
from spanledger.reconciler.reporting.sql import load
from spanledger.reconciler.tieout.prices import Meter
from spanledger.reconciler.tieout.run import Period, TieOut
from spanledger.semconv.money import CONTEXT, text

SAME: Final = Decimal("0.002")
"""Unit prices that differ by less are one price: bills in cents wobble by that."""
ALARM: Final = Decimal("0.005")
"""A drift below it is left to rounding; the Prometheus rule waits for more."""

_ZERO: Final = Decimal(0)
_CENT: Final = Decimal("0.01")
_MILLION: Final = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayPrice:
    """One meter of a connection on one day; money in US dollars, prices for one unit."""

    connection: str
    provider: str
    day: date
    meter: Meter
    quantity: Decimal
    billed_usd: Decimal
    billed: Decimal
    matched_quantity: Decimal
    booked: Decimal | None
    drift: Decimal | None
    is_final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Days at one price.

    Attributes:
        connection, provider, meter: of what.
        first_day, last_day: the days with lines, both included.
        quantity, billed_usd: what was billed in all.
        billed, booked: US dollars for one unit; the booked one as it was on most of the quantity, or ``None``.
        drift: by which share the billed price exceeds the booked one; ``None`` when nothing is booked.
        drift_since: the first day from which on it drifted by that share.
        changed_from: the unit price before, where it changed; ``None`` at the first stretch.
        is_final: whether no day may move any more.
        is_last: whether it reaches to the newest day that the meter was billed on.
    """

    connection: str
    provider: str
    meter: Meter
    first_day: date
    last_day: date
    quantity: Decimal
    billed_usd: Decimal
    billed: Decimal
    booked: Decimal | None
    drift: Decimal | None
    drift_since: date
    changed_from: Decimal | None
    is_final: bool
    is_last: bool

    @property
    def drifts(self) -> bool:
        """Whether the ledger's price is not the billed one."""
        return self.drift is not None and abs(self.drift) >= ALARM


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """What would bring the books to the bill, as a command line; nothing is applied without it.

    ``model`` is ``*`` where it is for all models of the provider.
    """

    provider: str
    model: str
    why: str
    command: str


def read_prices(client: Client, org_id: str, period: Period) -> list[DayPrice]:
    """The implied prices that the tie-outs of a period's days found.

    Raises:
        StoreError: the store failed.
    """
    with store_errors("reading implied prices"):
        rows: Sequence[Sequence[Any]] = client.query(  # pyright: ignore[reportUnknownMemberType]
            load("implied_prices"), parameters={"org": org_id, "since": period.start, "until": period.end}
        ).result_rows
    return [
        DayPrice(
            connection=connection,
            provider=provider,
            day=day,
            meter=Meter(model=model, token_class=token_class, service_tier=tier, batch=batch),
            quantity=quantity,
            billed_usd=billed_usd,
            billed=billed,
            matched_quantity=matched,
            booked=booked,
            drift=drift,
            is_final=bool(is_final),
        )
        for (
            connection, provider, day, model, token_class, tier, batch, quantity, billed_usd, billed, matched, booked,
            drift, is_final,
        ) in rows
    ]  # fmt: skip


def day_prices(results: Iterable[TieOut]) -> list[DayPrice]:
    """The implied prices of tie-outs that were just made."""
    return [
        DayPrice(
            connection=result.connection,
            provider=result.provider,
            day=price.day,
            meter=price.meter,
            quantity=price.quantity,
            billed_usd=price.billed_usd,
            billed=price.billed_unit_price,
            matched_quantity=price.matched_quantity,
            booked=price.booked_unit_price,
            drift=price.drift,
            is_final=price.is_final,
        )
        for result in results
        for price in result.prices
    ]


def stretches(prices: Iterable[DayPrice]) -> list[Stretch]:
    """Days at one price, joined; by meter, the oldest first."""
    found: list[Stretch] = []
    ordered = sorted(prices, key=lambda p: (p.provider, p.connection, p.meter, p.day))
    for _, of_meter in groupby(ordered, key=lambda p: (p.provider, p.connection, p.meter)):
        days = list(of_meter)
        runs: list[list[DayPrice]] = [[days[0]]]
        for price in days[1:]:
            if _is_same(runs[-1], price):
                runs[-1].append(price)
            else:
                runs.append([price])
        before: Stretch | None = None
        for run in runs:
            before = _stretch(run, before, is_last=run is runs[-1])
            found.append(before)
    return found


def _is_same(run: Sequence[DayPrice], price: DayPrice) -> bool:
    first = run[0]
    if (first.drift is None) != (price.drift is None):
        return False
    if not first.billed:
        return not price.billed
    if abs(price.billed / first.billed - 1) >= SAME:
        return False
    return first.drift is None or price.drift is None or abs(first.drift - price.drift) < SAME


def _stretch(run: Sequence[DayPrice], before: Stretch | None, *, is_last: bool) -> Stretch:
    largest = max(run, key=lambda p: (p.matched_quantity, p.day))
    quantity = sum((price.quantity for price in run), _ZERO)
    billed_usd = sum((price.billed_usd for price in run), _ZERO)
    goes_on = (
        before is not None
        and before.drift is not None
        and largest.drift is not None
        and abs(before.drift - largest.drift) < SAME
    )
    return Stretch(
        connection=run[0].connection,
        provider=run[0].provider,
        meter=run[0].meter,
        first_day=run[0].day,
        last_day=run[-1].day,
        quantity=quantity,
        billed_usd=billed_usd,
        billed=CONTEXT.divide(billed_usd, quantity).quantize(Decimal("1e-18"), context=CONTEXT),
        booked=largest.booked,
        drift=largest.drift,
        drift_since=before.drift_since if before is not None and goes_on else run[0].day,
        changed_from=None if before is None else before.billed,
        is_final=all(price.is_final for price in run),
        is_last=is_last,
    )


def suggestions(prices: Sequence[Stretch], *, today: date) -> list[Suggestion]:
    """What would mend the drifts that still go on.

    One percentage over everything that a model bills is a discount (or, negative, a surcharge); over all models of a
    provider, one for the provider. Otherwise each class gets its billed rate. A drift of the running day is left to
    tomorrow: usage and cost of a day arrive at different times.
    """
    current = [s for s in prices if s.is_last and s.first_day < today and s.drift is not None]
    models: dict[tuple[str, str], list[Stretch]] = defaultdict(list)
    for stretch in current:
        models[stretch.provider, stretch.meter.model].append(stretch)
    drifting = {key: group for key, group in models.items() if any(s.drifts for s in group)}
    result: list[Suggestion] = []
    for provider in sorted({provider for provider, _ in drifting}):
        groups = {key: group for key, group in models.items() if key[0] == provider}
        everything = [s for group in groups.values() for s in group]
        whole = _discount(everything) if len(groups) > 1 else None
        if whole is not None:
            result.append(_discounted(provider, "*", everything, whole))
            continue
        for (_, model), group in sorted((key, group) for key, group in drifting.items() if key[0] == provider):
            one = _discount(group)
            found = _rated(provider, model, group) if one is None else _discounted(provider, model, group, one)
            result += [found] if found is not None else []
    return result


def _discount(group: Sequence[Stretch]) -> Decimal | None:
    """The one percentage by which everything is cheaper; ``None`` when there is no single one."""
    drifts = [s.drift for s in group if s.drift is not None]
    if not drifts or max(drifts) - min(drifts) >= SAME:
        return None
    heaviest = max(group, key=lambda s: (s.billed_usd, s.meter))
    assert heaviest.drift is not None
    return (-heaviest.drift * 100).quantize(_CENT)


def _discounted(provider: str, model: str, group: Sequence[Stretch], percent: Decimal) -> Suggestion:
    since = min(s.drift_since for s in group)
    what = "everything" if model == "*" else f"model `{model}`"
    word = "less" if percent > 0 else "more"
    return Suggestion(
        provider=provider,
        model=model,
        why=f"{provider} bills {text(abs(percent))} % {word} than is booked for {what} since {since}",
        command=(
            f"spanledger prices override --prices prices.toml --provider {provider} --model '{model}' "
            f"--discount {text(percent)}% --from {since}"
        ),
    )


def _rated(provider: str, model: str, group: Sequence[Stretch]) -> Suggestion | None:
    """A rate for each class that drifts; only the standard tier's, which a command line can name."""
    drifting = [s for s in group if s.drifts and s.meter.service_tier in ("", "standard") and s.meter.batch != "true"]
    if not drifting:
        return None
    since = min(s.drift_since for s in drifting)
    rates = {s.meter.token_class: (s.billed * _MILLION).quantize(Decimal("0.000001")) for s in drifting}
    flags = " ".join(f"--rate {name}={text(rate)}" for name, rate in sorted(rates.items()))
    what = ", ".join(sorted(rates))
    return Suggestion(
        provider=provider,
        model=model,
        why=f"{provider} bills other rates than are booked for {what} of model `{model}` since {since}",
        command=(
            f"spanledger prices override --prices prices.toml --provider {provider} --model '{model}' {flags} "
            f"--from {since}"
        ),
    )
