"""OTLP/HTTP: ``POST /v1/traces``, ``/v1/logs`` and ``/v1/metrics``, protobuf and JSON, as an ASGI application.

The server around it (address, TLS) is the caller's. Answers follow opentelemetry-proto `docs/specification.md`,
"OTLP/HTTP Response": refusals are a ``google.rpc.Status`` in the request's own encoding, and only 503 (with
``Retry-After``) invites a retry.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from spanledger.collector import responses, rpc_status
from spanledger.collector.auth import Authenticator
from spanledger.collector.compression import unpack
from spanledger.collector.decode import Verdict
from spanledger.collector.errors import (
    BrokenOffError,
    CollectorError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from spanledger.collector.intake import Intake
from spanledger.collector.signals import Encoding, Signal

_ENCODINGS: Final = {
    "application/x-protobuf": Encoding.PROTOBUF,
    "application/protobuf": Encoding.PROTOBUF,
    "application/json": Encoding.JSON,
}
_MEDIA_TYPES: Final = {Encoding.PROTOBUF: "application/x-protobuf", Encoding.JSON: "application/json"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """Options of the OTLP/HTTP application.

    Attributes:
        body_seconds: how long a sender may take to send one body.
        buffered_bytes: bodies held in memory at the same time, all requests together; beyond it senders are asked to
            try again. At least one body of the largest size always fits.
    """

    body_seconds: float = 30.0
    buffered_bytes: int = 256 << 20


def create_app(intake: Intake, authenticator: Authenticator, settings: HttpSettings | None = None) -> Starlette:
    """The ASGI application of the OTLP/HTTP listener."""
    settings = settings or HttpSettings()
    budget = _Budget(max(settings.buffered_bytes, 2 * intake.max_body_bytes))
    return Starlette(
        routes=[
            Route(signal.path, _export(signal, intake, authenticator, settings, budget), methods=["POST"])
            for signal in Signal
        ]
    )


class _Budget:
    """Bytes that all requests together may hold."""

    def __init__(self, total: int) -> None:
        self._left = total
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        with self._lock:
            if size > self._left:
                raise UnavailableError("too many large requests at once", retry_after=1.0)
            self._left -= size

    def give_back(self, size: int) -> None:
        with self._lock:
            self._left += size


def _export(
    signal: Signal, intake: Intake, authenticator: Authenticator, settings: HttpSettings, budget: _Budget
) -> Callable[[Request], Awaitable[Response]]:
    async def export(request: Request) -> Response:
        encoding = _ENCODINGS.get(request.headers.get("content-type", "").partition(";")[0].strip().lower())
        held = 0
        try:
            org_id = await run_in_threadpool(authenticator.org_of, request.headers.get("authorization", ""))
            if encoding is None:
                raise UnsupportedError("content-type must be application/x-protobuf or application/json")
            body = bytearray()
            try:
                async with asyncio.timeout(settings.body_seconds):
                    async for chunk in request.stream():
                        budget.take(len(chunk))
                        held += len(chunk)
                        body += chunk
                        if len(body) > intake.max_body_bytes:
                            raise TooLargeError(f"the body is over the limit of {intake.max_body_bytes} bytes")
            except TimeoutError as error:
                raise UnavailableError(f"the body did not arrive within {settings.body_seconds:g} seconds") from error
            coding = request.headers.get("content-encoding", "")

            def take() -> Verdict:
                plain = unpack(bytes(body), coding, intake.max_body_bytes)
                return intake.accept("http", org_id, signal, encoding, plain)

            return _accepted(signal, encoding, await run_in_threadpool(take))
        except CollectorError as error:
            intake.count_refusal(error)
            return _refused(encoding or Encoding.JSON, error)
        except ClientDisconnect:
            intake.count_refusal(BrokenOffError("the sender went away"))
            return Response(status_code=400)  # nobody is there to read it
        finally:
            budget.give_back(held)

    return export


def _accepted(signal: Signal, encoding: Encoding, verdict: Verdict) -> Response:
    protobuf = encoding is Encoding.PROTOBUF
    body = responses.to_protobuf(verdict) if protobuf else responses.to_json(signal, verdict)
    return Response(body, media_type=_MEDIA_TYPES[encoding])


def _refused(encoding: Encoding, error: CollectorError) -> Response:
    body = rpc_status.to_protobuf(error) if encoding is Encoding.PROTOBUF else rpc_status.to_json(error)
    status = rpc_status.codes(error)[1]
    headers: dict[str, str] = {}
    if (seconds := rpc_status.retry_after_seconds(error)) is not None:
        headers["retry-after"] = str(seconds)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(body, status, headers, _MEDIA_TYPES[encoding])
