"""Sealing secrets in the ledger: AES-256-GCM envelopes under a master key that the ledger never sees.

Each secret has its own random data key; the master key only wraps data keys. Both layers are bound to the secret's
place (organisation, connection, field) as associated data: a sealed secret copied to another connection does not open.
The sealed form names its master key, so keys can be rotated by re-wrapping the data keys alone.

The master key file holds one key per line, 32 bytes in base64 or hex; the first line seals, all lines open:
rotation puts a new first line, re-wraps, and removes the old line.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.secrets.secret import Secret

_VERSION = 1
_NONCE_BYTES = 12
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Place:
    """Whose secret it is."""

    org_id: str
    connection: str
    field: str

    def __str__(self) -> str:
        return f"connection {self.connection}, {self.field}"

    def associated_data(self) -> bytes:
        """Unambiguous bytes of the place: JSON quotes what the names contain."""
        return json.dumps([_VERSION, self.org_id, self.connection, self.field]).encode()


class Keyring:
    """The master keys: the first one seals, every one opens."""

    def __init__(self, keys: tuple[bytes, ...]) -> None:
        if not keys or any(len(key) != _KEY_BYTES for key in keys):
            raise ConfigError("a master key has exactly 32 bytes, in base64 or hex (make one: openssl rand -base64 32)")
        self._keys = {_key_id(key): key for key in keys}
        self._current = _key_id(keys[0])

    def __repr__(self) -> str:
        return f"Keyring(current={self._current}, keys={len(self._keys)})"

    @property
    def current(self) -> str:
        """Id of the key that seals: the first 12 hex digits of its SHA-256."""
        return self._current

    def seal(self, secret: Secret, place: Place) -> str:
        """The sealed form of ``secret``, openable at ``place`` only."""
        data_key = AESGCM.generate_key(256)
        data = place.associated_data()
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + AESGCM(data_key).encrypt(nonce, secret.reveal().encode(), data)
        return self._write(data_key, base64.b64encode(sealed).decode(), data)

    def open(self, sealed: str, place: Place) -> Secret:
        """Raises `ConfigError`: damaged, moved from another place, or sealed under a key that is not on the ring."""
        data_key, text = self._unwrap(sealed, place)
        blob = _decode(text, place)
        try:
            plain = AESGCM(data_key).decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], place.associated_data())
        except InvalidTag:
            raise ConfigError(f"the sealed secret of {place} is damaged or belongs to another connection") from None
        return Secret(plain.decode())

    def rewrap(self, sealed: str, place: Place) -> str:
        """The same secret under the current master key; the secret itself is not decrypted."""
        data_key, text = self._unwrap(sealed, place)
        return self._write(data_key, text, place.associated_data())

    def _write(self, data_key: bytes, text: str, data: bytes) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        wrapped = nonce + AESGCM(self._keys[self._current]).encrypt(nonce, data_key, data)
        fields = {"v": _VERSION, "kid": self._current, "dek": base64.b64encode(wrapped).decode(), "ct": text}
        return json.dumps(fields, separators=(",", ":"))

    def _unwrap(self, sealed: str, place: Place) -> tuple[bytes, str]:
        try:
            fields = json.loads(sealed)
            key_id, wrapped, text = str(fields["kid"]), _decode(str(fields["dek"]), place), str(fields["ct"])
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"the sealed secret of {place} is damaged") from None
        master = self._keys.get(key_id)
        if master is None:
            raise ConfigError(f"the secret of {place} is sealed under master key {key_id}, which is not configured")
        try:
            data_key = AESGCM(master).decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], place.associated_data())
        except InvalidTag:
            raise ConfigError(f"the sealed secret of {place} is damaged or belongs to another connection") from None
        return data_key, text


def sealed_key_id(sealed: str) -> str:
    """Which master key a sealed secret needs; ``""`` when it is damaged."""
    try:
        return str(json.loads(sealed)["kid"])
    except (ValueError, KeyError, TypeError):
        return ""


def keyring_from(environ: Mapping[str, str]) -> Keyring | None:
    """The keyring that the environment configures, ``None`` when it configures none.

    ``SPANLEDGER_MASTER_KEY_FILE`` names a file with one key per line; ``SPANLEDGER_MASTER_KEY`` holds one key.

    Raises:
        ConfigError: it is configured and unusable.
    """
    path = environ.get("SPANLEDGER_MASTER_KEY_FILE", "")
    if path:
        try:
            lines = Path(path).read_text(encoding="ascii").split()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigError(f"master key file {path} cannot be read: {reason}") from None
        return Keyring(tuple(_read_key(line) for line in lines))
    value = environ.get("SPANLEDGER_MASTER_KEY", "")
    return Keyring((_read_key(value),)) if value else None


def _read_key(text: str) -> bytes:
    try:
        return bytes.fromhex(text) if len(text) == 2 * _KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise ConfigError("a master key is 32 bytes in base64 or hex (make one: openssl rand -base64 32)") from None


def _decode(text: str, place: Place) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise ConfigError(f"the sealed secret of {place} is damaged") from None


def _key_id(key: bytes) -> str:
    return hashlib.sha256(b"spanledger master key" + key).hexdigest()[:12]
