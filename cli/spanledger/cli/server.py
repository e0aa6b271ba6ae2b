"""Composes one serving process: the way into the ledger, receivers, exporters; starts and stops them in order."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from spanledger.cli import alerting, background, repricing, runtime
from spanledger.cli.addresses import Address
from spanledger.cli.alerting import Alerting
from spanledger.cli.control import Control
from spanledger.cli.ingest import Ingest, open_ingest
from spanledger.cli.listeners import AsgiApp, Listener, Tls, bind
from spanledger.cli.price_refresh import PriceRefresh, download
from spanledger.collector import http_receiver
from spanledger.collector.auth import Authenticator
from spanledger.collector.binding import token_required
from spanledger.collector.grpc_receiver import GrpcReceiver, GrpcSettings, TlsFiles
from spanledger.exporters import sql_endpoint, web
from spanledger.exporters.access import Access
from spanledger.exporters.health import Check, journal_below_limit, pipeline_moves, store_writable
from spanledger.ledger.client import StoreTarget, connect
from spanledger.ledger.price_archive import PriceArchive

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from spanledger.reconciler.alerts.settings import AlertSettings

LISTENERS: Final = ("otlp-grpc", "otlp-http", "http", "sql")
CONTROL: Final = Address("127.0.0.1", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """What ``spanledger serve`` was asked for; see its options."""

    data: Path
    target: StoreTarget
    addresses: dict[str, Address | None]
    """Where each of `LISTENERS` binds; None is off."""
    tls: dict[str, Tls] = field(default_factory=dict[str, Tls])
    """TLS of the listeners that speak it, by name."""
    prices: Path | None = None
    """The user's price overrides."""
    prices_url: str = ""
    """Where newer base prices are fetched regularly; ``""``: nowhere."""
    insecure_no_auth: bool = False
    keep_all_spans: bool = False
    """Hand over the place of every span, not only in traces that hold model calls."""
    sync: bool = True
    """Pull bills on a schedule."""
    alerts: AlertSettings | None = None
    """What to watch and whom to tell."""
    keep_days: int = 0
    """Days of single calls to keep; 0 keeps all."""
    journal_bytes: int
    request_bytes: int
    stop_seconds: float


class Server:
    """A running server. `start` once, `stop` once."""

    def __init__(self, settings: ServeSettings, report: Callable[[str], None]) -> None:
        """Args:
        settings: what to serve.
        report: takes one readable line per listener, and what happens while stopping.
        """
        self._settings = settings
        self._report = report
        self._parts = ExitStack()
        self._stop_by = 0.0
        self._refresh: PriceRefresh | None = None
        self._alerting: Alerting | None = None

    def start(self) -> None:
        """Start everything; when something cannot start, what has started is stopped again.

        Raises:
            StartupError, PermanentStoreError, RetryableStoreError: one readable line.
        """
        try:
            self._start()
        except BaseException:
            self.stop(0.0)
            raise

    def stop(self, seconds: float | None = None) -> None:
        """Stop taking requests, work off the journal within the deadline, close. What is left waits in the journal."""
        self._stop_by = time.monotonic() + (self._settings.stop_seconds if seconds is None else seconds)
        self._parts.close()

    def _left(self) -> float:
        return max(0.0, self._stop_by - time.monotonic())

    def _start(self) -> None:
        settings = self._settings
        sockets = {
            name: bind(address, f"--{name}")
            for name, address in settings.addresses.items()
            if address is not None and name != "otlp-grpc"
        }
        for listening in sockets.values():
            self._parts.callback(listening.close)
        ingest = self._parts.enter_context(
            open_ingest(
                settings.data,
                settings.target,
                left=self._left,
                prices=settings.prices,
                journal_bytes=settings.journal_bytes,
                request_bytes=settings.request_bytes,
                keep_all_spans=settings.keep_all_spans,
            )
        )
        self._refresh_prices(ingest)
        self._watch()
        self._listen(ingest, sockets)

    def _refresh_prices(self, ingest: Ingest) -> None:
        url = self._settings.prices_url
        if url:
            archive = PriceArchive(self._client())
            self._refresh = PriceRefresh(ingest.book, archive, self._settings.data, partial(download, url))
            self._refresh.start()
            self._parts.callback(self._refresh.stop)

    def _watch(self) -> None:
        wanted = self._settings.alerts
        if wanted is not None:
            watch = alerting.watch(self._client(), wanted)
            self._alerting = Alerting(watch, wanted.interval_seconds)
            self._alerting.start()
            self._parts.callback(self._alerting.stop)

    def _listen(self, ingest: Ingest, sockets: dict[str, socket.socket]) -> None:
        settings, ledger, intake = self._settings, ingest.ledger, ingest.intake
        any_tokens = ledger.tokens.any()
        required = {
            name: token_required(
                f"--{name}", address.host, any_tokens=any_tokens, insecure_no_auth=settings.insecure_no_auth
            )
            for name, address in settings.addresses.items()
            if address is not None
        }

        def authenticator(name: str) -> Authenticator:
            return Authenticator(ledger.tokens, required=required[name])

        def access(name: str) -> Access:
            return Access(ledger.tokens.verify, is_open=not required[name])

        addresses: dict[str, str] = {}
        grpc_address = settings.addresses["otlp-grpc"]
        if grpc_address is not None:
            tls = settings.tls.get("otlp-grpc")
            files = TlsFiles(certificate=tls.cert, key=tls.key, client_ca=tls.client_ca) if tls else None
            receiver = GrpcReceiver(
                intake,
                authenticator("otlp-grpc"),
                GrpcSettings(host=grpc_address.host, port=grpc_address.port, tls=files),
            )
            receiver.start()
            self._parts.callback(lambda: receiver.stop(min(5.0, self._left())))
            bound = Address(grpc_address.host, receiver.port)
            addresses["otlp-grpc"] = f"{'https' if tls else 'http'}://{bound.reachable}"
        apps: dict[str, AsgiApp] = {}
        if "otlp-http" in sockets:
            apps["otlp-http"] = http_receiver.create_app(intake, authenticator("otlp-http"))
        if "http" in sockets:
            apps["http"] = self._web(ingest, access("http"))
        if "sql" in sockets:
            apps["sql"] = sql_endpoint.create_app(self._client(), access=access("sql"))
        for name, app in apps.items():
            addresses[name] = self._host(Listener(name, app, sockets[name], settings.tls.get(name))).url
        self._work_by_itself(ingest)
        for name in LISTENERS:
            self._report(f"{name:<10} {addresses.get(name, 'off')}")
        self._report(f"{'ready':<10} data in {settings.data}; ledger in {settings.target.name}")
        self._announce(addresses, ingest)  # last: whoever finds it finds everything ready

    def _work_by_itself(self, ingest: Ingest) -> None:
        ledger = ingest.ledger
        if ingest.contracts is not None and ingest.contracts.commitments:
            spreading = background.Spreading(ledger, ingest.contracts)
            spreading.start()
            self._parts.callback(spreading.stop)
        if self._settings.sync:
            pulling = background.scheduler(ledger, self._client(), ingest.contracts)
            pulling.start()
            self._parts.callback(pulling.stop)
        if self._settings.keep_days:
            retention = background.Retention(ledger, self._settings.keep_days)
            retention.start()
            self._parts.callback(retention.stop)

    def _client(self) -> Client:
        """A further client of the store, closed at the end: readers must not wait for the writer."""
        client = connect(self._settings.target)
        self._parts.callback(client.close)
        return client

    def _web(self, ingest: Ingest, access: Access) -> AsgiApp:
        target, refresh = self._settings.target, self._refresh

        def numbers() -> dict[str, object]:
            return {**ingest.pipeline.snapshot(), **(refresh.numbers() if refresh is not None else {})}

        client = self._client()
        checks: dict[str, Check] = {
            "store": store_writable(client, target.path),
            "journal": journal_below_limit(numbers),
            "pipeline": lambda: ingest.pipeline.store_trouble or None,
            "progress": pipeline_moves(numbers),
        }
        notes: dict[str, Check] = {}
        if refresh is not None:
            notes["prices"] = lambda: f"base prices are not fresh: {refresh.trouble}" if refresh.trouble else None
        budgets = self._alerting.budgets if self._alerting is not None else None
        return web.create_app(ingest.ledger, access=access, checks=checks, notes=notes, stats=numbers, budgets=budgets)

    def _host(self, listener: Listener) -> Listener:
        listener.start()
        self._parts.callback(lambda: listener.stop(min(5.0, self._left())))
        return listener

    def _announce(self, addresses: dict[str, str], ingest: Ingest) -> None:
        secret = secrets.token_urlsafe(32)
        path = self._settings.target.path
        control = Control(
            secret=secret,
            engine_path=os.path.realpath(path) if path is not None else "",
            intake=ingest.intake,
            settle=ingest.pipeline.wait_idle,
            reprice=partial(repricing.feed, ingest.ledger, self._settings.data, ingest.contracts),
        )
        listener = self._host(Listener("control", control.app(), bind(CONTROL, "control")))
        running = runtime.RunningServer(
            pid=os.getpid(),
            version=version("spanledger"),
            listeners=addresses,
            control_url=listener.url,
            secret=secret,
            pulls=self._settings.sync,
        )
        running.write(self._settings.data)
        self._parts.callback(runtime.forget, self._settings.data)
