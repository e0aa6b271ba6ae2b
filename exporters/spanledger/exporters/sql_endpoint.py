"""ClickHouse's HTTP interface over the embedded store, read-only.

Clients of a ClickHouse server (clickhouse-connect, curl) work unchanged: ``GET /?query=``, ``POST`` bodies,
``param_*`` values, ``default_format``, ``FORMAT`` clauses, compressed answers, and errors in ClickHouse's
shape. What may be asked is decided in `spanledger.exporters.sql_guard`.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import AsyncIterator, Callable
from email.parser import BytesParser
from email.policy import HTTP
from typing import Final

import anyio
import anyio.to_thread
from clickhouse_connect.driver.client import Client
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from spanledger.exporters.access import Access, AccessDeniedError, clickhouse_token
from spanledger.exporters.compression import Encoder, decode_body, encoder_for
from spanledger.exporters.sql_errors import SqlError
from spanledger.exporters.sql_session import Blocks, EmbeddedEngine, Limits, SqlAnswer, SqlRequest
from spanledger.ledger.errors import StoreError

_CONTENT_TYPES: Final = {
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "CSVWithNamesAndTypes": "text/csv; charset=UTF-8; header=present",
    "HTML": "text/html; charset=UTF-8",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONStrings": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "JSONCompactEachRow": "application/x-ndjson; charset=UTF-8",
    "Native": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "RowBinaryWithNamesAndTypes": "application/octet-stream",
    "Arrow": "application/vnd.apache.arrow.file",
    "ArrowStream": "application/vnd.apache.arrow.stream",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSV": "text/tab-separated-values; charset=UTF-8",
}
_AUTHENTICATION_FAILED: Final = 516
_OPEN_PER_SLOT: Final = 8
"""Queries that may wait, run or be read, for each that may run: a slow reader holds memory of the engine."""
_RESERVED: Final = frozenset(
    {"query", "database", "default_format", "user", "password", "compress", "decompress", "role"}
)


def create_app(
    client: Client, *, access: Access | None = None, limits: Limits | None = None, concurrency: int = 8
) -> Starlette:
    """The endpoint as an ASGI application.

    Args:
        client: an open client of the embedded store; used for its place only, queries get engine handles of their own.
        access: who may ask; by default everybody who reaches the listener, and sees everything.
        limits: what one query may cost.
        concurrency: queries that run at the same time. Up to eight times as many may wait or have their answers read;
            further ones are refused (code 202, HTTP 503).

    Raises:
        SqlError: the client speaks to a ClickHouse server, which has its own HTTP interface.
    """
    limits = limits or Limits()
    endpoint = _Endpoint(EmbeddedEngine(client, limits), access or Access(is_open=True), limits, concurrency)
    return Starlette(
        routes=[
            Route("/", endpoint.query, methods=["GET", "POST"]),
            Route("/ping", _alive, methods=["GET"]),
            Route("/replicas_status", _alive, methods=["GET"]),
        ]
    )


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("Ok.\n")


class _Endpoint:
    def __init__(self, engine: EmbeddedEngine, access: Access, limits: Limits, concurrency: int) -> None:
        self._engine = engine
        self._access = access
        self._limits = limits
        self._slots = anyio.CapacityLimiter(concurrency)
        self._open = 0
        self._open_limit = concurrency * _OPEN_PER_SLOT

    async def query(self, request: Request) -> Response:
        query_id = request.query_params.get("query_id") or str(uuid.uuid4())
        headers = {"X-ClickHouse-Query-Id": _header_text(query_id), "X-ClickHouse-Server-Display-Name": "spanledger"}
        try:
            asked = await self._read(request)
            if asked is None:
                return PlainTextResponse("Ok.\n")
            answer = await self._run(asked)
        except AccessDeniedError as error:
            return self._failed(SqlError(_AUTHENTICATION_FAILED, "AUTHENTICATION_FAILED", str(error)), headers)
        except StoreError as error:
            return self._failed(SqlError(999, "STORE_UNAVAILABLE", str(error)), headers)
        except SqlError as error:
            return self._failed(error, headers)
        tag = secrets.token_hex(8)
        headers |= {
            "X-ClickHouse-Exception-Tag": tag,
            "X-ClickHouse-Format": answer.format,
            "X-ClickHouse-Timezone": self._engine.timezone,
            "X-ClickHouse-Summary": json.dumps(answer.summary),
            "Content-Type": _CONTENT_TYPES.get(answer.format, "text/plain; charset=UTF-8"),
        }
        plain = request.query_params.get("enable_http_compression") == "0"
        encoder = None if plain else encoder_for(request.headers.get("accept-encoding", ""))
        if encoder is not None:
            headers["Content-Encoding"] = encoder.name

        def release() -> None:
            self._open -= 1
            answer.blocks.close()

        return _AnswerResponse(self._body(answer, encoder, tag), headers, release)

    async def _run(self, asked: SqlRequest) -> SqlAnswer:
        """Start a query; from then on it counts as open, until its answer's response releases it."""
        if self._open >= self._open_limit:
            raise SqlError(202, "TOO_MANY_SIMULTANEOUS_QUERIES", f"{self._open} queries wait, run or are being read")
        self._open += 1
        try:
            return await anyio.to_thread.run_sync(self._engine.run, asked, limiter=self._slots)
        except BaseException:
            self._open -= 1
            raise

    async def _read(self, request: Request) -> SqlRequest | None:
        raw = await self._raw(request)
        values = dict(request.query_params)
        body = ""
        content_type = request.headers.get("content-type", "")
        if content_type.startswith("multipart/form-data"):
            values |= _form(content_type, raw)
        else:
            body = _text(raw)
        query = "\n".join(part for part in (values.get("query", ""), body) if part)
        if not query.strip():
            if request.method == "GET" and not request.query_params:
                return None
            raise SqlError(62, "SYNTAX_ERROR", "Empty query: send SQL as ?query= or as the body of a POST")
        if values.get("compress", "0") not in ("0", "") or values.get("decompress", "0") not in ("0", ""):
            raise SqlError(48, "NOT_IMPLEMENTED", "compress=1 is not served: ask with Accept-Encoding instead")
        token = clickhouse_token(request.headers)
        scope = await anyio.to_thread.run_sync(self._access.scope, token)
        return SqlRequest(
            query=query,
            parameters={name[6:]: value for name, value in values.items() if name.startswith("param_")},
            settings={
                name: value for name, value in values.items() if name not in _RESERVED and not name.startswith("param_")
            },
            database=values.get("database") or request.headers.get("x-clickhouse-database", ""),
            default_format=values.get("default_format") or request.headers.get("x-clickhouse-format") or "TabSeparated",
            native_revision=_number(values.get("client_protocol_version", "")),
            org_id=scope.org_id,
        )

    async def _raw(self, request: Request) -> bytes:
        limit = self._limits.query_bytes
        received = bytearray()
        try:
            async for chunk in request.stream():
                received += chunk
                if len(received) > limit:
                    raise SqlError.readonly(f"the request is longer than {limit} bytes; inserts are not served here")
        except ClientDisconnect:
            raise SqlError(210, "NETWORK_ERROR", "the client went away") from None
        encoding = request.headers.get("content-encoding", "")
        try:
            return decode_body(bytes(received), encoding, limit)
        except ValueError as error:
            raise SqlError.readonly(f"{error} (inserts are not served here)") from None

    async def _body(self, answer: SqlAnswer, encoder: Encoder | None, tag: str) -> AsyncIterator[bytes]:
        try:
            while True:
                block = await anyio.to_thread.run_sync(_next, answer.blocks, limiter=self._slots)
                if block is None:
                    break
                piece = encoder.add(block) if encoder else block
                if piece:
                    yield piece
        except SqlError as error:
            # The status is gone out already: like a server, append the error where clients look for it.
            text = error.trailer(self._engine.version, tag)
            yield encoder.add(text) if encoder else text
        if encoder is not None:
            yield encoder.end()

    def _failed(self, error: SqlError, headers: dict[str, str]) -> Response:
        headers |= {"X-ClickHouse-Exception-Code": str(error.code)}
        if error.code == _AUTHENTICATION_FAILED:
            headers["WWW-Authenticate"] = 'Basic realm="Spanledger SQL"'
        return PlainTextResponse(error.body(self._engine.version), status_code=error.status, headers=headers)


class _AnswerResponse(StreamingResponse):
    """A streamed answer whose session is freed however the response ends, even if it never began."""

    def __init__(self, body: AsyncIterator[bytes], headers: dict[str, str], release: Callable[[], None]) -> None:
        super().__init__(body, headers=headers)
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()


def _next(blocks: Blocks) -> bytes | None:
    return next(blocks, None)


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise SqlError.readonly("the query is not UTF-8 text (inserts are not served here)") from None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _header_text(value: str) -> str:
    return "".join(char for char in value[:200] if char.isascii() and char.isprintable())


def _form(content_type: str, raw: bytes) -> dict[str, str]:
    """The text fields of a multipart form (clients send long parameters that way)."""
    message = BytesParser(policy=HTTP).parsebytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + raw)
    fields: dict[str, str] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is not None:
            raise SqlError(48, "NOT_IMPLEMENTED", "external data is not served here: use parameters or WITH")
        payload = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(payload, bytes):
            fields[name] = _text(payload)
    return fields
