"""Azure OpenAI and Microsoft Foundry: Cost Management's query API, or its exports.

The bill's grain is day, resource and meter: no deployment, no key, no request. The query API asks for at most two
dimensions and sends numbers as floats; ``nextLink`` is asked with POST and the same body. Exports hold the whole truth
of a billing period; the newest run of a period replaces the earlier ones. Costs are before tax, in the scope's
currency.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote

from spanledger.reconciler.bill_line import BillLine, Kind
from spanledger.reconciler.connector import (
    Account,
    Connector,
    ConnectorSpec,
    Opening,
    SecretSetting,
    Setting,
)
from spanledger.reconciler.connectors import azure_exports
from spanledger.reconciler.connectors.openai_batches import OpenAIBatches
from spanledger.reconciler.documents import ShapeError, maybe_obj, named, obj, objects, quantity, rows, text
from spanledger.reconciler.errors import ConfigError, PermanentSyncError, State
from spanledger.reconciler.files.exports import ExportStream
from spanledger.reconciler.files.formats import FormatOptions
from spanledger.reconciler.http.api import Api, Verdict, excerpt
from spanledger.reconciler.http.auth import Auth, HeaderAuth, NoAuth
from spanledger.reconciler.http.budget import Breaker, Budget
from spanledger.reconciler.http.messages import ApiRequest, ApiResponse
from spanledger.reconciler.http.tokens import Token, TokenAuth
from spanledger.reconciler.meters.azure import read_meter
from spanledger.reconciler.observations import ObservationStream
from spanledger.reconciler.secrets.secret import Redactor, Secret
from spanledger.reconciler.streams import Context, Page, PagedStream, Policy, Stream
from spanledger.reconciler.units import Dollars
from spanledger.reconciler.windows import Window

PROVIDER: Final = "azure_openai"

API_VERSION: Final = "2025-03-01"
PERMISSION: Final = "the role Cost Management Reader on the scope"
BATCH_PERMISSION: Final = "a key of the Azure OpenAI resource that made the batches"

_QUERY_POLICY: Final = Policy(
    # A billing month closes up to the fifth day after its end; corrections come later still.
    trailing_days=35,
    hourly=False,
    final_after=timedelta(days=35),
    expected_delay=timedelta(hours=48),
    deep_days=(3, 6, 10),
)

_GROUPS: Final = ("ResourceId", "Meter")
_DATE_COLUMNS: Final = ("UsageDate", "BillingMonth")


class AzureOpenAI(Connector):
    """Azure's Cost Management, filtered to model meters."""

    spec: ClassVar = ConnectorSpec(
        name="azure_openai",
        title="Azure",
        aliases=("azure", "foundry", "azure_foundry"),
        base_url="https://management.azure.com",
        own_hosts=("management.azure.com",),
        requests_per_second=0.06,
        burst=3,
        settings=(
            Setting(name="tenant_id", help="the Entra tenant"),
            Setting(name="client_id", help="the app registration (service principal)"),
            Setting(name="scope", help="what to read: /subscriptions/<id>, /providers/Microsoft.Billing/..."),
            Setting(
                name="source",
                help="the query API, or the files of a Cost Management export (FocusCost or ActualCost)",
                default="query",
                choices=("query", "export"),
            ),
            Setting(
                name="export",
                help="the export: https://<account>.blob.core.windows.net/<container>/<root>/<name>, or a folder",
            ),
            Setting(name="cost_type", help="query type", default="ActualCost", choices=("ActualCost", "AmortizedCost")),
            Setting(
                name="cost_column",
                help="Cost for EA and MCA agreements, PreTaxCost for pay-as-you-go",
                default="Cost",
                choices=("Cost", "PreTaxCost"),
            ),
            Setting(
                name="meter_categories",
                help="comma-separated meter categories of model use",
                default="Cognitive Services,Azure OpenAI,Foundry Models",
            ),
            Setting(name="meters", help="CSV file of your own meter table: meter,model,token_class"),
            Setting(
                name="resource_url",
                help="for batches: the resource's OpenAI endpoint, https://<resource>.openai.azure.com/openai/v1",
            ),
            Setting(name="login_url", help="Entra's address", default="https://login.microsoftonline.com"),
            Setting(name="audience", help="of the access token", default="https://management.azure.com"),
        ),
        secrets=(
            SecretSetting(name="client_secret", help="the app registration's client secret", required=False),
            SecretSetting(
                name="api_key",
                help="a key of the resource, to read the results of batches: exact usage of every call in them",
                required=False,
            ),
        ),
        setup=(
            "In the Azure portal open Microsoft Entra ID > App registrations > New registration.",
            "Under Certificates & secrets create a client secret; note tenant id and application (client) id.",
            "Open the subscription (or billing scope) > Access control (IAM) > Add role assignment.",
            "Assign 'Cost Management Reader' to the app registration.",
            "For exports assign 'Storage Blob Data Reader' on the export's container too.",
        ),
    )

    def auth(self, opening: Opening) -> Auth:
        settings = opening.settings
        if settings["source"] == "export":
            if not settings.get("export"):
                raise ConfigError("azure_openai with --source export needs --export: the blob address or a folder")
            if not settings["export"].startswith("https://") and not settings["export"].startswith("http://"):
                return NoAuth()
        elif not settings.get("scope", "").startswith("/"):
            raise ConfigError("azure_openai needs --scope, for example /subscriptions/<subscription id>")
        for name in ("tenant_id", "client_id"):
            if not settings.get(name):
                raise ConfigError(f"azure_openai needs --{name.replace('_', '-')}")
        secret = opening.secrets.get("client_secret")
        if secret is None:
            raise ConfigError("azure_openai needs --client-secret-env NAME (or --client-secret-file PATH)")
        is_export = settings["source"] == "export"
        audience = "https://storage.azure.com" if is_export else settings["audience"]
        return TokenAuth(partial(_token, opening, secret, audience), opening.clock, (secret,))

    def explain(self, response: ApiResponse) -> Verdict | None:
        code = text(maybe_obj(maybe_obj(response.document).get("error")).get("code"))
        if response.status == 401:
            what = "key" if response.request.permission == BATCH_PERMISSION else "token"
            return Verdict(State.AUTH_FAILED, False, f"Azure refused the {what} ({code}): {excerpt(response)}")
        need, said = response.request.permission, excerpt(response)
        if response.status == 404 and need == PERMISSION:
            return Verdict(
                State.PERMISSION_MISSING,
                False,
                f"Azure does not know the scope, or hides it ({code or 404}): check --scope; it needs {need}: {said}",
            )
        if response.status in (403, 404) and need:
            return Verdict(
                State.PERMISSION_MISSING, False, f"Azure refused ({code or response.status}); it needs {need}: {said}"
            )
        return None

    def streams(self, opening: Opening, api: Api) -> Sequence[Stream]:
        del api
        return self.readers(opening.settings)

    def readers(self, settings: Mapping[str, str]) -> Sequence[Stream]:
        meters = read_meters(Path(settings["meters"])) if settings.get("meters") else {}
        if settings["source"] == "export":
            place = settings["export"]
            is_remote = place.startswith(("https://", "http://"))
            return (
                ExportStream(
                    name="cost",
                    locate=azure_exports.BlobExports(place).locate
                    if is_remote
                    else partial(azure_exports.local_exports, Path(place)),
                    options=FormatOptions(provider=PROVIDER, meters=meters),
                    store_api=partial(azure_exports.blob_api, place) if is_remote else _same,
                    permission=azure_exports.PERMISSION,
                ),
            )
        query = _Query(
            scope=settings["scope"].rstrip("/"),
            cost_type=settings["cost_type"],
            cost_column=settings["cost_column"],
            categories=tuple(name.strip() for name in settings["meter_categories"].split(",") if name.strip()),
            meters=meters,
        )
        return (
            PagedStream(
                name="cost",
                kind=Kind.COST,
                policy=_QUERY_POLICY,
                permission=PERMISSION,
                grouped_by=_GROUPS,
                opening=query.opening,
                next_page=_next_page,
                lines=query.lines,
            ),
        )

    def observation_streams(self, opening: Opening, api: Api) -> Sequence[ObservationStream]:
        del api
        key, url = opening.secrets.get("api_key"), opening.settings.get("resource_url", "")
        if key is None:
            return ()
        if not url:
            raise ConfigError("azure_openai with --api-key-env needs --resource-url: where the batches are")
        return (OpenAIBatches(HeaderAuth("api-key", key), PROVIDER, url, permission=BATCH_PERMISSION),)

    def identify(self, opening: Opening, api: Api) -> Account | None:
        if opening.settings["source"] == "export":
            return Account(opening.settings["export"])
        if isinstance(api.auth, TokenAuth):
            return Account(f"{opening.settings['tenant_id']}{opening.settings['scope']}")
        return None


def _same(api: Api) -> Api:
    return api


def _token(opening: Opening, secret: Secret, audience: str) -> Token:
    """A token by client credentials. Raises `SyncError`."""
    settings = opening.settings
    login = Api(
        client=opening.client,
        base_url=settings["login_url"],
        auth=NoAuth(),
        budget=Budget(opening.clock, per_second=10, burst=10),
        breaker=Breaker(opening.clock),
        clock=opening.clock,
        redactor=Redactor((secret,)),
        name="Microsoft Entra",
        policy=opening.policy,
        explain=_explain_login,
    )
    response = login.send(
        ApiRequest(
            method="POST",
            path=f"/{quote(settings['tenant_id'])}/oauth2/v2.0/token",
            form={
                "grant_type": "client_credentials",
                "client_id": settings["client_id"],
                "client_secret": secret.reveal(),
                "scope": f"{audience.rstrip('/')}/.default",
            },
        )
    )
    document = obj(response.document, "Entra's token")
    token = text(document.get("access_token"))
    if not token:
        raise PermanentSyncError(State.AUTH_FAILED, "Microsoft Entra sent no access token")
    return Token(Secret(token), float(quantity(document.get("expires_in")) or 3600))


def _explain_login(response: ApiResponse) -> Verdict | None:
    document = maybe_obj(response.document)
    if response.status in (400, 401):
        said = text(document.get("error_description")) or text(document.get("error"))
        return Verdict(
            State.AUTH_FAILED,
            False,
            f"Microsoft Entra refused the client (check --tenant-id, --client-id and the secret's expiry): {said}",
        )
    return None


def _no_meters() -> dict[str, tuple[str, str]]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    """The daily query of one scope."""

    scope: str
    cost_type: str
    cost_column: str
    categories: tuple[str, ...]
    meters: Mapping[str, tuple[str, str]] = field(default_factory=_no_meters)

    def opening(self, window: Window) -> Iterator[ApiRequest]:
        last = window.until - timedelta(days=1)
        yield ApiRequest(
            method="POST",
            path=f"{self.scope}/providers/Microsoft.CostManagement/query",
            params=(("api-version", API_VERSION),),
            headers={"ClientType": "spanledger"},
            json={
                "type": self.cost_type,
                "timeframe": "Custom",
                "timePeriod": {"from": f"{window.since}T00:00:00+00:00", "to": f"{last}T23:59:59+00:00"},
                "dataset": {
                    "granularity": "Daily",
                    "aggregation": {
                        "totalCost": {"name": self.cost_column, "function": "Sum"},
                        "totalQuantity": {"name": "UsageQuantity", "function": "Sum"},
                    },
                    "grouping": [{"type": "Dimension", "name": name} for name in _GROUPS],
                    "filter": {
                        "dimensions": {"name": "MeterCategory", "operator": "In", "values": list(self.categories)}
                    },
                },
            },
            permission=PERMISSION,
        )

    def lines(self, page: Page, context: Context) -> Iterator[BillLine]:
        if page.document is None:
            return  # 204: no data
        properties = obj(obj(page.document, "Azure's answer").get("properties"), "properties")
        names = [text(column.get("name")) for column in objects(properties.get("columns"), "columns")]
        for row in rows(properties.get("rows", []), "rows"):
            yield self._line(named(names, rows(row, "row"), "row"), context)

    def _line(self, cells: Mapping[str, Any], context: Context) -> BillLine:
        cost = next(
            (cells[name] for name in (self.cost_column, "totalCost", "Cost", "PreTaxCost") if name in cells), None
        )
        currency = text(cells.get("Currency"))
        if cost is not None and not currency:
            raise ShapeError("Azure sent an amount without a currency")
        start = _usage_day(cells)
        name = text(cells.get("Meter"))
        meter = read_meter(name, self.meters)
        if not meter.token_class:
            context.notes["unclassified"] += 1
        units = quantity(cells.get("UsageQuantity", cells.get("totalQuantity")))
        # The query cannot ask for the unit of measure beside resource and meter: where the name does not say it, the
        # number of tokens is unknown.
        is_tokens = meter.token_class not in ("", "provisioned_hours") and meter.tokens_per_unit is not None
        resource = text(cells.get("ResourceId")).lower()
        used = units * (meter.tokens_per_unit or 1) if units is not None and is_tokens else units
        return BillLine(
            kind=Kind.COST,
            start=start,
            end=start + timedelta(days=1),
            provider=PROVIDER,
            model=meter.model,
            token_class=meter.token_class,
            project=_part(resource, "subscriptions"),
            workspace=resource.rpartition("/")[2],
            service_tier=meter.service_tier,
            is_batch=meter.is_batch,
            line_item=name,
            quantity=used,
            unit="" if units is None else "tokens" if is_tokens else "units",
            money=None if cost is None else Dollars.read(cost).money(currency),
            dimensions={
                key: value
                for key, value in (
                    ("resource", resource),
                    ("resource_group", _part(resource, "resourcegroups")),
                    ("deployment", meter.deployment),
                    ("context", meter.context),
                )
                if value
            },
        )


def _usage_day(cells: Mapping[str, Any]) -> datetime:
    said = next((text(cells[name]) for name in _DATE_COLUMNS if name in cells), "")
    digits = said[:10].replace("-", "")
    try:
        return datetime.strptime(digits, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        raise ShapeError(f"Azure sent a row without a usable date: {said!r}") from None


def _part(resource: str, name: str) -> str:
    """The segment after ``name`` in a resource id."""
    segments = resource.split("/")
    return segments[segments.index(name) + 1] if name in segments[:-1] else ""


def _next_page(page: Page) -> ApiRequest | None:
    if page.document is None:
        return None
    link = text(obj(obj(page.document, "Azure's answer").get("properties"), "properties").get("nextLink"))
    if not link:
        return None
    # POST with the same body, not GET.
    return ApiRequest(
        method="POST",
        path=link,
        headers=page.request.headers,
        json=page.request.json,
        permission=page.request.permission,
    )


def read_meters(path: Path) -> dict[str, tuple[str, str]]:
    """The user's own meter table: CSV with the columns meter, model, token_class. Raises `ConfigError`."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            found = {row["meter"].strip().lower(): (row["model"], row["token_class"]) for row in csv.DictReader(file)}
    except OSError as error:
        raise ConfigError(f"--meters {path} cannot be read: {error.strerror}") from None
    except (KeyError, AttributeError, UnicodeDecodeError):
        raise ConfigError(f"--meters {path}: the columns are meter, model, token_class") from None
    return found
