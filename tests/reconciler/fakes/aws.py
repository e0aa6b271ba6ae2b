"""AWS Cost Explorer and S3, with their signatures checked."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any
from urllib.parse import quote, unquote

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from fakes.base import Answer, Fake, Question, answer, days

KEY_ID, SECRET = "AKIAFAKE", "aws-secret-fake-key"


def failure(code: str, message: str, status: int = 400) -> Answer:
    return answer({"__type": f"com.amazonaws.costexplorer#{code}", "Message": message}, status)


class FakeCostExplorer(Fake):
    """``groups[day]`` = [(record type, usage type, service, amount, quantity, unit)]; others than ``final`` days are
    estimated."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[date, list[tuple[str, str, str, str, str, str]]] = {}
        self.final: set[date] = set()
        self.page_days = 1000

    def reply(self, question: Question) -> Answer:
        signed = question.headers.get("authorization", "")
        if f"Credential={KEY_ID}/" not in signed or "/us-east-1/ce/aws4_request" not in signed:
            return failure("UnrecognizedClientException", "The security token included in the request is invalid.")
        if not _signature_fits(question, SigV4Auth, "ce"):
            return failure("InvalidSignatureException", "The request signature we calculated does not match")
        assert question.headers["x-amz-target"] == "AWSInsightsIndexService.GetCostAndUsage"
        body = question.json()
        assert len(body["GroupBy"]) <= 2
        keys = [group["Key"] for group in body["GroupBy"]]
        since = date.fromisoformat(body["TimePeriod"]["Start"])
        until = date.fromisoformat(body["TimePeriod"]["End"])
        wanted = days(since, until)
        offset = int(body.get("NextPageToken", "0"))
        results = [self._day(day, keys, body) for day in wanted[offset : offset + self.page_days]]
        document: dict[str, Any] = {
            "GroupDefinitions": body["GroupBy"],
            "ResultsByTime": results,
            "DimensionValueAttributes": [],
        }
        if offset + self.page_days < len(wanted):
            document["NextPageToken"] = str(offset + self.page_days)
        return answer(document)

    def _day(self, day: date, keys: list[str], body: dict[str, Any]) -> dict[str, Any]:
        apart = "RECORD_TYPE" in keys
        special = {"Tax", "Credit", "Refund"}
        groups = [
            {
                "Keys": [{"RECORD_TYPE": record, "USAGE_TYPE": usage, "SERVICE": service}[key] for key in keys],
                "Metrics": {
                    body["Metrics"][0]: {"Amount": amount, "Unit": "USD"},
                    "UsageQuantity": {"Amount": quantity, "Unit": unit},
                },
            }
            for record, usage, service, amount, quantity, unit in self.groups.get(day, ())
            if (record in special) == apart and "Bedrock" in service
        ]
        return {
            "TimePeriod": {"Start": day.isoformat(), "End": (day + timedelta(days=1)).isoformat()},
            "Total": {} if groups else {body["Metrics"][0]: {"Amount": "0", "Unit": "USD"}},
            "Groups": groups,
            "Estimated": day not in self.final,
        }


class FakeBedrock(Fake):
    """Batch jobs of one region, newest first, a page each."""

    def __init__(self, region: str = "us-east-1") -> None:
        super().__init__()
        self.region = region
        self.jobs: list[dict[str, Any]] = []

    def reply(self, question: Question) -> Answer:
        if not _signature_fits(question, SigV4Auth, "bedrock", self.region):
            return answer({"message": "no"}, 403, x_amzn_errortype="InvalidSignatureException:http://x/")
        assert question.path == "/model-invocation-jobs"
        offset = int(question.one("nextToken", "0"))
        page: dict[str, Any] = {"invocationJobSummaries": self.jobs[offset : offset + 1]}
        if offset + 1 < len(self.jobs):
            page["nextToken"] = str(offset + 1)
        return answer(page)


class FakeS3(Fake):
    """``objects["bucket/key"]``; lists have a page for each key."""

    def __init__(self, region: str = "us-east-1") -> None:
        super().__init__()
        self.region = region
        self.objects: dict[str, bytes] = {}

    def reply(self, question: Question) -> Answer:
        if not _signature_fits(question, S3SigV4Auth, "s3", self.region):
            return Answer(403, b"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>")
        name = unquote(question.path).lstrip("/")
        if question.one("list-type") == "2":
            keys = sorted(key.partition("/")[2] for key in self.objects if key.startswith(f"{name}/"))
            keys = [key for key in keys if key.startswith(question.one("prefix"))]
            offset = int(question.one("continuation-token", "0"))
            found = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys[offset : offset + 1])
            more = f"<NextContinuationToken>{offset + 1}</NextContinuationToken>" if offset + 1 < len(keys) else ""
            space = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
            return Answer(200, f"<ListBucketResult {space}>{found}{more}</ListBucketResult>".encode())
        if name not in self.objects:
            said = "The specified key does not exist."
            return Answer(404, f"<Error><Code>NoSuchKey</Code><Message>{said}</Message></Error>".encode())
        return Answer(200, self.objects[name])


def _signature_fits(question: Question, signer: Any, service: str, region: str = "us-east-1") -> bool:
    """Sign the same request again with the secret that AWS knows, at the time that the caller named."""
    given = question.headers.get("authorization", "")
    if "Signature=" not in given:
        return False
    names = given.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    asked = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in question.params)
    request = AWSRequest(
        method=question.method,
        url=f"https://{question.host}{quote(question.path)}{'?' if asked else ''}{asked}",
        data=question.body,
        headers={name: question.headers[name] for name in names if name != "host"},
    )
    request.context["timestamp"] = question.headers["x-amz-date"]
    verifier = signer(Credentials(KEY_ID, SECRET), service, region)
    canonical = verifier.canonical_request(request)
    text = verifier.string_to_sign(request, canonical)
    return given.endswith(f"Signature={verifier.signature(text, request)}")
