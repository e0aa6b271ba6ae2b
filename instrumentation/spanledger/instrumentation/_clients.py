"""What is known about an SDK client: who bills its calls, where it sends them, with which key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from spanledger.semconv import names
from spanledger.semconv.providers import biller, is_local, otel_name

_FACTS: Final = "_spanledger_facts"
_FACTS_BY_MODEL: Final = "_spanledger_facts_by_model"
_MODELS_PER_CLIENT: Final = 64
_SERVER_ADDRESS: Final = "server.address"
_SERVER_PORT: Final = "server.port"
_DEFAULT_PORTS: Final[Mapping[str, int]] = {"https": 443, "http": 80}

_PLATFORM_CLASSES: Final = (
    ("Bedrock", "aws_bedrock"),
    ("Vertex", "google_vertex"),
    ("Azure", "azure_openai"),
    ("Foundry", "azure_openai"),
)

# Hosts that document `stream_options.include_usage`; others may refuse a field that they do not know.
_STREAM_USAGE_BILLERS: Final = frozenset(["openai", "azure_openai", "openrouter", "deepseek", "groq", "xai"])
# Azure's dated API versions refused `stream_options` before this one.
_AZURE_STREAM_USAGE_SINCE: Final = "2024-09-01"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFacts:
    """Facts that hold for every call of a client, resolved once.

    Attributes:
        provider: who sends the invoice, in the ledger's words.
        otel_provider: ``gen_ai.provider.name``.
        is_local: whether the calls go to an address of the user's own network.
        accepts_stream_usage: whether the host is known to accept ``stream_options.include_usage``.
        server: where calls go; goes on spans and metrics alike.
        constant: all further attributes that do not change from call to call.
        origin: base URL and credential that this was resolved from.
    """

    provider: str
    otel_provider: str
    is_local: bool
    accepts_stream_usage: bool
    server: Mapping[str, Any]
    constant: Mapping[str, Any]
    origin: tuple[Any, Any]


def facts_of(
    client: Any, *, wire: str, sdk: str, sdk_version: str, fingerprint_key: bytes, model: str = ""
) -> ClientFacts:
    """The client's facts, resolved at its first call and again when its base URL or key is replaced.

    Behind an address of the user's own network (a gateway, or a model server) only the model can tell who bills: there
    the facts are kept for each model.
    """
    own: dict[str, Any] = client.__dict__
    base_url = client.base_url
    credential = own.get("api_key") or own.get("auth_token")
    facts: ClientFacts | None = own.get(_FACTS)
    if facts is None or facts.origin[0] is not base_url or facts.origin[1] is not credential:
        own[_FACTS] = facts = _resolve(client, base_url, credential, wire, sdk, sdk_version, fingerprint_key, "")
        own[_FACTS_BY_MODEL] = {}
    if not model or not facts.is_local:
        return facts
    by_model: dict[str, ClientFacts] = own[_FACTS_BY_MODEL]
    if model not in by_model:
        if len(by_model) >= _MODELS_PER_CLIENT:
            by_model.clear()
        by_model[model] = _resolve(client, base_url, credential, wire, sdk, sdk_version, fingerprint_key, model)
    return by_model[model]


def _resolve(
    client: Any,
    base_url: Any,
    credential: Any,
    wire: str,
    sdk: str,
    sdk_version: str,
    fingerprint_key: bytes,
    model: str,
) -> ClientFacts:
    host = str(getattr(base_url, "host", "") or "")
    port = getattr(base_url, "port", None) or _DEFAULT_PORTS.get(str(getattr(base_url, "scheme", "")))
    provider = _platform(client) or biller(wire, str(base_url), model)
    server: dict[str, Any] = {}
    if host:
        server[_SERVER_ADDRESS] = host
        if port:
            server[_SERVER_PORT] = port
    constant: dict[str, Any] = {**server, names.PROVIDER: provider, names.SDK: sdk, names.SDK_VERSION: sdk_version}
    if isinstance(credential, str) and credential:
        constant[names.API_KEY_FINGERPRINT] = fingerprint(credential, fingerprint_key)
    return ClientFacts(
        provider=provider,
        otel_provider=otel_name(provider),
        is_local=is_local(str(base_url)),
        accepts_stream_usage=provider in _STREAM_USAGE_BILLERS and _api_version_allows(client),
        server=server,
        constant=constant,
        origin=(base_url, credential),
    )


def _platform(client: object) -> str:
    """The biller that a platform client's own class names: a proxy may stand in front of its host."""
    for base in type(client).__mro__:
        for word, provider in _PLATFORM_CLASSES:
            if word in base.__name__:
                return provider
    return ""


def _api_version_allows(client: Any) -> bool:
    version = getattr(client, "_api_version", None)
    if not isinstance(version, str) or not version[:4].isdigit():
        return True
    return version >= _AZURE_STREAM_USAGE_SINCE


def fingerprint(credential: str, key: bytes) -> str:
    """Stands for an API key on spans: a keyed hash, equal for equal keys, from which the key cannot be found."""
    return hashlib.blake2b(credential.encode(), key=key, digest_size=8).hexdigest()
