"""How a command reaches the store: through the server that owns it, on a ClickHouse server, or by opening the files."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
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

    try:
        yield
    except (StartupError, PermanentStoreError) as error:
        raise UserError(str(error)) from error
    except RetryableStoreError as error:
        raise CommandError(str(error)) from error


def target(data: Path, clickhouse: str) -> StoreTarget:
    """Where the store is, for a command that reads or writes it.

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
        if not (data / MARKER).exists():
            raise UserError(f"no ledger at {data}: start `spanledger serve --data {data}`, or name another --data")
        return StoreTarget.embedded(data)


@contextmanager
def client(data: Path, clickhouse: str) -> Generator[Client]:
    """A client on the store, closed at the end; holds the store's lock when it opens the files itself."""
    from spanledger.ledger.client import Lock, connect

    place = target(data, clickhouse)
    with readable_errors():
        lock = Lock(place.path) if place.path is not None else None
        try:
            opened = connect(place)
            try:
                yield opened
            finally:
                opened.close()
        finally:
            if lock is not None:
                lock.release()
