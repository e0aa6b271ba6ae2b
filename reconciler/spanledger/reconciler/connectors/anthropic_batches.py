"""Anthropic's message batch results: one message or error per request, with its usage and its id."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from spanledger.reconciler.connectors.batch_usage import anthropic_usage
from spanledger.reconciler.connectors.lists import listed
from spanledger.reconciler.connectors.result_files import results
from spanledger.reconciler.documents import Json, maybe_obj, rfc3339, text
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.http.auth import Auth
from spanledger.reconciler.http.messages import ApiRequest
from spanledger.reconciler.observations import Unit, Unsettled
from spanledger.semconv.observation import Observation, Role
from spanledger.semconv.places import place

PERMISSION: Final = "a workspace key of the workspace that made the batches"


@dataclass(frozen=True, slots=True)
class AnthropicBatches:
    """Results of ended message batches. See `ObservationStream`."""

    auth: Auth
    name: str = "batches"
    permission: str = PERMISSION

    def check(self, api: Api) -> None:
        there = replace(api, auth=self.auth)
        there.send(ApiRequest(path="/v1/messages/batches", params=(("limit", "1"),), permission=PERMISSION))

    def units(self, api: Api, since: datetime, unsettled: Unsettled) -> Iterator[Unit]:
        del unsettled
        there = replace(api, auth=self.auth)
        for batch in listed(there, "/v1/messages/batches", cursor="after_id", permission=PERMISSION):
            if rfc3339(batch.get("created_at"), "created_at") < since:
                return  # newest first
            if text(batch.get("processing_status")) == "ended" and batch.get("results_url"):
                yield Unit(text(batch.get("id")), rfc3339(batch.get("ended_at"), "ended_at"))

    def observations(self, api: Api, unit: Unit) -> Iterator[Observation]:
        request = ApiRequest(path=f"/v1/messages/batches/{unit.id}/results", reads="file", permission=PERMISSION)
        for result in results(replace(api, auth=self.auth), request):
            if (found := _observation(result, unit)) is not None:
                yield found


def _observation(answer: Json, unit: Unit) -> Observation | None:
    """``None`` for requests that were canceled or expired: they are not billed and leave nothing to see."""
    result = maybe_obj(answer.get("result"))
    kind = text(result.get("type"))
    if kind not in ("succeeded", "errored"):
        return None
    message = maybe_obj(result.get("message"))
    usage = maybe_obj(message.get("usage"))
    error = maybe_obj(maybe_obj(result.get("error")).get("error")) or maybe_obj(result.get("error"))
    moment = int(unit.ended_at.timestamp() * 1_000_000_000)
    return Observation(
        signal="batch",
        dialect="anthropic.batch",
        scope_name="spanledger.reconciler",
        role=Role.LEAF,
        started_ns=moment,
        ended_ns=moment,
        provider="anthropic",
        operation="chat",
        request_model=text(message.get("model")),
        response_model=text(message.get("model")),
        response_id=text(message.get("id")),
        request_id=f"{unit.id}/{text(answer.get('custom_id'))}",
        usage=anthropic_usage(usage),
        status="ok" if kind == "succeeded" else "error",
        error_type=text(error.get("type")),
        stop_reason=text(message.get("stop_reason")),
        is_stream=False,
        is_batch=True,
        batch_id=unit.id,
        service_tier=text(usage.get("service_tier")) or "batch",
        inference_geo=place("anthropic", text(usage.get("inference_geo")), ""),
    )
