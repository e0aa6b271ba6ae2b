"""Dropping old calls without lowering any total."""

from __future__ import annotations

import pytest

from spanledger.ledger.client import StoreTarget, connect
from spanledger.ledger.errors import PermanentStoreError
from spanledger.ledger.migrate import migrate
from spanledger.ledger.retention import LEAST_DAYS

DAY = 86_400
T0 = 1_795_200_000


@pytest.fixture
def client(tmp_path):
    """A store of the test's own: retention concerns all orgs."""
    client = connect(StoreTarget.embedded(tmp_path))
    migrate(client)
    yield client
    client.close()


def test_old_calls_go_and_every_total_stays(new_writer, observe, books, org, client):
    """November 20th, 60 days kept: everything before September goes, call by call, and nothing else."""
    writer = new_writer(org, clock=lambda: T0 * 10**9)
    writer(*(observe(n, at=-n * 10 * DAY, received_ns=T0 * 10**9) for n in range(12)))
    before = books.usage("hour"), books.usage("day"), writer.ledger.counters(org)
    planned = writer.ledger.retain(60, dry_run=True)
    assert len(books.calls("call_id")) == 12
    assert writer.ledger.retain(60) == planned
    assert {dropped.table for dropped in planned} == {"observations", "calls_settled", "usage_by_minute_settled"}
    starts = [row[0].strftime("%Y-%m") for row in books.calls("started_at")]
    assert starts[0] == "2026-09"
    assert len(starts) == 9
    assert (books.usage("hour"), books.usage("day"), writer.ledger.counters(org)) == before
    assert writer.ledger.retain(60) == []


def test_late_evidence_for_what_was_dropped_is_refused(new_writer, observe, books, org):
    """By this process and the next; what is kept is settled as ever, and no total moves."""
    old = [observe(n, at=-n * 10 * DAY, received_ns=T0 * 10**9) for n in range(12)]
    writer = new_writer(org, clock=lambda: T0 * 10**9)
    writer(*old)
    writer.ledger.retain(60)
    before = books.usage("day"), writer.ledger.counters(org)
    late = observe(50, at=-100 * DAY, received_ns=T0 * 10**9)
    for again in (writer, new_writer(org)):
        report = again(*old, late)
        assert (report.new, report.too_old, report.repeated) == (0, 4, 9)
    assert (books.usage("day"), writer.ledger.counters(org)) == before
    assert new_writer(org)(observe(60, at=-10 * DAY)).new == 1


def test_too_few_days_are_refused(new_writer, org):
    """Running calls and late evidence need room."""
    with pytest.raises(PermanentStoreError, match=f"keep at least {LEAST_DAYS}"):
        new_writer(org).ledger.retain(LEAST_DAYS - 1)
