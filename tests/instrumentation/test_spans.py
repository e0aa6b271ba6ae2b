"""Spans whose building is left for later: their context, sampling and content are those of spans built at once."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from llm_wire import MESSAGES, chat
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk import trace as sdk_trace
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_OFF,
    ALWAYS_ON,
    DEFAULT_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from spanledger.instrumentation import flush
from spanledger.instrumentation._spans import LateSpan, Spans

ASKED = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}
STATE = TraceState([("vendor", "1")])


class Counting(RandomIdGenerator):
    """Ids that can be foretold."""

    def __init__(self) -> None:
        self.last = 0

    def generate_trace_id(self) -> int:
        self.last += 1
        return self.last

    generate_span_id = generate_trace_id


class Adding(Sampler):
    """Adds an attribute and a trace state."""

    def should_sample(self, *asked: Any, **named: Any) -> SamplingResult:
        attributes = {**(asked[4] or {}), "sampled.by": "test"}
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes, STATE)

    def get_description(self) -> str:
        return "Adding"


class RecordOnly(Sampler):
    def should_sample(self, *asked: Any, **named: Any) -> SamplingResult:
        return SamplingResult(Decision.RECORD_ONLY, asked[4])

    def get_description(self) -> str:
        return "RecordOnly"


def within(*, sampled: bool, remote: bool) -> otel_context.Context:
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
    return trace.set_span_in_context(NonRecordingSpan(SpanContext(77, 88, remote, flags, STATE)))


SAMPLERS = [DEFAULT_ON, ALWAYS_ON, ALWAYS_OFF, TraceIdRatioBased(0.5), ParentBased(ALWAYS_OFF), Adding(), RecordOnly()]
PARENTS = [
    otel_context.Context(),
    *(within(sampled=sampled, remote=remote) for sampled in (True, False) for remote in (True, False)),
]


def started(sampler: Sampler, parent: otel_context.Context, *, late: bool) -> tuple[SpanContext, list[str], bool]:
    """A span's context, what of it was exported, and whether it was built late."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, id_generator=Counting(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    span = Spans("scope", "1", provider, may_build_late=late).start("chat gpt-4o", parent, ASKED, 1_000)
    span.set_attribute("later", 1)
    span.end(2_000)
    return span.get_span_context(), [one.to_json() for one in exporter.get_finished_spans()], type(span) is LateSpan


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda one: one.get_description())
@pytest.mark.parametrize("parent", PARENTS, ids=["root", "remote", "local", "remote unsampled", "local unsampled"])
def test_it_is_the_span_that_the_sdk_makes_at_once(sampler: Sampler, parent: otel_context.Context) -> None:
    """Ids, flags, trace state, attributes of samplers, times, resource: everything is equal."""
    late = started(sampler, parent, late=True)
    at_once = started(sampler, parent, late=False)
    assert late[:2] == at_once[:2]
    assert late[2] == bool(late[1] or isinstance(sampler, RecordOnly))
    assert not at_once[2]


def test_whoever_touches_the_current_span_finds_the_sdks_span(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    """A hook inside the HTTP client writes on the span and reads what the SDK's spans have beside the API."""
    found: list[Any] = []

    def hook(_request: Any) -> None:
        span: Any = trace.get_current_span()
        assert span.is_recording()
        span.set_attribute("seen.by", "a hook")
        span.add_event("sent")
        found.append((span.get_span_context(), span.name, span.kind, span.resource is on.tracer_provider.resource))

    client = clients.openai()
    client._client.event_hooks = {"request": [hook], "response": []}
    provider.replies.append(reply(chat()))
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    [span] = on.spans()
    assert found == [(span.context, "chat gpt-4o", SpanKind.CLIENT, True)]
    assert span.attributes["seen.by"] == "a hook"
    assert [event.name for event in span.events] == ["sent"]
    assert span.attributes["gen_ai.usage.input_tokens"] > 0


class Watching(SpanProcessor):
    """Keeps when spans start, as processors for live views do."""

    def __init__(self) -> None:
        self.started: list[str] = []

    def on_start(self, span: ReadableSpan, parent_context: otel_context.Context | None = None) -> None:
        self.started.append(f"{span.name} in {threading.current_thread().name}")


def test_a_processor_that_watches_starts_sees_them_in_time(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    """In the caller's thread, before the request; also one that is added after the first call."""
    client = clients.openai()
    watching = Watching()
    seen: list[list[str]] = []
    client._client.event_hooks = {"request": [lambda _: seen.append(list(watching.started))], "response": []}
    provider.replies += [reply(chat()), reply(chat())]
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    flush()
    on.tracer_provider.add_span_processor(watching)
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert seen == [[], ["chat gpt-4o in MainThread"]]
    assert len(on.spans()) == 2


def test_children_have_their_parent_before_it_is_built(on: Any, clients: Any, provider: Any, reply: Any) -> None:
    """A span that the HTTP client's instrumentation makes inside, and the header that goes out."""
    tracer = on.tracer_provider.get_tracer("http")

    def hook(request: Any) -> None:
        with tracer.start_as_current_span("POST"):
            carrier: dict[str, str] = {}
            TraceContextTextMapPropagator().inject(carrier)
            request.headers.update(carrier)

    client = clients.openai()
    client._client.event_hooks = {"request": [hook], "response": []}
    provider.replies.append(reply(chat()))
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    spans = {span.name: span for span in on.spans()}
    call, child = spans["chat gpt-4o"], spans["POST"]
    assert child.parent == call.context
    sent = provider.requests[0].headers["traceparent"]
    assert sent.split("-")[1:3] == [f"{call.context.trace_id:032x}", f"{child.context.span_id:016x}"]


def test_a_tracer_that_is_switched_off() -> None:
    """Nobody's parent is a span that will not be."""
    provider: Any = TracerProvider(shutdown_on_exit=False)
    off = getattr(sdk_trace, "_disable_tracer_configurator", None)
    if off is None or not hasattr(provider, "_set_tracer_configurator"):
        pytest.skip("this SDK cannot switch tracers off")
    spans = Spans("scope", "1", provider, may_build_late=True)
    assert isinstance(spans.start("x", otel_context.Context(), ASKED, 1), LateSpan)
    provider._set_tracer_configurator(tracer_configurator=off)
    outer = within(sampled=True, remote=False)
    assert spans.start("x", outer, ASKED, 1).get_span_context() == trace.get_current_span(outer).get_span_context()


def test_threads_that_touch_it_at_once_see_one_span() -> None:
    """Whoever comes first builds it; what all of them write is there."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for _ in range(50):
        span = Spans("scope", "1", provider, may_build_late=True).start("x", otel_context.Context(), ASKED, 1)
        ready = threading.Barrier(4)

        def touch(number: int, span: Any = span, ready: threading.Barrier = ready) -> None:
            ready.wait()
            span.set_attribute(f"by.{number}", number)

        threads = [threading.Thread(target=touch, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        span.end()
    written = [sum(name.startswith("by.") for name in span.attributes or {}) for span in exporter.get_finished_spans()]
    assert written == [4] * 50


LATER = """
import opentelemetry.trace as trace
from opentelemetry.context import Context
from spanledger.instrumentation._spans import LateSpan, Spans

spans = Spans("scope", "1", None, may_build_late=True)
print(type(spans.start("x", Context(), {}, 1)).__name__)
from opentelemetry.sdk.trace import TracerProvider
trace.set_tracer_provider(TracerProvider())
print(type(spans.start("x", Context(), {}, 1)).__name__)
"""


def test_a_global_provider_may_be_set_later() -> None:
    """Before that, nothing is recorded, as with OpenTelemetry's own tracers."""
    done = subprocess.run([sys.executable, "-c", LATER], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["NonRecordingSpan", "LateSpan"]


def test_calls_that_are_completed_at_once_are_built_at_once(
    switch_on: Callable[..., Any], clients: Any, provider: Any, reply: Any
) -> None:
    """The caller's thread does it all: nothing would be gained."""
    telemetry = switch_on({"SPANLEDGER_FINISH": "inline"})
    found: list[Any] = []
    client = clients.openai()
    client._client.event_hooks = {"request": [lambda _: found.append(trace.get_current_span())], "response": []}
    provider.replies.append(reply(chat()))
    client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert not isinstance(found[0], LateSpan)
    assert len(telemetry.spans()) == 1
