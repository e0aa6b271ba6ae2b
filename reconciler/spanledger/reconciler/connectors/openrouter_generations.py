"""OpenRouter's generation records: the exact cost of a call whose own answer did not say it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from spanledger.reconciler.connectors.batch_usage import count
from spanledger.reconciler.documents import obj, quantity, rfc3339, text
from spanledger.reconciler.errors import PermanentSyncError, State
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.http.auth import Auth
from spanledger.reconciler.http.messages import ApiRequest
from spanledger.reconciler.observations import Unit, Unsettled
from spanledger.semconv.money import parse
from spanledger.semconv.observation import Observation, Role
from spanledger.semconv.usage import Usage

PERMISSION: Final = "the API key that made the calls"
MOST: Final = 500
"""Records asked for in one run: each costs a request."""


@dataclass(frozen=True, slots=True)
class OpenRouterGenerations:
    """One record per call that the ledger cannot price exactly. See `ObservationStream`."""

    auth: Auth
    name: str = "generations"
    permission: str = PERMISSION

    def check(self, api: Api) -> None:
        replace(api, auth=self.auth).send(ApiRequest(path="/key", permission=PERMISSION))

    def units(self, api: Api, since: datetime, unsettled: Unsettled) -> Iterator[Unit]:
        # A record appears a short while after its answer.
        newest = api.clock.now() - timedelta(minutes=5)
        for response_id, started in unsettled("openrouter", since, MOST):
            if response_id.startswith("gen-") and started < newest:
                yield Unit(response_id, started)

    def observations(self, api: Api, unit: Unit) -> Iterator[Observation]:
        there = replace(api, auth=self.auth)
        request = ApiRequest(path="/generation", params=(("id", unit.id),), permission=PERMISSION)
        try:
            document = obj(obj(there.send(request).document, "OpenRouter's answer").get("data"), "data")
        except PermanentSyncError as error:
            if error.state is State.DEGRADED:
                return  # 404: forgotten, or another key's
            raise
        created = rfc3339(document.get("created_at"), "created_at") if document.get("created_at") else unit.ended_at
        moment = int(created.timestamp() * 1_000_000_000)
        prompt, cached = count(document.get("native_tokens_prompt")), count(document.get("native_tokens_cached"))
        completion = count(document.get("native_tokens_completion"))
        reasoning = count(document.get("native_tokens_reasoning"))
        cost = document.get("total_cost")
        yield Observation(
            signal="batch",
            dialect="openrouter.generation",
            scope_name="spanledger.reconciler",
            role=Role.LEAF,
            started_ns=moment,
            ended_ns=moment + int(quantity(document.get("generation_time")) or 0) * 1_000_000,
            provider="openrouter",
            operation="chat",
            request_model=text(document.get("model")),
            response_model=text(document.get("model")),
            response_id=unit.id,
            request_id=text(document.get("request_id")),
            usage=Usage(
                input_uncached=None if prompt is None else max(0, prompt - (cached or 0)),
                cache_read=cached,
                output_text=None if completion is None else max(0, completion - (reasoning or 0)),
                reasoning=reasoning,
            ),
            stop_reason=text(document.get("native_finish_reason") or document.get("finish_reason")),
            is_stream=bool(document.get("streamed")) if document.get("streamed") is not None else None,
            service_tier=text(document.get("service_tier")),
            exact_cost_usd=None if cost is None else parse(text(cost)),
            workspace=text(document.get("workspace_id")),
        )
