"""Spellings of providers, models and tiers on their way into the price book."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook, names
from spanledger.semconv.prices.base import BaseBook
from spanledger.semconv.providers import BILLERS
from spanledger.semconv.usage import Usage

NOVEMBER = int(datetime(2026, 11, 15, tzinfo=UTC).timestamp()) * 10**9


@pytest.fixture(scope="module")
def base() -> BaseBook:
    return BaseBook()


MODELS = [
    ("openai", "gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
    ("openai", "  GPT-4o-mini ", "gpt-4o-mini"),
    ("openai", "gpt-5.2-20251211", "gpt-5.2"),
    ("azure_openai", "gpt-35-turbo", "gpt-3.5-turbo"),
    ("azure_openai", "azure_ai/gpt-4o", "gpt-4o"),
    ("aws_bedrock", "converse/us.amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
    ("aws_bedrock", "llama3-3-70b-instruct-v1:0", "meta.llama3-3-70b-instruct-v1:0"),
    ("google", "gemini-2.5-flash-001", "gemini-2.5-flash"),
    ("google", "google/gemini-2.5-flash", "gemini-2.5-flash"),
    ("google_vertex", "publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
    ("google_vertex", "publishers/anthropic/models/claude-opus-4-5", "claude-opus-4-5"),
    ("xai", "grok-4", "grok-4-0709"),
    ("mistral", "mistralai/codestral-2508", "codestral-2508"),
    ("openrouter", "deepseek/deepseek-r1", "deepseek/deepseek-r1"),
    ("fireworks", "accounts/fireworks/models/deepseek-v3p2", "deepseek-v3p2"),
    ("huggingface_groq", "openai/gpt-oss-120b", "openai/gpt-oss-120b"),
]


@pytest.mark.parametrize(("provider", "spoken", "model"), MODELS)
def test_a_model_is_found_under_its_spellings(base: BaseBook, provider: str, spoken: str, model: str) -> None:
    found = base.find(provider, spoken)
    assert found is not None
    assert found.name == model


@pytest.mark.parametrize(
    "arn",
    [
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456",
        "arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:provisioned-model/abc",
        "arn:aws:bedrock:us-east-1:123456789012:imported-model/amazon.nova-lite-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:prompt/PROMPT1:1",
    ],
)
def test_an_arn_that_says_nothing_about_the_model_is_not_guessed(base: BaseBook, arn: str) -> None:
    assert names.is_opaque("aws_bedrock", arn)
    assert names.candidates("aws_bedrock", arn) == ()
    assert base.find("aws_bedrock", arn) is None


@pytest.mark.parametrize(
    ("spoken", "tier"),
    [
        ("", ""),
        ("default", ""),
        ("Standard", ""),
        ("auto", ""),
        ("on-demand", ""),
        ("ON_DEMAND", ""),
        ("SERVICE_TIER_UNSPECIFIED", ""),
        ("flex", "flex"),
        ("SERVICE_TIER_FLEX", "flex"),
        ("ON_DEMAND_PRIORITY", "priority"),
        ("priority", "priority"),
        ("PROVISIONED_THROUGHPUT", "provisioned_throughput"),
        ("batch", "batch"),
    ],
)
def test_tiers_have_one_spelling(spoken: str, tier: str) -> None:
    assert names.tier(spoken) == tier


def test_every_provider_with_prices_has_a_word_of_ours(base: BaseBook) -> None:
    words = {entry.word for entry in BILLERS}
    assert {word for word in base.providers if word not in words and not word.startswith("huggingface_")} == {
        "openai_decisions"  # a list of one model, sold under openai's name
    }
    assert all(base.knows(word) and base.models(word) for word in base.providers)


def mtok(rate: str, tokens: int) -> Decimal:
    return Decimal(rate) * tokens / 1_000_000


@pytest.mark.parametrize(
    ("provider", "requested", "answered", "rate"),
    [
        ("aws_bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929", "3"),
        ("aws_bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929", "3.3"),
        (
            "aws_bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
            "claude-sonnet-4-5-20250929",
            "3.3",
        ),
        ("azure_openai", "prod-chat-eu", "gpt-4o-2024-11-20", "2.5"),
        ("openai", "gpt-4o", "gpt-4o-mini-2024-07-18", "0.15"),
        ("openai", "gpt-4o", "", "2.5"),
        ("openrouter", "qwen/qwen3-coder:free", "qwen/qwen3-coder", "0"),
        ("openrouter", "openai/gpt-4o-mini", "openai/gpt-4o-mini", "0.15"),
    ],
)
def test_the_name_that_is_billed_decides(provider: str, requested: str, answered: str, rate: str) -> None:
    seen = Observation(
        provider=provider,
        request_model=requested,
        response_model=answered,
        started_ns=NOVEMBER,
        usage=Usage(input_uncached=1_000, output_text=0),
    )
    assert [cost.total for cost in PriceBook().price_many([seen])] == [mtok(rate, 1_000)]
