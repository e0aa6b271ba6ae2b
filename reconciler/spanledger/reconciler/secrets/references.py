"""Where a secret is kept: a reference in the connection, resolved at the moment of use.

====================================  =====================================================================
``env:NAME``                          the environment variable NAME
``file:/path``                        the file's content without the final newline
``systemd:NAME``                      systemd credential NAME (``LoadCredential=``, below ``$CREDENTIALS_DIRECTORY``)
``aws-sm:SECRET_ID[#JSON_KEY]``       AWS Secrets Manager, with the default AWS credentials
``gcp-sm:projects/P/secrets/S[/versions/V][#JSON_KEY]``
                                      Google Secret Manager, with the default Google credentials
``sealed:{...}``                      sealed in the ledger itself with the master key (`envelope`)
====================================  =====================================================================

The secret managers' libraries come with ``pip install 'spanledger[secret-managers]'``.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.secrets.envelope import Keyring, Place
from spanledger.reconciler.secrets.secret import Secret

SCHEMES: Final = ("env", "file", "systemd", "aws-sm", "gcp-sm", "sealed")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True)
class Resolver:
    """Turns references into secrets.

    Attributes:
        environ: the process's environment.
        keyring: the master keys; ``None`` when none is configured.
    """

    environ: Mapping[str, str] = field(repr=False)
    keyring: Keyring | None = None

    def resolve(self, reference: str, place: Place) -> Secret:
        """The secret behind ``reference``.

        Raises:
            ConfigError: it cannot be had; the message names the reference, never the secret.
        """
        scheme, _, rest = reference.partition(":")
        if scheme == "env":
            value = self.environ.get(rest, "")
            if not value:
                raise ConfigError(f"environment variable {rest} is not set (secret of {place})")
            return Secret(value.strip())
        if scheme == "file":
            return _from_file(Path(rest), place)
        if scheme == "systemd":
            folder = self.environ.get("CREDENTIALS_DIRECTORY", "")
            if not folder:
                raise ConfigError(
                    f"systemd credential {rest} of {place}: $CREDENTIALS_DIRECTORY is not set; "
                    f"add LoadCredential={rest}:... to the unit"
                )
            if "/" in rest or rest in ("", ".", ".."):
                raise ConfigError(f"systemd credential {rest!r}: a credential name has no slash")
            return _from_file(Path(folder) / rest, place)
        if scheme == "sealed":
            if self.keyring is None:
                raise ConfigError(
                    f"the secret of {place} is sealed and there is no master key; "
                    "set SPANLEDGER_MASTER_KEY_FILE or SPANLEDGER_MASTER_KEY"
                )
            return self.keyring.open(rest, place)
        if scheme == "aws-sm":
            return _from_aws(rest, place)
        if scheme == "gcp-sm":
            return _from_google(rest, place)
        raise ConfigError(f"secret of {place}: unknown reference {scheme}:..., use one of {', '.join(SCHEMES)}")


def check_reference(reference: str) -> str:
    """The reference as given when its scheme is known. Raises `ConfigError`, without repeating a pasted key."""
    scheme, colon, rest = reference.partition(":")
    if not colon or scheme not in SCHEMES or not rest:
        raise ConfigError(
            "a secret reference looks like env:NAME, file:/path, systemd:NAME, aws-sm:ID or gcp-sm:NAME; "
            "do not pass the secret itself"
        )
    if scheme == "env" and not _VARIABLE.fullmatch(rest):
        raise ConfigError(
            "env:... takes the name of an environment variable, like OPENAI_ADMIN_KEY; do not pass the secret itself"
        )
    return reference


def _from_file(path: Path, place: Place) -> Secret:
    try:
        value = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"secret file {path} of {place} cannot be read: {reason}") from None
    value = value.strip()
    if not value:
        raise ConfigError(f"secret file {path} of {place} is empty")
    return Secret(value)


def _from_aws(rest: str, place: Place) -> Secret:
    name, _, key = rest.partition("#")
    module = _library("boto3", "boto3", place)
    try:
        answer = module.client("secretsmanager").get_secret_value(SecretId=name)
    except Exception as error:  # noqa: BLE001 - a foreign library's boundary: every failure means "not available"
        raise ConfigError(f"AWS secret {name} of {place}: {type(error).__name__}") from None
    return _pick(str(answer.get("SecretString") or ""), key, f"AWS secret {name}", place)


def _from_google(rest: str, place: Place) -> Secret:
    name, _, key = rest.partition("#")
    if "/versions/" not in name:
        name += "/versions/latest"
    module = _library("google.cloud.secretmanager", "google-cloud-secret-manager", place)
    try:
        answer = module.SecretManagerServiceClient().access_secret_version(request={"name": name})
    except Exception as error:  # noqa: BLE001 - a foreign library's boundary: every failure means "not available"
        raise ConfigError(f"Google secret {name} of {place}: {type(error).__name__}") from None
    return _pick(bytes(answer.payload.data).decode("utf-8", "replace"), key, f"Google secret {name}", place)


def _library(module: str, package: str, place: Place) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ConfigError(f"the secret of {place} needs {package}: pip install 'spanledger[secret-managers]'") from None


def _pick(value: str, key: str, what: str, place: Place) -> Secret:
    if key:
        try:
            value = str(json.loads(value)[key])
        except (ValueError, KeyError, TypeError):
            raise ConfigError(f"{what} of {place} has no JSON key {key!r}") from None
    if not value:
        raise ConfigError(f"{what} of {place} is empty")
    return Secret(value.strip())
