"""The data of genai-prices, read without its code: the same models for the same names, the same prices at all times."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap
import tracemalloc
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import genai_prices.types as theirs
import pytest
from genai_prices.data import providers as DATA  # noqa: N812

from spanledger.semconv.prices.genai import bundled, types
from spanledger.semconv.prices.genai.models import Price, Provider, find, is_active, matches

OURS = {provider.id: provider for provider in bundled.providers()}


def spellings(provider: theirs.Provider) -> list[str]:
    """Names that the clauses of a provider's models speak of, and some that nearly are."""
    found: set[str] = set()

    def look(clause: Any) -> None:
        for part in getattr(clause, "or_", None) or getattr(clause, "and_", None) or ():
            look(part)
        for word in ("equals", "starts_with", "ends_with", "contains"):
            text = getattr(clause, word, "")
            if text:
                found.update((text, text.upper(), f"{text}-20251211", f"x{text}", f"{text}-latest"))

    for model in provider.models:
        found.update((model.id, f"{model.id}-20260230"))
        look(model.match)
    return sorted(found)


def test_running_the_data_module_gives_what_its_objects_say() -> None:
    objects = {provider.id: provider for provider in bundled.from_objects(DATA)}
    assert list(objects) == list(OURS)
    for name, provider in objects.items():
        assert list(provider.models()) == list(OURS[name].models()), name
        assert provider.fallback_model_providers == OURS[name].fallback_model_providers
    assert [len(list(provider.models())) for provider in OURS.values()] == [len(provider.models) for provider in DATA]


def test_a_name_means_the_same_model() -> None:
    lists = {provider.id: spellings(provider) for provider in DATA}
    for provider in DATA:
        asked: set[str] = set()
        for name in (provider.id, *(provider.fallback_model_providers or ()), "openai"):
            asked.update(lists[name][:: 1 + len(lists[name]) // 60])
        for name in sorted(asked):
            expected = provider.find_model(name, all_providers=DATA)
            found = find(OURS, OURS[provider.id], name)
            assert (found and found.model.id) == (expected and expected.id), (provider.id, name)


def test_prices_are_the_same_at_all_times_for_all_kinds_of_requests() -> None:
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    instants = [begin + timedelta(days=day, seconds=day * 3_517 % 86_400) for day in range(0, 1_200, 37)]
    checked = 0
    for provider in DATA:
        for model, mine in zip(provider.models, OURS[provider.id].models(), strict=True):
            edges = [
                datetime.combine(c.start_date, time(0), UTC) - timedelta(seconds=second)
                for c in constraints(model)
                if isinstance(c, theirs.StartDateConstraint)
                for second in (0, 1)
            ]
            kinds = [None, {"service_tier": "flex"}, *(variant.when for variant in model.price_variants or ())]
            for at in [*instants, *edges]:
                for kind in kinds:
                    expected = {k: plain(v) for k, v in vars(model.get_prices(at, kind)).items() if v is not None}
                    assert mine.prices_at(at, kind) == expected, (provider.id, model.id, at, kind)
                    checked += 1
    assert checked > 100_000


def constraints(model: theirs.ModelInfo) -> list[Any]:
    stages = model.prices if isinstance(model.prices, list) else []
    return [stage.constraint for stage in stages] + [variant.constraint for variant in model.price_variants or ()]


def plain(value: Any) -> Price:
    if isinstance(value, Decimal):
        return Price(value)
    return Price(value.base, tuple((tier.start, tier.price) for tier in value.tiers))


@pytest.mark.parametrize("clause", ["starts_with", "ends_with", "contains", "equals"])
@pytest.mark.parametrize("name", ["abc", "xabc", "abcx", "xabcx", "ab"])
def test_clauses_mean_what_theirs_mean(clause: str, name: str) -> None:
    made = {
        "starts_with": (theirs.ClauseStartsWith, types.ClauseStartsWith),
        "ends_with": (theirs.ClauseEndsWith, types.ClauseEndsWith),
        "contains": (theirs.ClauseContains, types.ClauseContains),
        "equals": (theirs.ClauseEquals, types.ClauseEquals),
    }[clause]
    expected, ours = (make(**{clause: "ABC"}) for make in made)  # type: ignore[operator]
    assert matches(ours, name) == expected.is_match(name)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (time(16, 30, tzinfo=UTC), time(0, 30, tzinfo=UTC)),
        (time(8), time(20)),
        (time(23, 0, tzinfo=timezone(timedelta(hours=8))), time(7, 0, tzinfo=timezone(timedelta(hours=8)))),
        (time(6), time(6)),
    ],
)
def test_hours_are_theirs_also_over_midnight_and_in_other_zones(start: time, end: time) -> None:
    expected = theirs.TimeOfDateConstraint(start_time=start, end_time=end)
    ours = types.TimeOfDateConstraint(start_time=start, end_time=end)
    for minute in range(0, 1_440, 15):
        at = datetime(2026, 11, 15, minute // 60, minute % 60, tzinfo=UTC)
        assert is_active(ours, at) == expected.active(at), at


def test_a_model_that_cannot_be_read_is_unknown_and_the_others_are_not() -> None:
    @dataclasses.dataclass
    class ClauseSoundsLike:
        sounds_like: str

    model = next(provider for provider in DATA if provider.id == "openai").models[0]
    strange = dataclasses.replace(model, id="strange", match=ClauseSoundsLike("gpt"))  # type: ignore[arg-type]
    provider = theirs.Provider(id="openai", name="OpenAI", api_pattern="x", models=[strange, model])
    (read,) = bundled.from_objects([provider])
    assert [found.id for found in read.models()] == [model.id]


def test_a_data_module_with_new_words_is_imported_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    code = compile("from .types import *\nproviders = [Provider(id='openai', models=[SomethingNew()])]", "data", "exec")
    monkeypatch.setattr(bundled, "_code", lambda: code)
    assert [provider.id for provider in bundled.providers()] == [provider.id for provider in DATA]


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "PACKAGE", "genai_prices_that_is_not_there")
    with pytest.raises(ModuleNotFoundError, match="genai_prices_that_is_not_there"):
        bundled.providers()


def test_a_provider_keeps_no_object_for_a_model() -> None:
    models = [types.ModelInfo(id=str(number), match=("equals", "x"), prices={}) for number in range(100)]
    provider = Provider(id="p", models=models)
    assert [model.id for model in provider.models()] == [str(number) for number in range(100)]
    assert next(provider.models()) is not next(provider.models())


def test_pricing_imports_neither_the_packages_code_nor_what_it_needs() -> None:
    """An application that calls Bedrock with boto3 has no pydantic and no HTTP client of its own."""
    code = """
        import sys
        from spanledger.semconv.prices import PriceBook
        from spanledger.semconv.usage import Usage
        ask = dict(provider="openai", model="gpt-4o", at_ns=1_790_000_000_000_000_000)
        assert PriceBook().price(Usage(input_uncached=1, output_text=1), **ask).total
        print({"pydantic", "httpx", "httpx2", "genai_prices", "yaml", "difflib"} & set(sys.modules))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent,
    )
    assert done.stdout.strip() == "set()"


def test_dates_count_from_utc_midnight() -> None:
    ours = types.StartDateConstraint(start_date=date(2026, 11, 15))
    assert not is_active(ours, datetime(2026, 11, 14, 23, 59, 59, tzinfo=UTC))
    assert is_active(ours, datetime(2026, 11, 15, tzinfo=UTC))


def test_what_is_kept_of_the_data_is_small() -> None:
    """The package's own objects take more than three MiB."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = bundled.providers()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept) == len(DATA)
    assert after - before < 700_000
