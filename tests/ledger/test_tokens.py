"""API tokens."""

from __future__ import annotations

import pytest

from spanledger.ledger.errors import PermanentStoreError
from spanledger.ledger.tokens import FRESH_SECONDS, PREFIX, Tokens


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tokens(client, clock):
    return Tokens(client, monotonic=clock)


def test_a_token_opens_its_org_until_it_is_revoked(tokens, org):
    """Shown once, verified by hash, useless at once when revoked; revoking twice is fine."""
    secret, token = tokens.create(org, "laptop")
    assert secret.startswith(PREFIX)
    assert tokens.verify(secret) == org
    assert tokens.verify(secret + "x") is None
    assert tokens.verify("") is None
    revoked = tokens.revoke(token.token_id)
    assert revoked.revoked_at is not None
    assert tokens.verify(secret) is None
    assert tokens.revoke(token.token_id) == revoked


def test_the_secret_is_not_in_the_store(tokens, client, org):
    """Nor anything that could be turned back into it."""
    secret, token = tokens.create(org)
    (row,) = client.query(
        "SELECT * FROM spanledger.api_tokens WHERE token_id = {id:String}", parameters={"id": token.token_id}
    ).result_rows
    assert secret not in repr(row)
    assert secret not in repr(token)


def test_another_process_sees_a_revocation_soon(tokens, client, clock, org):
    """Within FRESH_SECONDS; until then it may go on with what it knows."""
    secret, token = tokens.create(org)
    assert tokens.verify(secret) == org
    Tokens(client).revoke(token.token_id)
    assert tokens.verify(secret) == org
    clock.now += FRESH_SECONDS + 0.1
    assert tokens.verify(secret) is None


def test_another_process_sees_a_new_token_sooner(tokens, client, clock, org):
    """Whoever was just given a token uses it at once."""
    assert tokens.verify("unknown") is None
    secret, _ = Tokens(client).create(org)
    clock.now += 1.1
    assert tokens.verify(secret) == org


def test_list_shows_everything_but_the_secret(tokens, org):
    """Oldest first, revoked ones too, of one org or all."""
    made = [tokens.create(org, name)[1] for name in ("a", "b")]
    tokens.revoke(made[0].token_id)
    assert [(t.name, t.revoked_at is None) for t in tokens.list(org)] == [("a", False), ("b", True)]
    assert {t.token_id for t in made} <= {t.token_id for t in tokens.list()}
    assert tokens.any()


def test_errors_are_one_line(tokens):
    """Naming what is missing."""
    with pytest.raises(PermanentStoreError, match="no token 'nope': `spanledger tokens list` shows them"):
        tokens.revoke("nope")
    with pytest.raises(PermanentStoreError, match="a token needs an org"):
        tokens.create(" ")
