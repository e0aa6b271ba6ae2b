"""Cost and labels on the spans of whatever instrumentation you have: for those who keep another one.

    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from spanledger.instrumentation.processor import CostSpanProcessor

    provider.add_span_processor(CostSpanProcessor(BatchSpanProcessor(exporter)))

Needs opentelemetry-sdk. Model calls that Spanledger itself records carry all this already and pass untouched.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.baggage import get_all
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from spanledger.instrumentation import _attributes
from spanledger.instrumentation._labels import block_labels, from_baggage
from spanledger.instrumentation._prices import LazyPrices, Prices
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._settings import from_environment
from spanledger.semconv import names
from spanledger.semconv.cost import Cost
from spanledger.semconv.dialects import Dialects
from spanledger.semconv.observation import Observation, Role
from spanledger.semconv.records import Source, SpanEvent, SpanRecord

# What spans about models have in common, whoever makes them.
_HINTS: Final = ("gen_ai.", "llm.", "ai.", "openinference.", "langfuse.", "traceloop.")


class CostSpanProcessor(SpanProcessor):
    """Stands before another span processor and completes the spans of model calls on their way to it.

    At a span's start it writes the labels of the enclosing `labels` blocks, of inbound baggage and of the environment;
    at its end the cost, from the usage that the span carries. Attributes that are there already stay. Spans that are
    not about one model call (agents, chains, HTTP) pass as they are; what cannot be priced gets no cost.
    """

    def __init__(
        self,
        inner: SpanProcessor,
        *,
        prices: Prices | None = None,
        environment: Mapping[str, str] | None = None,
        problems: Problems | None = None,
    ) -> None:
        """Complete spans for ``inner``.

        Args:
            inner: gets every span, completed where there is something to add.
            prices: a price book; the one that comes with Spanledger by default. It is loaded in the background: the
                first spans of a process may go without a cost, which the ledger adds.
            environment: settings; ``os.environ`` by default.
            problems: where errors of this class are counted.
        """
        self._inner = inner
        self._settings = from_environment(os.environ if environment is None else environment)
        self._prices: Prices = prices or LazyPrices()
        self._problems = problems or Problems(raise_errors=self._settings.raise_errors)
        self._dialects = Dialects()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        try:
            if _is_about_a_model(span):
                span.set_attributes({**self._labels(parent_context), **(span.attributes or {})})
        except Exception as error:  # noqa: BLE001 - the boundary: the application's span goes on
            self._problems.ours("labelling a span", error)
        self._inner.on_start(span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        completed = span
        try:
            if _is_about_a_model(span):
                added = self._cost_of(span)
                if added:
                    completed = _with_attributes(span, {**added, **(span.attributes or {})})
        except Exception as error:  # noqa: BLE001 - the boundary: the span is exported as it is
            self._problems.ours("pricing a span", error)
        self._inner.on_end(completed)

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._inner.force_flush(timeout_millis)

    def _labels(self, context: Context | None) -> dict[str, str]:
        found = dict(self._settings.labels)
        if self._settings.baggage:
            found.update(from_baggage(get_all(context)))
        found.update(block_labels())
        return found

    def _cost_of(self, span: ReadableSpan) -> dict[str, Any]:
        observation = self._dialects.read_span(_record(span))
        if observation is None or observation.role is not Role.LEAF:
            return {}
        cost = self._price(observation)
        if cost is None:
            return {}
        found: dict[str, Any] = {names.PROVIDER: observation.provider} if observation.provider else {}
        _attributes.of_cost(cost, found)
        return found

    def _price(self, observation: Observation) -> Cost | None:
        if observation.exact_cost_usd is not None:
            return _attributes.exact_cost(observation.exact_cost_usd)
        model = observation.response_model or observation.request_model
        if not model or not observation.usage.is_known:
            return None
        return self._prices.try_price(
            observation.usage,
            provider=observation.provider,
            model=model,
            at_ns=observation.started_ns,
            service_tier=observation.service_tier,
            is_batch=observation.is_batch,
            max_output_tokens=observation.max_output_tokens,
            request_model=observation.request_model if observation.response_model else "",
            inference_geo=observation.inference_geo,
        )


def _is_about_a_model(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    if scope is not None and scope.name == names.SCOPE:
        return False
    return any(name.startswith(_HINTS) for name in span.attributes or ())


def _record(span: ReadableSpan) -> SpanRecord:
    context, parent, scope = span.get_span_context(), span.parent, span.instrumentation_scope
    return SpanRecord(
        trace_id=context.trace_id.to_bytes(16, "big") if context else b"",
        span_id=context.span_id.to_bytes(8, "big") if context else b"",
        parent_span_id=parent.span_id.to_bytes(8, "big") if parent else b"",
        name=span.name,
        kind=span.kind.value + 1,  # OTLP counts from 1
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        status_code=span.status.status_code.value,
        status_message=span.status.description or "",
        attributes={name: list(v) if isinstance(v, tuple) else v for name, v in (span.attributes or {}).items()},
        events=[SpanEvent(event.name, event.timestamp, dict(event.attributes or {})) for event in span.events],
        source=Source(
            resource=dict(span.resource.attributes),
            scope_name=scope.name if scope else "",
            scope_version=(scope.version or "") if scope else "",
        ),
    )


def _with_attributes(span: ReadableSpan, attributes: Mapping[str, Any]) -> ReadableSpan:
    """A copy of an ended span with other attributes; the original belongs to the application."""
    return ReadableSpan(
        name=span.name,
        context=span.get_span_context(),
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
