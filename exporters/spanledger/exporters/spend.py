"""The breakdown behind ``/api/v1/spend``: what was spent, by any dimensions, in any span of time.

A query reads the coarsest rollup that fits its span and bucket; only ``session`` and ``user``, which no rollup has,
make it look at single calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from spanledger.exporters.access import Scope
from spanledger.exporters.readings import StoreReadings, sql
from spanledger.semconv import money

DIMENSIONS: Final[Mapping[str, str]] = {
    "provider": "provider",
    "model": "model",
    "team": "team_id",
    "feature": "feature",
    "service": "service_name",
    "environment": "environment",
    "project": "project",
    "workspace": "workspace",
    "org": "org_id",
    "session": "session_id",
    "user": "user_id",
}
"""Names in the API → columns."""
OF_CALLS: Final = frozenset({"session", "user"})
BUCKETS: Final[Mapping[str, tuple[str, str]]] = {
    "minute": ("spanledger.usage_by_minute", "toStartOfMinute"),
    "hour": ("spanledger.usage_by_hour", "toStartOfHour"),
    "day": ("spanledger.usage_by_day", "toStartOfDay"),
}
"""Bucket names → rollup, and the function that makes a bucket of a time (all in UTC)."""
MAX_ROWS: Final = 10_000
MAX_SPAN_OF_CALLS: Final = timedelta(days=31)
_UNTIL_NOW: Final = timedelta(days=7)


class BadRequestError(ValueError):
    """A parameter cannot be used; the message is one readable line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendRequest:
    """One breakdown.

    Attributes:
        dimensions: names of `DIMENSIONS`, in the order of the answer.
        bucket: a name of `BUCKETS`; ``""`` for the whole span in one.
        since: start, inclusive, on a minute, UTC.
        until: end, exclusive, on a minute, UTC.
        limit: rows at most.
    """

    dimensions: tuple[str, ...]
    bucket: str
    since: datetime
    until: datetime
    limit: int = 1000

    @classmethod
    def parse(cls, values: Mapping[str, Sequence[str]], now: datetime) -> SpendRequest:
        """Read query parameters.

        Args:
            values: the parameters, each with all its values.
            now: the end of the span when ``to`` is missing.

        Raises:
            BadRequestError: an unknown parameter or a value that cannot be used.
        """
        refuse_unknown(values, ("by", "from", "to", "limit"))
        names = [name for value in values.get("by", ()) for name in value.replace(" ", "").split(",") if name]
        bucket = ""
        dimensions: list[str] = []
        for name in names:
            if name in BUCKETS:
                if bucket not in ("", name):
                    raise BadRequestError(f"by={bucket} and by={name} together: choose one of day, hour, minute")
                bucket = name
            elif name in DIMENSIONS:
                if name not in dimensions:
                    dimensions.append(name)
            else:
                known = ", ".join((*DIMENSIONS, *BUCKETS))
                raise BadRequestError(f"by={name[:40]!r} is not a dimension: choose of {known}")
        since, until = parse_span(values, now, _UNTIL_NOW)
        if not OF_CALLS.isdisjoint(dimensions) and until - since > MAX_SPAN_OF_CALLS:
            raise BadRequestError(
                f"by=session and by=user reach over at most {MAX_SPAN_OF_CALLS.days} days: narrow from, to"
            )
        limit = parse_limit(values, 1000, MAX_ROWS)
        return cls(dimensions=tuple(dimensions), bucket=bucket, since=since, until=until, limit=limit)


def spend(readings: StoreReadings, request: SpendRequest, scope: Scope) -> dict[str, Any]:
    """Answer a breakdown, JSON-ready: amounts as decimal texts, unknown ones as None.

    Rows come by bucket, then by cost, the dearest first; ``truncated`` says that there are more than the limit.

    Raises:
        StoreError: the store does not answer.
    """
    source = _source(request)
    columns = [f"u.{DIMENSIONS[name]} AS {name}" for name in request.dimensions]
    if request.bucket:
        columns.insert(0, f"{BUCKETS[request.bucket][1]}(u.bucket, 'UTC') AS time")
    aliases = [column.rpartition(" ")[2] for column in columns]
    template = sql("spend").replace("{{source}}", source)
    parameters = {"since": request.since, "until": request.until, "limit": request.limit + 1}
    rows = readings.rows(
        "spend",
        scope,
        parameters,
        template.replace("{{dimensions}}", "".join(f"{column}, " for column in columns))
        .replace("{{grouping}}", f"GROUP BY {', '.join(aliases)}" if aliases else "")
        .replace(
            "{{order}}",
            f"ORDER BY {'time, ' if request.bucket else ''}cost_usd DESC NULLS LAST, {', '.join(aliases)}"
            if aliases
            else "",
        ),
    )
    total = (
        readings.rows(
            "spend",
            scope,
            parameters,
            template.replace("{{dimensions}}", "").replace("{{grouping}}", "").replace("{{order}}", ""),
        )
        if aliases
        else rows
    )
    return {
        "from": iso(request.since),
        "to": iso(request.until),
        "by": aliases,
        "currency": "USD",
        "rows": [_row(aliases, row) for row in rows[: request.limit]],
        "total": _row([], total[0]) if total else None,
        "truncated": len(rows) > request.limit,
    }


_MEASURES: Final = ("calls", "errors", "unpriced_calls", "input_tokens", "output_tokens")
_AMOUNTS: Final = ("cost_usd", "cost_low_usd", "cost_high_usd")


def _row(aliases: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    values = zip((*aliases, *_MEASURES, *_AMOUNTS), row, strict=True)
    return {name: plain(value) for name, value in values}


def _source(request: SpendRequest) -> str:
    if not OF_CALLS.isdisjoint(request.dimensions):
        return sql("spend_of_calls").replace("{{bucket}}", BUCKETS[request.bucket or "minute"][1])
    for name in ("day", "hour"):
        # A coarser rollup holds the same sums, if the span cuts none of its buckets and finer ones are not asked for.
        if _is_whole(request.since, name) and _is_whole(request.until, name) and request.bucket not in _FINER[name]:
            return BUCKETS[name][0]
    return BUCKETS["minute"][0]


_FINER: Final[Mapping[str, tuple[str, ...]]] = {"day": ("hour", "minute"), "hour": ("minute",)}


def _is_whole(time: datetime, bucket: str) -> bool:
    return time.minute == 0 and (bucket == "hour" or time.hour == 0)


def parse_span(values: Mapping[str, Sequence[str]], now: datetime, default: timedelta) -> tuple[datetime, datetime]:
    """The span of time that ``from`` and ``to`` ask for, in whole minutes: ``from`` rounded down, ``to`` up.

    Raises:
        BadRequestError: not a time, or ``to`` is not after ``from``.
    """
    until = _up(_time(values, "to") or now)
    since = _down(_time(values, "from") or until - default)
    if since >= until:
        raise BadRequestError(f"from={iso(since)} is not before to={iso(until)}")
    return since, until


def _time(values: Mapping[str, Sequence[str]], name: str) -> datetime | None:
    text = single(values, name)
    if not text:
        return None
    try:
        time = _read_time(text)
    except (ValueError, OverflowError, OSError):
        time = None
    if time is None or not _EARLIEST <= time <= _LATEST:
        form = "2026-11-01, 2026-11-01T12:00:00Z or epoch seconds"
        raise BadRequestError(f"{name}={text[:40]!r} is not a time: write {form}")
    return time


_EARLIEST: Final = datetime(1971, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2105, 12, 31, tzinfo=UTC)
"""The store's minutes are 32-bit seconds."""


def _read_time(text: str) -> datetime:
    if text.isdecimal():
        return datetime.fromtimestamp(int(text), UTC)
    # A "+" in a URL arrives as a space when nobody quoted it. A date alone is its midnight.
    time = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _down(time: datetime) -> datetime:
    return time.replace(second=0, microsecond=0)


def _up(time: datetime) -> datetime:
    whole = _down(time)
    return whole if whole == time else whole + timedelta(minutes=1)


def parse_limit(values: Mapping[str, Sequence[str]], default: int, most: int) -> int:
    """The ``limit`` parameter.

    Raises:
        BadRequestError: not a whole number from 1 to `most`.
    """
    text = single(values, "limit")
    if not text:
        return default
    if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= most:
        raise BadRequestError(f"limit={text[:40]!r} is not a number from 1 to {most}")
    return int(text)


def single(values: Mapping[str, Sequence[str]], name: str) -> str:
    """The one value of a parameter, ``""`` when missing.

    Raises:
        BadRequestError: it was given twice.
    """
    found = values.get(name, ())
    if len(found) > 1:
        raise BadRequestError(f"{name} was given {len(found)} times: give it once")
    return found[0].strip() if found else ""


def refuse_unknown(values: Mapping[str, Sequence[str]], known: Sequence[str]) -> None:
    """Refuse misspelt parameters, which would silently widen an answer.

    Raises:
        BadRequestError: a parameter that is not in `known`.
    """
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise BadRequestError(f"unknown parameter {unknown[0][:40]!r}: this call takes {', '.join(known)}")


def iso(time: datetime) -> str:
    """A UTC time as ``2026-11-01T12:00:00Z``."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def plain(value: Any) -> Any:
    """A value as JSON has it: amounts as decimal texts, times in UTC."""
    if isinstance(value, Decimal):
        return money.text(value)
    if isinstance(value, datetime):
        return iso(value if value.tzinfo else value.replace(tzinfo=UTC))
    return value
