"""Spellings of one model, and usages of one request."""

from __future__ import annotations

import pytest

from spanledger.ledger.matching import directness, encloses, plain_model, sums_up
from spanledger.semconv.usage import Usage


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("gpt-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("GPT-4o-latest", "gpt-4o"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("openai/gpt-4o-mini", "gpt-4o-mini"),
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5"),
        ("anthropic.claude-3-5-sonnet-20240620-v1:0", "claude-3-5-sonnet"),
        ("claude-3-5-sonnet@20240620", "claude-3-5-sonnet"),
        (
            "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3-5-sonnet-20240620-v1:0",
            "claude-3-5-sonnet",
        ),
        ("models/gemini-2.5-pro-preview-05-06", "gemini-2.5-pro"),
        ("amazon.nova-lite-v1:0", "nova-lite"),
        ("Qwen/Qwen3-32B", "qwen3-32b"),
        ("prod-chat-eu", "prod-chat-eu"),
        ("", ""),
    ],
)
def test_plain_model(written, plain):
    """Snapshot dates, revisions, regions and vendors are spellings; sizes and variants are not."""
    assert plain_model(written) == plain


def test_sums_up_needs_every_part():
    """An unknown part makes no sum, an unknown side of the outer is no obstacle."""
    parts = [Usage(input_uncached=10, output_text=1), Usage(input_uncached=20, cache_read=5, output_text=2)]
    assert sums_up(Usage(input_uncached=35, output_text=3), parts)
    assert sums_up(Usage(input_uncached=35), parts)
    assert not sums_up(Usage(input_uncached=35, output_text=4), parts)
    assert not sums_up(Usage(), parts)
    assert not sums_up(Usage(input_uncached=35, output_text=3), [*parts, Usage()])


def test_encloses_with_tolerance(observe):
    """Rounded clocks may stick out a little; an unknown end contradicts nothing."""
    outer = observe(1, lasted=4)
    assert encloses(outer, observe(2, at=1), 0)
    assert not encloses(outer, observe(2, at=3), 0)
    assert encloses(outer, observe(2, at=3), 10**9)
    assert encloses(outer, observe(2, at=3, ended_ns=0), 0)


def test_directness_orders_emitters():
    """Ours, the SDK's own spans, instrumentations, frameworks; log records after all spans."""
    scopes = ["spanledger.instrumentation", "com.anthropic.sdk.python", "opentelemetry.instrumentation.genai.openai"]
    scopes += ["opentelemetry.instrumentation.openai.v1", "opentelemetry.instrumentation.genai.langchain"]
    scopes += ["openinference.instrumentation.openai", "openinference.instrumentation.langchain", "anything"]
    ranks = [directness(scope, "span") for scope in scopes]
    assert ranks == sorted(set(ranks))
    assert directness("spanledger.instrumentation", "log") > directness("anything", "span")
