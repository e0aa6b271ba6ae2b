"""``spanledger serve``: everything in one process."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from spanledger.cli import alerting, options, pricing
from spanledger.cli.addresses import parse_address
from spanledger.cli.errors import UserError
from spanledger.cli.options import option

if TYPE_CHECKING:
    from spanledger.cli.listeners import Tls
    from spanledger.cli.server import ServeSettings

ADDRESSES: Final = {
    "otlp-grpc": "127.0.0.1:4317",
    "otlp-http": "127.0.0.1:4318",
    "http": "127.0.0.1:9464",
    "sql": "127.0.0.1:8123",
}
LEVELS: Final = ("debug", "info", "warning", "error")


def serve(
    ctx: typer.Context,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    otlp_grpc: Annotated[
        str, option("--otlp-grpc", "Where OTLP over gRPC is received: HOST:PORT, port 0 for a free one, or off.")
    ] = ADDRESSES["otlp-grpc"],
    otlp_http: Annotated[
        str, option("--otlp-http", "Where OTLP over HTTP is received (/v1/traces, /v1/logs), or off.")
    ] = ADDRESSES["otlp-http"],
    http: Annotated[
        str, option("--http", "Where /metrics, /healthz, /readyz and /api/v1 are served, or off.")
    ] = ADDRESSES["http"],
    sql: Annotated[
        str, option("--sql", "Where the embedded store answers read-only SQL in ClickHouse's HTTP interface, or off.")
    ] = ADDRESSES["sql"],
    tls_cert: Annotated[
        Path | None, option("--tls-cert", "PEM certificate (chain) for the listeners; needs --tls-key.")
    ] = None,
    tls_key: Annotated[Path | None, option("--tls-key", "PEM key of --tls-cert.")] = None,
    tls_client_ca: Annotated[
        Path | None, option("--tls-client-ca", "Ask callers for a certificate that this PEM CA signed (mTLS).")
    ] = None,
    tls_on: Annotated[
        str, option("--tls-on", "Listeners that speak TLS once --tls-cert is given.")
    ] = "otlp-grpc,otlp-http,http,sql",
    mtls_on: Annotated[
        str, option("--mtls-on", "Listeners that ask for client certificates once --tls-client-ca is given.")
    ] = "otlp-grpc,otlp-http,http,sql",
    prices: pricing.Prices = None,
    refresh_prices: Annotated[
        bool,
        option(
            "--refresh-prices", "Fetch newer base prices at the start and every hour; those in use stay if that fails."
        ),
    ] = False,
    prices_url: pricing.PricesUrl = pricing.DEFAULT_PRICES_URL,
    insecure_no_auth: Annotated[
        bool,
        option("--insecure-no-auth", "Serve without API tokens on addresses that the network can reach."),
    ] = False,
    keep_all_spans: Annotated[
        bool,
        option("--keep-all-spans", "Remember the place of every span, not only in traces that hold model calls."),
    ] = False,
    sync: Annotated[
        bool, option("--sync/--no-sync", "Pull the bills of all connections every hour and every night, and tie out.")
    ] = True,
    keep_days: Annotated[
        int, option("--keep-days", "Drop single calls older than this many days; 0 keeps all. Sums are kept for good.")
    ] = 0,
    journal_limit: Annotated[
        str, option("--journal-limit", "Bytes that may wait for the store before senders are told to wait.")
    ] = "8GiB",
    max_request: Annotated[str, option("--max-request", "Largest OTLP request, unpacked.")] = "64MiB",
    stop_within: Annotated[
        str, option("--stop-within", "How long a stop may take to work off the journal; the rest waits on disk.")
    ] = "30s",
    log_level: Annotated[
        str, option("--log-level", "What is logged to standard error: debug, info, warning, error.")
    ] = ("info"),
) -> None:
    """Receive, settle and show: the whole product in one process, until SIGTERM or Ctrl-C.

    Without --clickhouse the ledger lives in an embedded store under --data. Loopback addresses need no token; any other
    address needs one (`spanledger tokens create`) or --insecure-no-auth.
    """
    from spanledger.cli import units
    from spanledger.cli.access import readable_errors
    from spanledger.cli.server import ServeSettings
    from spanledger.ledger.client import StoreTarget

    _log_to_stderr(log_level)
    given = {"otlp-grpc": otlp_grpc, "otlp-http": otlp_http, "http": http, "sql": sql}
    addresses = {name: parse_address(text, f"--{name}") for name, text in given.items()}
    if clickhouse:
        addresses["sql"] = None  # that server has its own
    with readable_errors():
        run(
            ServeSettings(
                data=data,
                target=StoreTarget.server(clickhouse) if clickhouse else StoreTarget.embedded(data),
                addresses=addresses,
                tls=_tls(tls_cert, tls_key, tls_client_ca, tls_on, mtls_on),
                prices=prices,
                prices_url=prices_url if refresh_prices else "",
                insecure_no_auth=insecure_no_auth,
                keep_all_spans=keep_all_spans,
                sync=sync,
                alerts=alerting.settings(ctx.find_object(Path)),
                keep_days=keep_days,
                journal_bytes=units.size(journal_limit, "--journal-limit"),
                request_bytes=units.size(max_request, "--max-request"),
                stop_seconds=units.seconds(stop_within, "--stop-within"),
            )
        )


def run(settings: ServeSettings) -> None:
    """Serve until a signal asks to stop."""
    from spanledger.cli.server import Server

    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    server = Server(settings, _say)
    server.start()
    stop.wait()
    # A second signal ends at once: the journal is safe at any moment.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    _say(f"stopping   at most {settings.stop_seconds:g} s")
    server.stop()
    _say("stopped")


def _tls(cert: Path | None, key: Path | None, client_ca: Path | None, tls_on: str, mtls_on: str) -> dict[str, Tls]:
    from spanledger.cli.listeners import Tls

    if cert is None or key is None:
        given = {"--tls-cert": cert, "--tls-key": key, "--tls-client-ca": client_ca}
        present = [name for name, value in given.items() if value is not None]
        if present:
            raise UserError(f"{' and '.join(present)} alone cannot start TLS: give --tls-cert and --tls-key")
        return {}
    speaking, asking = _names(tls_on, "--tls-on"), _names(mtls_on, "--mtls-on")
    plain, mutual = Tls(cert=cert, key=key), Tls(cert=cert, key=key, client_ca=client_ca)
    mutual.check("--tls-cert")
    return {name: mutual if name in asking else plain for name in speaking}


def _names(text: str, option_name: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in ADDRESSES:
            raise UserError(f"{option_name}: no listener is called {name!r}: choose from {', '.join(ADDRESSES)}")
    return names


def _log_to_stderr(level: str) -> None:
    if level.lower() not in LEVELS:
        raise UserError(f"--log-level {level!r} is not a level: choose from {', '.join(LEVELS)}")
    logging.basicConfig(
        level=level.upper(), stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True
    )
    if level.lower() != "debug":
        for chatty in ("uvicorn", "apscheduler", "httpx"):
            logging.getLogger(chatty).setLevel(logging.WARNING)


def _say(line: str) -> None:
    sys.stdout.write(f"spanledger {line}\n")
    sys.stdout.flush()
