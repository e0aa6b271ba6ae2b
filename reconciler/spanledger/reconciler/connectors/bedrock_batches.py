"""Bedrock's batch inference: the records that its jobs write to S3, with the usage of each model's own answer.

Jobs are listed in each region (botocore, ``bedrock`` 2023-04-20, ListModelInvocationJobs); a job writes
``<output>/<job id>/<input file>.jsonl.out`` with ``{"recordId", "modelInput", "modelOutput" | "error"}`` by line.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Final
from urllib.parse import quote

from spanledger.reconciler.connectors.batch_usage import bedrock_usage
from spanledger.reconciler.connectors.result_files import results
from spanledger.reconciler.documents import (
    Json,
    ShapeError,
    maybe_obj,
    obj,
    objects,
    quantity,
    rfc3339,
    text,
    unix_time,
)
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.http.aws import AwsAuth
from spanledger.reconciler.http.messages import ApiRequest
from spanledger.reconciler.observations import Unit, Unsettled
from spanledger.reconciler.streams import Page, follow
from spanledger.semconv.observation import Observation, Role

PERMISSION: Final = (
    "the IAM actions bedrock:ListModelInvocationJobs, and s3:ListBucket and s3:GetObject where the jobs write"
)
ENDED: Final = frozenset({"Completed", "PartiallyCompleted", "Stopped", "Expired"})
"""Jobs that ended early still charge for the records that were answered."""
_LIST: Final = (("maxResults", "100"), ("sortBy", "CreationTime"), ("sortOrder", "Descending"))
_SUFFIX: Final = ".jsonl.out"


@dataclass(frozen=True, slots=True)
class BedrockBatches:
    """Records of ended batch jobs. See `ObservationStream`.

    Attributes:
        auth: of the connection, for any service.
        regions: where jobs are looked for.
    """

    auth: AwsAuth
    regions: tuple[str, ...]
    name: str = "batches"
    permission: str = PERMISSION

    def check(self, api: Api) -> None:
        for region in self.regions:
            request = ApiRequest(path="/model-invocation-jobs", params=(("maxResults", "1"),), permission=PERMISSION)
            self._bedrock(api, region).send(request)

    def units(self, api: Api, since: datetime, unsettled: Unsettled) -> Iterator[Unit]:
        del unsettled
        opening = ApiRequest(path="/model-invocation-jobs", params=_LIST, permission=PERMISSION)
        for region in self.regions:
            for page in follow(self._bedrock(api, region), opening, _next_jobs):
                for job in objects(obj(page.document, "Bedrock's jobs").get("invocationJobSummaries") or [], "jobs"):
                    place = maybe_obj(maybe_obj(job.get("outputDataConfig")).get("s3OutputDataConfig"))
                    submitted = _time(job.get("submitTime"), "submitTime")
                    if submitted < since or text(job.get("status")) not in ENDED or not place.get("s3Uri"):
                        continue
                    ended = job.get("endTime") or job.get("lastModifiedTime")
                    model = text(job.get("modelId")).rpartition("/")[2]
                    yield Unit(
                        f"{region} {model} {text(job.get('jobArn'))} {text(place['s3Uri'])}",
                        _time(ended, "endTime") if ended else submitted,
                    )

    def observations(self, api: Api, unit: Unit) -> Iterator[Observation]:
        region, model, arn, place = unit.id.split(" ", 3)
        job = arn.rpartition("/")[2]
        bucket, _, folder = place.removeprefix("s3://").partition("/")
        store = replace(
            api, auth=self.auth.for_service("s3", region), base_url=f"https://s3.{region}.amazonaws.com", own_hosts=()
        )
        prefix = "/".join(part for part in (folder.strip("/"), job) if part)
        opening = _keys(bucket, f"{prefix}/")
        for page in follow(store, opening, partial(_next_keys, bucket, f"{prefix}/")):
            for key in _texts(page, "Key"):
                if key.endswith(_SUFFIX):
                    request = ApiRequest(path=f"/{bucket}/{quote(key)}", reads="file", permission=PERMISSION)
                    for record in results(store, request):
                        yield _observation(record, model, job, unit.ended_at)

    def _bedrock(self, api: Api, region: str) -> Api:
        auth, url = self.auth.for_service("bedrock", region), f"https://bedrock.{region}.amazonaws.com"
        return replace(api, auth=auth, base_url=url, own_hosts=())


def _next_jobs(page: Page) -> ApiRequest | None:
    token = text(obj(page.document, "Bedrock's jobs").get("nextToken"))
    return replace(page.request, params=(*_LIST, ("nextToken", token))) if token else None


def _keys(bucket: str, prefix: str, token: str = "") -> ApiRequest:
    """The next thousand names below a prefix, or those after a token."""
    # Written out, because a signature holds %20 where forms have a plus sign.
    more = f"&continuation-token={quote(token, safe='')}" if token else ""
    path = f"/{bucket}?list-type=2&prefix={quote(prefix, safe='')}{more}"
    return ApiRequest(path=path, reads="bytes", permission=PERMISSION)


def _next_keys(bucket: str, prefix: str, page: Page) -> ApiRequest | None:
    token = "".join(_texts(page, "NextContinuationToken"))
    return _keys(bucket, prefix, token) if token else None


def _texts(page: Page, name: str) -> Iterator[str]:
    """What elements of a name hold, in S3's list of objects."""
    try:
        document = ElementTree.fromstring(page.body)  # noqa: S314 - from S3 itself
    except ElementTree.ParseError as error:
        raise ShapeError(f"S3's list of objects is not XML: {error}") from None
    for element in document.iter():
        if element.tag.rpartition("}")[2] == name:
            yield element.text or ""


def _time(value: object, where: str) -> datetime:
    """REST-JSON sends times as RFC 3339 text here; Unix seconds are taken, too."""
    return rfc3339(value, where) if isinstance(value, str) else unix_time(value, where)


def _observation(record: Json, model: str, job: str, ended_at: datetime) -> Observation:
    output, error = maybe_obj(record.get("modelOutput")), maybe_obj(record.get("error"))
    moment = int(ended_at.timestamp() * 1_000_000_000)
    status = quantity(error.get("errorCode"))
    return Observation(
        signal="batch",
        dialect="aws_bedrock.batch",
        scope_name="spanledger.reconciler",
        role=Role.LEAF,
        started_ns=moment,
        ended_ns=moment,
        provider="aws_bedrock",
        operation="embeddings" if "embed" in model else "chat",
        request_model=model,
        response_model=text(output.get("model")) or model,
        response_id=text(output.get("id")),
        request_id=f"{job}/{text(record.get('recordId'))}",
        usage=bedrock_usage(output),
        status="error" if error or not output else "ok",
        error_type=text(error.get("errorMessage"))[:60],
        http_status=None if status is None else int(status),
        is_stream=False,
        is_batch=True,
        batch_id=job,
    )
