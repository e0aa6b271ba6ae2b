"""The SQL endpoint over real HTTP: clickhouse-connect's own client, and plain requests."""

from __future__ import annotations

import gzip
import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from decimal import Decimal
from urllib.parse import urlsplit

import clickhouse_connect
import httpx
import pytest
import zstandard
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from spanledger.exporters.access import Access
from spanledger.exporters.sql_endpoint import create_app
from spanledger.exporters.sql_errors import SqlError
from spanledger.exporters.sql_session import Limits

TOKENS = {"token-of-acme": "acme", "token-of-globex": "globex"}


@pytest.fixture(scope="module")
def url(books, serve) -> str:
    """Loopback with tokens: without one, everything is in sight."""
    return serve(create_app(books.ledger.client, access=Access(TOKENS.get, is_open=True)))


@pytest.fixture(scope="module")
def closed_url(books, serve) -> str:
    """Any other address: a token is needed."""
    return serve(create_app(books.ledger.client, access=Access(TOKENS.get)))


def client(url: str, **options):
    parts = urlsplit(url)
    return clickhouse_connect.get_client(host=parts.hostname, port=parts.port, tz_mode="aware", **options)


@pytest.fixture(scope="module")
def connected(url):
    opened = client(url)
    yield opened
    opened.close()


def test_rows_come_back_as_python_values(connected):
    """Decimals to the last digit, aware times to the microsecond, maps, nulls."""
    rows = connected.query(
        "SELECT cost_usd, started_at, usage, cost_low_usd, input_tokens FROM calls"
        " WHERE org_id = 'acme' AND cost_usd IS NOT NULL ORDER BY started_at DESC LIMIT 1"
    ).result_rows
    cost, started, usage, low, tokens = rows[0]
    assert isinstance(cost, Decimal)
    assert cost == low == Decimal("0.0035")
    assert isinstance(started, datetime)
    assert started.utcoffset() == timedelta(0)
    assert usage["input_uncached"] == tokens == 1000


def test_parameters_are_bound_by_the_engine(connected):
    """Typed parameters of every common type arrive as sent, quotes and all."""
    nasty = "a'b\\c\td\ne`ü\u2028"
    row = connected.query(
        "SELECT {s:String}, {n:UInt64}, {d:Decimal(38, 12)}, {a:Array(String)}, {t:DateTime64(3, 'UTC')},"
        " {z:Nullable(String)}",
        parameters={
            "s": nasty,
            "n": 2**63,
            "d": Decimal("12345678901234.000000000001"),
            "a": [nasty, ""],
            "t": datetime.fromisoformat("2026-11-20T12:34:56.789+00:00"),
            "z": None,
        },
    ).first_row
    assert row[:4] == (nasty, 2**63, Decimal("12345678901234.000000000001"), [nasty, ""])
    assert row[4] == datetime.fromisoformat("2026-11-20T12:34:56.789+00:00")
    assert row[5] is None


def test_long_parameters_arrive_in_a_form(connected):
    """The driver sends them as multipart fields."""
    ids = [f"call-{number}" for number in range(5000)]
    assert connected.query("SELECT length({ids:Array(String)})", parameters={"ids": ids}).first_row == (5000,)


def test_data_frames(connected):
    """pandas and Arrow, with exact decimals in both."""
    frame = connected.query_df(
        "SELECT provider, sum(cost_usd) AS cost FROM calls WHERE org_id = 'globex' GROUP BY provider"
    )
    assert frame["provider"].tolist() == ["openai"]
    assert frame["cost"].tolist() == [Decimal("29.000000000000") + Decimal("0.0035")]
    table = connected.query_arrow("SELECT org_id, cost_usd FROM calls ORDER BY started_at")
    assert str(table.schema.field("cost_usd").type) == "decimal128(38, 12)"
    assert set(table.column("org_id").to_pylist()) == {"acme", "globex"}


def test_results_stream(connected):
    """A long result comes in blocks, compressed as asked."""
    assert connected.compression
    with connected.query_row_block_stream("SELECT number, toString(number) FROM numbers(300000)") as blocks:
        counted = sum(len(block) for block in blocks)
    assert counted == 300_000
    with connected.raw_stream("SELECT number FROM numbers(200000)", fmt="CSV") as stream:
        assert stream.read().count(b"\n") == 200_000


def test_commands_and_metadata(connected):
    assert connected.command("SELECT count() FROM calls WHERE org_id = 'globex'") == 5
    assert connected.query("SELECT org_id, cost_usd FROM calls LIMIT 0").column_names == ("org_id", "cost_usd")
    assert connected.query("SELECT 1 WHERE 0").result_rows == []
    assert connected.server_version.startswith("26.")
    summary = connected.query("SELECT * FROM numbers(10)").summary
    assert summary["read_rows"] == "10"
    assert summary["query_id"]
    assert connected.ping()


def test_writes_are_refused_with_clickhouses_own_error(connected):
    for write in (
        lambda: connected.command("DROP TABLE spanledger.calls_settled"),
        lambda: connected.insert("counters", [["a", "b", "c", "d", 1]]),
        lambda: connected.raw_insert("counters", insert_block=b"a,b,c,d,1", fmt="CSV"),
        lambda: connected.command("SET max_threads = 1"),
    ):
        with pytest.raises(DatabaseError) as caught:
            write()
        assert (caught.value.code, caught.value.name) == (164, "READONLY")


def test_a_failing_query_says_why(connected):
    with pytest.raises(DatabaseError, match="nowhere") as caught:
        connected.query("SELECT * FROM nowhere")
    assert (caught.value.code, caught.value.name) == (60, "UNKNOWN_TABLE")
    with pytest.raises(DatabaseError, match="selec") as caught:
        connected.query("selec 1")
    assert caught.value.name == "SYNTAX_ERROR"
    assert "parseQueryToJSON" not in str(caught.value)


def test_an_error_in_the_middle_of_a_stream_is_an_error(connected):
    """The status is 200 already; the driver must still not take half a result for a whole one."""
    with pytest.raises(StreamFailureError) as caught:
        _ = connected.query("SELECT throwIf(number = 1000000) FROM numbers(2000000)").row_count
    assert caught.value.name == "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"


@pytest.mark.parametrize("compress", [False, "gzip", "zstd", "deflate"])
def test_every_compression_that_the_driver_asks_for(url, compress):
    opened = client(url, compress=compress)
    try:
        assert opened.query("SELECT sum(number) FROM numbers(100000)").first_row == (4999950000,)
        assert opened.query("SELECT number FROM numbers(100000)").row_count == 100_000
    finally:
        opened.close()


@pytest.mark.parametrize(
    "login",
    [
        {"password": "token-of-acme"},
        {"username": "anybody", "password": "token-of-acme"},
        {"access_token": "token-of-acme"},
        {"username": "", "headers": {"X-ClickHouse-Key": "token-of-acme"}},
    ],
)
def test_every_way_to_log_in_shows_one_organisation(closed_url, login):
    opened = client(closed_url, **login)
    try:
        assert opened.query("SELECT DISTINCT org_id FROM calls").result_rows == [("acme",)]
        assert opened.query_df("SELECT * FROM calls")["org_id"].unique().tolist() == ["acme"]
    finally:
        opened.close()


@pytest.mark.parametrize("password", ["", "token-of-nobody"])
def test_without_a_valid_token_nothing_is_shown(closed_url, password):
    with pytest.raises(DatabaseError) as caught:
        client(closed_url, password=password)
    assert (caught.value.code, caught.value.name) == (516, "AUTHENTICATION_FAILED")


def test_a_wrong_token_is_refused_on_an_open_listener_too(url):
    with pytest.raises(DatabaseError, match="unknown or revoked token"):
        client(url, password="token-of-nobody")


def test_plain_requests(url):
    """What curl, Grafana and scripts send."""
    with httpx.Client(base_url=url) as http:
        assert http.get("/").text == "Ok.\n"
        assert http.get("/ping").text == "Ok.\n"
        answer = http.get("/", params={"query": "SELECT 1 AS x, 'a' AS y", "default_format": "JSONEachRow"})
        assert (answer.status_code, answer.json()) == (200, {"x": 1, "y": "a"})
        assert answer.headers["X-ClickHouse-Format"] == "JSONEachRow"
        assert answer.headers["X-ClickHouse-Timezone"]
        assert json.loads(answer.headers["X-ClickHouse-Summary"])["read_rows"] == "1"
        answer = http.post("/", content="SELECT {x:UInt8} + 1 FORMAT CSV", params={"param_x": "2", "query_id": "q-1"})
        assert answer.text == "3\n"
        assert answer.headers["content-type"].startswith("text/csv")
        assert answer.headers["X-ClickHouse-Query-Id"] == "q-1"
        assert http.post("/", params={"query": "SELECT 1"}).text == "1\n"
        assert http.post("/", params={"query": "SELECT"}, content="2").text == "2\n"
        small = zstandard.compress(b"SELECT 'small'")
        assert http.post("/", content=small, headers={"Content-Encoding": "zstd"}).text == "small\n"
        packed = gzip.compress(b"SELECT 'packed'")
        assert http.post("/", content=packed, headers={"Content-Encoding": "gzip"}).text == "packed\n"
        assert http.get("/", params={"query": "SELECT 1", "database": "system"}).text == "1\n"
        assert http.head("/", params={"query": "SELECT 1"}).headers["X-ClickHouse-Format"] == "TabSeparated"


@pytest.mark.parametrize(
    ("params", "status", "code"),
    [
        ({"query": "SELECT * FROM nowhere"}, 404, 60),
        ({"query": "selec"}, 400, 62),
        ({"query": "SELECT 1", "database": "nowhere"}, 404, 81),
        ({"query": "SELECT 1 FORMAT Nothing"}, 404, 73),
        ({"query": "DROP TABLE x"}, 500, 164),
        ({"query": "SELECT {x:UInt8}"}, 400, 456),
        ({"query": "SELECT 1", "compress": "1"}, 501, 48),
        ({"query": "SELECT 1", "max_memory": "1"}, 500, 164),
        ({"query": "  "}, 400, 62),
        ({"database": "spanledger"}, 400, 62),
    ],
)
def test_errors_have_clickhouses_shape(url, params, status, code):
    answer = httpx.get(url, params=params)
    assert answer.status_code == status, answer.text
    assert answer.headers["X-ClickHouse-Exception-Code"] == str(code)
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert answer.text.count("\n") == 1


def test_a_body_that_is_no_text_is_refused(url):
    for content, headers in (
        (b"\xff\xfe\x00", {}),
        (b"not gzip", {"Content-Encoding": "gzip"}),
        (b"x", {"Content-Encoding": "br"}),
        (gzip.compress(b" " * 3_000_000, mtime=0), {"Content-Encoding": "gzip"}),
        (zstandard.compress(b" " * 3_000_000), {"Content-Encoding": "zstd"}),
        (b"not zstd", {"Content-Encoding": "zstd"}),
        (b" " * 3_000_000, {}),
    ):
        answer = httpx.post(url, content=content, headers=headers)
        assert answer.headers["X-ClickHouse-Exception-Code"] == "164", answer.text


def test_many_at_once(books, serve):
    """More requests than slots: all are answered, each with its own result."""
    url = serve(create_app(books.ledger.client, concurrency=2))
    with ThreadPoolExecutor(12) as pool, httpx.Client(timeout=30) as http:
        answers = list(
            pool.map(
                lambda n: http.get(url, params={"query": f"SELECT sum(number) + {n} FROM numbers(100000)"}), range(24)
            )
        )
    assert [int(answer.text) for answer in answers] == [4999950000 + n for n in range(24)]


def test_an_abandoned_stream_frees_its_slot(books, serve):
    """A client that hangs up does not keep the engine busy."""
    url = serve(create_app(books.ledger.client, concurrency=1))
    for _ in range(3):
        with httpx.stream("GET", url, params={"query": "SELECT number FROM numbers(100000000)"}) as answer:
            next(answer.iter_raw())
    assert httpx.get(url, params={"query": "SELECT 'free'"}, timeout=20).text == "free\n"


def test_slow_readers_cannot_pile_up(books, serve):
    """Beyond eight open answers for each slot new queries are refused; room again as soon as one is done."""
    url = serve(create_app(books.ledger.client, concurrency=1))
    long = {"query": "SELECT number, repeat('x', 1000) FROM numbers(100000000)"}
    with ExitStack() as readers:
        for _ in range(8):
            answer = readers.enter_context(
                httpx.stream("GET", url, params=long, headers={"Accept-Encoding": "identity"})
            )
            assert answer.status_code == 200
        refused = httpx.get(url, params={"query": "SELECT 1"})
        assert refused.status_code == 503
        assert refused.headers["X-ClickHouse-Exception-Code"] == "202"
    deadline = time.monotonic() + 20
    while httpx.get(url, params={"query": "SELECT 1"}).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_server_store_has_no_endpoint_of_ours(url):
    """With ClickHouse behind the ledger, its own HTTP port is the SQL endpoint."""
    opened = client(url)
    try:
        with pytest.raises(SqlError, match="its own HTTP port"):
            create_app(opened, limits=Limits())
    finally:
        opened.close()
