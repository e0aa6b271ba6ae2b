"""One process, one variant: instruments itself, then runs blocks of calls as it is told, one JSON line for each.

Started by `run.py`; ``--startup`` measures a fresh process instead.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from peers import client_classes, switch_on
from provider import DELTAS, PROMPT, http_client

MESSAGES = [{"role": "user", "content": PROMPT}]
BLOCK = {"openai": 30, "anthropic": 30, "openai stream": 5, "anthropic stream": 5}


def instrument(variant: str, tracer_provider: Any, meter_provider: Any) -> Callable[[], object]:
    """Switch a variant on; returns what flushes it."""
    if variant.startswith("spanledger"):
        from spanledger import instrumentation

        instrumentation.instrument(tracer_provider=tracer_provider, meter_provider=meter_provider)
        return instrumentation.flush
    switch_on(variant.partition("+")[0], tracer_provider, meter_provider, discarding_processor)
    return lambda: None


def discarding_processor() -> Any:
    """A batch processor that throws spans away."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Discard(SpanExporter):
        def export(self, spans: Any) -> Any:
            return SpanExportResult.SUCCESS

    return BatchSpanProcessor(Discard())


def providers(*, metrics: bool) -> tuple[Any, Any]:
    """A tracer provider whose batch processor throws spans away, and a meter provider where wanted."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(discarding_processor())
    trace.set_tracer_provider(tracer_provider)
    if not metrics:
        return tracer_provider, None
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    return tracer_provider, MeterProvider(metric_readers=[InMemoryMetricReader()])


def calls(variant: str) -> dict[str, Callable[[], tuple[float, ...]]]:
    """One call by scenario; each returns its marks: start, end, and for streams the first and the last chunk."""
    openai, anthropic = client_classes(variant)
    chat = openai(api_key="none", max_retries=0, http_client=http_client("openai")).chat.completions
    messages = anthropic(api_key="none", max_retries=0, http_client=http_client("anthropic")).messages
    asked = {"model": "gpt-4o", "messages": MESSAGES, "temperature": 0.2, "max_completion_tokens": 400, "top_p": 0.9}
    told = {"model": "claude-haiku-4-5", "messages": MESSAGES, "max_tokens": 400, "stop_sequences": ["END"]}
    clock = time.perf_counter

    def direct(make: Callable[[], Any]) -> tuple[float, ...]:
        start = clock()
        make()
        return start, clock()

    def stream(make: Callable[[], Any], total: int) -> tuple[float, ...]:
        start = clock()
        chunks = iter(make())
        next(chunks)
        first = last = clock()
        seen = 1
        for _ in chunks:
            seen += 1
            if seen == total:
                last = clock()
        assert seen == total, seen
        return start, clock(), first, last

    usage = {"stream_options": {"include_usage": True}}
    return {
        "openai": lambda: direct(lambda: chat.create(**asked)),
        "anthropic": lambda: direct(lambda: messages.create(**told)),
        "openai stream": lambda: stream(lambda: chat.create(stream=True, **usage, **asked), DELTAS + 2),
        "anthropic stream": lambda: stream(lambda: messages.create(stream=True, **told), DELTAS + 5),
    }


def measure(call: Callable[[], tuple[float, ...]], count: int, flush: Callable[[], None]) -> dict[str, float]:
    """Medians of a block, in microseconds: wall time in the calling thread, its CPU, and the process's with a flush."""
    for _ in range(max(1, count // 10)):
        call()
    flush()
    thread, process = time.thread_time_ns(), time.process_time_ns()
    marks = [call() for _ in range(count)]
    thread = time.thread_time_ns() - thread
    flush()
    process = time.process_time_ns() - process
    found = {
        "wall": statistics.median(mark[1] - mark[0] for mark in marks) * 1e6,
        "thread": thread / count / 1e3,
        "process": process / count / 1e3,
    }
    if len(marks[0]) == 4:
        found["first"] = statistics.median(mark[2] - mark[0] for mark in marks) * 1e6
        found["chunk"] = statistics.median(mark[3] - mark[2] for mark in marks) * 1e6 / DELTAS
        found["last"] = statistics.median(mark[1] - mark[3] for mark in marks) * 1e6
    return found


def resident_mib() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant")
    parser.add_argument("--startup", action="store_true")
    options = parser.parse_args()
    metrics = options.variant.endswith("+metrics")
    # What peers print goes nowhere, to them as to us.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    for sdk in BLOCK:
        importlib.import_module(sdk.split()[0])
    tracer_provider, meter_provider = providers(metrics=metrics)
    before, memory, modules = time.perf_counter(), resident_mib(), len(sys.modules)
    bare = options.variant.startswith("bare")
    flush_variant = (lambda: None) if bare else instrument(options.variant, tracer_provider, meter_provider)
    ready = time.perf_counter()
    by_scenario = calls(options.variant)

    def flush() -> None:
        flush_variant()
        tracer_provider.force_flush()

    if options.startup:
        found = {"setup_ms": (ready - before) * 1e3, "modules": len(sys.modules) - modules}
        found["setup_mib"] = resident_mib() - memory
        for call in by_scenario.values():
            for _ in range(20):
                call()
        flush()
        gc.collect()
        print(json.dumps({**found, "end_mib": resident_mib()}), file=out, flush=True)
        os._exit(0)
    print(json.dumps({"ready": True}), file=out, flush=True)
    for line in sys.stdin:
        scenario = line.strip()
        print(json.dumps(measure(by_scenario[scenario], BLOCK[scenario], flush)), file=out, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
