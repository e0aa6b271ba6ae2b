"""The Gemini API's batch results: one answer or error per request, in a file or in the batch itself.

Paths and names as the SDK ``google-genai`` 3.6.1 reads them: ``batches`` are long-running operations whose metadata
names the model, the state and the output; the file holds ``{"key", "response" | "error"}`` by line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from spanledger.reconciler.connectors.batch_usage import gemini_usage
from spanledger.reconciler.connectors.result_files import results
from spanledger.reconciler.documents import Json, maybe_obj, maybe_rows, obj, objects, rfc3339, text
from spanledger.reconciler.errors import State
from spanledger.reconciler.http.api import Api, Verdict, excerpt
from spanledger.reconciler.http.auth import Auth
from spanledger.reconciler.http.messages import ApiRequest, ApiResponse
from spanledger.reconciler.observations import Unit, Unsettled
from spanledger.reconciler.streams import Page, follow
from spanledger.semconv.observation import Observation, Role

PERMISSION: Final = "a Gemini API key of the project that made the batches"
PATH: Final = "/v1beta/batches"


@dataclass(frozen=True, slots=True)
class GeminiBatches:
    """Results of finished batches. See `ObservationStream`.

    Attributes:
        auth: the Gemini API key's.
        base_url: of the Gemini API; the billing export lies elsewhere.
    """

    auth: Auth
    base_url: str
    name: str = "batches"
    permission: str = PERMISSION

    def check(self, api: Api) -> None:
        self._there(api).send(ApiRequest(path=PATH, params=(("pageSize", "1"),), permission=PERMISSION))

    def units(self, api: Api, since: datetime, unsettled: Unsettled) -> Iterator[Unit]:
        del unsettled
        opening = ApiRequest(path=PATH, params=(("pageSize", "100"),), permission=PERMISSION)
        for page in follow(self._there(api), opening, _next_page):
            for batch in objects(obj(page.document, "Gemini's batches").get("operations") or [], "operations"):
                about = maybe_obj(batch.get("metadata"))
                created = rfc3339(about.get("createTime"), "createTime")
                output = maybe_obj(about.get("output"))
                if created >= since and batch.get("done") and output:
                    ended = about.get("endTime") or about.get("updateTime")
                    instant = rfc3339(ended, "endTime") if ended else created
                    yield Unit(f"{text(batch.get('name'))} {text(output.get('responsesFile'))}".strip(), instant)

    def observations(self, api: Api, unit: Unit) -> Iterator[Observation]:
        there = self._there(api)
        batch, _, file = unit.id.partition(" ")
        about = maybe_obj(obj(there.send(_get(f"/v1beta/{batch}")).document, batch).get("metadata"))
        model = text(about.get("model")).removeprefix("models/")
        for number, answer in enumerate(results(there, _file(file)) if file else _inline(about), start=1):
            yield _observation(answer, model, batch, text(answer.get("key")) or str(number), unit.ended_at)

    def _there(self, api: Api) -> Api:
        return replace(api, auth=self.auth, base_url=self.base_url, own_hosts=(), name="Gemini", explain=_explain)


def _get(path: str) -> ApiRequest:
    return ApiRequest(path=path, permission=PERMISSION)


def _next_page(page: Page) -> ApiRequest | None:
    token = text(obj(page.document, "Gemini's batches").get("nextPageToken"))
    return replace(page.request, params=(("pageSize", "100"), ("pageToken", token))) if token else None


def _explain(response: ApiResponse) -> Verdict | None:
    details = maybe_obj(maybe_obj(response.document).get("error")).get("details")
    reasons = [text(maybe_obj(detail).get("reason")) for detail in maybe_rows(details)]
    if response.status == 401 or "API_KEY_INVALID" in reasons:
        said = excerpt(response)
        return Verdict(State.AUTH_FAILED, False, f"Gemini refused the key; it needs {PERMISSION}: {said}")
    return None


def _file(file: str) -> ApiRequest:
    return ApiRequest(path=f"/v1beta/{file}:download", params=(("alt", "media"),), reads="file", permission=PERMISSION)


def _inline(about: Json) -> Iterator[Json]:
    inlined = maybe_obj(maybe_obj(about.get("output")).get("inlinedResponses"))
    for answer in objects(inlined.get("inlinedResponses") or [], "inlinedResponses"):
        yield {**answer, "key": text(maybe_obj(answer.get("metadata")).get("key"))}


def _observation(answer: Json, model: str, batch: str, request: str, ended_at: datetime) -> Observation:
    response, error = maybe_obj(answer.get("response")), maybe_obj(answer.get("error"))
    moment = int(ended_at.timestamp() * 1_000_000_000)
    return Observation(
        signal="batch",
        dialect="gemini.batch",
        scope_name="spanledger.reconciler",
        role=Role.LEAF,
        started_ns=moment,
        ended_ns=moment,
        provider="google",
        operation="chat" if response.get("candidates") is not None else "",
        request_model=model,
        response_model=text(response.get("modelVersion")).removeprefix("models/") or model,
        response_id=text(response.get("responseId")),
        request_id=f"{batch}/{request}",
        usage=gemini_usage(maybe_obj(response.get("usageMetadata"))),
        status="error" if error or not response else "ok",
        error_type=text(error.get("status") or error.get("code")),
        is_stream=False,
        is_batch=True,
        batch_id=batch,
    )
