"""What the wire formats share: a parsed request, a decided answer, and repeatable randomness."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, cast

from spanledger.cli.demo.rates import Charge

WORDS: Final = ("ledger", "cost", "span", "token", "model", "cache", "price", "invoice", "batch", "stream", "budget")


def no_json() -> dict[str, Any]:
    """An empty JSON object."""
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One API request: its JSON body, lower-case headers, and the steering that tests may send in ``x-fake``.

    ``x-fake`` is a JSON object: ``status`` (answer with this error), ``times`` and ``key`` (only the first N requests
    with that key fail), ``retry_after`` (seconds, any text), ``usage`` (token classes to report instead of drawn ones),
    ``cut_after`` (break the stream off after N events), ``delay_ms`` (pause between stream events).
    """

    path: str
    body: Mapping[str, Any]
    headers: Mapping[str, str]
    steer: Mapping[str, Any] = field(default_factory=no_json)

    @property
    def wants_stream(self) -> bool:
        """Whether the caller asked for server-sent events."""
        return self.body.get("stream") is True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is sent back and what is billed for it: a JSON body, or server-sent events (``name``, data)."""

    provider: str
    model: str
    operation: str
    response_id: str
    charge: Charge
    service_tier: str = ""
    body: Mapping[str, Any] | None = None
    events: Sequence[tuple[str, Mapping[str, Any] | str]] = ()


def draw(seed: int, body: Mapping[str, Any], ordinal: int) -> random.Random:
    """Randomness that depends on the seed, on what was asked and on how often it was asked, not on arrival order."""
    text = f"{seed}|{ordinal}|{json.dumps(body, sort_keys=True)}"
    return random.Random(hashlib.sha256(text.encode()).digest())  # noqa: S311 - repeatable on purpose


def identifier(rng: random.Random, prefix: str) -> str:
    """An id as providers make them, drawn from ``rng``."""
    return f"{prefix}{rng.getrandbits(112):028x}"


def prose(rng: random.Random, tokens: int) -> str:
    """Some words to answer with; at most 24, however many tokens are billed."""
    return " ".join(rng.choice(WORDS) for _ in range(max(1, min(tokens, 24))))


def pieces(text: str, count: int = 4) -> Iterator[str]:
    """The text in up to ``count`` parts, for stream events."""
    words = text.split(" ")
    size = max(1, -(-len(words) // count))
    for start in range(0, len(words), size):
        part = " ".join(words[start : start + size])
        yield part if start == 0 else " " + part


def size_of(value: object) -> int:
    """Roughly the tokens of a prompt: four characters each."""
    return max(1, len(json.dumps(value)) // 4)


def mappings(value: object) -> list[Mapping[str, Any]]:
    """The JSON objects in a value that should be a list of them; anything else is left out."""
    if not isinstance(value, list):
        return []
    return [cast("Mapping[str, Any]", item) for item in cast("list[object]", value) if isinstance(item, dict)]


def mapping(value: object) -> Mapping[str, Any]:
    """A value that should be a JSON object; empty when it is not."""
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def limit(value: object, default: int) -> int:
    """A positive token limit from a request field."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default
