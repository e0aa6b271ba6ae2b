"""Where listeners may listen, said before they try: bind errors as one readable line, and who can reach an address."""

from __future__ import annotations

import errno
import ipaddress
import socket
from contextlib import closing

from spanledger.collector.errors import StartupError


def is_loopback(host: str) -> bool:
    """Whether a bind address can be reached from this machine only."""
    if host.startswith("unix:") or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def token_required(listener: str, host: str, *, any_tokens: bool, insecure_no_auth: bool) -> bool:
    """Whether a listener on `host` demands a token.

    Args:
        listener: the option that names the listener (``--otlp-grpc``), for the message.
        host: the bind address.
        any_tokens: whether at least one API token exists.
        insecure_no_auth: the user said that no token is needed.

    Raises:
        StartupError: it would be open to the network without any token.
    """
    if is_loopback(host) or insecure_no_auth:
        return False
    if not any_tokens:
        raise StartupError(
            f"{listener} {host}: this address can be reached from the network, but there is no API token: "
            "create one with 'spanledger tokens create', bind to 127.0.0.1, or pass --insecure-no-auth"
        )
    return True


def bind_address(host: str, port: int) -> str:
    """An address as gRPC wants it: IPv6 in brackets, a Unix socket without a port."""
    if host.startswith("unix:"):
        return host
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"


def check_bindable(listener: str, host: str, port: int) -> None:
    """Find out why an address cannot be listened on, before the server that would only say that it cannot.

    Raises:
        StartupError: the port is taken or reserved, or the address is unknown or not of this machine.
    """
    if host.startswith("unix:"):
        return
    where = f"{listener} {bind_address(host, port)}"
    if not 0 <= port <= 65535:
        raise StartupError(f"{where}: ports go from 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with closing(socket.socket(family, kind, protocol)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except socket.gaierror as error:
        raise StartupError(f"{where}: the host name cannot be resolved: {error.strerror}") from error
    except OSError as error:
        mend = {
            errno.EADDRINUSE: "the port is in use by another process: stop it or choose another port",
            errno.EADDRNOTAVAIL: "this machine does not have that address",
            errno.EACCES: "ports below 1024 need privileges: choose a higher one",
        }.get(error.errno or 0, error.strerror or str(error))
        raise StartupError(f"{where}: {mend}") from error
