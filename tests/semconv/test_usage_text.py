"""A usage object as text says the same whether it is parsed or read by the layout of an earlier one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger.semconv.dialects import usage_json, usage_text, values

KEYS = [
    *("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens", "cached_tokens", "input"),
    *("cache_read_input_tokens", "cache_creation_input_tokens", "ephemeral_5m_input_tokens", "reasoning_tokens", "x9"),
    *("ephemeral_1h_input_tokens", "thoughtsTokenCount", "promptTokenCount", "candidatesTokenCount", "cost", "audio"),
    *(
        "prompt_tokens_details",
        "completion_tokens_details",
        "output_token_details",
        "cache_creation",
        "server_tool_use",
    ),
]
numbers = st.sampled_from([0, 0, 1, 10, 207, 3000, 10**14, 10**15, 2**53, 2**64, -1, 0.5, 12.0, 1e-05, 1e22, None])
members = numbers | st.sampled_from(["standard", "a: 12, b", "v2", "", "tier 3", True, [1, 2], [{"input_tokens": 5}]])
objects = st.recursive(
    st.dictionaries(st.sampled_from(KEYS), members, max_size=8),
    lambda inner: st.dictionaries(st.sampled_from(KEYS), members | inner, max_size=8),
    max_leaves=6,
)


def parsed(value: Any, text: str, is_json: bool) -> usage_json.Found | None:
    if not is_json:
        return usage_json.from_python_text(text)
    found = usage_json.from_mapping(values.mapping(text))
    return found if found.counts else None


def with_other_numbers(value: Any, draw: Any) -> Any:
    if isinstance(value, dict):
        return {key: with_other_numbers(inner, draw) for key, inner in value.items()}
    return draw(numbers) if type(value) in (int, float) and draw(st.booleans()) else value


@settings(max_examples=400, deadline=None)
@given(data=st.data(), usage=objects, is_json=st.booleans())
def test_a_layout_changes_nothing(data: Any, usage: dict[str, Any], is_json: bool) -> None:
    read = usage_text.from_json if is_json else usage_text.from_python
    for value in (usage, with_other_numbers(usage, data.draw), with_other_numbers(usage, data.draw), usage):
        text = json.dumps(value) if is_json else repr(value)
        assert read(text) == parsed(value, text, is_json), text


@pytest.mark.parametrize(
    "value", [None, 7, [], {}, "", "{", "{}", "[1, 2]", '{"a": 1}', "x" * 10_000, b"{}", "{'a': '"]
)
def test_what_is_no_usage_object_is_none(value: Any) -> None:
    assert usage_text.from_json(value) is None
    assert usage_text.from_python(value) is None


def test_a_map_is_read_as_it_is() -> None:
    found = usage_text.from_json({"prompt_tokens": 5, "completion_tokens": 2})
    assert found is not None
    assert found.counts == {"input": 5, "output": 2}


def test_digits_of_other_alphabets_are_no_numbers() -> None:
    assert usage_text.from_json('{"prompt_tokens": 55}') is not None
    assert usage_text.from_json('{"prompt_tokens": ٥٥}') is None


def test_layouts_stay_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_text, "MAX_LAYOUTS", 50)
    usage_text._layouts.clear()
    for number in range(300):
        found = usage_text.from_json(
            '{"prompt_tokens": 5' + ', "x": 1' * (number % 150) + ', "y": "' + "z" * number + '"}'
        )
        assert found is not None
        assert found.counts == {"input": 5}
        assert len(usage_text._layouts) <= 50
