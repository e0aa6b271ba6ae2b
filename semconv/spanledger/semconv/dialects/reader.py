"""Reads one record by the plan of its shape."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import zip_longest
from typing import Any, Final

from spanledger.semconv.dialects import tokens, tools, unknown, values
from spanledger.semconv.dialects.plans import Plan
from spanledger.semconv.dialects.table import Draft
from spanledger.semconv.dialects.values import MAX_COUNT, MAX_TEXT, Bad
from spanledger.semconv.observation import Observation, Role
from spanledger.semconv.places import place
from spanledger.semconv.providers import biller
from spanledger.semconv.records import STATUS_ERROR, STATUS_UNSET, LogEntry, SpanRecord
from spanledger.semconv.usage import Usage

_HOST: Final = re.compile(r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?(?://)?(?:[^/@]*@)?([^/?#]*).*$", re.DOTALL)
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z", re.IGNORECASE)
_FACTS: Final = (
    "session_id",
    "user_id",
    "team_id",
    "feature",
    "response_id",
    "request_id",
    "claimed_cost_usd",
    "organization",
)
"""What a record that does not bill may add to the call of its span or below it."""


def read(
    record: SpanRecord | LogEntry, plan: Plan, base: dict[str, Any], base_labels: Mapping[str, str]
) -> Observation | None:
    """The observation that a record makes under a plan; ``None`` when it says nothing about a model call.

    For the arguments see `drafted`.
    """
    draft = drafted(record, plan, base, base_labels)
    return None if draft is None else finished(record, draft)


def drafted(
    record: SpanRecord | LogEntry, plan: Plan, base: dict[str, Any], base_labels: Mapping[str, str]
) -> Draft | None:
    """What a record says under a plan, before it is made sense of; ``None`` when that is nothing about a model call.

    Args:
        record: the span or log record.
        plan: what to read (`Compiler.plan`).
        base: fields that hold for every record of the source (scope, service, environment, labels of the process).
        base_labels: further labels of the process.
    """
    attributes = record.attributes
    dialect = plan.dialect
    fields = base.copy()
    fields["dialect"] = dialect.name
    notes: list[str] = []
    if plan.text_values is not None:
        texts = plan.text_values(attributes)
        try:
            is_plain = len("".join(texts)) <= MAX_TEXT  # one join proves that all are texts and none is long
        except TypeError:
            is_plain = False
        if is_plain and "" not in texts:
            for field, text in zip(plan.text_fields, texts):  # noqa: B905 - itemgetter gives one value per name
                fields[field] = text
        else:
            _read_texts(attributes, plan, texts[: len(plan.text_aliases)] if is_plain else (), fields, notes)
    counts: dict[str, int] = {}
    for slot, name, others in plan.counts:
        value = attributes[name]
        if type(value) is int and 0 <= value <= MAX_COUNT:
            counts[slot] = value
        else:
            _read_count(attributes, slot, (name, *others), counts, notes)
    for field, name, quick, read_value in plan.rest:
        if field not in fields:
            value = attributes[name]
            if type(value) is not quick:
                value = read_value(value)
                if isinstance(value, Bad):
                    notes.append(f"bad_value:{name}")
                    continue
                if value is None:
                    continue
            fields[field] = value
    draft = Draft(
        record,
        attributes,
        fields,
        counts,
        notes,
        None,
        dialect.input_holds_cache,
        dialect.output_holds_reasoning,
        base_labels,
    )
    if plan.exact:
        draft.usage = _exact_usage(attributes, plan, notes)
    if plan.guessed:
        unknown.read(draft, plan.objects)
    if plan.labels:
        draft.labels = {**base_labels, **_read_labels(attributes, plan.labels, notes)}
    if plan.tools is not None:
        draft.tool_calls = tools.read(attributes, plan.tools)
    if "error_type" in fields:
        fields["status"] = "error"
    elif isinstance(record, SpanRecord) and record.status_code == STATUS_ERROR:
        _read_error(record, fields)
    role = draft.role = dialect.role(draft)
    if dialect.adjust is not None:
        dialect.adjust(draft)
        role = draft.role
    if (
        role is Role.LEAF
        and isinstance(record, SpanRecord)
        and record.events
        and record.status_code == STATUS_UNSET
        and not draft.has_usage
        and not fields.get("response_id")
        and _exception(record)
    ):
        _read_error(record, fields)  # an emitter that records what was raised, but sets no status
    if role is None or (role is not Role.LEAF and not _says_something(draft, plan, base)):
        return None
    return draft


def _says_something(draft: Draft, plan: Plan, base: Mapping[str, Any]) -> bool:
    """Whether a record that does not bill holds anything that its call's own records may lack."""
    fields = draft.fields
    if plan.tools is not None and plan.tools.executed:
        draft.tool_calls = tools.executed(draft.attributes, is_error=fields.get("status") == "error")
        if draft.tool_calls and not draft.has_usage:
            draft.role = Role.DETAIL
    if draft.counts or draft.usage is not None or draft.tool_calls or draft.labels is not draft.base_labels:
        return True
    return any(fields.get(name) and name not in base for name in _FACTS)


def finished(record: SpanRecord | LogEntry, draft: Draft) -> Observation:
    """The observation that comes of a draft, which is used up."""
    fields, counts, notes = draft.fields, draft.counts, draft.notes
    get = fields.get
    fields["provider"] = biller(
        get("provider", ""), get("server_address", ""), get("request_model", "") or get("response_model", "")
    )
    if "/" in get("server_address", ""):
        fields["server_address"] = _host(fields["server_address"])
    if fields["provider"] == "google_vertex" or get("inference_geo"):
        fields["inference_geo"] = place(fields["provider"], get("inference_geo", ""), get("server_address", ""))
    repair(draft)
    usage = draft.usage
    if usage is None:
        if counts or draft.partial:
            usage = tokens.disjoint(
                counts,
                notes,
                input_holds_cache=draft.input_holds_cache,
                output_holds_reasoning=draft.output_holds_reasoning,
                partial=draft.partial,
                estimated=draft.estimated,
            )
        else:
            usage = tokens.EMPTY
        if "claimed_cost_usd" in fields and not fields["claimed_cost_usd"]:
            del fields["claimed_cost_usd"]  # emitters write 0 for models whose price they do not know
            notes.append("claimed_zero")
    elif draft.partial or draft.estimated:
        usage = replace(usage, partial=draft.partial, estimated=draft.estimated)
    fields["role"] = draft.role
    fields["usage"] = usage
    fields["labels"] = draft.labels
    fields["trace_id"] = record.trace_id
    fields["span_id"] = record.span_id
    if draft.tool_calls:
        fields["tool_calls"] = draft.tool_calls
    if notes:
        fields["notes"] = tuple(notes)
    if isinstance(record, SpanRecord):
        fields["parent_span_id"] = record.parent_span_id
        fields["ended_ns"] = record.end_ns
        if "started_ns" not in fields:
            fields["started_ns"] = record.start_ns
    else:
        fields["signal"] = "log"
        fields["ended_ns"] = record.time_ns
        if "started_ns" not in fields:
            fields["started_ns"] = record.time_ns
    return Observation(**fields)


@lru_cache(maxsize=1024)
def _host(address: str) -> str:
    """The host (and port) of a URL."""
    return _HOST.sub(r"\1", address)


def repair(draft: Draft) -> None:
    """What holds for every dialect: request ids under the name of response ids, zeros for unknown, xAI's output."""
    fields, counts = draft.fields, draft.counts
    response_id = fields.get("response_id")
    if response_id and (
        response_id.startswith("req_") or (fields["provider"] == "aws_bedrock" and _UUID.match(response_id))
    ):
        fields["response_id"] = ""
        fields.setdefault("request_id", response_id)
    if counts:
        if "output" in counts and not fields.get("operation") and draft.role is Role.LEAF:
            fields["operation"] = "chat"
        if not counts.get("output", 1):
            if not counts.get("input", 1) or (len(counts) == 1 and draft.role is Role.LEAF):
                # No request has an empty prompt: a stream that sent no usage was written as zeros.
                counts.clear()
                draft.notes.append("zero_usage")
            elif fields.get("operation") == "embeddings":
                del counts["output"]  # embeddings have none; some emitters write 0, some nothing
        if fields["provider"] == "xai" and counts.get("reasoning"):
            # xAI's completion_tokens never include reasoning (docs.x.ai, usage object).
            draft.output_holds_reasoning = False
    error = fields.get("error_type")
    if error and "http_status" not in fields and len(error) == 3 and error.isascii() and error.isdigit():
        fields["http_status"] = int(error)
    if fields.get("stop_reason") == "error" and fields.get("status") != "error":
        # The official LangChain instrumentation writes it on every successful Responses call.
        del fields["stop_reason"]


def _read_texts(
    attributes: Mapping[str, Any], plan: Plan, plain: Sequence[str], fields: dict[str, Any], notes: list[str]
) -> None:
    """The careful way: every field from its first alias that holds a usable text.

    ``plain`` are the first aliases' values where all of them are short texts; empty ones must not shadow other aliases.
    """
    for (field, aliases), text in zip_longest(plan.text_aliases, plain):
        if text:
            fields[field] = text
        elif text is None or len(aliases) > 1:
            for name in aliases:
                value = attributes[name]
                if value != "" and _read_text(field, name, value, fields, notes):
                    break


def _read_count(
    attributes: Mapping[str, Any], slot: str, aliases: Sequence[str], counts: dict[str, int], notes: list[str]
) -> None:
    for name in aliases:
        value = values.count(attributes[name])
        if isinstance(value, Bad):
            notes.append(f"bad_value:{name}")
        elif value is not None:
            counts[slot] = value
            return


def _read_text(field: str, name: str, value: Any, fields: dict[str, Any], notes: list[str]) -> bool:
    """Put a text into its field; ``False`` when there is none."""
    read_ = values.text(value)
    if isinstance(read_, Bad):
        notes.append(f"bad_value:{name}")
        return False
    if read_ is None:
        return False
    fields[field] = read_
    return True


def _read_labels(attributes: Mapping[str, Any], labels: Sequence[tuple[str, str]], notes: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key, name in labels:
        value = values.unquoted(attributes[name])
        text = str(value).lower() if isinstance(value, bool) else values.text(value)
        if isinstance(text, Bad):
            notes.append(f"bad_value:{name}")
        elif text:
            found[key] = text
    return found


def _exact_usage(attributes: Mapping[str, Any], plan: Plan, notes: list[str]) -> Usage | None:
    """Our own disjoint classes and counts, as our instrumentation wrote them."""
    classes: dict[str, int] = {}
    per_use: dict[str, int] = {}
    for field, name, is_class in plan.exact:
        value = attributes[name]
        if type(value) is not int or not 0 <= value <= MAX_COUNT:
            value = values.count(value)
            if isinstance(value, Bad):
                notes.append(f"bad_value:{name}")
                continue
            if value is None:
                continue
        if is_class:
            classes[field] = value
        else:
            per_use[field] = value
    return tokens.from_classes(classes, per_use) if classes or per_use else None


def _read_error(record: SpanRecord, fields: dict[str, Any]) -> None:
    fields["status"] = "error"
    kind = "" if "error_type" in fields else _exception(record)
    if kind:
        fields["error_type"] = kind


def _exception(record: SpanRecord) -> str:
    """The type of the last exception that a span recorded, ``""`` without one."""
    kinds = [values.known_text(e.attributes.get("exception.type")) for e in record.events if e.name == "exception"]
    return next((kind for kind in reversed(kinds) if kind), "")
