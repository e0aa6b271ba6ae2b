"""From all evidence about one call to one description of it: the richest leaf wins, field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from spanledger.ledger.matching import MAKERS, directness
from spanledger.semconv.observation import Observation, ToolCall
from spanledger.semconv.usage import INPUT_CLASSES, OUTPUT_CLASSES, Usage

T = TypeVar("T")

SELF_HOSTED: Final = "self_hosted"
GATEWAYS: Final = frozenset({"litellm"})
"""Dialects of gateways that call providers on behalf of their clients."""


CORRECTED_OUTPUT: Final = "output_less_message_start"
"""Note of a dialect: the emitter counted the first event's output twice, and it was taken off again."""


def richness(observation: Observation) -> tuple[bool, bool, bool, int, bool, int]:
    """Sort key, richest first: measured, complete, known, more classes, as reported, closer to the wire."""
    usage = observation.usage
    classes = _known(usage, INPUT_CLASSES) + _known(usage, OUTPUT_CLASSES)
    return (
        not usage.is_known,
        usage.estimated,
        usage.partial,
        -classes,
        CORRECTED_OUTPUT in observation.notes,
        directness(observation.scope_name, observation.signal),
    )


def merge(
    leaves: Sequence[Observation],
    details: Sequence[Observation],
    inner_first: Sequence[Observation],
    around: Sequence[Observation] = (),
) -> Observation:
    """One observation that says what all of them say together.

    Args:
        leaves: richest first, at least one.
        details: observations that only fill gaps.
        inner_first: the same leaves, the innermost first: labels of the inner span win, the outer fills the gaps.
        around: aggregates above them, the nearest first: they fill what is left of who the call is for, and its model
            where nobody else names one.
    """
    best = leaves[0]
    everything = (*leaves, *details)
    placed = next((leaf for leaf in leaves if leaf.trace_id and leaf.span_id), best)
    timed = next((leaf for leaf in leaves if leaf.ended_ns > leaf.started_ns), best)
    labels: dict[str, str] = {}
    outward = (*inner_first, *details, *around)
    # A gateway's client knows the gateway's id and model alias; the gateway knows who answered.
    answers = {o.response_id for o in everything if o.response_id}
    gateways = [o for o in everything if o.request_id in answers]
    gateway_ids = {o.request_id for o in gateways}
    informed = (*gateways, *everything)
    for leaf in outward:
        for name, value in leaf.labels.items():
            labels.setdefault(name, value)

    def text(field: Callable[[Observation], str], order: Iterable[Observation] = everything) -> str:
        return next((value for value in map(field, order) if value), "")

    def known(field: Callable[[Observation], T | None]) -> T | None:
        return next((value for value in map(field, everything) if value is not None), None)

    requested, answered = (_fullest([getattr(o, f) for o in informed]) for f in ("request_model", "response_model"))
    if not requested and not answered:
        requested = text(lambda o: o.request_model, around)
    return replace(
        best,
        trace_id=placed.trace_id,
        span_id=placed.span_id,
        parent_span_id=placed.parent_span_id,
        received_ns=min(observation.received_ns for observation in everything),
        started_ns=timed.started_ns,
        ended_ns=timed.ended_ns,
        ttft_ns=known(lambda o: o.ttft_ns),
        provider=_provider(gateways, everything),
        operation=text(lambda o: o.operation),
        request_model=requested,
        response_model=answered,
        response_id=text(lambda o: "" if o.response_id in gateway_ids else o.response_id)
        or text(lambda o: o.response_id),
        request_id=text(lambda o: o.request_id),
        usage=merge_usage([observation.usage for observation in everything]),
        error_type=text(lambda o: o.error_type) if best.status == "error" else "",
        http_status=known(lambda o: o.http_status),
        stop_reason=text(lambda o: o.stop_reason),
        is_stream=known(lambda o: o.is_stream),
        is_batch=any(o.is_batch for o in everything),
        batch_id=text(lambda o: o.batch_id),
        service_tier=text(lambda o: o.service_tier),
        inference_geo=text(lambda o: o.inference_geo),
        max_output_tokens=known(lambda o: o.max_output_tokens),
        exact_cost_usd=known(lambda o: o.exact_cost_usd),
        claimed_cost_usd=known(lambda o: o.claimed_cost_usd),
        claimed_price_id=text(lambda o: o.claimed_price_id),
        session_id=text(lambda o: o.session_id, outward),
        user_id=text(lambda o: o.user_id, outward),
        team_id=text(lambda o: o.team_id, outward),
        feature=text(lambda o: o.feature, outward),
        labels=labels,
        service_name=text(lambda o: o.service_name),
        environment=text(lambda o: o.environment),
        server_address=text(lambda o: o.server_address),
        api_key_fingerprint=text(lambda o: o.api_key_fingerprint),
        organization=text(lambda o: o.organization, (*everything, *around)),
        project=text(lambda o: o.project),
        workspace=text(lambda o: o.workspace),
        tool_calls=_tool_calls(everything, details),
        notes=tuple(sorted({note for o in everything for note in o.notes})),
    )


def _provider(gateways: Sequence[Observation], observations: Sequence[Observation]) -> str:
    told = next((o.provider for o in gateways if o.provider not in ("", SELF_HOSTED)), "")
    if told:
        return told
    named = [o.provider for o in observations if o.provider]
    # Whoever names the reseller has looked at the host; the maker's name comes with the SDK.
    chosen = next((name for name in named if name not in MAKERS), named[0] if named else "")
    if chosen != SELF_HOSTED:
        return chosen
    # The host may be a gateway of one's own: its own span knows where the call went.
    routed = (o.provider for o in observations if o.dialect in GATEWAYS and o.provider not in ("", SELF_HOSTED))
    return next(routed, chosen)


def _fullest(names: Sequence[str]) -> str:
    first = next((name for name in names if name), "")
    # Some families cut "us.anthropic." or "openai/" off the name that was asked for; the long form prices better.
    longer = [name for name in names if first and name.endswith(first)]
    return max(longer, key=len, default=first)


def _tool_calls(observations: Sequence[Observation], details: Sequence[Observation]) -> tuple[ToolCall, ...]:
    """The fullest list, and the results that details add to it."""
    fullest = max((o.tool_calls for o in observations), key=len)
    known = {(call.kind, call.id) for call in fullest}
    added = {
        (call.kind, call.id): call
        for detail in details
        for call in reversed(detail.tool_calls)
        if call.kind == "result" and call.id and (call.kind, call.id) not in known
    }
    return (*fullest, *(added[key] for key in sorted(added)))


def _known(usage: Usage, classes: Iterable[str]) -> int:
    return sum(getattr(usage, name) is not None for name in classes)


def merge_usage(usages: Sequence[Usage]) -> Usage:
    """Input side and output side each from its best source (`usages` comes richest first), counts from all.

    A source that knows only the shares of a total (cached tokens, reasoning, 5-minute and 1-hour cache writes) splits
    the total of another.
    """
    parts: dict[str, int | None] = {}
    sources: list[Usage] = []
    for classes, total, whole in (
        (INPUT_CLASSES, _input_total, "input_uncached"),
        (OUTPUT_CLASSES, _output_total, "output_text"),
    ):
        known = [usage for usage in usages if total(usage) is not None]
        if not known:
            continue
        # A side without its main class is a fragment: it cannot stand for the whole.
        source = min(
            known,
            key=lambda usage: (getattr(usage, whole) is None, usage.estimated, usage.partial, -_known(usage, classes)),
        )
        sources.append(source)
        parts.update(_split({name: getattr(source, name) for name in classes}, known, whole))
    parts.update(_split_cache_writes(parts, usages))
    counts: dict[str, int] = {}
    for usage in usages:
        for name, count in usage.counts.items():
            counts[name] = max(count, counts.get(name, 0))
    judged = sources or list(usages)
    return Usage(
        **parts,
        counts=counts,
        partial=any(usage.partial for usage in judged),
        estimated=any(usage.estimated for usage in judged),
    )


def _split(side: dict[str, int | None], known: Sequence[Usage], whole: str) -> dict[str, int | None]:
    """Take the shares that a fragment knows out of a total that has none."""
    total = side[whole]
    if total is None or any(value is not None for name, value in side.items() if name != whole):
        return side
    for fragment in known:
        shares = {name: value for name in side if (value := getattr(fragment, name)) is not None}
        if whole not in shares and 0 < sum(shares.values()) <= total:
            return side | shares | {whole: total - sum(shares.values())}
    return side


def _split_cache_writes(parts: dict[str, int | None], usages: Sequence[Usage]) -> dict[str, int | None]:
    """A cache-write total whose 5-minute and 1-hour shares another source knows gives way to the shares."""
    total = parts.get("cache_write")
    if total is None or parts.get("cache_write_5m") is not None or parts.get("cache_write_1h") is not None:
        return {}
    for usage in usages:
        if usage.cache_write is None and usage.cache_write_tokens == total:
            shares = {"cache_write_5m": usage.cache_write_5m, "cache_write_1h": usage.cache_write_1h}
            return {"cache_write": None} | shares
    return {}


def _input_total(usage: Usage) -> int | None:
    return usage.input_tokens


def _output_total(usage: Usage) -> int | None:
    return usage.output_tokens


__all__ = ["merge", "merge_usage", "richness"]
