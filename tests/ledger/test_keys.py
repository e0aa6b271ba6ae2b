"""Hashes that must never change, and filters that must never forget."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger.ledger import keys, writing
from spanledger.ledger.columns import Column, Kind
from spanledger.ledger.database import Database
from spanledger.ledger.evidence import Batch, array, read_rows, table
from spanledger.ledger.known import Filter, Known, emitters, many, minute_keys
from spanledger.semconv.observation import Observation, Role, ToolCall
from spanledger.semconv.usage import Usage

DAY = 86_400 * 10**9
T0 = 1_795_200_000 * 10**9


def test_hashes_of_today_are_the_hashes_of_tomorrow(observe):
    """Stores hold them: a change would make every redelivery look new and give every call another id."""
    texts = ["", "a", "chatcmpl-1", "é" * 5, "x" * 300]
    assert [hex(h) for h in keys.hash_texts(texts).tolist()] == TEXT_HASHES
    batch = Batch([observe(1), observe(0, trace=0, response_id="")])
    assert [hex(h) for h in batch.content.tolist()] == CONTENT_HASHES
    assert [row.astype("<u8").tobytes().hex() for row in writing.call_keys(batch).own()] == CALL_IDS


TEXT_HASHES = ["0x0", "0xdf4e85e7ca2a13df", "0x554a8b0b1f119c70", "0x149c274cb2f5bf6f", "0xd1955d0ad7460a78"]
CONTENT_HASHES = ["0x51b0aa1bd163bfb8", "0x4481712039117297"]
CALL_IDS = ["bbe8384657fba36ddc1621d76a873950", "74cf143bc7a36115f89e0a8b889ce336"]


@given(st.lists(st.text(max_size=300), min_size=1, max_size=8))
def test_a_texts_hash_does_not_depend_on_its_company(texts):
    """Columns are hashed as a matrix as wide as their longest text."""
    together = keys.hash_texts(texts)
    for text, hashed in zip(texts, together.tolist(), strict=True):
        assert keys.hash_texts([text]).tolist() == [hashed]
    distinct = set(texts)
    assert len(set(keys.hash_texts(sorted(distinct)).tolist())) == len(distinct)


def test_slices_of_an_array_hash_alike():
    """Arrow arrays may begin in the middle of their buffers."""
    array = pa.array(["aa", "b", "", "cccc"], pa.string())
    assert keys.hash_text(array.slice(1, 3)).tolist() == keys.hash_text(array).tolist()[1:]


CHANGES = {
    "org_id": "x", "trace_id": b"t" * 16, "span_id": b"s" * 8, "parent_span_id": b"p" * 8, "signal": "log",
    "scope_name": "x", "scope_version": "x", "dialect": "x", "role": Role.DETAIL, "started_ns": T0 + 1,
    "ended_ns": T0 + 2, "ttft_ns": 0, "provider": "x", "operation": "x", "request_model": "x", "response_model": "x",
    "response_id": "x", "request_id": "x", "usage": Usage(input_uncached=0), "status": "error", "error_type": "x",
    "http_status": 0, "stop_reason": "x", "is_stream": False, "is_batch": True, "batch_id": "x", "service_tier": "x",
    "inference_geo": "x",
    "max_output_tokens": 0, "exact_cost_usd": Decimal(0), "claimed_cost_usd": Decimal(0), "claimed_price_id": "x",
    "session_id": "x", "user_id": "x", "team_id": "x", "feature": "x", "labels": {"a": "b"}, "service_name": "x",
    "environment": "x", "server_address": "x", "api_key_fingerprint": "x", "organization": "x", "project": "x",
    "workspace": "x", "tool_calls": (ToolCall(name="x"),), "notes": ("x",),
}  # fmt: skip


def test_every_field_counts(observe):
    """Two observations that differ anywhere are two pieces of evidence; when they were received does not count."""
    one = observe(1)
    assert {field.name for field in fields(Observation)} == {*CHANGES, "received_ns"}
    others = [replace(one, **{name: value}) for name, value in CHANGES.items() if name != "usage"]
    usages = [{name: 0} for name in Usage.__dataclass_fields__ if name not in ("counts", "partial", "estimated")]
    usages += [{"counts": {"web_searches": 1}}, {"partial": True}, {"estimated": True}]
    others += [replace(one, usage=Usage(**usage)) for usage in usages]
    contents = Batch([one, *others]).content.tolist()
    assert len(set(contents)) == len(contents)
    assert Batch([replace(one, received_ns=5)]).content.tolist() == contents[:1]


def test_evidence_comes_back_as_it_went_in(observe, client, ingest):
    """Every field of every observation, through the store."""
    full = replace(observe(1), **{name: value for name, value in CHANGES.items() if name not in ("org_id", "role")})
    full = replace(full, role=Role.LEAF, usage=Usage(input_uncached=1, counts={"web_searches": 2}, partial=True))
    written = [full, observe(2, at=1), observe(0, trace=0, at=2)]
    ingest(*written)
    from spanledger.ledger.evidence import READ

    rows = Database(client).select(
        f"SELECT {READ} FROM spanledger.observations WHERE org_id = {{org:String}} ORDER BY started_at",
        {"org": ingest.org},
        "reading",
    )
    assert [o for _, o in read_rows(rows)] == [replace(o, org_id=ingest.org) for o in written]


@given(st.lists(st.integers(1, 2**64 - 1), max_size=200))
def test_a_filter_forgets_nothing(added):
    """No false negatives, in any number of steps."""
    found = Filter()
    for part in (added[::2], added[1::2]):
        found.add(np.array(part, np.uint64))
    assert found.may_hold(np.array(added, np.uint64)).all()
    assert not found.may_hold(np.zeros(3, np.uint64)).any()


def test_a_filter_grows_and_stays_sharp():
    """Half a million keys: less than one stranger in 100,000 gets through."""
    chance = np.random.default_rng(1)
    held = chance.integers(1, 2**63, 500_000).astype(np.uint64)
    found = Filter()
    for part in np.array_split(held, 7):
        found.add(part)
    assert found.may_hold(held).all()
    strangers = chance.integers(2**63, 2**64 - 1, 500_000, dtype=np.uint64)
    assert found.may_hold(strangers).mean() < 1e-5
    assert found.size_bytes < 24 * len(held)


def test_what_a_new_process_knows_is_what_the_old_one_knew(observe, client, ingest):
    """A day loaded from the store answers as the one that was fed by commits."""
    written = [observe(n, at=n * 40, lasted=90, request_id=f"q{n}") for n in range(1, 40)]
    written += [observe(500 + n, trace=500, at=n) for n in range(3)] + [observe(0, trace=0, at=n) for n in range(3)]
    ingest(*written)
    batch = Batch([replace(o, org_id=ingest.org) for o in written])
    days = range(T0 // DAY - 1, T0 // DAY + 3)
    traceless = batch.content[batch.trace == 0]
    again = many(batch.trace[-4:-3])
    for known in (ingest.ledger._known, Known(Database(client))):
        for column in (batch.trace, batch.response, batch.request, traceless, again):
            held = column[column != 0]
            assert len(held)
            assert known.may_hold(held, days).all()
        # Another emitter without ids would have to be asked about; the same one, or one in another service, never.
        other = Batch([replace(o, scope_name="framework", response_id="") for o in batch.observations])
        known_usage = np.flatnonzero(other.usage)
        assert known.usage_rows(other, other.usage, days).tolist() == known_usage.tolist()
        assert not len(known.usage_rows(batch, batch.usage, days))
        moved = Batch([replace(o, service_name="elsewhere") for o in other.observations])
        assert not len(known.usage_rows(moved, moved.usage, days))
        assert not known.may_hold(many(batch.trace[:10]), days).any()
        assert not known.may_hold(batch.trace, range(10, 12)).any()
    assert known.may_hold(batch.trace, range(10, 100))[batch.trace != 0].all(), "too many days: ask the store"


@pytest.mark.parametrize("apart", [0, 30, 59, 61, 600])
def test_overlapping_calls_share_a_minute(observe, apart):
    """And calls that do not overlap by a minute share none."""
    one, two = observe(1, lasted=60), observe(2, at=apart, lasted=60)
    batch = Batch([one, two])
    ((emitter, everyone),) = emitters(batch.usage, batch.service, batch.scope, batch.response)
    assert everyone.tolist() == [0, 1]
    found, rows = minute_keys(batch.usage, np.full(2, emitter.key), batch.started, batch.ended)
    shared = set(found[rows == 0].tolist()) & set(found[rows == 1].tolist())
    assert bool(shared) == (apart <= 61)


def test_a_column_that_says_nothing_is_not_handed_over(observe):
    """Only what equals the store's default is left out: an unknown text is not an empty one."""
    columns = {
        name: Column(name, kind) for name, kind in (("a", Kind.TEXT), ("b", Kind.TEXT_OR_NULL), ("c", Kind.BOOL))
    }
    for values, kept in (
        ({"a": ["", ""], "b": [None, None], "c": [False, False]}, []),
        ({"a": ["", "x"], "b": ["", ""], "c": [False, True]}, ["a", "b", "c"]),
    ):
        made = table(columns.values(), {name: array(columns[name].kind, values[name]) for name in columns})
        assert made.schema.names == kept
    written = Batch([observe(1)]).table().schema.names
    assert {"org_id", "response_id", "content_hash"} < set(written)
    assert not {"labels", "tool_calls", "ttft_ns", "is_batch", "batch_id"} & set(written)
