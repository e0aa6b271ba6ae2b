"""Brings a store's schema up to this version: numbered .sql files, forward only, each applied once.

One source serves the embedded store, one server and a cluster. The files hold a few placeholders:

    {{on_cluster}}            nothing, or ON CLUSTER 'name'
    {{table:calls_settled}}   the table that holds the rows: spanledger.calls_settled, on a cluster ..._local
    {{engine:MergeTree}}      the engine, on a cluster its Replicated form
    {{distributed:t:key}}     nothing, on a cluster the Distributed table spanledger.t over ..._local, sharded by key

Everything else names ``spanledger.t``, which exists everywhere. Every statement is idempotent (IF NOT EXISTS), so a
migration that was interrupted is simply run again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from typing import Final

from clickhouse_connect.driver.client import Client

from spanledger.ledger.database import Database
from spanledger.ledger.errors import PermanentStoreError

DATABASE: Final = "spanledger"
_FILE_NAME: Final = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_PLACEHOLDER: Final = re.compile(r"\{\{(\w+)(?::([^{}]*))?\}\}")
_PIECE: Final = re.compile(r"--[^\n]*|'(?:[^'\\]|\\.|'')*'|`[^`]*`|;|[^-';`]+|-", re.DOTALL)
_BOOTSTRAP: Final = 0


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file, as written (not rendered)."""

    number: int
    name: str
    text: str

    def statements(self, cluster: str = "") -> tuple[str, ...]:
        """The file's statements for a single store (``cluster=""``) or for the named cluster."""
        return tuple(split(render(self.text, cluster)))


def migrations() -> tuple[Migration, ...]:
    """All migrations that this version knows, in order.

    Raises:
        ValueError: two files share a number, or a name does not read ``0001_words.sql``.
    """
    found: dict[int, Migration] = {}
    for entry in resources.files("spanledger.ledger.migrations").iterdir():
        if not entry.name.endswith(".sql"):
            continue
        match = _FILE_NAME.fullmatch(entry.name)
        if match is None:
            raise ValueError(f"migration {entry.name}: name it 0001_words.sql")
        number = int(match[1])
        if number in found:
            raise ValueError(f"migrations {found[number].name} and {entry.name} share a number")
        found[number] = Migration(number, entry.name, entry.read_text(encoding="utf-8"))
    return tuple(found[number] for number in sorted(found))


def render(text: str, cluster: str = "") -> str:
    """Fill the placeholders for a single store or a cluster.

    Raises:
        ValueError: an unknown placeholder.
    """

    def fill(match: re.Match[str]) -> str:
        word, argument = match[1], match[2] or ""
        match word:
            case "on_cluster":
                return f"ON CLUSTER '{cluster}'" if cluster else ""
            case "table":
                return f"{DATABASE}.{argument}" + ("_local" if cluster else "")
            case "engine":
                return _replicated(argument) if cluster else argument
            case "distributed":
                table, _, key = argument.partition(":")
                return _distributed(table, key, cluster) if cluster else ""
            case _:
                raise ValueError(f"unknown placeholder {match[0]}")

    return _PLACEHOLDER.sub(fill, text)


def _replicated(engine: str) -> str:
    name, _, arguments = engine.partition("(")
    rest = ", " + arguments if arguments else ")"
    return f"Replicated{name}('/clickhouse/tables/{{uuid}}/{{shard}}', '{{replica}}'{rest}"


def _distributed(table: str, key: str, cluster: str) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {DATABASE}.{table} ON CLUSTER '{cluster}' AS {DATABASE}.{table}_local\n"
        f"ENGINE = Distributed('{cluster}', '{DATABASE}', '{table}_local', {key})"
    )


def split(text: str) -> Iterator[str]:
    """The statements of an SQL text; comments are dropped, semicolons inside quotes do not count."""
    statement: list[str] = []
    for piece in (*_PIECE.findall(text), ";"):
        if piece.startswith("--"):
            continue
        if piece != ";":
            statement.append(piece)
            continue
        whole = "".join(statement).strip()
        statement.clear()
        if whole:
            yield re.sub(r"[ \t]*\n(?:[ \t]*\n)+", "\n", whole)


def pending(client: Client) -> tuple[Migration, ...]:
    """What would be applied; reads only.

    Raises:
        PermanentStoreError: a newer version of Spanledger has migrated this store.
    """
    known = migrations()
    applied = dict(_applied(Database(client)))
    newer = sorted(set(applied) - {migration.number for migration in known})
    if newer:
        raise PermanentStoreError(
            f"the store was migrated by a newer spanledger (schema {applied[newer[-1]]}): upgrade spanledger"
        )
    return tuple(migration for migration in known if migration.number != _BOOTSTRAP and migration.number not in applied)


def _applied(database: Database) -> Iterator[tuple[int, str]]:
    doing = "reading the schema's version"
    if database.rows("schema_exists", {}, doing)[0][0]:
        yield from ((int(number), str(name)) for number, name in database.rows("schema_applied", {}, doing))


def migrate(client: Client, *, cluster: str = "", dry_run: bool = False) -> tuple[Migration, ...]:
    """Apply what is pending, in order; with `dry_run` only say what that is.

    Returns:
        The migrations that were (or would be) applied. `Migration.statements` shows their SQL.

    Raises:
        PermanentStoreError: a newer version has migrated this store, or the store refuses a statement.
        RetryableStoreError: the store did not answer; run it again.
    """
    todo = pending(client)
    if dry_run:
        return todo
    bootstrap = migrations()[0]
    assert bootstrap.number == _BOOTSTRAP
    database = Database(client)
    for migration in (bootstrap, *todo):
        doing = f"applying {migration.name}"
        for statement in migration.statements(cluster):
            database.command(statement, doing)
        if migration.number != _BOOTSTRAP:
            row = [migration.number, migration.name, datetime.now(UTC)]
            database.insert_rows("schema_migrations", ["number", "name", "applied_at"], [row], doing)
    return todo
