"""xAI: billed dollars per day and description, and the unit counts and tax of the current invoice.

Three units of money meet here: the usage series is in dollars, invoices are in integer cents with the customer's credit
*negative*, and answers of the inference API carry ticks (1e-10 dollars). The usage endpoint takes times without a zone
beside a time zone name, and says ``limitReached`` instead of sending a next page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import ClassVar, Final

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
from spanledger.reconciler.connectors.xai_batches import XaiBatches
from spanledger.reconciler.documents import Json, ShapeError, maybe_obj, obj, objects, quantity, rfc3339, rows, text
from spanledger.reconciler.errors import ConfigError, PermanentSyncError, State, TruncatedError
from spanledger.reconciler.http.api import Api, Verdict, excerpt
from spanledger.reconciler.http.auth import Auth, bearer
from spanledger.reconciler.http.messages import ApiRequest, ApiResponse
from spanledger.reconciler.observations import ObservationStream
from spanledger.reconciler.streams import Context, Page, PagedStream, Policy, Stream, last_page
from spanledger.reconciler.units import Cents, Dollars, Money
from spanledger.reconciler.windows import Grain, Window, next_month

PROVIDER: Final = "xai"
PERMISSION: Final = "a management key (console.x.ai > Settings > Management Keys) with the billing read scope"

_USAGE_POLICY: Final = Policy(
    # Finality is not documented: the whole cycle may move until its invoice exists.
    trailing_days=34,
    final_after=timedelta(days=33),
)
_INVOICE_POLICY: Final = Policy(
    trailing_days=3, hourly=False, slice_days=31, history_days=0, final_after=timedelta(days=3), grain=Grain.MONTH
)

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)

KINDS: Final[Mapping[str, str]] = {
    "chat": "",
    "responses": "",
    "image": "output_image",
    "image generation": "output_image",
    "embedding": "input_uncached",
    "embeddings": "input_uncached",
}
"""First words of a description before the model name → token class; ``""`` when several classes share the line."""

TOOLS: Final[Mapping[str, str]] = {
    "live search": "web_searches",
    "web search": "web_searches",
    "x search": "x_searches",
    "code execution": "code_executions",
    "document search": "file_searches",
    "collections search": "file_searches",
}
"""Words in descriptions of server-side tools → count."""

UNIT_TYPES: Final[Mapping[str, str]] = {
    "prompt text tokens": "input_uncached",
    "cached prompt text tokens": "cache_read",
    "completion text tokens": "output_text",
    "completion tokens": "output_text",
    "reasoning tokens": "reasoning",
    "prompt image tokens": "input_image",
    "images": "images",
}
"""Invoice unit types, lower case → token class. The exact spellings are not documented; others stay unclassified."""


class XAI(Connector):
    """xAI's management API."""

    spec: ClassVar = ConnectorSpec(
        name="xai",
        title="xAI",
        aliases=("grok",),
        base_url="https://management-api.x.ai",
        own_hosts=("management-api.x.ai",),
        settings=(
            Setting(name="team_id", help="the team's UUID; asked from the key when not given"),
            Setting(
                name="timezone",
                help="the spelling of UTC that is sent with every range",
                default="Etc/GMT",
                choices=("Etc/GMT", "UTC"),
            ),
            Setting(name="api_url", help="of the inference API, for batches", default="https://api.x.ai"),
        ),
        secrets=(
            SecretSetting(name="management_key", help="a management key with billing read access"),
            SecretSetting(
                name="api_key",
                help="an ordinary key, to read the results of batches: what each call in them was charged",
                required=False,
            ),
        ),
        setup=(
            "Sign in at console.x.ai with an account that has the Management Keys permission on the team.",
            "Open Settings > Management Keys, create a key and allow it to read billing.",
            "Inference keys (xai-...) cannot read billing.",
        ),
    )

    def auth(self, opening: Opening) -> Auth:
        team = opening.settings.get("team_id", "")
        if team and not _UUID.fullmatch(team):
            # Seen: the word "default" works for some keys and is refused for others.
            raise ConfigError(f"--team-id {team!r} is no UUID; leave it out: the key says which team it belongs to")
        return bearer(opening.secrets["management_key"])

    def explain(self, response: ApiResponse) -> Verdict | None:
        need = response.request.permission or PERMISSION
        if response.status == 401:
            return Verdict(State.AUTH_FAILED, False, f"xAI refused the key; it needs {need}: {excerpt(response)}")
        return None

    def streams(self, opening: Opening, api: Api) -> Sequence[Stream]:
        team = opening.settings.get("team_id") or self._team(api)
        return _streams(team, opening.settings.get("timezone") or "Etc/GMT")

    def readers(self, settings: Mapping[str, str]) -> Sequence[Stream]:
        del settings
        return _streams("", "Etc/GMT")

    def observation_streams(self, opening: Opening, api: Api) -> Sequence[ObservationStream]:
        del api
        key = opening.secrets.get("api_key")
        if key is None:
            return ()
        return (XaiBatches(bearer(key), opening.settings.get("api_url") or "https://api.x.ai"),)

    def identify(self, opening: Opening, api: Api) -> Account | None:
        return Account(opening.settings.get("team_id") or self._team(api))

    def inventory(self, opening: Opening, api: Api) -> Sequence[AccountObject]:
        team = opening.settings.get("team_id") or self._team(api)
        document = obj(api.send(ApiRequest(path=f"/auth/teams/{team}/api-keys")).document, "API keys")
        return [
            AccountObject(
                "api_key",
                text(key.get("apiKeyId")),
                text(key.get("name")),
                text(key.get("redactedApiKey")),
                # Booleans come as text here.
                "disabled" if text(key.get("disabled")) == "true" else "active",
            )
            for key in objects(document.get("apiKeys", []), "apiKeys")
        ]

    @staticmethod
    def _team(api: Api) -> str:
        """The key's team. ``scopeId`` goes before ``teamId``: the latter may be another name of the default team."""
        request = ApiRequest(path="/auth/management-keys/validation", permission=PERMISSION)
        document = obj(api.send(request).document, "key validation")
        team = text(document.get("scopeId")) or text(document.get("teamId"))
        if not team:
            raise PermanentSyncError(State.DEGRADED, "xAI does not say which team the key belongs to: give --team-id")
        return team


def _streams(team: str, zone: str) -> Sequence[Stream]:
    return (
        PagedStream(
            name="usage",
            kind=Kind.COST,
            policy=_USAGE_POLICY,
            permission=PERMISSION,
            grouped_by=("description",),
            opening=partial(_usage_request, team, zone),
            next_page=_complete,
            lines=_usage_lines,
        ),
        PagedStream(
            name="invoice",
            kind=Kind.USAGE,
            policy=_INVOICE_POLICY,
            permission=PERMISSION,
            grouped_by=("description", "unitType"),
            opening=partial(_invoice_request, team),
            next_page=last_page,
            lines=_invoice_lines,
        ),
    )


def _usage_request(team: str, zone: str, window: Window) -> Iterator[ApiRequest]:
    yield ApiRequest(
        method="POST",
        path=f"/v1/billing/teams/{team}/usage",
        json={
            "analyticsRequest": {
                "timeRange": {
                    "startTime": f"{window.since:%Y-%m-%d} 00:00:00",
                    "endTime": f"{window.until:%Y-%m-%d} 00:00:00",
                    "timezone": zone,
                },
                "timeUnit": "TIME_UNIT_DAY",
                "values": [{"name": "usd", "aggregation": "AGGREGATION_SUM"}],
                "groupBy": ["description"],
                "filters": [],
            }
        },
        permission=PERMISSION,
    )


def _complete(page: Page) -> None:
    if maybe_obj(page.document).get("limitReached"):
        raise TruncatedError("xAI says limitReached: the answer is cut")


def _usage_lines(page: Page, context: Context) -> Iterator[BillLine]:
    document = obj(page.document, "xAI's answer")
    for series in objects(document.get("timeSeries", []), "timeSeries"):
        labels = rows(series.get("group") or series.get("groupLabels") or [""], "group")
        description = text(labels[0]) if labels else ""
        model, token_class = read_description(description)
        if not model and not token_class:
            context.notes["unclassified"] += 1
        for point in objects(series.get("dataPoints", []), "dataPoints"):
            value = rows(point.get("values"), "values")
            if not value or value[0] is None:
                continue
            money = Dollars.read(value[0]).money("USD")
            if not money.amount:
                continue
            start = rfc3339(point.get("timestamp"), "timestamp").replace(hour=0, minute=0, second=0, microsecond=0)
            yield BillLine(
                kind=Kind.COST,
                start=start,
                end=start + timedelta(days=1),
                provider=PROVIDER,
                model=model,
                token_class=token_class,
                line_item=description,
                money=money,
                charge=Charge.CREDIT if money.amount < 0 else Charge.USAGE,
            )


def read_description(description: str) -> tuple[str, str]:
    """Model and token class of a description like ``Chat grok-4-0709``."""
    plain = description.lower()
    for words, count in TOOLS.items():
        if words in plain:
            return "", count
    head, _, model = description.rpartition(" ")
    if head.lower() in KINDS and model:
        return model, KINDS[head.lower()]
    if plain.startswith("grok") and " " not in plain:
        return description, ""
    return "", ""


def _invoice_request(team: str, window: Window) -> Iterator[ApiRequest]:
    del window  # the preview is always the current cycle's
    yield ApiRequest(path=f"/v1/billing/teams/{team}/postpaid/invoice/preview", permission=PERMISSION)


def _invoice_lines(page: Page, context: Context) -> Iterator[BillLine]:
    """Unit counts as usage of the cycle, and its tax. The amounts repeat the usage series: they are not taken."""
    document = obj(page.document, "xAI's invoice preview")
    invoice = maybe_obj(document.get("coreInvoice"))
    start, end = _cycle(maybe_obj(document.get("billingCycle")))
    for line in objects(invoice.get("lines") or [], "lines"):
        description, unit_type = text(line.get("description")), text(line.get("unitType"))
        model, _ = read_description(description)
        token_class = UNIT_TYPES.get(unit_type.lower(), "")
        if not token_class:
            context.notes["unclassified"] += 1
        yield BillLine(
            kind=Kind.USAGE,
            start=start,
            end=end,
            provider=PROVIDER,
            model=model,
            token_class=token_class,
            line_item=description,
            quantity=quantity(line.get("numUnits")),
            unit="tokens" if "token" in unit_type.lower() else unit_type.lower(),
            is_final=False,
            dimensions={"unit_type": unit_type, "unit_price": text(line.get("unitPrice"))},
        )
    before, after = _cents(invoice.get("amountBeforeVat")), _cents(invoice.get("amountAfterVat"))
    if before is not None and after is not None and before != after:
        yield BillLine(
            kind=Kind.COST,
            start=start,
            end=end,
            provider=PROVIDER,
            line_item="VAT",
            money=Money(after.amount - before.amount, "USD"),
            charge=Charge.TAX,
            is_final=False,
        )


def _cycle(cycle: Json) -> tuple[datetime, datetime]:
    try:
        first = date(int(text(cycle.get("year"))), int(text(cycle.get("month"))), 1)
    except (ValueError, OverflowError):
        raise ShapeError(f"xAI's invoice preview names no billing cycle: {cycle}") from None
    following = next_month(first)
    return (
        datetime(first.year, first.month, 1, tzinfo=UTC),
        datetime(following.year, following.month, 1, tzinfo=UTC),
    )


def _cents(value: object) -> Money | None:
    """Integer cents, plain or as ``{"val": "..."}``."""
    inner = maybe_obj(value).get("val", value)
    return Cents.read(inner).money("USD") if isinstance(inner, str | int | Decimal) else None
