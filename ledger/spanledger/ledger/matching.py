"""When do two pieces of evidence speak of the same thing? Small pure predicates that settlement is made of."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from spanledger.semconv.observation import Observation
from spanledger.semconv.usage import Usage

MAKERS: Final = frozenset({"openai", "anthropic", "google", "mistral", "cohere", "meta", "deepseek"})
"""Providers that emitters also name when somebody else sends the invoice: every OpenAI-compatible host is "openai" to
OpenAI's SDK, Claude on Bedrock is "anthropic" to Anthropic's."""

_REGION: Final = re.compile(r"^(?:us|eu|apac|jp|au|ca|sa|us-gov|global)\.(?=[a-z0-9]+\.)")
_VENDOR: Final = re.compile(r"^(?:anthropic|amazon|meta|mistral|cohere|ai21|deepseek|openai|qwen|writer|stability)\.")
_REVISION: Final = re.compile(r"-v\d+(?::\d+)?(?::\d+k)?$|:\d+$")
_DATE: Final = re.compile(
    r"[-@](?:20\d{6}|20\d\d-\d\d-\d\d|latest|default|preview(?:-\d\d-\d\d(?:-\d{4})?|-\d\d-20\d\d)?|exp(?:-\d+-\d+)?)$"
)


@lru_cache(maxsize=4096)
def plain_model(model: str) -> str:
    """A model's name without what differs between spellings of one model.

    Lower case, no ``models/`` or vendor path, no Bedrock region or vendor prefix and revision, no snapshot date
    (``gpt-4o-2024-08-06`` → ``gpt-4o``; ``us.anthropic.claude-sonnet-4-5-20250929-v1:0`` → ``claude-sonnet-4-5``).
    """
    name = model.lower().rpartition("/")[2]
    name = _VENDOR.sub("", _REGION.sub("", name))
    while True:
        shorter = _DATE.sub("", _REVISION.sub("", name))
        if shorter == name or not shorter:
            return name
        name = shorter


def models_compatible(one: Observation, other: Observation) -> bool:
    """Whether both may speak of one model; an unknown model goes with every other."""
    ours = {plain_model(name) for name in (one.request_model, one.response_model) if name}
    theirs = {plain_model(name) for name in (other.request_model, other.response_model) if name}
    return not ours or not theirs or not ours.isdisjoint(theirs)


def providers_compatible(one: str, other: str) -> bool:
    """Whether both may speak of one provider: equal, unknown, or one of them names only the model's maker."""
    return one == other or not one or not other or one in MAKERS or other in MAKERS


def failed(observation: Observation) -> bool:
    """A failed attempt that no provider bills: an error, and nothing is known to have been consumed."""
    return observation.status == "error" and not observation.usage.is_known and observation.exact_cost_usd is None


def usage_compatible(outer: Usage, inner: Usage) -> bool:
    """Whether a span around another may carry the same request's usage.

    Unknown, partial or guessed numbers contradict nothing. Measured ones must be equal, where a side may have left out
    cached tokens or reasoning (families that report input without cache), and one output token is forgiven (families
    that add ``message_start``'s).
    """
    if outer.partial or outer.estimated or inner.partial or inner.estimated:
        return True
    return _side_compatible(
        (outer.input_tokens, outer.input_uncached), (inner.input_tokens, inner.input_uncached), 0
    ) and _side_compatible((outer.output_tokens, outer.output_text), (inner.output_tokens, inner.output_text), 1)


def equally_measured(one: Usage, other: Usage) -> bool:
    """Whether both know input and output, and know them equal."""
    return (
        one.input_tokens is not None
        and one.output_tokens is not None
        and (one.input_tokens, one.output_tokens) == (other.input_tokens, other.output_tokens)
    )


def _side_compatible(one: tuple[int | None, int | None], other: tuple[int | None, int | None], slack: int) -> bool:
    if one[0] is None or other[0] is None:
        return True
    if abs(one[0] - other[0]) <= slack:
        return True
    # One side knows no split: its total may be the other side's uncached (or visible) part.
    return (one[0] == one[1] and one[0] == other[1]) or (other[0] == other[1] and other[0] == one[1])


def sums_up(outer: Usage, inner: list[Usage]) -> bool:
    """Whether `outer` is the sum of `inner`, on every side that it knows (at least one)."""
    sides = 0
    for total, parts in (
        (outer.input_tokens, [usage.input_tokens for usage in inner]),
        (outer.output_tokens, [usage.output_tokens for usage in inner]),
    ):
        if total is None:
            continue
        if any(part is None for part in parts) or total != sum(part or 0 for part in parts):
            return False
        sides += 1
    return sides > 0


def encloses(outer: Observation, inner: Observation, tolerance_ns: int) -> bool:
    """Whether the outer interval holds the inner one, within a tolerance; an unknown end contradicts nothing."""
    if inner.started_ns < outer.started_ns - tolerance_ns:
        return False
    if outer.ended_ns <= outer.started_ns or inner.ended_ns <= inner.started_ns:
        return True
    return inner.ended_ns <= outer.ended_ns + tolerance_ns


def overlap(one: Observation, other: Observation, tolerance_ns: int) -> bool:
    """Whether two intervals touch, within a tolerance."""
    return (
        one.started_ns <= max(other.started_ns, other.ended_ns) + tolerance_ns
        and other.started_ns <= max(one.started_ns, one.ended_ns) + tolerance_ns
    )


def ids_agree(one: Observation, other: Observation) -> bool:
    """Whether no id contradicts that both are one call."""
    if one.response_id and other.response_id:
        return one.response_id == other.response_id
    return not one.request_id or not other.request_id or one.request_id == other.request_id


def may_join_by_usage(one: Observation, other: Observation, tolerance_ns: int) -> bool:
    """Whether two leaves of one service with equal usage can be one call although no id says so."""
    return (
        one.scope_name != other.scope_name
        and not (one.response_id and other.response_id)
        and ids_agree(one, other)
        and models_compatible(one, other)
        and providers_compatible(one.provider, other.provider)
        and overlap(one, other, tolerance_ns)
    )


_SCOPE_RANKS: Final = (
    ("spanledger.", 0),
    ("com.anthropic.sdk", 1),
    ("mistralai_sdk", 1),
    ("opentelemetry.instrumentation.genai.langchain", 4),
    ("opentelemetry.instrumentation.langchain", 5),
    ("opentelemetry.instrumentation.genai", 2),
    ("opentelemetry.instrumentation.google_genai", 2),
    ("opentelemetry.instrumentation", 3),
    ("opentelemetry.util.genai", 3),
    ("openlit.", 5),
    ("openinference.instrumentation.langchain", 6),
    ("openinference.instrumentation.llama_index", 6),
    ("openinference.", 5),
    ("logfire.", 5),
)
_OTHER_RANK: Final = 7


@lru_cache(maxsize=1024)
def directness(scope_name: str, signal: str) -> int:
    """How close to the wire an emitter sits: 0 is ours, then the SDK's own spans, then instrumentations, frameworks."""
    rank = next((rank for prefix, rank in _SCOPE_RANKS if scope_name.startswith(prefix)), _OTHER_RANK)
    return rank if signal == "span" else rank + 10
