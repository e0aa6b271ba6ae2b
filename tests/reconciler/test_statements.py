"""A closed statement cannot be changed, removed or re-signed unnoticed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from spanledger.reconciler.statements import GENESIS, Statement, StatementError, canonical, close, parse, verify


def chain(key: Ed25519PrivateKey | None = None) -> list[Statement]:
    first = close({"period": "2026-09", "billed_usd": "10.5"}, key=key)
    second = close({"period": "2026-10", "billed_usd": "12"}, previous=first.digest, key=key)
    return [first, second, close({"period": "2026-11", "billed_usd": "9"}, previous=second.digest, key=key)]


@pytest.mark.parametrize("key", [None, Ed25519PrivateKey.generate()], ids=["unsigned", "signed"])
def test_a_chain_survives_its_documents(key: Ed25519PrivateKey | None):
    documents = [statement.to_json() for statement in chain(key)]
    verify([parse(document) for document in documents])
    assert [parse(document).to_json() for document in documents] == documents


def test_the_first_statement_follows_nothing():
    assert chain()[0].previous == GENESIS


def test_a_changed_amount_is_found():
    first, second, third = chain()
    forged = replace(second, body={**second.body, "billed_usd": "11"})
    with pytest.raises(StatementError, match=r"statement 2 \(2026-10\): .* changed after closing"):
        verify([first, forged, third])


def test_a_removed_statement_is_found():
    first, _, third = chain()
    with pytest.raises(StatementError, match=r"statement 2 \(2026-11\): .* removed"):
        verify([first, third])


def test_a_signature_of_another_key_is_found():
    honest, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    trusted = frozenset({honest.public_key().public_bytes_raw().hex()})
    verify(chain(honest), trusted_keys=trusted)
    with pytest.raises(StatementError, match="not trusted"):
        verify(chain(other), trusted_keys=trusted)
    with pytest.raises(StatementError, match="not signed"):
        verify(chain(), trusted_keys=trusted)
    forged = [replace(s, signature=other.sign(bytes.fromhex(s.digest)).hex()) for s in chain(honest)]
    with pytest.raises(StatementError, match="signature does not fit"):
        verify(forged, trusted_keys=trusted)


def test_a_statement_holds_no_floats():
    with pytest.raises(StatementError, match="decimal strings"):
        close({"period": "2026-11", "lines": [{"amount": 1.5}]})


def test_the_canonical_form_ignores_the_order_of_keys():
    assert canonical({"b": 1, "a": "ü"}) == canonical({"a": "ü", "b": 1}) == '{"a":"ü","b":1}'


@pytest.mark.parametrize("document", ["", "[]", '{"body": {}}', "not json"])
def test_what_is_no_statement_is_refused_in_one_line(document: str):
    with pytest.raises(StatementError, match="not a statement"):
        parse(document)
