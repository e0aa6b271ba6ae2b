"""What the store may hold, remembered in memory: so that new evidence is not looked up in vain.

Almost every key of new evidence is new. Asking the store about each would cost more than everything else, and more
with every day of history. One filter per day answers "certainly not" from memory; only the rest is asked for. A
filter knows every key of its day: it is loaded from the store when the day is first touched, and fed by every commit.
This holds because one process writes to a store.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spanledger.ledger import keys
from spanledger.ledger.database import Database
from spanledger.ledger.evidence import DAY_NS, I64, Batch

MAX_DAYS: Final = 16
"""Days held in memory. Evidence that spans more days at once (a large import) is looked up in the store directly."""
MINUTE_NS: Final = 60 * 10**9
MAX_MINUTES: Final = 16
"""Longest call, in minutes, whose usage can be joined with evidence that starts later."""

_WORDS_PER_KEY: Final = 3
_FIRST_KEYS: Final = 1 << 16
_GROWTH: Final = 4
_MANY: Final = np.uint64(0xA24BAED4963EE407)


class Filter:
    """A Bloom filter that grows: no false negatives, and about one false positive in a million."""

    def __init__(self) -> None:
        self._layers: list[keys.U64] = []
        self._room = 0
        self._next = _FIRST_KEYS

    def add(self, added: keys.U64) -> None:
        """Remember keys; 0 means none and is left out."""
        added = added[added != 0]
        while len(added):
            if self._room == 0:
                # 48 bits for a key, in 64-bit words.
                self._layers.append(np.zeros(self._next * 3 // 4, np.uint64))
                self._room = self._next
                self._next *= _GROWTH
            now, added = added[: self._room], added[self._room :]
            self._room -= len(now)
            for place, bits in _places(now, len(self._layers[-1])):
                np.bitwise_or.at(self._layers[-1], place, bits)

    def may_hold(self, asked: keys.U64) -> NDArray[np.bool_]:
        """Which keys may have been added."""
        found = np.zeros(len(asked), np.bool_)
        for layer in self._layers:
            here = asked != 0
            for place, bits in _places(asked, len(layer)):
                here &= (layer[place] & bits) == bits
            found |= here
        return found

    @property
    def size_bytes(self) -> int:
        """Memory held."""
        return sum(layer.nbytes for layer in self._layers)


def _places(asked: keys.U64, words: int) -> Iterable[tuple[I64, keys.U64]]:
    """For each key the words it marks and three bits in each."""
    hashed = asked
    for _ in range(_WORDS_PER_KEY):
        hashed = keys.mix(hashed + np.uint64(0x9E3779B97F4A7C15))
        place = ((hashed >> np.uint64(32)) % np.uint64(words)).astype(np.int64)
        bits = np.zeros(len(asked), np.uint64)
        for shift in (0, 6, 12):
            bits |= np.uint64(1) << ((hashed >> np.uint64(shift)) & np.uint64(63))
        yield place, bits


def many(trace: keys.U64) -> keys.U64:
    """The key under which a trace with more than one observation is remembered."""
    return keys.where_present(trace != 0, keys.mix(trace ^ _MANY))


def minute_keys(usage: keys.U64, emitter: keys.U64, started: I64, ended: I64) -> tuple[keys.U64, I64]:
    """A key for every minute that a call with known usage lasted, and the row that each belongs to.

    Two calls that overlap in time share a minute, so equal usage at another time of day never meets. The emitter is
    part of the key: one emitter's calls are never asked about each other.
    """
    rows = np.flatnonzero(usage)
    first = started[rows] // MINUTE_NS
    last = np.clip(ended[rows] // MINUTE_NS, first, first + MAX_MINUTES - 1)
    repeats = (last - first + 1).astype(np.int64)
    row = np.repeat(rows, repeats)
    offset = np.arange(len(row)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    minute = (np.repeat(first, repeats) + offset).astype(np.uint64)
    hashed = keys.combine(usage[row], minute, emitter[row])
    return keys.where_present(np.ones(len(row), np.bool_), hashed), row


@dataclass(frozen=True, slots=True)
class Emitter:
    """Who writes leaves in a service: an instrumentation scope, and whether it gave the provider's id."""

    service: int
    scope: int
    has_id: bool

    @property
    def key(self) -> np.uint64:
        """Its part of `minute_keys`; the service is in the usage key already."""
        return np.uint64(self.scope ^ (0x5851F42D4C957F2D if self.has_id else 0))

    def may_witness_calls_of(self, other: Emitter) -> bool:
        """Whether usage alone may join their leaves: two scopes of one service, not both with ids."""
        return self.service == other.service and self.scope != other.scope and not (self.has_id and other.has_id)


def emitters(usage: keys.U64, service: keys.U64, scope: keys.U64, response: keys.U64) -> list[tuple[Emitter, I64]]:
    """The emitters of leaves with known usage, each with its rows."""
    known = np.flatnonzero(usage)
    if not len(known):
        return []
    has_id = response[known] != 0
    whole = keys.combine(service[known], scope[known], has_id.astype(np.uint64))
    _, first, inverse = np.unique(whole, return_index=True, return_inverse=True)
    return [
        (Emitter(int(service[known[at]]), int(scope[known[at]]), bool(has_id[at])), known[inverse == number])
        for number, at in enumerate(first.tolist())
    ]


class Day:
    """What the store may hold of one day."""

    def __init__(self) -> None:
        self.keys = Filter()
        self.emitters: set[Emitter] = set()

    def feed(
        self,
        *,
        trace: keys.U64,
        content: keys.U64,
        response: keys.U64,
        request: keys.U64,
        usage: keys.U64,
        service: keys.U64,
        scope: keys.U64,
        started: I64,
        ended: I64,
    ) -> None:
        """Remember evidence, given as columns."""
        values, first, counts = np.unique(trace, return_index=True, return_counts=True)
        again = (counts > 1) | self.keys.may_hold(values)
        self.keys.add(many(values[again]))
        self.keys.add(trace[first])
        self.keys.add(content[trace == 0])
        self.keys.add(response)
        self.keys.add(request)
        for emitter, rows in emitters(usage, service, scope, response):
            self.emitters.add(emitter)
            self.keys.add(minute_keys(usage[rows], np.full(len(rows), emitter.key), started[rows], ended[rows])[0])


class Known:
    """Filters for the days around whatever is being ingested."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._days: OrderedDict[int, Day] = OrderedDict()

    def may_hold(self, asked: keys.U64, days: range) -> NDArray[np.bool_]:
        """Which keys (0 = none) evidence of these days (days since the epoch) may have."""
        if len(days) > MAX_DAYS:
            every: NDArray[np.bool_] = asked != 0
            return every
        found: NDArray[np.bool_] = np.zeros(len(asked), np.bool_)
        for day in days:
            found |= self._day(day).keys.may_hold(asked)
        return found

    def usage_rows(self, batch: Batch, usage: keys.U64, days: range) -> I64:
        """Rows whose `usage` (0 = none) another emitter's evidence of about the same time may have."""
        if len(days) > MAX_DAYS:
            return np.flatnonzero(usage)
        found = np.zeros(len(batch), np.bool_)
        held = [self._day(day) for day in days]
        for emitter, rows in emitters(usage, batch.service, batch.scope, batch.response):
            others = {other for day in held for other in day.emitters if other.may_witness_calls_of(emitter)}
            for other in others:
                asked, owner = minute_keys(
                    usage[rows], np.full(len(rows), other.key), batch.started[rows], batch.ended[rows]
                )
                for day in held:
                    found[rows[owner[day.keys.may_hold(asked)]]] = True
        return np.flatnonzero(found)

    def add(self, batch: Batch) -> None:
        """Remember evidence that is in the store now."""
        day = batch.started // DAY_NS
        for number in np.unique(day).tolist():
            # A day that is not in memory is loaded, this batch included, when it is first asked for.
            if number in self._days:
                rows = day == number
                self._days[number].feed(
                    trace=batch.trace[rows],
                    content=batch.content[rows],
                    response=batch.response[rows],
                    request=batch.request[rows],
                    usage=batch.usage[rows],
                    service=batch.service[rows],
                    scope=batch.scope[rows],
                    started=batch.started[rows],
                    ended=batch.ended[rows],
                )

    def forget(self) -> None:
        """Drop everything: after a failed write nobody knows what the store holds."""
        self._days.clear()

    @property
    def size_bytes(self) -> int:
        """Memory held."""
        return sum(day.keys.size_bytes for day in self._days.values())

    def _day(self, number: int) -> Day:
        found = self._days.get(number)
        if found is None:
            found = self._days[number] = self._load(number)
            while len(self._days) > MAX_DAYS:
                self._days.popitem(last=False)
        else:
            self._days.move_to_end(number)
        return found

    def _load(self, number: int) -> Day:
        loaded = Day()
        start = number * DAY_NS
        parameters = {"low": max(start, 0), "high": start + DAY_NS}
        doing = "loading the keys of a day"
        rows = self._database.rows("day_size", parameters, doing)[0][0]
        slices = max(1, rows // 1_000_000)
        for part in range(slices if rows else 0):
            table = self._database.arrow("day_keys", parameters | {"slices": slices, "part": part}, doing)
            columns = {name: table.column(name).combine_chunks() for name in table.column_names}
            service, scope = (keys.hash_column(columns.pop(name)) for name in ("service", "scope"))
            numbers = {name: column.to_numpy(zero_copy_only=False) for name, column in columns.items()}
            loaded.feed(service=service, scope=scope, **numbers)
        return loaded
