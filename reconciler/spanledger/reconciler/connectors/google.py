"""Google: the Cloud Billing export in BigQuery, for Vertex AI and the Gemini API.

There is no other API with actual cost. Rows are summed by Google's billing day, which begins at midnight in Los
Angeles, and keep their invoice month: late usage falls into the next invoice. Credits are their own lines; they are
asked for apart, because unnesting them beside the cost would multiply it. Corrections are rows, never updates.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from importlib import import_module
from typing import Any, ClassVar, Final, cast

from spanledger.ledger.sql import sql_text
from spanledger.reconciler.bill_line import BillLine, Charge, Kind
from spanledger.reconciler.connector import (
    Account,
    Connector,
    ConnectorSpec,
    Opening,
    SecretSetting,
    Setting,
)
from spanledger.reconciler.connectors.gemini_batches import GeminiBatches
from spanledger.reconciler.documents import Json, ShapeError, load, maybe_obj, named, obj, objects, quantity, rows, text
from spanledger.reconciler.errors import ConfigError, PermanentSyncError, RetryableSyncError, State
from spanledger.reconciler.http.api import Api, Verdict, excerpt
from spanledger.reconciler.http.auth import Auth, HeaderAuth, NoAuth
from spanledger.reconciler.http.budget import Breaker, Budget
from spanledger.reconciler.http.messages import ApiRequest, ApiResponse
from spanledger.reconciler.http.tokens import Token, TokenAuth
from spanledger.reconciler.meters.google import Sku, read_sku
from spanledger.reconciler.observations import ObservationStream
from spanledger.reconciler.secrets.secret import Redactor, Secret
from spanledger.reconciler.streams import Context, Page, PagedStream, Policy, Stream
from spanledger.reconciler.units import Dollars
from spanledger.reconciler.windows import Window, midnight

ZONE: Final = "America/Los_Angeles"
SCOPE: Final = "https://www.googleapis.com/auth/bigquery"
PERMISSION: Final = "roles/bigquery.dataViewer on the dataset and roles/bigquery.jobUser on the job's project"
MAX_POLLS: Final = 60
POLL_MS: Final = 30_000

_POLICY: Final = Policy(
    trailing_days=45,
    hot_days=4,
    # The invoice month is complete on the third to fifth business day; rows are appended without any mark.
    final_after=timedelta(days=41),
    expected_delay=timedelta(hours=36),
    deep_days=(3, 7, 10),
    zone=ZONE,
)

_TABLE: Final = re.compile(r"[A-Za-z0-9_.:-]+")
_LABEL: Final = re.compile(r"[a-z0-9_-]{1,63}")
CHARGES: Final[Mapping[str, Charge]] = {
    "regular": Charge.USAGE,
    "tax": Charge.TAX,
    "adjustment": Charge.ADJUSTMENT,
    "rounding_error": Charge.ADJUSTMENT,
}
"""``cost_type`` → charge."""

_COUNTED: Final[Mapping[str, str]] = {"web_searches": "searches", "map_searches": "searches", "": "count"}
"""What a unit of ``count`` counts, where it is not tokens: by token class."""


class Google(Connector):
    """Google Cloud's billing export."""

    spec: ClassVar = ConnectorSpec(
        name="google",
        title="Google BigQuery",
        aliases=("vertex", "gemini", "google_vertex", "gcp"),
        base_url="https://bigquery.googleapis.com",
        own_hosts=("bigquery.googleapis.com",),
        settings=(
            Setting(
                name="table",
                required=True,
                help="the export's table: <project>.<dataset>.gcp_billing_export_v1_<ID> or ..._resource_v1_<ID>",
            ),
            Setting(name="job_project", help="project that runs the queries; the table's project by default"),
            Setting(name="location", help="the dataset's location", default="US"),
            Setting(
                name="services",
                help="comma-separated service names of model use; 'all' takes the whole invoice",
                default="Vertex AI,Gemini API,Generative Language API",
            ),
            Setting(name="labels", help="comma-separated label keys to keep apart (Vertex request labels)"),
            Setting(
                name="detailed", help="the table is the detailed export: keep resource names", default="off",
                choices=("off", "on"),
            ),
            Setting(name="max_bytes", help="most bytes that one query may bill", default="107374182400"),
            Setting(name="api_url", help="of the Gemini API, for batches", default="https://generativelanguage.googleapis.com"),
            Setting(name="token_url", help="where tokens come from, instead of the key's own token_uri"),
        ),
        secrets=(
            SecretSetting(name="service_account_key", help="a service account's JSON key (use --...-file)"),
            SecretSetting(
                name="api_key",
                help="a Gemini API key, to read the results of batches: exact usage of every call in them",
                required=False,
            ),
        ),
        setup=(
            "In Billing > Billing export enable 'Standard usage cost' (or 'Detailed ...') to a BigQuery dataset.",
            "Create a service account under IAM & Admin > Service accounts, and a JSON key for it.",
            "Grant it 'BigQuery Data Viewer' on the dataset and 'BigQuery Job User' on the project that runs queries.",
            "The export begins with the previous month and needs up to five days to catch up; nothing before exists.",
        ),
    )  # fmt: skip

    def auth(self, opening: Opening) -> Auth:
        if not _TABLE.fullmatch(opening.settings["table"]) or opening.settings["table"].count(".") < 2:
            raise ConfigError(f"--table {opening.settings['table']!r} must read project.dataset.table")
        key = opening.secrets["service_account_key"]
        try:
            info: Any = json.loads(key.reveal())
            private_key = Secret(str(info["private_key"]))
            _ = info["client_email"], info["token_uri"]
        except (ValueError, KeyError, TypeError):
            raise ConfigError("the service account key is not the JSON file that Google Cloud gives out") from None
        return TokenAuth(partial(_token, opening, key), opening.clock, (key, private_key))

    def explain(self, response: ApiResponse) -> Verdict | None:
        error = maybe_obj(maybe_obj(response.document).get("error"))
        reasons = [text(found.get("reason")) for found in objects(error.get("errors", []), "errors")]
        reason, said = "".join(reasons[:1]), excerpt(response)
        if response.status == 401:
            return Verdict(State.AUTH_FAILED, False, f"BigQuery refused the service account's token: {said}")
        if reason in ("rateLimitExceeded", "quotaExceeded", "jobRateLimitExceeded"):
            return Verdict(State.RATE_LIMITED, reason != "quotaExceeded", f"BigQuery's quota is used up: {said}")
        if reason == "accessDenied":
            return Verdict(State.PERMISSION_MISSING, False, f"BigQuery denied access; it needs {PERMISSION}: {said}")
        if reason == "notFound":
            return Verdict(State.DEGRADED, False, f"BigQuery does not find the table (or --location is wrong): {said}")
        if reason == "bytesBilledLimitExceeded":
            return Verdict(State.DEGRADED, False, f"the query would bill more than --max-bytes allows: {said}")
        if reason:
            return Verdict(State.DEGRADED, response.status >= 500, f"BigQuery refused the query ({reason}): {said}")
        return None

    def streams(self, opening: Opening, api: Api) -> Sequence[Stream]:
        del api
        return self.readers(opening.settings)

    def readers(self, settings: Mapping[str, str]) -> Sequence[Stream]:
        export = _export(settings)
        return (
            PagedStream(
                name="cost",
                kind=Kind.COST,
                policy=_POLICY,
                permission=PERMISSION,
                grouped_by=("project", "sku", "invoice_month", *export.labels),
                opening=export.opening,
                next_page=export.next_page,
                lines=export.lines,
            ),
        )

    def observation_streams(self, opening: Opening, api: Api) -> Sequence[ObservationStream]:
        del api
        key = opening.secrets.get("api_key")
        return () if key is None else (GeminiBatches(HeaderAuth("x-goog-api-key", key), opening.settings["api_url"]),)

    def identify(self, opening: Opening, api: Api) -> Account | None:
        del api
        return Account(opening.settings["table"])


def _export(settings: Mapping[str, str]) -> _Export:
    labels = tuple(name.strip() for name in settings.get("labels", "").split(",") if name.strip())
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise ConfigError(f"--labels {label!r} is no label key")
    services = tuple(name.strip() for name in settings["services"].split(",") if name.strip())
    return _Export(
        table=settings["table"],
        project=settings.get("job_project") or settings["table"].partition(".")[0],
        location=settings["location"],
        services=() if services == ("all",) else services,
        labels=labels,
        detailed=settings["detailed"] == "on",
        max_bytes=settings["max_bytes"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Export:
    """The queries on one export table, and how their rows are read."""

    table: str
    project: str
    location: str
    services: tuple[str, ...]
    labels: tuple[str, ...]
    detailed: bool
    max_bytes: str

    def opening(self, window: Window) -> Iterator[ApiRequest]:
        resource = "resource.global_name" if self.detailed else "CAST(NULL AS STRING)"
        for name in ("google_cost", "google_credits"):
            query = sql_text("spanledger.reconciler.connectors.sql", name)
            # The table's name was checked against a pattern; values travel as parameters.
            yield self._query(query.replace("{{table}}", self.table).replace("{{resource}}", resource), window)

    def _query(self, query: str, window: Window) -> ApiRequest:
        def moment(name: str, value: datetime) -> Json:
            return {
                "name": name,
                "parameterType": {"type": "TIMESTAMP"},
                "parameterValue": {"value": value.strftime("%Y-%m-%d %H:%M:%S+00:00")},
            }

        def texts(name: str, values: Sequence[str]) -> Json:
            return {
                "name": name,
                "parameterType": {"type": "ARRAY", "arrayType": {"type": "STRING"}},
                "parameterValue": {"arrayValues": [{"value": value} for value in values]},
            }

        return ApiRequest(
            method="POST",
            path=f"/bigquery/v2/projects/{self.project}/queries",
            json={
                "query": query,
                "useLegacySql": False,
                "location": self.location,
                "timeoutMs": POLL_MS,
                "maxResults": 10_000,
                "parameterMode": "NAMED",
                "queryParameters": [
                    moment("since", window.start),
                    moment("until", window.end),
                    texts("services", self.services),
                    texts("labels", self.labels),
                ],
                "maximumBytesBilled": self.max_bytes,
                "formatOptions": {"useInt64Timestamp": True},
            },
            permission=PERMISSION,
        )

    def next_page(self, page: Page) -> ApiRequest | None:
        document = obj(page.document, "BigQuery's answer")
        job = maybe_obj(document.get("jobReference"))
        job_id = text(job.get("jobId"))
        path = f"/bigquery/v2/projects/{self.project}/queries/{job_id}"
        fixed = (("location", text(job.get("location")) or self.location), ("timeoutMs", str(POLL_MS)))
        if not document.get("jobComplete"):
            if page.request.turn >= MAX_POLLS or not job_id:
                raise RetryableSyncError(State.DEGRADED, f"BigQuery's job {job_id} does not end")
            return ApiRequest(path=path, params=fixed, turn=page.request.turn + 1, permission=PERMISSION)
        token = text(document.get("pageToken"))
        if not token:
            return None
        params = (*fixed, ("maxResults", "10000"), ("pageToken", token))
        return ApiRequest(path=path, params=params, permission=PERMISSION)

    def lines(self, page: Page, context: Context) -> Iterator[BillLine]:
        document = obj(page.document, "BigQuery's answer")
        if not document.get("jobComplete"):
            return
        fields = objects(maybe_obj(document.get("schema")).get("fields", []), "schema")
        names = [text(found.get("name")) for found in fields]
        known: dict[str, Sku] = {}
        for row in objects(document.get("rows") or [], "rows"):
            values = [maybe_obj(value).get("v") for value in rows(row.get("f"), "row")]
            yield self._line(named(names, values, "row"), known, context)

    def _line(self, cells: Mapping[str, Any], known: dict[str, Sku], context: Context) -> BillLine:
        description, service = text(cells.get("sku")), text(cells.get("service"))
        sku = known.get(description)
        if sku is None:
            sku = known[description] = read_sku(description)
        credit, cost_type = text(cells.get("credit")), text(cells.get("cost_type"))
        charge = Charge.CREDIT if credit else CHARGES.get(cost_type, Charge.USAGE)
        if cost_type and cost_type not in CHARGES:
            context.notes["unknown_cost_type"] += 1
        if charge is Charge.USAGE and not sku.token_class:
            context.notes["unclassified"] += 1
        amount, currency = cells.get("amount"), text(cells.get("currency"))
        if amount is not None and not currency:
            raise ShapeError("Google sent an amount without a currency")
        start, end = _pacific_day(cells.get("day"))
        unit = text(cells.get("unit"))
        used = quantity(cells.get("used")) if charge is Charge.USAGE else None
        return BillLine(
            kind=Kind.COST,
            start=start,
            end=end,
            provider="google"
            if "gemini api" in service.lower() or "generative" in service.lower()
            else "google_vertex",
            model=sku.model,
            token_class=sku.token_class if charge is not Charge.TAX else "",
            project=text(cells.get("project")),
            service_tier=sku.service_tier,
            is_batch=sku.is_batch,
            line_item=credit or description,
            quantity=used,
            unit="" if used is None else _COUNTED.get(sku.token_class, "tokens") if unit == "count" else unit,
            money=None if amount is None else Dollars.read(text(amount)).money(currency),
            charge=charge,
            dimensions={
                name: value
                for name, value in (
                    ("invoice_month", text(cells.get("invoice_month"))),
                    ("service", service),
                    ("sku_id", text(cells.get("sku_id"))),
                    ("sku", description if credit else ""),
                    ("region", text(cells.get("region"))),
                    ("context", sku.context),
                    ("resource", text(cells.get("resource"))),
                    ("cost_type", cost_type if cost_type != "regular" else ""),
                    *_labels(cells.get("labels")),
                )
                if value
            },
        )


def _labels(said: object) -> Iterator[tuple[str, str]]:
    try:
        labels = load(text(said) or "[]")
    except ValueError:
        raise ShapeError(f"BigQuery sent labels that are not JSON: {text(said)[:60]!r}") from None
    for label in objects(labels, "labels"):
        yield f"label.{text(label.get('key'))}", text(label.get("value"))


def _pacific_day(said: object) -> tuple[datetime, datetime]:
    try:
        day = date.fromisoformat(text(said))
    except ValueError:
        raise ShapeError(f"BigQuery sent a row without a usable day: {said!r}") from None
    return midnight(day, ZONE).astimezone(UTC), midnight(day + timedelta(days=1), ZONE).astimezone(UTC)


def _token(opening: Opening, key: Secret) -> Token:
    """A token by the service account's signed JWT. Raises `SyncError`."""
    accounts = cast("Any", import_module("google.oauth2.service_account"))
    exceptions = cast("Any", import_module("google.auth.exceptions"))
    info = json.loads(key.reveal())
    if opening.settings.get("token_url"):
        info["token_uri"] = opening.settings["token_url"]
    login = Api(
        client=opening.client,
        base_url=str(info["token_uri"]),
        auth=NoAuth(),
        budget=Budget(opening.clock, per_second=10, burst=10),
        breaker=Breaker(opening.clock),
        clock=opening.clock,
        redactor=Redactor((key, Secret(str(info["private_key"])))),
        name="Google's token endpoint",
        policy=opening.policy,
        explain=_explain_login,
    )
    try:
        credentials = accounts.Credentials.from_service_account_info(info, scopes=[SCOPE])
        credentials.refresh(partial(_google_request, login))
    except (ValueError, exceptions.GoogleAuthError) as error:
        raise PermanentSyncError(State.AUTH_FAILED, f"Google refused the service account key: {error}") from None
    lifetime = (credentials.expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
    return Token(Secret(str(credentials.token)), lifetime)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What google-auth expects of a transport's response."""

    status: int
    headers: Mapping[str, str]
    data: bytes


def _google_request(
    login: Api,
    url: str,
    method: str = "GET",
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float | None = None,
    **others: Any,
) -> _Answer:
    """google-auth's transport over our own HTTP seam."""
    del timeout, others
    raw = body.encode() if isinstance(body, str) else body
    response = login.send(ApiRequest(method=method, path=url, content=raw, headers=dict(headers or {})))
    return _Answer(response.status, response.headers, response.body)


def _explain_login(response: ApiResponse) -> Verdict | None:
    document = maybe_obj(response.document)
    if response.status in (400, 401):
        said = text(document.get("error_description")) or text(document.get("error"))
        return Verdict(State.AUTH_FAILED, False, f"Google refused the service account key: {said}")
    return None
