"""An entry of the log of closed and reopened periods."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from spanledger.reconciler.statements import Statement


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log."""

    number: int
    period: str
    action: str
    reason: str
    statement: Statement
    recorded_at: datetime
