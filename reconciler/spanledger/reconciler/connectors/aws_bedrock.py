"""AWS Bedrock: Cost Explorer, or a Data Export (CUR 2.0 or FOCUS) in S3 or on disk.

Model spend stands under several services (``Amazon Bedrock``, ``Amazon Bedrock Service``, ``<model> (Amazon Bedrock
Edition)``): filtering on one of them loses the others. Cost Explorer charges $0.01 per request, throttles with HTTP
400, and says ``Estimated`` until a day is final; exports say it with an invoice id. No source knows the request.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote

from spanledger.reconciler.bill_line import BillLine, Charge, Kind
from spanledger.reconciler.connector import (
    Connector,
    ConnectorSpec,
    Opening,
    SecretSetting,
    Setting,
)
from spanledger.reconciler.connectors.bedrock_batches import BedrockBatches
from spanledger.reconciler.documents import Json, ShapeError, maybe_obj, named, obj, objects, quantity, rows, text
from spanledger.reconciler.errors import ConfigError, PermanentSyncError, State
from spanledger.reconciler.files.exports import Export, ExportFile, ExportStream, periods
from spanledger.reconciler.files.formats import FormatOptions
from spanledger.reconciler.files.units import scaled
from spanledger.reconciler.http.api import Api, Verdict
from spanledger.reconciler.http.auth import Auth, NoAuth
from spanledger.reconciler.http.aws import AwsAuth, aws_credentials
from spanledger.reconciler.http.messages import ApiRequest, ApiResponse
from spanledger.reconciler.meters.bedrock import UsageType, read_usage_type, service_model
from spanledger.reconciler.observations import ObservationStream
from spanledger.reconciler.streams import Context, Page, PagedStream, Policy, Stream
from spanledger.reconciler.units import Dollars
from spanledger.reconciler.windows import Window

PROVIDER: Final = "aws_bedrock"
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
PERMISSION: Final = "the IAM action ce:GetCostAndUsage (policy statement: Effect Allow, Action ce:Get*, Resource *)"
S3_PERMISSION: Final = "the IAM action s3:GetObject on the export's prefix"

_POLICY: Final = Policy(
    trailing_days=35,
    hourly=False,
    # Cost Explorer says Estimated itself; days without lines follow the close of the month.
    final_after=timedelta(days=34),
    expected_delay=timedelta(hours=48),
    history_days=365,
    deep_days=(3, 7, 10),
)

CREDIT_TYPES: Final[Mapping[str, Charge]] = {
    "Tax": Charge.TAX,
    "Credit": Charge.CREDIT,
    "Refund": Charge.CREDIT,
    "Enterprise Discount Program Discount": Charge.CREDIT,
    "Bundled Discount": Charge.CREDIT,
}
"""Record types that are asked for apart from usage."""

_USAGE_GROUPS: Final = ("USAGE_TYPE", "SERVICE")
_RECORD_GROUPS: Final = ("RECORD_TYPE", "SERVICE")
_THROTTLED: Final = frozenset(
    {"ThrottlingException", "LimitExceededException", "TooManyRequestsException", "RequestLimitExceeded"}
)
_REFUSED: Final = frozenset(
    {
        "UnrecognizedClientException",
        "ExpiredTokenException",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "InvalidClientTokenId",
        "InvalidAccessKeyId",
        "MissingAuthenticationToken",
    }
)
_SKEWED: Final = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_ELSEWHERE: Final = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed"})
_DENIED: Final = frozenset({"AccessDeniedException", "AccessDenied"})


class AwsBedrock(Connector):
    """AWS's cost data, Bedrock's part of it."""

    spec: ClassVar = ConnectorSpec(
        name="aws_bedrock",
        title="AWS",
        aliases=("bedrock", "aws"),
        base_url="https://ce.us-east-1.amazonaws.com",
        requests_per_second=1.0,
        settings=(
            Setting(
                name="source",
                help="Cost Explorer (ce), or the files of a Data Export: CUR 2.0 (cur) or FOCUS (focus)",
                default="ce",
                choices=("ce", "cur", "focus"),
            ),
            Setting(name="export", help="where the export is: s3://<bucket>/<prefix>/<export name>, or a folder"),
            Setting(name="access_key_id", help="the access key's id; without it the default AWS credentials are used"),
            Setting(name="profile", help="a profile of the AWS configuration files"),
            Setting(name="region", help="the export bucket's region", default="us-east-1"),
            Setting(name="s3_url", help="S3's address, for gateways; https://s3.<region>.amazonaws.com by default"),
            Setting(
                name="batches",
                help="comma-separated regions whose batch jobs are read, for the exact usage of every record in them",
            ),
            Setting(
                name="metric",
                help="which cost",
                default="UnblendedCost",
                choices=("UnblendedCost", "NetUnblendedCost", "AmortizedCost", "NetAmortizedCost"),
            ),
            Setting(
                name="marketplace_tokens",
                help="tokens per unit of Marketplace-billed usage types in Cost Explorer, which does not say",
                choices=("", "1", "1000", "1000000"),
            ),
        ),
        secrets=(
            SecretSetting(name="secret_access_key", help="the secret of --access-key-id", required=False),
            SecretSetting(name="session_token", help="of temporary credentials", required=False),
        ),
        setup=(
            "In the payer (management) account open IAM > Policies > Create policy.",
            "Allow ce:GetCostAndUsage (Cost Explorer), or s3:GetObject on the export's prefix (Data Exports).",
            "Attach it to a role (best: the role of the machine that runs spanledger) or to a user with an access key.",
            "Enable Cost Explorer once in Billing and Cost Management; data appears within 24 hours.",
        ),
    )

    def auth(self, opening: Opening) -> Auth:
        settings = opening.settings
        if settings["source"] != "ce":
            if not settings.get("export"):
                raise ConfigError(
                    "aws_bedrock with --source cur or focus needs --export: s3://bucket/prefix/name or a folder"
                )
            if not settings["export"].startswith("s3://"):
                return NoAuth()
        return _signed(opening)

    def observation_streams(self, opening: Opening, api: Api) -> Sequence[ObservationStream]:
        del api
        regions = tuple(name.strip() for name in opening.settings.get("batches", "").split(",") if name.strip())
        for region in regions:
            if not _REGION.fullmatch(region):
                raise ConfigError(f"--batches {region!r} is no region like us-east-1")
        return (BedrockBatches(_signed(opening), regions),) if regions else ()

    def explain(self, response: ApiResponse) -> Verdict | None:
        code, said = _error(response)
        if code in _THROTTLED:
            return Verdict(State.RATE_LIMITED, True, f"AWS is throttling us ({code}): {said}")
        if code in _SKEWED or "Signature expired" in said or "Signature not yet current" in said:
            return Verdict(State.AUTH_FAILED, False, f"AWS finds this machine's clock wrong ({code}): set it: {said}")
        if code in _REFUSED:
            return Verdict(State.AUTH_FAILED, False, f"AWS refused the credentials ({code}): {said}")
        if code in _ELSEWHERE:
            return Verdict(State.DEGRADED, False, f"the bucket is in another region ({code}): set --region: {said}")
        if code in _DENIED or response.status == 403:
            need = response.request.permission
            return Verdict(State.PERMISSION_MISSING, False, f"AWS denied access ({code}); it needs {need}: {said}")
        if code:
            return Verdict(State.DEGRADED, response.status >= 500, f"AWS answered {code}: {said}")
        return None

    def streams(self, opening: Opening, api: Api) -> Sequence[Stream]:
        del api
        return self.readers(opening.settings)

    def readers(self, settings: Mapping[str, str]) -> Sequence[Stream]:
        if settings["source"] == "ce":
            report = _Report(settings["metric"], Decimal(settings.get("marketplace_tokens") or 0))
            return (
                PagedStream(
                    name="cost",
                    kind=Kind.COST,
                    policy=_POLICY,
                    permission=PERMISSION,
                    grouped_by=_USAGE_GROUPS,
                    opening=report.opening,
                    next_page=_next_page,
                    lines=report.lines,
                ),
            )
        place = settings["export"]
        is_remote = place.startswith("s3://")
        return (
            ExportStream(
                name="cost",
                locate=partial(_s3_exports, place) if is_remote else partial(_local_exports, Path(place)),
                options=FormatOptions(format=settings["source"], provider=PROVIDER),
                store_api=partial(_s3_api, settings["region"], settings.get("s3_url", "")) if is_remote else _same,
                permission=S3_PERMISSION,
            ),
        )


def _signed(opening: Opening) -> AwsAuth:
    """Signs with the keys that were given, or with those of the environment. Raises `ConfigError`."""
    settings = opening.settings
    secret, token = opening.secrets.get("secret_access_key"), opening.secrets.get("session_token")
    if settings.get("access_key_id") and secret is None:
        raise ConfigError("aws_bedrock: --access-key-id needs --secret-access-key-env NAME")
    credentials = aws_credentials(settings.get("access_key_id", ""), secret, token, settings.get("profile", ""))
    return AwsAuth(credentials, "ce", "us-east-1", tuple(known for known in (secret, token) if known is not None))


def _error(response: ApiResponse) -> tuple[str, str]:
    """AWS's error code without its namespace, and the message; from JSON or from S3's XML."""
    document = maybe_obj(response.document)
    code = text(document.get("__type")) or response.headers.get("x-amzn-errortype", "")
    said = text(document.get("Message") or document.get("message"))
    if not code and response.body.lstrip().startswith(b"<"):
        body = response.body.decode("utf-8", "replace")
        code = body.partition("<Code>")[2].partition("</Code>")[0]
        said = body.partition("<Message>")[2].partition("</Message>")[0]
    return code.rpartition("#")[2].partition(":")[0], " ".join(said.split())[:300]


def _same(api: Api) -> Api:
    return api


@dataclass(frozen=True, slots=True)
class _Report:
    """Cost Explorer's daily report: usage by usage type and service, then taxes, credits and refunds."""

    metric: str
    marketplace_tokens: Decimal

    def opening(self, window: Window) -> Iterator[ApiRequest]:
        bedrock = {"Dimensions": {"Key": "SERVICE", "Values": ["Bedrock"], "MatchOptions": ["CONTAINS"]}}
        others = {"Dimensions": {"Key": "RECORD_TYPE", "Values": list(CREDIT_TYPES)}}
        yield self._request(window, _USAGE_GROUPS, {"And": [bedrock, {"Not": others}]})
        yield self._request(window, _RECORD_GROUPS, {"And": [bedrock, others]})

    def _request(self, window: Window, groups: Sequence[str], where: Json) -> ApiRequest:
        return _cost_explorer(
            {
                "TimePeriod": {"Start": window.since.isoformat(), "End": window.until.isoformat()},
                "Granularity": "DAILY",
                "Metrics": [self.metric, "UsageQuantity"],
                "GroupBy": [{"Type": "DIMENSION", "Key": key} for key in groups],
                "Filter": where,
            }
        )

    def lines(self, page: Page, context: Context) -> Iterator[BillLine]:
        document = obj(page.document, "AWS's answer")
        groups = tuple(text(group.get("Key")) for group in objects(page.request.json["GroupBy"], "GroupBy"))
        for result in objects(document.get("ResultsByTime", []), "ResultsByTime"):
            period = obj(result.get("TimePeriod"), "TimePeriod")
            start = _day(period.get("Start"))
            is_final = result.get("Estimated") is False
            for group in objects(result.get("Groups", []), "Groups"):
                values = [text(key) for key in rows(group.get("Keys"), "Keys")]
                keys = named(groups, values, "Keys")
                metrics = obj(group.get("Metrics"), "Metrics")
                yield self._line(start, keys, metrics, is_final, context)

    def _line(
        self, start: datetime, keys: Mapping[str, str], metrics: Json, is_final: bool, context: Context
    ) -> BillLine:
        said, service = keys.get("USAGE_TYPE", ""), keys.get("SERVICE", "")
        usage = read_usage_type(said) if said else UsageType()
        record = keys.get("RECORD_TYPE", "")
        charge = CREDIT_TYPES.get(record, Charge.USAGE)
        if charge is Charge.USAGE and not usage.token_class:
            context.notes["unclassified"] += 1
        cost = maybe_obj(metrics.get(self.metric))
        amount, currency = cost.get("Amount"), text(cost.get("Unit"))
        if amount is not None and not currency:
            raise ShapeError("AWS sent an amount without a currency")
        used, unit = (None, "") if record else self._quantity(usage, maybe_obj(metrics.get("UsageQuantity")))
        return BillLine(
            kind=Kind.COST,
            start=start,
            end=start + timedelta(days=1),
            provider=PROVIDER,
            model=usage.model or service_model(service),
            token_class=usage.token_class,
            service_tier=usage.service_tier,
            is_batch=usage.is_batch,
            line_item=said or record,
            quantity=used,
            unit=unit,
            money=None if amount is None else Dollars.read(amount).money(currency),
            charge=charge,
            is_final=is_final,
            dimensions={
                name: value
                for name, value in (("service", service), ("region", usage.region), ("scope", usage.scope))
                if value
            },
        )

    def _quantity(self, usage: UsageType, metric: Json) -> tuple[Decimal | None, str]:
        """Native meters count thousands of tokens; what a Marketplace unit is, Cost Explorer does not say."""
        units, said = quantity(metric.get("Amount")), text(metric.get("Unit"))
        if units is None:
            return None, ""
        known, unit = scaled(units, said)
        if unit == "tokens":
            return known, unit
        if not usage.token_class or usage.token_class in ("provisioned_hours", "guardrails"):
            return units, "units"
        if usage.is_marketplace:
            return (units * self.marketplace_tokens, "tokens") if self.marketplace_tokens else (None, "")
        return units * 1000, "tokens"


def _cost_explorer(body: Json) -> ApiRequest:
    return ApiRequest(
        method="POST",
        path="/",
        headers={
            "content-type": "application/x-amz-json-1.1",
            "x-amz-target": "AWSInsightsIndexService.GetCostAndUsage",
        },
        json=body,
        permission=PERMISSION,
    )


def _next_page(page: Page) -> ApiRequest | None:
    token = text(obj(page.document, "AWS's answer").get("NextPageToken"))
    return _cost_explorer({**page.request.json, "NextPageToken": token}) if token else None


def _day(said: object) -> datetime:
    try:
        day = date.fromisoformat(text(said)[:10])
    except ValueError:
        raise ShapeError(f"AWS sent a period without a usable start: {said!r}") from None
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _s3_api(region: str, url: str, api: Api) -> Api:
    assert isinstance(api.auth, AwsAuth)
    address = url or f"https://s3.{region}.amazonaws.com"
    return replace(api, base_url=address, auth=api.auth.for_service("s3", region))


def _s3_exports(place: str, api: Api, window: Window) -> Iterator[Export]:
    """Each billing period's files, exactly as its manifest names them: stale files may lie beside them."""
    bucket, _, prefix = place.removeprefix("s3://").strip("/").partition("/")
    name = prefix.rpartition("/")[2]
    for period in periods(window):
        key = f"{prefix}/metadata/BILLING_PERIOD={period}/{name}-Manifest.json"
        try:
            response = api.send(ApiRequest(path=f"/{bucket}/{quote(key)}", permission=S3_PERMISSION))
        except PermanentSyncError as error:
            if "NoSuchKey" in str(error):
                continue  # no export for this period: before it was set up, or the month has just begun
            raise
        files = [text(file) for file in rows(obj(response.document, key).get("dataFiles"), f"{key}: dataFiles")]
        yield Export(period=period, files=tuple(_s3_file(file) for file in files))


def _s3_file(address: str) -> ExportFile:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    if not address.startswith("s3://") or not key:
        raise ShapeError(f"the export's manifest names a file that is not in S3: {address!r}")
    return ExportFile(
        name=address, request=ApiRequest(path=f"/{bucket}/{quote(key)}", reads="file", permission=S3_PERMISSION)
    )


def _local_exports(root: Path, api: Api, window: Window) -> Iterator[Export]:
    """A copy of the export's folder: by manifest where there is one, else every file of the billing period."""
    del api
    if not root.is_dir():
        raise PermanentSyncError(State.DEGRADED, f"--export {root} is not a folder")
    for period in periods(window):
        manifests = sorted(root.glob(f"**/BILLING_PERIOD={period}/*-Manifest.json"))
        files: list[Path]
        if manifests:
            files = _named_files(manifests[-1], root, period)
        else:
            found = root.glob(f"**/BILLING_PERIOD={period}/**/*")
            files = sorted(path for path in found if path.is_file() and path.suffix in (".gz", ".csv", ".parquet"))
        if files:
            yield Export(period=period, files=tuple(ExportFile(name=str(path), path=path) for path in files))


def _named_files(manifest: Path, root: Path, period: str) -> list[Path]:
    try:
        document: Any = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ShapeError(f"{manifest} is no manifest: {error}") from None
    names = [text(file).rpartition("/")[2] for file in rows(obj(document, str(manifest)).get("dataFiles"), "dataFiles")]
    files: list[Path] = []
    for name in names:
        found = sorted(root.glob(f"**/BILLING_PERIOD={period}/**/{name}"))
        if not found:
            raise PermanentSyncError(State.DEGRADED, f"{manifest} names {name}, which is not there")
        files.append(found[0])
    return files
