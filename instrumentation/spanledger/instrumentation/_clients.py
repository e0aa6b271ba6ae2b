"""What is known about an SDK client: who bills its calls, where it sends them, with which key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from spanledger.semconv import names
from spanledger.semconv.providers import biller, otel_name

_FACTS: Final = "_spanledger_facts"
_SERVER_ADDRESS: Final = "server.address"
_SERVER_PORT: Final = "server.port"
_DEFAULT_PORTS: Final[Mapping[str, int]] = {"https": 443, "http": 80}
_MAX_MODELS: Final = 1000

_PLATFORM_CLASSES: Final = (
    ("Bedrock", "aws_bedrock"),
    ("Vertex", "google_vertex"),
    ("Azure", "azure_openai"),
    ("Foundry", "azure_openai"),
)

# Hosts that document `stream_options.include_usage`; others may refuse a field that they do not know.
_STREAM_USAGE_BILLERS: Final = frozenset(["openai", "azure_openai", "openrouter", "deepseek", "groq", "xai", "alibaba"])
# What listens here is a model server or a gateway of the user's own: vLLM, Ollama, llama.cpp and LiteLLM all take it.
_LOOPBACK: Final = frozenset(["127.0.0.1", "localhost", "::1"])
# Azure's dated API versions refused `stream_options` before this one.
_AZURE_STREAM_USAGE_SINCE: Final = "2024-09-01"


@dataclass(frozen=True, slots=True)
class Billed:
    """Who bills a model: ``provider`` in the ledger's words, ``otel_name`` as ``gen_ai.provider.name``."""

    provider: str
    otel_name: str


@dataclass(slots=True, kw_only=True)
class ClientFacts:
    """Facts that hold for every call of a client, resolved once.

    Attributes:
        server: where calls go; stands on spans and metrics alike.
        constant: all further attributes that do not change from call to call.
        accepts_stream_usage: whether the host is known to accept ``stream_options.include_usage``.
        origin: base URL and credential that this was resolved from.
    """

    server: Mapping[str, Any]
    constant: Mapping[str, Any]
    accepts_stream_usage: bool
    origin: tuple[Any, Any]
    _wire: str
    _platform: str
    _base_url: str
    _billed: dict[str, Billed] = field(default_factory=dict[str, Billed])

    def billed(self, model: str) -> Billed:
        """Who bills this model here. The host decides; the model does where a gateway of the user's own stands."""
        found = self._billed.get(model)
        if found is None:
            provider = self._platform or biller(self._wire, self._base_url, model)
            found = Billed(provider, otel_name(provider))
            if len(self._billed) < _MAX_MODELS:
                self._billed[model] = found
        return found


def facts_of(client: Any, *, wire: str, sdk: str, sdk_version: str, fingerprint_key: bytes) -> ClientFacts:
    """The client's facts, resolved at its first call and again when its base URL or key is replaced."""
    known: dict[str, Any] = client.__dict__
    facts: ClientFacts | None = known.get(_FACTS)
    # Where the property reads it: OpenAI's runs an import statement each time.
    base_url = known.get("_base_url") or client.base_url
    credential = known.get("api_key") or known.get("auth_token") or getattr(client, "api_key", None)
    if facts is not None and facts.origin[0] is base_url and facts.origin[1] is credential:
        return facts
    return facts_at(
        client,
        base_url=base_url,
        credential=credential,
        platform=_platform(client),
        wire=wire,
        sdk=sdk,
        sdk_version=sdk_version,
        fingerprint_key=fingerprint_key,
    )


def facts_at(
    client: Any,
    *,
    base_url: Any,
    credential: Any,
    platform: str,
    wire: str,
    sdk: str,
    sdk_version: str,
    fingerprint_key: bytes,
) -> ClientFacts:
    """`facts_of` for clients that keep their base URL and their key elsewhere.

    Args:
        client: keeps the facts.
        base_url: a text, or an object with ``scheme``, ``host`` and ``port``.
        credential: an API key or the id of one, or ``None``.
        platform: who bills whatever the host is, or ``""``.
    """
    known: dict[str, Any] = client.__dict__
    facts: ClientFacts | None = known.get(_FACTS)
    if facts is not None and facts.origin == (base_url, credential):
        return facts
    place = urlsplit(base_url) if isinstance(base_url, str) else base_url
    host = str(getattr(place, "hostname", None) or getattr(place, "host", "") or "")
    port = getattr(place, "port", None) or _DEFAULT_PORTS.get(str(getattr(place, "scheme", "")))
    server: dict[str, Any] = {}
    if host:
        server[_SERVER_ADDRESS] = host
        if port:
            server[_SERVER_PORT] = port
    constant: dict[str, Any] = {**server, names.SDK: sdk, names.SDK_VERSION: sdk_version}
    if isinstance(credential, str) and credential:
        constant[names.API_KEY_FINGERPRINT] = fingerprint(credential, fingerprint_key)
    known[_FACTS] = facts = ClientFacts(
        server=server,
        constant=constant,
        accepts_stream_usage=_accepts_stream_usage(platform or biller("", host), host, known),
        origin=(base_url, credential),
        _wire=wire,
        _platform=platform,
        _base_url=str(base_url),
    )
    return facts


def _platform(client: object) -> str:
    """The biller that a platform client's own class names: a proxy may stand in front of its host."""
    for base in type(client).__mro__:
        for word, provider in _PLATFORM_CLASSES:
            if word in base.__name__:
                return provider
    return ""


def _accepts_stream_usage(provider: str, host: str, known: Mapping[str, Any]) -> bool:
    version = known.get("_api_version")
    if isinstance(version, str) and version[:4].isdigit() and version < _AZURE_STREAM_USAGE_SINCE:
        return False
    return provider in _STREAM_USAGE_BILLERS or host in _LOOPBACK


def fingerprint(credential: str, key: bytes) -> str:
    """Stands for an API key on spans: a keyed hash, equal for equal keys, from which the key cannot be found."""
    return hashlib.blake2b(credential.encode(), key=key, digest_size=8).hexdigest()
