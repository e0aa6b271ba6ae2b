"""The rules of settlement, one by one, without a store."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spanledger.ledger.settlement import Rules, settle
from spanledger.semconv.observation import Role, ToolCall
from spanledger.semconv.usage import Usage


@pytest.fixture
def calls(evidence):
    """``calls(*observations)``: what they settle into, as (merged, [(span number, role, reason)])."""

    def run(*observations, links=(), rules=None):
        parents = {
            (trace.to_bytes(16, "big"), span.to_bytes(8, "big")): up.to_bytes(8, "big") for trace, span, up in links
        }
        settlement = settle(evidence(observations), parents, rules)
        return [(call.merged, [(_number(w), w.role, w.reason) for w in call.witnesses]) for call in settlement.calls], [
            (_number(w), w.reason) for w in settlement.suppressed
        ]

    return run


def _number(witness):
    return int.from_bytes(witness.evidence.observation.span_id, "big")


def count(result):
    return len(result[0])


# -- ids --------------------------------------------------------------------------------------------------------------


def test_same_response_id_is_one_call_across_traces(calls, observe):
    found, _ = calls(observe(1, response_id="r"), observe(2, response_id="r", at=3600))
    assert [witnesses for _, witnesses in found] == [[(1, "winner", ""), (2, "duplicate", "response_id")]]


def test_same_request_id_is_one_call(calls, observe):
    """Bedrock gives no response id; its request id is as good."""
    assert count(calls(observe(1, response_id="", request_id="q"), observe(2, response_id="", request_id="q"))) == 1


def test_a_request_id_does_not_overrule_two_response_ids(calls, observe):
    assert count(calls(observe(1, request_id="q"), observe(2, request_id="q"))) == 2


def test_same_response_id_of_two_providers_is_two_calls(calls, observe, evidence):
    """Ids are unique per provider only; the second call is then known by its place."""
    one, two = observe(1, response_id="r", provider="groq"), observe(2, response_id="r", provider="xai")
    first, second = settle(evidence([one, two]), {}).calls
    assert (first.by_place, second.by_place) == (False, True)


def test_a_gateways_client_and_the_gateway_are_one_call(calls, observe):
    """The client knows the gateway's id and alias; the gateway knows the model, who bills, and the answer's real id."""
    client = observe(1, response_id="chatcmpl-gw", request_id="http-1", request_model="smart", response_model="smart")
    gateway = observe(
        2,
        response_id="",
        request_id="chatcmpl-gw",
        provider="anthropic",
        request_model="claude",
        response_model="claude",
    )
    raw = observe(3, trace=2, parent=2, role=Role.DETAIL, response_id="msg_1", usage=None, request_model="")
    for evidence in ([client, gateway, raw], [raw, gateway, client]):
        ((merged, witnesses),) = calls(*evidence)[0]
        assert (merged.response_id, merged.provider, merged.request_model) == ("msg_1", "anthropic", "claude")
        assert [reason for _, role, reason in witnesses if role == "duplicate"] == ["gateway_id"]


@pytest.mark.parametrize("other", ["azure_openai", "openrouter", "", "openai"])
def test_the_makers_name_goes_with_every_reseller(calls, observe, other):
    """SDKs name the maker, whoever looked at the host names who bills."""
    found, _ = calls(observe(1, response_id="r", provider="openai"), observe(2, response_id="r", provider=other))
    assert [merged.provider for merged, _ in found] == [other or "openai"]


def test_same_span_from_two_exporters_is_one_call(calls, observe):
    one = observe(1, response_id="")
    found, _ = calls(one, replace(one, environment="prod"))
    assert [(merged.environment, len(witnesses)) for merged, witnesses in found] == [("prod", 2)]


def test_a_log_record_of_the_span_is_the_same_call(calls, observe):
    span = observe(1, response_id="r")
    found, _ = calls(
        span, replace(span, signal="log", response_id="", usage=Usage(input_uncached=1000, output_text=200))
    )
    assert [witnesses for _, witnesses in found] == [[(1, "winner", ""), (1, "duplicate", "same_span")]]


def test_a_log_record_that_is_stamped_late_is_known_by_its_numbers(calls, observe):
    span = observe(1, response_id="")
    late = observe(1, signal="log", response_id="", at=3_600)
    found, _ = calls(span, late)
    assert [[reason for _, _, reason in witnesses] for _, witnesses in found] == [["", "same_span"]]
    assert count(calls(span, observe(1, signal="log", response_id="", at=3_600, usage=Usage()))) == 2


def test_many_log_records_under_one_span_are_many_calls(calls, observe):
    """Coding agents log every call under the one span of the session."""
    logs = [observe(1, signal="log", response_id="", usage=(100 + n, 5), at=n) for n in range(4)]
    assert count(calls(*logs)) == 4


# -- ancestors --------------------------------------------------------------------------------------------------------


def test_framework_span_around_sdk_span(calls, observe):
    outer = observe(
        1, response_id="", scope_name="framework", session_id="s", labels={"a": "outer", "b": "outer"}, lasted=4
    )
    inner = observe(2, trace=1, parent=1, at=1, labels={"a": "inner"})
    found, _ = calls(outer, inner)
    assert [witnesses for _, witnesses in found] == [[(1, "winner", ""), (2, "duplicate", "ancestor")]] or [
        witnesses for _, witnesses in found
    ] == [[(2, "winner", ""), (1, "duplicate", "ancestor")]]
    ((merged, _),) = found
    assert (merged.session_id, merged.labels) == ("s", {"a": "inner", "b": "outer"})
    assert merged.response_id == "chatcmpl-2"


def test_spans_in_between_are_seen_through(calls, observe):
    outer, inner = observe(1, response_id="", lasted=4), observe(3, trace=1, parent=2, at=1)
    assert count(calls(outer, inner)) == 2
    assert count(calls(outer, inner, links=[(1, 2, 1)])) == 1


def test_an_aggregate_in_between_is_seen_through(calls, observe):
    outer, inner = observe(1, response_id="", lasted=4), observe(3, trace=1, parent=2, at=1)
    chain = observe(2, trace=1, parent=1, role=Role.AGGREGATE, usage=None, response_id="")
    assert count(calls(outer, inner, chain)) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"request_model": "claude", "response_model": "claude"},
        {"usage": (999, 200)},
        {"usage": (1000, 190)},
        {"response_id": "other"},
        {"request_id": "other"},
    ],
)
def test_nested_calls_that_differ_stay_two(calls, observe, other):
    """Another model, other numbers, other ids: the inner call belongs to a tool of the outer one."""
    outer = observe(1, response_id="outer" if "response_id" in other else "", request_id="outer", lasted=4)
    assert count(calls(outer, observe(2, trace=1, parent=1, at=1, **{"response_id": "", **other}))) == 2


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ((1000, 201), Usage(input_uncached=1000, output_text=200)),
        (None, Usage(input_uncached=1000, output_text=200)),
        ((1171, 207), Usage(input_uncached=1171, cache_read=2048, cache_write=768, output_text=207)),
        ((1000, 207), Usage(input_uncached=1000, output_text=207, reasoning=128)),
        (Usage(input_uncached=1000, output_text=1, partial=True), Usage(input_uncached=1000, output_text=207)),
        (Usage(input_uncached=30, output_text=27, estimated=True), Usage(input_uncached=1064, output_text=207)),
    ],
)
def test_nested_numbers_that_one_family_gets_wrong(calls, observe, outer, inner):
    """One token too many, nothing, without cache, without reasoning, broken off, guessed: the better side's numbers."""
    found, _ = calls(
        observe(1, response_id="", usage=outer, scope_name="framework", lasted=4),
        observe(2, trace=1, parent=1, at=1, usage=inner),
    )
    assert [merged.usage.input_tokens for merged, _ in found] == [inner.input_tokens]
    assert found[0][0].usage.output_tokens in (inner.output_tokens, 201)


def test_a_leaf_that_sums_its_calls_does_not_bill(calls, observe):
    outer = observe(1, response_id="chatcmpl-3", usage=(3000, 410), lasted=9)
    found, suppressed = calls(
        outer,
        observe(2, trace=1, parent=1, at=1, usage=(1000, 200)),
        observe(3, trace=1, parent=1, at=5, usage=(2000, 210)),
    )
    assert [merged.usage.input_tokens for merged, _ in found] == [1000, 2000]
    assert suppressed == [(1, "sum_of_calls")]


def test_sums_of_calls_that_two_emitters_witness(calls, observe):
    """Each inner call has a framework span and an SDK span below it: still two calls, still a sum."""
    found, suppressed = calls(
        observe(1, response_id="", usage=(3000, 410), lasted=9, scope_name="agents"),
        observe(2, trace=1, parent=1, at=1, usage=(1000, 200), response_id="", scope_name="framework"),
        observe(3, trace=1, parent=2, at=1, usage=(1000, 200)),
        observe(4, trace=1, parent=1, at=5, usage=(2000, 210), response_id="", scope_name="framework"),
        observe(5, trace=1, parent=4, at=5, usage=(2000, 210)),
    )
    assert [(merged.usage.input_tokens, len(witnesses)) for merged, witnesses in found] == [(1000, 2), (2000, 2)]
    assert suppressed == [(1, "sum_of_calls")]


def test_sums_of_sums(calls, observe):
    found, suppressed = calls(
        observe(1, response_id="", usage=(3000, 410), lasted=9),
        observe(2, trace=1, parent=1, response_id="", usage=(3000, 410), lasted=9),
        observe(3, trace=1, parent=2, at=1, usage=(1000, 200)),
        observe(4, trace=1, parent=2, at=5, usage=(2000, 210)),
    )
    assert (count((found,)), suppressed) == (2, [(1, "sum_of_calls"), (2, "sum_of_calls")])


def test_a_span_without_usage_around_several_calls_is_no_call(calls, observe):
    found, suppressed = calls(
        observe(1, response_id="", usage=None, lasted=9),
        observe(2, trace=1, parent=1, at=1),
        observe(3, trace=1, parent=1, at=5),
    )
    assert (count((found,)), suppressed) == (2, [])


def test_a_failed_attempt_and_its_retry_are_two_attempts(calls, observe):
    """The outer span reports the answer; the inner failed attempt stays an attempt of its own."""
    found, _ = calls(
        observe(1, response_id="", scope_name="framework", lasted=9),
        observe(2, trace=1, parent=1, at=1, status="error", usage=None, response_id="", error_type="429"),
        observe(3, trace=1, parent=1, at=4),
    )
    assert sorted((merged.status, len(witnesses)) for merged, witnesses in found) == [("error", 1), ("ok", 2)]


def test_a_failure_seen_twice_is_one_failed_attempt(calls, observe):
    found, _ = calls(
        observe(1, response_id="", usage=None, status="error", error_type="AuthenticationError", lasted=4),
        observe(2, trace=1, parent=1, at=1, usage=None, status="error", error_type="401", response_id=""),
    )
    assert [(merged.status, len(witnesses)) for merged, witnesses in found] == [("error", 2)]


def test_clocks_of_two_hosts_may_differ_when_the_numbers_agree(calls, observe):
    """A proxy's span lies a minute off by its own clock."""
    assert count(calls(observe(1, response_id=""), observe(2, trace=1, parent=1, at=60))) == 1
    assert count(calls(observe(1, response_id="", usage=None), observe(2, trace=1, parent=1, at=60))) == 2


def test_a_cycle_of_parents_ends(calls, observe):
    assert count(calls(observe(1, parent=2, response_id="a"), observe(2, trace=1, parent=1, response_id="b"))) == 2
    assert count(calls(observe(1, parent=1))) == 1


# -- usage join -------------------------------------------------------------------------------------------------------


def test_equal_usage_joins_where_one_side_has_no_id(calls, observe):
    """LangChain's streaming span in another trace, without an id."""
    found, _ = calls(observe(1), observe(2, response_id="", scope_name="framework", at=0.5, lasted=1))
    assert [witnesses for _, witnesses in found] == [[(1, "winner", ""), (2, "duplicate", "usage_join")]]


@pytest.mark.parametrize(
    "other",
    [
        {"response_id": "other"},
        {"scope_name": "sdk"},
        {"service_name": "another"},
        {"usage": (1000, 201)},
        {"at": 60},
        {"request_model": "gpt-4o-mini", "response_model": "gpt-4o-mini"},
        {"provider": "groq"},
    ],
)
def test_what_keeps_two_calls_apart(calls, observe, other):
    """Both have ids, one emitter, another service, other numbers, another time, model or biller."""
    one = observe(1, provider="xai") if "provider" in other else observe(1)
    assert count(calls(one, observe(2, **{"response_id": "", "scope_name": "framework", **other}))) == 2


def test_usage_join_can_be_switched_off(calls, observe):
    two = observe(2, response_id="", scope_name="framework")
    assert count(calls(observe(1), two, rules=Rules(usage_join=False))) == 2


def test_usage_join_is_one_to_one(calls, observe):
    """Ten equal calls at once, seen by two emitters: ten calls with two witnesses each, nearest times together."""
    sdk = [observe(n, at=n * 0.1) for n in range(1, 11)]
    framework = [
        observe(100 + n, at=n * 0.1 - 0.02, lasted=2.04, response_id="", scope_name="framework") for n in range(1, 11)
    ]
    found, _ = calls(*sdk, *framework)
    assert sorted(tuple(sorted(number for number, _, _ in witnesses)) for _, witnesses in found) == [
        (n, 100 + n) for n in range(1, 11)
    ]


def test_one_emitters_equal_calls_never_join(calls, observe):
    """Eight concurrent embeddings without ids and with equal usage are eight calls."""
    assert count(calls(*(observe(n, response_id="", at=n * 0.01) for n in range(1, 9)))) == 8


# -- details and merging ----------------------------------------------------------------------------------------------


def test_a_detail_joins_the_leaf_above_it(calls, observe):
    raw = observe(
        2,
        trace=1,
        parent=1,
        role=Role.DETAIL,
        response_id="msg_real",
        usage=Usage(cache_write_5m=512, cache_write_1h=256),
    )
    found, _ = calls(
        observe(1, response_id="", usage=Usage(input_uncached=1218, cache_write=768, output_text=207)), raw
    )
    ((merged, witnesses),) = found
    assert merged.response_id == "msg_real"
    assert (merged.usage.cache_write, merged.usage.cache_write_5m, merged.usage.cache_write_1h) == (None, 512, 256)
    assert [role for _, role, _ in witnesses] == ["winner", "detail"]


def test_a_detail_splits_a_total(calls, observe):
    """The span knows totals, its log record the cached and the reasoning tokens among them."""
    log = observe(1, role=Role.DETAIL, signal="log", usage=Usage(cache_read=2048, reasoning=128), response_id="")
    ((merged, _),) = calls(observe(1, usage=(3171, 335)), log)[0]
    assert merged.usage == Usage(input_uncached=1123, cache_read=2048, output_text=207, reasoning=128)


def test_a_details_id_joins_its_call_with_others(calls, observe):
    """LiteLLM's raw span knows the provider's id that the call's own span lacks."""
    raw = observe(2, trace=1, parent=1, role=Role.DETAIL, response_id="msg", usage=None)
    assert count(calls(observe(1, response_id=""), raw, observe(9, response_id="msg"))) == 1


def test_a_detail_without_a_call_is_dropped(calls, observe):
    assert calls(observe(1, role=Role.DETAIL)) == ([], [])


def test_the_richer_side_wins_field_by_field(calls, observe):
    """Input split from one witness, reasoning split from the other, tool calls from whoever saw them."""
    one = observe(1, response_id="r", usage=Usage(input_uncached=1000, cache_read=2048, output_text=335))
    two = observe(
        2,
        response_id="r",
        usage=Usage(input_uncached=3048, output_text=207, reasoning=128),
        tool_calls=(ToolCall(name="t"),),
    )
    ((merged, _),) = calls(one, two)[0]
    assert merged.usage == Usage(input_uncached=1000, cache_read=2048, output_text=207, reasoning=128)
    assert [call.name for call in merged.tool_calls] == ["t"]


def test_measured_beats_guessed_and_complete_beats_broken(calls, observe):
    guess = observe(
        1, response_id="r", usage=Usage(input_uncached=30, cache_read=1, output_text=27, reasoning=1, estimated=True)
    )
    broken = observe(2, response_id="r", usage=Usage(input_uncached=1000, cache_read=0, output_text=1, partial=True))
    good = observe(3, response_id="r", usage=(1000, 207))
    ((merged, _),) = calls(guess, broken, good)[0]
    assert merged.usage == Usage(input_uncached=1000, output_text=207)


def test_the_longer_form_of_a_model_name_is_kept(calls, observe):
    """Some families cut the region and vendor off, which costs ten per cent on Bedrock."""
    full = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    cut = "claude-sonnet-4-5-20250929-v1:0"
    for first, second in ((full, cut), (cut, full)):
        found, _ = calls(
            observe(1, response_id="r", request_model=first, response_model=""),
            observe(2, response_id="r", request_model=second, response_model=""),
        )
        assert [merged.request_model for merged, _ in found] == [full]


# -- who the call is for ----------------------------------------------------------------------------------------------


def test_aggregates_above_fill_the_gaps_nearest_first(calls, observe):
    """Agents put session and user on their own span; the model call below it has the tokens."""
    found, suppressed = calls(
        observe(
            1, trace=1, role=Role.AGGREGATE, session_id="outer", user_id="u1", team_id="t1", labels={"tier": "gold"}
        ),
        observe(2, trace=1, parent=1, role=Role.AGGREGATE, session_id="inner"),
        observe(3, trace=1, parent=9, team_id="own"),
        links=[(1, 9, 2)],
    )
    ((merged, witnesses),) = found
    assert (merged.session_id, merged.user_id, merged.team_id) == ("inner", "u1", "own")
    assert merged.labels == {"tier": "gold"}
    assert [number for number, _, _ in witnesses] == [3]
    assert not suppressed


def test_a_call_without_any_model_takes_the_aggregates(calls, observe):
    found, _ = calls(
        observe(1, trace=1, role=Role.AGGREGATE, request_model="gpt-5", response_model=""),
        observe(2, trace=1, parent=1, request_model="", response_model=""),
    )
    assert [merged.request_model for merged, _ in found] == ["gpt-5"]


def test_a_model_of_the_calls_own_is_kept(calls, observe):
    found, _ = calls(
        observe(1, trace=1, role=Role.AGGREGATE, request_model="gpt-5"),
        observe(2, trace=1, parent=1, request_model="", response_model="gpt-4o-mini"),
    )
    assert [(merged.request_model, merged.response_model) for merged, _ in found] == [("", "gpt-4o-mini")]


def test_a_gateway_of_ones_own_says_who_bills(calls, observe):
    found, _ = calls(
        observe(1, response_id="r", provider="self_hosted"),
        observe(2, response_id="r", provider="openai", dialect="litellm"),
    )
    assert [merged.provider for merged, _ in found] == ["openai"]


def test_a_makers_name_does_not_overrule_a_host_of_ones_own(calls, observe):
    """A framework takes the SDK's name for the provider; whoever looked at the host knows better."""
    found, _ = calls(
        observe(1, response_id="r", provider="self_hosted"),
        observe(2, response_id="r", provider="openai", dialect="conventions"),
    )
    assert [merged.provider for merged, _ in found] == ["self_hosted"]


def test_a_gateways_client_does_not_keep_the_gateway_from_the_call_inside(calls, observe):
    """The client knows the gateway's id only; the provider's id is on the gateway's inner span."""
    found, _ = calls(
        observe(1, trace=1, response_id="gw", request_model="alias", response_model="alias", lasted=5),
        observe(2, trace=2, response_id="", request_id="gw", at=0.1, lasted=4, scope_name="gateway"),
        observe(3, trace=2, parent=2, response_id="msg", at=0.2, lasted=3, scope_name="gateway"),
    )
    ((merged, witnesses),) = found
    assert (merged.response_id, merged.request_id, merged.request_model) == ("msg", "gw", "gpt-4o")
    assert {(number, reason) for number, _, reason in witnesses[1:]} <= {
        (1, "gateway_id"),
        (2, "gateway_id"),
        (3, "ancestor"),
    }
    assert len(witnesses) == 3


# -- tool results -----------------------------------------------------------------------------------------------------


def use(name):
    return ToolCall(name="search", id=name)


def result(name, **fields):
    return ToolCall(name="search", id=name, kind="result", **fields)


def test_a_tools_result_goes_to_the_call_that_asked(calls, observe):
    """The tool runs after the call, beside it; the next request repeats the question."""
    found, _ = calls(
        observe(1, trace=1, parent=9, tool_calls=(use("t1"),)),
        observe(2, trace=1, parent=9, at=3, role=Role.DETAIL, usage=None, response_id="", tool_calls=(result("t1"),)),
        observe(3, trace=1, parent=9, at=6, tool_calls=(use("t1"), use("t2"))),
        observe(4, trace=1, parent=3, at=7, role=Role.DETAIL, usage=None, response_id="", tool_calls=(result("t1"),)),
        observe(5, trace=2, at=6, role=Role.DETAIL, usage=None, response_id="", tool_calls=(result("t2"),)),
    )
    assert [(m.tool_calls, [number for number, _, _ in w]) for m, w in found] == [
        ((use("t1"), result("t1")), [1, 2, 4]),
        ((use("t1"), use("t2")), [3]),
    ]


def test_a_result_that_nobody_asked_for_keeps_its_place(calls, observe):
    ((merged, _),), _ = calls(
        observe(1, trace=1),
        observe(
            2, trace=1, parent=1, role=Role.DETAIL, usage=None, response_id="", tool_calls=(result("t", is_error=True),)
        ),
    )
    assert merged.tool_calls == (result("t", is_error=True),)


# -- places and ties --------------------------------------------------------------------------------------------------


def test_a_call_stands_where_evidence_with_a_place_stands(evidence, observe):
    """A log record outside any trace and a span witness one call: the span gives trace, span and key."""
    log = observe(
        0, trace=0, signal="log", response_id="r", usage=Usage(input_uncached=1000, output_text=150, reasoning=50)
    )
    span = observe(7, response_id="r")
    (call,) = settle(evidence([log, span]), {}).calls
    assert call.merged.usage.reasoning == 50
    assert (call.merged.trace_id, call.merged.span_id) == (span.trace_id, span.span_id)
    assert call.anchor.observation == span


def test_output_as_reported_wins_over_output_put_right(calls, observe):
    right = observe(2, trace=1, response_id="r", scope_name="framework", usage=(1000, 201))
    put_right = observe(1, response_id="r", scope_name="spanledger.x", notes=("output_less_message_start",))
    ((merged, _),), _ = calls(put_right, right)
    assert merged.usage.output_tokens == 201
