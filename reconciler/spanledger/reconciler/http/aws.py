"""AWS signature version 4, by botocore, on requests that travel through our own HTTP seam."""

from __future__ import annotations

import logging
from importlib import import_module
from typing import Any, Final, cast

import httpx

from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.secrets.secret import Secret

_SIGNED: Final = ("authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256")


class AwsAuth:
    """Signs requests for one service and region.

    Args:
        credentials: botocore credentials; refreshed by botocore itself when they are temporary.
        service: signing name (``ce``, ``s3``).
        region: signing region.
        known: the secrets behind the credentials, where the user gave them.
    """

    def __init__(self, credentials: Any, service: str, region: str, known: tuple[Secret, ...] = ()) -> None:
        self._credentials = credentials
        self._service = service
        self._region = region
        self._known = known

    def apply(self, request: httpx.Request) -> None:
        signer = cast("Any", import_module("botocore.auth"))
        requests = cast("Any", import_module("botocore.awsrequest"))
        plain = requests.AWSRequest(
            method=request.method,
            url=str(request.url),
            data=request.read(),
            headers={
                name: request.headers[name] for name in ("content-type", "x-amz-target") if name in request.headers
            },
        )
        kind = signer.S3SigV4Auth if self._service == "s3" else signer.SigV4Auth
        kind(self._credentials, self._service, self._region).add_auth(plain)
        for name in _SIGNED:
            if name in plain.headers:
                request.headers[name] = str(plain.headers[name])

    def refresh(self) -> bool:
        return False

    def secrets(self) -> tuple[Secret, ...]:
        return self._known

    def for_service(self, service: str, region: str) -> AwsAuth:
        """The same credentials for another service."""
        return AwsAuth(self._credentials, service, region, self._known)


def aws_credentials(key_id: str, secret: Secret | None, token: Secret | None, profile: str) -> Any:
    """Credentials that were given, or those of the environment (variables, profile, instance or pod role).

    Raises:
        ConfigError: there are none.
    """
    # botocore prints what it signs at DEBUG, session tokens included.
    logging.getLogger("botocore.auth").setLevel(logging.INFO)
    if key_id and secret is not None:
        module = cast("Any", import_module("botocore.credentials"))
        return module.Credentials(key_id, secret.reveal(), token.reveal() if token is not None else None)
    session = cast("Any", import_module("botocore.session")).Session(profile=profile or None)
    try:
        found = session.get_credentials()
    except Exception as error:  # noqa: BLE001 - a foreign library's boundary: every failure means "not available"
        raise ConfigError(f"AWS credentials cannot be had: {type(error).__name__}: {error}") from None
    if found is None:
        raise ConfigError(
            "no AWS credentials: give --access-key-id and --secret-access-key-env, or --profile, or run with a role"
        )
    return found
