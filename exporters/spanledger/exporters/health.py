"""What ``/readyz`` asks: can evidence be taken in and reach the ledger?"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import store_errors
from spanledger.ledger.errors import StoreError

MIN_FREE_BYTES: Final = 64 << 20
JOURNAL_FULL: Final = 0.95
"""Share of the journal's limit from which on senders should go elsewhere."""

Check = Callable[[], str | None]


def store_writable(client: Client, path: Path | None = None) -> Check:
    """The store answers, and its disk takes more.

    Args:
        client: a client of the store.
        path: the embedded store's directory; ``None`` for a server, whose disks are its own business.
    """
    store: Any = client

    def check() -> str | None:
        if path is not None:
            if not os.access(path, os.W_OK):
                return f"{path} is not writable: mend its permissions"
            free = shutil.disk_usage(path).free
            if free < MIN_FREE_BYTES:
                return f"{path} has {free >> 20} MiB left on its disk: free some space"
        try:
            with store_errors("asking the store"):
                store.query("SELECT 1")
        except StoreError as error:
            return str(error)
        return None

    return check


def journal_below_limit(stats: Callable[[], Mapping[str, object]]) -> Check:
    """The journal has room: ``journal_bytes`` is well below ``journal_limit_bytes``."""

    def check() -> str | None:
        values = stats()
        used, limit = values.get("journal_bytes"), values.get("journal_limit_bytes")
        if not isinstance(used, int | float) or not isinstance(limit, int | float) or limit <= 0:
            return None
        if used < limit * JOURNAL_FULL:
            return None
        return f"the journal holds {used:.0f} of {limit:.0f} bytes: the store does not keep up, or is down"

    return check


def pipeline_moves(
    stats: Callable[[], Mapping[str, object]], *, seconds: float = 300, clock: Callable[[], float] = time.monotonic
) -> Check:
    """Something leaves the journal as long as something is in it: ``processed_frames`` grew within `seconds`."""
    seen: list[tuple[float, object]] = []

    def check() -> str | None:
        values = stats()
        processed, waiting = values.get("processed_frames"), values.get("journal_bytes")
        if not waiting or not seen or seen[0][1] != processed:
            seen[:] = [(clock(), processed)]
            return None
        stuck = clock() - seen[0][0]
        if stuck < seconds:
            return None
        return f"nothing has left the journal for {stuck:.0f} s: see the log for the store's errors"

    return check
