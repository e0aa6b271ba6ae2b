"""Turns calls into spans and metrics: names, labels, usage, cost. The only place that writes telemetry."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import perf_counter_ns, time_ns
from typing import Any, Final, Protocol

from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.baggage import get_all as all_baggage
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider, set_span_in_context

from spanledger.instrumentation import _attributes
from spanledger.instrumentation._answer import Answer, Endpoint
from spanledger.instrumentation._bodies import document_of
from spanledger.instrumentation._call import FAILED, FINISHED, Call, current_call
from spanledger.instrumentation._clients import ClientFacts
from spanledger.instrumentation._finisher import Job
from spanledger.instrumentation._labels import block_labels, client_labels, from_baggage, without_our_baggage
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._reading import NO_FIELDS, fields
from spanledger.instrumentation._settings import Settings
from spanledger.semconv import gen_ai, names
from spanledger.semconv.cost import Cost
from spanledger.semconv.usage import Usage

_log = logging.getLogger(__name__)
_CLIENT: Final = SpanKind.CLIENT

# Set by `opentelemetry.instrumentation.utils.suppress_instrumentation`; the API keeps the key's name to itself.
_SUPPRESS_KEYS: Final = tuple(
    key
    for key in ("suppress_instrumentation", getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", None))
    if key is not None
)
_DURATION_BUCKETS: Final = tuple(0.01 * 2**power for power in range(14))
_TOKEN_BUCKETS: Final = tuple(4**power for power in range(14))


class Prices(Protocol):
    """The part of `spanledger.semconv.prices.PriceBook` that prices calls here."""

    def prefetch(self, *, provider: str, model: str) -> None: ...

    def price(
        self,
        usage: Usage,
        *,
        provider: str,
        model: str,
        at_ns: int,
        service_tier: str = "",
        is_batch: bool = False,
        max_output_tokens: int | None = None,
    ) -> Cost: ...

    def try_price(
        self,
        usage: Usage,
        *,
        provider: str,
        model: str,
        at_ns: int,
        service_tier: str = "",
        is_batch: bool = False,
        max_output_tokens: int | None = None,
    ) -> Cost | None: ...


class Recorder:
    """Makes and completes calls. Thread-safe; one per process is enough.

    Args:
        settings: how calls are recorded.
        prices: the price book, or ``None`` to leave cost to the ledger.
        defer: takes the work that is not done in the caller's thread; ``None`` does it there.
        problems: where errors of our own are counted.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        version: str,
        problems: Problems,
        prices: Prices | None = None,
        defer: Callable[[Job], None] | None = None,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self.settings = settings
        self._prices = prices
        self._defer = defer
        self._problems = problems
        self._tracer = trace.get_tracer(names.SCOPE, version, tracer_provider)
        meter = metrics.get_meter(names.SCOPE, version, meter_provider)
        self._durations = meter.create_histogram(
            gen_ai.GEN_AI_CLIENT_OPERATION_DURATION,
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_DURATION_BUCKETS,
        )
        self._first_chunks = meter.create_histogram(
            gen_ai.GEN_AI_CLIENT_OPERATION_TIME_TO_FIRST_CHUNK,
            unit="s",
            description="Time to receive the first chunk of a streamed answer.",
            explicit_bucket_boundaries_advisory=_DURATION_BUCKETS,
        )
        self._token_counts = meter.create_histogram(
            gen_ai.GEN_AI_CLIENT_TOKEN_USAGE,
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKEN_BUCKETS,
        )

    def begin(self, endpoint: Endpoint, client: Any, facts: ClientFacts, body: Mapping[str, Any]) -> Call | None:
        """Start a call in the current context and make its span current; ``None`` where instrumentation is suppressed.

        The caller must `leave` it in the same context once the request is sent.
        """
        current = otel_context.get_current()
        for key in _SUPPRESS_KEYS:
            if current.get(key):
                return None
        call = Call()
        call.recorder = self
        call.endpoint = endpoint
        call.facts = facts
        call.context = current
        model = body.get("model")
        call.model = model = model if isinstance(model, str) else ""
        call.is_stream = body.get("stream") is True
        call.request = {key: body[key] for key in endpoint.request_keys if key in body}
        call.block_labels = block_labels()
        call.client_labels = client_labels(client)
        call.inbound_baggage = all_baggage(current) if self.settings.baggage else NO_FIELDS
        if endpoint.tool_results is not None:
            call.tool_results = endpoint.tool_results(body)
        if self.settings.capture_content and endpoint.input_messages is not None:
            call.input = endpoint.input_messages(body)
        if self._prices is not None and model:
            self._prices.prefetch(provider=facts.provider, model=model)
        call.started_wall_ns = time_ns()
        call.started_ns = perf_counter_ns()
        inner = without_our_baggage(current, call.inbound_baggage) if call.inbound_baggage else current
        if endpoint.starts_late:
            call.span = None
        else:
            call.span = self._start_span(call, current)
            inner = set_span_in_context(call.span, inner)
        call.tokens = (current_call.set(call), otel_context.attach(inner))
        return call

    def _start_span(self, call: Call, parent: Context) -> Span:
        attributes: dict[str, Any] = {
            gen_ai.GEN_AI_OPERATION_NAME: call.endpoint.operation,
            gen_ai.GEN_AI_REQUEST_MODEL: call.model,
            **call.facts.at_start,
        }
        return self._tracer.start_span(
            f"{call.endpoint.operation} {call.model}", parent, _CLIENT, attributes, start_time=call.started_wall_ns
        )

    def leave(self, call: Call) -> None:
        """The request was sent or failed: the call is no longer the current one."""
        if call.tokens is not None:
            ours, theirs = call.tokens
            call.tokens = None
            otel_context.detach(theirs)
            current_call.reset(ours)

    def submit(self, call: Call) -> None:
        """Complete an ended call, now or in the background."""
        if self._defer is None:
            self.complete(call, may_block=False)
        else:
            self._defer(lambda may_block: self.complete(call, may_block=may_block))

    def failed(self, doing: str, error: Exception) -> None:
        """An error of our own, met in the application's thread."""
        self._problems.ours(doing, error)

    def complete(self, call: Call, *, may_block: bool) -> None:
        """Write the call's span and metrics; where it may block, prices are resolved for it.

        Errors of our own end here: counted, and the span is ended all the same.
        """
        ended_ns = call.started_wall_ns + call.ended_ns - call.started_ns
        span = call.span
        try:
            answer = self._read(call)
            if span is None:
                if not answer.is_billable:
                    return
                span = self._start_span(call, call.context)
            if span.is_recording():
                span.set_attributes(self._attributes_of(call, answer, may_block))
                if call.outcome == FAILED or answer.error_type:
                    span.set_status(Status(StatusCode.ERROR, call.error_code or answer.error_type))
            self._measure(call, answer)
        except Exception as error:  # noqa: BLE001 - the boundary: nothing of ours may harm the application
            self._problems.ours("completing a call", error)
        finally:
            if span is not None:
                span.end(ended_ns)

    def _read(self, call: Call) -> Answer:
        if call.reader is not None:
            return call.reader.answer(is_complete=call.outcome == FINISHED)
        if call.document is not None:
            return call.endpoint.read_response(document_of(call.document), None)
        if call.outcome == FINISHED and call.result is not None:
            return call.endpoint.read_response(fields(call.result), call.usage)
        return Answer(usage=Usage(partial=call.outcome != FAILED))

    def _attributes_of(self, call: Call, answer: Answer, may_block: bool) -> dict[str, Any]:
        facts, headers = call.facts, call.headers
        found: dict[str, Any] = {**facts.constant, **call.endpoint.attributes}
        call.endpoint.read_request(call.request, found)
        if call.is_stream:
            found[names.IS_STREAM] = True
            if call.first_chunk_ns:
                found[gen_ai.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] = (call.first_chunk_ns - call.started_ns) / 1e9
        if headers is not None:
            _attributes.of_headers(headers, found)
        if call.status_code is not None:
            found[names.HTTP_STATUS] = call.status_code
        _attributes.of_answer(answer, found)
        tool_calls = [*(call.tool_results or ()), *answer.tool_calls]
        if tool_calls:
            found[names.TOOL_CALLS] = _attributes.tool_calls(tool_calls, with_content=self.settings.capture_content)
        notes = call.notes + answer.notes
        if notes:
            found[names.NOTES] = notes
        if error_type := call.error_type or answer.error_type:
            found[_attributes.ERROR_TYPE] = error_type
        try:
            cost = self._cost(call, answer, found.get(gen_ai.GEN_AI_REQUEST_MAX_TOKENS), may_block)
        except Exception as error:  # noqa: BLE001 - the boundary: usage is recorded without a cost, the ledger prices it
            self._problems.ours("pricing a call", error)
        else:
            if cost is not None:
                _attributes.of_cost(cost, found)
        if self.settings.capture_content:
            _attributes.of_content(call.input, answer, found)
        found.update(self.settings.labels)
        found.update(from_baggage(call.inbound_baggage))
        found.update(call.client_labels)
        found.update(call.block_labels)
        return found

    def _cost(self, call: Call, answer: Answer, max_output_tokens: int | None, may_block: bool) -> Cost | None:
        if answer.exact_cost_usd is not None:
            return _attributes.exact_cost(answer.exact_cost_usd)
        model = answer.model or call.model
        if self._prices is None or not model or not answer.usage.is_known:
            return None
        price = self._prices.price if may_block else self._prices.try_price
        return price(
            answer.usage,
            provider=call.facts.provider,
            model=model,
            at_ns=call.started_wall_ns,
            service_tier=answer.service_tier,
            is_batch=bool(answer.batch_id),
            max_output_tokens=max_output_tokens,
        )

    def _measure(self, call: Call, answer: Answer) -> None:
        facts = call.facts
        common: dict[str, Any] = {
            gen_ai.GEN_AI_OPERATION_NAME: call.endpoint.operation,
            gen_ai.GEN_AI_REQUEST_MODEL: call.model,
            **facts.at_start,
        }
        if answer.model:
            common[gen_ai.GEN_AI_RESPONSE_MODEL] = answer.model
        timed = common
        if error_type := call.error_type or answer.error_type:
            timed = {**common, _attributes.ERROR_TYPE: error_type}
        # The span's context lets exemplars point at it; metrics do not depend on its being sampled.
        exemplar = set_span_in_context(call.span, call.context) if call.span is not None else call.context
        self._durations.record((call.ended_ns - call.started_ns) / 1e9, timed, exemplar)
        if call.first_chunk_ns:
            self._first_chunks.record((call.first_chunk_ns - call.started_ns) / 1e9, common, exemplar)
        for token_type, count in (("input", answer.usage.input_tokens), ("output", answer.usage.output_tokens)):
            if count is not None:
                self._token_counts.record(count, {**common, gen_ai.GEN_AI_TOKEN_TYPE: token_type}, exemplar)
