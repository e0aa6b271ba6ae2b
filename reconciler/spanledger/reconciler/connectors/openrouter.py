"""OpenRouter: activity per completed UTC day, model, endpoint and API key; 30 days back, no further.

The report of a key that was deleted cannot be asked for any more, so the whole account's is asked for after those of
its keys: what no key accounts for stays on the bill, without a key.

``usage`` is what OpenRouter charges. ``byok_usage_inference`` is paid to the upstream vendor with the user's own key
and stands on that vendor's bill: it is kept as a dimension, never as OpenRouter's money.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import ClassVar, Final

from spanledger.reconciler.bill_line import BillLine, Kind
from spanledger.reconciler.connector import (
    Account,
    AccountObject,
    Connector,
    ConnectorSpec,
    Opening,
    SecretSetting,
    Setting,
)
from spanledger.reconciler.connectors.openrouter_generations import OpenRouterGenerations
from spanledger.reconciler.documents import Json, ShapeError, obj, objects, quantity, text
from spanledger.reconciler.errors import State
from spanledger.reconciler.http.api import Api, Verdict, excerpt
from spanledger.reconciler.http.auth import Auth, bearer
from spanledger.reconciler.http.messages import ApiRequest, ApiResponse
from spanledger.reconciler.observations import ObservationStream
from spanledger.reconciler.streams import Context, Page, PagedStream, Policy, Stream, last_page
from spanledger.reconciler.units import Dollars
from spanledger.reconciler.windows import Window
from spanledger.semconv.money import CONTEXT

PROVIDER: Final = "openrouter"
PERMISSION: Final = "a management key (openrouter.ai > Settings > Management keys)"
HISTORY_DAYS: Final = 30

_POLICY: Final = Policy(
    trailing_days=7,
    hot_days=1,
    slice_days=7,
    history_days=HISTORY_DAYS,
    final_after=timedelta(days=1),
    expected_delay=timedelta(hours=12),
)


_NUMBERS: Final = (
    "usage", "byok_usage_inference", "requests", "prompt_tokens", "completion_tokens", "reasoning_tokens",
    "cached_tokens",
)  # fmt: skip
_IDENTITY: Final = ("date", "model", "model_permaslug", "endpoint_id", "provider_name", "workspace_id")
_NOISE: Final = Decimal("1e-9")


class OpenRouter(Connector):
    """OpenRouter's activity report."""

    spec: ClassVar = ConnectorSpec(
        name="openrouter",
        title="OpenRouter",
        base_url="https://openrouter.ai/api/v1",
        own_hosts=("openrouter.ai",),
        settings=(
            Setting(
                name="by_key",
                help="one request more per API key and day, so that lines carry the key",
                default="on",
                choices=("on", "off"),
            ),
        ),
        secrets=(
            SecretSetting(name="management_key", help="a management key (it cannot run inference)"),
            SecretSetting(
                name="api_key",
                help="the applications' key, to ask for the exact cost of calls whose answer did not say it",
                required=False,
            ),
        ),
        setup=(
            "Sign in at openrouter.ai as the owner or an administrator of the organization.",
            "Open Settings > Management keys and create a key.",
            "Ordinary API keys cannot read /activity.",
        ),
    )

    def auth(self, opening: Opening) -> Auth:
        return bearer(opening.secrets["management_key"])

    def explain(self, response: ApiResponse) -> Verdict | None:
        need = response.request.permission or PERMISSION
        if response.status in (401, 403):
            state = State.AUTH_FAILED if response.status == 401 else State.PERMISSION_MISSING
            return Verdict(state, False, f"OpenRouter refused the key; it needs {need}: {excerpt(response)}")
        return None

    def streams(self, opening: Opening, api: Api) -> Sequence[Stream]:
        keys: tuple[str, ...] = ("",)
        if opening.settings.get("by_key", "on") == "on":
            keys = tuple(found.id for found in self.inventory(opening, api)) or ("",)
        return (_activity(keys, opening.clock.now().date()),)

    def readers(self, settings: Mapping[str, str]) -> Sequence[Stream]:
        del settings
        return (_activity(("",), date.min),)

    def observation_streams(self, opening: Opening, api: Api) -> Sequence[ObservationStream]:
        del api
        key = opening.secrets.get("api_key")
        return () if key is None else (OpenRouterGenerations(bearer(key)),)

    def identify(self, opening: Opening, api: Api) -> Account | None:
        del opening
        api.send(ApiRequest(path="/credits", permission=PERMISSION))
        return None

    def inventory(self, opening: Opening, api: Api) -> Sequence[AccountObject]:
        del opening
        found: list[AccountObject] = []
        offset = 0
        while True:
            request = ApiRequest(path="/keys", params=(("offset", str(offset)),), permission=PERMISSION)
            page = list(objects(obj(api.send(request).document, "keys").get("data", []), "keys"))
            known = {key.id for key in found}
            fresh = [key for key in page if text(key.get("hash")) not in known]
            if not fresh:
                return found
            found.extend(
                AccountObject(
                    "api_key",
                    text(key.get("hash")),
                    text(key.get("name")),
                    text(key.get("label")),
                    "disabled" if key.get("disabled") else "active",
                )
                for key in fresh
            )
            offset += len(page)


def _activity(keys: Sequence[str], today: date) -> PagedStream:
    return PagedStream(
        name="activity",
        kind=Kind.COST,
        policy=_POLICY,
        permission=PERMISSION,
        grouped_by=("date", "model", "endpoint_id", *(("api_key_hash",) if tuple(keys) != ("",) else ())),
        opening=partial(_requests, keys, today),
        next_page=last_page,
        lines=_lines,
    )


def _requests(keys: Sequence[str], today: date, window: Window) -> Iterator[ApiRequest]:
    for offset in range(window.days):
        day = window.since + timedelta(days=offset)
        if day >= today:
            return  # only completed days are answered
        # The account as a whole comes last: its lines are what the keys leave.
        for key in (*(key for key in keys if key), ""):
            params = (("date", day.isoformat()), *((("api_key_hash", key),) if key else ()))
            yield ApiRequest(path="/activity", params=params, permission=PERMISSION)


def _lines(page: Page, context: Context) -> Iterator[BillLine]:
    api_key = next((value for name, value in page.request.params if name == "api_key_hash"), "")
    found = objects(obj(page.document, "OpenRouter's answer").get("data"), "data")
    for row in _counted(found, context) if api_key else _left(found, context):
        start = _day(row)
        for kind, token_class, amount, unit in _parts(row):
            yield BillLine(
                kind=kind,
                start=start,
                end=start + timedelta(days=1),
                provider=PROVIDER,
                model=text(row.get("model")),
                token_class=token_class,
                workspace=text(row.get("workspace_id")),
                api_key=api_key,
                line_item=text(row.get("model_permaslug")),
                quantity=None if kind is Kind.COST else amount,
                unit=unit,
                money=Dollars(amount).money("USD") if kind is Kind.COST else None,
                dimensions={
                    name: text(row[name])
                    for name in ("model_permaslug", "endpoint_id", "provider_name", "byok_usage_inference")
                    if row.get(name)
                },
            )


def _counted(found: Iterable[Json], context: Context) -> Iterator[Json]:
    """A key's rows; what they hold is counted towards the account's."""
    for row in found:
        sums = context.sums.setdefault(_identity(row), dict.fromkeys(_NUMBERS, Decimal(0)))
        for name in _NUMBERS:
            sums[name] = CONTEXT.add(sums[name], quantity(row.get(name)) or Decimal(0))
        yield row


def _left(found: Iterable[Json], context: Context) -> Iterator[Json]:
    """The account's rows without what its keys had; nothing of a row that they had entirely."""
    for row in found:
        sums = context.sums.pop(_identity(row), None)
        if sums is None:
            yield row
            continue
        rest = {name: CONTEXT.subtract(quantity(row.get(name)) or Decimal(0), sums[name]) for name in _NUMBERS}
        # Both sides are floating-point sums: a difference in the last digits is none.
        if any(abs(value) >= _NOISE for value in rest.values()):
            yield {**row, **rest}


def _identity(row: Json) -> tuple[str, ...]:
    return tuple(text(row.get(name)) for name in _IDENTITY)


def _parts(row: Json) -> Iterator[tuple[Kind, str, Decimal, str]]:
    """The charge, then disjoint token classes. Cached tokens can exceed prompt tokens (replayed answers)."""
    charged = row.get("usage")
    if charged is None:
        raise ShapeError("OpenRouter sent a day without usage")
    yield Kind.COST, "", Dollars.read(charged).value, ""

    def count(name: str) -> Decimal:
        return quantity(row.get(name)) or Decimal(0)

    prompt, cached = count("prompt_tokens"), count("cached_tokens")
    completion, reasoning = count("completion_tokens"), count("reasoning_tokens")
    cached_in_prompt = min(prompt, cached)
    reasoning_in_completion = min(completion, reasoning)
    counts = (
        ("input_uncached", prompt - cached_in_prompt, "tokens"),
        ("cache_read", cached_in_prompt, "tokens"),
        ("output_text", completion - reasoning_in_completion, "tokens"),
        ("reasoning", reasoning_in_completion, "tokens"),
        ("requests", count("requests"), "requests"),
    )
    for token_class, amount, unit in counts:
        if amount:
            yield Kind.USAGE, token_class, amount, unit


def _day(row: Json) -> datetime:
    said = text(row.get("date"))[:10]
    try:
        day = date.fromisoformat(said)
    except ValueError:
        raise ShapeError(f"OpenRouter sent a row without a date: {said!r}") from None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
