"""Provider connections: what is kept about them, and where."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from clickhouse_connect.driver.client import Client

from spanledger.ledger.client import store_errors
from spanledger.reconciler.clock import Clock
from spanledger.reconciler.connector import ConnectorSpec, Setting
from spanledger.reconciler.connectors import connector
from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.secrets.references import check_reference

COMMON_SETTINGS: Final = (
    Setting(name="requests_per_second", help="rate budget of the connection, instead of the connector's own"),
    Setting(
        name="insecure_http",
        help="send the credential over plain http to a host that is not this machine",
        default="off",
        choices=("off", "on"),
    ),
)
"""Settings that every connection has."""

KEY_AGE: Final = timedelta(days=90)
"""Keys older than this want to be changed."""

_LEAST_RATE: Final = 0.001
_MOST_RATE: Final = 10_000
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One account at one provider.

    Attributes:
        org_id: whose connection it is.
        name: unique within the organisation.
        connector: name of the connector.
        base_url: as the user gave it; ``""`` for the connector's default.
        settings: by name; only those that were given.
        secrets: secret name → reference (``env:...``, ``file:...``, ``sealed:...``), never the secret.
        secrets_at: secret name → when it was given here, aware UTC; a new reference or a rotation begins it anew.
        account: the provider's account id, pinned at the first successful test; ``""`` before.
    """

    org_id: str
    name: str
    connector: str
    base_url: str = ""
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
    secrets_at: Mapping[str, datetime] = field(default_factory=dict[str, datetime])
    account: str = ""
    created_at: datetime | None = None

    def rotated(self, secrets: Mapping[str, str], now: datetime) -> Connection:
        """The connection with further or other secrets, given now."""
        return replace(
            self, secrets={**self.secrets, **secrets}, secrets_at={**self.secrets_at, **dict.fromkeys(secrets, now)}
        )

    @property
    def has_sealed(self) -> bool:
        """Whether a secret is sealed in the ledger itself."""
        return any(reference.startswith("sealed:") for reference in self.secrets.values())

    @property
    def reads_calls(self) -> bool:
        """Whether it brings observations of single calls beside bill lines: with an ordinary key, or from buckets."""
        return "api_key" in self.secrets or bool(self.settings.get("batches"))

    def given_at(self, secret: str) -> datetime | None:
        """When a secret was given; ``None`` for a connection that is not kept yet."""
        return self.secrets_at.get(secret, self.created_at)

    def setting(self, spec: ConnectorSpec, name: str) -> str:
        """A setting's value, or its default."""
        for setting in (*spec.settings, *COMMON_SETTINGS):
            if setting.name == name:
                return self.settings.get(name, setting.default)
        raise KeyError(name)


def check(connection: Connection) -> Connection:
    """The connection, if everything in it can work on paper.

    Raises:
        ConfigError: names the option and the mend.
    """
    spec = connector(connection.connector).spec
    if not _NAME.fullmatch(connection.name):
        raise ConfigError(
            f"--name {connection.name!r}: use lower-case letters, digits, '.', '-' and '_', at most 63 of them"
        )
    known = {setting.name: setting for setting in (*spec.settings, *COMMON_SETTINGS)}
    for name, value in connection.settings.items():
        setting = known.get(name)
        if setting is None:
            raise ConfigError(f"{spec.name} has no setting {name!r}; it has {', '.join(sorted(known))}")
        if setting.choices and value not in setting.choices:
            raise ConfigError(f"--{_option(name)} {value!r}: choose one of {', '.join(setting.choices)}")
    for setting in spec.settings:
        if setting.required and not connection.settings.get(setting.name):
            raise ConfigError(f"{spec.name} needs --{_option(setting.name)}: {setting.help}")
    for secret in spec.secrets:
        if secret.required and secret.name not in connection.secrets:
            option = _option(secret.name)
            raise ConfigError(f"{spec.name} needs --{option}-env NAME (or --{option}-file PATH): {secret.help}")
    for name, reference in connection.secrets.items():
        if name not in {secret.name for secret in spec.secrets}:
            raise ConfigError(f"{spec.name} has no secret {name!r}")
        check_reference(reference)
    rate = connection.settings.get("requests_per_second", "")
    if rate and not (_is_number(rate) and _LEAST_RATE <= float(rate) <= _MOST_RATE):
        raise ConfigError(f"--requests-per-second {rate!r} is not a number from {_LEAST_RATE} to {_MOST_RATE}")
    insecure = connection.settings.get("insecure_http") == "on"
    check_url("--base-url", connection.base_url or spec.base_url, insecure)
    for name, value in connection.settings.items():
        if name.endswith("_url"):
            check_url(f"--{_option(name)}", value, insecure)
    return connection


def check_url(option: str, url: str, insecure_http: bool) -> None:
    """Raises `ConfigError` for anything that is not https, or plain http to this machine."""
    if not url:
        return
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{option} {url!r} is not an http(s) address")
    if parts.username or parts.password:
        raise ConfigError(f"{option} must not carry a user or password: use the connection's secrets")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK and not insecure_http:
        raise ConfigError(f"{option} {url}: the credential would travel unencrypted; use https, or --insecure-http on")


def _option(name: str) -> str:
    return name.replace("_", "-")


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


_COLUMNS: Final = (
    "org_id", "name", "connector", "base_url", "settings", "secrets", "secrets_at", "account", "created_at", "version",
    "is_deleted",
)  # fmt: skip


class ConnectionStore:
    """The connections of a ledger."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    def all(self, org_id: str | None = None) -> list[Connection]:
        """Every connection, of one organisation or of all, by name. Raises `StoreError`."""
        sql = (
            "SELECT org_id, name, connector, base_url, settings, secrets, secrets_at, account, created_at "
            "FROM spanledger.connections WHERE {org:String} = '' OR org_id = {org:String} ORDER BY org_id, name"
        )
        with store_errors("reading connections"):
            result = self._client.query(sql, parameters={"org": org_id or ""})  # pyright: ignore[reportUnknownMemberType]
        return [_connection(row) for row in result.result_rows]

    def get(self, org_id: str, name: str) -> Connection:
        """Raises `ConfigError` when there is none, naming those that exist."""
        connections = self.all(org_id)
        for connection in connections:
            if connection.name == name:
                return connection
        known = ", ".join(connection.name for connection in connections) or "none yet"
        raise ConfigError(f"no connection is called {name!r}; there are: {known}")

    def put(self, connection: Connection) -> None:
        """Add a connection, or change the one with this name. Raises `StoreError`."""
        self._write(connection, is_deleted=False)

    def remove(self, connection: Connection) -> None:
        """Forget a connection and its references; its bill lines stay."""
        self._write(
            Connection(
                org_id=connection.org_id,
                name=connection.name,
                connector=connection.connector,
                created_at=connection.created_at,
            ),
            is_deleted=True,
        )

    def _write(self, connection: Connection, *, is_deleted: bool) -> None:
        now = self._clock.now()
        row: list[object] = [
            connection.org_id,
            connection.name,
            connection.connector,
            connection.base_url,
            dict(connection.settings),
            dict(connection.secrets),
            {name: connection.given_at(name) or now for name in connection.secrets},
            connection.account,
            connection.created_at or now,
            int(now.timestamp() * 1_000_000) * 1000,
            int(is_deleted),
        ]
        with store_errors("writing the connection"):
            self._client.insert("spanledger.connection_versions", [row], column_names=list(_COLUMNS))


def _connection(row: Any) -> Connection:
    org_id, name, kind, base_url, settings, secrets, secrets_at, account, created_at = row
    return Connection(
        org_id=str(org_id),
        name=str(name),
        connector=str(kind),
        base_url=str(base_url),
        settings=dict(settings),
        secrets=dict(secrets),
        secrets_at=dict(secrets_at),
        account=str(account),
        created_at=created_at,
    )
