"""What the environment says about instrumentation, read once when it is switched on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import unquote

from spanledger.instrumentation._labels import attribute_names

_log = logging.getLogger(__name__)

CAPTURE_CONTENT: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
STREAM_USAGE: Final = "SPANLEDGER_STREAM_USAGE"
FINISH: Final = "SPANLEDGER_FINISH"
BAGGAGE: Final = "SPANLEDGER_BAGGAGE"
LABELS: Final = "SPANLEDGER_LABELS"
FINGERPRINT_KEY: Final = "SPANLEDGER_FINGERPRINT_KEY"
STANDARD_LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "SPANLEDGER_TEAM_ID": "team_id",
        "SPANLEDGER_FEATURE": "feature",
        "SPANLEDGER_SESSION_ID": "session_id",
        "SPANLEDGER_USER_ID": "user_id",
    }
)

_OFF: Final = frozenset(["0", "false", "no", "off"])
_ON: Final = frozenset(["1", "true", "yes", "on"])
# The switch is shared with other GenAI instrumentations, which also know "events only": our content goes on spans.
_CONTENT_ON_SPANS: Final = _ON | {"span_only", "span_and_event"}
_CONTENT_OFF: Final = _OFF | {"no_content", "event_only"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How calls are recorded.

    Attributes:
        capture_content: put prompts, answers and tool arguments on spans.
        stream_usage: ask OpenAI-compatible hosts for the usage of a stream when the caller did not.
        deferred: spans are completed by a background thread (see `Finisher`), not in the caller's.
        baggage: read labels from inbound OTel baggage and write them to outbound baggage.
        labels: attributes that every span of this process carries, by span attribute name.
        fingerprint_key: key of the hash that stands for an API key.
        raise_errors: let our own errors reach the caller: for our tests alone.
        complaints: what could not be understood, one readable line each.
    """

    capture_content: bool = False
    stream_usage: bool = True
    deferred: bool = True
    baggage: bool = True
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType(dict[str, str]()))
    fingerprint_key: bytes = b"spanledger"
    raise_errors: bool = False
    complaints: tuple[str, ...] = ()


def from_environment(environment: Mapping[str, str], *, raise_errors: bool = False) -> Settings:
    """Read the settings. A value that makes no sense keeps the default and is complained about, never raised."""
    complaints: list[str] = []

    def switch(name: str, *, default: bool, on: frozenset[str] = _ON, off: frozenset[str] = _OFF) -> bool:
        value = environment.get(name, "").strip().lower()
        if not value:
            return default
        if value not in on | off:
            complaints.append(f"{name}={environment[name]!r} is not one of {', '.join(sorted(on | off))}: ignored")
            return default
        return value in on

    labels = _labels_of(environment, complaints)
    settings = Settings(
        capture_content=switch(CAPTURE_CONTENT, default=False, on=_CONTENT_ON_SPANS, off=_CONTENT_OFF),
        stream_usage=switch(STREAM_USAGE, default=True),
        deferred=switch(FINISH, default=True, on=frozenset(["background"]), off=frozenset(["inline"])),
        baggage=switch(BAGGAGE, default=True),
        labels=MappingProxyType(labels),
        # blake2b takes keys of up to 64 bytes
        fingerprint_key=(environment.get(FINGERPRINT_KEY) or "spanledger").encode()[:64],
        raise_errors=raise_errors,
        complaints=tuple(complaints),
    )
    for complaint in complaints:
        _log.warning("spanledger: %s", complaint)
    return settings


def _labels_of(environment: Mapping[str, str], complaints: list[str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in environment.get(LABELS, "").split(","))):
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            complaints.append(f"{LABELS}: {pair!r} is not name=value: ignored")
            continue
        named[name.strip()] = unquote(value.strip())
    for variable, name in STANDARD_LABELS.items():
        if value := environment.get(variable, "").strip():
            named[name] = value
    return attribute_names(named)
