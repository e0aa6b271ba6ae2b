"""Places in traces: bounded memory, and none of it shared between orgs."""

from __future__ import annotations

from spanledger.collector.ancestry import Ancestry, Place
from spanledger.semconv.observation import Observation


def place(trace: int, span: int = 1, org: str = "acme") -> Place:
    return Place(org, trace.to_bytes(16, "big"), span.to_bytes(8, "big"), b"", 5)


def call(trace: int, org: str = "acme") -> Observation:
    return Observation(org_id=org, trace_id=trace.to_bytes(16, "big"))


def spans(links: list[object]) -> list[tuple[object, ...]]:
    return [(link.org_id, link.trace_id[-1], link.span_id[-1]) for link in links]  # type: ignore[attr-defined]


def test_the_same_trace_id_of_another_org_claims_nothing() -> None:
    """Trace ids are only unique within one sender."""
    ancestry = Ancestry()
    assert ancestry.select([call(1)], [place(1, org="other"), place(1)])[0].org_id == "acme"
    assert spans(ancestry.select([call(1, "other")], [])) == [("other", 1, 1)]


def test_held_places_are_bounded_oldest_first() -> None:
    """When too many wait, those that waited longest are let go."""
    ancestry = Ancestry(places_max=3)
    ancestry.select([], [place(n) for n in range(1, 6)])
    claimed = ancestry.select([call(n) for n in range(1, 6)], [])
    assert sorted(spans(claimed)) == [("acme", n, 1) for n in (3, 4, 5)]


def test_known_traces_are_bounded() -> None:
    """The youngest are known; those not seen for long are forgotten."""
    ancestry = Ancestry(traces_max=4)
    for trace in range(1, 8):
        ancestry.select([call(trace)], [])
    known = {link.trace_id[-1] for link in ancestry.select([], [place(trace) for trace in range(1, 8)])}
    assert 7 in known
    assert 1 not in known
    assert 2 <= len(known) <= 6


def test_held_places_are_handed_over_once() -> None:
    """A second call in the same trace claims nothing again."""
    ancestry = Ancestry()
    ancestry.select([], [place(1, 1), place(1, 2)])
    assert spans(ancestry.select([call(1)], [])) == [("acme", 1, 1), ("acme", 1, 2)]
    assert ancestry.select([call(1)], []) == []
