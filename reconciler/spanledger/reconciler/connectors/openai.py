"""OpenAI: organization usage (tokens, images, seconds, ...) and costs, with an admin key.

Costs is what reconciles with the invoice; usage tells the tokens behind it. Both come per UTC day, project and API key.
Costs knows no model: it is read from the line item. Amounts are dollars, sent as a number or as text with 30 and more
digits. There is no finality mark; a day is quiet after about two days and may move for longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import ClassVar, Final

from spanledger.reconciler.bill_line import BillLine, Charge, Kind
from spanledger.reconciler.connector import Account, AccountObject, Connector, ConnectorSpec, Opening, SecretSetting
from spanledger.reconciler.connectors.lists import listed
from spanledger.reconciler.connectors.openai_batches import OpenAIBatches
from spanledger.reconciler.connectors.openai_line_items import LineItem, read_line_item
from spanledger.reconciler.documents import Json, ShapeError, maybe_obj, obj, objects, quantity, text, unix_time
from spanledger.reconciler.errors import State
from spanledger.reconciler.http.api import Api, Verdict, excerpt
from spanledger.reconciler.http.auth import Auth, bearer
from spanledger.reconciler.http.messages import ApiRequest, ApiResponse
from spanledger.reconciler.observations import ObservationStream
from spanledger.reconciler.streams import Context, Page, PagedStream, Policy, Stream
from spanledger.reconciler.units import Dollars
from spanledger.reconciler.windows import Window
from spanledger.semconv.usage import TOKEN_CLASSES

PROVIDER: Final = "openai"
PERMISSION: Final = (
    "an admin key (sk-admin-...), made by an organization Owner, with the Usage read permission (scope api.usage.read)"
)

_USAGE_POLICY: Final = Policy(trailing_days=8, slice_days=31, deep_days=(3, 10))
_COSTS_POLICY: Final = Policy(trailing_days=8, slice_days=31, deep_days=(3, 10))

_TOKEN_UNITS: Final = frozenset({*TOKEN_CLASSES, "cache_read_audio", "cache_read_image"})

Measure = Callable[[Json], Iterator[tuple[str, Decimal | int, str, Mapping[str, str]]]]
"""Reads a usage result: (token class, quantity, unit, further dimensions)."""

_NONE: Final[Mapping[str, str]] = {}


def _count(result: Json, name: str) -> Decimal | int:
    value = result.get(name)
    return value if type(value) is int else quantity(value) or 0


def _tokens(result: Json) -> Iterator[tuple[str, Decimal | int, str, Mapping[str, str]]]:
    """Disjoint classes that add up to ``input_tokens`` and ``output_tokens``.

    ``input_tokens`` includes cached and cache-write tokens of all modalities; the ``input_<modality>_tokens`` are
    uncached. Older answers lack the parts: what is not split stays in the general class.
    """
    cached, written = _count(result, "input_cached_tokens"), _count(result, "input_cache_write_tokens")
    audio, image = _count(result, "input_audio_tokens"), _count(result, "input_image_tokens")
    yield "input_uncached", _count(result, "input_tokens") - cached - written - audio - image, "tokens", _NONE
    yield "input_audio", audio, "tokens", _NONE
    yield "input_image", image, "tokens", _NONE
    cached_audio = _count(result, "input_cached_audio_tokens")
    cached_image = _count(result, "input_cached_image_tokens")
    yield "cache_read", cached - cached_audio - cached_image, "tokens", _NONE
    yield "cache_read_audio", cached_audio, "tokens", _NONE
    yield "cache_read_image", cached_image, "tokens", _NONE
    for lifetime in ("30m", "12h"):
        part = _count(result, f"input_cache_write_{lifetime}_tokens")
        yield "cache_write", part, "tokens", {"cache_lifetime": lifetime}
        written -= part
    yield "cache_write", written, "tokens", _NONE
    output_audio, output_image = _count(result, "output_audio_tokens"), _count(result, "output_image_tokens")
    yield "output_text", _count(result, "output_tokens") - output_audio - output_image, "tokens", _NONE
    yield "output_audio", output_audio, "tokens", _NONE
    yield "output_image", output_image, "tokens", _NONE
    yield "requests", _count(result, "num_model_requests"), "requests", _NONE


def _measures(*fields: tuple[str, str, str]) -> Measure:
    """A measure of plain fields: (field, token class, unit)."""

    def measure(result: Json) -> Iterator[tuple[str, Decimal | int, str, Mapping[str, str]]]:
        for name, token_class, unit in fields:
            yield token_class, _count(result, name), unit, _NONE

    return measure


@dataclass(frozen=True, slots=True)
class _Report:
    """One of the usage endpoints."""

    path: str
    group_by: tuple[str, ...]
    measure: Measure


_KEYS: Final = ("project_id", "api_key_id", "model")
_REQUESTS: Final = ("num_model_requests", "requests", "requests")

REPORTS: Final = (
    _Report("completions", (*_KEYS, "batch", "service_tier"), _tokens),
    _Report("embeddings", _KEYS, _measures(("input_tokens", "input_uncached", "tokens"), _REQUESTS)),
    _Report("moderations", _KEYS, _measures(("input_tokens", "moderation_tokens", "tokens"), _REQUESTS)),
    _Report("images", (*_KEYS, "size", "source"), _measures(("images", "images", "images"), _REQUESTS)),
    _Report("audio_speeches", _KEYS, _measures(("characters", "characters", "characters"), _REQUESTS)),
    _Report("audio_transcriptions", _KEYS, _measures(("seconds", "audio_seconds", "seconds"), _REQUESTS)),
    _Report("vector_stores", ("project_id",), _measures(("usage_bytes", "storage", "bytes"))),
    _Report(
        "code_interpreter_sessions",
        ("project_id",),
        _measures(("num_sessions", "code_interpreter_sessions", "sessions")),
    ),
    _Report(
        "file_search_calls", ("project_id", "api_key_id"), _measures(("num_requests", "file_searches", "searches"))
    ),
    _Report("web_search_calls", (*_KEYS, "context_level"), _measures(("num_requests", "web_searches", "searches"))),
)
"""The usage endpoints below ``/organization/usage/``."""

_COST_GROUPS: Final = ("project_id", "api_key_id", "line_item")

_UNITS: Final[Mapping[str, tuple[str, Decimal]]] = {
    "tokens": ("tokens", Decimal(1)),
    "1000_tokens": ("tokens", Decimal(1000)),
    "duration_seconds": ("seconds", Decimal(1)),
    "duration_minutes": ("seconds", Decimal(60)),
    "duration_hours": ("seconds", Decimal(3600)),
}
"""``quantity_unit`` → our unit and its factor; others are kept as they are."""


class OpenAI(Connector):
    """The OpenAI platform's organization API."""

    spec: ClassVar = ConnectorSpec(
        name="openai",
        title="OpenAI",
        base_url="https://api.openai.com/v1",
        own_hosts=("api.openai.com",),
        burst=12,
        secrets=(
            SecretSetting(name="admin_key", help="an organization admin key (sk-admin-...)"),
            SecretSetting(
                name="api_key",
                help="a project key, to read the results of batches: exact usage of every call in them",
                required=False,
            ),
        ),
        setup=(
            "Sign in at platform.openai.com as an Owner of the organization.",
            "Open Settings > Organization > Admin keys and choose 'Create new admin key'.",
            "Give it the Usage permission 'Read' (restricted) or All; nothing else is needed.",
            "Project keys (sk-proj-...) and service-account keys cannot read usage or costs.",
        ),
    )

    def auth(self, opening: Opening) -> Auth:
        return bearer(opening.secrets["admin_key"])

    def explain(self, response: ApiResponse) -> Verdict | None:
        said = excerpt(response)
        if response.status == 401 and "missing scopes" in said.lower():
            scope = said.lower().partition("missing scopes:")[2].split(".  ")[0].strip(" .") or "api.usage.read"
            return Verdict(
                State.PERMISSION_MISSING,
                False,
                f"the OpenAI key lacks the scope {scope}; it needs {response.request.permission or PERMISSION}: {said}",
            )
        if response.status == 401:
            return Verdict(
                State.AUTH_FAILED,
                False,
                f"OpenAI refused the key; it needs {response.request.permission or PERMISSION}: {said}",
            )
        if response.status == 404:
            return Verdict(
                State.DEGRADED,
                False,
                f"OpenAI does not serve {response.request.path} now (404); the next run will try again: {said}",
            )
        return None

    def streams(self, opening: Opening, api: Api) -> Sequence[Stream]:
        del api
        return self.readers(opening.settings)

    def readers(self, settings: Mapping[str, str]) -> Sequence[Stream]:
        del settings
        return (_costs(), *(_usage(report) for report in REPORTS))

    def observation_streams(self, opening: Opening, api: Api) -> Sequence[ObservationStream]:
        del api
        key = opening.secrets.get("api_key")
        return () if key is None else (OpenAIBatches(bearer(key)),)

    def identify(self, opening: Opening, api: Api) -> Account | None:
        # Through the costs, because a key that may read usage alone cannot list projects.
        day = opening.clock.now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=2)
        params = (("start_time", str(int(day.timestamp()))), ("limit", "1"))
        response = api.send(ApiRequest(path="/organization/costs", params=params, permission=PERMISSION))
        known = response.headers.get("openai-organization", "")
        for bucket in objects(maybe_obj(response.document).get("data", []), "data"):
            for result in objects(bucket.get("results", []), "results"):
                known = known or text(result.get("organization_id"))
        return Account(known) if known else None

    def inventory(self, opening: Opening, api: Api) -> Sequence[AccountObject]:
        del opening
        found: list[AccountObject] = []
        for project in listed(api, "/organization/projects", cursor="after"):
            project_id = text(project.get("id"))
            found.append(
                AccountObject("project", project_id, text(project.get("name")), "", text(project.get("status")))
            )
            keys = listed(api, f"/organization/projects/{project_id}/api_keys", cursor="after")
            found.extend(
                AccountObject("api_key", text(key.get("id")), text(key.get("name")), text(key.get("redacted_value")))
                for key in keys
            )
        return found


def _usage(report: _Report) -> PagedStream:
    return PagedStream(
        name=f"usage.{report.path}",
        kind=Kind.USAGE,
        policy=_USAGE_POLICY,
        permission=PERMISSION,
        grouped_by=report.group_by,
        opening=partial(_opening, f"/organization/usage/{report.path}", report.group_by, 31),
        next_page=_next_page,
        lines=partial(_usage_lines, report),
    )


def _costs() -> PagedStream:
    return PagedStream(
        name="costs",
        kind=Kind.COST,
        policy=_COSTS_POLICY,
        permission=PERMISSION,
        grouped_by=_COST_GROUPS,
        opening=partial(_opening, "/organization/costs", _COST_GROUPS, 31),
        next_page=_next_page,
        lines=_cost_lines,
    )


def _opening(path: str, group_by: Sequence[str], limit: int, window: Window) -> Iterator[ApiRequest]:
    yield ApiRequest(
        path=path,
        params=(
            ("start_time", str(int(window.start.timestamp()))),
            ("end_time", str(int(window.end.timestamp()))),
            ("bucket_width", "1d"),
            ("limit", str(limit)),
            *(("group_by[]", name) for name in group_by),
        ),
        permission=PERMISSION,
    )


def _next_page(page: Page) -> ApiRequest | None:
    document = obj(page.document, "OpenAI's answer")
    cursor = text(document.get("next_page"))
    if not document.get("has_more"):
        return None
    if not cursor:
        raise ShapeError("OpenAI's answer says has_more without a next_page")
    kept = tuple(pair for pair in page.request.params if pair[0] != "page")
    return ApiRequest(path=page.request.path, params=(*kept, ("page", cursor)), permission=PERMISSION)


def _buckets(page: Page) -> Iterator[tuple[datetime, datetime, Json]]:
    document = obj(page.document, "OpenAI's answer")
    for bucket in objects(document.get("data"), "OpenAI's answer: data"):
        start = unix_time(bucket.get("start_time"), "bucket start_time")
        end = unix_time(bucket.get("end_time"), "bucket end_time")
        # A bucket that was asked for in the middle of the day ends early; the slot is still the whole day.
        end = max(end, start + timedelta(seconds=1))
        results = bucket.get("results", bucket.get("result"))
        for result in objects(results if results is not None else [], "bucket results"):
            yield start, end, result


def _usage_lines(report: _Report, page: Page, context: Context) -> Iterator[BillLine]:
    del context
    for start, end, result in _buckets(page):
        model, project = text(result.get("model")), text(result.get("project_id"))
        api_key, tier = text(result.get("api_key_id")), text(result.get("service_tier"))
        batch = result.get("batch")
        is_batch = batch if isinstance(batch, bool) else None
        extra = {
            name: text(result[name])
            for name in ("size", "source", "context_level", "user_id", "vector_store_id")
            if result.get(name)
        }
        for token_class, amount, unit, dimensions in report.measure(result):
            if not amount:
                continue
            yield BillLine(
                kind=Kind.USAGE,
                start=start,
                end=end,
                provider=PROVIDER,
                model=model,
                token_class=token_class,
                project=project,
                api_key=api_key,
                service_tier=tier,
                is_batch=is_batch,
                quantity=Decimal(amount),
                unit=unit,
                dimensions={**extra, **dimensions} if dimensions else extra,
            )


def _cost_lines(page: Page, context: Context) -> Iterator[BillLine]:
    known: dict[str, LineItem] = {}
    for start, end, result in _buckets(page):
        said = text(result.get("line_item"))
        item = known.get(said)
        if item is None:
            item = known[said] = read_line_item(said)
        if not item.token_class:
            context.notes["unclassified"] += 1
        amount = maybe_obj(result.get("amount"))
        value, currency = amount.get("value"), text(amount.get("currency"))
        if value is not None and not currency:
            raise ShapeError(f"OpenAI sent an amount without a currency (line item {said!r})")
        used, unit = _quantity(result, item.token_class)
        money = None if value is None else Dollars.read(value).money(currency)
        yield BillLine(
            kind=Kind.COST,
            start=start,
            end=end,
            provider=PROVIDER,
            model=item.model,
            token_class=item.token_class,
            project=text(result.get("project_id")),
            api_key=text(result.get("api_key_id")),
            service_tier=item.service_tier,
            is_batch=item.is_batch,
            line_item=said,
            quantity=used,
            unit=unit,
            money=money,
            # Negative rows are credits or adjustments; they count, under their own name.
            charge=Charge.CREDIT if money is not None and money.amount < 0 else Charge.USAGE,
            dimensions=_dimensions(item, result),
        )


def _dimensions(item: LineItem, result: Json) -> dict[str, str]:
    found = {name: text(result[name]) for name in ("user_id", "organization_id") if result.get(name)}
    if item.context:
        found["context"] = item.context
    if item.origin:
        found["origin"] = item.origin
    return found


def _quantity(result: Json, token_class: str) -> tuple[Decimal | None, str]:
    amount, unit = quantity(result.get("quantity")), text(result.get("quantity_unit"))
    if amount is None:
        return None, ""
    if not unit:
        # Older answers have no unit; token lines were seen counting single tokens.
        return amount, "tokens" if token_class in _TOKEN_UNITS else ""
    name, factor = _UNITS.get(unit, (unit, Decimal(1)))
    return amount * factor, name
