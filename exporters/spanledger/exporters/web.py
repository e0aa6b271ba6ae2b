"""The HTTP application of port 9464: metrics, health and the breakdown API.

    /metrics               Prometheus text or OpenMetrics
    /healthz               the process answers
    /readyz                the ledger can be written: 200, or 503 with the reasons
    /api/v1/spend          spend by any dimensions
    /api/v1/calls          the latest calls
    /api/v1/openapi.json   the API's description

Errors are JSON: ``{"error": "<one readable line>"}``.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from spanledger.exporters import openapi
from spanledger.exporters.access import Access, AccessDeniedError, Scope, bearer_token
from spanledger.exporters.compression import encoder_for
from spanledger.exporters.latest import CallsRequest, latest_calls
from spanledger.exporters.metrics import BudgetSource, LedgerCollector, StatsSource, render
from spanledger.exporters.readings import LedgerReader, StoreReadings
from spanledger.exporters.spend import BadRequestError, SpendRequest, spend
from spanledger.ledger.errors import RetryableStoreError, StoreError

_log = logging.getLogger(__name__)

Check = Callable[[], str | None]
"""Says in one line why the installation is not ready, or None when it is. Must answer within a second."""

_COLLECTORS: Final = 1000
"""Scopes whose last known metrics are remembered."""


def utc_now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)


def create_app(
    ledger: LedgerReader,
    *,
    access: Access | None = None,
    checks: Mapping[str, Check] | None = None,
    notes: Mapping[str, Check] | None = None,
    stats: StatsSource | None = None,
    budgets: BudgetSource | None = None,
    now: Callable[[], datetime] = utc_now,
) -> Starlette:
    """The application.

    Args:
        ledger: the open ledger.
        access: who may see what of metrics and API; by default everybody who reaches the listener sees everything.
            Health is open to all.
        checks: what ``/readyz`` asks, by name (see `spanledger.exporters.health`).
        notes: what ``/readyz`` mentions but is ready in spite of, by name.
        stats: the receiver's own numbers, shown as ``spanledger_*`` metrics.
        budgets: the configured budgets, shown as metrics.
        now: the clock.
    """
    web = _Web(StoreReadings(ledger), access or Access(is_open=True), checks or {}, notes or {}, stats, budgets, now)
    return Starlette(
        routes=[
            Route("/metrics", web.metrics, methods=["GET"]),
            Route("/healthz", _alive, methods=["GET"]),
            Route("/readyz", web.ready, methods=["GET"]),
            Route("/api/v1/spend", web.spend, methods=["GET"]),
            Route("/api/v1/calls", web.calls, methods=["GET"]),
            Route("/api/v1/openapi.json", _openapi, methods=["GET"]),
        ],
        exception_handlers={
            AccessDeniedError: _denied,
            BadRequestError: _bad_request,
            HTTPException: _not_served,
            StoreError: _store_failed,
        },
    )


async def _alive(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _openapi(_request: Request) -> Response:
    return JSONResponse(openapi.document())


class _Web:
    def __init__(
        self,
        readings: StoreReadings,
        access: Access,
        checks: Mapping[str, Check],
        notes: Mapping[str, Check],
        stats: StatsSource | None,
        budgets: BudgetSource | None,
        now: Callable[[], datetime],
    ) -> None:
        self._readings = readings
        self._access = access
        self._checks = checks
        self._notes = notes
        self._stats = stats
        self._budgets = budgets
        self._now = now
        self._lock = threading.Lock()
        self._collectors: OrderedDict[Scope, LedgerCollector] = OrderedDict()

    # Plain functions: they wait for the store, so the framework runs them in worker threads.

    def metrics(self, request: Request) -> Response:
        collector = self._collector(self._scope(request))
        body, content_type = render(collector, request.headers.get("accept", ""))
        headers = {"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"}
        encoder = encoder_for(request.headers.get("accept-encoding", ""))
        if encoder is not None:
            headers["Content-Encoding"] = encoder.name
            body = encoder.add(body) + encoder.end()
        return Response(body, headers=headers)

    def ready(self, _request: Request) -> Response:
        reasons, notes = (
            {name: reason for name, check in asked.items() if (reason := _ask(check))}
            for asked in (self._checks, self._notes)
        )
        if reasons:
            error = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
            return JSONResponse({"status": "not ready", "error": error}, status_code=503)
        more = {"notes": notes} if notes else {}
        return JSONResponse({"status": "ready", "checks": sorted(self._checks), **more})

    def spend(self, request: Request) -> Response:
        scope = self._scope(request)
        return JSONResponse(spend(self._readings, SpendRequest.parse(_values(request), self._now()), scope))

    def calls(self, request: Request) -> Response:
        scope = self._scope(request)
        return JSONResponse(latest_calls(self._readings, CallsRequest.parse(_values(request), self._now()), scope))

    def _scope(self, request: Request) -> Scope:
        return self._access.scope(bearer_token(request.headers))

    def _collector(self, scope: Scope) -> LedgerCollector:
        """One collector for each scope: it remembers its last values."""
        with self._lock:
            collector = self._collectors.pop(scope, None)
            if collector is None:
                collector = LedgerCollector(
                    self._readings, scope, stats=self._stats, budgets=self._budgets, now=self._now
                )
            self._collectors[scope] = collector
            if len(self._collectors) > _COLLECTORS:
                self._collectors.popitem(last=False)
        return collector


def _ask(check: Check) -> str | None:
    try:
        return check()
    except Exception as error:  # noqa: BLE001 - the boundary to the orchestrator: a check that fails is an answer
        return f"{type(error).__name__}: {error}"


def _values(request: Request) -> dict[str, Sequence[str]]:
    return {name: request.query_params.getlist(name) for name in request.query_params}


def _problem(message: str, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": " ".join(message.split())}, status_code=status, headers=headers)


async def _denied(_request: Request, error: Exception) -> Response:
    return _problem(str(error), 401, {"WWW-Authenticate": 'Bearer realm="Spanledger"'})


async def _bad_request(_request: Request, error: Exception) -> Response:
    return _problem(str(error), 400)


async def _not_served(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return _problem(f"nothing at {request.url.path[:100]}: see /api/v1/openapi.json", 404)
    headers = error.headers if isinstance(error, HTTPException) else None
    return _problem(f"{request.method} is not served at {request.url.path[:100]}", status, headers)


async def _store_failed(_request: Request, error: Exception) -> Response:
    _log.warning("a request failed: %s", error)
    if isinstance(error, RetryableStoreError):
        return _problem(str(error), 503, {"Retry-After": "5"})
    return _problem(str(error), 500)
