"""``spanledger tokens``: API tokens, each for one organisation."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spanledger.cli import options, output
from spanledger.cli.options import option

if TYPE_CHECKING:
    from spanledger.ledger.tokens import Token, Tokens


def create(
    org: options.Org = options.DEFAULT_ORG,
    name: Annotated[str, option("--name", "What the token is for, for the list.")] = "",
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> None:
    """Make a token and print it once: only its hash is kept.

    Whoever shows it writes into and reads from that one organisation. A running server knows it at once.
    """
    with _tokens(data, clickhouse, make=True) as tokens:
        secret, token = tokens.create(org, name)
    if as_json:
        output.print_json({"token": secret, **_record(token)})
    else:
        output.say(secret)
        output.warn(f"token {token.token_id} for org {token.org_id}: keep it, it is not shown again")


def list_(
    org: Annotated[str, option("--org", "Only this organisation's tokens (default: all).")] = "",
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> None:
    """List tokens, revoked ones too. Secrets are not kept, so they are not shown."""
    with _tokens(data, clickhouse) as tokens:
        found = tokens.list(org or None)
    if as_json:
        output.print_json([_record(token) for token in found])
    else:
        rows = [(each.token_id, each.org_id, each.name, each.created_at, each.revoked_at) for each in found]
        output.print_table(("id", "org", "name", "created", "revoked"), rows)


def revoke(
    token_id: Annotated[str, typer.Argument(help="The id that `spanledger tokens list` shows.")],
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
) -> None:
    """Make a token useless; a running server refuses it within a minute."""
    with _tokens(data, clickhouse) as tokens:
        token = tokens.revoke(token_id)
    output.say(f"token {token.token_id} of org {token.org_id} is revoked")


@contextmanager
def _tokens(data: Path, clickhouse: str, *, make: bool = False) -> Generator[Tokens]:
    from spanledger.cli import access
    from spanledger.ledger.tokens import Tokens

    with access.client(data, clickhouse, make=make) as client, access.readable_errors():
        yield Tokens(client)


def _record(token: Token) -> dict[str, object]:
    return {
        "id": token.token_id,
        "org": token.org_id,
        "name": token.name,
        "created_at": token.created_at,
        "revoked_at": token.revoked_at,
    }
