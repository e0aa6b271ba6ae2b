"""Evidence in, calls out: what one ingest leaves in the store."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np
import pytest

from spanledger.ledger.evidence import Batch
from spanledger.ledger.gather import SpanLink
from spanledger.semconv.observation import Observation, Role, ToolCall
from spanledger.semconv.sheet import Observations, Sheet
from spanledger.semconv.usage import Usage

T0 = 1_795_200_000 * 10**9
DAY_NS = 86_400 * 10**9


def test_one_observation_becomes_one_call(ingest, observe, books):
    """Every column of a call that its only witness knows is there, and what nobody knows is NULL."""
    report = ingest(
        observe(
            7,
            usage=Usage(
                input_uncached=1000,
                cache_read=24,
                cache_write_5m=10,
                cache_write_1h=5,
                reasoning=30,
                counts={"web_searches": 2},
            ),
            ttft_ns=1_500_000,
            stop_reason="stop",
            is_stream=True,
            session_id="s1",
            user_id="u1",
            team_id="search",
            feature="answers",
            labels={"tier": "gold"},
            environment="prod",
            server_address="api.openai.com",
            project="p",
        )
    )
    assert (report.new, report.calls, report.repeated) == (1, 1, 0)
    names = [
        "started_at", "duration_ms", "ttft_ms", "provider", "operation", "request_model", "response_model",
        "response_id", "input_tokens", "input_uncached_tokens", "cache_read_tokens", "cache_write_tokens",
        "cache_write_5m_tokens", "cache_write_1h_tokens", "output_tokens", "reasoning_tokens", "web_searches",
        "usage", "cost_status", "price_id", "status", "error_type", "stop_reason", "is_stream", "is_batch",
        "session_id", "user_id", "team_id", "feature", "labels", "service_name", "environment", "server_address",
        "project", "trace_id", "span_id", "witness_count",
    ]  # fmt: skip
    call = dict(zip(names, books.call(", ".join(names)), strict=True))
    assert call == {
        "started_at": datetime.fromtimestamp(T0 // 10**9, UTC),
        "duration_ms": 2000.0,
        "ttft_ms": 1.5,
        "provider": "openai",
        "operation": "chat",
        "request_model": "gpt-4o",
        "response_model": "gpt-4o",
        "response_id": "chatcmpl-7",
        "input_tokens": 1039,
        "input_uncached_tokens": 1000,
        "cache_read_tokens": 24,
        "cache_write_tokens": 15,
        "cache_write_5m_tokens": 10,
        "cache_write_1h_tokens": 5,
        "output_tokens": 30,
        "reasoning_tokens": 30,
        "web_searches": 2,
        "usage": {
            "input_uncached": 1000, "cache_read": 24, "cache_write_5m": 10, "cache_write_1h": 5, "reasoning": 30,
            "web_searches": 2,
        },
        "cost_status": "list",
        "price_id": "test",
        "status": "ok",
        "error_type": "",
        "stop_reason": "stop",
        "is_stream": True,
        "is_batch": False,
        "session_id": "s1",
        "user_id": "u1",
        "team_id": "search",
        "feature": "answers",
        "labels": {"tier": "gold"},
        "service_name": "app",
        "environment": "prod",
        "server_address": "api.openai.com",
        "project": "p",
        "trace_id": "0" * 31 + "7",
        "span_id": "0" * 15 + "7",
        "witness_count": 1,
    }  # fmt: skip


def test_unknown_is_null_never_zero(ingest, observe, books):
    """A stream that reported nothing has no tokens and no cost, and says why."""
    ingest(observe(usage=None))
    unknown = "input_tokens, output_tokens, cost_usd, cost_low_usd, web_searches, is_stream"
    assert books.call(unknown) == (None,) * 6
    assert books.call("cost_status, usage") == ("unpriced", {})
    assert books.rows("SELECT cost_reason FROM spanledger.call_costs WHERE org_id = {org:String}") == [("no_usage",)]


def test_cost_is_exact_to_the_twelfth_digit(new_writer, prices, observe, books, org):
    """1,189 tokens at $2.5 and 1,120 at $30 per million, in decimals throughout; classes add up to the total."""
    prices.rates["gpt-4o"] = ("2.5", "30")
    new_writer(org)(observe(usage=(1189, 1120)))
    total = Decimal("2.5") * 1189 / 1_000_000 + Decimal(30) * 1120 / 1_000_000
    assert books.call("cost_usd, cost_low_usd, cost_high_usd") == (total, total, total)
    ((shares,),) = books.rows("SELECT class_cost_usd FROM spanledger.call_costs WHERE org_id = {org:String}")
    assert sum(shares.values()) == total == Decimal("0.0365725")


def test_more_digits_than_the_ledger_keeps_are_rounded_half_even(new_writer, prices, observe, books, org):
    """Only when entering the store: 3 tokens at a seventh of a dollar per million."""
    prices.rates["gpt-4o"] = (str(Decimal(1) / 7), "0")
    new_writer(org)(observe(usage=(3, 0)))
    assert books.call("cost_usd") == (Decimal("0.000000428571"),)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"exact_cost_usd": Decimal("0.5")}, (Decimal("0.5"), "exact")),
        ({"exact_cost_usd": Decimal(0)}, (Decimal(0), "exact")),
        ({"claimed_cost_usd": Decimal("0.5")}, (Decimal("0.0045"), "list")),
        ({"claimed_cost_usd": Decimal("0.5"), "response_model": "nobody-knows"}, (Decimal("0.5"), "claimed")),
        ({"claimed_cost_usd": Decimal(0), "response_model": "nobody-knows"}, (None, "unpriced")),
        ({"labels": {"billing": "subscription"}}, (None, "unpriced")),
        ({"exact_cost_usd": Decimal(10) ** 40}, (Decimal("0.0045"), "list")),
    ],
)
def test_who_is_believed_about_money(ingest, observe, books, fields, expected):
    """The provider over the price book, the price book over the emitter; a zero claim is no claim."""
    ingest(observe(**fields))
    assert books.call("cost_usd, cost_status") == expected


def test_failed_attempts_are_rows_without_cost_and_no_fault(ingest, observe, books):
    """An attempt that the provider does not bill is a call with an error, and is not counted as unpriced."""
    ingest(observe(1, status="error", usage=None, response_id="", error_type="429"), observe(2, at=1))
    assert books.calls("status, error_type, cost_usd, cost_status") == [
        ("error", "429", None, "unpriced"),
        ("ok", "", Decimal("0.0045"), "list"),
    ]
    assert books.rows(
        "SELECT sum(calls), sum(errors), sum(unpriced_calls) FROM spanledger.usage_by_day WHERE org_id = {org:String}"
    ) == [(2, 1, 0)]


def test_the_same_evidence_again_changes_nothing(ingest, new_writer, observe, books, org):
    """In the same batch, in another batch, in another process, with another time of receipt."""
    observations = [observe(n, at=n) for n in range(1, 6)]
    ingest(*observations, observations[0])
    before = books.everything(), ingest.ledger.counters(org)
    later = [replace(o, received_ns=o.received_ns + 10**12) for o in observations]
    assert ingest(*observations[::-1]).repeated == 5
    assert new_writer(org)(*later, *observations).repeated == 10
    assert (books.everything(), ingest.ledger.counters(org)) == before
    assert len(books.calls()) == 5


def test_two_witnesses_of_one_answer_are_one_call(ingest, observe, books):
    """Equal response ids, in two traces, hours apart: one call; the poorer witness shows what it would have cost."""
    ingest(observe(1, response_id="r1", usage=Usage(input_uncached=900, cache_read=100, output_text=200)))
    ingest(observe(2, response_id="r1", at=1, usage=(1000, 200), scope_name="framework", session_id="s"))
    assert books.call("witness_count, cache_read_tokens, session_id, cost_usd") == (2, 100, "s", Decimal("0.0045"))
    assert [row[4:] for row in books.witnesses()] == [
        ("winner", "", None),
        ("duplicate", "response_id", Decimal("0.0045")),
    ]
    assert books.rows("SELECT sum(calls), sum(cost_usd) FROM spanledger.usage_by_day WHERE org_id = {org:String}") == [
        (1, Decimal("0.0045"))
    ]


def test_an_aggregate_never_bills_but_is_seen(ingest, observe, books):
    """The agent's span sums its two calls: it is no call, and what it would have cost is on record."""
    ingest(
        observe(1, role=Role.AGGREGATE, usage=(3000, 400), response_id="", scope_name="agents", lasted=9),
        observe(2, trace=1, parent=1, at=1, usage=(1000, 200)),
        observe(3, trace=1, parent=1, at=4, usage=(2000, 200)),
    )
    assert books.calls("input_tokens, witness_count") == [(1000, 1), (2000, 1)]
    assert [row[4:] for row in books.witnesses()] == [("aggregate", "aggregate", Decimal("0.0115"))]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_an_agent_says_who_its_calls_are_for_whenever_it_ends(ingest, observe, books, order):
    """The agent's span ends last and is often delivered last; its session reaches the calls that name none."""
    evidence = [
        observe(1, role=Role.AGGREGATE, usage=None, response_id="", session_id="s1", lasted=9),
        observe(2, trace=1, parent=1, at=1),
        observe(3, trace=1, parent=1, at=4, session_id="own"),
    ]
    for number in order:
        ingest(evidence[number])
    assert books.calls("session_id, witness_count") == [("s1", 1), ("own", 1)]
    assert books.witnesses() == []
    assert books.rows("SELECT sum(calls) FROM spanledger.usage_by_day WHERE org_id = {org:String}") == [(2,)]


def test_a_link_that_comes_last_still_joins(ingest, observe, books):
    """Framework span, tool span, SDK span: only the middle one, arriving last, shows that both are one call."""
    outer = observe(1, response_id="", scope_name="framework", lasted=5)
    inner = observe(3, trace=1, parent=2, at=1, lasted=3, service_name="gateway")
    ingest(outer)
    ingest(inner)
    assert len(books.calls()) == 2
    middle = SpanLink("", outer.trace_id, (2).to_bytes(8, "big"), outer.span_id, T0)
    ingest(links=[middle])
    assert books.call("witness_count, response_id") == (2, "chatcmpl-3")
    assert books.rows("SELECT sum(calls) FROM spanledger.usage_by_hour WHERE org_id = {org:String}") == [(1,)]


def test_details_add_facts_whenever_they_come(ingest, observe, books):
    """A log record of the same span brings the response id; before or after its span makes no difference."""
    detail = observe(1, role=Role.DETAIL, signal="log", response_id="real-id", usage=None, scope_name="logs", lasted=0)
    ingest(detail)
    assert books.calls() == []
    ingest(observe(1, response_id=""))
    assert books.call("response_id, witness_count") == ("real-id", 2)


def test_tool_calls_are_kept_by_name_and_size(ingest, observe, books):
    """Content stays NULL unless it was captured; resettling a call replaces its tool calls."""
    use = ToolCall(name="search", id="t1", input_bytes=120)
    result = ToolCall(name="search", id="t1", kind="result", is_error=False, output_bytes=4000, output="found")
    ingest(observe(1, tool_calls=(use, result)))
    rows = (
        "SELECT tool_name, tool_call_id, kind, is_error, input_bytes, output_bytes, input, output "
        "FROM spanledger.tool_calls WHERE org_id = {org:String} ORDER BY kind DESC"
    )
    expected = [
        ("search", "t1", "use", None, 120, None, None, None),
        ("search", "t1", "result", False, None, 4000, None, "found"),
    ]
    assert books.rows(rows) == expected
    ingest(observe(2, response_id="chatcmpl-1", at=1, scope_name="framework"))
    assert books.rows(rows) == expected


@pytest.mark.parametrize("started", [0, 10**9, T0 + 400 * DAY_NS, 2**64 - 1])
def test_an_absurd_clock_is_replaced_by_the_time_of_receipt(ingest, observe, books, started):
    """1970, next year, the largest number: the call stands where it was received, and its duration is unknown."""
    ingest(observe(started_ns=started, ended_ns=0, received_ns=T0 + 5 * 10**9))
    assert books.call("started_at, duration_ms") == (datetime.fromtimestamp(T0 // 10**9 + 5, UTC), None)


def test_absurd_clocks_do_not_defeat_deduplication(ingest, observe, books):
    """The same span without a clock, delivered again a week later, is the same evidence."""
    first = observe(started_ns=0, ended_ns=0, received_ns=T0)
    ingest(first)
    assert ingest(replace(first, received_ns=T0 + 7 * DAY_NS)).repeated == 1
    assert len(books.calls()) == 1


def test_log_records_without_a_trace_are_calls_of_their_own(ingest, observe, books):
    """Coding agents send log records outside any trace: their all-zero trace is not one trace."""
    ingest(*(observe(0, trace=0, at=n, signal="log", response_id="", usage=(10 + n, 5)) for n in range(3)))
    assert books.calls("input_tokens, trace_id, span_id") == [(10, "", ""), (11, "", ""), (12, "", "")]


def test_text_that_no_column_can_hold_does_not_keep_a_batch_out(ingest, observe, books):
    """Lone surrogates come in through JSON; numbers beyond 64 bits through careless emitters."""
    ingest(observe(1, user_id="a\ud800b"), observe(2, at=1, usage=Usage(input_uncached=2**80, output_text=5)))
    assert books.calls("user_id, input_tokens, output_tokens") == [("a?b", 1000, 200), ("", None, 5)]


def test_orgs_never_meet(new_writer, observe, client):
    """Two orgs that send the same trace, span and response id have a call each."""
    for org in ("left", "right"):
        new_writer(org)(observe(99))
    rows = client.query(
        "SELECT org_id, count(), any(witness_count) FROM spanledger.calls "
        "WHERE org_id IN ('left', 'right') GROUP BY ALL ORDER BY 1"
    ).result_rows
    assert [tuple(row) for row in rows] == [("left", 1, 1), ("right", 1, 1)]


def test_an_empty_ingest_is_fine(ingest):
    """Nothing in, nothing out."""
    report = ingest()
    assert (report.observations, report.calls) == (0, 0)


def test_one_batch_may_span_years(ingest, observe, books):
    """An import of old files touches hundreds of days at once."""
    ingest(*(observe(n, at=-n * 86_400, received_ns=T0) for n in range(1, 300)))
    assert len(books.calls("call_id")) == 299
    assert books.rows("SELECT count(), sum(calls) FROM spanledger.usage_by_day WHERE org_id = {org:String}") == [
        (299, 299)
    ]


def test_duplicates_by_minute_are_the_sums_of_witnesses(ingest, observe, books):
    """Also after late evidence changes which one is the duplicate, and of aggregates that never bill."""

    def sums():
        return books.rows(
            "SELECT toStartOfMinute(started_at) AS minute, org_id, reason, count(), sum(ifNull(would_be_cost_usd, 0)) "
            "FROM spanledger.witnesses WHERE org_id = {org:String} AND role IN ('duplicate', 'aggregate') "
            "GROUP BY minute, org_id, reason ORDER BY ALL"
        )

    ingest(
        observe(1, response_id="r", scope_name="framework"),
        observe(2, trace=1, parent=1, at=70, response_id="r"),
        observe(9, trace=1, role=Role.AGGREGATE, response_id="", usage=(5000, 5)),
    )
    assert len(books.duplicates()) == 2
    assert books.duplicates() == sums()
    ingest(
        observe(
            3,
            at=140,
            response_id="r",
            scope_name="spanledger.sdk",
            usage=Usage(input_uncached=900, cache_read=100, output_text=200),
        )
    )
    assert books.duplicates() == sums()
    assert sum(row[3] for row in books.duplicates()) == 3


def test_evidence_in_columns_is_the_same_evidence(new_writer, observe, books_of):
    """A sheet of observations, some of them known or with company, leaves what the same ones leave one by one."""
    varied = [
        observe(
            number,
            org_id="" if number % 2 else "other",
            at=number,
            usage=(number, 7) if number % 5 else Usage(),
            labels={"tier": "gold"} if number % 3 else {},
            tool_calls=(ToolCall(name="search", id=f"t{number}"),) if number % 7 == 0 else (),
            trace=number % 11 + 1,
            parent=number - 1 if number % 4 == 0 else 0,
            request_model="gpt-4o" if number % 6 else "unheard-of",
            exact_cost_usd=Decimal(number) / 100 if number % 8 == 0 else None,
            response_id=f"chatcmpl-{number // 2}",
        )
        for number in range(1, 90)
    ]

    def in_columns(rows: list[Observation]) -> Observations:
        names = [field.name for field in fields(Observation)]
        found = Observations()
        found.append(rows[0])
        found.add(Sheet(len(rows) - 1, {}, {name: [getattr(o, name) for o in rows[1:]] for name in names}))
        return found

    assert list(in_columns(varied)) == varied
    one_by_one, at_once = Batch(varied), Batch(in_columns(varied))
    assert one_by_one.content.tolist() == at_once.content.tolist()
    assert one_by_one.table().equals(at_once.table())
    some = np.array([3, 50, 4, 88])
    assert one_by_one.take(some).table().equals(at_once.take(some).table())
    assert list(at_once.take(some).observations) == [varied[row] for row in some]
    in_rows, rows = new_writer("in-rows").ledger, books_of("in-rows")
    in_sheets, sheets = new_writer("in-sheets").ledger, books_of("in-sheets")
    for ledger, org, given in ((in_rows, "in-rows", list), (in_sheets, "in-sheets", in_columns)):
        mine = [replace(o, org_id=org) for o in varied]
        assert ledger.ingest(mine[:20]).new == 20
        report = ledger.ingest(given(mine))
        assert (report.new, report.repeated) == (69, 20)
        assert ledger.ingest(given(mine)).new == 0
        ledger.counters(org)
    kept = "* EXCEPT (settled_at, org_id, call_id)"
    assert rows.calls(kept) == sheets.calls(kept)
    assert len(rows.calls(kept)) > 30
    assert sorted(row[4] for row in rows.tool_calls()) == sorted(row[4] for row in sheets.tool_calls())
    assert [row[2:] for row in rows.usage("hour")] == [row[2:] for row in sheets.usage("hour")]
