"""The schema: columns as promised, migrations that can run again, one source for every kind of store."""

from __future__ import annotations

import re

import pytest

from spanledger.ledger import columns
from spanledger.ledger.database import Database
from spanledger.ledger.errors import PermanentStoreError
from spanledger.ledger.migrate import migrate, migrations, pending, render, split

CALLS = [
    "org_id",
    "call_id",
    "started_at",
    "duration_ms",
    "ttft_ms",
    "provider",
    "operation",
    "request_model",
    "response_model",
    "response_id",
    "input_tokens",
    "input_uncached_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "web_searches",
    "usage",
    "cost_usd",
    "cost_low_usd",
    "cost_high_usd",
    "cost_status",
    "price_id",
    "status",
    "error_type",
    "stop_reason",
    "is_stream",
    "is_batch",
    "batch_id",
    "service_tier",
    "session_id",
    "user_id",
    "team_id",
    "feature",
    "labels",
    "service_name",
    "environment",
    "server_address",
    "api_key_fingerprint",
    "project",
    "workspace",
    "trace_id",
    "span_id",
    "dialect",
    "witness_count",
    "settled_at",
]


@pytest.fixture
def described(client):
    """``described(table)``: column → type, as the store has it."""
    database = Database(client)
    return lambda table: {
        row[0]: (row[1], row[2]) for row in database.select(f"DESCRIBE TABLE spanledger.{table}", {}, "describing")
    }


@pytest.mark.parametrize(
    ("table", "listed"),
    [
        ("observations", columns.OBSERVATIONS),
        ("calls_settled", columns.CALLS_SETTLED),
        ("witnesses_settled", columns.WITNESSES_SETTLED),
        ("suppressed_settled", columns.SUPPRESSED_SETTLED),
        ("tool_calls_settled", columns.TOOL_CALLS_SETTLED),
        ("span_links", columns.SPAN_LINKS),
    ],
)
def test_the_column_list_is_the_tables(table, listed, described):
    """What Python writes is what the store has: same names, same types, nothing forgotten on either side."""
    stored = {name: kind for name, (kind, default) in described(table).items() if default != "ALIAS"}
    assert {column.name: column.kind.value for column in listed} == stored
    assert len({column.name for column in listed}) == len(listed)


def test_calls_has_exactly_the_promised_columns(described):
    """Other people's dashboards and scripts depend on these names, their order and their types."""
    found = described("calls")
    assert list(found) == CALLS
    kinds = {name: kind for name, (kind, _) in found.items()}
    assert kinds["started_at"] == "DateTime64(9, 'UTC')"
    assert {kind for name, kind in kinds.items() if name.endswith("_tokens") or name == "web_searches"} == {
        "Nullable(UInt64)"
    }
    assert {kind for name, kind in kinds.items() if name.endswith("_usd")} == {"Nullable(Decimal(38, 12))"}
    assert kinds["usage"] == "Map(LowCardinality(String), UInt64)"
    assert kinds["labels"] == "Map(LowCardinality(String), String)"
    assert kinds["call_id"] == kinds["trace_id"] == kinds["span_id"] == "String"


def test_migrating_again_does_nothing(client):
    """Every start migrates."""
    assert migrate(client) == ()
    assert pending(client) == ()


def test_an_interrupted_migration_runs_again(client):
    """Each statement can be repeated: the mark that it was done is written last."""
    database = Database(client)
    for migration in migrations():
        for statement in migration.statements():
            database.command(statement, "again")


def test_a_store_of_a_newer_version_is_left_alone(client):
    """One readable line that says what to do."""
    database = Database(client)

    database.command(
        "INSERT INTO spanledger.schema_migrations (number, name) VALUES (9999, '9999_from_the_future.sql')", "testing"
    )
    try:
        with pytest.raises(PermanentStoreError, match=r"newer spanledger \(schema 9999_from_the_future.sql\): upgrade"):
            migrate(client)
    finally:
        database.command("ALTER TABLE spanledger.schema_migrations DELETE WHERE number = 9999", "testing")


def test_every_statement_can_be_repeated_and_is_of_our_database():
    """IF NOT EXISTS, and nothing outside the database spanledger."""
    for migration in migrations():
        for statement in migration.statements():
            first = statement.split("\n", 1)[0]
            assert re.match(
                r"(CREATE (DATABASE|TABLE|VIEW) IF NOT EXISTS|CREATE OR REPLACE VIEW|ALTER TABLE|DROP VIEW IF EXISTS|"
                r"DROP TABLE IF EXISTS|INSERT INTO) spanledger",
                first,
            ), f"{migration.name}: {first}"


@pytest.mark.parametrize("cluster", ["", "prod"])
def test_every_rendering_is_sql(cluster, client):
    """The store's own parser reads what the files become, for a single store and for a cluster."""
    database = Database(client)
    for migration in migrations():
        for statement in migration.statements(cluster):
            assert "{{" not in statement
            database.select(f"EXPLAIN AST {statement}", {}, f"parsing {migration.name}")


TEMPLATE = """
-- a comment; with a semicolon
CREATE TABLE IF NOT EXISTS {{table:things}} {{on_cluster}}
(
    name String DEFAULT 'a;b'  -- not the end; really
)
ENGINE = {{engine:ReplacingMergeTree(version, is_deleted)}}
ORDER BY name;

{{distributed:things:cityHash64(name)}};

CREATE TABLE IF NOT EXISTS {{table:others}} {{on_cluster}} (n UInt8) ENGINE = {{engine:MergeTree}} ORDER BY n;
"""


def test_rendered_for_one_store():
    """No trace of clusters."""
    assert list(split(render(TEMPLATE))) == [
        (
            "CREATE TABLE IF NOT EXISTS spanledger.things \n(\n    name String DEFAULT 'a;b'  \n)\n"
            "ENGINE = ReplacingMergeTree(version, is_deleted)\nORDER BY name"
        ),
        "CREATE TABLE IF NOT EXISTS spanledger.others  (n UInt8) ENGINE = MergeTree ORDER BY n",
    ]


def test_rendered_for_a_cluster():
    """Replicated tables on every shard, a Distributed table over them under the plain name."""
    assert list(split(render(TEMPLATE, "prod"))) == [
        (
            "CREATE TABLE IF NOT EXISTS spanledger.things_local ON CLUSTER 'prod'\n"
            "(\n    name String DEFAULT 'a;b'  \n)\n"
            "ENGINE = ReplicatedReplacingMergeTree("
            "'/clickhouse/tables/{uuid}/{shard}', '{replica}', version, is_deleted)\n"
            "ORDER BY name"
        ),
        (
            "CREATE TABLE IF NOT EXISTS spanledger.things ON CLUSTER 'prod' AS spanledger.things_local\n"
            "ENGINE = Distributed('prod', 'spanledger', 'things_local', cityHash64(name))"
        ),
        (
            "CREATE TABLE IF NOT EXISTS spanledger.others_local ON CLUSTER 'prod' (n UInt8) "
            "ENGINE = ReplicatedMergeTree('/clickhouse/tables/{uuid}/{shard}', '{replica}') ORDER BY n"
        ),
    ]


def test_an_unknown_placeholder_is_an_error():
    """A typo must not reach a store."""
    with pytest.raises(ValueError, match=r"unknown placeholder \{\{tabel:x\}\}"):
        render("CREATE TABLE {{tabel:x}}")


def test_on_a_cluster_no_table_is_without_a_plain_name():
    """Everything that stores rows stores them under _local, and is read through a Distributed table."""
    statements = [statement for migration in migrations() for statement in migration.statements("prod")]
    local = {m[1] for s in statements if (m := re.match(r"CREATE TABLE IF NOT EXISTS spanledger\.(\w+)_local", s))}
    distributed = {m[1] for s in statements if (m := re.search(r"Distributed\('prod', 'spanledger', '(\w+)_local'", s))}
    plain = {m[1] for s in statements if (m := re.match(r"CREATE TABLE IF NOT EXISTS spanledger\.(\w+) ", s))}
    assert local == distributed == plain - {name for name in plain if name.endswith("_local")}
    assert local


def test_a_filter_by_start_reads_only_what_it_can_hold(client, new_writer, observe, org):
    """`calls` are kept by minute; whoever asks by `started_at` does not read every month."""
    for month in range(3):
        new_writer(org)(observe(1 + month, at=-30 * 86_400 * month))
    plan = Database(client).select(
        "EXPLAIN indexes = 1 SELECT sum(cost_usd) FROM spanledger.calls WHERE started_at >= '2026-11-01 00:00:00'",
        {},
        "explaining",
    )
    lines = [line for (line,) in plan]
    skipping = next(number for number, line in enumerate(lines) if "started_at_index" in line)
    kept, parts = re.findall(r"\d+", next(line for line in lines[skipping:] if "Parts:" in line))
    assert int(kept) < int(parts)
