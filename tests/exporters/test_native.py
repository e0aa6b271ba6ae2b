"""Native blocks for newer clients, read back by an independent reader: clickhouse-connect's column types."""

from __future__ import annotations

import contextlib
from typing import Any

import httpx
import pytest
from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.ctypes import RespBuffCls
from clickhouse_connect.driver.exceptions import StreamCompleteException
from clickhouse_connect.driver.query import QueryContext

from spanledger.exporters.native import MIN_REVISION, UnsupportedTypeError, skip_for
from spanledger.exporters.sql_endpoint import create_app
from spanledger.exporters.sql_errors import SqlError
from spanledger.exporters.sql_session import EmbeddedEngine, Limits, SqlRequest

COLUMNS = [
    "number",
    "toString(number)",
    "repeat('long text ', number % 40)",
    "toNullable(number)",
    "if(number % 2, NULL, toString(number))",
    "[number, 2, 3]",
    "arrayMap(x -> toString(x), range(number % 5))",
    "[[number], [], [1, 2]]",
    "[toNullable(1), NULL]",
    "map('a', number, 'ü', 2)",
    "CAST(map(), 'Map(LowCardinality(String), Array(UInt8))')",
    "toLowCardinality(toString(number % 5))",
    "(number, 'x', [toString(number)])",
    "CAST((1, 'x'), 'Tuple(`odd name, (with) marks` UInt8, b Nullable(String))')",
    "CAST(number % 3, 'Enum8(\\'a(,\\' = 0, \\'it\\\\\\'s\\' = 1, \\'c\\' = 2)')",
    "toDecimal32(number, 3), toDecimal64(number, 3), toDecimal128(number, 12), toDecimal256(number, 30)",
    "toDate('2026-11-20'), toDate32('2026-11-20'), toDateTime('2026-11-20 12:00:00', 'UTC')",
    "toDateTime64('2026-11-20 12:00:00.123456789', 9, 'UTC')",
    "toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0'), toIPv4('1.2.3.4'), toIPv6('::1')",
    "toFixedString('abc', 5), toInt8(-1), toInt128(-5), toUInt256(7), toFloat32(1.5), -1.5, true",
    "NULL",
    "toLowCardinality(if(number % 3, NULL, toString(number)))",
    "[toLowCardinality('a'), 'b'], map(toLowCardinality(toString(number)), [toLowCardinality('x')])",
    "(toLowCardinality('a'), toLowCardinality(toString(number)))",
    "toLowCardinality(repeat('x', number))",
]


@pytest.fixture(scope="module")
def engine(books) -> EmbeddedEngine:
    return EmbeddedEngine(books.ledger.client, Limits(seconds=20))


class Source:
    """A finished body, as the driver's buffer wants it."""

    def __init__(self, body: bytes) -> None:
        self.gen = iter((body,))
        self.last_message = None
        self.exception_tag = None

    def close(self) -> None:
        pass


def read(body: bytes, *, revised: bool) -> list[tuple[str, str, list[Any]]]:
    """Columns of all blocks together: name, type, values. Follows clickhouse-go's Block.Decode."""
    source, context = RespBuffCls(Source(body)), QueryContext()
    columns: list[tuple[str, str, list[Any]]] = []
    while True:
        try:
            if revised:
                assert bytes(source.read_bytes(8)) == b"\x01\x00\x02\xff\xff\xff\xff\x00"
            count = source.read_leb128()
        except StreamCompleteException:
            return columns
        rows = source.read_leb128()
        for index in range(count):
            name, type_name = source.read_leb128_str(), source.read_leb128_str()
            if revised:
                assert source.read_bytes(1)[0] == 0
            values = list(get_from_name(type_name).read_column(source, rows, context)) if rows else []
            if index == len(columns):
                columns.append((name, type_name, []))
            columns[index][2].extend(values)


def ask(engine: EmbeddedEngine, query: str, revision: int) -> bytes:
    request = SqlRequest(query=query, default_format="Native", native_revision=revision)
    return b"".join(engine.run(request).blocks)


@pytest.mark.parametrize("columns", [*COLUMNS, ", ".join(COLUMNS)])
def test_the_same_values_in_both_revisions(engine, columns):
    """Every type, one by one and side by side: a column that is one byte too short spoils all that follow."""
    query = f"SELECT {columns} FROM numbers(300)"
    plain = read(ask(engine, query, 0), revised=False)
    revised = read(ask(engine, query, 54470), revised=True)
    assert len(plain[0][2]) == 300
    assert repr(revised) == repr(plain)


def test_many_blocks(engine):
    """A long result comes in several blocks, each with its own head."""
    query = "SELECT number, toString(number) FROM numbers(300000)"
    body = ask(engine, query, MIN_REVISION)
    assert body.count(b"\x01\x00\x02\xff\xff\xff\xff\x00") > 2
    numbers, texts = read(body, revised=True)
    assert numbers[2] == list(range(300_000))
    assert texts[2][-1] == "299999"


@pytest.mark.parametrize("table", ["calls", "observations", "usage_by_day", "witnesses", "bill_lines", "tieouts"])
def test_every_table_of_the_ledger_can_be_read(engine, table):
    query = f"SELECT * FROM spanledger.{table} ORDER BY ALL"
    assert repr(read(ask(engine, query, 54470), revised=True)) == repr(read(ask(engine, query, 0), revised=False))


def test_older_clients_get_what_they_got(engine):
    """Below the revision nothing changes: clickhouse-connect asks with 54405 and must not find a block info."""
    assert ask(engine, "SELECT 1", 54405) == ask(engine, "SELECT 1", 0)


def test_an_empty_result_is_empty(engine):
    assert ask(engine, "SELECT 1 WHERE 0", 54470) == b""


@pytest.mark.parametrize(
    "type_name", ["JSON", "Dynamic", "Variant(UInt8, String)", "AggregateFunction(sum, UInt8)", "Tuple()"]
)
def test_types_that_are_not_known_are_refused(type_name):
    with pytest.raises(UnsupportedTypeError, match="CAST them to String"):
        skip_for(type_name)


def test_an_unknown_type_is_an_error_of_the_query(engine):
    with pytest.raises(SqlError, match="CAST them to String") as caught:
        ask(engine, """SELECT CAST('{"a": 1}', 'JSON') AS j""", 54470)
    assert caught.value.status == 501


def test_it_is_chosen_by_the_url(books, serve):
    """As clickhouse-go asks."""
    url = serve(create_app(books.ledger.client))
    params = {"query": "SELECT 7 AS x", "default_format": "Native", "client_protocol_version": "54483"}
    assert read(httpx.get(url, params=params).content, revised=True) == [("x", "UInt8", [7])]
    for version in ("54405", "0", "", "x", "-1", "٣"):
        answer = httpx.get(url, params=params | {"client_protocol_version": version})
        assert read(answer.content, revised=False) == [("x", "UInt8", [7])]


def test_an_answer_frees_its_session(books, engine):
    """Exhausted, closed half-way, closed at once or failing: every handle on the engine is closed again."""
    request = SqlRequest(query="SELECT number FROM numbers(300000)", default_format="Native")
    # One thread, small blocks: the engine must have answered with a block before it fails.
    failing = SqlRequest(
        query="SELECT throwIf(number = 200000) FROM numbers(300000)",
        default_format="Native",
        settings={"max_threads": "1", "max_block_size": "1000"},
    )
    for asked, steps in ((request, 10**6), (request, 1), (request, 0), (failing, 10**6)):
        blocks = engine.run(asked).blocks
        connection = blocks._connection
        with contextlib.suppress(SqlError):
            for _, _ in zip(range(steps), blocks, strict=False):
                pass
        blocks.close()
        assert connection._conn is None
        blocks.close()
        assert list(blocks) == []
