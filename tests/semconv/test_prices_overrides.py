"""Contracts, aliases, own models, commitments and exchange rates over the list prices."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from spanledger.semconv.cost import Cost, CostStatus
from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.prices.base import BaseBook
from spanledger.semconv.prices.overrides import Discount, ExchangeRate, MissingRateError, Overrides, Scope
from spanledger.semconv.prices.overrides_file import load_overrides
from spanledger.semconv.usage import Usage

TEXT = Usage(input_uncached=1_000, cache_read=200, output_text=100)
Books = Callable[[str], PriceBook]


@pytest.fixture(scope="module")
def base() -> BaseBook:
    return BaseBook()


@pytest.fixture
def book_with(tmp_path: Path, base: BaseBook) -> Books:
    def make(text: str) -> PriceBook:
        path = tmp_path / "prices.toml"
        path.write_text(text)
        return PriceBook(load_overrides(path), base)

    return make


def mtok(rate: str, tokens: int) -> Decimal:
    return Decimal(rate) * tokens / 1_000_000


def at(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 10**9


def price(
    book: PriceBook, provider: str, model: str, day: str = "2026-11-15", usage: Usage = TEXT, **more: object
) -> Cost:
    return book.price(usage, provider=provider, model=model, at_ns=at(day), **more)  # type: ignore[arg-type]


LIST_4O = mtok("2.5", 1_000) + mtok("1.25", 200) + mtok("10", 100)


# --- laws over the whole list


def random_calls(base: BaseBook) -> list[Observation]:
    rng = random.Random(5)
    found: list[Observation] = []
    for provider in base.providers:
        for model in rng.sample(base.models(provider), min(6, len(base.models(provider)))):
            tier = rng.choice(("", "", "flex", "priority", "batch", "warp"))
            second = rng.randrange(3 * 365 * 86_400)
            usage = Usage(
                input_uncached=rng.choice((10, 150_000, 400_000)), cache_write=7, output_text=rng.randrange(900)
            )
            found.append(
                Observation(
                    provider=provider,
                    response_model=model,
                    service_tier=tier,
                    started_ns=at("2027-03-01") - second * 10**9,
                    usage=usage,
                    org_id="acme",
                    inference_geo=rng.choice(("", "us", "global")),
                )
            )
    return found


def test_no_rules_change_nothing_not_even_the_ids(base: BaseBook) -> None:
    calls = random_calls(base)
    assert PriceBook(Overrides(), base).price_many(calls) == PriceBook(base=base).price_many(calls)


def test_a_discount_of_nothing_changes_no_cost(base: BaseBook) -> None:
    calls = random_calls(base)
    nothing = Discount(scope=Scope(org="acme"), percent=Decimal(0), name="nothing")
    under = PriceBook(Overrides(discounts=(nothing,)), base).price_many(calls)
    plain = PriceBook(base=base).price_many(calls)
    assert [(c.status, c.total, c.low, c.high, c.reason) for c in under] == [
        (c.status, c.total, c.low, c.high, c.reason) for c in plain
    ]
    ids = zip(under, plain, strict=True)
    assert all(one.price_id != other.price_id for one, other in ids if other.price_id)


def test_half_price_is_half_of_everything(base: BaseBook) -> None:
    calls = random_calls(base)
    half = Discount(scope=Scope(), percent=Decimal(50))
    under = PriceBook(Overrides(discounts=(half,)), base).price_many(calls)
    for ours, listed in zip(under, PriceBook(base=base).price_many(calls), strict=True):
        assert (ours.total is None) is (listed.total is None)
        if ours.total is not None and listed.total is not None:
            assert ours.total * 2 == listed.total


# --- the place of inference

US = {"inference_geo": "us"}


def test_a_discount_is_taken_off_the_dearer_rate_of_a_place(book_with: Books) -> None:
    book = book_with('[[discounts]]\nprovider = "anthropic"\npercent = 10\n')
    cost = price(book, "anthropic", "claude-opus-5", usage=Usage(input_uncached=1_000, output_text=0), **US)
    assert (cost.status, cost.total) == (CostStatus.LIST, mtok("4.95", 1_000))  # 5 x 1.1 x 0.9
    assert cost.price_id in {record.price_id for record in book.records()}


def test_agreed_rates_hold_everywhere(book_with: Books) -> None:
    book = book_with('[[rates]]\nprovider = "anthropic"\nmodel = "claude-*"\nper_million = { input = 4 }\n')
    used = Usage(input_uncached=1_000, output_text=10)
    assert price(book, "anthropic", "claude-opus-5", usage=used, **US).total == mtok("4", 1_000) + mtok("27.5", 10)
    unsure = price(book, "anthropic", "claude-opus-4-5", usage=Usage(input_uncached=1_000, output_text=0), **US)
    assert (unsure.status, unsure.total) == (CostStatus.LIST, mtok("4", 1_000))


# --- discounts


def test_a_discount_takes_percent_off_every_class(book_with: Books) -> None:
    book = book_with('[[discounts]]\nname = "ea-2026"\nprovider = "openai"\npercent = 12.5\n')
    cost = price(book, "openai", "gpt-4o")
    assert (cost.status, cost.total) == (CostStatus.LIST, LIST_4O * Decimal("0.875"))
    snapshot = book.snapshot(cost.price_id)
    assert snapshot is not None
    assert snapshot.conditions == {"contract": "ea-2026"}
    assert snapshot.source == "overrides:prices.toml"
    assert snapshot.source_version.endswith(f"+genai-prices-{BaseBook().source_version}")


def test_a_discount_can_be_a_surcharge_on_some_classes(book_with: Books) -> None:
    book = book_with('[[discounts]]\nprovider = "openai"\nmodel = "gpt-4o"\npercent = "-10"\nclasses = ["output"]\n')
    assert price(book, "openai", "gpt-4o").total == mtok("2.5", 1_000) + mtok("1.25", 200) + mtok("11", 100)


def test_other_providers_and_models_keep_their_list_prices_and_ids(book_with: Books, base: BaseBook) -> None:
    book = book_with('[[discounts]]\nprovider = "openai"\nmodel = "gpt-4o*"\npercent = 10\n')
    plain = PriceBook(base=base)
    for provider, model in (("openai", "gpt-5"), ("azure_openai", "gpt-4o"), ("deepseek", "deepseek-chat")):
        assert price(book, provider, model) == price(plain, provider, model)


def test_a_discount_holds_from_its_first_to_its_last_day(book_with: Books) -> None:
    book = book_with('[[discounts]]\nprovider = "openai"\npercent = 10\nfrom = 2026-03-01\nuntil = 2026-03-31\n')
    assert price(book, "openai", "gpt-4o", "2026-02-28T23:59:59").total == LIST_4O
    assert price(book, "openai", "gpt-4o", "2026-03-01").total == LIST_4O * Decimal("0.9")
    assert price(book, "openai", "gpt-4o", "2026-03-31T23:59:59").total == LIST_4O * Decimal("0.9")
    assert price(book, "openai", "gpt-4o", "2026-04-01").total == LIST_4O


def test_a_discount_follows_the_dates_tiers_and_hours_of_the_list(book_with: Books) -> None:
    book = book_with(
        "[[discounts]]\nprovider = 'openai'\npercent = 50\n[[discounts]]\nprovider = 'deepseek'\npercent = 50\n"
    )
    usage = Usage(input_uncached=1_000, output_text=100)
    assert price(book, "openai", "o3", "2025-06-09", usage).total == mtok("5", 1_000) + mtok("20", 100)
    assert price(book, "openai", "o3", "2025-06-10", usage).total == mtok("1", 1_000) + mtok("4", 100)
    long = Usage(input_uncached=272_001, output_text=100)
    assert price(book, "openai", "gpt-6-sol", usage=long).total == mtok("2", 272_001) + mtok("7.5", 100)
    assert price(book, "openai", "gpt-5", usage=usage, service_tier="flex").total == mtok("0.3125", 1_000) + mtok(
        "2.5", 100
    )
    assert price(book, "openai", "gpt-5", usage=usage, is_batch=True).total == mtok("0.3125", 1_000) + mtok("2.5", 100)
    night = price(book, "deepseek", "deepseek-chat", "2026-11-15T20:00", usage)
    day = price(book, "deepseek", "deepseek-chat", "2026-11-15T12:00", usage)
    assert night.total == mtok("0.0675", 1_000) + mtok("0.275", 100)
    assert day.total == mtok("0.135", 1_000) + mtok("0.55", 100)


def test_a_discount_leaves_doubts_standing(book_with: Books) -> None:
    book = book_with('[[discounts]]\nprovider = "openai"\npercent = 10\n')
    cost = price(book, "openai", "gpt-4o", service_tier="flex")
    assert (cost.status, cost.reason) == (CostStatus.BOUNDED, "service_tier")
    assert cost.total == LIST_4O * Decimal("0.9")


def test_contracts_of_an_organisation_or_project_are_theirs_alone(book_with: Books) -> None:
    book = book_with(
        """
        [[discounts]]
        provider = "openai"
        percent = 5
        [[discounts]]
        provider = "openai"
        org = "acme"
        percent = 20
        [[discounts]]
        provider = "openai"
        org = "acme"
        project = "proj_research"
        percent = 40
        """
    )
    assert price(book, "openai", "gpt-4o", org_id="other").total == LIST_4O * Decimal("0.95")
    assert price(book, "openai", "gpt-4o", org_id="acme").total == LIST_4O * Decimal("0.8")
    assert price(book, "openai", "gpt-4o", org_id="acme", project="proj_x").total == LIST_4O * Decimal("0.8")
    assert price(book, "openai", "gpt-4o", org_id="acme", project="proj_research").total == LIST_4O * Decimal("0.6")


def test_discounts_on_different_classes_apply_side_by_side(book_with: Books) -> None:
    off_input = '[[discounts]]\nname = "in"\nprovider = "openai"\npercent = 10\nclasses = ["input"]\n'
    off_output = '[[discounts]]\nname = "out"\nprovider = "openai"\npercent = 20\nclasses = ["output"]\n'
    off_all = '[[discounts]]\nname = "all"\nprovider = "openai"\npercent = 50\n'
    for rules in (off_input + off_output, off_output + off_input):
        cost = price(book_with(rules), "openai", "gpt-4o")
        assert cost.total == mtok("2.25", 1_000) + mtok("1.25", 200) + mtok("8", 100)
    for rules in (off_input + off_output + off_all, off_all + off_output + off_input):
        book = book_with(rules)
        cost = price(book, "openai", "gpt-4o")
        assert cost.total == mtok("2.25", 1_000) + mtok("0.625", 200) + mtok("8", 100)
        snapshot = book.snapshot(cost.price_id)
        assert snapshot is not None
        assert set(snapshot.conditions["contract"].split("+")) == {"in", "out", "all"}


def test_a_discount_on_a_class_that_is_billed_under_another_is_on_that_class_alone(book_with: Books) -> None:
    book = book_with('[[discounts]]\nprovider = "openai"\npercent = 50\nclasses = ["reasoning"]\n')
    usage = Usage(input_uncached=1_000, output_text=100, reasoning=100)
    assert price(book, "openai", "gpt-5", usage=usage).total == mtok("1.25", 1_000) + mtok("10", 100) + mtok("5", 100)


def test_a_renewed_contract_replaces_the_old_one_wherever_it_stands(book_with: Books) -> None:
    old = '[[discounts]]\nprovider = "openai"\npercent = 10\nfrom = 2026-01-01\n'
    new = '[[discounts]]\nprovider = "openai"\npercent = 20\nfrom = 2026-06-01\n'
    for rules in (old + new, new + old):
        book = book_with(rules)
        assert price(book, "openai", "gpt-4o", "2026-05-31").total == LIST_4O * Decimal("0.9")
        assert price(book, "openai", "gpt-4o", "2026-06-01").total == LIST_4O * Decimal("0.8")


def test_a_rule_for_a_provider_goes_before_one_for_everybody(book_with: Books) -> None:
    everybody = '[[discounts]]\nmodel = "*"\npercent = 5\n'
    openai = '[[discounts]]\nprovider = "openai"\npercent = 10\n'
    for rules in (everybody + openai, openai + everybody):
        assert price(book_with(rules), "openai", "gpt-4o").total == LIST_4O * Decimal("0.9")


def test_the_more_specific_model_wins_wherever_it_stands(book_with: Books) -> None:
    book = book_with(
        """
        [[discounts]]
        provider = "openai"
        model = "gpt-4o-mini"
        percent = 30
        [[discounts]]
        provider = "openai"
        model = "gpt-4o*"
        percent = 20
        [[discounts]]
        provider = "openai"
        percent = 10
        """
    )
    usage = Usage(input_uncached=1_000_000, output_text=0)
    assert price(book, "openai", "gpt-4o-mini-2024-07-18", usage=usage).total == Decimal("0.15") * Decimal("0.7")
    assert price(book, "openai", "gpt-4o", usage=usage).total == Decimal("2.5") * Decimal("0.8")
    assert price(book, "openai", "gpt-5", usage=usage).total == Decimal("1.25") * Decimal("0.9")


# --- agreed rates and own models


def test_agreed_rates_replace_the_list_class_by_class(book_with: Books) -> None:
    book = book_with(
        '[[rates]]\nprovider = "openai"\nmodel = "gpt-4o"\nper_million = { input = "2.10", output = 8.4 }\n'
        '[[discounts]]\nprovider = "openai"\npercent = 10\n'
    )
    cost = price(book, "openai", "gpt-4o")
    # agreed rates are final; the cached input is not agreed on and keeps its (discounted) list rate
    assert cost.total == mtok("2.10", 1_000) + mtok("1.125", 200) + mtok("8.4", 100)


def test_agreed_rates_can_replace_everything(book_with: Books) -> None:
    book = book_with(
        '[[rates]]\nprovider = "openai"\nmodel = "gpt-4o"\nreplaces = true\nper_million = { input = 2, output = 8 }\n'
    )
    assert price(book, "openai", "gpt-4o").total == mtok("2", 1_200) + mtok("8", 100)


def test_agreed_rates_of_tiers_batch_and_long_prompts(book_with: Books) -> None:
    book = book_with(
        """
        [[rates]]
        provider = "openai"
        model = "gpt-6-sol"
        per_million = { input = 1.9, output = 9 }
        [[rates]]
        provider = "openai"
        model = "gpt-6-sol"
        prompt_over = 100_000
        per_million = { input = 3 }
        [[rates]]
        provider = "openai"
        model = "gpt-6-sol"
        service_tier = "scale"
        per_million = { input = 1.5, output = 7 }
        [[rates]]
        provider = "openai"
        model = "gpt-6-sol"
        batch = true
        per_million = { input = 0.8, output = 4 }
        """
    )
    short, long = Usage(input_uncached=1_000, output_text=10), Usage(input_uncached=100_001, output_text=10)
    longer = Usage(input_uncached=272_001, output_text=10)
    assert price(book, "openai", "gpt-6-sol", usage=short).total == mtok("1.9", 1_000) + mtok("9", 10)
    assert price(book, "openai", "gpt-6-sol", usage=long).total == mtok("3", 100_001) + mtok("9", 10)
    assert price(book, "openai", "gpt-6-sol", usage=longer).total == mtok("3", 272_001) + mtok("9", 10)
    scale = price(book, "openai", "gpt-6-sol", usage=short, service_tier="scale")
    assert (scale.status, scale.total) == (CostStatus.LIST, mtok("1.5", 1_000) + mtok("7", 10))
    batch = price(book, "openai", "gpt-6-sol", usage=short, is_batch=True)
    assert (batch.status, batch.total) == (CostStatus.LIST, mtok("0.8", 1_000) + mtok("4", 10))
    flex = price(book, "openai", "gpt-6-sol", usage=short, service_tier="flex")
    assert flex.total == mtok("1", 1_000) + mtok("5", 10)


def test_a_self_hosted_model_costs_what_its_owner_says(book_with: Books) -> None:
    book = book_with(
        '[[rates]]\nprovider = "self_hosted"\nmodel = "Qwen/*"\nper_million = { input = 0.02, output = 0.08 }\n'
    )
    cost = price(book, "self_hosted", "Qwen/Qwen3-32B")
    assert (cost.status, cost.total) == (CostStatus.LIST, mtok("0.02", 1_200) + mtok("0.08", 100))
    snapshot = book.snapshot(cost.price_id)
    assert snapshot is not None
    assert (snapshot.provider, snapshot.model) == ("self_hosted", "Qwen/Qwen3-32B")
    assert price(book, "self_hosted", "llama").reason == "self_hosted"


def test_a_self_hosted_model_is_free_only_when_its_owner_says_so(book_with: Books) -> None:
    book = book_with('[[rates]]\nprovider = "self_hosted"\nmodel = "llama"\nper_million = { input = 0, output = 0 }\n')
    said, unsaid = price(book, "self_hosted", "llama"), price(book, "self_hosted", "qwen")
    assert (said.status, said.total, bool(said.price_id)) == (CostStatus.LIST, 0, True)
    assert (unsaid.status, unsaid.total, unsaid.reason) == (CostStatus.UNPRICED, None, "self_hosted")


def test_fees_of_tools_and_pictures_can_be_agreed_on(book_with: Books) -> None:
    book = book_with(
        """
        [[rates]]
        provider = "openai"
        model = "gpt-4o"
        per_unit = { code_executions = 0.03 }
        per_thousand = { web_fetches = 2, web_searches = 8 }

        [[rates]]
        provider = "openai"
        model = "dall-e-3"
        per_unit = { images = 0.04 }
        """
    )
    counts = {"code_interpreter_calls": 2, "web_fetches": 3, "web_searches": 1}
    usage = Usage(input_uncached=1_000, output_text=10, counts=counts)
    tools = price(book, "openai", "gpt-4o", usage=usage)
    assert tools.status is CostStatus.LIST
    assert {name: tools.by_class[name] for name in ("code_executions", "web_fetches", "web_searches")} == {
        "code_executions": Decimal("0.06"),
        "web_fetches": Decimal("0.006"),
        "web_searches": Decimal("0.008"),
    }
    pictures = price(book, "openai", "dall-e-3", usage=Usage(counts={"images": 3}))
    assert (pictures.status, pictures.total) == (CostStatus.LIST, Decimal("0.12"))


def test_an_own_model_of_an_own_provider_with_every_unit(book_with: Books) -> None:
    book = book_with(
        """
        [[rates]]
        provider = "acme_cloud"
        model = "acme-1"
        from = 2026-06-01
        per_million = { input = 1, cache_read = 0.1, output = 4 }
        per_thousand = { web_searches = 5 }
        per_hour = { audio_seconds = 0.36 }
        per_unit = { requests = 0.001 }
        """
    )
    usage = Usage(input_uncached=10, cache_read=20, output_text=30, counts={"web_searches": 2, "audio_seconds": 10})
    cost = price(book, "acme_cloud", "acme-1", usage=usage)
    expected = mtok("1", 10) + mtok("0.1", 20) + mtok("4", 30) + Decimal("0.01") + Decimal("0.001") + Decimal("0.001")
    assert (cost.status, cost.total) == (CostStatus.LIST, expected)
    before = price(book, "acme_cloud", "acme-1", "2026-05-31", usage)
    assert (before.status, before.reason) == (CostStatus.UNPRICED, "no_rate")
    assert price(book, "acme_cloud", "acme-2").reason == "unknown_provider"


def test_an_own_model_in_another_tier_is_marked(book_with: Books) -> None:
    book = book_with('[[rates]]\nprovider = "acme_cloud"\nmodel = "acme-1"\nper_million = { input = 1, output = 4 }\n')
    cost = price(book, "acme_cloud", "acme-1", service_tier="priority")
    assert (cost.status, cost.reason) == (CostStatus.BOUNDED, "service_tier")
    assert cost.total == mtok("1", 1_200) + mtok("4", 100)


# --- names


def test_a_deployment_stands_for_a_model(book_with: Books) -> None:
    book = book_with('[azure_deployments]\n"prod-chat-eu" = "gpt-4o-mini"\n"embed-*" = "text-embedding-3-small"\n')
    cost = price(book, "azure_openai", "prod-chat-eu")
    assert cost.total == mtok("0.15", 1_000) + mtok("0.075", 200) + mtok("0.6", 100)
    assert price(book, "azure_openai", "embed-7", usage=Usage(input_uncached=50)).total == mtok("0.02", 50)
    assert price(book, "openai", "prod-chat-eu").reason == "unknown_model"


def test_what_answered_is_believed_before_what_a_deployment_used_to_stand_for(book_with: Books) -> None:
    book = book_with('[azure_deployments]\n"prod-chat-eu" = "gpt-4o"\n')
    cost = price(book, "azure_openai", "gpt-4o-mini-2024-07-18", request_model="prod-chat-eu")
    assert cost.total == mtok("0.15", 1_000) + mtok("0.075", 200) + mtok("0.6", 100)
    only_requested = Observation(
        provider="azure_openai", request_model="prod-chat-eu", started_ns=at("2026-11-15"), usage=TEXT
    )
    assert [c.total for c in book.price_many([only_requested])] == [LIST_4O]


def test_a_bedrock_profile_stands_for_a_model(book_with: Books) -> None:
    arn = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456"
    book = book_with(f'[bedrock_profiles]\n"{arn}" = "us.anthropic.claude-haiku-4-5-20251001-v1:0"\n')
    usage = Usage(input_uncached=1_000, output_text=10)
    assert price(book, "aws_bedrock", arn, usage=usage).total == mtok("1.1", 1_000) + mtok("5.5", 10)


def test_a_name_can_change_its_meaning(book_with: Books) -> None:
    book = book_with(
        """
        [[aliases]]
        provider = "azure_openai"
        model = "prod"
        means = "gpt-4o"
        until = 2026-06-30
        [[aliases]]
        provider = "azure_openai"
        model = "prod"
        means = "gpt-4o-mini"
        from = 2026-07-01
        """
    )
    usage = Usage(input_uncached=1_000_000, output_text=0)
    assert price(book, "azure_openai", "prod", "2026-06-30", usage).total == Decimal("2.5")
    assert price(book, "azure_openai", "prod", "2026-07-01", usage).total == Decimal("0.15")


def test_a_name_can_stand_for_another_providers_model(book_with: Books) -> None:
    book = book_with(
        '[[aliases]]\nprovider = "acme_gw"\nmodel = "smart"\nmeans = "claude-opus-4-5"\nmeans_provider = "anthropic"\n'
    )
    usage = Usage(input_uncached=1_000, output_text=10)
    assert price(book, "acme_gw", "smart", usage=usage).total == mtok("5", 1_000) + mtok("25", 10)


def test_a_name_for_an_unknown_model_is_unpriced(book_with: Books) -> None:
    book = book_with('[azure_deployments]\n"prod" = "gpt-99"\n')
    assert price(book, "azure_openai", "prod").reason == "unknown_model"


def test_rules_see_deployment_and_model_names_alike(book_with: Books) -> None:
    book = book_with(
        '[azure_deployments]\n"prod" = "gpt-4o"\n'
        '[[discounts]]\nprovider = "azure_openai"\nmodel = "prod"\npercent = 50\n'
        '[[discounts]]\nprovider = "azure_openai"\nmodel = "gpt-5*"\npercent = 20\n'
    )
    assert price(book, "azure_openai", "prod").total == LIST_4O / 2
    assert price(book, "azure_openai", "gpt-4o").total == LIST_4O
    usage = Usage(input_uncached=1_000_000, output_text=0)
    assert price(book, "azure_openai", "gpt-5-mini-2025-08-07", usage=usage).total == Decimal("0.25") * Decimal("0.8")


# --- commitments and currencies


def test_provisioned_calls_add_nothing_and_the_months_amount_is_known(book_with: Books) -> None:
    book = book_with(
        """
        [[commitments]]
        name = "ptu-sweden"
        provider = "azure_openai"
        model = "ptu-*"
        monthly = 9_500
        currency = "EUR"
        units = 50
        from = 2026-10-01
        [[fx]]
        currency = "EUR"
        usd = "1.0850"
        from = 2026-01-01
        [[fx]]
        currency = "EUR"
        usd = "1.10"
        from = 2026-11-01
        """
    )
    cost = price(book, "azure_openai", "gpt-4o", request_model="ptu-gpt-4o")
    assert (cost.status, cost.total, cost.reason) == (CostStatus.LIST, Decimal(0), "provisioned")
    assert book.explain(cost)[-2] == "because covered by a monthly commitment: adds nothing by the token"
    assert price(book, "azure_openai", "gpt-4o", "2026-09-30", request_model="ptu-gpt-4o").total == LIST_4O
    searching = Usage(input_uncached=5, output_text=5, counts={"web_searches": 2})
    assert price(book, "azure_openai", "gpt-4o", request_model="ptu-1", usage=searching).total == Decimal("0.02")
    amounts = [amount for _, amount in book.commitments(date(2026, 10, 15))]
    assert amounts == [Decimal("9500") * Decimal("1.0850")]
    assert [amount for _, amount in book.commitments(date(2026, 11, 15))] == [Decimal("10450")]
    assert book.commitments(date(2026, 9, 30)) == []


def test_rates_in_another_currency_follow_its_dated_rate(book_with: Books) -> None:
    book = book_with(
        """
        [[rates]]
        provider = "mistral"
        model = "mistral-large-2512"
        currency = "EUR"
        replaces = true
        per_million = { input = 0.4, output = 1.2 }
        [[fx]]
        currency = "EUR"
        usd = 1.05
        [[fx]]
        currency = "EUR"
        usd = "1.1234"
        from = 2026-07-01
        """
    )
    usage = Usage(input_uncached=1_000, output_text=100)
    before = mtok("0.4", 1_000) * Decimal("1.05") + mtok("1.2", 100) * Decimal("1.05")
    after = mtok("0.4", 1_000) * Decimal("1.1234") + mtok("1.2", 100) * Decimal("1.1234")
    assert price(book, "mistral", "mistral-large-2512", "2026-06-30", usage).total == before
    assert price(book, "mistral", "mistral-large-2512", "2026-07-01", usage).total == after


def test_a_currency_without_a_rate_is_refused() -> None:
    overrides = Overrides(exchange=(ExchangeRate(currency="EUR", usd=Decimal("1.1"), valid_from=date(2026, 1, 1)),))
    with pytest.raises(MissingRateError, match="EUR on 2025-12-31"):
        overrides.usd(Decimal(1), "EUR", date(2025, 12, 31))
    with pytest.raises(MissingRateError, match="GBP"):
        overrides.usd(Decimal(1), "GBP", date(2026, 12, 31))


# --- snapshots and records of overrides


def test_overrides_are_part_of_the_price_table(book_with: Books) -> None:
    book = book_with(
        '[[discounts]]\nname = "ea"\nprovider = "openai"\nmodel = "gpt-4o"\norg = "acme"\n'
        "percent = 50\nfrom = 2026-01-01\n"
        '[[rates]]\nprovider = "self_hosted"\nmodel = "llama"\nper_million = { input = 0.01 }\n'
    )
    rows = [r for r in book.records() if r.source == "overrides:prices.toml"]
    discounted = [r for r in rows if r.conditions.get("contract") == "ea" and r.token_class == "output_text"]
    assert {(r.conditions["org"], r.rate, r.valid_from) for r in discounted if "batch" not in r.conditions} == {
        ("acme", Decimal(5), date(2026, 1, 1))
    }
    assert [(r.provider, r.model, r.token_class, r.rate) for r in rows if r.provider == "self_hosted"] == [
        ("self_hosted", "llama", "input_uncached", Decimal("0.01"))
    ]
    cost = price(book, "openai", "gpt-4o", org_id="acme")
    assert cost.price_id in {r.price_id for r in discounted}


def test_another_file_content_gives_other_ids(book_with: Books) -> None:
    one = price(book_with('[[discounts]]\nprovider = "openai"\npercent = 10\n'), "openai", "gpt-4o")
    other = price(book_with('[[discounts]]\nprovider = "openai"\npercent = 10 # renewed\n'), "openai", "gpt-4o")
    assert one.total == other.total
    assert one.price_id != other.price_id


def test_try_price_resolves_contracts_in_the_background(book_with: Books) -> None:
    import time

    book = book_with('[[discounts]]\nprovider = "openai"\npercent = 10\n')
    ask = {"provider": "openai", "model": "gpt-4o", "at_ns": at("2026-11-15"), "org_id": "acme"}
    assert book.try_price(TEXT, **ask) is None  # type: ignore[arg-type]
    deadline = time.monotonic() + 20
    while (cost := book.try_price(TEXT, **ask)) is None and time.monotonic() < deadline:  # type: ignore[arg-type]
        time.sleep(0.005)
    assert cost is not None
    assert cost.total == LIST_4O * Decimal("0.9")
