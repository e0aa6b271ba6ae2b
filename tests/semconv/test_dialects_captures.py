"""Captured telemetry of real emitters against what the provider billed.

Each fixture holds the records of one scenario (resource attributes, prompts and stack traces trimmed) and the calls of
the provider's own log. Records marked ``from documentation`` were written after the emitter's documentation.
"""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest
from span_tables import in_bulk, one_by_one, table

from spanledger.semconv.dialects import Dialects
from spanledger.semconv.observation import Observation, Role
from spanledger.semconv.providers import biller
from spanledger.semconv.records import LogEntry, Source, SpanEvent, SpanRecord

FIXTURES = sorted((Path(__file__).parent / "fixtures" / "dialects").glob("*.json"))
CAPTURED = [path for path in FIXTURES if not path.stem.startswith("coding_agents_from_docs")]
"""Those with a provider's log; documentation names no ids of it."""

LOST = {
    # What the emitter does not write cannot be read: fields of the truth that stay unknown (or wrong) by its fault.
    "elastic_openai__tools": {"cache_read", "reasoning"},
    "js_otel_openai__openai_chat": {"cache_read", "reasoning"},
    "openllmetry_cohere__cohere_chat": {"cache_read"},
    "otel_official_anthropic_nativeoff__anthropic_stream_abandoned": {"output"},
    "otel_openai_v2__openai_chat_tools": {"cache_read"},
    "semantic_kernel__tools": {"cache_read", "reasoning"},
}


def _value(value: Any) -> Any:
    return base64.b64decode(value["$bytes"]) if isinstance(value, dict) and "$bytes" in value else value


def _records(fixture: dict[str, Any]) -> list[SpanRecord | LogEntry]:
    sources = [Source(s["resource"], s["scope_name"], s["scope_version"]) for s in fixture["sources"]]
    records: list[SpanRecord | LogEntry] = []
    for r in fixture["records"]:
        trace_id, span_id = bytes.fromhex(r["trace_id"]), bytes.fromhex(r["span_id"])
        attributes = {name: _value(value) for name, value in r["attributes"].items()}
        source = sources[r["source"]]
        if r.get("log"):
            records.append(
                LogEntry(trace_id, span_id, r["event_name"], r["time_ns"], r["severity"], r["body"], attributes, source)
            )
        else:
            events = [SpanEvent(e["name"], e["time_ns"], e["attributes"]) for e in r["events"]]
            records.append(
                SpanRecord(
                    trace_id, span_id, bytes.fromhex(r["parent_span_id"]), r["name"], r["kind"], r["start_ns"],
                    r["end_ns"], r["status_code"], "", attributes, events, source,
                )
            )  # fmt: skip
    return records


def _read(path: Path) -> tuple[dict[str, Any], list[Observation]]:
    fixture = json.loads(path.read_text())
    dialects = Dialects()
    found = [
        dialects.read_span(record) if isinstance(record, SpanRecord) else dialects.read_log(record)
        for record in _records(fixture)
    ]
    return fixture, [observation for observation in found if observation is not None]


def _distinct(leaves: list[Observation]) -> list[list[Observation]]:
    """Leaves by call: one span, one id, or equal usage of two emitters is one call."""
    groups: list[tuple[set[Any], list[Observation]]] = []
    for leaf in leaves:
        keys: set[Any] = {
            ("id", leaf.response_id),
            ("request", leaf.request_id),
            ("place", leaf.trace_id, leaf.span_id),
        }
        keys -= {("id", ""), ("request", ""), ("place", b"", b"")}
        if leaf.usage.is_known:
            keys.add(("usage", leaf.usage.input_tokens, leaf.usage.output_tokens))
        touching = [group for group in groups if group[0] & keys]
        members = [leaf, *(member for group in touching for member in group[1])]
        groups = [group for group in groups if group not in touching]
        groups.append((keys.union(*(group[0] for group in touching)), members))
    return [members for _, members in groups]


def _tokens(observation: Observation) -> dict[str, int | None]:
    usage = observation.usage
    return {
        "input": usage.input_tokens,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write_tokens,
        "output": usage.output_tokens,
        "reasoning": usage.reasoning,
    }


def _fits(observation: Observation, call: dict[str, Any], lost: set[str]) -> bool:
    truth = {
        "input": call["input_tokens"],
        "cache_read": call["cache_read_tokens"],
        "cache_write": call["cache_creation_tokens"],
        "output": call["output_tokens"],
        "reasoning": call["reasoning_tokens"],
    }
    have = _tokens(observation)
    if call["stream_usage_sent"] is False:
        return all(value is None for value in have.values())
    return all(
        have[name] == true or (have[name] is None and (not true or name == "reasoning"))
        for name, true in truth.items()
        if name not in lost and true is not None
    )


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_leaves_are_the_calls_that_the_provider_billed(path: Path) -> None:
    fixture, observations = _read(path)
    leaves = [o for o in observations if o.role is Role.LEAF and o.status != "error"]
    calls = _distinct(leaves)
    assert len(calls) == len(fixture["calls"])
    lost = LOST.get(path.stem, set())
    unmatched = list(calls)
    for call in fixture["calls"]:
        found = next((c for c in unmatched if any(_fits(o, call, lost) for o in c)), None)
        assert found is not None, (call, [[_tokens(o) for o in c] for c in unmatched])
        unmatched.remove(found)


@pytest.mark.parametrize("path", CAPTURED, ids=lambda path: path.stem)
def test_response_ids_are_the_providers_own(path: Path) -> None:
    fixture, observations = _read(path)
    true_ids = {call["response_id"] for call in fixture["calls"]} - {None}
    assert {o.response_id for o in observations} - {""} <= true_ids


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_models_are_what_was_asked_and_answered(path: Path) -> None:
    fixture, observations = _read(path)
    named = {(call["request_model"] or "", call["response_model"] or "") for call in fixture["calls"]}
    for observation in observations:
        if observation.role is Role.LEAF and observation.status != "error":
            asked, answered = observation.request_model, observation.response_model
            plain = [(r.rpartition("/")[2], a.rpartition("/")[2]) for r, a in named] + sorted(named)
            assert any(
                asked in ("", r, a) and (answered in ("", a, r) or r in answered or not a)
                for r, a in plain
            ) or any(r.endswith(asked) for r, _ in named), (asked, answered, named)  # fmt: skip


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_the_biller_is_named(path: Path) -> None:
    fixture, observations = _read(path)
    expected = {biller(call["provider"]) for call in fixture["calls"]} or {"openai"}  # nobody billed the failed call
    if "copilot" in path.stem:
        expected = {"github"}  # Copilot bills by seat, whoever made the model
    assert {o.provider for o in observations if o.role is Role.LEAF} == expected


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_captured_spans_say_the_same_in_tables(path: Path) -> None:
    """Every real span, many times over with ids and counts of its own."""
    rng = random.Random(path.stem)
    for record in _records(json.loads(path.read_text())):
        if not isinstance(record, SpanRecord) or record.events or not record.attributes:
            continue
        rows = [
            {
                name: rng.randrange(2 * abs(value) + 2) if type(value) is int and "token" in name else value
                for name, value in record.attributes.items()
            }
            | ({"gen_ai.response.id": f"id-{row}"} if "gen_ai.response.id" in record.attributes else {})
            for row in range(16)
        ]
        spans = table(record.source.scope_name, rows, kind=record.kind)
        assert in_bulk(spans)[0] == one_by_one(spans)
