"""xAI, OpenRouter and Mistral: their own units, limits and silences."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from fakes.base import answer
from fakes.mistral import FakeMistral
from fakes.openrouter import FakeOpenRouter, row
from fakes.xai import TEAM, FakeXai

from spanledger.reconciler.errors import ConfigError, State
from spanledger.reconciler.fx import FxRates, Rate

D17, D18 = date(2026, 11, 17), date(2026, 11, 18)


def xai(rig, fake):
    return rig(fake, "xai", secrets={"management_key": fake.key})


def test_xai_days_by_description_without_the_neighbours(rig):
    """Points out of order and out of range; dollars as numbers; the team comes from the key."""
    fake = FakeXai()
    fake.usd = {
        "Chat grok-4-0709": {date(2026, 11, 16): 9, D17: 0.75, D18: 1e-7, date(2026, 11, 19): 9},
        "Live Search": {D18: 0.025},
        "Something New": {D18: -0.5},
    }
    made = xai(rig, fake)
    report = made.sync("2026-11-17", "2026-11-19", streams=frozenset({"usage"}))["usage"]
    assert report.notes == {"outside_range": 2, "unclassified": 1}
    assert made.lines("toDate(period_start), model, token_class, line_item, amount, charge") == [
        (D17, "grok-4-0709", "", "Chat grok-4-0709", Decimal("0.75"), "usage"),
        (D18, "", "", "Something New", Decimal("-0.5"), "credit"),
        (D18, "", "web_searches", "Live Search", Decimal("0.025"), "usage"),
        (D18, "grok-4-0709", "", "Chat grok-4-0709", Decimal("0.0000001"), "usage"),
    ]
    body = fake.asked(f"{TEAM}/usage")[0].json()["analyticsRequest"]
    assert body["timeRange"] == {
        "startTime": "2026-11-17 00:00:00", "endTime": "2026-11-19 00:00:00", "timezone": "Etc/GMT",
    }  # fmt: skip


def test_xai_team_is_a_uuid(rig):
    """The word "default", which works for some keys only, is refused before anybody is asked."""
    fake = FakeXai()
    made = rig(fake, "xai", settings={"team_id": "default"}, secrets={"management_key": fake.key})
    with pytest.raises(ConfigError, match="--team-id 'default' is no UUID; leave it out"):
        made.sync("2026-11-17", "2026-11-19")
    assert not fake.questions


def test_xai_truncation_is_asked_again_in_smaller_pieces(rig):
    """limitReached above four days: the slice is halved until it is whole."""
    fake = FakeXai()
    fake.most_days = 4
    fake.usd = {"Chat grok-4": {date(2026, 11, day): 1 for day in range(1, 16)}}
    made = xai(rig, fake)
    report = made.sync("2026-11-01", "2026-11-16", streams=frozenset({"usage"}))["usage"]
    assert report.state is State.OK
    assert made.total() == 15


def test_xai_truncation_of_a_single_day_is_a_state_not_a_total(rig):
    """Nothing of the day is taken over, and the state says why."""
    fake = FakeXai()
    fake.usd = {"Chat grok-4": {D18: 1}}
    made = xai(rig, fake)
    made.sync("2026-11-18", "2026-11-19", streams=frozenset({"usage"}))
    cut = answer({"timeSeries": [], "limitReached": True})
    fake.fail_next(cut, when=lambda question: question.path.endswith("/usage"))
    report = made.sync("2026-11-18", "2026-11-19", streams=frozenset({"usage"}))["usage"]
    assert (report.state, "limitReached" in report.detail) == (State.TRUNCATED, True)
    assert made.total() == 1


def test_xai_invoice_gives_units_and_tax_but_no_second_charge(rig):
    """Integer cents; the amounts of the lines repeat the usage series."""
    fake = FakeXai()
    fake.invoice = {
        "coreInvoice": {
            "lines": [
                {
                    "description": "Chat grok-4-0709", "unitType": "Prompt text tokens", "unitPrice": "300",
                    "numUnits": "12500000", "amount": "3750",
                }
            ],
            "amountBeforeVat": "3750", "amountAfterVat": "4463", "prepaidCredits": {"val": "-4500"},
        },
        "billingCycle": {"year": 2026, "month": 11},
    }  # fmt: skip
    made = xai(rig, fake)
    made.sync(streams=frozenset({"invoice"}))
    assert made.lines("kind, token_class, quantity, amount, charge, toString(period_end)") == [
        ("cost", "", None, Decimal("7.13"), "tax", "2026-12-01 00:00:00.000"),
        ("usage", "input_uncached", 12500000, None, "usage", "2026-12-01 00:00:00.000"),
    ]


def test_openrouter_by_key_within_its_thirty_days(rig):
    """One request per completed day and key, and one for all; own-key spend is not OpenRouter's money."""
    fake = FakeOpenRouter()
    fake.activity[D18, "hash_a"] = [
        row("openai/gpt-4.1", 0.015, byok_usage_inference=0.012, requests=5, prompt_tokens=50, completion_tokens=125,
            reasoning_tokens=25, cached_tokens=10),
    ]  # fmt: skip
    fake.activity[D18, "hash_b"] = [row("x/replayed", 0, prompt_tokens=5, cached_tokens=9)]
    made = rig(fake, "openrouter", secrets={"management_key": fake.key})
    report = made.sync("2026-01-01")["activity"]
    assert report.state is State.OK
    assert (report.since, report.until) == (date(2026, 10, 21), date(2026, 11, 21))
    assert len(fake.asked("/activity")) == 30 * 3
    assert made.lines("token_class, quantity, amount, api_key", "kind = 'cost' OR api_key = 'hash_a'") == [
        ("", None, Decimal("0"), "hash_b"),
        ("", None, Decimal("0.015"), "hash_a"),
        ("cache_read", 10, None, "hash_a"),
        ("input_uncached", 40, None, "hash_a"),
        ("output_text", 100, None, "hash_a"),
        ("reasoning", 25, None, "hash_a"),
        ("requests", 5, None, "hash_a"),
    ]
    assert made.lines("token_class, quantity", "api_key = 'hash_b' AND kind = 'usage'") == [
        ("cache_read", 5),
        ("requests", 1),
    ]


def test_openrouter_keeps_what_a_deleted_key_spent(rig):
    """A rotated key cannot be asked for any more; its dollars and tokens stay on the bill, without a key."""
    fake = FakeOpenRouter()
    fake.activity[D18, "hash_a"] = [row("openai/gpt-4.1", 0.1, prompt_tokens=50, requests=2)]
    fake.activity[D18, "hash_b"] = [row("openai/gpt-4.1", 0.2, prompt_tokens=7), row("x/y", 0.3, completion_tokens=9)]
    made = rig(fake, "openrouter", secrets={"management_key": fake.key})
    what = "api_key, model, token_class, quantity, amount"
    with_both = [
        ("hash_a", "openai/gpt-4.1", "", None, Decimal("0.1")),
        ("hash_a", "openai/gpt-4.1", "input_uncached", 50, None),
        ("hash_a", "openai/gpt-4.1", "requests", 2, None),
        ("hash_b", "openai/gpt-4.1", "", None, Decimal("0.2")),
        ("hash_b", "openai/gpt-4.1", "input_uncached", 7, None),
        ("hash_b", "openai/gpt-4.1", "requests", 1, None),
        ("hash_b", "x/y", "", None, Decimal("0.3")),
        ("hash_b", "x/y", "output_text", 9, None),
        ("hash_b", "x/y", "requests", 1, None),
    ]
    made.sync("2026-11-18", "2026-11-19")
    assert made.lines(what) == with_both
    fake.keys.remove("hash_b")
    made.clock.advance(hours=1)
    made.sync("2026-11-18", "2026-11-19")
    assert made.lines(what) == sorted((key.replace("hash_b", ""), *rest) for key, *rest in with_both)
    assert made.total() == Decimal("0.6")


def test_mistral_reads_what_it_knows_and_says_what_it_does_not(rig):
    """Series by day, euros with a dated rate, an unknown category; the raw answer is kept."""
    fake = FakeMistral()
    point = {"timestamp": "2026-11-05T00:00:00Z"}
    fake.documents[2026, 11] = {
        "completion": {
            "models": {
                "mistral-large-2512": {
                    "input": [{**point, "value": 123}],
                    "output": [{**point, "value": 45}],
                    "cost": [{**point, "value": 0.5}],
                    "mood": [{**point, "value": 1}],
                }
            }
        },
        "telepathy": {"requests": 3},
    }
    made = rig(fake, "mistral", secrets={"admin_key": fake.key})
    made.fx = FxRates([Rate("EUR", date(2026, 11, 4), Decimal("1.16"))])
    report = made.sync("2026-11-05", "2026-11-06")["usage"]
    assert (report.state, report.notes["unreadable"], report.notes["unknown_category"]) == (State.DEGRADED, 1, 1)
    assert made.lines("kind, model, token_class, quantity, amount, currency, amount_usd, slot") == [
        ("cost", "mistral-large-2512", "", None, Decimal("0.5"), "EUR", Decimal("0.58"), "2026-11"),
        ("usage", "", "requests", 3, None, "", None, "2026-11"),
        ("usage", "mistral-large-2512", "input_uncached", 123, None, "", None, "2026-11"),
        ("usage", "mistral-large-2512", "output_text", 45, None, "", None, "2026-11"),
    ]
    made.clock.advance(hours=1)
    made.fx = FxRates()
    report = made.sync("2026-11-05", "2026-11-06")["usage"]
    assert report.notes["without_rate"] == 1
    assert made.lines("amount, amount_usd", "kind = 'cost'") == [(Decimal("0.5"), None)]


def test_mistral_without_the_enterprise_plan(rig):
    """A refused admin API names what it needs."""
    fake = FakeMistral()
    made = rig(fake, "mistral", secrets={"admin_key": fake.key})
    fake.fail_next(answer({"message": "Not found"}, 404))
    report = made.sync("2026-11-05", "2026-11-06")["usage"]
    assert (report.state, "Enterprise" in report.detail) == (State.PERMISSION_MISSING, True)
