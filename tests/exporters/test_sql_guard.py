"""What the SQL endpoint lets through for a request that sees everything: reads, and nothing that leaves the engine."""

from __future__ import annotations

import json

import pytest

from spanledger.exporters.sql_errors import SqlError
from spanledger.exporters.sql_guard import simple_statement
from spanledger.exporters.sql_session import EmbeddedEngine, Limits, SqlRequest

READS = [
    "SELECT 1",
    "select 1 as x /* ; */ -- ;\n;",
    "SELECT ';' AS semicolon",
    "FROM system.one SELECT dummy",
    "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT sum(n) FROM t",
    "SELECT number FROM numbers(3) UNION ALL SELECT number FROM numbers(2)",
    "SELECT * FROM values('a UInt8, b String', (1, 'x'), (2, 'y'))",
    "SELECT count() FROM generate_series(1, 10)",
    "SELECT * EXCEPT (labels) REPLACE (upper(provider) AS provider) APPLY toString FROM calls",
    "SELECT COLUMNS('^cost') FROM calls",
    "SELECT c.COLUMNS('^cost'), c.* FROM calls AS c",
    "SELECT arrayMap(x -> x * 2, [1, 2]), (1, 'a').1, map('a', 1)['a'], CAST('1', 'UInt8'), '1'::Decimal(38, 12)",
    "SELECT sumIf(cost_usd, status = 'ok'), quantile(0.9)(duration_ms), countDistinct(session_id) FROM calls",
    "SELECT toStartOfHour(started_at) AS t FROM calls GROUP BY t ORDER BY t WITH FILL STEP INTERVAL 1 HOUR",
    "SELECT model, lagInFrame(calls) OVER w FROM usage_by_hour WINDOW w AS (PARTITION BY model ORDER BY bucket)",
    "SELECT * FROM calls AS a ASOF LEFT JOIN calls AS b ON a.org_id = b.org_id AND a.started_at >= b.started_at",
    "SELECT * FROM calls_settled FINAL PREWHERE org_id = 'acme' WHERE 1 LIMIT 1 BY org_id",
    "SELECT team_id, count() FROM calls GROUP BY ROLLUP (team_id) ORDER BY 1 LIMIT 2, 3",
    "SELECT team_id, count() AS n FROM calls GROUP BY team_id WITH TOTALS HAVING n > 0",
    "SELECT 1 INTERSECT SELECT 1",
    "SELECT 1 WHERE 1 IN (1, 2) AND 'a' LIKE 'a%' AND NOT EXISTS (SELECT 1 WHERE 0) AND 2 BETWEEN 1 AND 3",
    "SELECT CASE WHEN 1 THEN 2 ELSE 3 END, INTERVAL 1 DAY, DATE '2026-11-01', if(1, 2, NULL)",
    "SELECT * FROM system.tables",
    "SELECT query FROM system.processes",
    "SHOW TABLES",
    "SHOW TABLES FROM system LIKE 'one'",
    "SHOW COLUMNS FROM calls",
    "SHOW DATABASES",
    "SHOW CREATE TABLE spanledger.calls_settled",
    "show create view `spanledger`.`calls`",
    "DESCRIBE TABLE spanledger.calls",
    "desc calls",
    "EXISTS spanledger.calls",
    "EXPLAIN SELECT * FROM calls",
    "EXPLAIN SYNTAX SELECT 1",
]

WRITES = [
    "INSERT INTO spanledger.counters VALUES ('a', 'b', 'c', 'd', 1)",
    "INSERT INTO spanledger.counters SELECT * FROM spanledger.counters",
    "INSERT INTO FUNCTION file('/tmp/x', 'CSV') SELECT 1",
    "CREATE TABLE x (a Int8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE x (a Int8)",
    "DROP TABLE spanledger.calls_settled",
    "TRUNCATE TABLE spanledger.calls_settled",
    "ALTER TABLE spanledger.calls_settled DELETE WHERE 1",
    "DELETE FROM spanledger.calls_settled WHERE 1",
    "UPDATE spanledger.calls_settled SET cost_usd = 0 WHERE 1",
    "OPTIMIZE TABLE spanledger.calls_settled FINAL",
    "RENAME TABLE spanledger.calls_settled TO spanledger.x",
    "EXCHANGE TABLES spanledger.a AND spanledger.b",
    "SYSTEM SHUTDOWN",
    "SYSTEM STOP MERGES",
    "KILL QUERY WHERE 1",
    "SET readonly = 0",
    "USE system",
    "GRANT ALL ON *.* TO default",
    "CREATE FUNCTION f AS x -> x",
    "BACKUP TABLE spanledger.counters TO File('/tmp/x')",
    "SELECT 1 INTO OUTFILE '/tmp/x'",
    "SELECT 1 INTO OUTFILE '/tmp/x' TRUNCATE AND STDOUT FORMAT CSV",
    "DETACH TABLE spanledger.calls_settled",
    "UNDROP TABLE x",
    "CHECK TABLE spanledger.counters",
]

ESCAPES = [
    "SELECT file('/etc/hostname')",
    "SELECT FILE('/etc/hostname')",
    "SELECT `file`('/etc/hostname')",
    "SELECT * FROM file('/etc/hostname', 'LineAsString')",
    "SELECT * FROM File('/etc/hostname', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:1', 'LineAsString')",
    "SELECT * FROM remote('127.0.0.1:9000', system.one)",
    "SELECT * FROM Python(data)",
    "SELECT * FROM executable('id', 'TSV', 'x String')",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM fileCluster('default', '/etc/hostname', 'LineAsString')",
    "SELECT * FROM filesystem('/etc')",
    "SELECT * FROM (SELECT * FROM (SELECT * FROM file('/etc/hostname', 'LineAsString')))",
    "SELECT count() FROM calls WHERE file('/etc/hostname') != ''",
    "SELECT (SELECT file('/etc/hostname'))",
    "EXPLAIN SYNTAX SELECT * FROM file('/etc/hostname', 'LineAsString')",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE spanledger.calls_settled",
    "SELECT 1;; SELECT 2",
]


CATEGORIES = {
    "",
    "AI",
    "Aggregate Functions",
    "Arithmetic",
    "Arrays",
    "Bit",
    "Bitmap",
    "Comparison",
    "Conditional",
    "Dates and Times",
    "Dictionary",
    "Distance",
    "Embedded Dictionary",
    "Encoding",
    "Encryption",
    "Financial",
    "Geo",
    "Geo Polygon",
    "Hash",
    "IP Address",
    "Internal",
    "Introspection",
    "JSON",
    "Logical",
    "Machine Learning",
    "Map",
    "Mathematical",
    "Null",
    "NumericIndexedVector",
    "Other",
    "QBit",
    "Random Number",
    "Rounding",
    "String",
    "String Replacement",
    "String Search",
    "String Splitting",
    "Time Series",
    "Time Window",
    "Tuple",
    "Type Conversion",
    "URL",
    "UUID",
}
"""The kinds of functions that were looked at when the guard's lists were written."""


@pytest.fixture(scope="module")
def engine(books) -> EmbeddedEngine:
    return EmbeddedEngine(books.ledger.client, Limits(seconds=20))


def ask(engine: EmbeddedEngine, query: str, **fields) -> bytes:
    return b"".join(engine.run(SqlRequest(query=query, **fields)).blocks)


@pytest.mark.parametrize("query", READS)
def test_reads_pass(engine, query):
    """The guard knows every clause of a SELECT."""
    ask(engine, query)


@pytest.mark.parametrize("query", WRITES)
def test_writes_are_refused_as_a_readonly_server_does(engine, query):
    with pytest.raises(SqlError) as caught:
        ask(engine, query)
    assert caught.value.code == 164, caught.value
    assert caught.value.name == "READONLY"


@pytest.mark.parametrize("query", ESCAPES)
def test_ways_out_of_the_engine_are_refused(engine, query):
    with pytest.raises(SqlError) as caught:
        ask(engine, query)
    assert caught.value.name in ("ACCESS_DENIED", "SYNTAX_ERROR"), caught.value


def test_refusals_leave_no_trace(engine, books, tmp_path):
    """Nothing was written, in the store or on the disk."""
    before = books.ledger.query("SELECT count() FROM spanledger.counters").first_row
    target = tmp_path / "stolen"
    for query in (
        f"SELECT 1 INTO OUTFILE '{target}'",
        f"INSERT INTO FUNCTION file('{target}', 'CSV') SELECT 1",
        *WRITES,
    ):
        with pytest.raises(SqlError):
            ask(engine, query)
    assert not target.exists()
    assert books.ledger.query("SELECT count() FROM spanledger.counters").first_row == before


def test_all_functions_of_the_engine_that_reach_out_are_known(engine):
    """A new engine may bring new kinds of functions: they must be looked at before they pass."""
    rows = ask(engine, "SELECT DISTINCT categories FROM system.functions FORMAT JSONCompactEachRow").splitlines()
    assert {json.loads(row)[0] for row in rows} == CATEGORIES


def test_dictionaries_models_and_ai_are_refused_by_kind(engine):
    rows = ask(
        engine,
        "SELECT name FROM system.functions WHERE categories IN ('AI', 'Dictionary', 'Embedded Dictionary')",
    )
    names = rows.decode().split()
    assert len(names) > 40
    for name in names:
        with pytest.raises(SqlError, match="reaches beyond"):
            ask(engine, f"SELECT {name}('x')")


def test_sessions_never_mix(engine):
    """What one request chose is gone in the next."""
    first = ask(engine, "SELECT getSetting('max_threads')", settings={"max_threads": "1"})
    assert first == b"1\n"
    assert ask(engine, "SELECT value FROM system.settings WHERE name = 'max_threads' AND changed") == b""
    assert ask(engine, "SELECT currentDatabase()", database="system") == b"system\n"
    assert ask(engine, "SELECT currentDatabase()") == b"spanledger\n"


@pytest.mark.parametrize(("asked", "given"), [("5", "5"), ("20", "20"), ("3600", "20"), ("0", "20"), ("-1", "20")])
def test_running_time_is_at_most_the_limit(engine, asked, given):
    answer = ask(engine, "SELECT getSetting('max_execution_time')", settings={"max_execution_time": asked})
    assert answer.decode().strip() == given


@pytest.mark.parametrize("asked", ["x", "", "1e999", "nan"])
def test_a_limit_must_be_a_number(engine, asked):
    with pytest.raises(SqlError, match="not a number"):
        ask(engine, "SELECT 1", settings={"max_execution_time": asked})


def test_a_long_query_is_stopped(books):
    engine = EmbeddedEngine(books.ledger.client, Limits(seconds=1))
    with pytest.raises(SqlError) as caught:
        ask(engine, "SELECT count() FROM numbers(1000000000000) WHERE sipHash64(number) = 1")
    assert caught.value.name == "TIMEOUT_EXCEEDED"
    assert caught.value.status == 408


def test_a_hungry_query_is_stopped(books):
    engine = EmbeddedEngine(books.ledger.client, Limits(memory_bytes=20_000_000))
    with pytest.raises(SqlError) as caught:
        ask(engine, "SELECT uniqExact(number) FROM numbers(100000000)")
    assert caught.value.name == "MEMORY_LIMIT_EXCEEDED"


def test_a_whole_answer_is_bounded_and_a_streamed_one_is_not(books):
    engine = EmbeddedEngine(books.ledger.client, Limits(result_bytes=1_000_000))
    with pytest.raises(SqlError) as caught:
        ask(engine, "SELECT number FROM numbers(1000000) FORMAT JSON")
    assert caught.value.status == 413
    assert len(ask(engine, "SELECT number FROM numbers(1000000) FORMAT RowBinary")) == 8_000_000


def test_queries_reach_the_engine_as_written(engine):
    """Checking escapes the text for its own use; what runs is the original."""
    text = "tab\there, line\nthere, back\\slash, quote'd, ünï, \u0000"
    literal = text.replace("\\", "\\\\").replace("'", "\\'")
    assert ask(engine, f"SELECT '{literal}' FORMAT RawBLOB").decode() == text


@pytest.mark.parametrize(
    "query",
    [
        "DESCRIBE calls WHERE 1",
        "DESCRIBE (SELECT 1)",
        "DESCRIBE merge('a', 'b')",
        "EXISTS DATABASE x",
        "SHOW CREATE USER x",
    ],
)
def test_only_plain_statements_are_read_without_the_parser(query):
    assert simple_statement(query) is None
