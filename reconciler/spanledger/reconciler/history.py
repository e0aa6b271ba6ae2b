"""What earlier syncs covered: where the next one begins, and what an interrupted one need not repeat.

``committed`` is `BillStore.slot_names`: slot → number of lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Final

from spanledger.reconciler.store import BillStore, Place
from spanledger.reconciler.streams import Policy
from spanledger.reconciler.windows import Grain, next_slot, slot_name, slot_start

RESUME_WITHIN: Final = timedelta(hours=24)
"""An interrupted run is continued by the next one with the same range for this long; later it starts afresh."""


def cursor_of(committed: Mapping[str, int], policy: Policy, today: date) -> date | None:
    """The first day not covered since the oldest committed slot: a gap, or the day after the newest slot.

    ``None`` before the first pull. Gaps older than the provider's memory cannot be filled and do not count.
    """
    days = sorted(_first_day(slot, policy.grain) for slot in committed)
    if not days:
        return None
    day = days[0]
    if policy.history_days is not None:
        day = max(day, slot_start(today - timedelta(days=policy.history_days), policy.grain))
    covered = set(days)
    while day in covered:
        day = next_slot(day, policy.grain)
    return day


def silent_day(lines: Mapping[str, int], policy: Policy, now: datetime) -> date | None:
    """The newest day that should have data by now and has none, although each day of the week before it has."""
    if policy.grain is not Grain.DAY:
        return None
    day = (now - policy.expected_delay).date() - timedelta(days=1)
    if lines.get(slot_name(day, Grain.DAY)) != 0:
        return None
    before = [lines.get(slot_name(day - timedelta(days=back), Grain.DAY), 0) for back in range(1, 8)]
    return day if all(before) else None


def lines_per_day(committed: Mapping[str, int], policy: Policy) -> float:
    """How many lines a day of a stream has, as far as it is known; 0 when nothing is."""
    lines = [count for count in committed.values() if count]
    return sum(lines) / len(lines) if lines and policy.grain is Grain.DAY else 0.0


def completed_days(
    store: BillStore, place: Place, since: date, until: date, now: datetime
) -> tuple[str, frozenset[date]]:
    """The id of an unfinished run with this range, and the days that it completed; ``""`` when there is none.

    The range may have moved on by a day since: a backfill of so many days that is taken up again after midnight.
    """
    found = store.rows(
        "SELECT run_id, step, since, until, is_complete FROM spanledger.sync_runs WHERE org_id = {org:String} "
        "AND connection = {name:String} AND stream = {stream:String} "
        "AND run_since BETWEEN {since:Date} - 1 AND {since:Date} "
        "AND run_until BETWEEN {until:Date} - 1 AND {until:Date} AND started_at > {oldest:DateTime64(3)} "
        "ORDER BY finished_at, step",
        {
            "org": place.org_id,
            "name": place.connection,
            "stream": place.stream,
            "since": since,
            "until": until,
            "oldest": now - RESUME_WITHIN,
        },
        "looking for an interrupted sync",
    )
    if not found:
        return "", frozenset()
    last = str(found[-1][0])
    mine = [row for row in found if str(row[0]) == last]
    if any(step == "run" and is_complete for _, step, _, _, is_complete in mine):
        return "", frozenset()
    return last, frozenset(
        row[2] + timedelta(days=offset) for row in mine if row[1] == "slice" for offset in range((row[3] - row[2]).days)
    )


def _first_day(slot: str, grain: Grain) -> date:
    return date.fromisoformat(f"{slot}-01" if grain is Grain.MONTH else slot)
