"""Span attributes from what was read: the conventions' names first, ours where they have none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from spanledger.instrumentation._answer import Answer
from spanledger.instrumentation._reading import to_json
from spanledger.semconv import gen_ai, names
from spanledger.semconv.cost import Cost, CostStatus
from spanledger.semconv.money import text
from spanledger.semconv.observation import ToolCall
from spanledger.semconv.usage import TOKEN_CLASSES, Usage

ERROR_TYPE: Final = "error.type"

_CLASS_NAMES: Final[Mapping[str, str]] = MappingProxyType({name: names.USAGE_PREFIX + name for name in TOKEN_CLASSES})


def of_answer(answer: Answer, found: dict[str, Any]) -> None:
    """Identity and stop reasons of an answer. What is unknown has no attribute."""
    if answer.model:
        found[gen_ai.GEN_AI_RESPONSE_MODEL] = answer.model
    if answer.id:
        found[gen_ai.GEN_AI_RESPONSE_ID] = answer.id
    if answer.finish_reasons:
        found[gen_ai.GEN_AI_RESPONSE_FINISH_REASONS] = answer.finish_reasons
    if answer.service_tier:
        found[names.SERVICE_TIER] = answer.service_tier
    if answer.inference_geo:
        found[names.INFERENCE_GEO] = answer.inference_geo
    if answer.is_batch:
        found[names.IS_BATCH] = True
    if answer.batch_id:
        found[names.BATCH_ID] = answer.batch_id
    if answer.request_id:
        found[names.REQUEST_ID] = answer.request_id
    if answer.attributes:
        found.update(answer.attributes)


def of_usage(usage: Usage, found: dict[str, Any]) -> None:
    """Token classes and their totals. What is unknown has no attribute."""
    for name, attribute in _CLASS_NAMES.items():
        count = getattr(usage, name)
        if count is not None:
            found[attribute] = count
    for name, count in usage.counts.items():
        found[names.USAGE_COUNT_PREFIX + name] = count
    if usage.partial:
        found[names.USAGE_PARTIAL] = True
    totals = (
        (gen_ai.GEN_AI_USAGE_INPUT_TOKENS, usage.input_tokens),
        (gen_ai.GEN_AI_USAGE_OUTPUT_TOKENS, usage.output_tokens),
        (gen_ai.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS, usage.cache_read),
        # one fact under the name of the published conventions and under the one that replaces it
        (gen_ai.GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS, usage.cache_write_tokens),
        (gen_ai.GEN_AI_USAGE_CACHE_WRITE_INPUT_TOKENS, usage.cache_write_tokens),
        (gen_ai.GEN_AI_USAGE_REASONING_OUTPUT_TOKENS, usage.reasoning),
    )
    found.update({attribute: count for attribute, count in totals if count is not None})


def of_cost(cost: Cost, found: dict[str, Any]) -> None:
    """Cost as exact decimal texts, and once as a double for dashboards of others."""
    found[names.COST_STATUS] = str(cost.status)
    if cost.reason:
        found[names.COST_REASON] = cost.reason
    if cost.price_id:
        found[names.COST_PRICE_ID] = cost.price_id
    if cost.total is None:
        return
    found[names.COST] = float(cost.total)
    found[names.COST_TOTAL] = text(cost.total)
    if cost.status is CostStatus.BOUNDED:
        if cost.low is not None:
            found[names.COST_LOW] = text(cost.low)
        if cost.high is not None:
            found[names.COST_HIGH] = text(cost.high)
    for name, amount in cost.by_class.items():
        found[names.COST_CLASS_PREFIX + name] = text(amount)


def exact_cost(amount: Decimal) -> Cost:
    """What the provider itself says that a call cost."""
    return Cost(status=CostStatus.EXACT, total=amount, low=amount, high=amount)


def tool_calls(calls: Sequence[ToolCall], *, with_content: bool) -> str:
    """The JSON array of `names.TOOL_CALLS`; what is unknown is left out."""
    return json.dumps(
        [
            {
                key: value
                for key, value in (
                    ("name", call.name),
                    ("id", call.id),
                    ("kind", call.kind),
                    ("is_error", call.is_error),
                    ("input_bytes", call.input_bytes),
                    ("output_bytes", call.output_bytes),
                    ("input", call.input if with_content else None),
                    ("output", call.output if with_content else None),
                )
                if value is not None and value != ""
            }
            for call in calls
        ],
        ensure_ascii=False,
        separators=(",", ":"),
    )


def of_content(asked: Mapping[str, Any] | None, answer: Answer, found: dict[str, Any]) -> None:
    """Prompts and answers, under the switch alone."""
    for attribute, value in (asked or {}).items():
        found[attribute] = value if isinstance(value, str) else to_json(value)
    if answer.messages:
        found[gen_ai.GEN_AI_OUTPUT_MESSAGES] = to_json(answer.messages)
