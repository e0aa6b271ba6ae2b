"""What was told, in the store: survives restarts, so that nothing is told twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import store_errors
from spanledger.reconciler.alerts.sql import load
from spanledger.reconciler.alerts.standing import Key

CLOSED: Final = "closed"
"""The state of what is no longer watched: a past period, a removed budget or connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertState:
    """One alert as it was last told.

    Attributes:
        org_id: whose.
        kind: what is watched.
        subject: which one.
        state: ``ok``, `CLOSED`, or what it has come to.
        severity: how bad.
        title: one line.
        text: more.
        value: the number at the change, and ``threshold``.
        changed_at: when it came to this state, UTC.
        undelivered: channels that have not taken it.
        version: grows with every write.
    """

    org_id: str
    kind: str
    subject: str
    state: str
    severity: str
    title: str
    text: str
    value: Decimal
    threshold: Decimal
    changed_at: datetime
    undelivered: tuple[str, ...]
    version: int

    @property
    def key(self) -> Key:
        return self.org_id, self.kind, self.subject


_PLAIN: Final = tuple(field.name for field in fields(AlertState) if field.name != "undelivered")


class AlertStore:
    """Keeps all organisations' alerts. Raises `spanledger.ledger.errors.StoreError`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def all(self) -> list[AlertState]:
        """Every alert that ever left ``ok``."""
        with store_errors("reading the alerts"):
            result = self._client.query(load("states"))  # pyright: ignore[reportUnknownMemberType]
        rows: Sequence[Sequence[Any]] = result.result_rows
        return [_state(dict(zip(result.column_names, row, strict=True))) for row in rows]

    def save(self, states: Sequence[AlertState]) -> None:
        """Write these over what is there; does nothing without any."""
        if not states:
            return
        rows = [[*(getattr(state, name) for name in _PLAIN), list(state.undelivered)] for state in states]
        with store_errors("keeping the alerts"):
            self._client.insert("spanledger.alert_versions", rows, column_names=[*_PLAIN, "undelivered"])


def _state(row: dict[str, Any]) -> AlertState:
    values: dict[str, Any] = {**row, "undelivered": tuple[str, ...](row["undelivered"])}
    return AlertState(**values)
