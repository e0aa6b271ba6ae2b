"""Frozen statements of closed periods: hash-chained, signed when a key is configured, verifiable offline.

A statement is a JSON document in one canonical form (sorted keys, no white space, amounts as decimal strings), so that
its SHA-256 is reproducible anywhere. Each statement holds the hash of the one before it: changing or removing an old
one breaks every later link. With an Ed25519 key the hash is signed; a verifier needs the documents and the public key,
neither our server nor the store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, cast

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

GENESIS: Final = "0" * 64
"""The hash that the first statement of an org names as its predecessor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One closed period.

    Attributes:
        body: what is stated; JSON values only, amounts as decimal strings.
        previous: hash of the org's statement before this one, or `GENESIS`.
        digest: SHA-256 (hex) over the canonical form of ``{"body", "previous"}``.
        signature: Ed25519 over the digest's bytes (hex), or ``""``.
        public_key: the signer's raw public key (hex), or ``""``.
    """

    body: Mapping[str, Any]
    previous: str
    digest: str
    signature: str = ""
    public_key: str = ""

    def to_json(self) -> str:
        """The document to keep or to hand to an auditor: one canonical line."""
        return canonical(
            {
                "body": self.body,
                "previous": self.previous,
                "digest": self.digest,
                "signature": self.signature,
                "public_key": self.public_key,
            }
        )


_FIELDS: Final[Mapping[str, type]] = MappingProxyType(
    {"body": dict, "previous": str, "digest": str, "signature": str, "public_key": str}
)


class StatementError(ValueError):
    """A document is no statement, or does not verify; the text says which and why, in one line."""


def canonical(value: Mapping[str, Any]) -> str:
    """The one JSON text of a value: sorted keys, no white space, no floats.

    Raises:
        StatementError: the value holds a float (amounts are decimal strings here) or something that is not JSON.
    """
    _refuse_floats(value)
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except TypeError as error:
        raise StatementError(f"not a JSON value: {error}") from error


def close(body: Mapping[str, Any], *, previous: str = GENESIS, key: Ed25519PrivateKey | None = None) -> Statement:
    """Freeze a body behind the previous statement's hash, and sign it when there is a key."""
    digest = _digest(body, previous)
    if key is None:
        return Statement(body=body, previous=previous, digest=digest)
    return Statement(
        body=body,
        previous=previous,
        digest=digest,
        signature=key.sign(bytes.fromhex(digest)).hex(),
        public_key=key.public_key().public_bytes_raw().hex(),
    )


def parse(document: str) -> Statement:
    """Read a statement's JSON text without verifying it.

    Raises:
        StatementError: it is not the JSON of a statement.
    """
    try:
        raw = json.loads(document)
    except ValueError as error:
        raise StatementError(f"not a statement: it is no JSON ({error})") from error
    if not isinstance(raw, dict):
        raise StatementError("not a statement: it is no JSON object")
    fields = cast("dict[str, Any]", raw)
    for name, kind in _FIELDS.items():
        if not isinstance(fields.get(name), kind):
            raise StatementError(f"not a statement: {name!r} is missing, or not what a statement has there")
    return Statement(**{name: fields[name] for name in _FIELDS})


def verify(chain: Sequence[Statement], *, trusted_keys: frozenset[str] | None = None) -> None:
    """Check a chain from its first statement on.

    Args:
        chain: the statements of one org, oldest first.
        trusted_keys: raw public keys (hex) that may sign; with ``None`` a signature only has to fit the key it names,
            and unsigned statements pass.

    Raises:
        StatementError: names the first statement that does not verify, and why.
    """
    previous = GENESIS
    for number, statement in enumerate(chain, start=1):
        where = f"statement {number} ({statement.body.get('period', 'no period')})"
        if statement.previous != previous:
            raise StatementError(f"{where}: does not follow the statement before it; one was removed or reordered")
        if statement.digest != _digest(statement.body, statement.previous):
            raise StatementError(f"{where}: its content does not fit its hash; it was changed after closing")
        _verify_signature(statement, where, trusted_keys)
        previous = statement.digest


def _verify_signature(statement: Statement, where: str, trusted_keys: frozenset[str] | None) -> None:
    if not statement.signature:
        if trusted_keys is not None:
            raise StatementError(f"{where}: is not signed")
        return
    if trusted_keys is not None and statement.public_key not in trusted_keys:
        raise StatementError(f"{where}: is signed by a key that is not trusted: {statement.public_key}")
    try:
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(statement.public_key))
        public.verify(bytes.fromhex(statement.signature), bytes.fromhex(statement.digest))
    except (InvalidSignature, ValueError) as error:
        raise StatementError(f"{where}: its signature does not fit") from error


def _digest(body: Mapping[str, Any], previous: str) -> str:
    return hashlib.sha256(canonical({"body": body, "previous": previous}).encode()).hexdigest()


def _refuse_floats(value: object) -> None:
    if isinstance(value, float):
        raise StatementError("a statement holds no floats: write amounts as decimal strings")
    if isinstance(value, Mapping):
        for item in value.values():  # pyright: ignore[reportUnknownVariableType]
            _refuse_floats(item)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, (list, tuple)):
        for item in value:  # pyright: ignore[reportUnknownVariableType]
            _refuse_floats(item)  # pyright: ignore[reportUnknownArgumentType]
