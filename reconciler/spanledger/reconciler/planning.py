"""Which days a sync asks for, cut into slices. Pure functions of the clock and the history."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.streams import Policy
from spanledger.reconciler.windows import Window, next_slot, previous_month, slot_start

SLICE_LINES: Final = 16_000
"""Slices are cut to about so many lines: fewer than a takeover holds in memory, so that a pull which brings nothing new
writes nothing."""

FIRST_DAYS: Final = 35
"""How far back the first sync of a connection goes when nobody says otherwise."""


class Depth(StrEnum):
    """How far back a scheduled pull goes."""

    HOT = "hot"
    """The last few days, several times a day."""
    FULL = "full"
    """Everything that the provider may restate, once a night."""


def scheduled_range(policy: Policy, now: datetime, cursor: date | None, depth: Depth) -> tuple[date, date]:
    """The days of a scheduled pull: ``[since, until)`` in the provider's zone, today included.

    Args:
        policy: the stream's.
        now: the current instant.
        cursor: the first day not yet covered by completed pulls; ``None`` before the first one.
        depth: hot or full.
    """
    today = now.astimezone(ZoneInfo(policy.zone)).date()
    if cursor is None:
        since = today - timedelta(days=max(FIRST_DAYS, policy.trailing_days))
    else:
        back = policy.hot_days if depth is Depth.HOT else policy.trailing_days
        since = min(cursor, today) - timedelta(days=back)
        if depth is Depth.FULL and today.day in policy.deep_days:
            since = min(since, previous_month(today))
    return clip(policy, now, since, today + timedelta(days=1))


def clip(policy: Policy, now: datetime, since: date, until: date) -> tuple[date, date]:
    """``[since, until)`` widened to whole slots and cut to what the provider can answer.

    Raises:
        ConfigError: nothing is left of it.
    """
    if since >= until:
        raise ConfigError(f"--since {since} must be before --until {until}")
    today = now.astimezone(ZoneInfo(policy.zone)).date()
    if policy.history_days is not None:
        since = max(since, today - timedelta(days=policy.history_days))
    if policy.earliest is not None:
        since = max(since, policy.earliest)
    until = min(until, today + timedelta(days=1))
    if since >= until:
        raise ConfigError(f"nothing to ask for between {since} and {until}: the provider does not reach that far")
    first = slot_start(since, policy.grain)
    end = next_slot(until - timedelta(days=1), policy.grain)
    return first, end


def slices(policy: Policy, since: date, until: date, *, lines_per_day: float = 0.0) -> list[Window]:
    """``[since, until)`` in slices, oldest first, cut at slots' edges.

    Args:
        policy: the stream's; a slice has at most ``slice_days`` days (and at least one slot).
        since, until: the range.
        lines_per_day: how many lines a day has had; makes the slices of large accounts small enough to be compared
            with what is known before anything is written.
    """
    most = policy.slice_days
    if lines_per_day > 0:
        most = max(1, min(most, int(SLICE_LINES / lines_per_day)))
    windows: list[Window] = []
    start = since
    while start < until:
        end = next_slot(start, policy.grain)
        while end < until and (next_slot(end, policy.grain) - start).days <= most:
            end = next_slot(end, policy.grain)
        windows.append(Window(start, min(end, until), policy.grain, policy.zone))
        start = end
    return windows
