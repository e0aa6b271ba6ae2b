"""How a command reaches the store: through the server that owns it, on a ClickHouse server, or by opening the files."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from spanledger.cli import runtime
from spanledger.cli.errors import CommandError, UserError

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from spanledger.ledger.client import StoreTarget


@contextmanager
def readable_errors() -> Generator[None]:
    """Turn the parts' own one-line errors into ours: permanent ones are the user's to mend, others may pass."""
    from spanledger.collector.errors import StartupError
    from spanledger.ledger.errors import PermanentStoreError, RetryableStoreError
    from spanledger.reconciler.errors import ConfigError

    try:
        yield
    except (StartupError, PermanentStoreError, ConfigError) as error:
        raise UserError(str(error)) from error
    except RetryableStoreError as error:
        raise CommandError(str(error)) from error


def target(data: Path, clickhouse: str, *, make: bool = False) -> StoreTarget:
    """Where the store is, for a command that reads or writes it.

    Args:
        data: directory of the embedded store, used unless ``clickhouse`` names a server.
        clickhouse: URL of a ClickHouse server.
        make: whether an embedded store may be made where none is.

    Raises:
        UserError: the ClickHouse URL is not one, or there is no store at ``data``.
    """
    from spanledger.ledger.client import MARKER, StoreTarget

    with readable_errors():
        if clickhouse:
            return StoreTarget.server(clickhouse)
        server = runtime.find(data)
        if server is not None:
            return StoreTarget.server(server.store_url)
        if not make and not (data / MARKER).exists():
            raise UserError(f"no ledger at {data}: start `spanledger serve --data {data}`, or name another --data")
        return StoreTarget.embedded(data)


@contextmanager
def client(data: Path, clickhouse: str, *, make: bool = False) -> Generator[Client]:
    """A client on the store, its schema up to date; holds the store's lock when it opens the files itself."""
    from spanledger.ledger.client import Lock, connect
    from spanledger.ledger.migrate import migrate

    place = target(data, clickhouse, make=make)
    with ExitStack() as parts:
        with readable_errors():
            if place.path is not None:
                parts.callback(Lock(place.path).release)
            opened = connect(place)
            parts.callback(opened.close)
            if place.path is not None or clickhouse:
                migrate(opened, cluster=place.cluster)
        yield opened
