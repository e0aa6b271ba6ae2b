"""Hosts ASGI applications on uvicorn, each in a thread of its own, with TLS where asked."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn

from spanledger.cli.addresses import Address
from spanledger.cli.errors import UserError
from spanledger.collector.binding import check_bindable

START_SECONDS: Final = 10.0
BACKLOG: Final = 1024

AsgiApp = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files in PEM format. With `client_ca`, callers must show a certificate that it signed (mTLS)."""

    cert: Path
    key: Path
    client_ca: Path | None = None

    def check(self, option: str) -> None:
        """Load every file once.

        Args:
            option: the options' common prefix, for the error.

        Raises:
            UserError: a file is missing, unreadable or not what it should be.
        """
        for file in (self.cert, self.key, self.client_ca):
            if file is not None and not os.access(file, os.R_OK):
                raise UserError(f"{option}: cannot read {file}: name a readable PEM file")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self.cert, self.key)
        except (ssl.SSLError, OSError) as error:
            raise UserError(
                f"{option}: {self.cert} and {self.key} are not a certificate and its key: {error}"
            ) from error
        if self.client_ca is not None:
            try:
                context.load_verify_locations(self.client_ca)
            except (ssl.SSLError, OSError) as error:
                raise UserError(f"{option}: {self.client_ca} is not a CA certificate in PEM format: {error}") from error


def bind(address: Address, option: str) -> socket.socket:
    """Take a TCP port.

    Args:
        address: where; port 0 takes a free port.
        option: the option that names the listener, for the error.

    Raises:
        StartupError: the port is in use or not allowed, or the host is not ours.
    """
    check_bindable(option, address.host, address.port)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address.host, address.port))
    listener.listen(BACKLOG)
    return listener


class Listener:
    """One ASGI application on one socket, served from a thread.

    Args:
        name: for threads and messages.
        app: the application.
        listener: a bound socket (`bind`); closed when the listener stops.
        tls: speak TLS with these files.
    """

    def __init__(self, name: str, app: AsgiApp, listener: socket.socket, tls: Tls | None = None) -> None:
        self.name = name
        self._socket = listener
        host, port = listener.getsockname()[:2]
        self.address = Address(host, port)
        """Where it listens, with the real port."""
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="auto",
            timeout_graceful_shutdown=5,
            timeout_keep_alive=75,
            ssl_certfile=tls.cert if tls else None,
            ssl_keyfile=tls.key if tls else None,
            ssl_ca_certs=str(tls.client_ca) if tls and tls.client_ca else None,
            ssl_cert_reqs=ssl.CERT_REQUIRED if tls and tls.client_ca else ssl.CERT_NONE,
        )
        self._server = uvicorn.Server(config)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"listener-{name}", daemon=True)
        self.scheme = "https" if tls else "http"

    @property
    def url(self) -> str:
        """What a caller on this machine connects to."""
        return f"{self.scheme}://{self.address.reachable}"

    def start(self) -> None:
        """Serve; returns when requests are answered.

        Raises:
            RuntimeError: the application did not start.
        """
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError(f"the {self.name} listener did not start") from self._failure
            time.sleep(0.005)

    def stop(self, seconds: float) -> None:
        """Stop accepting, let running requests finish for at most ``seconds``, then drop them."""
        self._server.should_exit = True
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(2.0)
        self._socket.close()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except BaseException as error:  # noqa: BLE001 - carried to start(), which raises
            self._failure = error
