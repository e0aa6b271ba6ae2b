"""xAI's batch results: every answer with the ticks that were charged for it, read with an ordinary key.

The messages are those of xAI's ``batch.proto``; the REST form names an answer by its endpoint
(``chat_get_completion``). Its spelling is not documented in full, so whichever answer a result holds is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from spanledger.reconciler.connectors.batch_usage import count, openai_usage
from spanledger.reconciler.documents import Json, maybe_obj, obj, objects, quantity, rfc3339, text
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.http.auth import Auth
from spanledger.reconciler.http.messages import ApiRequest
from spanledger.reconciler.observations import Unit, Unsettled
from spanledger.reconciler.streams import Page, follow
from spanledger.reconciler.units import Ticks
from spanledger.semconv.observation import Observation, Role
from spanledger.semconv.usage import Usage

PERMISSION: Final = "an API key of the team that made the batches"
_OPERATIONS: Final[Mapping[str, str]] = {
    "chat_get_completion": "chat",
    "completion_response": "chat",
    "responses": "chat",
    "image_response": "image_generation",
    "image_generation": "image_generation",
}


@dataclass(frozen=True, slots=True)
class XaiBatches:
    """Results of finished batches. See `ObservationStream`.

    Attributes:
        auth: the ordinary key's.
        base_url: of the inference API; the management API serves no batches.
    """

    auth: Auth
    base_url: str
    name: str = "batches"
    permission: str = PERMISSION

    def check(self, api: Api) -> None:
        self._there(api).send(ApiRequest(path="/v1/batches", params=(("limit", "1"),), permission=PERMISSION))

    def units(self, api: Api, since: datetime, unsettled: Unsettled) -> Iterator[Unit]:
        del unsettled
        for document in _pages(self._there(api), "/v1/batches"):
            for batch in objects(document.get("batches") or [], "batches"):
                created = rfc3339(batch.get("create_time"), "create_time")
                state = maybe_obj(batch.get("state"))
                if created >= since and count(state.get("num_requests")) and not count(state.get("num_pending")):
                    yield Unit(text(batch.get("batch_id")), created)

    def observations(self, api: Api, unit: Unit) -> Iterator[Observation]:
        for document in _pages(self._there(api), f"/v1/batches/{unit.id}/results"):
            for found in objects(document.get("results") or [], "results"):
                result = maybe_obj(found.get("batch_result")) or found
                answers = maybe_obj(result.get("response"))
                for kind in answers:
                    if answer := maybe_obj(answers[kind]):
                        yield _observation(kind, answer, unit, text(found.get("batch_request_id")))
                        break

    def _there(self, api: Api) -> Api:
        return replace(api, auth=self.auth, base_url=self.base_url, own_hosts=())


def _pages(api: Api, path: str) -> Iterator[Json]:
    opening = ApiRequest(path=path, params=(("limit", "100"),), permission=PERMISSION)
    for page in follow(api, opening, _next_page):
        yield obj(page.document, path)


def _next_page(page: Page) -> ApiRequest | None:
    token = text(obj(page.document, page.request.path).get("pagination_token"))
    return replace(page.request, params=(("limit", "100"), ("pagination_token", token))) if token else None


def _observation(kind: str, answer: Json, unit: Unit, request_id: str) -> Observation:
    usage = maybe_obj(answer.get("usage"))
    ticks = quantity(usage.get("cost_in_usd_ticks"))
    created = quantity(answer.get("created")) or quantity(answer.get("created_at"))
    moment = int((created or int(unit.ended_at.timestamp())) * 1_000_000_000)
    return Observation(
        signal="batch",
        dialect="xai.batch",
        scope_name="spanledger.reconciler",
        role=Role.LEAF,
        started_ns=moment,
        ended_ns=moment,
        provider="xai",
        operation=_OPERATIONS.get(kind, ""),
        request_model=text(answer.get("model")),
        response_model=text(answer.get("model")),
        response_id=text(answer.get("id")),
        request_id=f"{unit.id}/{request_id}",
        usage=_usage(usage),
        exact_cost_usd=None if ticks is None else Ticks(int(ticks)).money().amount,
        is_stream=False,
        is_batch=True,
        batch_id=unit.id,
    )


def _usage(usage: Json) -> Usage:
    """As OpenAI's, but ``completion_tokens`` leaves reasoning out where the total says so."""
    inputs, outputs = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    details = maybe_obj(usage.get("completion_tokens_details"))
    reasoning, total = count(details.get("reasoning_tokens")), count(usage.get("total_tokens"))
    if reasoning and inputs is not None and outputs is not None and total == inputs + outputs + reasoning:
        usage = {**usage, "completion_tokens": outputs + reasoning}
    return openai_usage(usage)
