"""Everything that the command line and the server do with connections, in one place.

`Bills` holds the store, the clock and the secrets' resolver, and offers: sync, test, parse again, import, health.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import store_errors
from spanledger.reconciler.batch import SlotContent
from spanledger.reconciler.clock import Clock, SystemClock
from spanledger.reconciler.connections import Connection, ConnectionStore
from spanledger.reconciler.connector import Account
from spanledger.reconciler.connectors import connector
from spanledger.reconciler.engine import Engine, ProgressCallback, StreamReport, no_progress
from spanledger.reconciler.errors import ConfigError, PermanentSyncError, RetryableSyncError, State, SyncError
from spanledger.reconciler.files.formats import FormatOptions
from spanledger.reconciler.files.importing import ImportReport, import_files
from spanledger.reconciler.fx import FxRates, Rate
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.observations import Harvester, Ingest, ObservationStream
from spanledger.reconciler.opening import Opened, Opener, plain_client
from spanledger.reconciler.planning import Depth
from spanledger.reconciler.reparse import Reparser
from spanledger.reconciler.secrets.envelope import Keyring, Place, keyring_from
from spanledger.reconciler.secrets.references import Resolver
from spanledger.reconciler.secrets.secret import Secret
from spanledger.reconciler.slices import always
from spanledger.reconciler.store import BillStore
from spanledger.reconciler.store import Place as SlotPlace
from spanledger.reconciler.streams import Context, Stream
from spanledger.reconciler.windows import Window, slot_start

_log = logging.getLogger(__name__)

OPENING: Final = "connection"
"""The stream name under which a connection that cannot be opened reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTrial:
    """What a test found out about one stream."""

    stream: str
    state: State
    detail: str = ""
    permission: str = ""
    lines: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReport:
    """What a test found out about a connection."""

    connection: str
    connector: str
    account_id: str = ""
    account_name: str = ""
    streams: tuple[StreamTrial, ...] = ()
    problem: str = ""
    """Why the connection as a whole cannot be used; ``""`` when it can."""
    setup: tuple[str, ...] = ()
    """How to get a fitting credential, step by step; filled when one is missing."""

    @property
    def is_usable(self) -> bool:
        return not self.problem and all(stream.state is State.OK for stream in self.streams)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamHealth:
    """The last known state of a stream."""

    org_id: str
    connection: str
    stream: str
    state: State
    detail: str
    finished_at: datetime
    last_success: datetime | None
    age_seconds: float
    """Since the last pull that ran to its end; infinite when there was none."""


def _no_locks() -> dict[tuple[str, str], threading.Lock]:
    return {}


@dataclass(slots=True, kw_only=True)
class Bills:
    """The reconciler's first half. Thread-safe; each connection is pulled by one thread at a time."""

    connections: ConnectionStore
    store: BillStore
    clock: Clock
    opener: Opener
    client: Client
    ingest: Ingest | None = None
    """Takes observations of single calls; ``None`` leaves batch results for a process that owns the ledger."""
    _locks: dict[tuple[str, str], threading.Lock] = field(default_factory=_no_locks)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def on(
        cls,
        client: Client,
        environ: Mapping[str, str],
        *,
        clock: Clock | None = None,
        ingest: Ingest | None = None,
        http: Callable[[], httpx.Client] = plain_client,
    ) -> Bills:
        """Bills on a migrated store.

        Args:
            client: of the store; used under a lock.
            environ: the process's environment: secrets by ``env:``, the master key.
            clock: the machine's when not given.
            ingest: see `Bills.ingest`.
            http: makes the HTTP client of an opened connection.

        Raises:
            ConfigError: the master key cannot be used.
        """
        time = clock or SystemClock()
        return cls(
            connections=ConnectionStore(client, time),
            store=BillStore(client, time),
            clock=time,
            opener=Opener(resolver=Resolver(environ, keyring_from(environ)), clock=time, client=http),
            client=client,
            ingest=ingest,
        )

    def sync(
        self,
        connection: Connection,
        *,
        since: date | None = None,
        until: date | None = None,
        depth: Depth = Depth.FULL,
        streams: frozenset[str] | None = None,
        progress: ProgressCallback = no_progress,
    ) -> list[StreamReport]:
        """Pull a connection. Provider failures are states of the reports. Waits for a running pull of the same one.

        Raises:
            ConfigError: a setting, a secret or a stream's name is wrong.
            StoreError: the ledger's store failed.
        """
        with self._lock_of(connection):
            day = self.clock.now().date()
            try:
                with self.opener.open(connection) as opened:
                    if connection.account:
                        _check_account(connection, opened.connector.identify(opened.opening, opened.api))
                    # A connection that is not kept cannot have been removed.
                    go_on = partial(self._still_there, connection) if connection.created_at else always
                    engine = Engine(self.store, self.clock, fx=self.rates(), go_on=go_on)
                    source = opened.source()
                    extra = opened.connector.observation_streams(opened.opening, opened.api)
                    names = frozenset(stream.name for stream in extra)
                    reports: list[StreamReport] = []
                    if streams is not None and not source.streams and not streams <= names:
                        raise ConfigError(
                            f"connection {connection.name} has no such stream; it has {', '.join(sorted(names))}"
                        )
                    if source.streams and (streams is None or not streams <= names):
                        reports = engine.sync(
                            source, since=since, until=until, depth=depth, streams=streams, progress=progress
                        )
                    wanted = [stream for stream in extra if streams is None or stream.name in streams]
                    return [*reports, *self._calls(connection, wanted, opened.api, since, until or day)]
            except SyncError as error:
                return [
                    StreamReport(
                        stream=OPENING, since=since or day, until=until or day, state=error.state, detail=str(error)
                    )
                ]

    def test(self, connection: Connection, *, pin: bool = True) -> TrialReport:
        """Ask every stream for yesterday, without taking anything over.

        The account behind the credential is pinned at the first successful test; another account later is a problem.

        Args:
            connection: as kept, or about to be added.
            pin: remember the account in the store.

        Raises:
            StoreError: the ledger's store failed.
        """
        spec = connector(connection.connector).spec
        report = TrialReport(connection=connection.name, connector=spec.name)
        try:
            with self._lock_of(connection), self.opener.open(connection) as opened:
                account = opened.connector.identify(opened.opening, opened.api)
                if account is not None:
                    report = replace(report, account_id=account.id, account_name=account.name)
                    _check_account(connection, account)
                    if pin and account.id and not connection.account:
                        self.connections.put(replace(connection, account=account.id))
                extra = opened.connector.observation_streams(opened.opening, opened.api)
                trials = (
                    *(self._try(opened, stream) for stream in opened.source().streams),
                    *(_try_calls(opened, stream) for stream in extra),
                )
        except (ConfigError, SyncError) as error:
            # Whoever cannot be reached now needs no other key.
            setup = () if isinstance(error, RetryableSyncError) else spec.setup
            return replace(report, problem=str(error), setup=setup)
        needs_setup = any(trial.state in (State.AUTH_FAILED, State.PERMISSION_MISSING) for trial in trials)
        return replace(report, streams=trials, setup=spec.setup if needs_setup else ())

    def _try(self, opened: Opened, stream: Stream) -> StreamTrial:
        """The first page of one stream for yesterday."""
        policy = stream.policy
        end = slot_start(self.clock.now().date(), policy.grain)
        day = slot_start(end - timedelta(days=1), policy.grain)
        window = Window(day, end, policy.grain, policy.zone)
        lines = 0
        try:
            for page in stream.pull(opened.api, window):
                lines += sum(1 for _ in stream.parse(page, Context(window, self.clock.now())))
                if page.document is not None or page.file is not None:
                    break
        except (SyncError, ValueError) as error:
            state = error.state if isinstance(error, SyncError) else State.DEGRADED
            return StreamTrial(stream=stream.name, state=state, detail=str(error), permission=stream.permission)
        return StreamTrial(stream=stream.name, state=State.OK, permission=stream.permission, lines=lines)

    def reparse(self, connection: Connection, *, since: date, until: date, stream: str = "") -> list[StreamReport]:
        """Parse what was kept again, with today's parsers and exchange rates. See `Reparser.reparse`."""
        with self._lock_of(connection):
            reparser = Reparser(store=self.store, clock=self.clock, fx=self.rates())
            return reparser.reparse(connection, since=since, until=until, stream=stream)

    def import_files(
        self, paths: Sequence[Path], options: FormatOptions, *, org_id: str, connection: str, part: str = ""
    ) -> ImportReport:
        """Take files over as a bill. See `spanledger.reconciler.files.importing.import_files`."""
        return import_files(
            paths,
            options,
            store=self.store,
            clock=self.clock,
            org_id=org_id,
            connection=connection,
            part=part,
            fx=self.rates(),
        )

    def purge(self, connection: Connection) -> int:
        """Take every bill line of a connection out of the bill; the history stays in the store. How many slots.

        Raises:
            StoreError: the store failed.
        """
        found = self.store.rows(
            "SELECT stream, groupArray(slot) FROM spanledger.bill_slots_current WHERE org_id = {org:String} "
            "AND connection = {name:String} AND lines > 0 GROUP BY stream",
            {"org": connection.org_id, "name": connection.name},
            "looking for bill lines",
        )
        now, count = self.clock.now(), 0
        for stream, slots in found:
            place = SlotPlace(connection.org_id, connection.name, str(stream))
            empty = {str(slot): SlotContent() for slot in slots}
            self.store.commit(place, empty, version=self.store.new_version(place), run_id="purge", fetched_at=now)
            count += len(empty)
        return count

    def seal(self, org_id: str, connection: str, name: str, secret: Secret) -> str:
        """A sealed reference for a secret. Raises `ConfigError` when no master key is configured."""
        return "sealed:" + self.check_master_key().seal(secret, Place(org_id, connection, name))

    def check_master_key(self) -> Keyring:
        """The master keys; worth a look before anybody is asked for a secret. Raises `ConfigError` without them."""
        keyring = self.opener.resolver.keyring
        if keyring is None:
            raise ConfigError(
                "no master key: set SPANLEDGER_MASTER_KEY_FILE (make one: openssl rand -base64 32 > master.key), "
                "or give a reference like env:NAME or file:/path"
            )
        return keyring

    def rewrap(self, connection: Connection) -> Connection:
        """The connection with its sealed secrets under the current master key; kept as such.

        The secrets themselves stay as they are, and as old as they are.

        Raises:
            ConfigError: a secret cannot be opened, or there is no master key.
        """
        keyring = self.check_master_key()
        secrets = {
            name: "sealed:"
            + keyring.rewrap(kept.removeprefix("sealed:"), Place(connection.org_id, connection.name, name))
            if kept.startswith("sealed:")
            else kept
            for name, kept in connection.secrets.items()
        }
        changed = replace(connection, secrets=secrets)
        self.connections.put(changed)
        return changed

    def learn_names(self, connection: Connection) -> int:
        """Ask the provider for the names of projects, workspaces and keys, and keep them; how many there are.

        Raises:
            ConfigError, SyncError, StoreError.
        """
        with self._lock_of(connection), self.opener.open(connection) as opened:
            found = opened.connector.inventory(opened.opening, opened.api)
        now = self.clock.now()
        data: list[list[object]] = [
            [connection.org_id, connection.name, item.kind, item.id, item.name, item.hint, item.status, now]
            for item in found
        ]
        if data:
            names = ["org_id", "connection", "kind", "id", "name", "hint", "status", "fetched_at"]
            with store_errors("writing the names of accounts"):
                self.client.insert("spanledger.account_objects", data, column_names=names)
        return len(data)

    def rates(self) -> FxRates:
        """The exchange rates that the ledger knows. Raises `StoreError`."""
        found = self.store.rows(
            "SELECT currency, day, usd, source FROM spanledger.fx_rates FINAL", {}, "reading exchange rates"
        )
        return FxRates(Rate(str(currency), day, usd, str(source)) for currency, day, usd, source in found)

    def learn_rates(self, rates: Sequence[Rate]) -> None:
        """Add exchange rates; a rate of the same currency and day replaces the earlier one. Raises `StoreError`."""
        now = self.clock.now()
        data: list[list[object]] = [[rate.currency, rate.day, rate.usd, rate.source, now] for rate in rates]
        if data:
            with store_errors("writing exchange rates"):
                self.client.insert(
                    "spanledger.fx_rates", data, column_names=["currency", "day", "usd", "source", "recorded_at"]
                )

    def health(self, org_id: str | None = None) -> list[StreamHealth]:
        """The last state of every stream of every connection that exists. Raises `StoreError`."""
        found = self.store.rows(
            "SELECT org_id, connection, stream, argMax(state, finished_at), argMax(detail, finished_at), "
            "max(finished_at), maxIf(finished_at, is_complete), countIf(is_complete) FROM spanledger.sync_runs "
            "WHERE step = 'run' AND ({org:String} = '' OR org_id = {org:String}) "
            "AND (org_id, connection) IN (SELECT org_id, name FROM spanledger.connections) "
            "GROUP BY org_id, connection, stream ORDER BY org_id, connection, stream",
            {"org": org_id or ""},
            "reading the state of connections",
        )
        now = self.clock.now()
        return [_health(row, now) for row in found]

    def _calls(
        self, connection: Connection, streams: Sequence[ObservationStream], api: Api, since: date | None, until: date
    ) -> list[StreamReport]:
        """What is known of single calls; without a ledger at hand it is left to the process that has one."""
        if self.ingest is None:
            left = "left to the server that owns the ledger, which reads it with its next pull"
            return [
                StreamReport(stream=stream.name, since=since or until, until=until, detail=left) for stream in streams
            ]
        begin = None if since is None else datetime(since.year, since.month, since.day, tzinfo=UTC)
        harvester = self._harvester(connection, self.ingest)
        return [harvester.harvest(api, stream, since=begin) for stream in streams]

    def _harvester(self, connection: Connection, ingest: Ingest) -> Harvester:
        return Harvester(
            store=self.store,
            clock=self.clock,
            ingest=ingest,
            org_id=connection.org_id,
            connection=connection.name,
        )

    def _still_there(self, connection: Connection) -> None:
        """Raises `PermanentSyncError`: the connection was removed, or made anew, since it was read."""
        for each in self.connections.all(connection.org_id):
            if each.name == connection.name and each.created_at == connection.created_at:
                return
        raise PermanentSyncError(
            State.DEGRADED, f"{connection.name} was removed meanwhile; nothing more was taken over"
        )

    def _lock_of(self, connection: Connection) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault((connection.org_id, connection.name), threading.Lock())


def _try_calls(opened: Opened, stream: ObservationStream) -> StreamTrial:
    """Whether the ordinary key may read what is known of single calls."""
    try:
        stream.check(opened.api)
    except SyncError as error:
        return StreamTrial(stream=stream.name, state=error.state, detail=str(error), permission=stream.permission)
    return StreamTrial(stream=stream.name, state=State.OK, permission=stream.permission)


def _check_account(connection: Connection, account: Account | None) -> None:
    """Raises `PermanentSyncError`: the credential reads another account than the connection was made for."""
    if account is not None and account.id and connection.account and account.id != connection.account:
        raise PermanentSyncError(
            State.AUTH_FAILED,
            f"the credential belongs to {account.id}, this connection to {connection.account}: "
            "add another connection for the other account",
        )


def _health(row: Sequence[Any], now: datetime) -> StreamHealth:
    org_id, name, stream, state, detail, finished, success, successes = row
    last = success if successes else None
    return StreamHealth(
        org_id=str(org_id),
        connection=str(name),
        stream=str(stream),
        state=State(state),
        detail=str(detail),
        finished_at=finished,
        last_success=last,
        age_seconds=(now - last).total_seconds() if last is not None else float("inf"),
    )
