"""A span's cost is the ledger's: both price a call by the same names."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from llm_wire import MESSAGES, chat, message

from spanledger.instrumentation.processor import _record
from spanledger.semconv.cost import Cost
from spanledger.semconv.dialects import Dialects
from spanledger.semconv.prices import PriceBook

BEDROCK = {"aws_region": "us-east-1", "api_key": "bedrock-key"}
PROFILE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
AZURE = {"azure_endpoint": "https://unit.openai.azure.com", "api_version": "2025-04-01-preview"}


def costs(on: Any) -> tuple[dict[str, Any], Cost]:
    """The span's attributes, and what the ledger makes of the span."""
    span = on.span()
    observation = Dialects().read_span(_record(span))
    assert observation is not None
    (cost,) = PriceBook().price_many([observation])
    return dict(span.attributes), cost


def assert_equal(found: dict[str, Any], cost: Cost) -> None:
    assert cost.total is not None
    assert Decimal(found["spanledger.cost.total"]) == cost.total
    assert found["spanledger.cost.price_id"] == cost.price_id
    assert found["spanledger.cost.status"] == cost.status


@pytest.mark.parametrize("answers", ["claude-haiku-4-5-20251001", "claude-haiku-4-5@of-a-name-without-a-price"])
def test_a_regional_profile(on: Any, clients: Any, provider: Any, reply: Any, answers: str) -> None:
    """The profile is the product: its price is another than the model's, whose name the answer gives."""
    try:
        client = clients.anthropic("AnthropicBedrock", **BEDROCK)
        provider.replies.append(reply(message(model=answers)))
        client.messages.create(model=PROFILE, max_tokens=400, messages=MESSAGES)
    except (ImportError, RuntimeError, TypeError) as error:
        provider.replies.clear()
        pytest.skip(f"needs a cloud library or a newer SDK: {error}")
    found, cost = costs(on)
    assert_equal(found, cost)


def test_a_deployment(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    """Its name says nothing, the answer's model all."""
    provider.replies.append(reply(chat()))
    clients.openai("AzureOpenAI", **AZURE).chat.completions.create(model="our-deployment", messages=MESSAGES)
    assert_equal(*costs(on))


def test_a_name_that_only_the_request_knows(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(chat(model="served-by-a-gateway")))
    clients.openai().chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert_equal(*costs(on))


def test_a_name_that_nobody_knows(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    provider.replies.append(reply(chat(model="nobody-knows")))
    clients.openai().chat.completions.create(model="nobody-knows-either", messages=MESSAGES)
    found, cost = costs(on)
    assert cost.total is None
    assert "spanledger.cost.total" not in found
    assert (found["spanledger.cost.status"], found["spanledger.cost.reason"]) == (cost.status, cost.reason)
