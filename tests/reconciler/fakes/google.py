"""Google's token endpoint and BigQuery's REST API over a tiny billing export."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from fakes.base import Answer, Fake, Question, answer

TABLE = "proj.billing.gcp_billing_export_v1_01ABCD_234567_89EFGH"
COLUMNS = (
    "day", "invoice_month", "service", "sku_id", "sku", "project", "region", "currency", "cost_type", "labels",
    "resource", "unit", "credit", "amount", "used",
)  # fmt: skip


@cache
def service_account_key() -> rsa.RSAPrivateKey:
    """One for all fakes: making one takes longer than a test."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass
class Billed:
    """One exported row, hourly; ``credits`` = [(type, name, amount)]."""

    at: datetime
    sku: str
    cost: str
    used: str = "0"
    unit: str = "count"
    credits: list[tuple[str, str, str]] = field(default_factory=list)
    month: str = "202611"
    service: str = "Vertex AI"
    project: str = "proj"
    currency: str = "USD"
    cost_type: str = "regular"
    labels: dict[str, str] = field(default_factory=dict)
    resource: str | None = None
    """Of the detailed table."""
    day: str = ""
    """The Pacific day, as BigQuery would compute it."""


class FakeGoogle(Fake):
    def __init__(self) -> None:
        super().__init__()
        self.private = service_account_key()
        pem = self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.key_file = json.dumps(
            {
                "type": "service_account",
                "client_email": "sa@proj.iam.gserviceaccount.com",
                "private_key_id": "kid1",
                "private_key": pem.decode(),
                "token_uri": "https://oauth2.googleapis.com/token",
            }
        )
        self.rows: list[Billed] = []
        self.slow = 0
        """So many polls until a job is complete."""
        self.page_rows = 1000
        self.location = "US"
        self.jobs: dict[str, list[list[Any]]] = {}

    def reply(self, question: Question) -> Answer:
        if question.path == "/token":
            return self._token(question)
        if question.headers.get("authorization") != "Bearer ya29.fake":
            return failure(401, "UNAUTHENTICATED", "authError", "Request had invalid authentication credentials.")
        base = "/bigquery/v2/projects/proj/queries"
        if question.path == base and question.method == "POST":
            return self._query(question.json())
        if question.path.startswith(f"{base}/") and question.method == "GET":
            if question.one("location") != self.location:
                return failure(404, "NOT_FOUND", "notFound", "Not found: Job")
            return self._results(question.path.rpartition("/")[2], question.one("pageToken"))
        return failure(404, "NOT_FOUND", "notFound", "Not found")

    def _token(self, question: Question) -> Answer:
        form = question.form()
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        header, claims, signature = form["assertion"].split(".")
        decoded = json.loads(_decode(header)), json.loads(_decode(claims))
        self.private.public_key().verify(
            _decode(signature), f"{header}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256()
        )
        if decoded[0]["alg"] != "RS256" or decoded[1]["aud"] != "https://oauth2.googleapis.com/token":
            return answer({"error": "invalid_grant", "error_description": "Invalid JWT: aud"}, 400)
        return answer({"access_token": "ya29.fake", "expires_in": 3599, "token_type": "Bearer"})

    def _query(self, body: dict[str, Any]) -> Answer:
        assert body["useLegacySql"] is False
        if body["location"] != self.location:
            return failure(404, "NOT_FOUND", "notFound", f"Not found: Dataset {TABLE} was not found in location")
        assert f"`{TABLE}`" in body["query"]
        given = {found["name"]: found["parameterValue"] for found in body["queryParameters"]}
        since, until = (datetime.fromisoformat(given[name]["value"]) for name in ("since", "until"))
        services = [value["value"] for value in given["services"].get("arrayValues", ())]
        labels = [value["value"] for value in given["labels"].get("arrayValues", ())]
        rows = [row for row in self.rows if since <= row.at < until and (not services or row.service in services)]
        cells: list[list[Any]] = []
        for row in rows:
            kept = json.dumps([{"key": key, "value": row.labels[key]} for key in sorted(labels) if key in row.labels])
            place = [
                row.day or row.at.date().isoformat(), row.month, row.service, "SKU-1", row.sku, row.project,
                "us-central1", row.currency, row.cost_type, kept,
                row.resource if "resource.global_name AS resource" in body["query"] else None,
            ]  # fmt: skip
            if "UNNEST(credits)" in body["query"]:
                cells += [[*place, None, f"{kind}: {name}", amount, None] for kind, name, amount in row.credits]
            else:
                cells.append([*place, row.unit, None, row.cost, row.used])
        job = f"job_{len(self.jobs)}"
        self.jobs[job] = cells
        return self._results(job, "")

    def _results(self, job: str, token: str) -> Answer:
        reference = {"projectId": "proj", "jobId": job, "location": self.location}
        if self.slow:
            self.slow -= 1
            return answer({"kind": "bigquery#queryResponse", "jobReference": reference, "jobComplete": False})
        rows, offset = self.jobs[job], int(token or 0)
        page = rows[offset : offset + self.page_rows]
        document: dict[str, Any] = {
            "kind": "bigquery#queryResponse",
            "schema": {"fields": [{"name": name, "type": "STRING", "mode": "NULLABLE"} for name in COLUMNS]},
            "jobReference": reference,
            "totalRows": str(len(rows)),
            "rows": [{"f": [{"v": value} for value in row]} for row in page],
            "jobComplete": True,
        }
        if offset + self.page_rows < len(rows):
            document["pageToken"] = str(offset + self.page_rows)
        if not page:
            del document["rows"]
        return answer(document)


def failure(code: int, status: str, reason: str, message: str) -> Answer:
    detail = {"message": message, "domain": "global", "reason": reason}
    return answer({"error": {"code": code, "message": message, "errors": [detail], "status": status}}, code)


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
