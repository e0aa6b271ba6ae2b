"""Which days are asked for: windows, plans, cursors, late providers."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from fakes.openai import FakeOpenAI, cost

from spanledger.reconciler import planning, takeover
from spanledger.reconciler.errors import ConfigError, State
from spanledger.reconciler.planning import Depth, clip, scheduled_range, slices
from spanledger.reconciler.streams import Policy
from spanledger.reconciler.windows import Grain, Window

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
COSTS = frozenset({"costs"})


@pytest.mark.parametrize(
    ("policy", "cursor", "depth", "now", "expected"),
    [
        (Policy(trailing_days=8), None, Depth.FULL, NOW, ("2026-10-16", "2026-11-21")),
        (Policy(trailing_days=8), date(2026, 11, 21), Depth.FULL, NOW, ("2026-11-12", "2026-11-21")),
        (Policy(trailing_days=8), date(2026, 11, 21), Depth.HOT, NOW, ("2026-11-17", "2026-11-21")),
        # A gap of an outage is filled whatever the depth.
        (Policy(trailing_days=8), date(2026, 11, 5), Depth.HOT, NOW, ("2026-11-02", "2026-11-21")),
        # On a deep day the whole previous month comes along.
        (
            Policy(trailing_days=8, deep_days=(3,)), date(2026, 12, 4), Depth.FULL,
            datetime(2026, 12, 3, tzinfo=UTC), ("2026-11-01", "2026-12-04"),
        ),
        (Policy(trailing_days=99, history_days=30), None, Depth.FULL, NOW, ("2026-10-21", "2026-11-21")),
        (Policy(trailing_days=40, earliest=date(2026, 11, 1)), None, Depth.FULL, NOW, ("2026-11-01", "2026-11-21")),
        (Policy(trailing_days=31, grain=Grain.MONTH), None, Depth.FULL, NOW, ("2026-10-01", "2026-12-01")),
        # 06:00 UTC on the 20th is still the 19th in Los Angeles.
        (
            Policy(trailing_days=1, zone="America/Los_Angeles"), date(2026, 11, 20), Depth.FULL,
            datetime(2026, 11, 20, 6, tzinfo=UTC), ("2026-11-18", "2026-11-20"),
        ),
    ],
)  # fmt: skip
def test_scheduled_ranges(policy, cursor, depth, now, expected):
    """Today included, the re-pull window, gaps, the provider's memory and its own days."""
    since, until = scheduled_range(policy, now, cursor, depth)
    assert (since.isoformat(), until.isoformat()) == expected


def test_a_range_that_makes_no_sense():
    """Backwards, or beyond what the provider has."""
    with pytest.raises(ConfigError, match="before"):
        clip(Policy(trailing_days=1), NOW, date(2026, 11, 2), date(2026, 11, 2))
    with pytest.raises(ConfigError, match="does not reach that far"):
        clip(Policy(trailing_days=1, history_days=30), NOW, date(2026, 1, 1), date(2026, 2, 1))


def test_slices_cover_the_range_once():
    """In order, without overlap, cut at months where slots are months."""
    days = slices(Policy(trailing_days=1, slice_days=31), date(2026, 1, 1), date(2026, 3, 15))
    assert [(part.since.isoformat(), part.days) for part in days] == [
        ("2026-01-01", 31),
        ("2026-02-01", 31),
        ("2026-03-04", 11),
    ]
    months = slices(Policy(trailing_days=1, slice_days=31, grain=Grain.MONTH), date(2026, 1, 1), date(2026, 4, 1))
    assert [part.slots() for part in months] == [["2026-01"], ["2026-02"], ["2026-03"]]


def test_a_large_account_is_compared_before_anything_is_written(rig, monkeypatch):
    """Slices of known size fit into memory: pulled again, an unchanged account of many lines changes no day."""
    assert planning.SLICE_LINES < takeover.SPILL_LINES
    monkeypatch.setattr(planning, "SLICE_LINES", 20)
    monkeypatch.setattr(takeover, "SPILL_LINES", 25)
    fake = FakeOpenAI()
    for day in range(8, 15):
        fake.costs[date(2026, 11, day)] = [cost(f"m{index}, input", "1") for index in range(10)]
    made = rig(fake, "openai", secrets={"admin_key": fake.key})
    changed = [made.sync("2026-11-08", "2026-11-15", streams=COSTS)["costs"].slots_changed for _ in range(2)]
    assert changed == [7, 0]
    assert made.total() == 70


def test_windows_know_daylight_saving_time():
    """A Pacific day is 23, 24 or 25 hours long; UTC days never move."""
    for first, hours in ((date(2026, 3, 8), 23), (date(2026, 11, 1), 25), (date(2026, 6, 1), 24)):
        window = Window(first, first + timedelta(days=1), zone="America/Los_Angeles")
        assert (window.end - window.start).total_seconds() == hours * 3600
        assert window.slot_of(window.start) == window.slot_of(window.end - timedelta(seconds=1)) == first.isoformat()
    assert Window(date(2026, 11, 1), date(2026, 11, 3)).halves() == (
        Window(date(2026, 11, 1), date(2026, 11, 2)),
        Window(date(2026, 11, 2), date(2026, 11, 3)),
    )
    assert Window(date(2026, 11, 1), date(2026, 11, 2)).halves() is None


def test_a_gap_is_filled_by_the_next_scheduled_pull(rig, clock):
    """Explicit pulls of October and of yesterday leave a gap: the hourly pull closes it."""
    fake = FakeOpenAI()
    fake.costs[date(2026, 11, 5)] = [cost("a, input", "1")]
    made = rig(fake, "openai", secrets={"admin_key": fake.key})
    made.sync("2026-10-20", "2026-11-01", streams=COSTS)
    made.sync("2026-11-18", "2026-11-21", streams=COSTS)
    assert made.lines() == []
    report = made.sync(streams=COSTS, depth=Depth.HOT)["costs"]
    assert report.since == date(2026, 10, 29)
    assert made.total() == 1
    assert made.sync(streams=COSTS, depth=Depth.HOT)["costs"].since == date(2026, 11, 17)


def test_a_silent_day_after_a_busy_week_is_a_state(rig, clock):
    """Every day had lines, the 18th should have: delayed_by_provider; once it comes all is well."""
    fake = FakeOpenAI()
    for day in range(8, 18):
        fake.costs[date(2026, 11, day)] = [cost("a, input", "1")]
    made = rig(fake, "openai", secrets={"admin_key": fake.key})
    report = made.sync("2026-11-08", "2026-11-21", streams=COSTS)["costs"]
    assert (report.state, "2026-11-18" in report.detail) == (State.DELAYED_BY_PROVIDER, True)
    fake.costs[date(2026, 11, 18)] = [cost("a, input", "1")]
    assert made.sync("2026-11-08", "2026-11-21", streams=COSTS)["costs"].state is State.OK


def test_an_unknown_stream_is_named(rig):
    """With those that exist."""
    fake = FakeOpenAI()
    made = rig(fake, "openai", secrets={"admin_key": fake.key})
    with pytest.raises(ConfigError, match=r"it has costs, usage\.completions"):
        made.sync("2026-11-08", "2026-11-21", streams=frozenset({"cost"}))


def test_streams_that_cost_money_are_left_out_of_hourly_pulls(rig):
    """Cost Explorer charges per request: nightly and by hand only."""
    from fakes.aws import KEY_ID, SECRET, FakeCostExplorer

    fake = FakeCostExplorer()
    made = rig(fake, "aws_bedrock", settings={"access_key_id": KEY_ID}, secrets={"secret_access_key": SECRET})
    assert made.sync(depth=Depth.HOT) == {}
    assert fake.questions == []
