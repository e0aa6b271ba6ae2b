"""Counters never go down, and say what they still owe."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

COST = "llm_cost_usd_total"
REQUESTS = "llm_requests_total"


def values(ledger, org):
    return {(c.metric, c.provider, c.model): (c.value, c.pending) for c in ledger.counters(org)}


def test_counters_sum_what_calls_say(ingest, observe, org):
    """Requests, tokens (input and output) and dollars, by provider and model, in lower case."""
    ingest(
        observe(1, usage=(1000, 200), response_model="GPT-4o", request_model="gpt-4o"),
        observe(2, at=90, usage=(1000, 200)),
        observe(3, at=5000, provider="Anthropic", request_model="claude", response_model="claude", usage=(10, 1)),
        observe(4, at=5001, usage=None, request_model="", response_model=""),
    )
    assert values(ingest.ledger, org) == {
        (REQUESTS, "openai", "gpt-4o"): (Decimal(2), 0),
        ("llm_tokens_total", "openai", "gpt-4o"): (Decimal(2400), 0),
        # The price book of these tests knows the lower-case name only.
        (COST, "openai", "gpt-4o"): (Decimal("0.0045"), 0),
        (REQUESTS, "anthropic", "claude"): (Decimal(1), 0),
        ("llm_tokens_total", "anthropic", "claude"): (Decimal(11), 0),
        (COST, "anthropic", "claude"): (Decimal("0.000045"), 0),
        ("llm_requests_unknown_model_total", "openai", ""): (Decimal(1), 0),
    }


def test_a_late_duplicate_is_netted_against_growth(ingest, observe, org):
    """Two calls turn out to be one: the counter stays, owes, and grows again only when the debt is paid."""
    key = (REQUESTS, "openai", "gpt-4o")
    ingest(
        observe(1, response_id="", scope_name="framework", lasted=5),
        observe(2, trace=1, parent=9, at=1, service_name="gateway"),
    )
    assert values(ingest.ledger, org)[key] == (2, 0)
    from spanledger.ledger.gather import SpanLink

    ingest(
        links=[
            SpanLink("", (1).to_bytes(16, "big"), (9).to_bytes(8, "big"), (1).to_bytes(8, "big"), 1_795_200_000 * 10**9)
        ]
    )
    assert values(ingest.ledger, org)[key] == (2, 1)
    ingest(observe(3, at=100))
    assert values(ingest.ledger, org)[key] == (2, 0)
    ingest(observe(4, at=200))
    assert values(ingest.ledger, org)[key] == (3, 0)


def test_label_sets_keep_their_own_accounts(ingest, observe, org):
    """A call whose biller becomes known moves: the old label set owes, the new one counts."""
    ingest(observe(1, response_id="r", provider="openai"))
    ingest(observe(2, response_id="r", provider="azure_openai", scope_name="gateway"))
    found = values(ingest.ledger, org)
    assert found[REQUESTS, "openai", "gpt-4o"] == (1, 1)
    assert found[REQUESTS, "azure_openai", "gpt-4o"] == (1, 0)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.lists(st.tuples(st.integers(1, 6), st.integers(0, 2)), min_size=1, max_size=4), min_size=1, max_size=5
    )
)
def test_counters_never_go_down(steps, observe, new_writer, org):
    """Whatever evidence comes, and whatever it does to earlier calls; and truth is value minus what is owed."""
    name = f"{org}-{abs(hash(str(steps)))}"
    before: dict = {}
    for step in steps:
        writer = new_writer(name)  # a new process each time
        writer(
            *(
                observe(
                    n + 10 * kind,
                    at=n,
                    response_id=f"r{n}" if kind else f"r{n % 3}",
                    scope_name=f"s{kind}",
                    provider=["openai", "groq", "azure_openai"][kind],
                )
                for n, kind in step
            )
        )
        now = values(writer.ledger, name)
        assert all(now[key][0] >= value for key, (value, _) in before.items())
        before = now
    truth = writer.ledger.query(
        "SELECT lower(provider), count(), sum(cost_usd) FROM spanledger.calls WHERE org_id = {org:String} GROUP BY 1",
        {"org": name},
    ).result_rows
    for provider, count, cost in truth:
        assert _owed(before, REQUESTS, provider) == count
        assert _owed(before, COST, provider) == cost


def _owed(found, metric, provider):
    value, pending = found[metric, provider, "gpt-4o"]
    return value - pending


def test_rollups_equal_their_calls(ingest, observe, books):
    """Each level is the sum of the calls below it, for every measure, and a moved call leaves nothing behind."""
    ingest(*(observe(n, at=n * 700, usage=(n, 2 * n), team_id=f"t{n % 3}", feature="f") for n in range(1, 30)))
    ingest(
        *(
            observe(
                100 + n, at=n * 700 + 61, response_id=f"chatcmpl-{n}", team_id="other", scope_name="late", usage=None
            )
            for n in range(1, 9)
        )
    )
    by_call = books.rows(
        "SELECT team_id, count(), sum(input_tokens), sum(output_tokens), sum(cost_usd), sumMap(usage) "
        "FROM spanledger.calls WHERE org_id = {org:String} GROUP BY team_id ORDER BY team_id"
    )
    for unit in ("minute", "hour", "day"):
        assert by_call == books.rows(
            "SELECT team_id, sum(calls), sum(input_tokens), sum(output_tokens), sum(cost_usd), sumMap(usage) "
            f"FROM spanledger.usage_by_{unit} WHERE org_id = {{org:String}} GROUP BY team_id ORDER BY team_id"
        )
        assert books.rows(
            "SELECT sum(arraySum(mapValues(class_cost_usd))) = sum(cost_usd) "
            f"FROM spanledger.usage_by_{unit} WHERE org_id = {{org:String}}"
        ) == [(1,)]


@pytest.mark.parametrize("unit", ["hour", "day"])
def test_buckets_begin_in_utc(unit, ingest, observe, books):
    """Whatever the machine's time zone."""
    ingest(observe(1))
    ((start,),) = books.rows(f"SELECT bucket FROM spanledger.usage_by_{unit} WHERE org_id = {{org:String}}")
    assert start.isoformat() == {"hour": "2026-11-20T18:00:00+00:00", "day": "2026-11-20T00:00:00+00:00"}[unit]
