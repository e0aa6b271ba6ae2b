"""Turns calls into spans and metrics: names, labels, usage, cost. The only place that writes telemetry."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import perf_counter_ns, time_ns
from typing import Any, Final

from opentelemetry import context as otel_context
from opentelemetry import metrics
from opentelemetry.baggage import get_all as all_baggage
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, Status, StatusCode, TracerProvider, set_span_in_context

from spanledger.instrumentation import _attributes
from spanledger.instrumentation._answer import Answer, Counted, Endpoint
from spanledger.instrumentation._bodies import document_of
from spanledger.instrumentation._call import FAILED, FINISHED, Call, current_call, identities
from spanledger.instrumentation._clients import ClientFacts
from spanledger.instrumentation._finisher import Job
from spanledger.instrumentation._labels import block_labels, client_labels, from_baggage, without_our_baggage
from spanledger.instrumentation._prices import Prices
from spanledger.instrumentation._problems import Problems
from spanledger.instrumentation._settings import Settings
from spanledger.instrumentation._spans import Spans
from spanledger.semconv import gen_ai, names
from spanledger.semconv.cost import Cost
from spanledger.semconv.places import place
from spanledger.semconv.usage import Usage

_log = logging.getLogger(__name__)

# Set by `opentelemetry.instrumentation.utils.suppress_instrumentation`; the API keeps the key's name to itself.
_SUPPRESS_KEYS: Final = tuple(
    key
    for key in ("suppress_instrumentation", getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", None))
    if key is not None
)
# Whose usage document says what was charged; a gateway's own figure under the same name is no invoice.
_BILLERS_THAT_TELL: Final = frozenset(["xai", "openrouter", "perplexity"])
_DURATION_BUCKETS: Final = tuple(0.01 * 2**power for power in range(14))
_TOKEN_BUCKETS: Final = tuple(4**power for power in range(14))


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
        self.forked_ns = 0
        """When this process was forked off (`perf_counter_ns`), else 0: calls that started before are its parent's."""
        self._prices = prices
        self._is_deferred = defer is not None
        self.submit = defer or self._complete_here
        """Takes an ended call, to complete it now or in the background."""
        self._problems = problems
        self._spans = Spans(names.SCOPE, version, tracer_provider, may_build_late=self._is_deferred)
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
        if current:
            for key in _SUPPRESS_KEYS:
                if current.get(key):
                    return None
        call = Call()
        call.recorder = self
        call.endpoint = endpoint
        call.facts = facts
        call.context = current
        outer = current_call.get()
        if outer is not None and outer.endpoint.yields:
            call.around = outer
            outer.is_covered = True
        model = body.get("model")
        call.model = model = model if isinstance(model, str) else ""
        call.billed = billed = facts.billed(model)
        call.is_stream = body.get("stream") is True
        call.request = {key: body[key] for key in endpoint.request_keys if key in body}
        call.block_labels = block_labels()
        call.client_labels = client_labels(client)
        if endpoint.tool_results is not None:
            call.tool_results = endpoint.tool_results(body)
        if endpoint.counts_of_request is not None:
            call.counts = endpoint.counts_of_request(body)
        if self.settings.capture_content and endpoint.input_messages is not None:
            call.input = endpoint.input_messages(body)
        if self._prices is not None and model and not self._is_deferred:
            self._prices.prefetch(provider=billed.provider, model=model)
        call.started_wall_ns = time_ns()
        call.started_ns = perf_counter_ns()
        inner = without_our_baggage(current) if current else current
        if endpoint.starts_late:
            call.span = None
        else:
            call.span = self._start_span(call, current)
            inner = set_span_in_context(call.span, inner)
        call.tokens = (current_call.set(call), otel_context.attach(inner))
        call.opened()
        return call

    def _start_span(self, call: Call, parent: Context) -> Span:
        # What samplers decide by; every attribute costs a microsecond here, so the rest comes at the end.
        attributes: dict[str, Any] = {
            gen_ai.GEN_AI_OPERATION_NAME: call.endpoint.operation,
            gen_ai.GEN_AI_PROVIDER_NAME: call.billed.otel_name,
        }
        name = call.endpoint.operation
        if call.model:  # an agent's model, or the provider's default one, is not in the request
            attributes[gen_ai.GEN_AI_REQUEST_MODEL] = call.model
            name = f"{name} {call.model}"
        return self._spans.start(name, parent, attributes, call.started_wall_ns)

    def leave(self, call: Call) -> None:
        """The request was sent or failed: the call is no longer the current one."""
        if call.tokens is not None:
            ours, theirs = call.tokens
            call.tokens = None
            otel_context.detach(theirs)
            try:
                current_call.reset(ours)
            except ValueError:  # a coroutine that somebody drives in another context than it began in
                current_call.set(None)

    def _complete_here(self, call: Job) -> None:
        call.complete(may_block=False)

    def failed(self, doing: str, error: Exception) -> None:
        """An error of our own, met in the application's thread."""
        self._problems.ours(doing, error)

    def witness(self, source: Call, endpoint: Endpoint, answer: Answer, made_ns: int) -> None:
        """Record a call that was made elsewhere, whose answer came with that of another one (a batch's results).

        Args:
            source: the request that brought the answer.
            endpoint: how to read its usage.
            answer: the answer.
            made_ns: when the call was made, ns since the epoch; 0: now.
        """
        call = Call()
        call.recorder, call.endpoint, call.facts, call.context = self, endpoint, source.facts, source.context
        call.span = call.tokens = None
        call.model = ""
        call.billed = source.facts.billed(answer.model)
        call.is_stream = False
        call.request = {}
        call.block_labels, call.client_labels = source.block_labels, source.client_labels
        call.answer = answer
        call.started_wall_ns = made_ns or time_ns()
        call.started_ns = perf_counter_ns()
        call.opened()
        call.finish()

    def _witness_all(self, call: Call) -> None:
        """Record the answers in a file."""
        assert call.endpoint.read_items is not None
        for endpoint, answer, made_ns in call.endpoint.read_items(call.document or b""):
            self.witness(call, endpoint, answer, made_ns)

    def complete(self, call: Call, *, may_block: bool) -> None:
        """Write the call's span and metrics; where it may block, prices are resolved for it.

        Errors of our own end here: counted, and the span is ended all the same.
        """
        ended_ns = call.started_wall_ns + call.ended_ns - call.started_ns
        span = call.span
        try:
            if call.endpoint.read_items is not None:
                self._witness_all(call)
                return
            answer = self._read(call)
            if answer is None:
                return
            if call.counts and call.outcome == FINISHED:
                answer.counts = {**call.counts, **(answer.counts or {})}
            counted = call.endpoint.read_usage(answer)
            if span is None:
                if not answer.is_billable:
                    return
                call.model = call.model or answer.model
                span = self._start_span(call, call.context)
            if span.is_recording():
                span.set_attributes(self._attributes_of(call, answer, counted, may_block))
                if call.outcome == FAILED or answer.error_type:
                    span.set_status(Status(StatusCode.ERROR, call.error_code or answer.error_type))
            self._measure(call, answer, counted.usage)
        except Exception as error:  # noqa: BLE001 - the boundary: nothing of ours may harm the application
            self._problems.ours("completing a call", error)
        finally:
            if span is not None:
                span.end(ended_ns)

    def _read(self, call: Call) -> Answer | None:
        """What was answered; ``None`` when that makes no call of it."""
        if call.answer is not None:
            return call.answer
        if call.reader is not None:
            return call.reader.answer(is_complete=call.outcome == FINISHED)
        if call.document is not None:
            return call.endpoint.read(document_of(call.document), captures=self.settings.capture_content)
        if call.endpoint.starts_late and not call.endpoint.yields:
            return None
        return Answer(is_partial=call.outcome != FAILED)  # nothing was read of an answer that may be billed

    def _attributes_of(self, call: Call, answer: Answer, counted: Counted, may_block: bool) -> dict[str, Any]:
        found: dict[str, Any] = {**call.facts.constant, **call.endpoint.attributes}
        found[names.PROVIDER] = call.billed.provider
        if call.endpoint.read_request is not None:
            call.endpoint.read_request(call.request, found)
        if call.is_stream:
            found[names.IS_STREAM] = True
            if call.first_chunk_ns:
                found[gen_ai.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK] = (call.first_chunk_ns - call.started_ns) / 1e9
        if call.http_headers is not None:
            found.update(identities(call.http_headers))
        if call.headers:
            found.update(call.headers)
        if call.status_code is not None:
            found[names.HTTP_STATUS] = call.status_code
        if call.resends:
            found[names.HTTP_RESENDS] = call.resends
        _attributes.of_answer(answer, found)
        _attributes.of_usage(counted.usage, found)
        tool_calls = [*(call.tool_results or ()), *answer.tool_calls]
        if tool_calls:
            found[names.TOOL_CALLS] = _attributes.tool_calls(tool_calls, with_content=self.settings.capture_content)
        notes = call.notes + answer.notes + counted.notes
        if notes:
            found[names.NOTES] = notes
        if error_type := call.error_type or answer.error_type:
            found[_attributes.ERROR_TYPE] = error_type
        try:
            cost = self._cost(call, answer, counted, found.get(gen_ai.GEN_AI_REQUEST_MAX_TOKENS), may_block)
        except Exception as error:  # noqa: BLE001 - the boundary: usage is recorded without a cost, the ledger prices it
            self._problems.ours("pricing a call", error)
        else:
            if cost is not None:
                _attributes.of_cost(cost, found)
        if self.settings.capture_content:
            _attributes.of_content(call.input, answer, found)
        found.update(self.settings.labels)
        if self.settings.baggage and call.context:
            found.update(from_baggage(all_baggage(call.context)))
        found.update(call.client_labels)
        found.update(call.block_labels)
        return found

    def _cost(
        self, call: Call, answer: Answer, counted: Counted, max_output_tokens: int | None, may_block: bool
    ) -> Cost | None:
        provider = call.billed.provider
        if counted.exact_cost_usd is not None and provider in _BILLERS_THAT_TELL:
            return _attributes.exact_cost(counted.exact_cost_usd)
        model = answer.model or call.model
        if self._prices is None or not model or not counted.usage.is_known:
            return None
        price = self._prices.price if may_block else self._prices.try_price
        return price(
            counted.usage,
            provider=provider,
            model=model,
            at_ns=call.started_wall_ns,
            service_tier=answer.service_tier,
            is_batch=answer.is_batch,
            max_output_tokens=max_output_tokens,
            # as the ledger prices it: where the answer's name has no price (an inference profile), the asked one may
            request_model=call.model if answer.model else "",
            inference_geo=place(provider, answer.inference_geo, call.facts.server.get("server.address", "")),
        )

    def _measure(self, call: Call, answer: Answer, usage: Usage) -> None:
        facts = call.facts
        common: dict[str, Any] = {
            gen_ai.GEN_AI_OPERATION_NAME: call.endpoint.operation,
            gen_ai.GEN_AI_PROVIDER_NAME: call.billed.otel_name,
            **facts.server,
        }
        if call.model:
            common[gen_ai.GEN_AI_REQUEST_MODEL] = call.model
        if answer.model:
            common[gen_ai.GEN_AI_RESPONSE_MODEL] = answer.model
        timed = common
        if error_type := call.error_type or answer.error_type:
            timed = {**common, _attributes.ERROR_TYPE: error_type}
        # The span's context lets exemplars point at it; metrics do not depend on its being sampled.
        exemplar = set_span_in_context(call.span, call.context) if call.span is not None else call.context
        if not answer.is_batch:
            self._durations.record((call.ended_ns - call.started_ns) / 1e9, timed, exemplar)
        if call.first_chunk_ns:
            self._first_chunks.record((call.first_chunk_ns - call.started_ns) / 1e9, common, exemplar)
        for token_type, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            if count is not None:
                self._token_counts.record(count, {**common, gen_ai.GEN_AI_TOKEN_TYPE: token_type}, exemplar)
