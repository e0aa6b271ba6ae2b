"""Rollups and counters: what new evidence touched is computed again and replaced, never added to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import store_errors
from spanledger.ledger.sql import query

Bucket = tuple[str, int]
"""(org, start of the bucket in seconds since the epoch)"""

MINUTE: Final = 60
HOUR: Final = 3600
DAY: Final = 86_400


def refresh(client: Client, minutes: Iterable[Bucket], version: int) -> None:
    """Bring every rollup and counter that depends on these minutes up to date with ``calls``.

    Idempotent: a second run writes the same rows again and adds nothing to any counter.
    """
    touched = sorted(set(minutes))
    if not touched:
        return
    hours = _start(touched, HOUR)
    days = _start(touched, DAY)
    with store_errors("rolling up usage"):
        client.command(query("rollup_minutes"), parameters=_parameters(touched, MINUTE, version))
        client.command(query("rollup_models"), parameters=_parameters(hours, HOUR, version))
        client.command(query("rollup_hours"), parameters=_parameters(hours, HOUR, version))
        client.command(query("rollup_days"), parameters=_parameters(days, DAY, version))
        client.command(query("count"), parameters=_parameters(hours, HOUR, version))


def _start(buckets: Iterable[Bucket], width: int) -> list[Bucket]:
    return sorted({(org, second // width * width) for org, second in buckets})


def _parameters(buckets: list[Bucket], width: int, version: int) -> dict[str, Any]:
    return {
        "orgs": [org for org, _ in buckets],
        "buckets": [second for _, second in buckets],
        "low": min(second for _, second in buckets),
        "high": max(second for _, second in buckets) + width,
        "version": version,
    }
