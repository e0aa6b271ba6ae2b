"""Emitters that nobody knows: what attributes mean by the way their names end.

Whoever invents names of his own still calls a model "model", tokens "tokens" and an answer's usage "usage":
``acme.llm.usage.prompt_tokens``, ``myapp.tokenUsage.inputTokens``, ``trace.generation.usage_details`` (JSON),
``acme.span_type = "LLM"``. These names count only where no table has the field, and only for a record that shows both
usage and a model, or says that it is a model call: an application has models, tokens and usage of other kinds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from spanledger.semconv.dialects import usage_json, usage_text
from spanledger.semconv.dialects.table import Draft
from spanledger.semconv.dialects.tokens import COUNTS

KIND: Final = "kind"
"""Slot of an attribute that says what a span is about."""
USAGE: Final = "usage"
"""Slot of an attribute that holds a usage object."""
NOTE: Final = "unknown_names"
"""Marks what was read by the ends of names."""

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WORDS: Final = re.compile(r"[^a-z0-9]+")
_MAX_NAME: Final = 256
_CONVENTIONAL: Final = "gen_ai.usage."

_TOKENS: Final[Mapping[str, str]] = {
    words: slot
    for slot, spellings in {
        "input": "input_tokens|prompt_tokens|input_token_count|prompt_token_count|token_count_prompt"
        "|token_count_input|tokens_input|tokens_prompt|usage_input|usage_prompt|num_input_tokens|num_prompt_tokens",
        "output": "output_tokens|completion_tokens|output_token_count|completion_token_count|candidates_token_count"
        "|token_count_completion|token_count_output|tokens_output|tokens_completion|usage_output|usage_completion"
        "|num_output_tokens|num_completion_tokens|generated_tokens",
        "total": "total_tokens|total_token_count|token_count_total|tokens_total|usage_total",
        "cache_read": "cache_read_input_tokens|cache_read_tokens|cached_tokens|cached_input_tokens"
        "|cache_read_input_token_count|cached_token_count|cached_content_token_count|token_count_cache_read|details_cache_read|details_cached_tokens",
        "cache_write": "cache_creation_input_tokens|cache_write_input_tokens|cache_creation_tokens|cache_write_tokens"
        "|token_count_cache_write|details_cache_write",
        "cache_write_5m": "ephemeral_5m_input_tokens",
        "cache_write_1h": "ephemeral_1h_input_tokens",
        "reasoning": "reasoning_tokens|reasoning_output_tokens|thoughts_token_count|thinking_tokens"
        "|reasoning_token_count|token_count_reasoning|details_reasoning",
    }.items()
    for words in spellings.split("|")
}
_TEXTS: Final[Mapping[str, str]] = {
    words: field
    for field, spellings in {
        "request_model": "request_model|request_model_name|model|model_name|model_id|llm_model|llm_model_name",
        "response_model": "response_model|response_model_name",
        "response_id": "response_id",
        "provider": "model_provider|llm_provider",
        KIND: "span_kind|span_type|observation_type|run_type|operation_name|operation_type",
    }.items()
    for words in spellings.split("|")
}
_USAGE_OBJECTS: Final = frozenset(
    ("usage", "token_usage", "usage_details", "usage_metadata", "usage_object", "usage_raw", "tokens_usage")
)
_MOST_WORDS: Final = 5
_SUMS: Final = frozenset(("aggregated", "cumulative", "session", "turn", "conversation", "run", "workflow"))
"""Words in names of what adds up many calls."""

_OPERATIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("llm", "generation", "chat_model", "chat", "llm_call", "llm_request", "model_call"), "chat"),
    **dict.fromkeys(("embedding", "embeddings", "embedder"), "embeddings"),
    **dict.fromkeys(("rerank", "reranker"), "rerank"),
    **dict.fromkeys(("tool", "tool_call", "function"), "execute_tool"),
    **dict.fromkeys(("agent", "agent_run"), "agent"),
    **dict.fromkeys(("chain", "workflow", "task", "step", "turn", "pipeline", "session", "conversation"), "workflow"),
    **dict.fromkeys(("retriever", "guardrail", "parser", "evaluate", "evaluator"), "chain"),
}
"""Kinds of spans in the conventions' words for operations."""


@lru_cache(maxsize=4096)
def meaning(name: str) -> tuple[str, int] | None:
    """The slot of an attribute by the end of its name, and how loose the match is (0 is closest); ``None`` for most.

    Slots are raw counts (`tokens.COUNTS`), text fields (`table.TEXTS`), `KIND` and `USAGE`.
    """
    if len(name) > _MAX_NAME:
        return None
    words = [word for word in _WORDS.split(_CAMEL.sub("_", name).lower()) if word]
    for count in range(min(_MOST_WORDS, len(words)), 0, -1):
        end = "_".join(words[-count:])
        slot = _TOKENS.get(end) or _TEXTS.get(end) or (USAGE if end in _USAGE_OBJECTS else None)
        if slot is not None:
            is_sum = slot in COUNTS and not _SUMS.isdisjoint(words[:-count])
            return None if is_sum else (slot, len(words) - count)
    return None


def fill(found: dict[str, list[tuple[int, str]]], guessed: Mapping[str, list[tuple[int, str]]]) -> tuple[str, ...]:
    """Add guesses to what tables found in a shape (slot → ranked names), where they prove a model call together.

    Returns the names of usage objects, the closest first; nothing is added without proof.
    """
    has_usage = not {"input", "output"}.isdisjoint(found) or not {USAGE, "input", "output"}.isdisjoint(guessed)
    has_model = not {"request_model", "response_model"}.isdisjoint(found) or "request_model" in guessed
    if not (has_usage and (has_model or KIND in guessed)):
        return ()
    counted = not {"input", "output"}.isdisjoint(found)
    for slot, ranked in guessed.items():
        if slot in found or slot == USAGE:
            continue
        if counted and slot in COUNTS:
            # Beside the conventions' own counts only another spelling of theirs: totals of a session stand anywhere.
            ranked = [(rank, name) for rank, name in ranked if name.startswith(_CONVENTIONAL)]
        if ranked:
            found[slot] = ranked
    return tuple(name for _, name in sorted(guessed.get(USAGE, ())))


def read(draft: Draft, objects: tuple[str, ...]) -> None:
    """Let the kind say the operation, and the first usage object of these names what the attributes do not say."""
    draft.notes.append(NOTE)
    kind = draft.fields.pop(KIND, "")
    if isinstance(kind, str) and not draft.get("operation"):
        word = kind.strip('"').lower().rpartition(".")[2].replace("-", "_")
        draft.fields["operation"] = _OPERATIONS.get(word, "")
    for name in objects:
        value = draft.attributes[name]
        found = usage_text.from_json(value) or usage_text.from_python(value)
        if found is None:
            continue
        if len(found.counts) > len(draft.counts):
            usage_json.apply(draft, found)
        if found.cost is not None:
            draft.fields.setdefault("claimed_cost_usd", found.cost)
        return
