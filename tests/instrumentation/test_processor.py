"""Cost and labels on spans that another instrumentation makes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanledger.instrumentation import labels
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation.processor import CostSpanProcessor
from spanledger.semconv.prices import PriceBook

CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "server.address": "api.openai.com",
}
ANSWER: dict[str, Any] = {
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.usage.input_tokens": 1100,
    "gen_ai.usage.cache_read.input_tokens": 100,
    "gen_ai.usage.output_tokens": 230,
}


class ReadyPrices(PriceBook):
    """A price book that has resolved everything before it is asked."""

    def try_price(self, *args: Any, **kwargs: Any) -> Any:
        return self.price(*args, **kwargs)


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    yield exporter
    exporter.shutdown()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(
        CostSpanProcessor(
            SimpleSpanProcessor(exporter),
            prices=ReadyPrices(),
            environment={"SPANLEDGER_LABELS": "stage=test"},
            problems=Problems(raise_errors=True),
        )
    )
    return provider


def chat(provider: TracerProvider, scope: str = "somebody.else", **more: Any) -> None:
    tracer = provider.get_tracer(scope, "1.0")
    with tracer.start_as_current_span("chat gpt-4o", attributes=CHAT) as span:
        span.set_attributes({**ANSWER, **more})
        span.add_event("thought")


def only(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    return span


def test_cost_and_labels(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    with labels(team_id="search"):
        chat(provider)
    span = only(exporter)
    attributes = dict(span.attributes or {})
    assert {**CHAT, **ANSWER}.items() <= attributes.items(), "what was there stays"
    # 1000 x 2.50 + 100 x 1.25 + 230 x 10.00 USD a million
    assert attributes["spanledger.cost.total"] == "0.004925"
    assert attributes["gen_ai.usage.cost"] == 0.004925
    assert attributes["spanledger.provider"] == "openai"
    assert attributes["spanledger.team_id"] == "search"
    assert attributes["spanledger.label.stage"] == "test"
    assert (span.name, span.instrumentation_scope and span.instrumentation_scope.name) == (
        "chat gpt-4o",
        "somebody.else",
    )
    assert [event.name for event in span.events] == ["thought"]
    assert span.end_time
    assert span.start_time
    assert span.end_time > span.start_time


def test_what_the_span_says_itself_stays(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    with labels(user_id="block"):
        chat(provider, **{"gen_ai.usage.cost": 1.5, "user.id": "span"})
    attributes = dict(only(exporter).attributes or {})
    assert attributes["gen_ai.usage.cost"] == 1.5
    assert attributes["user.id"] == "span"
    assert attributes["spanledger.cost.total"] == "0.004925"


@pytest.mark.parametrize(
    "attributes",
    [
        {"http.request.method": "GET"},
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner", **ANSWER},
    ],
    ids=["http", "agent"],
)
def test_what_is_no_model_call_gets_no_cost(
    provider: TracerProvider, exporter: InMemorySpanExporter, attributes: dict[str, Any]
) -> None:
    with provider.get_tracer("somebody.else").start_as_current_span("x", attributes=attributes):
        pass
    assert not [
        name
        for name in only(exporter).attributes or ()
        if name.startswith(("spanledger.cost", "gen_ai.usage.c")) and name not in ANSWER
    ]


def test_our_own_spans_pass_untouched(provider: TracerProvider, exporter: InMemorySpanExporter) -> None:
    with labels(team_id="search"):
        chat(provider, scope="spanledger.instrumentation")
    assert dict(only(exporter).attributes or {}) == {**CHAT, **ANSWER}


def test_prices_are_never_waited_for(exporter: InMemorySpanExporter) -> None:
    provider = TracerProvider()
    provider.add_span_processor(CostSpanProcessor(SimpleSpanProcessor(exporter), environment={}))
    chat(provider)
    assert "spanledger.cost.total" not in (only(exporter).attributes or {})


def test_errors_of_ours_leave_the_span_as_it_is(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spanledger.instrumentation import processor

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a bug of ours")

    problems = Problems()
    provider = TracerProvider()
    provider.add_span_processor(CostSpanProcessor(SimpleSpanProcessor(exporter), environment={}, problems=problems))
    monkeypatch.setattr(processor, "_record", fail)
    chat(provider)
    assert dict(only(exporter).attributes or {}) == {**CHAT, **ANSWER}
    assert problems.lines() == ["error while pricing a span: RuntimeError (1 times)"]


def test_flush_and_shutdown_reach_the_inner_processor(exporter: InMemorySpanExporter) -> None:
    seen: list[str] = []

    class Inner(SimpleSpanProcessor):
        def force_flush(self, timeout_millis: int = 30000) -> bool:
            seen.append("force_flush")
            return True

        def shutdown(self) -> None:
            seen.append("shutdown")

    provider = TracerProvider()
    provider.add_span_processor(CostSpanProcessor(Inner(exporter), environment={}))
    assert provider.force_flush()
    provider.shutdown()
    assert seen == ["force_flush", "shutdown"]
