"""Implied prices: what a unit was billed at, since when, and the command that would bring the books to it."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal as D

from spanledger.reconciler.reporting.prices import DayPrice, day_prices, stretches, suggestions
from spanledger.reconciler.tieout.bill import BillRow
from spanledger.reconciler.tieout.items import Booked, Dims
from spanledger.reconciler.tieout.model_names import ModelNames
from spanledger.reconciler.tieout.prices import ImpliedPrice, Meter
from spanledger.reconciler.tieout.run import Evidence, Period, run_tie_out

FIRST = date(2026, 11, 1)
TODAY = date(2026, 11, 20)
LIST = {"input_uncached": D("2.5"), "output_text": D("10")}
MILLION = D(10**6)


def line(day: date, token_class: str, quantity: int, amount: D) -> BillRow:
    return BillRow(
        day=day, days=1, kind="cost", charge="usage", provider="openai", model="gpt-4o", token_class=token_class,
        api_key="", project="", workspace="", service_tier="", is_batch=None, line_item="", quantity=D(quantity),
        amount_usd=amount, without_rate=0, currency="USD", lines=1, is_final=False, source_ids=(),
    )  # fmt: skip


def implied(rates: list[dict[str, D]], *, seen: int = 10**6) -> list[ImpliedPrice]:
    """Days with a million units of each class at these rates a million, of which ``seen`` are in the ledger."""
    rows: list[BillRow] = []
    books: list[Booked] = []
    for number, of_day in enumerate(rates):
        day = FIRST + timedelta(days=number)
        for name, rate in of_day.items():
            rows.append(line(day, name, 10**6, rate))
            place = Dims(day=day, model="gpt-4o", token_class=name)
            if seen:
                books.append(Booked(dims=place, quantity=D(seen), cost=LIST[name] * seen / MILLION))
    evidence = Evidence(connection="prod", provider="openai", rows=rows, booked=books, pulled_days=())
    result = run_tie_out(evidence, Period(FIRST, FIRST + timedelta(days=30), "2026-11"), ModelNames(), today=TODAY)
    return list(result.prices)


def days(rates: list[dict[str, D]]) -> list[DayPrice]:
    return [
        DayPrice(
            connection="prod",
            provider="openai",
            day=p.day,
            meter=p.meter,
            quantity=p.quantity,
            billed_usd=p.billed_usd,
            billed=p.billed_unit_price,
            matched_quantity=p.matched_quantity,
            booked=p.booked_unit_price,
            drift=p.drift,
            is_final=p.is_final,
        )
        for p in implied(rates)
    ]


def times(factor: str, classes: dict[str, D] = LIST) -> dict[str, D]:
    return {name: rate * D(factor) for name, rate in classes.items()}


def test_equal_prices_do_not_drift_and_need_nothing():
    found = stretches(days([LIST] * 3))
    assert [(s.meter.token_class, s.first_day, s.last_day, s.drift) for s in found] == [
        (name, FIRST, FIRST + timedelta(days=2), 0) for name in ("input_uncached", "output_text")
    ]
    assert suggestions(found, today=TODAY) == []


def test_a_price_is_implied_though_telemetry_saw_only_a_part():
    price = next(p for p in implied([times("0.96")], seen=250_000) if p.meter.token_class == "output_text")
    assert price.billed_unit_price * MILLION == D("9.6")
    assert price.booked_unit_price is not None
    assert price.booked_unit_price * MILLION == 10
    assert price.matched_quantity == 250_000
    assert price.drift == D("-0.04")


def test_without_telemetry_there_is_a_price_and_no_drift():
    price = implied([LIST], seen=0)[0]
    assert (price.booked_unit_price, price.drift) == (None, None)
    assert price.billed_unit_price > 0


def test_a_change_begins_a_new_stretch_and_a_discount_is_suggested_from_its_day():
    found = stretches(days([LIST, LIST, times("0.8"), times("0.8")]))
    change = FIRST + timedelta(days=2)
    assert [(s.first_day, s.drifts) for s in found if s.meter.token_class == "output_text"] == [
        (FIRST, False),
        (change, True),
    ]
    assert found[1].changed_from is not None
    (one,) = suggestions(found, today=TODAY)
    assert one.command == (
        "spanledger prices override --prices prices.toml --provider openai --model 'gpt-4o' --discount 20% "
        "--from 2026-11-03"
    )


def test_classes_that_drift_apart_get_their_rates():
    other = {"input_uncached": D("2.5"), "output_text": D("12.5")}
    (one,) = suggestions(stretches(days([other] * 2)), today=TODAY)
    assert "--rate output_text=12.5 --from 2026-11-01" in one.command
    assert "--discount" not in one.command
    assert "input" not in one.command


def test_a_drift_that_is_over_and_the_running_day_suggest_nothing():
    assert suggestions(stretches(days([times("0.8"), LIST])), today=TODAY) == []
    assert suggestions(stretches(days([times("0.8")])), today=FIRST) == []


def test_one_discount_over_all_models_is_one_command():
    def priced(model: str, drift: str) -> DayPrice:
        return DayPrice(
            connection="prod", provider="openai", day=FIRST, meter=Meter(model=model, token_class="output_text"),
            quantity=D(1), billed_usd=D(1), billed=D(1), matched_quantity=D(1), booked=D(1), drift=D(drift),
            is_final=True,
        )  # fmt: skip

    (one,) = suggestions(stretches([priced("a", "-0.1"), priced("b", "-0.1")]), today=TODAY)
    assert "--model '*' --discount 10%" in one.command
    (only,) = suggestions(stretches([priced("a", "-0.1"), priced("b", "0")]), today=TODAY)
    assert "--model 'a' --discount 10%" in only.command


def test_cents_of_the_bill_are_no_drift():
    rounded = {"input_uncached": D("0.01"), "output_text": D("0.01")}
    rows = [line(FIRST, name, 3_000, amount) for name, amount in rounded.items()]
    books = [
        Booked(dims=Dims(day=FIRST, model="gpt-4o", token_class=name), quantity=D(3_000), cost=D("0.0075"))
        for name in rounded
    ]
    evidence = Evidence(connection="prod", provider="openai", rows=rows, booked=books, pulled_days=())
    result = run_tie_out(evidence, Period(FIRST, TODAY, "x"), ModelNames(), today=TODAY)
    assert {price.drift for price in result.prices} == {0}
    assert len(day_prices([result])) == 2
