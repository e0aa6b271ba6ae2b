"""Starts spans without building them: the calling thread gets ids and a sampling decision, the rest is made later.

Of what OpenTelemetry's SDK does when a span starts, a caller needs only the span's context: it becomes the parent of
what happens inside and goes out in headers. Building the object that is recorded takes several times as long, so that
is left to whoever touches it first: usually the thread that completes calls. It is built by the SDK's own tracer then,
which is told the ids and the decision.

Where anybody watches spans start (a span processor with an ``on_start`` of its own), where the tracer is not the SDK's,
or where calls are completed in the caller's thread, spans are built at once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import (
    ProxyTracerProvider,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TracerProvider,
)
from opentelemetry.util.types import Attributes, AttributeValue

_CLIENT: Final = SpanKind.CLIENT
_SDK: Final = "opentelemetry.sdk.trace"
_SAMPLING: Final = f"{_SDK}.sampling"
_NEVER: Final = object()
_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_DROPPED: Final = TraceFlags(TraceFlags.DEFAULT)
# W3C Trace Context level 2: the trace id is random. SDKs before 1.40 know nothing of it.
_RANDOM: Final[int] = getattr(TraceFlags, "RANDOM_TRACE_ID", 0)
# The `on_start` of these does nothing.
_IDLE_AT_START: Final = (
    (_SDK, "SpanProcessor"),
    (f"{_SDK}.export", "BatchSpanProcessor"),
    (f"{_SDK}.export", "SimpleSpanProcessor"),
)


class Spans:
    """Starts the spans of calls. Thread-safe.

    Args:
        scope: the instrumentation scope's name.
        version: its version.
        provider: where spans go; OpenTelemetry's global provider by default, also one that is set later.
        may_build_late: whether another thread than the caller's completes calls.
    """

    def __init__(self, scope: str, version: str, provider: TracerProvider | None, *, may_build_late: bool) -> None:
        self._get_tracer = partial(trace.get_tracer, scope, version, provider)
        self._tracer: Any = self._get_tracer()
        self._is_settled = provider is not None
        self._may_build_late = may_build_late
        self._processors: Any = _NEVER
        self._is_unwatched = False

    def start(self, name: str, parent: Context, attributes: Mapping[str, AttributeValue], start_ns: int) -> Span:
        """A client span with a parent and a start time (ns since the epoch); ``attributes`` is what samplers see."""
        if not self._is_settled and not isinstance(trace.get_tracer_provider(), ProxyTracerProvider):
            self._tracer = self._get_tracer()
            self._is_settled = True
        tracer = self._tracer
        if self._may_build_late and self._nobody_watches(tracer) and getattr(tracer, "_is_enabled", _yes)():
            return _start_late(tracer, name, parent, attributes, start_ns)
        span: Span = tracer.start_span(name, parent, _CLIENT, attributes, start_time=start_ns)
        return span

    def _nobody_watches(self, tracer: Any) -> bool:
        """Whether no span processor does anything when a span starts; looked up again when one was added."""
        processors = getattr(getattr(tracer, "span_processor", None), "_span_processors", None)
        if processors is not self._processors:
            self._is_unwatched = _is_unwatched(tracer, processors)
            self._processors = processors
        return self._is_unwatched


def _yes() -> bool:
    return True


def _is_unwatched(tracer: Tracer, processors: Any) -> bool:
    sdk = sys.modules.get(_SDK)
    if sdk is None or type(tracer) is not sdk.Tracer or not isinstance(processors, tuple):
        return False
    idle = {
        getattr(found, name).on_start
        for module, name in _IDLE_AT_START
        if (found := sys.modules.get(module)) is not None
    }
    kinds: list[Any] = [type(one) for one in processors]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return all(kind.on_start in idle for kind in kinds)


def _start_late(tracer: Any, name: str, parent: Context, attributes: Attributes, start_ns: int) -> Span:
    """Decide what the SDK's `Tracer.start_span` decides, in its order, and leave the building to `LateSpan`."""
    outer = trace.get_current_span(parent).get_span_context()
    ids = tracer.id_generator
    if outer.is_valid:
        trace_id = outer.trace_id
        random = outer.trace_flags & _RANDOM
    else:
        trace_id = ids.generate_trace_id()
        random = _RANDOM if _RANDOM and ids.is_trace_id_random() else 0
    sampler = tracer.sampler
    if sampler is sys.modules[_SAMPLING].DEFAULT_ON and (not outer.is_valid or outer.trace_flags.sampled):
        # What the default sampler says then needs no asking, which would take as long as all the rest of this.
        decided = None
        flags, state = _SAMPLED, outer.trace_state
    else:
        decided = sampler.should_sample(parent, trace_id, name, _CLIENT, attributes, ())
        flags = _SAMPLED if decided.decision.is_sampled() else _DROPPED
        state = decided.trace_state
    if random:
        flags = TraceFlags(flags | random)
    context = SpanContext(trace_id, ids.generate_span_id(), False, flags, state)
    build = partial(_build, tracer, context, decided, name, parent, attributes, start_ns)
    return LateSpan(context, build) if decided is None or decided.decision.is_recording() else build()


def _build(
    tracer: Any,
    context: SpanContext,
    decided: Any,
    name: str,
    parent: Context,
    attributes: Attributes,
    start_ns: int,
) -> Span:
    told = object.__new__(tracer.__class__)
    told.__dict__.update(tracer.__dict__)  # what `copy.copy` does, in a tenth of the time
    told.id_generator = _Chosen(context)
    if decided is not None:
        told.sampler = _Asked(decided)
    span: Span = told.start_span(name, parent, _CLIENT, attributes, start_time=start_ns)
    return span


class _Chosen:
    """An id generator that has the ids of one span."""

    __slots__ = ("_context",)

    def __init__(self, context: SpanContext) -> None:
        self._context = context

    def generate_trace_id(self) -> int:
        return self._context.trace_id

    def generate_span_id(self) -> int:
        return self._context.span_id

    def is_trace_id_random(self) -> bool:
        return bool(self._context.trace_flags & _RANDOM)


class _Asked:
    """A sampler that was asked before, with what it said."""

    __slots__ = ("_result",)

    def __init__(self, result: Any) -> None:
        self._result = result

    def should_sample(self, *_asked: Any, **_named: Any) -> Any:
        return self._result


class LateSpan(Span):
    """A recording span that is built when it is first touched; everything but its context is asked of the built one.

    Args:
        context: the span's context.
        build: makes the SDK's span with this context; idempotent but for its cost.
    """

    def __init__(self, context: SpanContext, build: Callable[[], Span]) -> None:
        self._context = context
        self._build = build

    def get_span_context(self) -> SpanContext:
        return self._context

    def is_recording(self) -> bool:
        built = self.__dict__.get("_built")
        return built is None or built.is_recording()

    def built(self) -> Any:
        """The SDK's span."""
        known = vars(self)
        if "_built" not in known:
            # Two threads may both make one, nobody else has seen either: no lock that a fork could leave held.
            known.setdefault("_built", self._build())
        return known["_built"]

    def end(self, end_time: int | None = None) -> None:
        self.built().end(end_time)

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        self.built().set_attributes(attributes)

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        self.built().set_attribute(key, value)

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        self.built().add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        self.built().add_link(context, attributes)

    def update_name(self, name: str) -> None:
        self.built().update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        self.built().set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        self.built().record_exception(exception, attributes, timestamp, escaped)

    def __getattr__(self, name: str) -> Any:
        # What the SDK's span has beside the API: `name`, `attributes`, `parent`, ...
        if name.startswith("__") or name == "_build":
            raise AttributeError(name)
        return getattr(self.built(), name)
