"""The tie-out's arithmetic: exact, additive, independent of order, and each fault under its own name."""

from __future__ import annotations

from datetime import date
from decimal import Decimal as D

from hypothesis import given
from hypothesis import strategies as st

from spanledger.reconciler.tieout.items import Billed, Booked, Charge, Dims, Finding
from spanledger.reconciler.tieout.items import ResidualName as R
from spanledger.reconciler.tieout.match import tie_out

DAY = date(2026, 11, 3)
MILLION = D(1_000_000)

days = st.integers(1, 4).map(lambda n: date(2026, 11, n))
dims = st.builds(
    Dims,
    day=days,
    model=st.sampled_from(["", "a", "b"]),
    token_class=st.sampled_from(["input_uncached", "cache_read", "output_text", "reasoning", "web_searches", ""]),
    api_key=st.sampled_from(["", "k1", "k2"]),
    project=st.sampled_from(["", "p1"]),
    service_tier=st.sampled_from(["", "flex"]),
    batch=st.sampled_from(["", "true"]),
)
amounts = st.decimals(-50, 1000, places=9, allow_nan=False)
quantities = st.integers(0, 10**7).map(D)
booked_items = st.builds(
    Booked,
    dims=dims,
    quantity=quantities,
    cost=st.decimals(0, 1000, places=12, allow_nan=False),
    unpriced_quantity=quantities,
)
billed_items = st.builds(
    Billed,
    dims=dims,
    amount=amounts,
    quantity=st.none() | quantities,
    charge=st.sampled_from(list(Charge)),
    quantum=st.sampled_from([D(0), D("0.01")]),
)


def difference(booked: list[Booked], billed: list[Billed]) -> D:
    return sum((b.amount for b in billed), D(0)) - sum((b.cost for b in booked), D(0))


@given(st.lists(booked_items, max_size=12), st.lists(billed_items, max_size=12), st.sets(days))
def test_findings_sum_to_billed_minus_booked_exactly(booked: list[Booked], billed: list[Billed], open_days: set[date]):
    findings = tie_out(booked, billed, is_final=lambda day: day not in open_days)
    assert sum((f.amount for f in findings), D(0)) == difference(booked, billed)


@given(st.lists(booked_items, max_size=12), st.lists(billed_items, max_size=12))
def test_findings_sum_exactly_on_each_day(booked: list[Booked], billed: list[Billed]):
    findings = tie_out(booked, billed, is_final=lambda _: True)
    for day in {item.dims.day for item in (*booked, *billed)}:
        here = sum((f.amount for f in findings if f.dims.day == day), D(0))
        assert here == difference([b for b in booked if b.dims.day == day], [b for b in billed if b.dims.day == day])


@given(st.lists(booked_items, max_size=8), st.lists(billed_items, max_size=8), st.randoms())
def test_the_order_of_the_items_does_not_matter(booked: list[Booked], billed: list[Billed], random):
    expected = tie_out(booked, billed, is_final=lambda _: True)
    random.shuffle(booked)
    random.shuffle(billed)
    assert tie_out(booked, billed, is_final=lambda _: True) == expected


@given(st.lists(billed_items, max_size=8))
def test_an_empty_ledger_books_nothing_and_bills_everything(billed: list[Billed]):
    findings = tie_out([], billed, is_final=lambda _: True)
    assert not {f.name for f in findings} & {R.RATE_DIFFERENCE, R.EXCESS_TELEMETRY, R.UNEXPLAINED, R.TIMING}


def place(**more: object) -> Dims:
    return Dims(**({"day": DAY, "model": "gpt-4o", "token_class": "input_uncached"} | more))  # type: ignore[arg-type]


def tokens(n: int, rate: str, **more: object) -> Booked:
    return Booked(dims=place(**more), quantity=D(n), cost=D(n) * D(rate) / MILLION)


def bill(n: int | None, rate: str, **more: object) -> Billed:
    quantity = None if n is None else D(n)
    return Billed(dims=place(**more), quantity=quantity, amount=D(n or 1) * D(rate) / MILLION)


def named(booked: list[Booked], billed: list[Billed], **options: object) -> dict[R, D]:
    findings: list[Finding] = tie_out(booked, billed, is_final=lambda _: True, **options)  # type: ignore[arg-type]
    sums: dict[R, D] = {}
    for finding in findings:
        sums[finding.name] = sums.get(finding.name, D(0)) + finding.amount
    return {name: amount for name, amount in sums.items() if amount}


def test_equal_books_leave_nothing():
    assert named([tokens(4_000_000, "2.5")], [bill(4_000_000, "2.5")]) == {}


def test_an_uninstrumented_project_is_missing_telemetry_at_its_billed_price():
    booked = [tokens(4_000_000, "2.5", project="web")]
    billed = [bill(4_000_000, "2.5", project="web"), bill(1_000_000, "2.5", project="batch-jobs")]
    assert named(booked, billed) == {R.MISSING_TELEMETRY: D("2.5")}


def test_double_counting_is_excess_telemetry():
    assert named([tokens(4_000_000, "2.5"), tokens(4_000_000, "2.5")], [bill(4_000_000, "2.5")]) == {
        R.EXCESS_TELEMETRY: D("-10")
    }


def test_a_contract_discount_is_a_rate_difference_with_both_unit_prices():
    (finding,) = tie_out([tokens(4_000_000, "2.5")], [bill(4_000_000, "2.4")], is_final=lambda _: True)
    assert (finding.name, finding.amount) == (R.RATE_DIFFERENCE, D("-0.4"))
    assert (finding.billed_unit_price, finding.booked_unit_price) == (D("0.0000024"), D("0.0000025"))


def test_missing_telemetry_and_a_discount_are_told_apart():
    assert named([tokens(3_000_000, "2.5")], [bill(4_000_000, "2.4")]) == {
        R.MISSING_TELEMETRY: D("2.4"),
        R.RATE_DIFFERENCE: D("-0.3"),
    }


def test_calls_without_a_price_are_unpriced_not_missing():
    booked = [Booked(dims=place(), unpriced_quantity=D(4_000_000))]
    assert named(booked, [bill(4_000_000, "2.5")]) == {R.UNPRICED: D("10")}


def test_telemetry_without_projects_matches_a_bill_with_projects():
    billed = [bill(1_000_000, "2.5", project="a"), bill(3_000_000, "2.5", project="b")]
    assert named([tokens(4_000_000, "2.5")], billed) == {}


def test_a_ghost_project_and_a_shadow_project_do_not_cancel():
    booked, billed = [tokens(4_000_000, "2.5", project="a")], [bill(4_000_000, "2.5", project="b")]
    assert named(booked, billed) == {R.MISSING_TELEMETRY: D("10"), R.EXCESS_TELEMETRY: D("-10")}


def test_reasoning_is_booked_as_output_where_the_bill_has_no_class_for_it():
    booked = [
        tokens(1_000_000, "10", token_class="output_text"),
        tokens(2_000_000, "10", token_class="reasoning"),
    ]
    assert named(booked, [bill(3_000_000, "10", token_class="output_text")]) == {}


def test_telemetry_without_the_cache_split_is_a_rate_difference_that_says_so():
    booked = [tokens(4_000_000, "2.5")]
    billed = [bill(1_000_000, "2.5"), bill(3_000_000, "1.25", token_class="cache_read")]
    (finding,) = tie_out(booked, billed, is_final=lambda _: True)
    assert (finding.name, finding.amount) == (R.RATE_DIFFERENCE, D("-3.75"))
    assert "input_uncached" in finding.cause


def test_a_call_over_midnight_is_timing_that_nets_to_zero():
    booked = [tokens(1_000_000, "2.5", day=date(2026, 11, 3))]
    billed = [bill(1_000_000, "2.5", day=date(2026, 11, 4))]
    findings = tie_out(booked, billed, is_final=lambda _: True)
    assert [(f.name, f.dims.day.day, f.amount) for f in findings] == [
        (R.TIMING, 3, D("-2.5")),
        (R.TIMING, 4, D("2.5")),
    ]


def test_a_day_that_may_still_move_is_not_final_yet():
    findings = tie_out([tokens(1_000_000, "2.5")], [], is_final=lambda _: False)
    assert [(f.name, f.amount) for f in findings] == [(R.NOT_FINAL_YET, D("-2.5"))]


def test_fees_credits_tax_and_unknown_lines_keep_their_names():
    billed = [
        Billed(dims=place(model="", token_class="web_searches"), amount=D("3"), charge=Charge.TOOL_FEE),
        Billed(dims=place(), amount=D("-5"), charge=Charge.CREDIT),
        Billed(dims=place(), amount=D("0.75"), charge=Charge.TAX),
        Billed(dims=place(model=""), amount=D("0.1"), charge=Charge.UNMATCHED),
    ]
    assert named([], billed) == {
        R.TOOL_FEES: D("3"),
        R.CREDITS_AND_DISCOUNTS: D("-5"),
        R.TAX: D("0.75"),
        R.UNMATCHED_LINE: D("0.1"),
    }


def test_an_amount_rounded_to_cents_is_rounding():
    billed = Billed(dims=place(), amount=D("10.00"), quantity=D(4_001_234), quantum=D("0.01"))
    assert named([tokens(4_001_234, "2.5")], [billed]) == {R.ROUNDING: D("-0.003085")}


def test_an_amount_without_quantity_is_compared_as_a_whole():
    billed = Billed(dims=place(token_class=""), amount=D("10"))
    booked = [tokens(3_000_000, "2.5"), tokens(250_000, "10", token_class="output_text")]
    assert named(booked, [billed]) == {}
