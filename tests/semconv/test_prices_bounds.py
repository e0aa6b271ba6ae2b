"""Where something is unknown the cost says so, and its bounds enclose the truth."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from spanledger.semconv.cost import Cost, CostStatus
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.usage import Usage

NOVEMBER = int(datetime(2026, 11, 15, tzinfo=UTC).timestamp()) * 10**9
BEFORE_TIERS = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp()) * 10**9


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook()


def mtok(rate: str, tokens: int) -> Decimal:
    return Decimal(rate) * tokens / 1_000_000


def bounds(cost: Cost) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
    assert cost.status is CostStatus.BOUNDED
    assert sum(cost.by_class.values()) == cost.total
    return cost.low, cost.total, cost.high


def test_a_cache_write_of_unknown_lifetime_lies_between_five_minutes_and_an_hour(book: PriceBook) -> None:
    usage = Usage(input_uncached=1_218, cache_read=2_048, cache_write=768, output_text=207)
    cost = book.price(usage, provider="anthropic", model="claude-sonnet-4-5", at_ns=NOVEMBER)
    known = mtok("3", 1_218) + mtok("0.3", 2_048) + mtok("15", 207)
    assert bounds(cost) == (known + mtok("3.75", 768), known + mtok("3.75", 768), known + mtok("6", 768))
    assert cost.reason == "cache_lifetime"


def test_one_rate_for_all_lifetimes_leaves_no_doubt(book: PriceBook) -> None:
    usage = Usage(input_uncached=100, cache_write=50, output_text=1)
    cost = book.price(usage, provider="openai", model="gpt-6-sol", at_ns=NOVEMBER)
    assert (cost.status, cost.total) == (CostStatus.LIST, mtok("2", 100) + mtok("2.5", 50) + mtok("10", 1))


def test_a_broken_stream_costs_at_least_what_was_seen_and_at_most_what_the_request_allowed(book: PriceBook) -> None:
    usage = Usage(input_uncached=1_000, output_text=10, partial=True)
    cost = book.price(usage, provider="openai", model="gpt-4o", at_ns=NOVEMBER, max_output_tokens=500)
    seen = mtok("2.5", 1_000) + mtok("10", 10)
    assert bounds(cost) == (seen, seen, seen + mtok("10", 490))
    assert cost.reason == "partial_usage"


def test_without_a_limit_a_broken_stream_has_no_upper_bound(book: PriceBook) -> None:
    usage = Usage(input_uncached=1_000, output_text=10, partial=True)
    cost = book.price(usage, provider="openai", model="gpt-4o", at_ns=NOVEMBER)
    assert bounds(cost) == (mtok("2.5", 1_000) + mtok("10", 10), mtok("2.5", 1_000) + mtok("10", 10), None)


def test_a_broken_stream_whose_prompt_is_unknown_has_no_upper_bound(book: PriceBook) -> None:
    cost = book.price(
        Usage(output_text=10, partial=True), provider="openai", model="gpt-4o", at_ns=NOVEMBER, max_output_tokens=500
    )
    assert bounds(cost) == (mtok("10", 10), mtok("10", 10), None)


def test_a_limit_already_reached_leaves_no_rest(book: PriceBook) -> None:
    usage = Usage(input_uncached=1_000, output_text=500, partial=True)
    cost = book.price(usage, provider="openai", model="gpt-4o", at_ns=NOVEMBER, max_output_tokens=500)
    assert cost.high == cost.total


def test_the_rest_of_a_stream_is_bounded_by_the_dearest_output(book: PriceBook) -> None:
    usage = Usage(input_uncached=10, output_text=0, partial=True)
    cost = book.price(usage, provider="openai", model="gpt-audio", at_ns=NOVEMBER, max_output_tokens=100)
    assert cost.high == mtok("2.5", 10) + mtok("64", 100)


def test_an_output_that_nobody_reported_is_not_free(book: PriceBook) -> None:
    usage = Usage(input_uncached=1_000)
    cost = book.price(usage, provider="openai", model="gpt-4o", at_ns=NOVEMBER, max_output_tokens=100)
    assert bounds(cost) == (mtok("2.5", 1_000), mtok("2.5", 1_000), mtok("2.5", 1_000) + mtok("10", 100))
    assert cost.reason == "output_unknown"


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "text-embedding-3-small"), ("mistral", "mistral-embed"), ("google", "gemini-embedding-001")],
)
def test_embeddings_have_no_output_to_miss(book: PriceBook, provider: str, model: str) -> None:
    cost = book.price(Usage(input_uncached=1_000), provider=provider, model=model, at_ns=NOVEMBER)
    assert (cost.status, cost.reason) == (CostStatus.LIST, "")


def test_a_prompt_that_nobody_reported_is_not_free(book: PriceBook) -> None:
    cost = book.price(Usage(output_text=10), provider="openai", model="gpt-4o", at_ns=NOVEMBER)
    assert bounds(cost) == (mtok("10", 10), mtok("10", 10), None)
    assert cost.reason == "input_unknown"


def test_guessed_tokens_prove_nothing(book: PriceBook) -> None:
    usage = Usage(input_uncached=30, output_text=27, estimated=True)
    cost = book.price(usage, provider="openai", model="gpt-4o", at_ns=NOVEMBER)
    assert bounds(cost) == (Decimal(0), mtok("2.5", 30) + mtok("10", 27), None)
    assert cost.reason == "estimated_usage"


def test_a_count_without_a_rate_leaves_the_top_open(book: PriceBook) -> None:
    usage = Usage(input_uncached=100, output_text=10, counts={"web_searches": 1})
    cost = book.price(usage, provider="deepseek", model="deepseek-v3.2", at_ns=NOVEMBER)
    seen = mtok("0.2288", 100) + mtok("0.3432", 10)
    assert bounds(cost) == (seen, seen, None)
    assert cost.reason == "no_rate"


def test_pictures_for_an_embedding_have_no_price_of_text(book: PriceBook) -> None:
    alone = book.price(Usage(input_image=500), provider="cohere", model="embed-v4.0", at_ns=NOVEMBER)
    assert (alone.status, alone.total, alone.reason) == (CostStatus.UNPRICED, None, "no_rate")
    beside = book.price(
        Usage(input_uncached=20, input_image=500), provider="cohere", model="embed-v4.0", at_ns=NOVEMBER
    )
    text = mtok("0.12", 20)
    assert (beside.status, *bounds(beside)) == (CostStatus.BOUNDED, text, text, None)
    chat = book.price(
        Usage(input_uncached=0, input_image=500, output_text=0), provider="openai", model="gpt-4o", at_ns=NOVEMBER
    )
    assert (chat.status, chat.total) == (CostStatus.LIST, mtok("2.50", 500))


def test_a_count_of_zero_needs_no_rate(book: PriceBook) -> None:
    usage = Usage(input_uncached=100, output_text=10, counts={"web_searches": 0, "video_minutes": 0})
    assert book.price(usage, provider="deepseek", model="deepseek-v3.2", at_ns=NOVEMBER).status is CostStatus.LIST


@pytest.mark.parametrize(
    ("model", "counts", "reason"),
    [
        ("gpt-image-1", {"images": 2}, "no_rate"),
        ("gpt-4o", {"web_fetches": 1}, "no_rate"),
        ("gpt-4o", {"web_searches": 0}, "no_usage"),
    ],
)
def test_what_is_billed_by_tokens_is_not_free_without_them(
    book: PriceBook, model: str, counts: dict[str, int], reason: str
) -> None:
    cost = book.price(Usage(counts=counts), provider="openai", model=model, at_ns=NOVEMBER)
    assert (cost.status, cost.total, cost.reason) == (CostStatus.UNPRICED, None, reason)


def test_images_add_nothing_to_their_tokens(book: PriceBook) -> None:
    usage = Usage(input_uncached=100, output_image=1_000, counts={"images": 1})
    without = Usage(input_uncached=100, output_image=1_000)
    costs = [book.price(used, provider="openai", model="gpt-image-1", at_ns=NOVEMBER) for used in (usage, without)]
    assert costs[0] == costs[1]
    assert costs[0].total


def test_what_has_no_rate_at_all_is_unpriced_not_free(book: PriceBook) -> None:
    cost = book.price(Usage(counts={"video_minutes": 3}), provider="openai", model="gpt-4o", at_ns=NOVEMBER)
    assert (cost.status, cost.total, cost.low, cost.high, cost.reason) == (
        CostStatus.UNPRICED,
        None,
        None,
        None,
        "no_rate",
    )


@pytest.mark.parametrize(
    ("provider", "model", "reason"),
    [
        ("openai", "gpt-99-omega", "unknown_model"),
        ("openai", "", "unknown_model"),
        ("openai", "   ", "unknown_model"),
        ("azure_openai", "prod-chat-eu", "unknown_model"),
        (
            "aws_bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456",
            "unknown_model",
        ),
        (
            "aws_bedrock",
            "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/anthropic.claude-v2",
            "unknown_model",
        ),
        ("aws_bedrock", "arn:aws:bedrock:us-east-1:1:custom-model/amazon.nova-lite-v1:0/abc", "unknown_model"),
        ("self_hosted", "Qwen/Qwen3-32B", "self_hosted"),
        ("acme_llm_cloud", "gpt-4o", "unknown_provider"),
        ("", "gpt-4o", "unknown_provider"),
    ],
)
def test_an_unknown_price_is_never_zero(book: PriceBook, provider: str, model: str, reason: str) -> None:
    cost = book.price(Usage(input_uncached=1), provider=provider, model=model, at_ns=NOVEMBER)
    assert (cost.status, cost.total, cost.reason, cost.price_id) == (CostStatus.UNPRICED, None, reason, "")


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-99-omega"])
def test_nothing_reported_is_unpriced(book: PriceBook, model: str) -> None:
    cost = book.price(Usage(), provider="openai", model=model, at_ns=NOVEMBER)
    assert (cost.status, cost.reason) == (CostStatus.UNPRICED, "no_usage")
    assert book.price(Usage(partial=True), provider="openai", model=model, at_ns=NOVEMBER).reason == "no_usage"


STANDARD = mtok("2.5", 1_000) + mtok("10", 100)
GPT_4O = Usage(input_uncached=1_000, output_text=100)


@pytest.mark.parametrize(
    ("tier", "batch", "at_ns", "low", "high", "reason"),
    [
        ("flex", False, NOVEMBER, Decimal(0), STANDARD, "service_tier"),  # gpt-4o has no flex rate
        ("scale", False, NOVEMBER, Decimal(0), STANDARD, "service_tier"),  # paid beforehand
        ("priority", False, BEFORE_TIERS, STANDARD, None, "service_tier"),  # dearer, but by how much then?
        ("warp", False, NOVEMBER, Decimal(0), None, "service_tier"),
        ("", True, BEFORE_TIERS, Decimal(0), STANDARD, "batch"),
        ("batch", False, BEFORE_TIERS, Decimal(0), STANDARD, "batch"),
    ],
)
def test_a_tier_without_a_known_rate_is_never_priced_silently(
    book: PriceBook, tier: str, batch: bool, at_ns: int, low: Decimal, high: Decimal | None, reason: str
) -> None:
    cost = book.price(GPT_4O, provider="openai", model="gpt-4o", at_ns=at_ns, service_tier=tier, is_batch=batch)
    assert bounds(cost) == (low, STANDARD, high)
    assert cost.reason == reason


def test_azure_does_not_inherit_the_tiers_of_openai(book: PriceBook) -> None:
    cost = book.price(GPT_4O, provider="azure_openai", model="gpt-4o", at_ns=NOVEMBER, service_tier="priority")
    assert bounds(cost) == (STANDARD, STANDARD, None)


def test_doubts_add_up(book: PriceBook) -> None:
    usage = Usage(input_uncached=10, cache_write=5, output_text=1, partial=True, counts={"video_minutes": 1})
    cost = book.price(usage, provider="anthropic", model="claude-sonnet-5", at_ns=NOVEMBER, service_tier="priority")
    assert cost.reason == "cache_lifetime,partial_usage,no_rate,service_tier"
    assert cost.high is None
    assert cost.low == cost.total == mtok("2", 10) + mtok("2.5", 5) + mtok("10", 1)


def test_unknown_classes_contribute_nothing(book: PriceBook) -> None:
    bare = book.price(GPT_4O, provider="openai", model="gpt-4o", at_ns=NOVEMBER)
    zeros = Usage(input_uncached=1_000, cache_read=0, cache_write=0, input_audio=0, output_text=100, reasoning=0)
    assert book.price(zeros, provider="openai", model="gpt-4o", at_ns=NOVEMBER).total == bare.total


def test_the_request_model_serves_where_the_response_model_is_unknown(book: PriceBook) -> None:
    cost = book.price(GPT_4O, provider="openai", model="gpt-4o-internal-7", request_model="gpt-4o", at_ns=NOVEMBER)
    assert (cost.status, cost.total) == (CostStatus.LIST, STANDARD)


@pytest.mark.parametrize(
    ("provider", "model", "place", "high"),
    [
        ("google_vertex", "claude-opus-4-5", "", "1.1"),  # the endpoint is not known, and regional ones cost more
        ("anthropic", "claude-opus-4-5", "us", "1.1"),  # an older model, of which Anthropic does not say it
        ("anthropic", "claude-opus-4-6", "eu", None),  # a place whose price nobody knows
    ],
)
def test_where_it_is_not_known_whether_the_place_costs_extra_both_prices_are_bounds(
    book: PriceBook, provider: str, model: str, place: str, high: str | None
) -> None:
    usage = Usage(input_uncached=1_000, output_text=10)
    cost = book.price(usage, provider=provider, model=model, at_ns=NOVEMBER, inference_geo=place)
    known = mtok("5", 1_000) + mtok("25", 10)
    assert bounds(cost) == (known, known, None if high is None else known * Decimal(high))
    assert cost.reason == "inference_geo"


def test_doubts_about_tier_and_place_add_up(book: PriceBook) -> None:
    usage = Usage(input_uncached=1_000, output_text=10)
    known = mtok("5", 1_000) + mtok("25", 10)
    for tier, low, high in (("flex", Decimal(0), known * Decimal("1.1")), ("priority", known, None)):
        cost = book.price(usage, provider="google_vertex", model="claude-opus-4-5", at_ns=NOVEMBER, service_tier=tier)
        assert bounds(cost) == (low, known, high)
        assert cost.reason == "service_tier,inference_geo"
