"""The control listener: how other commands of the same user write while the server owns the store.

Loopback only, a random port and a random secret, both in the data directory's ``server.json``, which its owner alone
can read. Three things are served: ClickHouse's HTTP interface with writes (so that every command uses the same client
on any kind of store), the import of OTLP bodies into a named organisation, and pricing calls anew.
"""

from __future__ import annotations

import hmac
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import anyio.to_thread
import chdb
import lz4.frame  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from spanledger.cli import repricing
from spanledger.cli.repricing import Feed
from spanledger.collector import http_receiver
from spanledger.collector.auth import Authenticator
from spanledger.collector.intake import Intake
from spanledger.exporters.access import AccessDeniedError, clickhouse_token
from spanledger.exporters.compression import decode_body

MAX_BODY_BYTES: Final = 1 << 30
_CHDB: Final[Any] = chdb
"""``connect`` has no type information in every version."""
_FORMAT: Final = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*\Z", re.IGNORECASE)
_INSERT: Final = re.compile(rb"\s*(INSERT\s+INTO\s[^\n]*?)\s+FORMAT\s+(\w+)[ \t]*\n", re.IGNORECASE)
_SETTING: Final = re.compile(r"[a-z_][a-z0-9_]*\Z")
_TRANSPORT: Final = frozenset(
    {"buffer_size", "compress", "database", "decompress", "default_format", "enable_http_compression", "password"}
    | {"cancel_http_readonly_queries_on_client_close", "client_protocol_version", "http_headers_progress_interval_ms"}
    | {"query", "query_id", "quota_key", "role", "send_progress_in_http_headers", "user", "wait_end_of_query"}
    | {"session_check", "session_id", "session_timeout"}
)
"""URL parameters that steer the transport, not the engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """What the control listener works on.

    Attributes:
        secret: the password that callers must show.
        engine_path: the embedded store that this process has open; ``""`` when the ledger is on a ClickHouse server.
        intake: the door to the journal.
        settle: waits until the journal is worked off, for at most the given seconds; whether it is.
        reprice: prices calls anew by the parameters of a request (`spanledger.cli.repricing`).
    """

    secret: str
    engine_path: str
    intake: Intake
    settle: Callable[[float], bool]
    reprice: Callable[[Mapping[str, str]], Feed]

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/", self._sql, methods=["GET", "POST"]),
                Route("/ping", self._ping, methods=["GET"]),
                Mount(
                    "/otlp",
                    http_receiver.create_app(self.intake, Authenticator(_OrgOfCaller(self.secret), required=True)),
                ),
                Route("/settle", self._settle, methods=["POST"]),
                Route(repricing.PATH, self._reprice, methods=["POST"]),
            ]
        )

    async def _ping(self, _request: Request) -> Response:
        return PlainTextResponse("Ok.\n")

    def _refusal(self, request: Request) -> Response | None:
        try:
            token = clickhouse_token(request.headers)
        except AccessDeniedError:
            token = ""
        if hmac.compare_digest(token.encode(), self.secret.encode()):
            return None
        return PlainTextResponse("Code: 516. DB::Exception: wrong secret. (AUTHENTICATION_FAILED)", status_code=403)

    async def _settle(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        seconds = float(request.query_params.get("seconds", "30"))
        return JSONResponse({"settled": await anyio.to_thread.run_sync(self.settle, seconds)})

    async def _reprice(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            lines = self.reprice(request.query_params)
        except ValueError as error:
            return PlainTextResponse(str(error), status_code=400)
        return StreamingResponse(lines(), media_type="application/x-ndjson")

    async def _sql(self, request: Request) -> Response:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        values = dict(request.query_params)
        content_type = request.headers.get("content-type", "")
        if content_type.startswith("multipart/form-data"):
            async with request.form() as form:
                values |= {name: value for name, value in form.items() if isinstance(value, str)}
            body = b""
        else:
            body = await request.body()
        statement = values.get("query", "").encode()
        try:
            body = _unpack(body, request.headers.get("content-encoding", ""))
            whole = statement + b"\n" + body if statement and body else statement or body
            answer, answer_format = await anyio.to_thread.run_sync(self._run, whole, values)
        except (RuntimeError, ValueError, chdb.ChdbError) as error:
            return _engine_error(str(error))
        headers = {"X-ClickHouse-Format": answer_format, "X-ClickHouse-Timezone": "UTC"}
        return Response(answer, headers=headers, media_type="application/octet-stream")

    def _run(self, whole: bytes, values: Mapping[str, str]) -> tuple[bytes, str]:
        connection: Any = _CHDB.connect(self.engine_path)
        try:
            database = values.get("database", "")
            if database:
                connection.query(f"USE {_identifier(database)}")
            for name, value in values.items():
                if name not in _TRANSPORT and not name.startswith("param_") and _SETTING.match(name):
                    connection.query(f"SET {name} = {_literal(value)}")
            insert = _INSERT.match(whole)
            if insert is not None:
                _insert(connection, insert.group(1).decode(), insert.group(2).decode(), whole[insert.end() :])
                return b"", "TabSeparated"
            sql = whole.decode()
            written = _FORMAT.search(sql)
            answer_format = written.group(1) if written else values.get("default_format", "TabSeparated")
            parameters = {name[6:]: value for name, value in values.items() if name.startswith("param_")}
            result = connection.query(sql, answer_format, params=parameters)
            return bytes(result.bytes() or b""), answer_format
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class _OrgOfCaller:
    """Whoever knows the secret may write into any organisation: the token is ``SECRET.ORG``."""

    secret: str

    def verify(self, token: str, /) -> str | None:
        secret, _, org_id = token.partition(".")
        return org_id if hmac.compare_digest(secret.encode(), self.secret.encode()) and org_id else None


def _unpack(body: bytes, encoding: str) -> bytes:
    if encoding == "lz4":  # what clickhouse-connect sends inserts with
        frame: Any = lz4.frame
        return bytes(frame.decompress(body))
    return decode_body(body, encoding, MAX_BODY_BYTES)


def _insert(connection: Any, head: str, data_format: str, data: bytes) -> None:
    """The engine takes inserted data from files only."""
    with tempfile.NamedTemporaryFile(suffix=".spanledger") as file:
        file.write(data)
        file.flush()
        connection.query(f"{head} FROM INFILE {_literal(str(Path(file.name)))} FORMAT {data_format}")


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _engine_error(text: str) -> Response:
    start = text.find("Code: ")
    message = text[start:] if start >= 0 else f"Code: 1002. DB::Exception: {text}"
    code = message.removeprefix("Code: ").split(".")[0]
    return PlainTextResponse(message, status_code=500, headers={"X-ClickHouse-Exception-Code": code})
