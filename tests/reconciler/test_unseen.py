"""Shadow and ghost spend: names that only one side knows, each with its amount, its likely cause and its evidence."""

from __future__ import annotations

from datetime import date
from decimal import Decimal as D

from spanledger.reconciler.tieout.items import Billed, Booked, Dims
from spanledger.reconciler.tieout.listing import Source
from spanledger.reconciler.tieout.match import tie_out
from spanledger.reconciler.tieout.model_names import ModelNames
from spanledger.reconciler.tieout.unseen import Unseen, ghost_spend, shadow_spend

DAY = date(2026, 11, 3)
SOURCE = Source(org_id="acme's", connection="prod", providers=("openai",))
FAMILY = ModelNames().family


def dims(**more: object) -> Dims:
    return Dims(**({"day": DAY, "model": "gpt-4o", "token_class": "output_text"} | more))  # type: ignore[arg-type]


def billed(amount: str, quantity: int = 100, **more: object) -> Billed:
    return Billed(dims=dims(**more), amount=D(amount), quantity=D(quantity))


def booked(cost: str, quantity: int = 100, **more: object) -> Booked:
    return Booked(dims=dims(**more), quantity=D(quantity), cost=D(cost))


def both(bill: list[Billed], books: list[Booked], *, final: bool = True) -> tuple[list[Unseen], list[Unseen]]:
    findings = tie_out(books, bill, is_final=lambda _: final, family=FAMILY)
    return shadow_spend(findings, books, FAMILY, SOURCE), ghost_spend(findings, bill, FAMILY, SOURCE)


def test_equal_books_have_neither():
    assert both([billed("5", project="web")], [booked("5", project="web")]) == ([], [])


def test_a_project_that_no_span_names_is_shadow_spend():
    (one,), ghosts = both([billed("5", project="web"), billed("7", project="jobs")], [booked("5", project="web")])
    assert ghosts == []
    assert (one.kind, one.name, one.amount_usd, one.quantity) == ("project", "jobs", D(7), D(100))
    assert (one.first_day, one.last_day, one.models) == (DAY, DAY, ("gpt-4o",))
    assert one.cause == "nothing in it sends spans"
    assert "org_id = 'acme\\'s'" in one.evidence
    assert "project IN ('jobs')" in one.evidence


def test_it_is_told_before_the_day_is_final():
    (one,), _ = both([billed("7", project="jobs")], [], final=False)
    assert (one.name, one.amount_usd) == ("jobs", D(7))


def test_where_spans_name_no_project_the_words_are_careful():
    found, _ = both([billed("5", project="web"), billed("7", 140, project="jobs")], [booked("4", 80)])
    assert sum(each.amount_usd for each in found) == D(8)
    assert {each.name for each in found} == {"jobs", "web"}
    assert all(each.cause.startswith("no span names a project") for each in found)


def test_equal_quantities_tell_which_name_of_one_side_is_which_of_the_other():
    bill = [billed("5", api_key="key_a"), billed("7", 140, api_key="key_b"), billed("6", 120, api_key="key_c")]
    found, _ = both(bill, [booked("7", 140, project="jobs"), booked("6", 120, project="web")])
    assert [(each.name, each.amount_usd) for each in found] == [("key_a", D(5))]


def test_a_part_that_is_recorded_twice_is_told_by_its_own_place():
    """The other project of the same model and day is no reason to doubt it."""
    bill = [billed("5", project="web"), billed("9", 180, project="jobs")]
    books = [booked("10", 200, project="web"), booked("9", 180, project="jobs")]
    _, (ghost,) = both(bill, books)
    assert (ghost.name, ghost.amount_usd) == ("web", D(5))
    assert ghost.cause.startswith("as much again as was billed")


def test_models_are_known_by_their_family():
    bill = [billed("5", model="gpt-4o-2024-08-06"), billed("2", model="o3-2025-04-16")]
    (one,), _ = both(bill, [booked("4", 80)])
    assert (one.kind, one.name) == ("model", "o3")


def test_keys_are_shadow_spend_too():
    (one,), _ = both([billed("5", api_key="key_a")], [])
    assert (one.kind, one.name) == ("api_key", "key_a")
    assert "name no keys" in one.cause


def test_ghosts_and_why():
    bill = [billed("5", project="web")]
    books = [
        booked("5", project="web"),
        booked("5", project="web"),
        booked("3", project="elsewhere"),
        booked("2", project="web", model="o3"),
    ]
    shadow, ghosts = both(bill, books)
    assert shadow == []
    assert [(g.kind, g.name, g.amount_usd) for g in ghosts] == [
        ("project", "web", D(5)),
        ("project", "elsewhere", D(3)),
        ("project", "web", D(2)),
    ]
    assert ghosts[0].cause.startswith("as much again as was billed")
    assert ghosts[1].cause.startswith("another account")
    assert ghosts[2].cause.startswith("the bill does not name this model")
    assert "provider IN ('openai')" in ghosts[0].evidence


def test_a_ghost_of_a_young_day_waits_for_the_bill():
    _, (one,) = both([], [booked("5")], final=False)
    assert one.cause.startswith("not billed yet")
