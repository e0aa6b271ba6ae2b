"""Reported counts become classes that never overlap and lose nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger.semconv.dialects import tokens
from spanledger.semconv.dialects.usage_json import from_mapping, from_python_text
from spanledger.semconv.usage import TOKEN_CLASSES, Usage

small = st.integers(0, 10**6)
maybe = st.none() | small


@given(uncached=small, read=small, write=small, text=small, reasoning=small, total=st.sampled_from(["none", "sum"]))
def test_inclusive_counts_are_taken_apart(
    uncached: int, read: int, write: int, text: int, reasoning: int, total: str
) -> None:
    counts = {"input": uncached + read + write, "cache_read": read, "cache_write": write}
    counts |= {"output": text + reasoning, "reasoning": reasoning}
    if total == "sum":
        counts["total"] = counts["input"] + counts["output"]
    usage = tokens.disjoint(counts, [], input_holds_cache=True, output_holds_reasoning=True)
    assert (usage.input_uncached, usage.cache_read, usage.cache_write) == (uncached, read, write)
    assert (usage.output_text, usage.reasoning) == (text, reasoning)


@given(uncached=small, read=small, write=small, text=small, reasoning=small)
def test_counts_side_by_side_are_left_alone(uncached: int, read: int, write: int, text: int, reasoning: int) -> None:
    counts = {"input": uncached, "cache_read": read, "cache_write": write, "output": text, "reasoning": reasoning}
    usage = tokens.disjoint(counts, [], input_holds_cache=False, output_holds_reasoning=False)
    assert usage.input_tokens == uncached + read + write
    assert usage.output_tokens == text + reasoning


@given(
    st.dictionaries(st.sampled_from(tokens.COUNTS), small),
    st.sampled_from([True, False, None]),
    st.sampled_from([True, False, None]),
)
def test_no_combination_gives_a_negative_class(
    counts: dict[str, int], holds_cache: bool | None, holds_reasoning: bool | None
) -> None:
    notes: list[str] = []
    usage = tokens.disjoint(counts, notes, input_holds_cache=holds_cache, output_holds_reasoning=holds_reasoning)
    for name in TOKEN_CLASSES:
        value = getattr(usage, name)
        assert value is None or value >= 0
    if "input" in counts:
        assert usage.input_tokens is not None
        assert usage.input_tokens >= counts["input"]
    if "output" in counts:
        assert usage.output_tokens is not None
        assert usage.output_tokens >= counts["output"]
    if not counts:
        assert not usage.is_known


@given(st.dictionaries(st.sampled_from(TOKEN_CLASSES), small))
def test_disjoint_classes_pass_through(classes: dict[str, int]) -> None:
    made = tokens.from_classes(classes, {})
    assert made == Usage(**classes)
    assert type(made) is Usage


def test_a_cache_write_split_that_sums_up_beats_the_total() -> None:
    counts = {"input": 1000, "output": 1, "cache_write": 768, "cache_write_5m": 512, "cache_write_1h": 256}
    usage = tokens.disjoint(counts, [], input_holds_cache=True, output_holds_reasoning=True)
    assert (usage.cache_write, usage.cache_write_5m, usage.cache_write_1h) == (None, 512, 256)
    half = {name: count for name, count in counts.items() if name != "cache_write_5m"}
    usage = tokens.disjoint(half, [], input_holds_cache=True, output_holds_reasoning=True)
    assert (usage.cache_write, usage.cache_write_5m, usage.cache_write_1h) == (None, 512, 256)
    notes: list[str] = []
    usage = tokens.disjoint({**counts, "cache_write": 700}, notes, input_holds_cache=True, output_holds_reasoning=True)
    assert (usage.cache_write, usage.cache_write_5m, usage.cache_write_1h) == (700, None, None)
    assert notes == ["cache_write_split"]


def test_usage_objects_of_every_provider() -> None:
    anthropic = from_mapping(
        {
            "input_tokens": 300,
            "cache_read_input_tokens": 2000,
            "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 6},
            "output_tokens": 7,
            "server_tool_use": {"web_search_requests": 2},
        }
    )
    assert anthropic.counts["web_searches"] == 2
    assert (anthropic.input_holds_cache, anthropic.counts["cache_write_1h"]) == (False, 6)
    gemini = from_mapping({"promptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 3})
    assert (gemini.output_holds_reasoning, gemini.counts["reasoning"]) == (False, 3)
    bedrock = from_mapping({"inputTokens": 5, "outputTokens": 2, "cacheReadInputTokens": 9})
    assert (bedrock.input_holds_cache, bedrock.counts["cache_read"]) == (False, 9)
    openrouter = from_mapping({"prompt_tokens": 5, "completion_tokens": 2, "cost": 0.25})
    assert str(openrouter.cost) == "0.25"
    langchain = from_mapping(
        {"input_tokens": 5, "output_tokens": 2, "input_token_details": {"cache_read": 3, "audio": 1}}
    )
    assert (langchain.input_holds_cache, langchain.counts["input_audio"]) == (True, 1)
    python = from_python_text("{'prompt_tokens': 5, 'completion_tokens': 2, 'cached_tokens': 3, 'cost': 1.5}")
    assert python is not None
    assert python.counts == {"input": 5, "output": 2, "cache_read": 3}


@pytest.mark.parametrize(
    "written",
    [
        "{'prompt_tokens': 3383, 'completion_tokens': 335, 'total_tokens': 3718}",
        "{'total_tokens': 3718, 'prompt_tokens': 3383, 'completion_tokens': 335}",
        "{'prompt_tokens':3383,'completion_tokens':335,'total_tokens':3718}",
        "{'prompt_tokens': 3383, 'total_tokens': 3718, 'nothing': None, 'details': {'completion_tokens': 335}}",
        "Usage('prompt_tokens': 3383, 'x': Wrapper(text=1), 'completion_tokens': 335, y=7), 'total_tokens': 3718)",
    ],
)
def test_usage_as_python_text_is_read_wherever_its_numbers_end(written: str) -> None:
    found = from_python_text(written)
    assert found is not None
    assert found.counts == {"input": 3383, "output": 335, "total": 3718}
    assert (found.input_holds_cache, found.output_holds_reasoning) == (True, True)


@pytest.mark.parametrize("written", ["", "{'prompt_tokens': 1.5}", "{'prompt_tokens': -3}", "{'prompt_tokens", 7, None])
def test_python_text_without_counts_says_nothing(written: object) -> None:
    assert from_python_text(written) is None


def test_objects_of_one_shape_keep_their_own_numbers_and_odd_types_have_shapes_of_their_own() -> None:
    def counts(cached: object) -> dict[str, int]:
        usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": cached}}
        return from_mapping(usage).counts

    assert [counts(value).get("cache_read") for value in (4, 5, "6", 7.0, None, {}, -1, 8)] == [
        4, 5, 6, 7, None, None, None, 8,
    ]  # fmt: skip
