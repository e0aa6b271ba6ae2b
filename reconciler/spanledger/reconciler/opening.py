"""Opening a connection: from what is kept to something that can be pulled from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx

from spanledger.reconciler.clock import Clock
from spanledger.reconciler.connections import Connection, check
from spanledger.reconciler.connector import Connector, Opening
from spanledger.reconciler.connectors import connector
from spanledger.reconciler.engine import Source
from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.http.budget import Breaker, Budget
from spanledger.reconciler.http.retry import RetryPolicy
from spanledger.reconciler.http.tokens import TokenAuth
from spanledger.reconciler.secrets.envelope import Place
from spanledger.reconciler.secrets.references import Resolver
from spanledger.reconciler.secrets.secret import Redactor, Secret

_TIMEOUT: Final = httpx.Timeout(120.0, connect=15.0)


def plain_client() -> httpx.Client:
    """A client that speaks HTTP/2 where it is served, through the proxy that the environment names.

    Raises:
        ConfigError: the proxy's address cannot be used.
    """
    # The library behind HTTP/2 prints every header that it packs at DEBUG, credentials included.
    logging.getLogger("hpack").setLevel(logging.INFO)
    try:
        return httpx.Client(timeout=_TIMEOUT, http2=True, follow_redirects=False)
    except ImportError:
        raise ConfigError(
            "the environment names a SOCKS proxy (ALL_PROXY, HTTPS_PROXY, HTTP_PROXY), which needs socksio: "
            "pip install socksio, or name an http:// proxy"
        ) from None
    except (ValueError, httpx.InvalidURL):
        # Not repeated: a proxy's address may hold a password.
        raise ConfigError(
            "the proxy in ALL_PROXY, HTTPS_PROXY or HTTP_PROXY is no address like http://proxy.example.com:3128"
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A connection ready to be used; valid inside the ``with`` block of `Opener.open` only."""

    connection: Connection
    connector: Connector
    opening: Opening
    api: Api

    def source(self) -> Source:
        """The connection's streams. May send requests. Raises `SyncError`."""
        return Source(
            org_id=self.connection.org_id,
            connection=self.connection.name,
            api=self.api,
            streams=self.connector.streams(self.opening, self.api),
        )


@dataclass(slots=True, kw_only=True)
class Opener:
    """Opens connections. Budgets and breakers outlive a single opening: they belong to the connection."""

    resolver: Resolver
    clock: Clock
    client: Callable[[], httpx.Client] = plain_client
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    _budgets: dict[tuple[str, str, float], tuple[Budget, Breaker]] = field(
        default_factory=dict[tuple[str, str, float], tuple[Budget, Breaker]]
    )

    @contextmanager
    def open(self, connection: Connection) -> Generator[Opened, None, None]:
        """Resolve the secrets and connect.

        Raises:
            ConfigError: a setting or a secret cannot work.
        """
        check(connection)
        found = connector(connection.connector)
        spec = found.spec
        secrets: dict[str, Secret] = {
            name: self.resolver.resolve(reference, Place(connection.org_id, connection.name, name))
            for name, reference in connection.secrets.items()
        }
        budget, breaker = self._shared(connection, float(connection.setting(spec, "requests_per_second") or 0) or None)
        with self.client() as client:
            opening = Opening(
                settings={setting.name: connection.setting(spec, setting.name) for setting in spec.settings},
                secrets=secrets,
                base_url=connection.base_url or spec.base_url,
                client=client,
                clock=self.clock,
                policy=self.policy,
                org_id=connection.org_id,
            )
            auth = found.auth(opening)
            redactor = Redactor((*secrets.values(), *auth.secrets()))
            if isinstance(auth, TokenAuth):
                auth.redactor = redactor
            api = Api(
                client=client,
                base_url=opening.base_url,
                auth=auth,
                budget=budget,
                breaker=breaker,
                clock=self.clock,
                redactor=redactor,
                name=spec.title,
                policy=self.policy,
                explain=found.explain,
                own_hosts=spec.own_hosts,
            )
            yield Opened(connection=connection, connector=found, opening=opening, api=api)

    def _shared(self, connection: Connection, rate: float | None) -> tuple[Budget, Breaker]:
        spec = connector(connection.connector).spec
        per_second = rate or spec.requests_per_second
        key = (connection.org_id, connection.name, per_second)
        found = self._budgets.get(key)
        if found is None:
            budget = Budget(self.clock, per_second=per_second, burst=max(spec.burst, int(per_second)))
            found = self._budgets[key] = (budget, Breaker(self.clock))
        return found
