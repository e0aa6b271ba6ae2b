"""What calls cost, with the arithmetic spelled out: rates as the providers publish them, dollars per million tokens.

Every expected amount is written as rate times tokens, so that a reader can check it against a price page. The rates are
those of the bundled genai-prices data on the given days.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from spanledger.semconv.cost import CostStatus
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.usage import Usage


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook()


def mtok(rate: str, tokens: int) -> Decimal:
    """Dollars for tokens at a rate per million."""
    return Decimal(rate) * tokens / 1_000_000


def kilo(rate: str, count: int) -> Decimal:
    """Dollars for uses at a rate per thousand."""
    return Decimal(rate) * count / 1_000


def hours(rate: str, seconds: int) -> Decimal:
    """Dollars for seconds at a rate per hour; 18 digits where the decimals never end."""
    return round(Decimal(rate) * seconds / 3_600, 18)


def at(text: str) -> int:
    """ns of a UTC time like ``2026-11-15`` or ``2026-11-15T03:30``."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def call(
    provider: str,
    model: str,
    *,
    day: str = "2026-11-15",
    tier: str = "",
    batch: bool = False,
    place: str = "",
    counts: Mapping[str, int] | None = None,
    **tokens: int,
) -> tuple[dict[str, object], Usage]:
    asked: dict[str, object] = {"provider": provider, "model": model, "at_ns": at(day), "service_tier": tier}
    return {**asked, "is_batch": batch, "inference_geo": place}, Usage(**tokens, counts=counts or {})


U, R, T = "input_uncached", "cache_read", "output_text"

GOLDEN = [
    # --- OpenAI: names, cached input, reasoning at the output rate
    (
        call("openai", "gpt-4o-mini", input_uncached=1_123, cache_read=2_048, output_text=207, reasoning=128),
        mtok("0.15", 1_123) + mtok("0.075", 2_048) + mtok("0.60", 207) + mtok("0.60", 128),
    ),
    (
        call("openai", "gpt-4o-mini-2024-07-18", input_uncached=1_000, output_text=1_000),
        mtok("0.15", 1_000) + mtok("0.6", 1_000),
    ),
    (call("openai", "GPT-4o-Mini", input_uncached=7, output_text=0), mtok("0.15", 7)),
    (call("openai", "openai/gpt-4o-mini", input_uncached=7, output_text=0), mtok("0.15", 7)),
    (call("openai", "gpt-4o", input_uncached=999_999, output_text=1), mtok("2.50", 999_999) + mtok("10", 1)),
    (
        call("openai", "gpt-4o-2024-11-20", input_uncached=10, cache_read=20, output_text=30),
        mtok("2.5", 10) + mtok("1.25", 20) + mtok("10", 30),
    ),
    (call("openai", "gpt-4o-2024-05-13", input_uncached=10, output_text=30), mtok("5", 10) + mtok("15", 30)),
    (
        call("openai", "gpt-4.1", input_uncached=1_000, cache_read=1_000, output_text=1_000),
        mtok("2", 1_000) + mtok("0.5", 1_000) + mtok("8", 1_000),
    ),
    (call("openai", "gpt-4.1-mini", input_uncached=3_401, output_text=207), mtok("0.4", 3_401) + mtok("1.6", 207)),
    (
        call("openai", "gpt-4.1-nano", input_uncached=3_401, cache_read=1, output_text=207),
        mtok("0.1", 3_401) + mtok("0.025", 1) + mtok("0.4", 207),
    ),
    (
        call("openai", "gpt-5", input_uncached=1_123, cache_read=2_048, output_text=207, reasoning=128),
        mtok("1.25", 1_123) + mtok("0.125", 2_048) + mtok("10", 207 + 128),
    ),
    (
        call("openai", "gpt-5-mini-2025-08-07", input_uncached=1_123, cache_read=2_048, output_text=335),
        mtok("0.25", 1_123) + mtok("0.025", 2_048) + mtok("2", 335),
    ),
    (call("openai", "gpt-5-nano", input_uncached=1, output_text=1), mtok("0.05", 1) + mtok("0.4", 1)),
    (call("openai", "gpt-5.1", input_uncached=100, output_text=100), mtok("1.25", 100) + mtok("10", 100)),
    (call("openai", "gpt-5.2", input_uncached=100, output_text=100), mtok("1.75", 100) + mtok("14", 100)),
    (
        call("openai", "o1", input_uncached=100, cache_read=50, reasoning=100),
        mtok("15", 100) + mtok("7.5", 50) + mtok("60", 100),
    ),
    (
        call("openai", "o4-mini", input_uncached=100, cache_read=50, output_text=10, reasoning=90),
        mtok("1.1", 100) + mtok("0.275", 50) + mtok("4.4", 100),
    ),
    (call("openai", "gpt-3.5-turbo", input_uncached=100, output_text=10), mtok("0.5", 100) + mtok("1.5", 10)),
    (call("openai", "gpt-4", input_uncached=100, output_text=10), mtok("30", 100) + mtok("60", 10)),
    (
        call("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc123", input_uncached=100, output_text=10),
        mtok("0.3", 100) + mtok("1.2", 10),
    ),
    (call("openai", "text-embedding-3-small", input_uncached=8_191), mtok("0.02", 8_191)),
    (call("openai", "text-embedding-3-large", input_uncached=8_191), mtok("0.13", 8_191)),
    # dated prices: the old one until the day, the new one from UTC midnight on
    (
        call("openai", "o3", day="2025-06-09T23:59:59", input_uncached=1_000, output_text=1_000),
        mtok("10", 1_000) + mtok("40", 1_000),
    ),
    (
        call("openai", "o3", day="2025-06-10", input_uncached=1_000, output_text=1_000),
        mtok("2", 1_000) + mtok("8", 1_000),
    ),
    (
        call("openai", "o3-2025-04-16", day="2026-11-15", input_uncached=1_000, output_text=1_000),
        mtok("2", 1_000) + mtok("8", 1_000),
    ),
    (
        call("openai", "gpt-5.6-sol", day="2026-08-20", input_uncached=1_000, cache_read=10, output_text=1),
        mtok("5", 1_000) + mtok("0.5", 10) + mtok("30", 1),
    ),
    (
        call("openai", "gpt-5.6-sol", day="2026-08-21", input_uncached=1_000, cache_read=10, output_text=1),
        mtok("4", 1_000) + mtok("0.4", 10) + mtok("20", 1),
    ),
    # long context: the whole prompt decides, every class pays
    (call("openai", "gpt-6-sol", input_uncached=272_000, output_text=1_000), mtok("2", 272_000) + mtok("10", 1_000)),
    (call("openai", "gpt-6-sol", input_uncached=272_001, output_text=1_000), mtok("4", 272_001) + mtok("15", 1_000)),
    (
        call("openai", "gpt-6-sol", input_uncached=1, cache_read=271_999, cache_write=1, output_text=1_000),
        mtok("4", 1) + mtok("0.4", 271_999) + mtok("5", 1) + mtok("15", 1_000),
    ),
    (
        call("openai", "gpt-6-sol", input_uncached=1, cache_read=271_999, output_text=1),
        mtok("2", 1) + mtok("0.2", 271_999) + mtok("10", 1),
    ),
    (
        call("openai", "gpt-6-sol", input_uncached=100, cache_write=100, output_text=1),
        mtok("2", 100) + mtok("2.5", 100) + mtok("10", 1),
    ),
    (
        call("openai", "gpt-5.4", input_uncached=300_000, cache_read=1, output_text=1),
        mtok("5", 300_000) + mtok("0.5", 1) + mtok("22.5", 1),
    ),
    # tiers served (rates known from 2026-10-12 on)
    (
        call("openai", "gpt-5-mini", tier="default", input_uncached=1_000, output_text=1_000),
        mtok("0.25", 1_000) + mtok("2", 1_000),
    ),
    (
        call("openai", "gpt-5-mini", tier="auto", input_uncached=1_000, output_text=1_000),
        mtok("0.25", 1_000) + mtok("2", 1_000),
    ),
    (
        call("openai", "gpt-5-mini", tier="flex", input_uncached=1_000, cache_read=8, output_text=1_000),
        mtok("0.125", 1_000) + mtok("0.0125", 8) + mtok("1", 1_000),
    ),
    (
        call("openai", "gpt-5-mini", tier="priority", input_uncached=1_000, cache_read=8, output_text=1_000),
        mtok("0.45", 1_000) + mtok("0.045", 8) + mtok("3.6", 1_000),
    ),
    (
        call("openai", "gpt-5-mini", tier="FAST", input_uncached=1_000, output_text=1_000),
        mtok("0.45", 1_000) + mtok("3.6", 1_000),
    ),
    (
        call("openai", "gpt-4o", tier="priority", input_uncached=1_000, cache_read=8, output_text=1_000),
        mtok("4.25", 1_000) + mtok("2.125", 8) + mtok("17", 1_000),
    ),
    (
        call("openai", "gpt-6-sol", tier="flex", input_uncached=272_001, output_text=1),
        mtok("2", 272_001) + mtok("7.5", 1),
    ),
    (
        call("openai", "gpt-5.4", tier="priority", input_uncached=300_000, output_text=1),
        mtok("5", 300_000) + mtok("30", 1),
    ),
    (
        call("openai", "o4-mini", tier="flex", input_uncached=1_000, cache_read=1_000, output_text=0),
        mtok("0.55", 1_000) + mtok("0.138", 1_000),
    ),
    # batch (rates known from 2026-10-14 on)
    (
        call("openai", "gpt-5", batch=True, input_uncached=1_000, cache_read=8, output_text=1_000),
        mtok("0.625", 1_000) + mtok("0.0625", 8) + mtok("5", 1_000),
    ),
    (
        call("openai", "gpt-5", batch=True, tier="default", input_uncached=1_000, output_text=1_000),
        mtok("0.625", 1_000) + mtok("5", 1_000),
    ),
    (
        call("openai", "gpt-5", tier="batch", input_uncached=1_000, output_text=1_000),
        mtok("0.625", 1_000) + mtok("5", 1_000),
    ),
    (
        call("openai", "gpt-4o", batch=True, input_uncached=1_000, cache_read=8, output_text=1_000),
        mtok("1.25", 1_000) + mtok("1.25", 8) + mtok("5", 1_000),
    ),
    (
        call("openai", "gpt-6-sol", batch=True, input_uncached=300_000, output_text=1),
        mtok("2", 300_000) + mtok("7.5", 1),
    ),
    # searches beside the tokens
    (
        call("openai", "gpt-4o", input_uncached=1_000, output_text=1, counts={"web_searches": 3}),
        mtok("2.5", 1_000) + mtok("10", 1) + kilo("10", 3),
    ),
    (
        call("openai", "gpt-5", input_uncached=1, output_text=1, counts={"file_searches": 2}),
        mtok("1.25", 1) + mtok("10", 1) + kilo("2.5", 2),
    ),
    (
        call("openai", "gpt-5", batch=True, input_uncached=1, output_text=1, counts={"web_searches": 1}),
        mtok("0.625", 1) + mtok("5", 1) + kilo("10", 1),
    ),
    # audio, images, speech
    (
        call(
            "openai",
            "gpt-realtime",
            input_uncached=100,
            cache_read=10,
            input_audio=1_000,
            output_text=20,
            output_audio=500,
        ),
        mtok("4", 100) + mtok("0.4", 10) + mtok("32", 1_000) + mtok("16", 20) + mtok("64", 500),
    ),
    (
        call(
            "openai",
            "gpt-realtime",
            input_uncached=0,
            input_image=300,
            output_audio=1,
            counts={"cache_read_audio": 40, "cache_read_image": 50},
        ),
        mtok("5", 300) + mtok("64", 1) + mtok("0.4", 40) + mtok("0.5", 50),
    ),
    (
        call("openai", "gpt-audio", input_uncached=10, input_audio=100, output_text=5, output_audio=50),
        mtok("2.5", 10) + mtok("32", 100) + mtok("10", 5) + mtok("64", 50),
    ),
    (
        call("openai", "gpt-image-1.5", input_uncached=50, input_image=200, output_image=4_000),
        mtok("5", 50) + mtok("8", 200) + mtok("32", 4_000),
    ),
    (
        call("openai", "gpt-4o-transcribe", input_uncached=5, input_audio=600, output_text=120),
        mtok("2.5", 5) + mtok("6", 600) + mtok("10", 120),
    ),
    (call("openai", "whisper-1", counts={"audio_seconds": 90}), hours("0.36", 90)),
    (call("openai", "tts-1", counts={"characters": 4_096}), mtok("15", 4_096)),
    # --- Anthropic: reads at a tenth, writes by lifetime
    (
        call(
            "anthropic",
            "claude-sonnet-4-5",
            input_uncached=1_218,
            cache_read=2_048,
            cache_write_5m=512,
            cache_write_1h=256,
            output_text=207,
        ),
        mtok("3", 1_218) + mtok("0.30", 2_048) + mtok("3.75", 512) + mtok("6", 256) + mtok("15", 207),
    ),
    (
        call("anthropic", "claude-sonnet-4-5-20250929", input_uncached=1_000, output_text=1_000),
        mtok("3", 1_000) + mtok("15", 1_000),
    ),
    (
        call(
            "anthropic", "claude-sonnet-4-5", input_uncached=1, cache_read=200_000, cache_write_1h=100, output_text=10
        ),
        mtok("6", 1) + mtok("0.6", 200_000) + mtok("12", 100) + mtok("22.5", 10),
    ),
    (
        call("anthropic", "claude-sonnet-4-5", input_uncached=200_000, output_text=10),
        mtok("3", 200_000) + mtok("15", 10),
    ),
    (
        call("anthropic", "claude-sonnet-4-6", day="2026-03-12", input_uncached=200_001, output_text=10),
        mtok("6", 200_001) + mtok("22.5", 10),
    ),
    (
        call("anthropic", "claude-sonnet-4-6", day="2026-03-13", input_uncached=200_001, output_text=10),
        mtok("3", 200_001) + mtok("15", 10),
    ),
    (
        call("anthropic", "claude-opus-4-6", day="2026-02-01", input_uncached=300_000, output_text=1),
        mtok("10", 300_000) + mtok("37.5", 1),
    ),
    (call("anthropic", "claude-opus-4-6", input_uncached=300_000, output_text=1), mtok("5", 300_000) + mtok("25", 1)),
    (
        call(
            "anthropic",
            "claude-opus-4-5",
            input_uncached=10,
            cache_read=10,
            cache_write_5m=10,
            cache_write_1h=10,
            output_text=10,
        ),
        mtok("5", 10) + mtok("0.5", 10) + mtok("6.25", 10) + mtok("10", 10) + mtok("25", 10),
    ),
    (call("anthropic", "claude-opus-4-1", input_uncached=10, output_text=10), mtok("15", 10) + mtok("75", 10)),
    (
        call("anthropic", "claude-haiku-4-5-20251001", input_uncached=1_000, cache_read=1_000, output_text=100),
        mtok("1", 1_000) + mtok("0.1", 1_000) + mtok("5", 100),
    ),
    (
        call("anthropic", "claude-3-5-haiku-latest", input_uncached=1_000, output_text=100),
        mtok("0.8", 1_000) + mtok("4", 100),
    ),
    (
        call("anthropic", "claude-3-haiku-20240307", input_uncached=1_000, cache_write_5m=100, output_text=100),
        mtok("0.25", 1_000) + mtok("0.3", 100) + mtok("1.25", 100),
    ),
    (
        call("anthropic", "claude-haiku-5-5", input_uncached=100_000, output_text=1),
        mtok("0.1", 100_000) + mtok("0.5", 1),
    ),
    (
        call("anthropic", "claude-haiku-5-5", input_uncached=100_001, output_text=1),
        mtok("0.5", 100_001) + mtok("2.5", 1),
    ),
    (
        call("anthropic", "claude-sonnet-5", input_uncached=1_000, cache_read=500, output_text=100, reasoning=900),
        mtok("2", 1_000) + mtok("0.2", 500) + mtok("10", 1_000),
    ),
    (
        call("anthropic", "claude-opus-5-5", input_uncached=1_000, cache_read=500, output_text=100),
        mtok("4", 1_000) + mtok("0.2", 500) + mtok("20", 100),
    ),
    (
        call("anthropic", "claude-sonnet-4-5", tier="standard", input_uncached=1_000, output_text=1_000),
        mtok("3", 1_000) + mtok("15", 1_000),
    ),
    (
        call("anthropic", "claude-sonnet-4-5", input_uncached=1_000, output_text=1, counts={"web_searches": 2}),
        mtok("3", 1_000) + mtok("15", 1) + kilo("10", 2),
    ),
    (
        call("anthropic", "claude-sonnet-4-5", input_uncached=1_000, output_text=1, counts={"web_fetch_requests": 2}),
        mtok("3", 1_000) + mtok("15", 1),
    ),
    # inference kept to the United States: a tenth more on tokens since Claude 4.6, nothing more on searches
    (
        call(
            "anthropic",
            "claude-opus-4-6",
            place="us",
            input_uncached=9,
            cache_read=8,
            cache_write_5m=7,
            output_text=6,
            counts={"web_searches": 3},
        ),
        mtok("5.5", 9) + mtok("0.55", 8) + mtok("6.875", 7) + mtok("27.5", 6) + kilo("10", 3),
    ),
    (
        call("anthropic", "claude-sonnet-5-5", place="us", input_uncached=1_000, cache_write_1h=10, output_text=10),
        mtok("2.2", 1_000) + mtok("4.4", 10) + mtok("11", 10),
    ),
    (
        call("anthropic", "claude-sonnet-5-5", place="global", input_uncached=1_000, output_text=10),
        mtok("2", 1_000) + mtok("10", 10),
    ),
    (
        call("anthropic", "claude-opus-5-5", place="us", tier="batch", input_uncached=1_000, output_text=10),
        mtok("2.2", 1_000) + mtok("11", 10),
    ),
    # another reseller's answers may tell a place: its prices are its own
    (
        call("aws_bedrock", "us.anthropic.claude-opus-4-6-v1", place="us", input_uncached=1_000, output_text=10),
        mtok("5.5", 1_000) + mtok("27.5", 10),
    ),
    # batch and fast mode
    (
        call(
            "anthropic",
            "claude-sonnet-4-5",
            tier="batch",
            input_uncached=1_000,
            cache_read=10,
            cache_write_1h=10,
            output_text=10,
        ),
        mtok("1.5", 1_000) + mtok("0.15", 10) + mtok("3", 10) + mtok("7.5", 10),
    ),
    (
        call("anthropic", "claude-sonnet-4-5", batch=True, input_uncached=200_001, output_text=10),
        mtok("3", 200_001) + mtok("11.25", 10),
    ),
    (
        call("anthropic", "claude-opus-5", tier="fast", input_uncached=1_000, cache_write_5m=10, output_text=10),
        mtok("10", 1_000) + mtok("12.5", 10) + mtok("50", 10),
    ),
    # half of every token rate before the data has batch rates of its own
    (
        call(
            "anthropic",
            "claude-sonnet-4-5",
            batch=True,
            day="2026-01-15",
            input_uncached=1_000,
            cache_write_1h=10,
            output_text=10,
        ),
        mtok("1.5", 1_000) + mtok("3", 10) + mtok("7.5", 10),
    ),
    (
        call("anthropic", "claude-3-haiku-20240307", batch=True, input_uncached=1_000, output_text=10),
        mtok("0.125", 1_000) + mtok("0.625", 10),
    ),
    (
        call("anthropic", "claude-opus-4-6", batch=True, day="2026-02-01", input_uncached=300_000, output_text=10),
        mtok("5", 300_000) + mtok("18.75", 10),
    ),
    # --- Azure OpenAI: the makers' prices under Azure's names
    (
        call("azure_openai", "gpt-4o-mini-2024-07-18", input_uncached=1_123, cache_read=2_048, output_text=207),
        mtok("0.15", 1_123) + mtok("0.075", 2_048) + mtok("0.6", 207),
    ),
    (call("azure_openai", "gpt-35-turbo", input_uncached=1_000, output_text=10), mtok("0.5", 1_000) + mtok("1.5", 10)),
    (call("azure_openai", "azure/gpt-4o", input_uncached=1_000, output_text=10), mtok("2.5", 1_000) + mtok("10", 10)),
    (call("azure_openai", "gpt-5-mini", input_uncached=1_000, output_text=10), mtok("0.25", 1_000) + mtok("2", 10)),
    (
        call("azure_openai", "claude-sonnet-4-5", input_uncached=1_000, output_text=10),
        mtok("3", 1_000) + mtok("15", 10),
    ),
    (call("azure_openai", "text-embedding-3-small", input_uncached=1_000), mtok("0.02", 1_000)),
    # --- AWS Bedrock: regional profiles cost more than global ones
    (
        call(
            "aws_bedrock",
            "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
            input_uncached=1_093,
            cache_read=2_048,
            cache_write_5m=768,
            output_text=207,
        ),
        mtok("3.3", 1_093) + mtok("0.33", 2_048) + mtok("4.125", 768) + mtok("16.5", 207),
    ),
    (
        call("aws_bedrock", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", input_uncached=1_000, output_text=0),
        mtok("3.3", 1_000),
    ),
    (
        call("aws_bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", input_uncached=1_000, output_text=10),
        mtok("3", 1_000) + mtok("15", 10),
    ),
    (
        call("aws_bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", input_uncached=1_000, output_text=10),
        mtok("3.3", 1_000) + mtok("16.5", 10),
    ),
    (
        call("aws_bedrock", "claude-sonnet-4-5-20250929-v1:0", input_uncached=1_000, output_text=10),
        mtok("3.3", 1_000) + mtok("16.5", 10),
    ),
    (
        call(
            "aws_bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/global.anthropic.claude-sonnet-4-5-20250929-v1:0",
            input_uncached=1_000,
            output_text=10,
        ),
        mtok("3", 1_000) + mtok("15", 10),
    ),
    (
        call(
            "aws_bedrock",
            "arn:aws:bedrock:eu-central-1::foundation-model/anthropic.claude-3-haiku-20240307-v1:0",
            input_uncached=1_000,
            output_text=10,
        ),
        mtok("0.25", 1_000) + mtok("1.25", 10),
    ),
    (
        call(
            "aws_bedrock", "bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0", input_uncached=1_000, output_text=10
        ),
        mtok("1.1", 1_000) + mtok("5.5", 10),
    ),
    (
        call("aws_bedrock", "amazon.nova-lite-v1:0", input_uncached=1_000, cache_read=100, output_text=10),
        mtok("0.06", 1_000) + mtok("0.015", 100) + mtok("0.24", 10),
    ),
    (
        call("aws_bedrock", "us.amazon.nova-pro-v1:0", input_uncached=1_000, output_text=10),
        mtok("0.8", 1_000) + mtok("3.2", 10),
    ),
    (
        call("aws_bedrock", "nova-micro-v1:0", input_uncached=1_000, output_text=10),
        mtok("0.035", 1_000) + mtok("0.14", 10),
    ),
    (
        call(
            "aws_bedrock", "amazon.nova-sonic-v1:0", input_uncached=10, input_audio=100, output_text=1, output_audio=50
        ),
        mtok("0.06", 10) + mtok("3.4", 100) + mtok("0.24", 1) + mtok("13.6", 50),
    ),
    (call("aws_bedrock", "amazon.titan-embed-text-v2:0", input_uncached=1_000), mtok("0.02", 1_000)),
    (call("aws_bedrock", "titan-embed-text-v2:0", input_uncached=1_000), mtok("0.02", 1_000)),
    (call("aws_bedrock", "meta.llama3-3-70b-instruct-v1:0", input_uncached=1_000, output_text=10), mtok("0.72", 1_010)),
    (
        call("aws_bedrock", "us.meta.llama4-scout-17b-instruct-v1:0", input_uncached=1_000, output_text=10),
        mtok("0.17", 1_000) + mtok("0.66", 10),
    ),
    (
        call("aws_bedrock", "mistral.mistral-large-2402-v1:0", input_uncached=1_000, output_text=10),
        mtok("4", 1_000) + mtok("12", 10),
    ),
    (
        call("aws_bedrock", "openai.gpt-oss-120b-1:0", input_uncached=1_000, output_text=10),
        mtok("0.15", 1_000) + mtok("0.6", 10),
    ),
    (
        call("aws_bedrock", "us.deepseek.r1-v1:0", input_uncached=1_000, output_text=10),
        mtok("1.35", 1_000) + mtok("5.4", 10),
    ),
    (
        call("aws_bedrock", "qwen.qwen3-32b-v1:0", input_uncached=1_000, output_text=10),
        mtok("0.15", 1_000) + mtok("0.6", 10),
    ),
    # --- Google: Gemini API and Vertex
    (
        call("google", "gemini-2.5-flash", input_uncached=1_355, cache_read=2_048, output_text=207, reasoning=128),
        mtok("0.3", 1_355) + mtok("0.03", 2_048) + mtok("2.5", 335),
    ),
    (
        call("google", "models/gemini-2.5-flash", input_uncached=1_000, output_text=10),
        mtok("0.3", 1_000) + mtok("2.5", 10),
    ),
    (
        call("google", "gemini/gemini-2.5-flash-001", input_uncached=1_000, output_text=10),
        mtok("0.3", 1_000) + mtok("2.5", 10),
    ),
    (
        call(
            "google",
            "gemini-2.5-flash",
            input_uncached=10,
            input_audio=1_000,
            output_text=10,
            counts={"cache_read_audio": 100},
        ),
        mtok("0.3", 10) + mtok("1", 1_000) + mtok("2.5", 10) + mtok("0.1", 100),
    ),
    (
        call("google", "gemini-2.5-flash", input_uncached=10, output_text=10, counts={"web_searches": 1}),
        mtok("0.3", 10) + mtok("2.5", 10) + kilo("35", 1),
    ),
    (
        call("google", "gemini-2.5-flash-image", input_uncached=10, output_image=1_290),
        mtok("0.3", 10) + mtok("30", 1_290),
    ),
    (call("google", "gemini-2.5-pro", input_uncached=200_000, output_text=1), mtok("1.25", 200_000) + mtok("10", 1)),
    (
        call("google", "gemini-2.5-pro", input_uncached=150_000, cache_read=50_001, output_text=1),
        mtok("2.5", 150_000) + mtok("0.25", 50_001) + mtok("15", 1),
    ),
    (
        call("google", "gemini-2.5-pro", batch=True, input_uncached=1_000, output_text=10),
        mtok("0.625", 1_000) + mtok("5", 10),
    ),
    (call("google", "gemini-1.5-flash", input_uncached=128_001, output_text=1), mtok("0.15", 128_001) + mtok("0.6", 1)),
    (
        call("google", "gemini-4-argon", day="2026-11-30T23:59", input_uncached=1_000, output_text=10),
        mtok("2", 1_000) + mtok("10", 10),
    ),
    (
        call("google", "gemini-4-argon", day="2026-12-01", input_uncached=1_000, output_text=10),
        mtok("4", 1_000) + mtok("20", 10),
    ),
    (
        call("google", "gemini-4-argon", day="2026-12-01", batch=True, input_uncached=1_000, output_text=10),
        mtok("2", 1_000) + mtok("10", 10),
    ),
    (
        call("google", "gemini-4-argon", day="2026-11-15", batch=True, input_uncached=1_000, output_text=10),
        mtok("1", 1_000) + mtok("5", 10),
    ),
    (
        call("google", "gemini-3.8-flash", day="2027-01-01", input_uncached=1_000, cache_read=10, output_text=10),
        mtok("1.5", 1_000) + mtok("0.15", 10) + mtok("7.5", 10),
    ),
    (
        call(
            "google",
            "gemini-live-2.5-flash",
            input_uncached=1,
            input_audio=10,
            input_image=20,
            output_audio=30,
            counts={"input_video": 40},
        ),
        mtok("0.5", 1) + mtok("3", 10) + mtok("3", 20) + mtok("12", 30) + mtok("3", 40),
    ),
    (call("google", "gemini-embedding-001", input_uncached=1_000), mtok("0.15", 1_000)),
    (call("google", "gemma-3-27b-it", input_uncached=1_000, output_text=10), Decimal(0)),
    (
        call("google_vertex", "gemini-2.5-flash", input_uncached=1_000, output_text=10),
        mtok("0.3", 1_000) + mtok("2.5", 10),
    ),
    (
        call("google_vertex", "publishers/google/models/gemini-2.5-pro", input_uncached=1_000, output_text=10),
        mtok("1.25", 1_000) + mtok("10", 10),
    ),
    (
        call(
            "google_vertex",
            "projects/p/locations/us-central1/publishers/google/models/gemini-2.5-flash-001",
            input_uncached=1_000,
            output_text=10,
        ),
        mtok("0.3", 1_000) + mtok("2.5", 10),
    ),
    (
        call(
            "google_vertex",
            "claude-sonnet-4-5@20250929",
            place="global",
            input_uncached=1_000,
            cache_write_1h=10,
            output_text=10,
        ),
        mtok("3", 1_000) + mtok("6", 10) + mtok("15", 10),
    ),
    (
        call("google_vertex", "vertex_ai/claude-opus-4-5", place="global", input_uncached=1_000, output_text=10),
        mtok("5", 1_000) + mtok("25", 10),
    ),
    # Claude on Vertex's regional and multi-region endpoints: a tenth more since 4.5, and since then only
    (
        call("google_vertex", "claude-opus-4-5", place="us-east5", input_uncached=1_000, output_text=10),
        mtok("5.5", 1_000) + mtok("27.5", 10),
    ),
    (
        call(
            "google_vertex",
            "claude-haiku-4-5",
            place="eu",
            input_uncached=9,
            cache_read=8,
            cache_write_1h=7,
            reasoning=6,
        ),
        mtok("1.1", 9) + mtok("0.11", 8) + mtok("2.2", 7) + mtok("5.5", 6),
    ),
    (
        call("google_vertex", "claude-4-sonnet", place="europe-west1", input_uncached=1_000, output_text=10),
        mtok("3", 1_000) + mtok("15", 10),
    ),
    (
        call("google_vertex", "gemini-2.5-flash", place="us-central1", input_uncached=1_000, output_text=10),
        mtok("0.3", 1_000) + mtok("2.5", 10),
    ),
    (
        call("google_vertex", "claude-3-haiku", input_uncached=1_000, cache_write_5m=10, output_text=10),
        mtok("0.25", 1_000) + mtok("0.3", 10) + mtok("1.25", 10),
    ),
    # --- xAI: tiers begin at 200,000 tokens
    (
        call("xai", "grok-4", input_uncached=1_000, cache_read=100, output_text=10, reasoning=90),
        mtok("3", 1_000) + mtok("0.75", 100) + mtok("15", 100),
    ),
    (call("xai", "grok-3-mini", input_uncached=1_000, output_text=10), mtok("0.3", 1_000) + mtok("0.5", 10)),
    (call("xai", "grok-4.3", input_uncached=199_999, output_text=10), mtok("1.25", 199_999) + mtok("2.5", 10)),
    (call("xai", "grok-4.3", input_uncached=200_000, output_text=10), mtok("2.5", 200_000) + mtok("5", 10)),
    (
        call("xai", "grok-4.3", batch=True, input_uncached=1_000, cache_read=100, output_text=10),
        mtok("1", 1_000) + mtok("0.16", 100) + mtok("2", 10),
    ),
    (
        call("xai", "grok-4.20", day="2026-04-29", input_uncached=1_000, output_text=10),
        mtok("2", 1_000) + mtok("6", 10),
    ),
    (
        call("xai", "grok-4.20", day="2026-04-30", input_uncached=1_000, output_text=10),
        mtok("1.25", 1_000) + mtok("2.5", 10),
    ),
    # --- DeepSeek: hours of the day (UTC)
    (
        call(
            "deepseek", "deepseek-chat", day="2026-11-15T00:29:59", input_uncached=1_000, cache_read=100, output_text=10
        ),
        mtok("0.135", 1_000) + mtok("0.035", 100) + mtok("0.55", 10),
    ),
    (
        call("deepseek", "deepseek-chat", day="2026-11-15T00:30", input_uncached=1_000, cache_read=100, output_text=10),
        mtok("0.27", 1_000) + mtok("0.07", 100) + mtok("1.1", 10),
    ),
    (
        call("deepseek", "deepseek-chat", day="2026-11-15T16:29:59", input_uncached=1_000, output_text=10),
        mtok("0.27", 1_000) + mtok("1.1", 10),
    ),
    (
        call("deepseek", "deepseek-chat", day="2026-11-15T16:30", input_uncached=1_000, output_text=10),
        mtok("0.135", 1_000) + mtok("0.55", 10),
    ),
    (
        call(
            "deepseek", "deepseek-reasoner", day="2026-11-15T12:00", input_uncached=1_000, output_text=10, reasoning=90
        ),
        mtok("0.55", 1_000) + mtok("2.19", 100),
    ),
    (
        call("deepseek", "deepseek-v4-flash", day="2026-08-16T02:00", input_uncached=1_000, output_text=10),
        mtok("0.3", 1_000) + mtok("1.2", 10),
    ),
    (
        call("deepseek", "deepseek-v4-flash", day="2026-08-16T05:00", input_uncached=1_000, output_text=10),
        mtok("0.14", 1_000) + mtok("0.28", 10),
    ),
    (
        call("deepseek", "deepseek-v4-flash", day="2026-08-17T05:00", input_uncached=1_000, output_text=10),
        mtok("0.22", 1_000) + mtok("0.66", 10),
    ),
    (
        call("deepseek", "deepseek-v4-flash", day="2026-09-10T09:59", input_uncached=1_000, output_text=10),
        mtok("0.3", 1_000) + mtok("1.2", 10),
    ),
    (
        call("deepseek", "deepseek-v4-flash", day="2026-09-10T10:00", input_uncached=1_000, output_text=10),
        mtok("0.15", 1_000) + mtok("0.6", 10),
    ),
    # --- Mistral
    (
        call("mistral", "mistral-small-latest", day="2026-03-15", input_uncached=1_000, output_text=10),
        mtok("0.1", 1_000) + mtok("0.3", 10),
    ),
    (
        call("mistral", "mistral-small-latest", day="2026-03-16", input_uncached=1_000, cache_read=100, output_text=10),
        mtok("0.15", 1_000) + mtok("0.015", 100) + mtok("0.6", 10),
    ),
    (
        call("mistral", "mistral-small-latest", batch=True, input_uncached=1_000, output_text=10),
        mtok("0.075", 1_000) + mtok("0.3", 10),
    ),
    (call("mistral", "mistral-large-2512", input_uncached=1_000, output_text=10), mtok("0.5", 1_000) + mtok("1.5", 10)),
    (call("mistral", "codestral-2508", input_uncached=1_000, output_text=10), mtok("0.3", 1_000) + mtok("0.9", 10)),
    (call("mistral", "mistral-embed", input_uncached=1_000), mtok("0.1", 1_000)),
    (call("mistral", "mistral-ocr-2512", counts={"pages": 12}), kilo("2", 12)),
    (call("mistral", "mistral-ocr-2512", counts={"input_annotated_document_pages": 3}), kilo("3", 3)),
    (call("mistral", "voxtral-mini-2602", counts={"audio_seconds": 30}), hours("0.18", 30)),
    # --- Groq
    (
        call("groq", "llama-3.3-70b-versatile", input_uncached=1_000, output_text=10),
        mtok("0.59", 1_000) + mtok("0.79", 10),
    ),
    (
        call("groq", "openai/gpt-oss-120b", input_uncached=1_000, cache_read=100, output_text=10),
        mtok("0.15", 1_000) + mtok("0.075", 100) + mtok("0.6", 10),
    ),
    (
        call("groq", "openai/gpt-oss-120b", batch=True, input_uncached=1_000, output_text=10),
        mtok("0.075", 1_000) + mtok("0.3", 10),
    ),
    (
        call("groq", "llama-3.1-8b-instant", tier="on_demand", input_uncached=1_000, output_text=10),
        mtok("0.05", 1_000) + mtok("0.08", 10),
    ),
    (call("groq", "canopylabs/orpheus-v1-english", counts={"input_characters": 500}), mtok("22", 500)),
    (call("groq", "whisper-large-v3-turbo", counts={"audio_seconds": 36}), hours("0.04", 36)),
    (call("groq", "whisper-large-v3-turbo", counts={"audio_seconds": 3}), hours("0.04", 10)),
    # --- Cohere, Perplexity, Moonshot and the other hosts
    (call("cohere", "command-a-03-2025", input_uncached=3_092, output_text=207), mtok("2.5", 3_092) + mtok("10", 207)),
    (
        call("cohere", "command-r7b-12-2024", input_uncached=1_000, output_text=10),
        mtok("0.0375", 1_000) + mtok("0.15", 10),
    ),
    (call("cohere", "embed-v4.0", input_uncached=1_000), mtok("0.12", 1_000)),
    (call("perplexity", "sonar", input_uncached=1_000, output_text=10), mtok("1", 1_010) + kilo("12", 1)),
    (
        call("perplexity", "sonar-pro", input_uncached=1_000, output_text=10),
        mtok("3", 1_000) + mtok("15", 10) + kilo("14", 1),
    ),
    (
        call(
            "perplexity",
            "sonar-deep-research",
            input_uncached=10,
            output_text=20,
            reasoning=30,
            counts={"citation_tokens": 40, "web_searches": 5},
        ),
        mtok("2", 10) + mtok("8", 20) + mtok("3", 30) + mtok("2", 40) + kilo("5", 5),
    ),
    (
        call(
            "perplexity",
            "perplexity/sonar",
            input_uncached=100,
            cache_read=10,
            output_text=10,
            counts={"web_searches": 2},
        ),
        mtok("0.25", 100) + mtok("0.0625", 10) + mtok("2.5", 10) + kilo("2.5", 2),
    ),
    (
        call("moonshot", "kimi-k2-0905-preview", input_uncached=1_000, cache_read=100, output_text=10),
        mtok("0.6", 1_000) + mtok("0.15", 100) + mtok("2.5", 10),
    ),
    (
        call("openrouter", "openai/gpt-4o-mini", input_uncached=1_000, cache_read=100, output_text=10),
        mtok("0.15", 1_000) + mtok("0.075", 100) + mtok("0.6", 10),
    ),
    (
        call(
            "openrouter",
            "anthropic/claude-sonnet-4.5",
            input_uncached=1_000,
            cache_write_5m=100,
            cache_write_1h=10,
            output_text=10,
        ),
        mtok("3", 1_000) + mtok("3.75", 100) + mtok("6", 10) + mtok("15", 10),
    ),
    (
        call("openrouter", "google/gemini-2.5-pro", day="2026-10-18", input_uncached=300_000, output_text=10),
        mtok("1.25", 300_000) + mtok("10", 10),
    ),
    (
        call(
            "openrouter",
            "google/gemini-2.5-pro",
            day="2026-10-19",
            input_uncached=300_000,
            cache_write=10,
            output_text=10,
        ),
        mtok("2.5", 300_000) + mtok("0.375", 10) + mtok("15", 10),
    ),
    (call("cerebras", "gpt-oss-120b", input_uncached=1_000, output_text=10), mtok("0.35", 1_000) + mtok("0.75", 10)),
    (
        call(
            "fireworks", "accounts/fireworks/models/deepseek-v3p2", input_uncached=1_000, cache_read=100, output_text=10
        ),
        mtok("0.56", 1_000) + mtok("0.28", 100) + mtok("1.68", 10),
    ),
    (
        call("together", "MiniMaxAI/MiniMax-M3", input_uncached=1_000, cache_read=100, output_text=10),
        mtok("0.3", 1_000) + mtok("0.06", 100) + mtok("1.2", 10),
    ),
    (
        call("github", "gpt-5-mini", input_uncached=1_000, cache_read=100, output_text=10),
        mtok("0.25", 1_000) + mtok("0.025", 100) + mtok("2", 10),
    ),
    (call("voyage", "voyage-3-large", input_uncached=1_000), mtok("0.18", 1_000)),
    (
        call("minimax", "MiniMax-M2", input_uncached=1_000, cache_write=10, output_text=10),
        mtok("0.3", 1_000) + mtok("0.375", 10) + mtok("1.2", 10),
    ),
    (
        call("zai", "GLM-4.5", input_uncached=1_000, cache_read=10, output_text=10),
        mtok("0.6", 1_000) + mtok("0.11", 10) + mtok("2.2", 10),
    ),
    (
        call("meta", "muse-spark-1.2", input_uncached=1_000, output_text=10, counts={"web_searches": 1}),
        mtok("1.25", 1_000) + mtok("4.25", 10) + kilo("2.5", 1),
    ),
    (
        call("baseten", "deepseek-ai/DeepSeek-V4-Pro", input_uncached=1_000, output_text=10),
        mtok("1.74", 1_000) + mtok("3.48", 10),
    ),
    (
        call("databricks", "databricks-deepseek-v4-1-flash", input_uncached=1_000, output_text=10),
        mtok("0.3", 1_000) + mtok("1.2", 10),
    ),
    (call("cloudflare", "@cf/baai/bge-m3", input_uncached=1_000), mtok("0.012", 1_000)),
    (
        call("elevenlabs", "eleven_realtime_v1_mini", input_uncached=10, output_text=10, counts={"audio_seconds": 60}),
        mtok("0.2", 10) + mtok("6", 10) + hours("4.8", 60),
    ),
    (
        call("novita", "baidu/cobuddy", input_uncached=10, cache_read=10, output_text=10),
        mtok("0.28", 10) + mtok("0.07", 10) + mtok("1.13", 10),
    ),
    # zeros are zero
    (call("openai", "gpt-4o", input_uncached=0, output_text=0), Decimal(0)),
]


@pytest.mark.parametrize(
    ("asked", "expected"),
    GOLDEN,
    ids=[f"{index}-{case[0][0]['provider']}-{case[0][0]['model']}" for index, case in enumerate(GOLDEN)],
)
def test_a_call_costs_rate_times_quantity(
    book: PriceBook, asked: tuple[dict[str, object], Usage], expected: Decimal
) -> None:
    where, usage = asked
    cost = book.price(usage, **where)  # type: ignore[arg-type]
    assert (cost.status, cost.reason) == (CostStatus.LIST, "")
    assert cost.total == expected
    assert sum(cost.by_class.values()) == cost.total
    assert cost.low == cost.high == cost.total
    snapshot = book.snapshot(cost.price_id)
    assert snapshot is not None
    assert snapshot.provider == where["provider"]


def test_there_are_enough_examples() -> None:
    assert len(GOLDEN) >= 150
    assert len({case[0][0]["provider"] for case in GOLDEN}) >= 20
