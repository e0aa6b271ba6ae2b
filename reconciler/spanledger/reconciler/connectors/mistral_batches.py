"""Mistral's batch results: output files in OpenAI's format, found through Mistral's own list of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from spanledger.reconciler.connectors.openai_batches import batch_answers
from spanledger.reconciler.documents import obj, objects, text, unix_time
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.http.auth import Auth
from spanledger.reconciler.http.messages import ApiRequest
from spanledger.reconciler.observations import Unit, Unsettled
from spanledger.semconv.observation import Observation

PERMISSION: Final = "an API key of the workspace that made the batches"
ENDED: Final = frozenset({"SUCCESS", "FAILED", "TIMEOUT_EXCEEDED", "CANCELLED"})
"""Jobs that ended early still charge for the requests that were answered."""
_PAGE: Final = 100


@dataclass(frozen=True, slots=True)
class MistralBatches:
    """Output files of finished batch jobs. See `ObservationStream`."""

    auth: Auth
    name: str = "batches"
    permission: str = PERMISSION

    def check(self, api: Api) -> None:
        there = replace(api, auth=self.auth)
        there.send(ApiRequest(path="/v1/batch/jobs", params=(("page_size", "1"),), permission=PERMISSION))

    def units(self, api: Api, since: datetime, unsettled: Unsettled) -> Iterator[Unit]:
        del unsettled
        there, page = replace(api, auth=self.auth), 0
        seen: set[str] = set()
        while True:
            params = (("page", str(page)), ("page_size", str(_PAGE)), ("created_after", since.isoformat()))
            response = there.send(ApiRequest(path="/v1/batch/jobs", params=params, permission=PERMISSION))
            jobs = list(objects(obj(response.document, "Mistral's jobs").get("data") or [], "jobs"))
            fresh = [job for job in jobs if text(job.get("id")) not in seen]
            seen.update(text(job.get("id")) for job in fresh)
            for job in fresh:
                file = text(job.get("output_file"))
                if text(job.get("status")) in ENDED and file:
                    ended = unix_time(job.get("completed_at") or job.get("created_at"), "completed_at")
                    yield Unit(f"{text(job.get('id'))}/{file}/{text(job.get('endpoint'))}", ended)
            if len(jobs) < _PAGE or not fresh:
                return
            page += 1

    def observations(self, api: Api, unit: Unit) -> Iterator[Observation]:
        there = replace(api, auth=self.auth)
        yield from batch_answers(there, "/v1/files/{file}/content", unit, "mistral", PERMISSION)
