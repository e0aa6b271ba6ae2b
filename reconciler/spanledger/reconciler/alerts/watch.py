"""Looks at everything that is watched and tells what has changed: each change of state once, also over restarts.

A change is written before it is told, with the channels that it must reach; what a channel did not take is tried again
at every look until it is taken or the state changes again. Only a crash between telling and writing that down can make
a message come twice; none is lost.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from spanledger.reconciler.alerts import rules
from spanledger.reconciler.alerts.channels import Channels, Message
from spanledger.reconciler.alerts.read import AlertReader
from spanledger.reconciler.alerts.settings import AlertSettings
from spanledger.reconciler.alerts.standing import OK, BudgetStanding, Key, Kind, Standing
from spanledger.reconciler.alerts.store import CLOSED, AlertState, AlertStore
from spanledger.reconciler.clock import Clock

_log = logging.getLogger(__name__)


class Watch:
    """One look after the other; for one thread. Raises `spanledger.ledger.errors.StoreError` where the store fails."""

    def __init__(
        self, reader: AlertReader, store: AlertStore, channels: Channels, settings: AlertSettings, clock: Clock
    ) -> None:
        self._reader = reader
        self._store = store
        self._channels = channels
        self._settings = settings
        self._clock = clock
        self._failing: set[str] = set()
        self._budgets: Sequence[BudgetStanding] = ()

    @property
    def budgets(self) -> Sequence[BudgetStanding]:
        """The budgets at the last look; a new tuple each time, so any thread may read it."""
        return self._budgets

    def look(self) -> list[AlertState]:
        """Look once; returns what has changed since the last look."""
        now = self._clock.now()
        budgets = self._reader.budgets(now)
        self._budgets = tuple(budgets)
        states = {state.key: state for state in self._store.all()}
        changed = self._changes(states, self._reader.standings(budgets, now), now)
        self._store.save(changed)
        states |= {state.key: state for state in changed}
        self._store.save(self._tell(states.values()))
        return changed

    def _changes(
        self, states: Mapping[Key, AlertState], standings: Sequence[Standing], now: datetime
    ) -> list[AlertState]:
        seen = {standing.key for standing in standings}
        gone = [state for state in states.values() if state.key not in seen and state.state not in (OK, CLOSED)]
        ended = [end for state in gone for end in self._ends(state)]
        ended_keys = {standing.key for standing in ended}
        changed = [
            _state(standing, before, now)
            for standing in [*standings, *ended]
            for before in (states.get(standing.key),)
            if _current(before) not in (standing.state, standing.holds)
        ]
        # A past period, a removed budget: nothing to tell.
        return changed + [
            replace(state, state=CLOSED, changed_at=now, undelivered=(), version=_version(state, now))
            for state in gone
            if state.key not in ended_keys
        ]

    def _ends(self, state: AlertState) -> list[Standing]:
        """What is read only while it is an alert is over when it is not read any more."""
        if state.kind == Kind.UNPRICED and self._settings.unpriced_calls is not None:
            return [rules.priced_again(state.org_id, state.subject, self._settings)]
        if state.kind == Kind.PRICE_DRIFT and self._settings.price_drift is not None:
            return [rules.billed_as_booked(state.org_id, state.subject, self._settings)]
        return []

    def _tell(self, states: Iterable[AlertState]) -> list[AlertState]:
        """Deliver what is due, one message a channel; returns the states whose channels have become fewer."""
        due: dict[str, list[AlertState]] = defaultdict(list)
        known = set(self._settings.channels())
        left: dict[Key, tuple[AlertState, list[str]]] = {}
        for state in states:
            if state.undelivered:
                left[state.key] = (state, [channel for channel in state.undelivered if channel in known])
                for channel in left[state.key][1]:
                    due[channel].append(state)
        for channel, waiting in due.items():
            problem = self._channels.send(channel, message_of(waiting))
            if problem is None:
                self._failing.discard(channel)
                for state in waiting:
                    left[state.key][1].remove(channel)
            elif channel not in self._failing:
                self._failing.add(channel)
                _log.warning("an alert could not be sent, trying again: %s", problem)
        now = self._clock.now()
        return [
            replace(state, undelivered=tuple(channels), version=_version(state, now))
            for state, channels in left.values()
            if tuple(channels) != state.undelivered
        ]


def message_of(states: Sequence[AlertState]) -> Message:
    """One message about several changes, the worst first."""
    ordered = sorted(states, key=lambda s: (s.state == OK, s.severity, s.key))
    worst = ordered[0]
    severity = "" if worst.state == OK else worst.severity
    if len(ordered) == 1:
        return Message(_headline(worst), worst.text, severity)
    blocks = [f"{_headline(state)}\n{state.text}".strip() for state in ordered]
    return Message(f"Spanledger: {len(ordered)} changes, {_headline(worst)}", "\n\n".join(blocks), severity)


def _headline(state: AlertState) -> str:
    mark = "Resolved" if state.state == OK else state.severity.capitalize()
    return f"[{mark}] {state.title} ({state.org_id})"


def _current(state: AlertState | None) -> str:
    return OK if state is None or state.state == CLOSED else state.state


def _state(standing: Standing, before: AlertState | None, now: datetime) -> AlertState:
    return AlertState(
        org_id=standing.org_id,
        kind=standing.kind.value,
        subject=standing.subject,
        state=standing.state,
        severity=standing.severity.value,
        title=standing.title,
        text=standing.text,
        value=standing.value,
        threshold=standing.threshold,
        changed_at=now,
        undelivered=standing.channels,
        version=_version(before, now),
    )


def _version(before: AlertState | None, now: datetime) -> int:
    """Microseconds since 1970, above the version before even where the clock stands."""
    micros = int(now.timestamp() * 1_000_000)
    return micros if before is None else max(micros, before.version + 1)
