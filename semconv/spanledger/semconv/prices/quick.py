"""`arithmetic.cost_of`, fast for what almost every call is: fully reported text, at rates that are certain.

A tariff is turned into a function once, with its rates in the function's own cells; a class costs one multiplication
and one addition then, and everything else that pricing a call needs is a handful of tests. Operators on decimals take
half the time of a context's methods, but obey the thread's context, which is the application's. They are used where
that cannot matter: the context keeps as many digits as a cost below `_LIMIT` can have.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from decimal import Decimal, getcontext
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

from spanledger.semconv.cost import Cost, CostStatus
from spanledger.semconv.prices import reasons
from spanledger.semconv.prices.arithmetic import COUNT_ALIASES, FREE_COUNTS, ZERO, cost_of, unpriced
from spanledger.semconv.prices.rates import NS_PER_SECOND, SECONDS_PER_DAY, DayPlan, Flat, Schedule, Tariff, day_ns
from spanledger.semconv.usage import Usage

Pricer = Callable[[Usage, int, int | None], Cost]
"""Prices a usage at an instant (ns since the epoch, UTC), under the request's output limit."""

_new: Final = cast("Callable[[type[Cost], tuple[Any, ...]], Cost]", tuple.__new__)  # pyright: ignore[reportUnknownMemberType]
_LIST: Final = CostStatus.LIST
_BOUNDED: Final = CostStatus.BOUNDED
_LIMIT: Final = Decimal(9)
"""Dollars. Rates are never negative: below this sum nothing on the way to it had a second digit before the point, and a
single digit is what every context can hold, however small its ``Emax``."""


def pricer(plan: Tariff | Schedule | str) -> Pricer:
    """The function that prices calls under one tariff, a schedule of tariffs, or the reason why there is none."""
    if isinstance(plan, str):
        return _without_rates(plan)
    if isinstance(plan, Tariff):
        return _of_tariff(plan)
    return _of_tariff(plan.only) if plan.only is not None else _of_schedule(plan)


@lru_cache(maxsize=64)
def _without_rates(reason: str) -> Pricer:
    nothing_used, not_priced = unpriced(reasons.NO_USAGE), unpriced(reason)

    def price(usage: Usage, at_ns: int, max_output_tokens: int | None) -> Cost:
        del at_ns, max_output_tokens
        return not_priced if usage.is_known else nothing_used

    return price


def _of_schedule(schedule: Schedule) -> Pricer:
    pricers = {tariff: _of_tariff(tariff) for tariff in dict.fromkeys(schedule.tariffs())}
    starts = [day_ns(day) for day in schedule.days]
    plans = [schedule.plan_on(day) for day in (None, *schedule.days)]
    hours = [plan.starts if isinstance(plan, DayPlan) else (0,) for plan in plans]
    chosen = [
        [pricers[tariff] for tariff in (plan.tariffs if isinstance(plan, DayPlan) else (plan,))] for plan in plans
    ]

    def price(usage: Usage, at_ns: int, max_output_tokens: int | None) -> Cost:
        day = bisect_right(starts, at_ns)
        of_day = chosen[day]
        if len(of_day) == 1:
            return of_day[0](usage, at_ns, max_output_tokens)
        second = at_ns // NS_PER_SECOND % SECONDS_PER_DAY
        return of_day[bisect_right(hours[day], second) - 1](usage, at_ns, max_output_tokens)

    return price


def _of_tariff(tariff: Tariff) -> Pricer:
    """Equal to `cost_of` in every field (a test compares them); whatever is unusual is left to it.

    Unrolled, because a loop over the classes takes longer than the arithmetic.
    """

    def in_full(usage: Usage, at_ns: int, max_output_tokens: int | None) -> Cost:
        del at_ns
        return cost_of(tariff, usage, max_output_tokens)

    flat = tariff.base
    if tariff.doubt or flat.per_request is not None:
        return in_full
    # A class without a rate (`None`) is refused by the multiplication with a `TypeError`.
    uncached_each, read_each, write_5m_each, write_1h_each, text_each, reasoning_each = cast("Any", flat.usual)
    price_id, note, premium = flat.price_id, tariff.note, flat.long_write_premium
    is_generating = bool(flat.max_output)
    threshold = tariff.over[0][0] if tariff.over else None
    beyond = [_of_tariff(Tariff(longer, note=note)) for _, longer in tariff.over]
    over = [(limit, longer) for (limit, _), longer in zip(tariff.over, beyond, strict=True)]
    is_dearer = premium is not None and premium > 0
    of_unknown_lifetime = reasons.join(reasons.CACHE_LIFETIME, note)
    fees = _fees(flat)
    digits = 1 + _decimals(flat)

    def price(usage: Usage, at_ns: int, max_output_tokens: int | None) -> Cost:
        uncached = usage.input_uncached
        text = usage.output_text
        if (
            uncached is None
            or (text is None and is_generating)
            or usage.partial
            or usage.estimated
            or usage.input_audio
            or usage.input_image
            or usage.output_audio
            or usage.output_image
        ):
            return in_full(usage, at_ns, max_output_tokens)
        read = usage.cache_read
        write = usage.cache_write
        write_5m = usage.cache_write_5m
        write_1h = usage.cache_write_1h
        reasoning = usage.reasoning
        counts = usage.counts
        if threshold is not None:
            if counts:
                return in_full(usage, at_ns, max_output_tokens)  # some counts are prompt tokens
            prompt = uncached + (read or 0) + (write or 0) + (write_5m or 0) + (write_1h or 0)
            if prompt > threshold:
                return [longer for limit, longer in over if prompt > limit][-1](usage, at_ns, max_output_tokens)
        by_class: dict[str, Decimal]
        total: Decimal
        if getcontext().prec < digits:
            return in_full(usage, at_ns, max_output_tokens)
        try:
            if uncached and text and not (write or write_5m or write_1h or counts):
                # What most calls are: one literal is made in half the time of a dictionary that grows.
                fresh, written = uncached_each * uncached, text_each * text
                if read:
                    cached = read_each * read
                    if reasoning:
                        thought = reasoning_each * reasoning
                        total = fresh + cached + written + thought
                        by_class = {
                            "input_uncached": fresh,
                            "cache_read": cached,
                            "output_text": written,
                            "reasoning": thought,
                        }
                    else:
                        total = fresh + cached + written
                        by_class = {"input_uncached": fresh, "cache_read": cached, "output_text": written}
                elif reasoning:
                    thought = reasoning_each * reasoning
                    total = fresh + written + thought
                    by_class = {"input_uncached": fresh, "output_text": written, "reasoning": thought}
                else:
                    total = fresh + written
                    by_class = {"input_uncached": fresh, "output_text": written}
                if total < _LIMIT:
                    return _new(Cost, (_LIST, total, total, total, by_class, price_id, note))
            if uncached:
                total = uncached_each * uncached
                by_class = {"input_uncached": total}
            else:
                total = ZERO
                by_class = {}
            if read:
                by_class["cache_read"] = amount = read_each * read
                total += amount
            if write:
                by_class["cache_write"] = amount = write_5m_each * write
                total += amount
            if write_5m:
                by_class["cache_write_5m"] = amount = write_5m_each * write_5m
                total += amount
            if write_1h:
                by_class["cache_write_1h"] = amount = write_1h_each * write_1h
                total += amount
            if text:
                by_class["output_text"] = amount = text_each * text
                total += amount
            if reasoning:
                by_class["reasoning"] = amount = reasoning_each * reasoning
                total += amount
            if counts:
                for name, quantity in counts.items():
                    counted, each = fees[name]
                    if quantity and each is not None:
                        amount = each * quantity
                        by_class[counted] = by_class[counted] + amount if counted in by_class else amount
                        total += amount
            other = total + premium * write if write and premium else total
        # Something without a rate, or with one that is not simple; a context that traps what is harmless.
        except (TypeError, KeyError, ArithmeticError):
            return in_full(usage, at_ns, max_output_tokens)
        if total >= _LIMIT or other >= _LIMIT:
            return in_full(usage, at_ns, max_output_tokens)
        if other is total:
            return _new(Cost, (_LIST, total, total, total, by_class, price_id, note))
        low, high = (total, other) if is_dearer else (other, total)
        return _new(Cost, (_BOUNDED, total, low, high, by_class, price_id, of_unknown_lifetime))

    return price


class FlatRates(NamedTuple):
    """What fully reported text costs by multiplication alone, whatever else the call says.

    Attributes:
        input_uncached, cache_read, output_text: dollars for one token; ``None`` without a rate.
        prompt_limit: up to so many prompt tokens; ``None`` for any number.
        price_id, note: as in `Cost`.
    """

    input_uncached: Decimal | None
    cache_read: Decimal | None
    output_text: Decimal | None
    prompt_limit: int | None
    price_id: str
    note: str


def flat_rates(plan: Schedule | str, first_ns: int, last_ns: int) -> FlatRates | None:
    """The rates of calls that started in ``[first_ns, last_ns]``; ``None`` where pricing them takes more than that."""
    if isinstance(plan, str):
        return None
    tariff = plan.only
    if tariff is None:
        starts = [day_ns(day) for day in plan.days]
        at = bisect_right(starts, first_ns)
        of_days = plan.plan_on((None, *plan.days)[at])
        if at != bisect_right(starts, last_ns) or not isinstance(of_days, Tariff):
            return None
        tariff = of_days
    flat = tariff.base
    if tariff.doubt or flat.per_request is not None:
        return None
    uncached, read, *_, text, _ = flat.usual
    return FlatRates(uncached, read, text, tariff.over[0][0] if tariff.over else None, flat.price_id, tariff.note)


def _fees(flat: Flat) -> dict[str, tuple[str, Decimal | None]]:
    """Counts that cost a plain amount each, by every name that emitters have for them; ``None``: they cost nothing.

    What is missing has no rate, a smallest billed quantity or a rate that is no exact decimal.
    """
    names = [*flat.count_each, *COUNT_ALIASES, *FREE_COUNTS]
    counted = {name: COUNT_ALIASES.get(name, name) for name in names}
    fees: dict[str, tuple[str, Decimal | None]] = {"requests": ("requests", None)}
    for name, word in counted.items():
        if word in flat.count_each and word not in flat.minimums:
            fees[name] = word, flat.count_each[word]
        elif word in FREE_COUNTS and word not in flat.count_rates:
            fees[name] = word, None
    return fees


def _decimals(flat: Flat) -> int:
    """The most digits behind the point that an amount under these rates can have."""
    each = [*flat.usual, flat.long_write_premium, *flat.count_each.values()]
    return max((-int(amount.as_tuple().exponent) for amount in each if amount is not None), default=0)
