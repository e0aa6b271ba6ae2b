"""OpenAI's batch results: the answer to every request of a batch, with its usage and its id."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from spanledger.reconciler.connectors.batch_usage import openai_usage
from spanledger.reconciler.connectors.lists import listed
from spanledger.reconciler.connectors.result_files import results
from spanledger.reconciler.documents import Json, maybe_obj, quantity, text, unix_time
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.http.auth import Auth
from spanledger.reconciler.http.messages import ApiRequest
from spanledger.reconciler.observations import Unit, Unsettled
from spanledger.semconv.observation import Observation, Role

PERMISSION: Final = "a project key that may read batches and files of its project"
ENDED: Final = frozenset({"completed", "expired", "cancelled"})
"""Batches that ended early still charge for the requests that were answered."""

_OPERATIONS: Final = {
    "/v1/chat/completions": "chat",
    "/v1/responses": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}


@dataclass(frozen=True, slots=True)
class OpenAIBatches:
    """Output files of finished batches, at OpenAI and at whoever took its API over. See `ObservationStream`.

    Attributes:
        auth: the ordinary key's.
        provider: who bills, in the ledger's words.
        base_url: where the batches are, when not where the connection's bills are.
        newest_first: whether nothing new follows an old batch in the list.
    """

    auth: Auth
    provider: str = "openai"
    base_url: str = ""
    newest_first: bool = True
    name: str = "batches"
    permission: str = PERMISSION

    def check(self, api: Api) -> None:
        self._there(api).send(ApiRequest(path="/batches", params=(("limit", "1"),), permission=self.permission))

    def units(self, api: Api, since: datetime, unsettled: Unsettled) -> Iterator[Unit]:
        del unsettled
        for batch in listed(self._there(api), "/batches", cursor="after", permission=self.permission):
            if unix_time(batch.get("created_at"), "created_at") < since:
                if self.newest_first:
                    return
                continue
            file = text(batch.get("output_file_id"))
            if text(batch.get("status")) in ENDED and file:
                ended = batch.get("completed_at") or batch.get("expired_at") or batch.get("cancelled_at")
                instant = unix_time(ended or batch.get("created_at"), "completed_at")
                yield Unit(f"{text(batch.get('id'))}/{file}/{text(batch.get('endpoint'))}", instant)

    def observations(self, api: Api, unit: Unit) -> Iterator[Observation]:
        yield from batch_answers(self._there(api), "/files/{file}/content", unit, self.provider, self.permission)

    def _there(self, api: Api) -> Api:
        if not self.base_url:
            return replace(api, auth=self.auth)
        return replace(api, auth=self.auth, base_url=self.base_url, own_hosts=())


def batch_answers(api: Api, path: str, unit: Unit, provider: str, permission: str) -> Iterator[Observation]:
    """The answers in an output file: OpenAI's format, which others have taken over.

    Args:
        api: with the ordinary key.
        path: of a file's content, with ``{file}`` for its id.
        unit: ``<batch id>/<file id>/<endpoint>``.
        provider: who bills, in the ledger's words.
        permission: see `ApiRequest`.
    """
    batch, file, endpoint = unit.id.split("/", 2)
    request = ApiRequest(path=path.format(file=file), reads="file", permission=permission)
    for answer in results(api, request):
        yield _observation(answer, batch, f"/{endpoint.lstrip('/')}", unit.ended_at, provider)


def _observation(answer: Json, batch: str, endpoint: str, ended_at: datetime, provider: str) -> Observation:
    response = maybe_obj(answer.get("response"))
    body = maybe_obj(response.get("body"))
    status = quantity(response.get("status_code"))
    is_error = bool(answer.get("error")) or status is None or status >= 400
    created = quantity(body.get("created")) or quantity(body.get("created_at"))
    # Batches are billed when they are worked on, not when they were handed in.
    moment = int((created if created else int(ended_at.timestamp())) * 1_000_000_000)
    error = maybe_obj(answer.get("error")) or maybe_obj(body.get("error"))
    return Observation(
        signal="batch",
        dialect=f"{provider}.batch",
        scope_name="spanledger.reconciler",
        role=Role.LEAF,
        started_ns=moment,
        ended_ns=moment,
        provider=provider,
        operation=_OPERATIONS.get(endpoint, ""),
        request_model=text(body.get("model")),
        response_model=text(body.get("model")),
        response_id=text(body.get("id")),
        request_id=text(response.get("request_id")) or text(answer.get("id")),
        usage=openai_usage(maybe_obj(body.get("usage"))),
        status="error" if is_error else "ok",
        error_type=text(error.get("code") or error.get("type")) if is_error else "",
        http_status=None if status is None else int(status),
        is_stream=False,
        is_batch=True,
        batch_id=batch,
        service_tier=text(body.get("service_tier")),
    )
