"""Days, and what is asked for and replaced in one piece.

A *slot* is the unit of replacement: the provider's day (``2026-11-03``) or billing period (``2026-11``). A *window* is
a half-open range of days that one slice of a sync asks for; it always covers whole slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo


class Grain(StrEnum):
    """The length of a slot."""

    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Window:
    """``[since, until)`` in the provider's days; ``zone`` is where those days begin and end."""

    since: date
    until: date
    grain: Grain = Grain.DAY
    zone: str = "UTC"

    @property
    def days(self) -> int:
        return (self.until - self.since).days

    @property
    def start(self) -> datetime:
        """The first instant, UTC."""
        return midnight(self.since, self.zone)

    @property
    def end(self) -> datetime:
        """The first instant after the window, UTC."""
        return midnight(self.until, self.zone)

    def slots(self) -> list[str]:
        """Every slot that a complete pull of this window replaces, empty ones included."""
        found: list[str] = []
        day = self.since
        while day < self.until:
            found.append(slot_name(day, self.grain))
            day = next_slot(day, self.grain)
        return found

    def slot_of(self, instant: datetime) -> str:
        """The slot that an instant belongs to, inside the window or not."""
        return slot_name(instant.astimezone(ZoneInfo(self.zone)).date(), self.grain)

    def slot_end(self, slot: str) -> datetime:
        """The first instant after a slot, UTC."""
        day = date.fromisoformat(slot if self.grain is Grain.DAY else f"{slot}-01")
        return midnight(next_slot(day, self.grain), self.zone)

    def halves(self) -> tuple[Window, Window] | None:
        """The window in two, cut at a slot's edge; ``None`` when it is one slot already."""
        edges = [self.since]
        while (edge := next_slot(edges[-1], self.grain)) < self.until:
            edges.append(edge)
        if len(edges) < 2:
            return None
        middle = edges[len(edges) // 2]
        return (
            Window(self.since, middle, self.grain, self.zone),
            Window(middle, self.until, self.grain, self.zone),
        )


def midnight(day: date, zone: str) -> datetime:
    """The instant at which ``day`` begins in ``zone``, in UTC."""
    if zone == "UTC":
        return datetime.combine(day, time(), UTC)
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)


def slot_name(day: date, grain: Grain) -> str:
    return f"{day:%Y-%m}" if grain is Grain.MONTH else day.isoformat()


def slot_start(day: date, grain: Grain) -> date:
    """The first day of the slot that holds ``day``."""
    return day.replace(day=1) if grain is Grain.MONTH else day


def next_slot(day: date, grain: Grain) -> date:
    """The first day of the slot after the one that holds ``day``."""
    return next_month(day) if grain is Grain.MONTH else day + timedelta(days=1)


def next_month(day: date) -> date:
    """The first day of the month after ``day``'s."""
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def previous_month(day: date) -> date:
    """The first day of the month before ``day``'s."""
    return (day.replace(day=1) - timedelta(days=1)).replace(day=1)
