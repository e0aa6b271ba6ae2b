"""A token of one organisation sees that organisation's rows and nothing else, whatever SQL it sends."""

from __future__ import annotations

import json

import pytest

from spanledger.exporters.sql_errors import SqlError
from spanledger.exporters.sql_session import HIDDEN, EmbeddedEngine, Limits, SqlRequest

# Ways to rows of other organisations that a reader of ClickHouse's manual would try.
ATTACKS = [
    # tables that hold no organisation's rows, or secrets
    "SELECT * FROM spanledger.api_tokens",
    "SELECT * FROM api_tokens",
    "SELECT * FROM `spanledger`.`api_tokens`",
    "SELECT * FROM spanledger.orgs",
    "SELECT * FROM spanledger.connections",
    "WITH api_tokens AS (SELECT 1) SELECT * FROM (SELECT * FROM api_tokens)",
    "SELECT 'x' IN spanledger.api_tokens",
    "SELECT 'x' IN api_tokens",
    "SELECT ('globex', 1) IN spanledger.counters",
    "SELECT * FROM calls WHERE org_id IN orgs",
    "DESCRIBE TABLE spanledger.api_tokens",
    "SHOW CREATE TABLE spanledger.api_tokens",
    # system tables
    "SELECT * FROM system.tables",
    "SELECT * FROM system.columns",
    "SELECT name, total_rows FROM system.tables",
    "SELECT COLUMNS('name|total') FROM system.tables",
    "SELECT t.* FROM system.tables AS t",
    "SELECT name FROM system.tables WHERE total_rows > 3",
    "SELECT name FROM system.columns ORDER BY data_compressed_bytes",
    "SELECT name FROM (SELECT * FROM system.tables)",
    "SELECT name, (SELECT max(t.total_bytes) FROM system.tables AS t) AS x FROM system.databases",
    "SELECT org_id FROM calls, system.tables",
    "SELECT * FROM system.parts",
    "SELECT * FROM system.parts_columns",
    "SELECT * FROM system.processes",
    "SELECT * FROM system.query_log",
    "SELECT * FROM system.query_cache",
    "SELECT * FROM system.disks",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM INFORMATION_SCHEMA.COLUMNS",
    # table functions
    "SELECT * FROM merge('spanledger', '.*')",
    "SELECT * FROM merge(currentDatabase(), 'calls_settled')",
    "SELECT * FROM remote('127.0.0.1', 'spanledger', 'calls_settled')",
    "SELECT * FROM remote('127.0.0.1', spanledger.calls_settled)",
    "SELECT * FROM cluster('default', 'spanledger', 'calls_settled')",
    "SELECT * FROM clusterAllReplicas('default', spanledger.calls_settled)",
    "SELECT * FROM mergeTreeIndex('spanledger', 'calls_settled')",
    "SELECT * FROM mergeTreeProjection('spanledger', 'calls_settled', 'p')",
    "SELECT * FROM mergeTreeTextIndex('spanledger', 'calls_settled', 'i')",
    "SELECT * FROM loop('spanledger', 'calls_settled') LIMIT 10",
    "SELECT * FROM loop(spanledger.calls_settled) LIMIT 10",
    "SELECT * FROM view(SELECT * FROM merge('spanledger', 'calls_settled'))",
    "SELECT * FROM viewIfPermitted(SELECT * FROM spanledger.api_tokens ELSE null('x String'))",
    "SELECT * FROM dictionary('spanledger.calls')",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT * FROM s3('http://127.0.0.1:1/x.csv')",
    "SELECT * FROM sqlite('/tmp/x', 'y')",
    "SELECT * FROM executable('cat /etc/passwd', 'TSV', 'x String')",
    "SELECT * FROM Python(books)",
    "SELECT * FROM (EXPLAIN SELECT * FROM spanledger.api_tokens)",
    "SELECT * FROM numbers((SELECT count() FROM merge('spanledger', 'calls_settled')))",
    # functions
    "SELECT file('/etc/passwd')",
    "SELECT * APPLY(x -> file('/etc/passwd')) FROM calls",
    "SELECT * APPLY file FROM calls",
    "SELECT * REPLACE (file('/etc/passwd') AS team_id) FROM calls",
    "SELECT COLUMNS('org') APPLY(joinGet) FROM calls",
    "SELECT joinGet('spanledger.calls_settled', 'user_id', 'x')",
    "SELECT dictGet('spanledger.calls', 'user_id', 1)",
    "SELECT __getScalar('x')",
    "SELECT getServerSetting('path')",
    "SELECT arrayMap(x -> file('/etc/passwd'), [1])",
    "SELECT count() OVER (PARTITION BY file('/etc/passwd')) FROM calls",
    "SELECT 1 ORDER BY file('/etc/passwd')",
    "SELECT 1 WHERE 1 = (SELECT count() FROM merge('spanledger', 'calls'))",
    "WITH (SELECT any(user_id) FROM merge('spanledger', 'calls')) AS x SELECT x",
    "SELECT 1 LIMIT (SELECT count() FROM merge('spanledger', 'calls'))",
    "SELECT aiGenerate('x')",
    "SELECT sleep(3)",
    # settings and statements
    "SELECT * FROM calls SETTINGS additional_table_filters = {}",
    "SELECT * FROM (SELECT * FROM calls SETTINGS additional_table_filters = {'spanledger.calls_settled': '1'})",
    "SELECT * FROM calls FORMAT JSON SETTINGS additional_table_filters = {}",
    "SELECT * FROM calls SETTINGS readonly = 0",
    "SET additional_table_filters = {}",
    "SELECT 1; SELECT * FROM merge('spanledger', 'calls_settled')",
    "SELECT 1;\n-- x\nSELECT * FROM merge('spanledger', 'calls_settled');",
    "EXPLAIN ESTIMATE SELECT * FROM calls",
    "EXPLAIN SELECT * FROM calls",
    "SELECT * FROM calls_settled PREWHERE user_id LIKE '%'",
    "SELECT * FROM calls INTO OUTFILE '/tmp/stolen'",
    "INSERT INTO FUNCTION file('/tmp/stolen', 'CSV') SELECT * FROM calls",
    "CREATE TEMPORARY TABLE x AS SELECT * FROM merge('spanledger', 'calls_settled')",
    "CREATE VIEW spanledger.v AS SELECT * FROM merge('spanledger', 'calls_settled')",
    "BACKUP DATABASE spanledger TO File('/tmp/stolen')",
    "KILL QUERY WHERE 1",
    "USE system",
    "SHOW PROCESSLIST",
    "SHOW TABLES FROM system",
    "SHOW TABLES WHERE (SELECT count() FROM merge('spanledger', 'calls_settled')) > 0",
    "SHOW COLUMNS FROM calls WHERE file('/etc/passwd') != ''",
    "SHOW GRANTS",
    "CHECK TABLE spanledger.calls_settled",
    "DESCRIBE (SELECT * FROM merge('spanledger', 'calls_settled'))",
    "exit",
    "1 + 1",
]

# Honest queries over every kind of clause: all must work, and show acme alone.
QUESTIONS = [
    "SELECT * FROM calls",
    "SELECT * FROM spanledger.calls AS c WHERE c.org_id != ''",
    "SELECT * FROM `spanledger`.calls",
    "SELECT * FROM calls_settled FINAL",
    "SELECT org_id, user_id FROM calls WHERE org_id = 'globex' OR 1",
    "SELECT c.*, t.* FROM calls AS c LEFT JOIN tool_calls AS t ON c.call_id = t.call_id",
    "SELECT * FROM calls AS a CROSS JOIN calls AS b LIMIT 1000",
    "SELECT * FROM calls WHERE call_id IN (SELECT call_id FROM calls WHERE org_id != 'acme')",
    "WITH everything AS (SELECT * FROM calls UNION ALL SELECT * FROM spanledger.calls) SELECT * FROM everything",
    "WITH ids AS (SELECT call_id FROM calls) SELECT * FROM calls WHERE call_id IN ids",
    "SELECT (SELECT groupArray(user_id) FROM calls), arrayJoin((SELECT groupUniqArray(org_id) FROM usage_by_minute))",
    "SELECT groupArray(user_id), max(session_id), min(team_id), any(feature), uniqExact(org_id) FROM calls",
    "SELECT max(started_at), max(team_id) FROM calls_settled",
    "SELECT * FROM calls ORDER BY session_id DESC LIMIT 3 WITH TIES",
    "SELECT DISTINCT org_id FROM observations",
    "SELECT org_id, sum(value) FROM counters GROUP BY org_id WITH TOTALS",
    "SELECT org_id, user_id FROM calls GROUP BY GROUPING SETS ((org_id), (user_id), ())",
    "SELECT session_id, row_number() OVER (PARTITION BY org_id ORDER BY session_id) FROM calls",
    "SELECT * FROM calls_settled AS `spanledger.observations`",
    "SELECT *, _part, _partition_id FROM calls_settled",
    "SELECT * FROM witnesses EXCEPT SELECT * FROM witnesses WHERE org_id = 'acme'",
    "SELECT k, v FROM calls ARRAY JOIN mapKeys(labels) AS k, mapValues(labels) AS v",
    "SELECT * FROM view(SELECT * FROM calls)",
    "SELECT * FROM calls WHERE NOT (org_id = 'acme')",
    "SELECT topK(10)(user_id), quantiles(0.5)(duration_ms) FROM calls",
    "SELECT * FROM usage_by_day UNION DISTINCT SELECT * FROM usage_by_day",
    "SELECT name, value FROM system.settings WHERE name = 'readonly'",
    "SELECT name, type, table FROM system.columns WHERE database = 'spanledger' AND table = 'calls'",
    "SELECT name, engine FROM system.tables WHERE database = 'spanledger' FORMAT JSONEachRow",
    "SELECT name FROM system.databases;",
    "DESCRIBE TABLE spanledger.calls",
    'DESC TABLE "spanledger"."calls"',
    'SHOW TABLES FROM "spanledger"',
    "EXISTS TABLE spanledger.calls",
    "SHOW TABLES",
    "SHOW TABLES FROM spanledger LIKE 'call%'",
    "SHOW DATABASES",
    "SHOW COLUMNS FROM calls",
]


@pytest.fixture(scope="module")
def engine(books) -> EmbeddedEngine:
    return EmbeddedEngine(books.ledger.client, Limits(seconds=20))


def ask(engine: EmbeddedEngine, query: str, org_id: str | None = "acme", **fields) -> str:
    request = SqlRequest(query=query, org_id=org_id, default_format="JSONEachRow", **fields)
    return b"".join(engine.run(request).blocks).decode(errors="replace")


def refusal(engine: EmbeddedEngine, query: str, org_id: str | None = "acme") -> SqlError | None:
    try:
        ask(engine, query, org_id)
    except SqlError as error:
        return error
    return None


@pytest.mark.parametrize("query", ATTACKS)
def test_a_way_to_other_rows_is_refused(engine, books, query):
    """Refused with an error, and the error tells nothing either."""
    with pytest.raises(SqlError) as caught:
        ask(engine, query)
    assert books.secret not in str(caught.value)


@pytest.mark.parametrize("query", QUESTIONS)
def test_an_honest_query_shows_one_organisation(engine, books, query):
    """The answer holds nothing of the other organisation."""
    answer = ask(engine, query)
    assert books.secret not in answer
    assert "globex" not in answer


def test_the_same_queries_show_everything_without_a_token(engine, books):
    """Without scope, globex's secrets are there to be seen: the tests above can fail."""
    answers = [ask(engine, query, org_id=None) for query in QUESTIONS]
    assert sum(books.secret in answer for answer in answers) > 15


def tables(engine: EmbeddedEngine) -> list[str]:
    rows = ask(engine, "SELECT name FROM system.tables WHERE database = 'spanledger'", org_id=None)
    return [json.loads(line)["name"] for line in rows.splitlines()]


def test_every_table_shows_only_own_rows_or_is_refused(engine, books):
    """Tables that later migrations bring are covered too: an org_id column is filtered, all others are out of sight."""
    seen = set()
    for table in tables(engine):
        query = f"SELECT * FROM spanledger.{table}"
        error = refusal(engine, query)
        if error is not None:
            assert error.name == "ACCESS_DENIED", table
            continue
        answer = ask(engine, query)
        seen.add(table)
        assert books.secret not in answer, table
        orgs = {json.loads(line)["org_id"] for line in answer.splitlines()}
        assert orgs <= {"acme"}, table
    assert {"calls", "observations", "usage_by_day", "counters", "witnesses"} <= seen
    assert not seen & HIDDEN


def text_columns(engine: EmbeddedEngine) -> list[tuple[str, str]]:
    rows = ask(
        engine,
        "SELECT table, name FROM system.columns WHERE database = 'spanledger' AND default_kind = ''"
        " AND name IN ('user_id', 'session_id', 'team_id', 'feature', 'response_id', 'dialect', 'tool_name')"
        " AND table IN ('calls', 'calls_settled', 'observations', 'witnesses', 'usage_by_hour_settled', 'tool_calls')",
        org_id=None,
    )
    return [(row["table"], row["name"]) for row in map(json.loads, rows.splitlines())]


THROWN = ("FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", "CANNOT_PARSE_TEXT")
PROBES = [
    "SELECT count() FROM {table} WHERE throwIf({column} LIKE '{secret}%') = 0",
    "SELECT count() FROM {table} WHERE org_id != 'x' AND toUInt64({column}) > 0",
    "SELECT count() FROM {table} WHERE throwIf(startsWith({column}, '{secret}')) = 0 AND org_id = 'globex'",
    "SELECT 1 FROM {table} AS a JOIN {table} AS b USING {column} WHERE throwIf(b.{column} LIKE '{secret}%') = 0",
    "SELECT {column} FROM {table} WHERE throwIf({column} LIKE '{secret}%') = 0 ORDER BY {column} DESC LIMIT 1",
    "SELECT {column}, count() FROM {table} GROUP BY {column} HAVING throwIf({column} LIKE '{secret}%') = 0",
    "SELECT 1 FROM (SELECT {column} AS x FROM {table}) WHERE throwIf(x LIKE '{secret}%') = 0",
    "SELECT sum(throwIf({column} LIKE '{secret}%')) FROM {table}",
]


def test_a_condition_never_meets_a_row_of_another_organisation(engine, books):
    """An exception thrown for one row would tell that the row exists, and what is in it."""
    told = 0
    for table, column in text_columns(engine):
        for probe in PROBES:
            query = probe.format(table=table, column=column, secret=books.secret)
            open_error = refusal(engine, query, org_id=None)
            told += open_error is not None and open_error.name in THROWN
            error = refusal(engine, query)
            assert error is None or "toUInt64" in query, query
            assert "globex" not in str(error), query  # its own unreadable texts may be named
    assert told > 30


@pytest.mark.parametrize("database", ["system", "information_schema", "default`; SELECT 1; --"])
def test_only_the_ledgers_database_can_be_chosen(engine, database):
    with pytest.raises(SqlError, match="only the database spanledger"):
        ask(engine, "SELECT 1", database=database)


@pytest.mark.parametrize("name", ["additional_table_filters", "allow_ddl", "dialect", "output_format_x = 1, y"])
def test_settings_of_the_url_open_nothing(engine, name):
    with pytest.raises(SqlError, match="readonly mode"):
        ask(engine, "SELECT 1", settings={name: "1"})


def test_readonly_in_the_url_changes_nothing(engine):
    answer = ask(engine, "SELECT value FROM system.settings WHERE name = 'readonly'", settings={"readonly": "0"})
    assert json.loads(answer) == {"value": "1"}


def test_a_parameter_cannot_name_a_table(engine):
    for query in ("SELECT * FROM {t:Identifier}", "SELECT 1 IN {t:Identifier}", "SHOW TABLES FROM {t:Identifier}"):
        with pytest.raises(SqlError):
            ask(engine, query, parameters={"t": "api_tokens"})


@pytest.mark.parametrize("org_id", ["o'brien", 'a"b', "back\\slash", "x' OR '1'='1", "{}", "ünï", "' OR org_id != '"])
def test_an_organisation_with_an_odd_name_sees_itself_alone(engine, books, org_id):
    """The organisation's name is data in the filter, never SQL."""
    books.book(books.author.call(org_id))
    answer = ask(engine, "SELECT org_id FROM calls", org_id=org_id)
    assert [json.loads(line)["org_id"] for line in answer.splitlines()] == [org_id]


def test_tables_without_rows_of_organisations_stay_hidden(engine):
    hidden = {"schema_migrations", "api_tokens", "orgs"} & set(tables(engine))
    assert hidden
    for table in hidden:
        with pytest.raises(SqlError):
            ask(engine, f"SELECT * FROM {table}")
