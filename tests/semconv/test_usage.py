"""Totals are derived from disjoint classes; what is unknown stays unknown."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger.semconv.usage import INPUT_CLASSES, OUTPUT_CLASSES, TOKEN_CLASSES, Usage, known_sum

counts = st.none() | st.integers(min_value=0, max_value=10**12)
usages = st.builds(Usage, **dict.fromkeys(TOKEN_CLASSES, counts))


def test_nothing_reported_is_unknown_not_zero() -> None:
    usage = Usage()
    assert (usage.input_tokens, usage.output_tokens, usage.cache_write_tokens) == (None, None, None)
    assert not usage.is_known


def test_a_zero_is_known() -> None:
    usage = Usage(input_uncached=0)
    assert usage.input_tokens == 0
    assert usage.output_tokens is None
    assert usage.is_known


def test_totals_hold_every_class_once() -> None:
    usage = Usage(input_uncached=1, cache_read=2, cache_write=4, cache_write_5m=8, cache_write_1h=16, input_audio=32)
    assert usage.input_tokens == 1 + 2 + 4 + 8 + 16 + 32
    assert usage.cache_write_tokens == 4 + 8 + 16
    assert Usage(output_text=1, reasoning=2, output_audio=4, output_image=8).output_tokens == 15


def test_counts_alone_are_knowledge() -> None:
    assert Usage(counts={"web_searches": 1}).is_known


def test_every_class_is_a_field_and_every_token_field_a_class() -> None:
    fields = {field.name for field in dataclasses.fields(Usage)}
    assert fields == {*TOKEN_CLASSES, "counts", "partial", "estimated"}
    assert not set(INPUT_CLASSES) & set(OUTPUT_CLASSES)


@given(usages)
def test_totals_are_the_sums_of_the_known_classes(usage: Usage) -> None:
    for total, names in ((usage.input_tokens, INPUT_CLASSES), (usage.output_tokens, OUTPUT_CLASSES)):
        known = [value for name in names if (value := getattr(usage, name)) is not None]
        assert total == (sum(known) if known else None)


def test_usage_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Usage(input_uncached=1).input_uncached = 2  # type: ignore[misc]


def test_known_sum() -> None:
    assert known_sum(None, None) is None
    assert known_sum(None, 0) == 0
    assert known_sum(1, None, 2) == 3
