"""Entra's token endpoint, Cost Management's query API, and a storage container with exports."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from urllib.parse import unquote

from fakes.base import Answer, Fake, Question, answer, days

TENANT = "11111111-2222-3333-4444-555555555555"
SUBSCRIPTION = "/subscriptions/aaaaaaaa-0000-0000-0000-000000000000"


class FakeEntra(Fake):
    def __init__(self, secret: str = "client-secret-fake") -> None:
        super().__init__()
        self.secret = secret
        self.issued: list[str] = []
        self.valid: set[str] = set()
        self.expires_in = 3599

    def reply(self, question: Question) -> Answer:
        assert question.path == f"/{TENANT}/oauth2/v2.0/token"
        form = question.form()
        assert form["grant_type"] == "client_credentials"
        if form["client_secret"] != self.secret:
            said = "AADSTS7000215: Invalid client secret provided."
            return answer({"error": "invalid_client", "error_description": said, "error_codes": [7000215]}, 401)
        token = f"eyJ-token-{len(self.issued)}-{form['scope'].split('/')[2]}"
        self.issued.append(token)
        self.valid = {token}
        return answer({"token_type": "Bearer", "expires_in": self.expires_in, "access_token": token})


class FakeCostManagement(Fake):
    """``rows[day]`` = [(cost, quantity, resource id, meter, currency)]."""

    def __init__(self, entra: FakeEntra) -> None:
        super().__init__()
        self.entra = entra
        self.rows: dict[date, list[tuple[Any, Any, str, str, str]]] = {}
        self.page_rows = 1000
        self.order = ["Cost", "UsageQuantity", "UsageDate", "ResourceId", "Meter", "Currency"]
        self.address = "https://management.azure.com"

    def reply(self, question: Question) -> Answer:
        token = question.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.entra.valid:
            return answer({"error": {"code": "InvalidAuthenticationToken", "message": "The token is invalid"}}, 401)
        if question.method != "POST" or not question.body:
            return answer({"error": {"code": "BadRequest", "message": "POST with the query (Request ID: 1)"}}, 400)
        if not question.path.lower().startswith(SUBSCRIPTION):
            return answer({"error": {"code": "RBACAccessDenied", "message": "The client does not have access"}}, 403)
        body = question.json()
        assert len(body["dataset"]["aggregation"]) <= 2
        assert len(body["dataset"]["grouping"]) <= 2
        since = datetime.fromisoformat(body["timePeriod"]["from"]).date()
        last = datetime.fromisoformat(body["timePeriod"]["to"]).date()
        found = [
            dict(zip(("Cost", "UsageQuantity", "ResourceId", "Meter", "Currency"), row, strict=True))
            | {"UsageDate": int(f"{day:%Y%m%d}")}
            for day in [*days(since, last), last]
            for row in self.rows.get(day, ())
        ]
        if not found:
            return Answer(204)
        offset = int(question.one("$skiptoken") or 0)
        page = found[offset : offset + self.page_rows]
        more = offset + self.page_rows < len(found)
        link = f"{self.address}{question.path}?api-version=2025-03-01&$skiptoken={offset + self.page_rows}"
        kinds = {"Cost": "Number", "UsageQuantity": "Number", "UsageDate": "Number"}
        return answer(
            {
                "id": "q",
                "name": "q",
                "type": "Microsoft.CostManagement/Query",
                "properties": {
                    "nextLink": link if more else None,
                    "columns": [{"name": name, "type": kinds.get(name, "String")} for name in self.order],
                    "rows": [[row[name] for name in self.order] for row in page],
                },
            }
        )


class FakeBlobs(Fake):
    """A storage account; ``blobs[name]`` in one container."""

    def __init__(self, entra: FakeEntra, container: str = "costs") -> None:
        super().__init__()
        self.entra = entra
        self.container = container
        self.blobs: dict[str, bytes] = {}
        self.page = 2

    def reply(self, question: Question) -> Answer:
        token = question.headers.get("authorization", "").removeprefix("Bearer ")
        if token not in self.entra.valid or "storage" not in token:
            return Answer(403, b"<Error><Code>AuthorizationPermissionMismatch</Code></Error>")
        if not question.headers.get("x-ms-version"):
            return Answer(400, b"<Error><Code>MissingRequiredHeader</Code></Error>")
        if question.path == f"/{self.container}":
            names = sorted(name for name in self.blobs if name.startswith(question.one("prefix")))
            start = int(question.one("marker", "0"))
            shown = "".join(f"<Blob><Name>{name}</Name></Blob>" for name in names[start : start + self.page])
            more = str(start + self.page) if start + self.page < len(names) else ""
            text = f"<EnumerationResults><Blobs>{shown}</Blobs><NextMarker>{more}</NextMarker></EnumerationResults>"
            return Answer(200, text.encode(), {"content-type": "application/xml"})
        name = unquote(question.path).removeprefix(f"/{self.container}/")
        if name not in self.blobs:
            return Answer(404, b"<Error><Code>BlobNotFound</Code></Error>")
        return Answer(200, self.blobs[name])
