"""The fake provider's own account of what it billed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class BilledCall:
    """One answered request, as the provider's invoice would count it.

    Attributes:
        provider: ``openai``, ``azure_openai`` or ``anthropic``.
        model: the dated model that answered.
        operation: ``chat``, ``responses``, ``embeddings`` or ``messages``.
        response_id: the id in the answer; embeddings have none (``""``).
        request_id: the id in the answer's headers.
        at_ns: when it was billed, ns since the epoch.
        tokens: disjoint token classes, in the words of `spanledger.semconv.usage`.
        parts: exact US dollars of each token class, and of ``web_searches``.
        api_key: the key that paid.
        delivered: False when the stream was cut before its end (it is billed all the same).
    """

    provider: str
    model: str
    operation: str
    response_id: str
    request_id: str
    at_ns: int
    tokens: Mapping[str, int]
    web_searches: int
    parts: Mapping[str, Decimal]
    api_key: str
    service_tier: str
    is_stream: bool
    delivered: bool

    @property
    def cost(self) -> Decimal:
        """Exact US dollars."""
        return sum(self.parts.values(), Decimal(0))

    def as_json(self) -> dict[str, Any]:
        """A JSON-able record; money is a decimal string."""
        return {
            "provider": self.provider,
            "model": self.model,
            "operation": self.operation,
            "response_id": self.response_id,
            "request_id": self.request_id,
            "at_ns": self.at_ns,
            "tokens": dict(self.tokens),
            "web_searches": self.web_searches,
            "cost_usd": format(self.cost, "f"),
            "api_key": self.api_key,
            "service_tier": self.service_tier,
            "is_stream": self.is_stream,
            "delivered": self.delivered,
        }


@dataclass(frozen=True, slots=True)
class Credit:
    """A line of the invoice that belongs to no call; negative amounts reduce it.

    Attributes:
        provider: whose invoice.
        what: as the line says.
        amount: US dollars.
        at_ns: its day, ns since the epoch.
    """

    provider: str
    what: str
    amount: Decimal
    at_ns: int


class Books:
    """All billed calls of one fake provider. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: list[BilledCall] = []
        self._refused = 0
        self._credits: list[Credit] = []

    def credit(self, credit: Credit) -> None:
        """Put money on the invoice that belongs to no call."""
        with self._lock:
            self._credits.append(credit)

    @property
    def credits(self) -> tuple[Credit, ...]:
        """What is on the invoice beside the calls."""
        with self._lock:
            return tuple(self._credits)

    def bill(self, call: BilledCall) -> None:
        """Add one billed call."""
        with self._lock:
            self._calls.append(call)

    def refuse(self) -> None:
        """Count a request that was answered with an error and costs nothing."""
        with self._lock:
            self._refused += 1

    @property
    def calls(self) -> tuple[BilledCall, ...]:
        """Every billed call so far, in order of billing."""
        with self._lock:
            return tuple(self._calls)

    @property
    def refused(self) -> int:
        """How many requests were answered with an error."""
        with self._lock:
            return self._refused

    def total(self) -> Decimal:
        """US dollars billed so far."""
        return sum((call.cost for call in self.calls), Decimal(0))

    def as_json(self) -> dict[str, Any]:
        """Calls, sums per provider and model, and the total; money as decimal strings."""
        calls = self.calls
        sums: dict[tuple[str, str], dict[str, Any]] = {}
        for call in calls:
            entry = sums.setdefault(
                (call.provider, call.model),
                {"provider": call.provider, "model": call.model, "calls": 0, "tokens": {}, "cost": Decimal(0)},
            )
            entry["calls"] += 1
            entry["cost"] += call.cost
            for token_class, count in call.tokens.items():
                entry["tokens"][token_class] = entry["tokens"].get(token_class, 0) + count
        models = [
            {**{key: value for key, value in entry.items() if key != "cost"}, "cost_usd": format(entry["cost"], "f")}
            for _, entry in sorted(sums.items())
        ]
        return {
            "calls": [call.as_json() for call in calls],
            "models": models,
            "refused": self.refused,
            "total_usd": format(sum((call.cost for call in calls), Decimal(0)), "f"),
        }
