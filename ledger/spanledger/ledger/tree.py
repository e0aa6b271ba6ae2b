"""Where leaves stand above one another in their traces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

SpanPlace = tuple[bytes, bytes]
"""(trace id, span id)"""
Parents = Mapping[SpanPlace, bytes]
"""Parent span id of each known span (empty or zero: none); spans that are not there are unknown."""

MAX_DEPTH: Final = 512
"""Longest way up a trace that is followed (a cycle in the parent ids ends there too)."""


def place_of(trace_id: bytes, span_id: bytes) -> SpanPlace | None:
    """A span's place; ``None`` for absent, malformed or all-zero ids (W3C Trace Context: all zeros is invalid)."""
    if len(trace_id) != 16 or len(span_id) != 8 or not any(trace_id) or not any(span_id):
        return None
    return trace_id, span_id


class LeafTree:
    """The leaf spans of some traces, each below its nearest leaf span above, whatever lies between them."""

    def __init__(self, leaves: Iterable[SpanPlace], parents: Parents) -> None:
        self._parents = parents
        self._leaves = set(leaves)
        self._above: dict[SpanPlace, SpanPlace | None] = {}
        self._below: dict[SpanPlace, set[SpanPlace]] = defaultdict(set)
        for place in self._leaves:
            above = self.nearest_above(place)
            self._above[place] = above
            if above is not None:
                self._below[above].add(place)
        self._depths: dict[SpanPlace, int] = {}

    def nearest_above(self, place: SpanPlace) -> SpanPlace | None:
        """The nearest leaf span above any span."""
        trace, span = place
        for _ in range(MAX_DEPTH):
            parent = self._parents.get((trace, span), b"")
            if not parent or parent == span:
                return None
            if (trace, parent) in self._leaves:
                # A cycle of parent ids leads back to where it began: nothing is above itself.
                return (trace, parent) if (trace, parent) != place else None
            span = parent
        return None

    def ancestors(self, place: SpanPlace) -> Iterator[SpanPlace]:
        """Every known span above a span, leaf or not, the nearest first."""
        trace, span = place
        for _ in range(MAX_DEPTH):
            parent = self._parents.get((trace, span), b"")
            if not parent or parent in (span, place[1]):
                return
            yield trace, parent
            span = parent

    def below(self, place: SpanPlace) -> list[SpanPlace]:
        """The leaf spans directly below a leaf span, in order."""
        return sorted(self._below.get(place, ()))

    def depth(self, place: SpanPlace | None) -> int:
        """How many leaf spans stand above a leaf span."""
        way: list[SpanPlace] = []
        while place is not None and place not in self._depths and len(way) < MAX_DEPTH:
            way.append(place)
            place = self._above.get(place)
        depth = -1 if place is None else self._depths.get(place, 0)
        for step in reversed(way):
            depth += 1
            self._depths[step] = depth
        return max(depth, 0)

    def deepest_first(self) -> list[SpanPlace]:
        """All leaf spans, the innermost first."""
        return sorted(self._leaves, key=lambda place: (-self.depth(place), place))

    def remove(self, place: SpanPlace) -> None:
        """Take a span out that turned out to be no leaf: what is below it moves up."""
        above = self._above.pop(place)
        self._leaves.discard(place)
        below = self._below.pop(place, set())
        if above is not None:
            self._below[above].discard(place)
            self._below[above] |= below
        for inner in below:
            self._above[inner] = above
        self._depths.clear()
