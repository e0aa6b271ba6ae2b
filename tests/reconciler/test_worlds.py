"""Generated worlds: calls, the provider's true bill, and known faults. The tie-out must name each with its amount.

A world has three projects on three models over ten days. The bill is made from all calls at the true prices; the
ledger from the calls that telemetry saw at the book's prices. A fault changes one of the two and says what the tie-out
must find, to the cent (here: to the last decimal, since nothing rounds unless the fault is rounding).
"""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal as D

import pytest

from spanledger.reconciler.tieout.bill import BillRow
from spanledger.reconciler.tieout.items import Booked, Dims
from spanledger.reconciler.tieout.items import ResidualName as R
from spanledger.reconciler.tieout.model_names import ModelNames
from spanledger.reconciler.tieout.run import Evidence, Period, TieOut, run_tie_out

FIRST = date(2026, 11, 1)
TODAY = date(2026, 12, 20)
PERIOD = Period.parse("2026-11-01..2026-11-10")
MILLION = D(1_000_000)
PRICES = {
    "gpt-4o": {"input_uncached": D("2.5"), "cache_read": D("1.25"), "output_text": D("10")},
    "gpt-4o-mini": {"input_uncached": D("0.15"), "cache_read": D("0.075"), "output_text": D("0.6")},
    "o4-mini": {"input_uncached": D("1.1"), "cache_read": D("0.275"), "output_text": D("4.4")},
}


@dataclass(frozen=True, slots=True)
class Call:
    day: date
    model: str
    project: str
    tokens: dict[str, int]
    tier: str = "standard"
    batch: bool = False
    searches: int = 0

    def cost(self) -> D:
        return sum((D(n) * PRICES[self.model][c] / MILLION for c, n in self.tokens.items()), D(0))


@dataclass(slots=True)
class World:
    """What happened, what was seen of it, and how both sides write it down."""

    calls: list[Call]
    seen: list[Call] = field(default_factory=list)
    extra_lines: list[BillRow] = field(default_factory=list)
    extra_booked: list[Booked] = field(default_factory=list)
    expected: dict[R, D] = field(default_factory=lambda: defaultdict(D))
    billed_rate: Callable[[Call, str], D] = lambda call, cls: PRICES[call.model][cls]
    booked_rate: Callable[[Call, str], D | None] = lambda call, cls: PRICES[call.model][cls]
    bill_dims: Callable[[Call], dict[str, object]] = lambda _: {}
    book_dims: Callable[[Call], dict[str, object]] = lambda _: {}
    bill_class: Callable[[str], str] = lambda cls: cls
    book_class: Callable[[str], str] = lambda cls: cls
    edit_bill: Callable[[list[BillRow]], list[BillRow]] = lambda rows: rows
    pulled: Callable[[date], bool] = lambda _: True
    with_quantities: bool = True
    today: date = TODAY

    def expect(self, name: R, amount: D) -> None:
        self.expected[name] += amount


def make(seed: int = 1) -> World:
    rng = random.Random(seed)
    calls = [
        Call(
            FIRST + timedelta(days=day),
            model,
            project,
            {"input_uncached": rng.randrange(1, 9) * 10_000, "cache_read": rng.randrange(1, 9) * 10_000}
            | {"output_text": rng.randrange(1, 9) * 1_000},
        )
        for day, model, project in itertools.product(range(10), PRICES, ("web", "api", "jobs"))
        for _ in range(2)
    ]
    return World(calls, list(calls))


def line(day: date, *, amount: D | None, quantity: D | None = None, **more: object) -> BillRow:
    fields: dict[str, object] = {
        "day": day, "days": 1, "kind": "cost", "charge": "usage", "provider": "openai", "model": "", "token_class": "",
        "api_key": "", "project": "", "workspace": "", "service_tier": "", "is_batch": None, "line_item": "",
        "quantity": quantity, "amount_usd": amount, "without_rate": 0, "currency": "USD", "lines": 1, "is_final": True,
        "source_ids": (),
    }  # fmt: skip
    return BillRow(**(fields | more))  # type: ignore[arg-type]


def bill(world: World) -> list[BillRow]:
    sums: dict[tuple[tuple[str, object], ...], list[D]] = defaultdict(lambda: [D(0), D(0)])
    for call in world.calls:
        for cls, n in call.tokens.items():
            place = {
                "day": call.day,
                "model": call.model,
                "project": call.project,
                "token_class": world.bill_class(cls),
            }
            key = tuple(sorted((place | world.bill_dims(call)).items(), key=lambda kv: kv[0]))
            sums[key][0] += D(n)
            sums[key][1] += D(n) * world.billed_rate(call, cls) / MILLION
    rows: list[BillRow] = []
    for key, (quantity, amount) in sums.items():
        place = dict(key)
        day = place.pop("day")
        if world.with_quantities:
            rows.append(line(day, amount=amount, quantity=quantity, **place))  # type: ignore[arg-type]
        else:
            rows.append(line(day, amount=amount, **place))  # type: ignore[arg-type]
    return world.edit_bill(rows) + world.extra_lines


def books(world: World) -> list[Booked]:
    items: list[Booked] = []
    for call in world.seen:
        for cls, n in call.tokens.items():
            place = {
                "day": call.day,
                "model": call.model,
                "project": call.project,
                "token_class": world.book_class(cls),
            }
            place |= {"service_tier": call.tier, "batch": str(call.batch).lower()} | world.book_dims(call)
            rate = world.booked_rate(call, cls)
            if rate is None:
                items.append(Booked(dims=Dims(**place), unpriced_quantity=D(n)))  # type: ignore[arg-type]
            else:
                items.append(Booked(dims=Dims(**place), quantity=D(n), cost=D(n) * rate / MILLION))  # type: ignore[arg-type]
    return items + world.extra_booked


def solve(world: World, period: Period = PERIOD) -> TieOut:
    pulled = [day for day in period.days() if world.pulled(day)]
    evidence = Evidence(connection="prod", provider="openai", rows=bill(world), booked=books(world), pulled_days=pulled)
    return run_tie_out(evidence, period, ModelNames(), today=world.today)


def cost(calls: Iterable[Call]) -> D:
    return sum((call.cost() for call in calls), D(0))


def unseen(world: World, which: Callable[[Call], bool]) -> None:
    """Telemetry never saw these calls."""
    world.expect(R.MISSING_TELEMETRY, cost(c for c in world.seen if which(c)))
    world.seen = [c for c in world.seen if not which(c)]


def uninstrumented_project(world: World) -> None:
    unseen(world, lambda c: c.project == "jobs")


def uninstrumented_model(world: World) -> None:
    unseen(world, lambda c: c.model == "o4-mini" and c.project == "api")


def dropped_spans(world: World) -> None:
    lost = set(random.Random(3).sample(range(len(world.seen)), 20))
    kept = [c for n, c in enumerate(world.seen) if n not in lost and c.project != "jobs"]
    gone = [c for n, c in enumerate(world.seen) if n in lost and c.project != "jobs"]
    world.expect(R.MISSING_TELEMETRY, cost(gone))
    world.seen = kept + [c for c in world.seen if c.project == "jobs"]


def collector_outage(world: World) -> None:
    unseen(world, lambda c: c.day == FIRST + timedelta(days=4) and c.project == "web")


def double_instrumentation(world: World) -> None:
    twice = [c for c in world.seen if c.project == "web" and c.model == "gpt-4o"]
    world.seen += twice
    world.expect(R.EXCESS_TELEMETRY, -cost(twice))


def ghost_account(world: World) -> None:
    ghosts = [replace(c, project="elsewhere") for c in world.calls if c.project == "web"][:10]
    world.seen += ghosts
    world.expect(R.EXCESS_TELEMETRY, -cost(ghosts))


def unbilled_retries(world: World) -> None:
    retries = [c for c in world.calls if c.project == "api" and c.model == "gpt-4o-mini"][::3]
    world.seen += retries
    world.expect(R.EXCESS_TELEMETRY, -cost(retries))


def rate_change(world: World, which: Callable[[Call, str], bool], factor: D) -> None:
    old = world.billed_rate
    for call in world.calls:
        for cls, n in call.tokens.items():
            if which(call, cls):
                world.expect(R.RATE_DIFFERENCE, D(n) * old(call, cls) * (factor - 1) / MILLION)
    world.billed_rate = lambda call, cls: old(call, cls) * (factor if which(call, cls) else 1)


def contract_discount(world: World) -> None:
    rate_change(world, lambda _c, _k: True, D("0.96"))


def price_change_mid_month(world: World) -> None:
    rate_change(world, lambda c, _: c.model == "gpt-4o" and c.day >= FIRST + timedelta(days=5), D("0.8"))


def one_class_dearer(world: World) -> None:
    rate_change(world, lambda c, cls: c.model == "o4-mini" and cls == "cache_read", D("2"))


def free_tokens(world: World) -> None:
    rate_change(world, lambda c, _: c.model == "gpt-4o-mini" and c.project == "jobs", D(0))


def wrong_price_book(world: World) -> None:
    for call in world.seen:
        if call.model == "gpt-4o-mini":
            world.expect(R.RATE_DIFFERENCE, -D(call.tokens["output_text"]) * D("0.6") / MILLION)
    world.booked_rate = lambda call, cls: (
        PRICES[call.model][cls] * (2 if call.model == "gpt-4o-mini" and cls == "output_text" else 1)
    )


def unknown_model(world: World) -> None:
    world.expect(R.UNPRICED, cost(c for c in world.seen if c.model == "o4-mini"))
    world.booked_rate = lambda call, cls: None if call.model == "o4-mini" else PRICES[call.model][cls]


def batch_at_half_price(world: World) -> None:
    """Both sides know batch: no difference."""
    jobs = lambda c: c.project == "jobs"  # noqa: E731
    world.calls = [replace(c, batch=jobs(c)) for c in world.calls]
    world.seen = list(world.calls)
    half = lambda c, cls: PRICES[c.model][cls] / (2 if c.batch else 1)  # noqa: E731
    world.billed_rate, world.booked_rate = half, half
    world.bill_dims = lambda c: {"is_batch": c.batch}


def batch_priced_as_ordinary(world: World) -> None:
    rate_change(world, lambda c, _: c.project == "jobs", D("0.5"))


def flex_tier_on_both_sides(world: World) -> None:
    world.calls = [replace(c, tier="flex" if n % 2 else "default") for n, c in enumerate(world.calls)]
    world.seen = [replace(c, tier="standard" if c.tier == "default" else c.tier) for c in world.calls]
    rate = lambda c, cls: PRICES[c.model][cls] / (2 if c.tier == "flex" else 1)  # noqa: E731
    world.billed_rate, world.booked_rate = rate, rate
    world.bill_dims = lambda c: {"service_tier": c.tier}


def credits_on_the_bill(world: World) -> None:
    world.extra_lines.append(line(FIRST, amount=D("-12.5"), charge="credit", line_item="promotional credit"))
    world.expect(R.CREDITS_AND_DISCOUNTS, D("-12.5"))


def tax_on_the_bill(world: World) -> None:
    world.extra_lines.append(line(FIRST, amount=D("1.9"), charge="tax", line_item="VAT"))
    world.expect(R.TAX, D("1.9"))


def tool_fees(world: World) -> None:
    world.extra_lines.append(line(FIRST, amount=D("0.25"), quantity=D(25), token_class="web_searches"))
    world.expect(R.TOOL_FEES, D("0.25"))


def storage_fee(world: World) -> None:
    world.extra_lines.append(line(FIRST, amount=D("0.1"), line_item="vector store storage"))
    world.expect(R.UNMATCHED_LINE, D("0.1"))


def prepaid_commitment(world: World) -> None:
    world.extra_lines.append(line(FIRST, amount=D("100"), charge="purchase", line_item="scale tier units"))
    world.expect(R.UNMATCHED_LINE, D("100"))


def late_days(world: World) -> None:
    """The last two days have not been billed yet, and today is the day after."""
    world.today = FIRST + timedelta(days=10)
    late = {FIRST + timedelta(days=8), FIRST + timedelta(days=9)}
    world.expect(R.NOT_FINAL_YET, -cost(c for c in world.seen if c.day in late and c.project != "x"))
    old = world.edit_bill
    world.edit_bill = lambda rows: [r for r in old(rows) if r.day not in late]


def moving_day(world: World) -> None:
    """Half of the last day's charges are there, marked as not final."""
    last = FIRST + timedelta(days=9)
    old = world.edit_bill
    world.edit_bill = lambda rows: [
        replace(r, amount_usd=r.amount_usd / 2, quantity=r.quantity / 2, is_final=False)  # type: ignore[operator]
        if r.day == last
        else r
        for r in old(rows)
    ]
    world.expect(R.NOT_FINAL_YET, -cost(c for c in world.calls if c.day == last) / 2)


def restated_day(world: World) -> None:
    """The provider corrected a day downwards: it no longer charges one model there."""
    day = FIRST + timedelta(days=3)
    gone = lambda r: r.day == day and r.model == "gpt-4o-mini"  # noqa: E731
    world.expect(R.EXCESS_TELEMETRY, -cost(c for c in world.calls if c.day == day and c.model == "gpt-4o-mini"))
    old = world.edit_bill
    world.edit_bill = lambda rows: [r for r in old(rows) if not gone(r)]


def calls_over_midnight(world: World) -> None:
    """The provider books the web project's calls on the day after: only the period's edge differs."""
    shift = timedelta(days=1)
    old = world.edit_bill
    world.edit_bill = lambda rows: [replace(r, day=r.day + shift) if r.project == "web" else r for r in old(rows)]
    last = FIRST + timedelta(days=9)
    world.expect(R.TIMING, -cost(c for c in world.calls if c.project == "web" and c.day == last))


def another_time_zone(world: World) -> None:
    """One call in two of every day falls into the provider's next day."""
    late = {id(c) for c in world.calls[1::2]}
    shift = timedelta(days=1)
    world.bill_dims = lambda c: {"day": c.day + shift} if id(c) in late else {}
    last = FIRST + timedelta(days=9)
    world.expect(R.TIMING, -cost(c for c in world.calls if id(c) in late and c.day == last))


def cents_only(world: World) -> None:
    old = world.edit_bill

    def rounded(rows: list[BillRow]) -> list[BillRow]:
        new = [replace(r, amount_usd=r.amount_usd.quantize(D("0.01"))) for r in old(rows)]  # type: ignore[union-attr]
        world.expected[R.ROUNDING] = sum(
            (n.amount_usd - r.amount_usd for n, r in zip(new, old(rows), strict=True)), D(0)
        )  # type: ignore[operator, misc]
        return new

    world.edit_bill = rounded


def bill_without_projects(world: World) -> None:
    world.bill_dims = lambda _: {"project": ""}


def telemetry_without_projects(world: World) -> None:
    world.book_dims = lambda _: {"project": ""}


def dated_snapshots(world: World) -> None:
    """The bill names snapshots, the spans the alias."""
    dates = {"gpt-4o": "-2024-08-06", "gpt-4o-mini": "-2024-07-18", "o4-mini": "-2025-04-16"}
    world.bill_dims = lambda c: {"model": c.model + dates[c.model]}


def cloud_names(world: World) -> None:
    world.book_dims = lambda c: {"model": f"us.openai.{c.model}-v1:0"}


def keys_on_the_bill_only(world: World) -> None:
    world.bill_dims = lambda c: {"api_key": f"key_{c.project}"}


def quantities_in_the_usage_report(world: World) -> None:
    """Costs come without quantities; the usage report has them, by key."""
    world.with_quantities = False
    usage: dict[tuple[date, str, str, str], D] = defaultdict(D)
    for call in world.calls:
        for cls, n in call.tokens.items():
            usage[call.day, call.model, call.project, cls] += D(n)
    world.extra_lines += [
        line(day, amount=None, quantity=n / 2, kind="usage", model=m, project=p, token_class=c, api_key=k)
        for (day, m, p, c), n in usage.items()
        for k in ("k1", "k2")
    ]


def telemetry_without_cache_split(world: World) -> None:
    world.book_class = lambda cls: "input_uncached" if cls == "cache_read" else cls
    world.booked_rate = lambda call, cls: PRICES[call.model]["input_uncached" if cls == "cache_read" else cls]
    for call in world.calls:
        rates = PRICES[call.model]
        difference = rates["cache_read"] - rates["input_uncached"]
        world.expect(R.RATE_DIFFERENCE, D(call.tokens["cache_read"]) * difference / MILLION)


def reasoning_billed_as_output(world: World) -> None:
    split = [
        replace(
            c,
            tokens={
                **c.tokens,
                "output_text": c.tokens["output_text"] // 2,
                "reasoning": c.tokens["output_text"] - c.tokens["output_text"] // 2,
            },
        )
        for c in world.calls
    ]
    world.calls, world.seen = split, list(split)
    rate = lambda c, cls: PRICES[c.model]["output_text" if cls == "reasoning" else cls]  # noqa: E731
    world.billed_rate, world.booked_rate = rate, rate
    world.bill_class = lambda cls: "output_text" if cls == "reasoning" else cls


def monthly_invoice(world: World) -> None:
    """An invoice with one line a model and class, no days, no projects."""
    old = world.edit_bill

    def invoice(rows: list[BillRow]) -> list[BillRow]:
        sums: dict[tuple[str, str], list[D]] = defaultdict(lambda: [D(0), D(0)])
        for row in old(rows):
            sums[row.model, row.token_class][0] += row.quantity or D(0)
            sums[row.model, row.token_class][1] += row.amount_usd or D(0)
        return [
            line(FIRST, days=10, amount=amount, quantity=quantity, model=model, token_class=cls)
            for (model, cls), (quantity, amount) in sums.items()
        ]

    world.edit_bill = invoice


def sampled_spans(world: World) -> None:
    """The collector keeps one trace in two of one project."""
    web = [c for c in world.seen if c.project == "web"]
    unseen(world, lambda c: any(c is lost for lost in web[::2]))


def priority_tier_unsaid_in_spans(world: World) -> None:
    """The bill charges the api project's calls double, as priority; the spans do not say their tier."""
    rate_change(world, lambda c, _: c.project == "api", D(2))
    world.bill_dims = lambda c: {"service_tier": "priority" if c.project == "api" else "default"}
    world.book_dims = lambda _: {"service_tier": ""}


def batch_unsaid_in_spans(world: World) -> None:
    """The bill charges one model's calls as a batch at half price; spans and book take them for ordinary ones."""
    rate_change(world, lambda c, _: c.model == "o4-mini", D("0.5"))
    world.bill_dims = lambda c: {"is_batch": c.model == "o4-mini"}


def flex_booked_as_standard(world: World) -> None:
    """Both sides name a tier, and not the same one: calls that asked for flex and did not record what they got."""
    rate_change(world, lambda c, _: c.project == "jobs", D("0.5"))
    world.bill_dims = lambda c: {"service_tier": "flex" if c.project == "jobs" else "default"}


def day_that_was_never_synced(world: World) -> None:
    """An outage of the provider's API: what is booked on that day is no excess."""
    day = FIRST + timedelta(days=3)
    world.pulled = lambda each: each != day
    old = world.edit_bill
    world.edit_bill = lambda rows: [r for r in old(rows) if r.day != day]
    world.expect(R.NOT_FINAL_YET, -cost(c for c in world.calls if c.day == day))


def storage_by_the_month(world: World) -> None:
    """One line for the whole month beside lines by the day, of which two days lack spans."""
    more = {"days": 30, "quantity": D(12), "token_class": "storage_gb_hours", "line_item": "Vector storage"}
    world.extra_lines.append(line(FIRST, amount=D("8"), **more))  # type: ignore[arg-type]
    world.expect(R.TOOL_FEES, D("8"))
    unseen(world, lambda c: c.day in (FIRST + timedelta(days=4), FIRST + timedelta(days=5)) and c.project == "web")


def discount_on_what_is_seen_in_part(world: World) -> None:
    """Two faults in one place and class: of the same calls a third is unseen, and all are cheaper."""
    lost = {id(c) for c in world.seen[::3]}
    gone = [c for c in world.seen if id(c) in lost]
    contract_discount(world)
    world.expect(R.MISSING_TELEMETRY, cost(gone) * D("0.96"))
    world.expect(R.RATE_DIFFERENCE, cost(gone) * D("0.04"))
    world.seen = [c for c in world.seen if id(c) not in lost]


def discount_on_what_is_recorded_twice(world: World) -> None:
    """Two faults in one place and class: the calls of a project are there twice, and the billed ones are cheaper."""
    contract_discount(world)
    twice = [c for c in world.seen if c.project == "web"]
    world.seen += twice
    world.expect(R.EXCESS_TELEMETRY, -cost(twice))


def unknown_price_of_what_is_seen_in_part(world: World) -> None:
    """Two faults in one place and class: half of a model's calls are unseen, the other half has no price."""
    unknown_model(world)
    unpriced = [c for c in world.seen if c.model == "o4-mini"]
    lost = {id(c) for c in unpriced[::2]}
    gone = cost(c for c in unpriced if id(c) in lost)
    world.seen = [c for c in world.seen if id(c) not in lost]
    world.expect(R.UNPRICED, -gone)
    world.expect(R.MISSING_TELEMETRY, gone)


def region_uplift(world: World) -> None:
    rate_change(world, lambda c, _: c.model == "gpt-4o" and c.project == "web", D("1.1"))


def stale_price_book(world: World) -> None:
    """The provider lowered a price months ago; the book never heard of it."""
    rate_change(world, lambda c, _: c.model == "o4-mini", D("0.5"))


def refund_as_negative_usage(world: World) -> None:
    """A correction in money alone, booked as usage."""
    world.extra_lines.append(line(FIRST, amount=D("-0.75"), model="gpt-4o", token_class="input_uncached"))
    world.expect(R.CREDITS_AND_DISCOUNTS, D("-0.75"))


def correction_with_tokens(world: World) -> None:
    """Billed too much at first, taken off with a negative line of the same place: no difference."""
    more = {"model": "gpt-4o", "token_class": "input_uncached", "project": "web"}
    world.extra_lines.append(line(FIRST, amount=D("2.5"), quantity=D(10**6), line_item="first", **more))
    world.extra_lines.append(line(FIRST, amount=D("-2.5"), quantity=D(-(10**6)), line_item="correction", **more))


def invoice_twice(world: World) -> None:
    """Every line of one model stands on the bill a second time."""
    old = world.edit_bill
    world.edit_bill = lambda rows: old(rows) + [r for r in old(rows) if r.model == "o4-mini"]
    world.expect(R.MISSING_TELEMETRY, cost(c for c in world.calls if c.model == "o4-mini"))


def euros_with_a_rate(world: World) -> None:
    """Dollars are what the bill's lines are worth by then: no difference, but it is said."""
    old = world.edit_bill
    world.edit_bill = lambda rows: [replace(r, currency="EUR") for r in old(rows)]


def free_tier(world: World) -> None:
    """The first day is not charged at all, and no line tells of it."""
    old = world.edit_bill
    world.edit_bill = lambda rows: [r for r in old(rows) if r.day != FIRST]
    world.expect(R.EXCESS_TELEMETRY, -cost(c for c in world.calls if c.day == FIRST))


def searches_on_both_sides(world: World, rate: str = "0.01") -> None:
    """The ledger counts searches, too, at one cent each."""
    world.extra_lines.append(line(FIRST, amount=25 * D(rate), quantity=D(25), token_class="web_searches"))
    world.extra_booked.append(
        Booked(dims=Dims(day=FIRST, model="gpt-4o", token_class="web_searches"), quantity=D(25), cost=D("0.25"))
    )


def dearer_searches(world: World) -> None:
    searches_on_both_sides(world, "0.025")
    world.expect(R.RATE_DIFFERENCE, D("0.375"))


CLEAN = [
    batch_at_half_price, flex_tier_on_both_sides, bill_without_projects, telemetry_without_projects, dated_snapshots,
    cloud_names, keys_on_the_bill_only, quantities_in_the_usage_report, reasoning_billed_as_output, monthly_invoice,
    correction_with_tokens, euros_with_a_rate, searches_on_both_sides,
]  # fmt: skip
FAULTS = [
    uninstrumented_project, uninstrumented_model, dropped_spans, collector_outage, double_instrumentation,
    ghost_account, unbilled_retries, contract_discount, price_change_mid_month, one_class_dearer, free_tokens,
    wrong_price_book, unknown_model, batch_priced_as_ordinary, credits_on_the_bill, tax_on_the_bill, tool_fees,
    storage_fee,
    prepaid_commitment, late_days, moving_day, restated_day, calls_over_midnight, another_time_zone,
    cents_only,
    telemetry_without_cache_split, sampled_spans, priority_tier_unsaid_in_spans, region_uplift, stale_price_book,
    refund_as_negative_usage, invoice_twice, free_tier, dearer_searches, batch_unsaid_in_spans,
    flex_booked_as_standard, day_that_was_never_synced, storage_by_the_month, discount_on_what_is_seen_in_part,
    discount_on_what_is_recorded_twice, unknown_price_of_what_is_seen_in_part,
]  # fmt: skip


def found(result: TieOut) -> dict[R, D]:
    return {name: amount for name, amount in result.residuals().items() if amount}


def wanted(world: World) -> dict[R, D]:
    return {name: amount for name, amount in world.expected.items() if amount}


def close(one: dict[R, D], other: dict[R, D]) -> bool:
    return one.keys() == other.keys() and all(abs(one[name] - other[name]) < D("1e-6") for name in one)


def test_there_are_enough_kinds():
    """Faults that leave a difference, beside the odd but harmless ways of a bill."""
    assert len(FAULTS) >= 30
    assert len(CLEAN) >= 10


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("fault", [*CLEAN, *FAULTS], ids=lambda f: f.__name__)
def test_each_fault_is_named_with_its_amount(fault: Callable[[World], None], seed: int):
    world = make(seed)
    fault(world)
    result = solve(world)
    assert close(found(result), wanted(world)), (found(result), wanted(world))
    assert sum(result.residuals().values(), D(0)) == result.billed_usd - result.booked_usd


MIXES = [
    [uninstrumented_project, credits_on_the_bill, tax_on_the_bill, tool_fees],
    [double_instrumentation, unknown_model, credits_on_the_bill],
    [contract_discount, tool_fees, storage_fee],
    [collector_outage, price_change_mid_month, tax_on_the_bill],
    [uninstrumented_model, unbilled_retries, prepaid_commitment, credits_on_the_bill],
    [ghost_account, one_class_dearer, tax_on_the_bill],
    [dated_snapshots, uninstrumented_project, tool_fees],
    [keys_on_the_bill_only, dropped_spans, credits_on_the_bill],
    [region_uplift, uninstrumented_model, refund_as_negative_usage, tax_on_the_bill, searches_on_both_sides],
    [correction_with_tokens, euros_with_a_rate, uninstrumented_project, dearer_searches, credits_on_the_bill],
    [free_tier, cloud_names, storage_fee, tax_on_the_bill],
    [late_days, reasoning_billed_as_output, tool_fees, credits_on_the_bill],
    [another_time_zone, tool_fees, tax_on_the_bill],
    [batch_priced_as_ordinary, refund_as_negative_usage, prepaid_commitment],
    [batch_unsaid_in_spans, double_instrumentation, credits_on_the_bill],
    [storage_by_the_month, ghost_account, tax_on_the_bill],
    [discount_on_what_is_seen_in_part, ghost_account, storage_fee],
]


@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: "+".join(f.__name__ for f in mix))
def test_mixed_faults_are_told_apart(mix: list[Callable[[World], None]]):
    world = make(5)
    for fault in mix:
        fault(world)
    result = solve(world)
    assert sum(result.residuals().values(), D(0)) == result.billed_usd - result.booked_usd
    gross = sum((abs(finding.amount) for finding in result.findings), D(0))
    unexplained = sum((abs(f.amount) for f in result.findings if f.name is R.UNEXPLAINED), D(0))
    assert unexplained <= gross / 100
    for name, amount in wanted(world).items():
        assert abs(found(result).get(name, D(0)) - amount) < D("0.01"), (name, found(result), wanted(world))


def test_days_that_were_never_pulled_are_said():
    world = make()
    world.pulled = lambda day: day.day != 4
    assert solve(world).missing_days == (date(2026, 11, 4),)


def test_an_empty_ledger_is_said():
    world = make()
    world.seen = []
    result = solve(world)
    assert any("ledger is empty" in problem for problem in result.problems)
    assert found(result) == {R.MISSING_TELEMETRY: result.billed_usd}
    assert result.coverage == 0


def test_lines_without_an_exchange_rate_are_said():
    world = make()
    world.extra_lines.append(line(FIRST, amount=None, without_rate=1, currency="EUR"))
    assert any("EUR" in problem for problem in solve(world).problems)


def test_lines_of_a_month_leave_the_days_of_others():
    world = make()
    storage_by_the_month(world)
    days = {f.dims.day for f in solve(world).findings if f.name is R.MISSING_TELEMETRY}
    assert days == {FIRST + timedelta(days=4), FIRST + timedelta(days=5)}


def test_what_a_monthly_invoice_leaves_open_stands_for_the_whole_period():
    world = make()
    monthly_invoice(world)
    unseen(world, lambda c: c.project == "jobs")
    result = solve(world)
    assert close(found(result), wanted(world))
    assert result.grain.span(f.dims for f in result.findings) == (FIRST, FIRST + timedelta(days=9))


def test_full_coverage_is_one():
    assert solve(make()).coverage == 1


def test_coverage_is_the_seen_share_of_the_bill():
    world = make()
    uninstrumented_project(world)
    result = solve(world)
    assert result.coverage is not None
    assert abs(result.coverage - (1 - world.expected[R.MISSING_TELEMETRY] / result.billed_usd)) < D("1e-9")


def test_lines_that_are_left_out_make_the_bill_incomplete():
    world = make()
    world.extra_lines.append(line(FIRST, amount=None, without_rate=2, currency="EUR"))
    result = solve(world)
    assert result.is_incomplete
    assert any(problem.startswith("2 lines in EUR are left out") for problem in result.problems)


def test_odd_bills_are_said():
    world = make()
    refund_as_negative_usage(world)
    euros_with_a_rate(world)
    result = solve(world)
    assert not result.is_incomplete
    assert "the bill is in EUR and USD: converted to US dollars at each day's rate" in result.problems
    assert any(problem.startswith("1 usage line is negative ($-0.75 in all)") for problem in result.problems)


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_mixed_the_parts_sum_and_solving_twice_is_the_same(seed: int):
    """Faults drawn at random, three at a time, some of which hide one another: the sum is exact all the same."""
    rng = random.Random(seed)
    mix = rng.sample([*FAULTS, *CLEAN], 3)
    worlds = [make(seed), make(seed)]
    for world in worlds:
        for fault in mix:
            fault(world)
    one, other = (solve(world) for world in worlds)
    assert sum(one.residuals().values(), D(0)) == one.billed_usd - one.booked_usd
    assert one == other
