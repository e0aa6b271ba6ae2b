"""Runs one checked query on the embedded engine, in a session of its own.

Every request gets a fresh engine handle (about a millisecond): settings, the current database and the row filters of
one request can never reach another. The query is checked first; then come limits and filters, and ``readonly = 1``
last, so that the query itself can change none of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import chdb
from clickhouse_connect.driver.client import Client

from spanledger.exporters import native, sql_guard
from spanledger.exporters.sql_errors import SqlError
from spanledger.exporters.sql_guard import DATABASE, Readable

STREAMED: Final = frozenset(
    {"Native", "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV", "RowBinary", "JSONEachRow"}
)
"""Formats whose blocks can be sent one after another; all others have a header or footer and are built as a whole."""

HIDDEN: Final = frozenset({"api_tokens", "connection_versions", "connections", "orgs", "raw_bodies", "raw_responses"})
"""Never in sight of a token, although their rows belong to organisations."""

_IGNORED_SETTINGS: Final = frozenset(
    {
        "add_http_cors_header",
        "allow_experimental_analyzer",
        "buffer_size",
        "cancel_http_readonly_queries_on_client_close",
        "client_protocol_version",
        "enable_http_compression",
        "http_headers_progress_interval_ms",
        "http_zlib_compression_level",
        "log_queries",
        "query_id",
        "quota_key",
        "readonly",
        "send_progress_in_http_headers",
        "session_check",
        "session_id",
        "session_timeout",
        "wait_end_of_query",
    }
)
"""Transport settings that clients send as a matter of course, and that change no answer of ours."""

_SETTINGS: Final = frozenset(
    {
        "cast_keep_nullable",
        "count_distinct_implementation",
        "date_time_output_format",
        "extremes",
        "group_by_use_nulls",
        "join_use_nulls",
        "limit",
        "max_block_size",
        "max_result_rows",
        "max_threads",
        "offset",
        "result_overflow_mode",
        "session_timezone",
        "totals_mode",
    }
)
_SETTING_PREFIXES: Final = ("output_format_",)
"""Settings that a request may choose: they shape the answer and open nothing."""

_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})

_SCOPED_SETTINGS: Final = {
    # A condition of the query must never see a row before the organisation's own filter has passed it: an exception
    # with the row's value in its text would carry it out.
    "optimize_move_to_prewhere": 0,
    "query_plan_optimize_prewhere": 0,
    "query_plan_merge_filters": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one query may cost; the store's owner lives in the same process.

    Attributes:
        seconds: running time.
        memory_bytes: memory inside the engine.
        result_bytes: size of an answer that must be built as a whole before it is sent (JSON, Parquet, ...).
        query_bytes: length of the SQL text.
    """

    seconds: int = 60
    memory_bytes: int = 1 << 30
    result_bytes: int = 256 << 20
    query_bytes: int = 1 << 20


def _nothing() -> dict[str, str]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlRequest:
    """One query as it came in.

    Attributes:
        query: one statement.
        parameters: values of ``{name:Type}`` by name, in ClickHouse's escaped text form.
        settings: settings from the URL.
        database: the session's database; ``""`` for the ledger's.
        default_format: when the query has no FORMAT clause.
        native_revision: the protocol revision in which the client reads the Native format; 0 for the oldest.
        org_id: the only organisation in sight; ``None`` for all.
    """

    query: str
    parameters: Mapping[str, str] = field(default_factory=_nothing)
    settings: Mapping[str, str] = field(default_factory=_nothing)
    database: str = ""
    default_format: str = "TabSeparated"
    native_revision: int = 0
    org_id: str | None = None


class Blocks(Protocol):
    """The pieces of an answer's body. Exhausting or closing it frees the session."""

    def __iter__(self) -> Iterator[bytes]: ...

    def __next__(self) -> bytes: ...

    def close(self) -> None:
        """Free the session; again is harmless."""
        ...


@dataclass(frozen=True, slots=True)
class SqlAnswer:
    """An answer whose first block is computed.

    Attributes:
        format: the output format.
        blocks: the body in pieces; must be exhausted or closed.
        summary: ClickHouse's summary numbers as far as they are known before the body is sent, in texts.
    """

    format: str
    blocks: Blocks
    summary: Mapping[str, str]


class EmbeddedEngine:
    """The engine that this process has open on an embedded store."""

    def __init__(self, client: Client, limits: Limits) -> None:
        """Find the engine behind an embedded client.

        Raises:
            SqlError: the client speaks to a server, or the engine is too old to check queries.
        """
        store: Any = client
        if getattr(store, "path", None) is None:
            raise SqlError.bad("the SQL endpoint serves the embedded store; a ClickHouse server has its own HTTP port")
        self._limits = limits
        self._path, self.version, self.timezone, can_check = store.query(
            "SELECT getServerSetting('path'), version(), timezone(),"
            " (SELECT count() FROM system.functions WHERE name = 'parseQueryToJSON')"
        ).first_row
        if not can_check:
            raise SqlError.bad(f"chDB {self.version} has no parseQueryToJSON, which checks queries: upgrade to 26.8")

    def run(self, request: SqlRequest) -> SqlAnswer:
        """Check and start a query. Blocks until the first block of the answer is there.

        Raises:
            SqlError: refused or failed.
        """
        connection = _open(self._path)
        try:
            # An expression without SELECT is a query for this engine, but not for ClickHouse's HTTP interface.
            _execute(connection, "SET implicit_select = 0")
            readable = None if request.org_id is None else _readable(connection)
            checked = _check(connection, request.query, readable)
            form = checked.format or request.default_format
            is_streamed = checked.is_select and form in STREAMED
            self._restrict(connection, request, readable, is_streamed=is_streamed)
            return (_stream if is_streamed else _whole)(connection, request, form)
        except BaseException:
            connection.close()
            raise

    def _restrict(self, connection: Any, request: SqlRequest, readable: Readable | None, *, is_streamed: bool) -> None:
        settings: dict[str, str | int] = {
            "max_execution_time": self._limits.seconds,
            "max_memory_usage": self._limits.memory_bytes,
            # Tells clients that they may ask for compressed answers.
            "enable_http_compression": 1,
        }
        if not is_streamed:
            settings["max_result_bytes"] = self._limits.result_bytes
        settings |= self._chosen(request.settings)
        database = request.database or DATABASE
        if request.org_id is not None and readable is not None:
            if database not in (DATABASE, "default"):
                raise SqlError(81, "UNKNOWN_DATABASE", f"only the database {DATABASE} is in sight of this token")
            database = DATABASE
            settings |= _SCOPED_SETTINGS
            settings["additional_table_filters"] = _filters(readable, request.org_id)
        _execute(connection, f"USE {_identifier(database)}")
        # Two steps: with readonly among them, the engine may or may not refuse those that follow.
        _execute(connection, "SET " + ", ".join(f"{name} = {_literal(value)}" for name, value in settings.items()))
        _execute(connection, "SET readonly = 1")

    def _chosen(self, wanted: Mapping[str, str]) -> dict[str, str | int]:
        chosen: dict[str, str | int] = {}
        for name, value in wanted.items():
            if name in _IGNORED_SETTINGS:
                continue
            if name == "max_execution_time":
                chosen[name] = _at_most(name, value, self._limits.seconds)
            elif name == "max_memory_usage":
                chosen[name] = _at_most(name, value, self._limits.memory_bytes)
            elif name == "max_result_bytes":
                chosen[name] = _at_most(name, value, self._limits.result_bytes)
            elif name in _SETTINGS or (name.startswith(_SETTING_PREFIXES) and name.isidentifier()):
                chosen[name] = value
            else:
                raise SqlError.readonly(f"Cannot modify '{name[:80]}' setting in readonly mode")
        return chosen


def _at_most(name: str, value: str, limit: int) -> int:
    try:
        number = int(float(value))
    except (ValueError, OverflowError):
        raise SqlError.bad(f"{name}={value[:40]!r} is not a number") from None
    return min(number, limit) if number > 0 else limit


_CHDB: Final[Any] = chdb
"""``connect`` has no type information in every version."""


def _open(path: str) -> Any:
    try:
        return _CHDB.connect(path)
    except RuntimeError as error:
        raise SqlError(999, "STORE_CLOSED", f"the embedded store is not open: {error}") from error


def _execute(connection: Any, sql: str, form: str = "TabSeparated", parameters: Mapping[str, str] | None = None) -> Any:
    try:
        return connection.query(sql, form, params=dict(parameters or {}))
    except (RuntimeError, chdb.ChdbError) as error:
        raise SqlError.from_engine(str(error)) from None


def _check(connection: Any, query: str, readable: Readable | None) -> sql_guard.Checked:
    simple = sql_guard.simple_statement(query)
    if simple is not None:
        return sql_guard.check_simple(simple, readable)
    try:
        tree = _execute(
            connection, "SELECT parseQueryToJSON({query:String})", "TabSeparatedRaw", {"query": _escaped(query)}
        )
    except SqlError as error:
        raise _refused_by_parser(query, error) from None
    return sql_guard.check(bytes(tree.bytes()).decode(), readable)


def _refused_by_parser(query: str, error: SqlError) -> SqlError:
    """Say what the engine's parser found, without the SQL that we wrapped around the query."""
    message = error.message.partition(": In scope SELECT parseQueryToJSON")[0]
    if error.name == "BAD_ARGUMENTS":
        statement = " ".join(query.split()[:2])[:40].upper()
        return SqlError.readonly(f"Cannot execute {statement!r} in readonly mode: {sql_guard.ANSWERED}")
    return SqlError(error.code, error.name, message)


def _readable(connection: Any) -> Readable:
    rows = _execute(
        connection,
        "SELECT table, max(name = 'org_id') FROM system.columns WHERE database = {database:String} GROUP BY table",
        "JSONCompactEachRow",
        {"database": DATABASE},
    )
    tables = dict(json.loads(line) for line in bytes(rows.bytes()).splitlines())
    filtered = frozenset(name for name, has_org in tables.items() if has_org and name not in HIDDEN)
    return Readable(filtered=filtered, hidden=frozenset(tables) - filtered)


def _filters(readable: Readable, org_id: str) -> str:
    condition = _quoted(f"org_id = {_quoted(org_id)}")
    names = sorted(readable.filtered)
    return "{" + ", ".join(f"{_quoted(f'{DATABASE}.{name}')}: {condition}" for name in names) + "}"


def _stream(connection: Any, request: SqlRequest, form: str) -> SqlAnswer:
    try:
        stream = connection.send_query(request.query, form, params=dict(request.parameters))
        first = next(stream, None)
    except (RuntimeError, chdb.ChdbError) as error:
        raise SqlError.from_engine(str(error)) from None
    is_revised = form == "Native" and request.native_revision >= native.MIN_REVISION
    return SqlAnswer(form, _Stream(connection, stream, first, is_revised=is_revised), _summary(first))


class _Stream:
    """The blocks of a running query; frees its session at the end, at an error, and when it is closed."""

    def __init__(self, connection: Any, stream: Any, first: Any, *, is_revised: bool) -> None:
        """Take over the session.

        Raises:
            SqlError: the first block cannot be served in the wanted form.
        """
        self._connection = connection
        self._stream = stream
        self._is_revised = is_revised
        self._first: bytes | None = None if first is None else self._data(first)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        block, self._first = self._first, None
        if block is None:
            block = self._fetch()
        if block is None:
            self.close()
            raise StopIteration
        return block

    def close(self) -> None:
        """Stop the query and free the session; again is harmless."""
        self._first = None
        with suppress(RuntimeError, chdb.ChdbError):
            self._stream.close()
        self._connection.close()

    def _fetch(self) -> bytes | None:
        try:
            block = next(self._stream, None)
        except (RuntimeError, chdb.ChdbError) as error:
            self.close()
            raise SqlError.from_engine(str(error)) from None
        return None if block is None else self._data(block)

    def _data(self, block: Any) -> bytes:
        data = bytes(block.bytes())
        if not self._is_revised:
            return data
        try:
            return native.revised(data)
        except native.UnsupportedTypeError as error:
            self.close()
            raise SqlError(48, "NOT_IMPLEMENTED", str(error)) from None


def _whole(connection: Any, request: SqlRequest, form: str) -> SqlAnswer:
    result = _execute(connection, request.query, form, request.parameters)
    body = bytes(result.bytes())
    connection.close()
    return SqlAnswer(form, _Whole(body), _summary(result))


class _Whole:
    """A body in one piece."""

    def __init__(self, body: bytes) -> None:
        self._pieces = [body]

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if not self._pieces:
            raise StopIteration
        return self._pieces.pop()

    def close(self) -> None:
        self._pieces.clear()


def _summary(result: Any) -> dict[str, str]:
    if result is None:
        return {"read_rows": "0", "read_bytes": "0", "result_rows": "0"}
    return {
        "read_rows": str(result.storage_rows_read()),
        "read_bytes": str(result.storage_bytes_read()),
        "result_rows": str(result.rows_read()),
        "elapsed_ns": str(int(result.elapsed() * 1_000_000_000)),
    }


def _escaped(text: str) -> str:
    """A parameter's text form: ClickHouse unescapes it like a TabSeparated field."""
    return text.translate(_ESCAPES)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _literal(value: str | int) -> str:
    return str(value) if isinstance(value, int) or value.startswith("{") else _quoted(value)


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
