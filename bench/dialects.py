"""How fast spans of each dialect are read, beside our own. Prints CPU time; nothing depends on the numbers.

    python bench/dialects.py CAPTURES [--rounds 20]

CAPTURES holds `<family>/<scenario>.otlp.pb` (and `.logs.otlp.pb`) as `scripts/conformance.py` scores them. Records that
say nothing about a model call are left out of a dialect's figure and counted beside it. Our own spans are a chat call
with cached and reasoning tokens as the instrumentation writes it: ids and counts differ from span to span.
"""

from __future__ import annotations

import argparse
import collections
import gc
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from spanledger.collector.decode import Decoder
from spanledger.collector.otlp_files import Problems, read_pieces
from spanledger.collector.signals import Signal
from spanledger.instrumentation._attributes import of_cost, of_usage
from spanledger.semconv import names
from spanledger.semconv.dialects import Dialects
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.records import LogEntry, Source, SpanRecord
from spanledger.semconv.usage import Usage

RECORDS = 1_000
"""About how many records of a dialect are read."""
BATCH = 50
"""Records that come in one request, under one resource."""
NOW_NS = 1_794_700_800_000_000_000
IDS = ("gen_ai.response.id", "ai.response.id", "anthropic.request.id", "aws.request_id", "litellm.call_id")


@dataclass(slots=True)
class Group:
    """The records that one dialect makes observations of, and those of the same emitters that it refuses."""

    spans: list[SpanRecord] = field(default_factory=list[SpanRecord])
    logs: list[LogEntry] = field(default_factory=list[LogEntry])


def captured(captures: Path) -> tuple[dict[str, Group], Group]:
    """Records by dialect, and those that say nothing about a model call."""
    dialects, decoder = Dialects(), Decoder()
    groups: dict[str, Group] = collections.defaultdict(Group)
    nothing = Group()
    for file in sorted(captures.glob("*/*.otlp.pb")):
        if ".metrics." in file.name or file.name.startswith("_"):
            continue
        with file.open("rb") as stream:
            for piece in read_pieces(stream, Problems()):
                if piece.signal is Signal.TRACES:
                    for span in decoder.spans(piece.body):
                        seen = dialects.read_span(span)
                        (groups[seen.dialect] if seen else nothing).spans.append(span)
                elif piece.signal is Signal.LOGS:
                    for entry in decoder.logs(piece.body):
                        seen = dialects.read_log(entry)
                        (groups[seen.dialect] if seen else nothing).logs.append(entry)
    return groups, nothing


def own(count: int) -> list[SpanRecord]:
    """Spans as our own instrumentation writes them, usage and cost by its own functions."""
    rng = random.Random(3)
    book = PriceBook()
    source = Source({"service.name": "shop", "deployment.environment.name": "production"}, names.SCOPE, "0.1.0")
    made: list[SpanRecord] = []
    for _ in range(count):
        uncached, read, text, thought = (rng.randrange(1, 5_000) for _ in range(4))
        usage = Usage(input_uncached=uncached, cache_read=read, output_text=text, reasoning=thought)
        attributes: dict[str, Any] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-4o-mini",
            "server.address": "api.openai.com",
            "server.port": 443,
            "spanledger.sdk": "openai",
            "spanledger.sdk.version": "3.1.0",
            names.API_KEY_FINGERPRINT: "5f2c1b7e9a30",
            names.TEAM_ID: "search",
            names.FEATURE: "answers",
            names.SESSION_ID: rng.randbytes(8).hex(),
            "gen_ai.request.max_tokens": 4_096,
            "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
            "gen_ai.response.id": f"chatcmpl-{rng.randbytes(14).hex()}",
            "gen_ai.response.finish_reasons": ["stop"],
            names.SERVICE_TIER: "default",
            names.REQUEST_ID: f"req_{rng.randbytes(12).hex()}",
        }
        of_usage(usage, attributes)
        of_cost(book.price(usage, provider="openai", model="gpt-4o-mini", at_ns=NOW_NS), attributes)
        record = SpanRecord(
            rng.randbytes(16), rng.randbytes(8), b"", "chat", 3, NOW_NS, NOW_NS + 10**9, 0, "", attributes, (), source
        )
        made.append(record)
    return made


def copies(records: Sequence[Any], times: int) -> list[Any]:
    """The same records again and again, each with ids of its own where it has ids."""
    rng = random.Random(5)
    made: list[Any] = []
    for _ in range(times):
        for record in records:
            attributes = dict(record.attributes)
            for name in IDS:
                if isinstance(attributes.get(name), str):
                    attributes[name] = attributes[name][:-8] + rng.randbytes(4).hex()
            made.append(replace(record, attributes=attributes))
    return made


def in_requests(records: Sequence[Any]) -> list[list[Any]]:
    """The records as requests bring them: each source's together, `BATCH` of them under an own copy of the source."""
    by_source: dict[int, list[Any]] = collections.defaultdict(list)
    for record in records:
        by_source[id(record.source)].append(record)
    made: list[list[Any]] = []
    for group in by_source.values():
        for start in range(0, len(group), BATCH):
            source = replace(group[0].source)
            made.append([replace(record, source=source) for record in group[start : start + BATCH]])
    return made


def microseconds(spans: Sequence[SpanRecord], logs: Sequence[LogEntry], rounds: int) -> float:
    """CPU microseconds for one record, shapes known, without the garbage collector.

    Each request counts with the best of its rounds: what was decoded a moment ago is in the processor's cache.
    """
    dialects = Dialects()
    spent = 0.0
    gc.disable()
    try:
        for read, records in ((dialects.read_span, spans), (dialects.read_log, logs)):
            for request in in_requests(records):
                best = float("inf")
                for _ in range(rounds):
                    source = replace(request[0].source)  # a request brings an own one
                    for record in request:
                        record.source = source
                    began = time.process_time()
                    for record in request:
                        read(record)
                    best = min(best, time.process_time() - began)
                spent += best
            gc.collect()
    finally:
        gc.enable()
    return spent / (len(spans) + len(logs)) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("captures", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    groups, nothing = captured(arguments.captures)
    ours = microseconds(own(RECORDS), (), arguments.rounds)
    print(f"{'spanledger, our own spans':32} {ours:7.2f} µs   {1e6 / ours:9,.0f} records per CPU-second")
    weighted = count = 0.0
    for name, group in sorted(groups.items()):
        records = len(group.spans) + len(group.logs)
        times = max(2, RECORDS // records)
        each = microseconds(copies(group.spans, times), copies(group.logs, times), arguments.rounds)
        weighted, count = weighted + each, count + 1
        print(
            f"{name:32} {each:7.2f} µs   {1e6 / each:9,.0f} records per CPU-second   {each / ours:5.2f} x our own"
            f"   {records} captured"
        )
    each = microseconds(copies(nothing.spans, 4), copies(nothing.logs, 4), arguments.rounds)
    print(f"{'(nothing about a model call)':32} {each:7.2f} µs   {1e6 / each:9,.0f} records per CPU-second")
    print(f"{'mean of the foreign dialects':32} {weighted / count:7.2f} µs   {weighted / count / ours:5.2f} x our own")


if __name__ == "__main__":
    main()
