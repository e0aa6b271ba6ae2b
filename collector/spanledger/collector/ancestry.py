"""Which spans that are not about a model call are worth remembering for their place in the trace.

The ledger joins an outer span with an inner one when one is the other's ancestor, also through spans in between. So it
needs the places of those, but only in traces that hold model calls; of all other traffic it needs nothing. Since spans
arrive when they end, inner ones first, the trace is nearly always known when a span in between arrives; for the
rest, places are held back for a while. That memory is bounded and does not survive a restart: what is lost with it is
a chance to recognise a duplicate by ancestry alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from spanledger.ledger.gather import SpanLink
from spanledger.semconv.observation import Observation
from spanledger.semconv.sheet import columns

Trace = tuple[str, bytes]
"""Org and trace id: trace ids are only unique within one sender."""


class Place(NamedTuple):
    """A span's place in its trace; see `SpanLink`."""

    org_id: str
    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    started_ns: int


class Ancestry:
    """Remembers recent traces that hold model calls, and recent places that none claimed yet. Used by one thread."""

    def __init__(self, *, traces_max: int = 200_000, places_max: int = 100_000) -> None:
        self._traces_max = traces_max
        self._places_max = places_max
        # Two generations: when the young one is full it becomes the old one, and the old one is forgotten.
        self._young: set[Trace] = set()
        self._old: set[Trace] = set()
        self._held: dict[Trace, list[Place]] = {}  # oldest first
        self._held_count = 0

    def select(self, observations: Sequence[Observation], places: Iterable[Place]) -> list[SpanLink]:
        """The places, new and held back, that stand in traces of model calls; the others are held back."""
        traces = set(zip(*columns(observations, ("org_id", "trace_id")), strict=True))
        self._young |= traces
        links: list[SpanLink] = []
        for trace in self._held.keys() & traces:
            claimed = self._held.pop(trace)
            self._held_count -= len(claimed)
            links += [SpanLink(*place) for place in claimed]
        for place in places:
            trace = place.org_id, place.trace_id
            if trace in self._young or trace in self._old:
                links.append(SpanLink(*place))
            else:
                self._held.setdefault(trace, []).append(place)
                self._held_count += 1
        while self._held_count > self._places_max:
            self._held_count -= len(self._held.pop(next(iter(self._held))))
        if len(self._young) * 2 > self._traces_max:
            self._old, self._young = self._young, set()
        return links
