"""Mistral: the Enterprise admin API's monthly usage. Its inner schema is not documented.

What is documented: the month in the question, categories (``chat``, ``completion``, ``ocr``, ...), ``start_date``,
``end_date`` and ``currency`` in the answer. What lies inside a category is read tolerantly: any nesting of objects
down to a series of ``{timestamp, value}`` or a number becomes usage lines under the names on the way; anything that
carries an amount with a known meaning becomes money; the rest is counted as unreadable, and the raw answer is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar, Final, cast

from spanledger.reconciler.bill_line import BillLine, Kind
from spanledger.reconciler.connector import (
    Connector,
    ConnectorSpec,
    Opening,
    SecretSetting,
    Setting,
)
from spanledger.reconciler.connectors.mistral_batches import MistralBatches
from spanledger.reconciler.documents import Json, obj, quantity, rfc3339, text
from spanledger.reconciler.errors import State
from spanledger.reconciler.http.api import Api, Verdict, excerpt
from spanledger.reconciler.http.auth import Auth, HeaderAuth, bearer
from spanledger.reconciler.http.messages import ApiRequest, ApiResponse
from spanledger.reconciler.observations import ObservationStream
from spanledger.reconciler.streams import Context, Page, PagedStream, Policy, Stream, last_page
from spanledger.reconciler.units import Dollars
from spanledger.reconciler.windows import Grain, Window, next_month

PROVIDER: Final = "mistral"
PERMISSION: Final = "an Enterprise admin key (Mistral Admin Panel > API keys)"

CATEGORIES: Final = ("chat", "completion", "ocr", "audio", "connectors", "libraries_api", "fine_tuning", "vibe_usage")

CLASSES: Final[Mapping[str, str]] = {
    "input": "input_uncached",
    "prompt": "input_uncached",
    "input_tokens": "input_uncached",
    "prompt_tokens": "input_uncached",
    "cached": "cache_read",
    "cached_input": "cache_read",
    "output": "output_text",
    "completion_tokens": "output_text",
    "output_tokens": "output_text",
    "pages": "pages",
    "requests": "requests",
    "audio_seconds": "audio_seconds",
}
_AMOUNTS: Final = frozenset({"cost", "amount", "total_cost", "price_total"})
_DOCUMENTED: Final = frozenset({"start_date", "end_date", "currency", "prices", "date", "previous_month", "next_month"})
_UNITS: Final = {"audio_seconds": "seconds"}
_TOKENS: Final = frozenset({"input_uncached", "cache_read", "output_text"})

_POLICY: Final = Policy(
    trailing_days=31, hourly=False, slice_days=31, grain=Grain.MONTH, final_after=timedelta(days=5), deep_days=(3, 10)
)


class Mistral(Connector):
    """Mistral's Enterprise admin API."""

    spec: ClassVar = ConnectorSpec(
        name="mistral",
        title="Mistral",
        base_url="https://api.mistral.ai",
        own_hosts=("api.mistral.ai", "console.mistral.ai"),
        settings=(
            Setting(name="workspace_id", help="read one workspace only"),
            Setting(name="path", help="path of the usage endpoint", default="/v1/admin/usage"),
        ),
        secrets=(
            SecretSetting(name="admin_key", help="an Enterprise admin key"),
            SecretSetting(
                name="api_key",
                help="an ordinary key, to read the results of batches: exact usage of every call in them",
                required=False,
            ),
        ),
        setup=(
            "The admin API belongs to Enterprise plans: ask your Mistral contact to enable it.",
            "Create an admin key in the Admin Panel.",
            "On other plans, import the console's export with `spanledger bills import`.",
        ),
    )

    def auth(self, opening: Opening) -> Auth:
        return HeaderAuth("x-api-key", opening.secrets["admin_key"])

    def explain(self, response: ApiResponse) -> Verdict | None:
        if response.status in (401, 403, 404):
            state = State.AUTH_FAILED if response.status == 401 else State.PERMISSION_MISSING
            need = response.request.permission or PERMISSION
            return Verdict(
                state, False, f"Mistral refused {response.request.path}; it needs {need}: {excerpt(response)}"
            )
        return None

    def streams(self, opening: Opening, api: Api) -> Sequence[Stream]:
        del api
        return self.readers(opening.settings)

    def observation_streams(self, opening: Opening, api: Api) -> Sequence[ObservationStream]:
        del api
        key = opening.secrets.get("api_key")
        return () if key is None else (MistralBatches(bearer(key)),)

    def readers(self, settings: Mapping[str, str]) -> Sequence[Stream]:
        return (
            PagedStream(
                name="usage",
                kind=Kind.USAGE,
                policy=_POLICY,
                permission=PERMISSION,
                grouped_by=("category", "model"),
                opening=partial(_requests, settings.get("path") or "/v1/admin/usage", settings.get("workspace_id", "")),
                next_page=last_page,
                lines=_lines,
            ),
        )


def _requests(path: str, workspace: str, window: Window) -> Iterator[ApiRequest]:
    month = window.since.replace(day=1)
    while month < window.until:
        params = (("month", str(month.month)), ("year", str(month.year)))
        yield ApiRequest(
            path=path,
            params=(*params, *((("workspace_id", workspace),) if workspace else ())),
            permission=PERMISSION,
        )
        month = next_month(month)


def _lines(page: Page, context: Context) -> Iterator[BillLine]:
    document = obj(page.document, "Mistral's answer")
    asked = dict(page.request.params)
    start = datetime(int(asked["year"]), int(asked["month"]), 1, tzinfo=UTC)
    workspace, currency = asked.get("workspace_id", ""), text(document.get("currency"))
    for category, found in document.items():
        if category in _DOCUMENTED:
            continue
        if category not in CATEGORIES:
            context.notes["unknown_category"] += 1
        for path, value, day in _leaves(found, (), None):
            line = _line(category, path, value, day, start, currency)
            if line is None:
                context.notes["unreadable"] += 1
            else:
                line.workspace = workspace
                yield line


def _leaves(
    value: Any, path: tuple[str, ...], day: date | None
) -> Iterator[tuple[tuple[str, ...], Decimal, date | None]]:
    """Every number below ``value`` with the names on the way to it and the day of its series' point."""
    if isinstance(value, dict):
        inner = cast("Json", value)
        if "value" in inner and ("timestamp" in inner or "date" in inner):
            number = quantity(inner["value"])
            if number:
                yield path, number, rfc3339(inner.get("timestamp") or inner.get("date"), "timestamp").date()
            return
        for name, below in inner.items():
            yield from _leaves(below, path if name == "models" else (*path, name), day)
    elif isinstance(value, list):
        for below in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _leaves(below, path, day)
    else:
        number = quantity(value)
        if number and not isinstance(value, str):
            yield path, number, day


def _line(
    category: str, path: tuple[str, ...], value: Decimal, day: date | None, month: datetime, currency: str
) -> BillLine | None:
    if not path:
        return None
    model, name = "".join(path[:-1][-1:]), path[-1]
    start = datetime(day.year, day.month, day.day, tzinfo=UTC) if day else month
    following = next_month(month.date())
    end = start + timedelta(days=1) if day else datetime(following.year, following.month, 1, tzinfo=UTC)
    common: dict[str, Any] = {
        "start": start,
        "end": end,
        "provider": PROVIDER,
        "model": model,
        "line_item": " / ".join((category, *path)),
        "dimensions": {"category": category},
    }
    if name in _AMOUNTS:
        return BillLine(kind=Kind.COST, money=Dollars(value).money(currency), **common) if currency else None
    token_class = CLASSES.get(name, "")
    if not token_class:
        return None
    unit = "tokens" if token_class in _TOKENS else _UNITS.get(token_class, token_class)
    return BillLine(kind=Kind.USAGE, token_class=token_class, quantity=value, unit=unit, **common)
