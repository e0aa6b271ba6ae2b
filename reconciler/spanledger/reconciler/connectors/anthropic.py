"""Anthropic: the usage and cost analytics (beta), with the older Admin API where an organization does not have it.

Amounts are decimal texts in *cents*, fractional. The analytics give API key, workspace, model, token type and tier down
to the minute and the list price beside the charged one; the Admin API's cost report knows no API key. Both write to the
same streams, ``usage`` and ``cost``: a day pulled through one replaces the same day pulled through the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar, Final

from spanledger.reconciler.bill_line import BillLine, Charge, Kind
from spanledger.reconciler.connector import (
    Account,
    AccountObject,
    Connector,
    ConnectorSpec,
    Opening,
    SecretSetting,
    Setting,
)
from spanledger.reconciler.connectors.anthropic_batches import AnthropicBatches
from spanledger.reconciler.connectors.lists import listed
from spanledger.reconciler.documents import Json, ShapeError, maybe_obj, obj, objects, quantity, rfc3339, text
from spanledger.reconciler.errors import PermanentSyncError, State
from spanledger.reconciler.http.api import Api, Verdict, excerpt
from spanledger.reconciler.http.auth import Auth, HeaderAuth
from spanledger.reconciler.http.messages import ApiRequest, ApiResponse
from spanledger.reconciler.observations import ObservationStream
from spanledger.reconciler.secrets.secret import Secret
from spanledger.reconciler.streams import Context, Page, PagedStream, Policy, Stream
from spanledger.reconciler.units import Cents, Money
from spanledger.reconciler.windows import Window

PROVIDER: Final = "anthropic"
PERMISSION: Final = "an Admin API key (sk-ant-admin01-...), made by a member with the admin role"
BETA: Final = "analytics-usage-cost-2026-08-24"

_ANALYTICS_POLICY: Final = Policy(
    trailing_days=32,
    slice_days=31,
    # Documented for the Enterprise reports and taken over here: values may be revised for 30 days.
    final_after=timedelta(days=30),
    history_days=364,
    earliest=date(2026, 1, 1),
)
_ADMIN_POLICY: Final = Policy(trailing_days=8, slice_days=31, deep_days=(3, 10))

_GROUPS: Final = ("api_key_id", "workspace_id", "model", "service_tier", "context_window")
"""The analytics allow five."""
_COST_GROUPS: Final = (*_GROUPS, "cost_type", "token_type")
_ADMIN_USAGE_GROUPS: Final = (*_GROUPS, "inference_geo")
_ADMIN_COST_GROUPS: Final = ("workspace_id", "description")

TOKEN_TYPES: Final[Mapping[str, str]] = {
    "uncached_input_tokens": "input_uncached",
    "cache_read_input_tokens": "cache_read",
    "cache_creation.ephemeral_5m_input_tokens": "cache_write_5m",
    "cache_creation.ephemeral_1h_input_tokens": "cache_write_1h",
    "output_tokens": "output_text",
}
"""``token_type`` → token class; ``output_tokens`` includes thinking."""

COST_TYPES: Final[Mapping[str, str]] = {
    "web_search": "web_searches",
    "code_execution": "code_execution",
    "session_usage": "session_usage",
}
"""``cost_type`` of charges that are no tokens → class."""

_DIMENSIONS: Final = ("context_window", "inference_geo", "speed", "cost_type", "token_type", "account_id", "product")


class Anthropic(Connector):
    """The Claude Platform's organization API."""

    spec: ClassVar = ConnectorSpec(
        name="anthropic",
        title="Anthropic",
        base_url="https://api.anthropic.com",
        own_hosts=("api.anthropic.com",),
        settings=(
            Setting(
                name="api",
                help="which reports to read: the analytics (beta), the Admin API, or whichever the organization has",
                default="auto",
                choices=("auto", "analytics", "admin"),
            ),
            Setting(
                name="claude_code",
                help="also read Claude Code's own report (estimates, kept as memo lines)",
                default="off",
                choices=("off", "on"),
            ),
        ),
        secrets=(
            SecretSetting(name="admin_key", help="an Admin API key (sk-ant-admin01-...)"),
            SecretSetting(
                name="api_key",
                help="a workspace key, to read the results of batches: exact usage of every call in them",
                required=False,
            ),
        ),
        setup=(
            "Sign in at platform.claude.com as a member with the admin role (individual accounts have no Admin API).",
            "Open Settings > Admin keys and create a key; it begins with sk-ant-admin01-.",
            "Admin keys cannot be limited to reading: keep it in a file or a secret manager.",
            "Workspace keys (sk-ant-api03-...) cannot read usage or costs.",
        ),
    )

    def auth(self, opening: Opening) -> Auth:
        return anthropic_key(opening.secrets["admin_key"])

    def explain(self, response: ApiResponse) -> Verdict | None:
        need = response.request.permission or PERMISSION
        if response.status == 401:
            return Verdict(State.AUTH_FAILED, False, f"Anthropic refused the key; it needs {need}: {excerpt(response)}")
        return None

    def streams(self, opening: Opening, api: Api) -> Sequence[Stream]:
        choice = opening.settings.get("api") or "auto"
        if choice == "analytics" or (choice == "auto" and _has_analytics(api, opening.clock.now())):
            found = [_analytics("cost"), _analytics("usage")]
        else:
            found = [_admin_cost(), _admin_usage()]
        if opening.settings.get("claude_code") == "on":
            found.append(_claude_code())
        return found

    def readers(self, settings: Mapping[str, str]) -> Sequence[Stream]:
        del settings
        return (_analytics("cost"), _analytics("usage"), _admin_cost(), _admin_usage(), _claude_code())

    def observation_streams(self, opening: Opening, api: Api) -> Sequence[ObservationStream]:
        del api
        key = opening.secrets.get("api_key")
        return () if key is None else (AnthropicBatches(anthropic_key(key)),)

    def identify(self, opening: Opening, api: Api) -> Account | None:
        del opening
        response = api.send(ApiRequest(path="/v1/organizations/me", permission=PERMISSION))
        document = obj(response.document, "organization")
        return Account(text(document.get("id")), text(document.get("name")))

    def inventory(self, opening: Opening, api: Api) -> Sequence[AccountObject]:
        del opening
        keys = [
            AccountObject(
                "api_key",
                text(key.get("id")),
                text(key.get("name")),
                text(key.get("partial_key_hint")),
                text(key.get("status")),
            )
            for key in listed(api, "/v1/organizations/api_keys", cursor="after_id", permission=PERMISSION)
        ]
        workspaces = [
            AccountObject("workspace", text(found.get("id")), text(found.get("name")))
            for found in listed(api, "/v1/organizations/workspaces", cursor="after_id", permission=PERMISSION)
        ]
        return [*keys, *workspaces]


def anthropic_key(key: Secret) -> HeaderAuth:
    """Anthropic's key header, with the version that every request must name."""
    return HeaderAuth("x-api-key", key, others={"anthropic-version": "2023-06-01"})


def _has_analytics(api: Api, now: datetime) -> bool:
    """Whether the organization has the beta. An outage is not a no: it fails the sync.

    Raises:
        SyncError: the key is wrong, or Anthropic does not answer.
    """
    day = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    try:
        api.send(
            ApiRequest(
                path="/v1/organizations/analytics/cost",
                params=(("starting_at", _time(day)), ("ending_at", _time(day + timedelta(days=1))), ("limit", "1")),
                headers={"anthropic-beta": BETA},
            )
        )
    except PermanentSyncError as error:
        if error.state is State.AUTH_FAILED:
            raise
        return False
    return True


def _time(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _analytics(report: str) -> PagedStream:
    is_cost = report == "cost"
    groups = _COST_GROUPS if is_cost else _GROUPS
    params = (("time_bucket_width", "1d"), ("limit", "1000"), *(("group_by[]", name) for name in groups))
    return PagedStream(
        name=report,
        kind=Kind.COST if is_cost else Kind.USAGE,
        policy=_ANALYTICS_POLICY,
        permission=PERMISSION,
        grouped_by=groups,
        path="/analytics/",
        opening=partial(_opening, f"/v1/organizations/analytics/{report}", params, {"anthropic-beta": BETA}),
        next_page=_next_page,
        lines=partial(_analytics_lines, _analytics_cost if is_cost else _usage_parts),
    )


def _admin_cost() -> PagedStream:
    params = (("bucket_width", "1d"), ("limit", "31"), *(("group_by[]", name) for name in _ADMIN_COST_GROUPS))
    return PagedStream(
        name="cost",
        kind=Kind.COST,
        policy=_ADMIN_POLICY,
        permission=PERMISSION,
        grouped_by=_ADMIN_COST_GROUPS,
        path="/cost_report",
        opening=partial(_opening, "/v1/organizations/cost_report", params, {}),
        next_page=_next_page,
        lines=partial(_bucket_lines, _admin_cost_parts),
    )


def _admin_usage() -> PagedStream:
    params = (("bucket_width", "1d"), ("limit", "31"), *(("group_by[]", name) for name in _ADMIN_USAGE_GROUPS))
    return PagedStream(
        name="usage",
        kind=Kind.USAGE,
        policy=_ADMIN_POLICY,
        permission=PERMISSION,
        grouped_by=_ADMIN_USAGE_GROUPS,
        path="/usage_report/messages",
        opening=partial(_opening, "/v1/organizations/usage_report/messages", params, {}),
        next_page=_next_page,
        lines=partial(_bucket_lines, lambda result, context: _usage_parts(result, result, context)),
    )


def _opening(
    path: str, params: tuple[tuple[str, str], ...], headers: Mapping[str, str], window: Window
) -> Iterator[ApiRequest]:
    yield ApiRequest(
        path=path,
        params=(("starting_at", _time(window.start)), ("ending_at", _time(window.end)), *params),
        headers=headers,
        permission=PERMISSION,
    )


def _next_page(page: Page) -> ApiRequest | None:
    document = obj(page.document, "Anthropic's answer")
    if not document.get("has_more"):
        return None
    cursor = text(document.get("next_page"))
    if not cursor:
        raise ShapeError("Anthropic's answer says has_more without a next_page")
    kept = tuple(pair for pair in page.request.params if pair[0] != "page")
    return ApiRequest(
        path=page.request.path,
        params=(*kept, ("page", cursor)),
        headers=page.request.headers,
        permission=page.request.permission,
    )


class _Part:
    """What differs between the lines of one row: class, quantity, money."""

    __slots__ = ("list_money", "money", "quantity", "token_class", "unit")

    def __init__(
        self,
        token_class: str,
        quantity: Decimal | None = None,
        unit: str = "",
        money: Money | None = None,
        list_money: Money | None = None,
    ) -> None:
        self.token_class = token_class
        self.quantity = quantity
        self.unit = unit
        self.money = money
        self.list_money = list_money


def _analytics_lines(
    parts: Callable[[Json, Json, Context], Iterator[_Part]], page: Page, context: Context
) -> Iterator[BillLine]:
    document = obj(page.document, "Anthropic's answer")
    watermark = document.get("data_refreshed_at")
    refreshed = rfc3339(watermark, "data_refreshed_at") if watermark else None
    if refreshed is not None and refreshed < min(context.window.end, context.now) - _ANALYTICS_POLICY.expected_delay:
        context.delayed_until = refreshed
    for row in objects(document.get("data"), "Anthropic's answer: data"):
        start, end = rfc3339(row.get("starting_at"), "starting_at"), rfc3339(row.get("ending_at"), "ending_at")
        incomplete = refreshed is not None and end > refreshed
        group = maybe_obj(row.get("group"))
        for part in parts(row, group, context):
            yield _line(start, end, group, part, is_final=False if incomplete else None)


def _bucket_lines(
    parts: Callable[[Json, Context], Iterator[_Part]], page: Page, context: Context
) -> Iterator[BillLine]:
    document = obj(page.document, "Anthropic's answer")
    for bucket in objects(document.get("data"), "Anthropic's answer: data"):
        start, end = rfc3339(bucket.get("starting_at"), "starting_at"), rfc3339(bucket.get("ending_at"), "ending_at")
        for result in objects(bucket.get("results", []), "bucket results"):
            for part in parts(result, context):
                yield _line(start, end, result, part, is_final=None)


def _line(start: datetime, end: datetime, group: Json, part: _Part, *, is_final: bool | None) -> BillLine:
    tier = text(group.get("service_tier"))
    money = part.money
    return BillLine(
        kind=Kind.USAGE if money is None and part.unit else Kind.COST,
        start=start,
        end=end,
        provider=PROVIDER,
        model=text(group.get("model")),
        token_class=part.token_class,
        workspace=text(group.get("workspace_id")),
        api_key=text(group.get("api_key_id")),
        service_tier=tier,
        is_batch=tier == "batch" if tier else None,
        line_item=text(group.get("description")),
        quantity=part.quantity,
        unit=part.unit,
        money=money,
        list_money=part.list_money,
        charge=Charge.CREDIT if money is not None and money.amount < 0 else Charge.USAGE,
        is_final=is_final,
        dimensions={name: text(group[name]) for name in _DIMENSIONS if group.get(name)},
    )


def _usage_parts(row: Json, group: Json, context: Context) -> Iterator[_Part]:
    """The disjoint token classes of a usage row; both APIs name them alike."""
    del group, context
    usage = maybe_obj(row.get("usage")) or row
    written = maybe_obj(usage.get("cache_creation"))
    tools = maybe_obj(usage.get("server_tool_use"))
    fields: tuple[tuple[str, Any, str], ...] = (
        ("input_uncached", usage.get("uncached_input_tokens"), "tokens"),
        ("cache_read", usage.get("cache_read_input_tokens"), "tokens"),
        ("cache_write_5m", written.get("ephemeral_5m_input_tokens"), "tokens"),
        ("cache_write_1h", written.get("ephemeral_1h_input_tokens"), "tokens"),
        ("output_text", usage.get("output_tokens"), "tokens"),
        ("web_searches", tools.get("web_search_requests"), "searches"),
        ("requests", usage.get("requests"), "requests"),
    )
    for token_class, value, unit in fields:
        amount = quantity(value)
        if amount:
            yield _Part(token_class, amount, unit)


def _analytics_cost(row: Json, group: Json, context: Context) -> Iterator[_Part]:
    cost = obj(row.get("cost"), "cost")
    token_class = _cost_class(group, context)
    yield _Part(token_class, money=_cents(cost, "amount"), list_money=_cents(cost, "list_amount"))


def _admin_cost_parts(result: Json, context: Context) -> Iterator[_Part]:
    yield _Part(_cost_class(result, context), money=_cents(result, "amount"))


def _cost_class(group: Json, context: Context) -> str:
    token_type, cost_type = text(group.get("token_type")), text(group.get("cost_type"))
    found = TOKEN_TYPES.get(token_type) or COST_TYPES.get(cost_type, "")
    if not found:
        context.notes["unclassified"] += 1
    return found


def _cents(cost: Json, name: str) -> Money | None:
    value, currency = cost.get(name), text(cost.get("currency"))
    if value is None:
        return None
    if not currency:
        raise ShapeError("Anthropic sent an amount without a currency")
    return Cents.read(value).money(currency)


def _claude_code() -> PagedStream:
    """Claude Code's report: one request per day. Its money is an estimate, so its lines are memo lines."""
    return PagedStream(
        name="claude_code",
        kind=Kind.USAGE,
        policy=Policy(trailing_days=8, slice_days=1),
        permission=PERMISSION,
        grouped_by=("actor", "model"),
        opening=_claude_code_opening,
        next_page=_next_page,
        lines=_claude_code_lines,
    )


def _claude_code_opening(window: Window) -> Iterator[ApiRequest]:
    for offset in range(window.days):
        day = window.since + timedelta(days=offset)
        yield ApiRequest(
            path="/v1/organizations/usage_report/claude_code",
            params=(("starting_at", day.isoformat()), ("limit", "1000")),
            permission=PERMISSION,
        )


_CLAUDE_CODE_CLASSES: Final = {
    "input": "input_uncached",
    "output": "output_text",
    "cache_read": "cache_read",
    "cache_creation": "cache_write",
}


def _claude_code_lines(page: Page, context: Context) -> Iterator[BillLine]:
    del context
    document = obj(page.document, "Anthropic's answer")
    for row in objects(document.get("data"), "Anthropic's answer: data"):
        start = rfc3339(row.get("date"), "date")
        actor = maybe_obj(row.get("actor"))
        dimensions = {
            "actor": text(actor.get("email_address") or actor.get("api_key_name")),
            "customer_type": text(row.get("customer_type")),
            "terminal_type": text(row.get("terminal_type")),
        }
        for breakdown in objects(row.get("model_breakdown", []), "model_breakdown"):
            tokens = maybe_obj(breakdown.get("tokens"))
            for name, token_class in _CLAUDE_CODE_CLASSES.items():
                amount = quantity(tokens.get(name))
                if amount:
                    yield BillLine(
                        kind=Kind.USAGE,
                        start=start,
                        end=start + timedelta(days=1),
                        provider=PROVIDER,
                        model=text(breakdown.get("model")),
                        token_class=token_class,
                        line_item="Claude Code",
                        quantity=amount,
                        unit="tokens",
                        charge=Charge.MEMO,
                        dimensions=dimensions,
                    )
