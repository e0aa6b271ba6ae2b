"""How the commands about bills reach the reconciler."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from spanledger.cli import access, runtime
from spanledger.cli.errors import CommandError, UserError

if TYPE_CHECKING:
    from spanledger.reconciler.connections import Connection
    from spanledger.reconciler.service import Bills


@contextmanager
def bills(data: Path, clickhouse: str, *, make: bool = False, settling: bool = False) -> Generator[Bills]:
    """The reconciler on the ledger at hand; its one-line errors become ours.

    Args:
        data: directory of the embedded store.
        clickhouse: URL of a ClickHouse server.
        make: whether an embedded store may be made where none is.
        settling: open the ledger for writing calls too where a connection reads batch results; left out while a
            server owns the store (its scheduler reads them).
    """
    from spanledger.reconciler.errors import ConfigError, SyncError
    from spanledger.reconciler.service import Bills

    try:
        with access.readable_errors():
            if settling and runtime.find(data) is None and _reads_calls(data, clickhouse, make=make):
                from spanledger.ledger.store import Ledger
                from spanledger.semconv.prices import PriceBook

                place = access.target(data, clickhouse, make=make)
                ledger = Ledger.open(place, prices=PriceBook())
                try:
                    yield Bills.on(ledger.client, os.environ, ingest=lambda found: ledger.ingest(found, []))
                finally:
                    ledger.close()
            else:
                with access.client(data, clickhouse, make=make) as client:
                    yield Bills.on(client, os.environ)
    except ConfigError as error:
        raise UserError(str(error)) from error
    except SyncError as error:
        raise CommandError(str(error)) from error


def _reads_calls(data: Path, clickhouse: str, *, make: bool) -> bool:
    """Whether a connection brings observations of single calls, which only the opened ledger can settle."""
    from spanledger.reconciler.service import Bills

    with access.client(data, clickhouse, make=make) as client:
        return any(each.reads_calls for each in Bills.on(client, {}).connections.all())


def chosen(found: Bills, org: str, names: list[str]) -> list[Connection]:
    """The connections with these names or of these providers; all of the organisation when none is named.

    Raises:
        UserError: there is no connection at all, or none of that name.
    """
    from spanledger.reconciler.connectors import connector
    from spanledger.reconciler.errors import ConfigError

    existing = found.connections.all(org)
    if not existing:
        raise UserError("there are no connections yet: spanledger connections add openai --name prod ...")
    if not names:
        return existing
    wanted: list[Connection] = []
    for name in names:
        try:
            kind = connector(name).spec.name
        except ConfigError:
            kind = ""
        hits = [each for each in existing if each.name == name] or [each for each in existing if each.connector == kind]
        if not hits:
            known = ", ".join(each.name for each in existing)
            raise UserError(f"no connection is called {name!r} and none is of such a provider; there are: {known}")
        wanted += [hit for hit in hits if hit not in wanted]
    return wanted
