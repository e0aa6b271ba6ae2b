"""Usage documents of hosts that speak OpenAI's API, each with words of its own."""

from __future__ import annotations

from typing import Any

import pytest
from llm_wire import MESSAGES, chat, chat_events

pytest.importorskip("openai")

TOKENS = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
HOSTS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any], str, str | None]] = {
    "deepseek": (
        "https://api.deepseek.com/v1",
        "deepseek-chat",
        {"prompt_cache_hit_tokens": 400, "prompt_cache_miss_tokens": 600},
        {"input_uncached": 600, "cache_read": 400, "output_text": 100},
        "list",
        None,
    ),
    "moonshot": (
        "https://api.moonshot.ai/v1",
        "kimi-k2-0905-preview",
        {"cached_tokens": 300},
        {"input_uncached": 700, "cache_read": 300, "output_text": 100},
        "list",
        None,
    ),
    "openrouter": (
        "https://openrouter.ai/api/v1",
        "anthropic/claude-haiku-4.5",
        {"cost": 0.00123, "is_byok": False, "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 50}},
        {"input_uncached": 850, "cache_read": 100, "cache_write": 50, "output_text": 100},
        "exact",
        "0.00123",
    ),
    "perplexity": (
        "https://api.perplexity.ai",
        "sonar-pro",
        {"search_context_size": "low", "cost": {"request_cost": 0.006, "total_cost": 0.0105}},
        {"input_uncached": 1000, "output_text": 100},
        "exact",
        "0.0105",
    ),
    "perplexity's research": (
        "https://api.perplexity.ai",
        "sonar-deep-research",
        {"citation_tokens": 20000, "num_search_queries": 18, "reasoning_tokens": 70000},
        {
            "input_uncached": 1000,
            "output_text": 100,
            "reasoning": 70000,
            "count.output_citation": 20000,
            "count.web_searches": 18,
        },
        "list",
        # 1000 x 2 + 100 x 8 + 70000 x 3 + 20000 x 2 USD a million, and 18 x 5 USD a thousand
        "0.3428",
    ),
    "xai": (
        "https://api.x.ai/v1",
        "grok-4",
        {"completion_tokens_details": {"reasoning_tokens": 50}, "total_tokens": 1150, "cost_in_usd_ticks": 123456789},
        {"input_uncached": 1000, "output_text": 100, "reasoning": 50},
        "exact",
        "0.0123456789",
    ),
}


@pytest.mark.parametrize("host", HOSTS.values(), ids=list(HOSTS))
@pytest.mark.parametrize("streams", [False, True], ids=["direct", "stream"])
def test_what_hosts_tell(on: Any, clients: Any, provider: Any, reply: Any, host: Any, streams: bool) -> None:
    base_url, model, told, classes, status, cost = host
    usage = {**TOKENS, **told}
    events = [{**event, "model": model} if isinstance(event, dict) else event for event in chat_events(usage=usage)]
    provider.replies.append(reply(events=events) if streams else reply(chat(model=model, usage=usage)))
    got = clients.openai(base_url=base_url).chat.completions.create(model=model, messages=MESSAGES, stream=streams)
    if streams:
        list(got)
    assert on.usage() == classes
    found = on.attributes()
    assert found["spanledger.cost.status"] == status
    assert cost is None or found["spanledger.cost.total"] == cost


@pytest.mark.parametrize(
    ("base_url", "is_asked"),
    [
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", True),
        ("https://api.mistral.ai/v1", False),  # it refuses what it does not know
        ("https://llm.example.com/v1", False),
    ],
)
def test_who_is_asked_for_the_usage_of_streams(
    on: Any, clients: Any, provider: Any, reply: Any, base_url: str, is_asked: bool
) -> None:
    provider.replies.append(reply(events=chat_events(usage=TOKENS)))
    chunks = list(clients.openai(base_url=base_url).chat.completions.create(model="m", messages=MESSAGES, stream=True))
    assert ("stream_options" in provider.requests[0].body) is is_asked
    assert len(chunks) == (3 if is_asked else 4)


def test_a_key_of_the_customers_own(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    """OpenRouter bills its fee, whose key it is the tokens."""
    usage = {**TOKENS, "cost": 0.0001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.002}}
    provider.replies.append(reply(chat(model="openai/gpt-4o", usage=usage)))
    clients.openai(base_url="https://openrouter.ai/api/v1").chat.completions.create(
        model="openai/gpt-4o", messages=MESSAGES
    )
    assert on.attributes()["spanledger.cost.total"] == "0.0001"
    assert on.attributes()["spanledger.notes"] == ("upstream_bills_apart",)


@pytest.mark.parametrize("model", ["gpt-4o-search-preview-2025-03-11", "gpt-5-search-api"])
def test_models_that_search_for_each_request(on: Any, clients: Any, provider: Any, reply: Any, model: str) -> None:
    provider.replies.append(reply(chat(model=model, usage=TOKENS)))
    clients.openai().chat.completions.create(model=model, messages=MESSAGES)
    assert on.usage() == {"input_uncached": 1000, "output_text": 100, "count.web_searches": 1}
    assert on.attributes()["spanledger.cost.status"] == "bounded", "the search has no rate yet"


@pytest.mark.parametrize(
    "told", [{"cost": {"total_cost": "much"}}, {"cost": True}, {"cost": -1}, {"citation_tokens": "x"}]
)
def test_what_cannot_be_a_cost(on: Any, clients: Any, provider: Any, reply: Any, told: Any) -> None:
    provider.replies.append(reply(chat(model="sonar-pro", usage={**TOKENS, **told})))
    clients.openai(base_url="https://api.perplexity.ai").chat.completions.create(model="sonar-pro", messages=MESSAGES)
    assert on.usage() == {"input_uncached": 1000, "output_text": 100}
    assert on.attributes()["spanledger.cost.status"] == "list"
