"""Whatever crashes, repetitions and restatements happen on the way: the bill ends as one clean pull would leave it."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fakes.openai import FakeOpenAI, cost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanledger.ledger.errors import RetryableStoreError
from spanledger.reconciler import takeover
from spanledger.reconciler.store import BillStore

FIRST = date(2026, 11, 10)
DAYS = [FIRST + timedelta(days=offset) for offset in range(4)]
COSTS = frozenset({"costs"})
COLUMNS = "slot, line_item, amount, is_final, token_class"

_names = itertools.count(1)


class Crash(BaseException):
    """The process dies."""


class MortalStore(BillStore):
    """Dies at the n-th write, before or after it is done."""

    def __init__(self, client: Any, clock: Any, dies_at: int, *, after: bool) -> None:
        super().__init__(client, clock)
        self._left = dies_at
        self._after = after

    def _mortal(self, write: Any) -> None:
        self._left -= 1
        if self._left == 0 and not self._after:
            raise Crash
        write()
        if self._left == 0:
            raise Crash

    def write_lines(self, *args: Any, **named: Any) -> None:
        self._mortal(lambda: BillStore.write_lines(self, *args, **named))

    def _insert(self, *args: Any) -> None:
        self._mortal(lambda: BillStore._insert(self, *args))


amounts = st.sampled_from(["0.01", "1", "2.5", "0.000000000001", "-3"])
day_books = st.lists(st.tuples(st.sampled_from(["a, input", "b, output", "c"]), amounts), max_size=4)
books = st.lists(day_books, min_size=len(DAYS), max_size=len(DAYS))
ranges = st.tuples(st.integers(0, 3), st.integers(1, 4)).map(lambda pair: (pair[0], max(pair[0] + 1, pair[1])))
crashes = st.one_of(st.none(), st.tuples(st.integers(1, 8), st.booleans()))
steps = st.lists(st.tuples(books, ranges, crashes), min_size=1, max_size=4)


def put(fake: FakeOpenAI, said: list[list[tuple[str, str]]]) -> None:
    fake.costs = {day: [cost(item, amount) for item, amount in lines] for day, lines in zip(DAYS, said, strict=True)}


def shown(made: Any) -> dict[str, Counter[Any]]:
    found: dict[str, Counter[Any]] = {}
    for slot, *rest in made.lines(COLUMNS):
        found.setdefault(slot, Counter())[tuple(rest[:2])] += 1
    return found


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=steps, last=books, spill=st.sampled_from([2, 20_000]))
def test_any_history_ends_like_one_clean_pull(rig, clock, monkeypatch, history, last, spill):
    """Also on the way: each day shows exactly what the provider said at one time, never a mixture."""
    monkeypatch.setattr(takeover, "SPILL_LINES", spill)
    clock.set(datetime(2026, 11, 20, 12, tzinfo=UTC))
    fake = FakeOpenAI()
    made = rig(fake, "openai", secrets={"admin_key": fake.key}, name=f"c{next(_names)}")
    ever: dict[str, list[Counter[Any]]] = {day.isoformat(): [Counter()] for day in DAYS}
    for said, (first, end), crash in history:
        put(fake, said)
        for day, lines in zip(DAYS, said, strict=True):
            ever[day.isoformat()].append(Counter((item, Decimal(amount)) for item, amount in lines))
        made.store = (
            MortalStore(made.client, clock, *crash[:1], after=crash[1]) if crash else BillStore(made.client, clock)
        )
        with contextlib.suppress(Crash):
            made.sync(str(DAYS[first]), str(FIRST + timedelta(days=end)), streams=COSTS)
        clock.advance(seconds=7)
        for slot, lines in shown(made).items():
            assert lines in ever[slot]
    put(fake, last)
    clock.advance(hours=25)
    made.store = BillStore(made.client, clock)
    made.sync(str(FIRST), str(FIRST + timedelta(days=4)), streams=COSTS)
    clean = rig(fake, "openai", secrets={"admin_key": fake.key}, name=f"clean{next(_names)}")
    clean.sync(str(FIRST), str(FIRST + timedelta(days=4)), streams=COSTS)
    assert made.lines(COLUMNS) == clean.lines(COLUMNS)


def test_an_interrupted_backfill_goes_on_where_it_stopped(rig, clock):
    """Completed slices are not asked for again by the same command; the next command starts afresh."""
    fake = FakeOpenAI()
    for month in (7, 8, 9, 10):
        fake.costs[date(2026, month, 5)] = [cost("a, input", "1")]
    made = rig(fake, "openai", secrets={"admin_key": fake.key})
    # Three writes per slice without lines or with: lines, raw copies (two), commit, record.
    made.store = MortalStore(made.client, clock, 12, after=False)
    with pytest.raises(Crash):
        made.sync("2026-07-01", "2026-11-01", streams=COSTS)
    before = len(fake.questions)
    made.store = BillStore(made.client, clock)
    seen = []
    report = made.sync("2026-07-01", "2026-11-01", streams=COSTS, progress=seen.append)["costs"]
    assert report.resumed_slices >= 1
    assert len(fake.questions) - before == 4 - report.resumed_slices
    assert [(step.done, step.total) for step in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert made.total() == 4
    before = len(fake.questions)
    assert made.sync("2026-07-01", "2026-11-01", streams=COSTS)["costs"].resumed_slices == 0
    assert len(fake.questions) - before == 4


def test_a_backfill_goes_on_after_midnight(rig, clock):
    """The last hundred days, interrupted in the evening: next morning's hundred days begin where they stopped."""
    fake = FakeOpenAI()
    made = rig(fake, "openai", secrets={"admin_key": fake.key})
    made.store = MortalStore(made.client, clock, 12, after=False)
    clock.set(datetime(2026, 11, 20, 23, 59, tzinfo=UTC))
    with pytest.raises(Crash):
        made.sync("2026-08-13", "2026-11-21", streams=COSTS)
    asked = len(fake.questions)
    clock.advance(minutes=2)
    made.store = BillStore(made.client, clock)
    report = made.sync("2026-08-14", "2026-11-22", streams=COSTS)["costs"]
    assert report.resumed_slices >= 1
    assert len(fake.questions) - asked == 4 - report.resumed_slices


def test_a_repeated_insert_is_noticed_before_the_commit(rig, clock):
    """A driver that sends the lines twice: nothing is committed, the next run mends it."""

    class Stutter(BillStore):
        def write_lines(self, *args: Any, **named: Any) -> None:
            super().write_lines(*args, **named)
            super().write_lines(*args, **named)

    fake = FakeOpenAI()
    fake.costs[FIRST] = [cost("a, input", "1")]
    made = rig(fake, "openai", secrets={"admin_key": fake.key})
    made.store = Stutter(made.client, clock)
    with pytest.raises(RetryableStoreError, match="wrote 1 bill lines and the store holds 2"):
        made.sync("2026-11-10", "2026-11-11", streams=COSTS)
    assert made.lines() == []
    made.store = BillStore(made.client, clock)
    made.sync("2026-11-10", "2026-11-11", streams=COSTS)
    assert made.total() == 1


def test_versions_grow_even_when_the_clock_goes_back(rig, clock):
    """A later pull wins whatever the clock says."""
    fake = FakeOpenAI()
    fake.costs[FIRST] = [cost("a, input", "1")]
    made = rig(fake, "openai", secrets={"admin_key": fake.key})
    made.sync("2026-11-10", "2026-11-11", streams=COSTS)
    clock.set(datetime(2026, 11, 19, tzinfo=UTC))
    fake.costs[FIRST] = [cost("a, input", "2")]
    made.sync("2026-11-10", "2026-11-11", streams=COSTS)
    assert made.total() == 2
