"""Whatever is sent to the SQL endpoint, the answer is a result or an error in ClickHouse's shape."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from spanledger.exporters.access import Access
from spanledger.exporters.sql_endpoint import create_app

TOKENS = {"token-of-acme": "acme"}

# Pieces of SQL that, put together at random, are often valid and always hostile.
TABLES = [
    "calls",
    "spanledger.calls",
    "calls_settled",
    "observations",
    "counters",
    "api_tokens",
    "system.tables",
    "ids",
]
TABLES += [
    "merge('spanledger', '.*')",
    "view(SELECT * FROM calls)",
    "file('/etc/passwd')",
    "numbers(3)",
    "system.settings",
]
TERMS = [
    "*",
    "org_id",
    "user_id",
    "count()",
    "max(session_id)",
    "any(user_id)",
    "1",
    "'x'",
    "NULL",
    "c.*",
    "{p:String}",
]
TERMS += ["throwIf(user_id LIKE 'globex%')", "file('/etc/passwd')", "(SELECT any(user_id) FROM observations)", "name"]
TERMS += ["groupArray(team_id)", "COLUMNS('_id')", "* EXCEPT org_id", "org_id IN orgs", "(1, user_id)", "[session_id]"]
CONDITIONS = [
    "1",
    "org_id = 'globex'",
    "org_id != ''",
    "NOT (org_id = 'acme')",
    "user_id IN (SELECT user_id FROM calls)",
]
CONDITIONS += [
    "throwIf(session_id != '') = 0",
    "org_id IN ids",
    "toUInt64(user_id) = 1",
    "EXISTS (SELECT 1 FROM calls)",
]
TAILS = ["", "ORDER BY ALL LIMIT 3", "GROUP BY ALL WITH TOTALS", "LIMIT 1 BY 1", "FORMAT JSONEachRow", "FORMAT Native"]
TAILS += [
    "SETTINGS max_threads = 1",
    "SETTINGS additional_table_filters = {}",
    "INTO OUTFILE '/tmp/x'",
    "; SELECT 1",
    ";",
]
HEADS = [
    "",
    "",
    "",
    "EXPLAIN ",
    "WITH ids AS (SELECT org_id FROM calls) ",
    "INSERT INTO counters ",
    "DESCRIBE ",
    "-- x\n",
]


def choice(values: list[str]) -> st.SearchStrategy[str]:
    return st.sampled_from(values)


@st.composite
def selects(draw: st.DrawFn, depth: int = 2) -> str:
    table = draw(choice(TABLES))
    if depth and draw(st.booleans()):
        table = f"({draw(selects(depth - 1))})"
    query = f"SELECT {', '.join(draw(st.lists(choice(TERMS), min_size=1, max_size=3)))} FROM {table} AS c"
    if draw(st.booleans()):
        query += f" {draw(choice(['JOIN', 'LEFT JOIN', 'CROSS JOIN', ',']))} {draw(choice(TABLES))} AS d"
        if draw(st.booleans()):
            query += " USING (org_id)"
    if draw(st.booleans()):
        query += f" {draw(choice(['WHERE', 'WHERE', 'PREWHERE', 'HAVING']))} {draw(choice(CONDITIONS))}"
    if depth and draw(st.integers(0, 4)) == 0:
        query += f" UNION ALL {draw(selects(0))}"
    return query


@st.composite
def statements(draw: st.DrawFn) -> str:
    return f"{draw(choice(HEADS))}{draw(selects())} {draw(choice(TAILS))}"


@pytest.fixture(scope="module")
def web(books) -> TestClient:
    return TestClient(create_app(books.ledger.client, access=Access(TOKENS.get, is_open=True)))


def checked(response) -> bytes:
    if response.status_code == 200:
        return response.content
    code = response.headers["X-ClickHouse-Exception-Code"]
    assert response.text.startswith(f"Code: {code}. DB::Exception: ")
    assert "Internal Server Error" not in response.text
    return response.content


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=statements())
def test_no_statement_shows_another_organisation(web, books, query):
    """Random statements over everything in sight: never a byte of the other organisation's secrets."""
    token = {"X-ClickHouse-Key": "token-of-acme"}
    answer = checked(web.post("/", content=query.encode(), params={"param_p": "x"}, headers=token))
    assert books.secret.encode() not in answer, query


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.one_of(st.text(max_size=60), statements(), st.binary(max_size=60).map(lambda raw: raw.decode("latin-1"))),
    params=st.dictionaries(
        st.one_of(
            st.sampled_from(["database", "default_format", "max_threads", "query_id", "param_p", "param_", "compress"]),
            st.text(max_size=12),
        ),
        st.text(max_size=20),
        max_size=3,
    ),
)
def test_every_request_has_an_answer(web, query, params):
    """Any text, any parameter: no crash, and whoever comes next is served."""
    params.pop("query", None)
    checked(web.post("/", content=query.encode(), params=params))
    answer = web.get("/", params={"query": "SELECT 1 AS x FORMAT JSONEachRow"})
    assert json.loads(answer.text) == {"x": 1}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    raw=st.binary(max_size=200),
    content_type=st.sampled_from(["", "multipart/form-data", "multipart/form-data; boundary=x"]),
)
def test_every_body_has_an_answer(web, raw, content_type):
    checked(web.post("/", content=raw, headers={"Content-Type": content_type, "Content-Encoding": "gzip"}))
    checked(web.post("/", content=b"--x\r\n" + raw, headers={"Content-Type": content_type}))
