"""Interrupted calls: what a final bill gives them stays within their bounds, and nothing is gained or lost."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal as D

from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.reconciler.reporting.bounds import Open, bounds
from spanledger.reconciler.tieout.bill import BillRow
from spanledger.reconciler.tieout.causes import causes
from spanledger.reconciler.tieout.interrupted import CAUSE, Interrupted, narrow
from spanledger.reconciler.tieout.items import Booked, Dims, Finding
from spanledger.reconciler.tieout.items import ResidualName as R
from spanledger.reconciler.tieout.listing import Source
from spanledger.reconciler.tieout.model_names import ModelNames
from spanledger.reconciler.tieout.run import Evidence, Period, run_tie_out

FIRST = date(2026, 11, 1)
amounts = st.decimals(0, 50, places=12, allow_nan=False)
days = st.integers(0, 2).map(lambda n: FIRST + timedelta(days=n))
findings = st.builds(
    Finding,
    name=st.sampled_from([R.MISSING_TELEMETRY, R.RATE_DIFFERENCE, R.NOT_FINAL_YET]),
    dims=st.builds(
        Dims,
        day=days,
        model=st.sampled_from(["a", "b"]),
        token_class=st.sampled_from(["output_text", "reasoning", "web_searches"]),
        project=st.sampled_from(["", "web", "jobs"]),
    ),
    amount=st.decimals(-5, 50, places=12, allow_nan=False),
    quantity=st.none() | st.integers(0, 10**6).map(D),
)
broken = st.builds(
    Interrupted,
    dims=st.builds(Dims, day=days, model=st.sampled_from(["a", "b"]), project=st.sampled_from(["", "web", "jobs"])),
    calls=st.integers(1, 5),
    cost=amounts,
    room=amounts,
    open_calls=st.integers(0, 1),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(findings, max_size=6), st.lists(broken, max_size=6))
def test_settled_costs_lie_within_their_bounds_and_the_parts_still_sum(found: list[Finding], calls: list[Interrupted]):
    final = FIRST + timedelta(days=1)
    split, narrowed = narrow(found, calls, is_final=lambda dims: dims.day <= final)
    for each in narrowed:
        assert each.given >= 0
        assert each.given <= each.interrupted.room or each.interrupted.open_calls
        assert each.is_final == (each.interrupted.dims.day <= final)
        assert each.is_final or each.given == 0
    sums: dict[tuple[R, date], D] = defaultdict(D)
    for sign, side in ((1, found), (-1, split)):
        for finding in side:
            sums[finding.name, finding.dims.day] += sign * finding.amount
    assert not any(sums.values())
    assert sum(each.given for each in narrowed) == sum(f.amount for f in split if f.cause == CAUSE)
    assert len(narrowed) == len(calls)


@settings(max_examples=60, deadline=None)
@given(st.lists(findings, max_size=6), st.lists(broken, max_size=6), st.randoms())
def test_the_order_does_not_matter(found: list[Finding], calls: list[Interrupted], random):
    shuffled = list(calls)
    random.shuffle(shuffled)
    always = lambda _: True  # noqa: E731
    assert narrow(found, calls, is_final=always) == narrow(found, shuffled, is_final=always)


def finding(amount: str, **dims: str) -> Finding:
    place = Dims(**({"day": FIRST, "model": "a", "token_class": "output_text"} | dims))  # type: ignore[arg-type]
    return Finding(name=R.MISSING_TELEMETRY, dims=place, amount=D(amount), quantity=D(1000))


def interrupted(room: str, open_calls: int = 0, **dims: str) -> Interrupted:
    place = Dims(**({"day": FIRST, "model": "a"} | dims))  # type: ignore[arg-type]
    return Interrupted(dims=place, calls=2, cost=D(1), room=D(room), open_calls=open_calls)


def final(_: Dims) -> bool:
    return True


def test_what_fits_into_the_room_is_settled_and_the_rest_stays_missing():
    split, (one,) = narrow([finding("5")], [interrupted("2")], is_final=final)
    assert [(f.amount, f.quantity, f.cause) for f in split] == [(D(2), D(400), CAUSE), (D(3), D(600), "")]
    assert (one.low, one.high) == (D(3), D(3))


def test_calls_without_a_limit_take_what_the_others_cannot():
    _, narrowed = narrow([finding("5")], [interrupted("2"), interrupted("0", open_calls=1)], is_final=final)
    assert sorted(each.given for each in narrowed) == [D(2), D(3)]


def test_another_project_another_model_or_an_input_of_tools_is_not_theirs():
    found = [finding("5", project="jobs"), finding("5", model="b"), finding("5", token_class="web_searches")]
    split, (one,) = narrow(found, [interrupted("9", project="web")], is_final=final)
    assert split == found
    assert one.given == 0


def test_until_the_day_is_final_both_bounds_stay():
    _, (one, other) = narrow(
        [finding("5")], [interrupted("2"), interrupted("2", open_calls=1)], is_final=lambda _: False
    )
    assert (one.low, one.high) == (D(1), D(3))
    assert (other.low, other.high) == (D(1), None)


rooms = st.builds(
    Open,
    place=st.sampled_from(["x", "y", "z"]).map(lambda name: (name,)),
    provider=st.sampled_from(["openai", "xai"]),
    day=days,
    below=amounts,
    above=amounts,
    open_calls=st.integers(0, 1),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(rooms, max_size=8), st.dictionaries(st.tuples(st.sampled_from(["openai", "xai"]), days), amounts))
def test_every_breakdown_has_the_bounds_of_the_whole(rows: list[Open], final: dict[tuple[str, date], D]):
    parts = bounds(rows, final)
    whole = bounds([replace(row, place=()) for row in rows], final)
    if not rows:
        assert parts == whole == {}
        return
    assert sum(each.low for each in parts.values()) == whole[()].low
    highs = [each.high for each in parts.values()]
    assert (None if None in highs else sum(highs)) == whole[()].high  # type: ignore[arg-type]
    for place, found in parts.items():
        mine = [row for row in rows if row.place == place]
        assert -sum(row.below for row in mine) <= found.low
        assert found.high is None or found.low <= found.high
        if not any(row.open_calls for row in mine):
            assert found.high is not None
            assert found.high <= sum(row.above for row in mine)


def test_a_tie_out_settles_final_days_and_keeps_both_bounds_of_others():
    rows = [
        BillRow(
            day=FIRST + timedelta(days=n), days=1, kind="cost", charge="usage", provider="openai",
            model="gpt-4o-2024-08-06", token_class="output_text", api_key="", project="", workspace="",
            service_tier="", is_batch=None, line_item="",
            quantity=D(1500), amount_usd=D(15), without_rate=0, currency="USD", lines=1, is_final=n == 0, source_ids=(),
        )
        for n in range(2)
    ]  # fmt: skip
    books = [
        Booked(
            dims=Dims(day=FIRST + timedelta(days=n), model="gpt-4o", token_class="output_text", project="web"),
            quantity=D(1000),
            cost=D(10),
        )
        for n in range(2)
    ]
    calls = [
        Interrupted(
            dims=Dims(day=FIRST + timedelta(days=n), model="gpt-4o", project="web"), calls=1, cost=D(2), room=D(4)
        )
        for n in range(2)
    ]
    evidence = Evidence(
        connection="prod", provider="openai", rows=rows, booked=books, pulled_days=(), interrupted=calls
    )
    result = run_tie_out(
        evidence, Period(FIRST, FIRST + timedelta(days=2), "x"), ModelNames(), today=FIRST + timedelta(days=2)
    )
    assert result.residuals() == {R.MISSING_TELEMETRY: D(5), R.NOT_FINAL_YET: D(5)}
    assert (result.booked_usd, result.booked_low_usd, result.booked_high_usd) == (D(20), D(24), D(28))
    assert [(each.low, each.high) for each in result.interrupted] == [(D(6), D(6)), (D(2), D(6))]
    # Four of the five dollars are explained.
    assert result.variance == D(1) / D(30)
    source = Source(org_id="o", connection="prod", providers=("openai",))
    settling, missing = (cause for cause in causes(result.findings, [], source) if cause.name is R.MISSING_TELEMETRY)
    assert (settling.amount, missing.amount) == (D(4), D(1))
    assert "settles interrupted calls" in settling.what
