"""Listener addresses as users write them: ``HOST:PORT``, ``:PORT``, ``PORT`` or ``off``."""

from __future__ import annotations

from dataclasses import dataclass

from spanledger.cli.errors import UserError


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener binds. Port 0 takes a free port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def reachable(self) -> Address:
        """The address to connect to from this machine: a wildcard becomes loopback."""
        wildcard = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared, not bound
        return Address(wildcard.get(self.host, self.host), self.port)


def parse_address(text: str, option: str) -> Address | None:
    """Read an address; None for ``off``.

    Args:
        text: what the user wrote.
        option: the option's name, for the error.

    Raises:
        UserError: not an address.
    """
    text = text.strip()
    if text.lower() == "off":
        return None
    host, separator, port_text = text.rpartition(":")
    if not separator:
        host, port_text = "127.0.0.1", text
    host = host.removeprefix("[").removesuffix("]")
    if not port_text.isdecimal() or int(port_text) > 65535 or (host and "[" in text and ":" not in host):
        raise UserError(f"{option} {text!r} is not an address: write HOST:PORT (127.0.0.1:4317), a port, or off")
    return Address(host or "0.0.0.0", int(port_text))  # noqa: S104 - ":4317" asks for every interface
