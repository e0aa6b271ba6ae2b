"""Anthropic's connector: the analytics, the Admin API behind them, cents."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from fakes.anthropic import FakeAnthropic, cost_row, error, usage_row

from spanledger.reconciler.errors import State

DAY = date(2026, 11, 18)
WHO = {"api_key_id": "apikey_1", "workspace_id": "wrkspc_1", "model": "claude-opus-5-5", "service_tier": "standard"}


@pytest.fixture
def fake() -> FakeAnthropic:
    return FakeAnthropic()


@pytest.fixture
def anthropic(rig, fake):
    return rig(fake, "anthropic", secrets={"admin_key": fake.key})


def test_analytics_cost_is_in_cents_with_the_list_price_beside_it(anthropic, fake):
    """A fractional-cents text becomes dollars; the discount is list minus charged."""
    fake.cost[DAY] = [
        cost_row("123.78912", "cache_read_input_tokens", list_amount="150", **WHO),
        cost_row("1000", None, cost_type="code_execution", **WHO),
        cost_row("5", "a_new_token_type", **{**WHO, "service_tier": "batch"}),
    ]
    report = anthropic.sync("2026-11-18", "2026-11-19", streams=frozenset({"cost"}))["cost"]
    assert (report.state, report.lines, report.notes) == (State.OK, 3, {"unclassified": 1})
    assert anthropic.lines(
        "amount, list_amount, token_class, service_tier, is_batch, api_key, workspace, currency"
    ) == [
        (Decimal("0.05"), Decimal("0.05"), "", "batch", True, "apikey_1", "wrkspc_1", "USD"),
        (Decimal("1.2378912"), Decimal("1.5"), "cache_read", "standard", False, "apikey_1", "wrkspc_1", "USD"),
        (Decimal("10"), Decimal("10"), "code_execution", "standard", False, "apikey_1", "wrkspc_1", "USD"),
    ]


def test_analytics_usage_has_every_class_and_the_requests(anthropic, fake):
    """The 5-minute and 1-hour writes stay apart; zero classes make no line."""
    fake.usage[DAY] = [
        usage_row(
            usage={
                "uncached_input_tokens": 10, "cache_read_input_tokens": 20, "output_tokens": 5, "requests": 2,
                "cache_creation": {"ephemeral_1h_input_tokens": 3, "ephemeral_5m_input_tokens": 4},
                "server_tool_use": {"web_search_requests": 1},
            },
            **WHO,
        )
    ]  # fmt: skip
    anthropic.sync("2026-11-18", "2026-11-19", streams=frozenset({"usage"}))
    assert anthropic.lines("token_class, quantity, unit") == [
        ("cache_read", 20, "tokens"),
        ("cache_write_1h", 3, "tokens"),
        ("cache_write_5m", 4, "tokens"),
        ("input_uncached", 10, "tokens"),
        ("output_text", 5, "tokens"),
        ("requests", 2, "requests"),
        ("web_searches", 1, "searches"),
    ]


def test_more_rows_than_a_page_holds(anthropic, fake):
    """Pages of 1000 rows; the cursor repeats the whole query."""
    fake.cost[DAY] = [cost_row("1", "output_tokens", **{**WHO, "model": f"m{index}"}) for index in range(2500)]
    report = anthropic.sync("2026-11-18", "2026-11-19", streams=frozenset({"cost"}))["cost"]
    assert (report.lines, report.requests) == (2500, 3)
    assert anthropic.total() == 25


def test_a_day_beyond_the_watermark_is_not_final_and_an_old_watermark_is_a_state(anthropic, fake):
    """data_refreshed_at far behind the range: delayed_by_provider, told in words."""
    fake.cost[date(2026, 10, 1)] = [cost_row("1", "output_tokens", **WHO)]
    fake.cost[DAY] = [cost_row("1", "output_tokens", **WHO)]
    anthropic.sync("2026-10-01", "2026-10-02", streams=frozenset({"cost"}))
    assert anthropic.lines("is_final") == [(True,)]
    fake.refreshed_at = "2026-11-16T00:00:00Z"
    report = anthropic.sync("2026-11-10", "2026-11-19", streams=frozenset({"cost"}))["cost"]
    assert report.state is State.DELAYED_BY_PROVIDER
    assert "2026-11-16" in report.detail
    assert anthropic.lines("is_final", "period_start >= '2026-11-01'") == [(False,)]


def test_without_the_beta_the_admin_api_serves_the_same_streams(anthropic, fake):
    """Cost by workspace and description, usage by key; tiers and classes from the parsed dimensions."""
    fake.has_analytics = False
    fake.cost_report[DAY] = [
        {
            "currency": "USD", "amount": "123.78912", "workspace_id": None,
            "description": "Claude Sonnet 4 Usage - Input Tokens", "cost_type": "tokens", "context_window": "0-200k",
            "model": "claude-sonnet-4-20250514", "service_tier": "standard", "token_type": "uncached_input_tokens",
            "inference_geo": "global",
        },
        {
            "currency": "USD", "amount": "5", "workspace_id": "wrkspc_1", "description": "Code Execution Usage",
            "cost_type": "code_execution", "context_window": None, "model": None, "service_tier": None,
            "token_type": None, "inference_geo": None,
        },
    ]  # fmt: skip
    fake.messages[DAY] = [
        {
            "uncached_input_tokens": 1500, "cache_read_input_tokens": 200, "output_tokens": 500,
            "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 500},
            "server_tool_use": {"web_search_requests": 10}, "api_key_id": None, "workspace_id": None,
            "model": "claude-opus-4-20250514", "service_tier": "priority", "context_window": "0-200k",
            "inference_geo": "us",
        }
    ]  # fmt: skip
    reports = anthropic.sync("2026-11-01", "2026-11-20")
    assert {name: report.state for name, report in reports.items()} == {"cost": State.OK, "usage": State.OK}
    assert anthropic.lines("line_item, token_class, amount", "kind = 'cost'") == [
        ("Claude Sonnet 4 Usage - Input Tokens", "input_uncached", Decimal("1.2378912")),
        ("Code Execution Usage", "code_execution", Decimal("0.05")),
    ]
    assert anthropic.lines("sum(quantity)", "kind = 'usage' AND unit = 'tokens'") == [(3700,)]
    assert [question.one("limit") for question in fake.asked("cost_report")] == ["31"]


def test_a_day_through_one_api_replaces_the_same_day_through_the_other(anthropic, fake):
    """The organization gets the beta: nothing is counted twice."""
    fake.has_analytics = False
    fake.cost_report[DAY] = [{"currency": "USD", "amount": "100", "token_type": "output_tokens", "cost_type": "tokens"}]
    anthropic.sync("2026-11-18", "2026-11-19", streams=frozenset({"cost"}))
    fake.has_analytics = True
    fake.cost[DAY] = [cost_row("100.5", "output_tokens", **WHO)]
    anthropic.sync("2026-11-18", "2026-11-19", streams=frozenset({"cost"}))
    assert anthropic.lines("amount, api_key") == [(Decimal("1.005"), "apikey_1")]


def test_an_outage_of_the_beta_is_not_mistaken_for_its_absence(anthropic, fake):
    """529s on the probe fail the sync instead of switching the source."""
    fake.fail_next(*[error(529, "Overloaded")] * 9)
    with pytest.raises(Exception, match="Anthropic answered 529") as caught:
        anthropic.sync("2026-11-18", "2026-11-19")
    assert caught.value.state is State.DEGRADED
    assert not fake.asked("cost_report")


def test_a_wrong_key(anthropic, fake):
    """401: the readable line names the right kind of key."""
    fake.key = "other"
    with pytest.raises(Exception, match="sk-ant-admin01") as caught:
        anthropic.sync("2026-11-18", "2026-11-19")
    assert caught.value.state is State.AUTH_FAILED


def test_claude_code_is_a_memo_never_a_charge(rig, fake):
    """Estimates and subscription use stand beside the bill, not in it."""
    fake.has_analytics = False
    fake.claude_code[DAY] = [
        {
            "date": "2026-11-18T00:00:00Z",
            "actor": {"type": "user_actor", "email_address": "developer@company.com"},
            "customer_type": "subscription",
            "terminal_type": "vscode",
            "model_breakdown": [
                {
                    "model": "claude-opus-4-1-20250805",
                    "tokens": {"input": 100000, "output": 35000, "cache_read": 10000, "cache_creation": 5000},
                    "estimated_cost": {"currency": "USD", "amount": 1025},
                }
            ],
        }
    ]
    made = rig(fake, "anthropic", secrets={"admin_key": fake.key}, settings={"claude_code": "on"})
    made.sync("2026-11-18", "2026-11-19")
    assert made.lines("sum(quantity), any(charge), sum(amount)") == [(150000, "memo", None)]
    assert made.query("SELECT count() FROM spanledger.bill_lines WHERE org_id = {org:String}") == [(0,)]
