"""Settlement depends on the set of evidence alone, and components lose nothing."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.ledger import writing
from spanledger.ledger.components import Origin, components
from spanledger.ledger.evidence import Batch
from spanledger.ledger.settle import _call_ids
from spanledger.ledger.settlement import Rules, Settlement, settle
from spanledger.semconv.observation import Observation, Role, ToolCall
from spanledger.semconv.usage import Usage

USAGES = [
    Usage(),
    Usage(input_uncached=10, output_text=5),
    Usage(input_uncached=20, output_text=10),
    Usage(input_uncached=10, output_text=5, reasoning=2),
    Usage(input_uncached=10, output_text=1, partial=True),
]
TOOLS = [
    (),
    (),
    (ToolCall(name="t", id="t1"),),
    (ToolCall(name="t", id="t1", kind="result"),),
    (ToolCall(name="t", id="t2", kind="result", is_error=True), ToolCall(name="t", id="t1", kind="result")),
]


@st.composite
def worlds(draw: Any, observe: Any) -> tuple[list[Observation], dict[tuple[bytes, bytes], bytes]]:
    """A few traces full of things that are alike: ids, numbers and times from small pools."""
    observations: list[Observation] = []
    parents: dict[tuple[bytes, bytes], bytes] = {}
    for number in range(1, draw(st.integers(1, 12)) + 1):
        trace = draw(st.integers(1, 2))
        parent = draw(st.integers(0, number))
        if draw(st.integers(0, 5)) == 0:
            parents[trace.to_bytes(16, "big"), number.to_bytes(8, "big")] = parent.to_bytes(8, "big")
            continue
        status = draw(st.sampled_from(["ok", "ok", "error"]))
        observations.append(
            observe(
                draw(st.sampled_from([number, number, max(number - 1, 1)])),
                trace=trace,
                parent=parent,
                at=draw(st.sampled_from([0, 0.05, 1, 5])),
                lasted=draw(st.sampled_from([0, 1, 5])),
                role=draw(st.sampled_from([Role.LEAF, Role.LEAF, Role.LEAF, Role.DETAIL, Role.AGGREGATE])),
                signal=draw(st.sampled_from(["span", "span", "span", "log"])),
                response_id=draw(st.sampled_from(["", "", "a", "b", f"own{number}"])),
                request_id=draw(st.sampled_from(["", "", "q", "a"])),
                scope_name=draw(st.sampled_from(["sdk", "framework"])),
                service_name=draw(st.sampled_from(["app", "app", "other"])),
                request_model=draw(st.sampled_from(["gpt-4o", "gpt-4o", "gpt-4o-2024-08-06", "claude", ""])),
                response_model="",
                provider=draw(st.sampled_from(["openai", "openai", "groq", "xai"])),
                usage=draw(st.sampled_from(USAGES)),
                status=status,
                tool_calls=draw(st.sampled_from(TOOLS)),
                session_id=draw(st.sampled_from(["", "", "s1", "s2"])),
            )
        )
    return observations, parents


def said(settlement: Settlement) -> Any:
    """A settlement in a form that can be compared."""
    calls = [
        (
            call.merged,
            call.anchor.content,
            call.by_place,
            sorted((w.evidence.content, w.role, w.reason) for w in call.witnesses),
        )
        for call in settlement.calls
    ]
    return calls, [(w.evidence.content, w.reason) for w in settlement.suppressed]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_order_and_repetition_do_not_matter(data, observe, evidence):
    """Any permutation, with any repeats, settles into the same calls."""
    observations, parents = data.draw(worlds(observe))
    members = evidence(observations)
    shuffled = members + [m for m in members if data.draw(st.booleans())]
    random.Random(data.draw(st.integers(0, 99))).shuffle(shuffled)
    assert said(settle(shuffled, parents)) == said(settle(members, parents))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_components_settle_as_the_whole_does(data, observe, evidence):
    """Nothing that settlement would join is ever cut apart, and every leaf ends in exactly one place."""
    observations, parents = data.draw(worlds(observe))
    rules = Rules(usage_join=data.draw(st.booleans()))
    members = evidence(observations)
    whole = settle(members, parents, rules)
    links = {("org", trace, span): parent for (trace, span), parent in parents.items()}
    parts = [
        settle([*component.members, *component.around], component.parents, rules)
        for component in components([(m, Origin(None)) for m in members], links, rules)
    ]

    def calls(*settlements: Settlement) -> Any:
        found = [call for settlement in settlements for call in said(settlement)[0]]
        return sorted(found, key=lambda call: (call[1], str(call)))

    # Which of two calls may keep an id that both claim is settled among those that share a component.
    assert calls(*parts) == calls(whole)
    leaves = sorted({m.content for m in members if m.observation.role is Role.LEAF})
    settled = [c for call in said(whole)[0] for c, role, _ in call[3] if role in ("winner", "duplicate")]
    suppressed = {w.evidence.content for w in whole.suppressed}
    silent = {m.content for m in members if m.observation.role is Role.LEAF} - set(settled) - suppressed
    assert sorted(settled) == [content for content in leaves if content not in suppressed | silent]
    unknown = {m.content for m in members if not m.observation.usage.is_known}
    assert silent <= unknown


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_lone_leaf_settles_into_itself(data, observe, evidence):
    """The short way for observations without company gives what settlement would give."""
    observations, _ = data.draw(worlds(observe))
    for member in evidence([o for o in observations if o.role is Role.LEAF]):
        (call,) = settle([member], {}).calls
        assert call.merged == member.observation
        batch = Batch([member.observation])
        assert (_call_ids([call], batch) == writing.call_keys(batch).own()).all()
