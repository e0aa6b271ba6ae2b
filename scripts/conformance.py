"""Does the ledger count each billable call once, with the right tokens? Scored in-process on captured telemetry.

    python scripts/conformance.py CAPTURES [--list] [--family F] [--show F/S] [--page docs/conformance.md]

CAPTURES holds `<family>/<scenario>.otlp.pb` (also `.logs.otlp.pb`, `.otlp.json`), `<scenario>.truth.json` with the
calls that the provider billed, and `INDEX.json` with the number of spans that carry usage. Records are decoded by the
collector, read by the dialects and settled by the ledger's rules; no store is involved.

  count   the ledger has exactly as many billable calls as the provider served (failed attempts do not count)
  tokens  for every call whose usage was on the wire: input, cache read, cache write and output match the truth
  sum     the ledger's token sum over the truth's: 1.000 is right, above is double counting
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

from spanledger.collector.decode import Decoder
from spanledger.collector.decode_json import JsonDecoder
from spanledger.collector.otlp_files import Problems, read_pieces
from spanledger.collector.signals import Encoding, Signal
from spanledger.ledger.settlement import Evidence, SettledCall, settle
from spanledger.semconv.dialects import Dialects
from spanledger.semconv.observation import Observation

RECEIVED_NS: Final = 1_800_000_000_000_000_000
_TRUE_TOKENS: Final = ("input_tokens", "cache_read_tokens", "cache_creation_tokens", "output_tokens")

Tokens = tuple[int | None, int | None, int | None, int | None]
"""Input (all classes), cache read, cache write, output."""
Link = tuple[bytes, bytes, bytes]
"""Trace, span and parent id of a span that is not about a model call."""


@dataclass(slots=True)
class Row:
    """One settled call, as the comparison needs it."""

    call: SettledCall
    tokens: Tokens

    @property
    def response_id(self) -> str:
        return self.call.merged.response_id

    @property
    def is_billed(self) -> bool:
        return self.call.merged.status != "error" or bool(self.tokens[3])


@dataclass(slots=True)
class Result:
    """One scenario: what the provider billed and what the ledger shows."""

    family: str
    name: str
    truth: list[dict[str, Any]]
    rows: list[Row]
    usage_spans: int
    count_ok: bool
    tokens_ok: bool


def read_scenario(scenario: Path, dialects: Dialects) -> tuple[list[Observation], list[Link], set[bytes]]:
    """What a scenario's files say: observations, places of other spans, and the ids of all its traces."""
    found: list[Observation] = []
    links: list[Link] = []
    traces: set[bytes] = set()
    decoders: dict[Encoding, Decoder | JsonDecoder] = {Encoding.PROTOBUF: Decoder(), Encoding.JSON: JsonDecoder()}
    for file in sorted(scenario.parent.glob(f"{scenario.name}.*")):
        if not file.name.endswith((".otlp.pb", ".otlp.json")) or file.name.split(".")[1] == "metrics":
            continue
        with file.open("rb") as stream:
            for piece in read_pieces(stream, Problems()):
                decoder = decoders[piece.encoding]
                if piece.signal is Signal.TRACES:
                    for span in decoder.spans(piece.body):
                        traces.add(span.trace_id)
                        observation = dialects.read_span(span)
                        if observation is None:
                            links.append((span.trace_id, span.span_id, span.parent_span_id))
                        else:
                            found.append(observation)
                elif piece.signal is Signal.LOGS:
                    for entry in decoder.logs(piece.body):
                        traces.add(entry.trace_id)
                        observation = dialects.read_log(entry)
                        if observation is not None:
                            found.append(observation)
    return found, links, traces - {b""}


def settle_family(observations: Sequence[Observation], links: Sequence[Link]) -> list[SettledCall]:
    """All calls that a family's evidence witnesses, as if it had been imported into one org."""
    for observation in observations:
        observation.received_ns = RECEIVED_NS
    evidence = [Evidence(content, observation) for content, observation in enumerate(observations)]
    parents = {(trace, span): parent for trace, span, parent in links}
    return list(settle(evidence, parents).calls)


def row(call: SettledCall) -> Row:
    usage = call.merged.usage
    return Row(call, (usage.input_tokens, usage.cache_read, usage.cache_write_tokens, usage.output_tokens))


def compare(truth: Sequence[Mapping[str, Any]], rows: Sequence[Row], usage_spans: int) -> tuple[bool, bool]:
    """Whether the number of calls and their tokens are right; without an answer on the wire, that none is invented."""
    billed = [r for r in rows if r.is_billed]
    answerable = usage_spans >= sum(call.get("stream_usage_sent") is not False for call in truth)
    if len(billed) > len(truth) or (answerable and len(billed) < len(truth)):
        return False, False
    left = list(truth)

    def fits(have: Tokens, call: Mapping[str, Any]) -> bool:
        want = [call[name] for name in _TRUE_TOKENS]
        if not answerable or call.get("stream_usage_sent") is False:
            return all(h is None or h == w for h, w in zip(have, want, strict=True))
        core = have[0] == want[0] and have[3] == (want[3] or have[3])
        return core and all(h == w or (h is None and not w) for h, w in zip(have[1:3], want[1:3], strict=True))

    for found in sorted(billed, key=lambda r: not r.response_id):
        same_id = [c for c in left if found.response_id and found.response_id == c["response_id"]]
        call = next((c for c in (*same_id, *left) if fits(found.tokens, c)), None)
        if call is None:
            return True, False
        left.remove(call)
    return True, True


def score(captures: Path, families: Sequence[str]) -> list[Result]:
    """Every scenario of the captures, or of some families."""
    index = json.loads((captures / "INDEX.json").read_text())
    usage_spans = {(entry["family"], entry["scenario"]): entry["usage_spans"] for entry in index}
    results: list[Result] = []
    for family in sorted(p for p in captures.iterdir() if p.is_dir() and (not families or p.name in families)):
        dialects = Dialects()
        observations: list[Observation] = []
        links: list[Link] = []
        scenarios: list[tuple[Path, list[dict[str, Any]], set[bytes]]] = []
        for truth_file in sorted(family.glob("*.truth.json")):
            scenario = truth_file.with_name(truth_file.name.removesuffix(".truth.json"))
            found, places, traces = read_scenario(scenario, dialects)
            observations += found
            links += places
            truth = [c for c in json.loads(truth_file.read_text())["billable_calls"] if c.get("billable", True)]
            if traces:
                scenarios.append((scenario, truth, traces))
        by_trace: dict[bytes, list[Row]] = collections.defaultdict(list)
        for call in settle_family(observations, links):
            by_trace[call.merged.trace_id].append(row(call))
        for scenario, truth, traces in scenarios:
            rows = [found for trace in sorted(traces) for found in by_trace[trace]]
            spans = usage_spans.get((family.name, scenario.name), 0)
            count_ok, tokens_ok = compare(truth, rows, spans)
            results.append(Result(family.name, scenario.name, truth, rows, spans, count_ok, tokens_ok))
    return results


def sums(results: Sequence[Result]) -> tuple[int, int]:
    """Input and output tokens of all answerable scenarios: the ledger's and the truth's."""
    answerable = [r for r in results if r.usage_spans >= len(r.truth)]
    ours = sum((found.tokens[0] or 0) + (found.tokens[3] or 0) for r in answerable for found in r.rows)
    theirs = sum(
        call["input_tokens"] + call["output_tokens"]
        for r in answerable
        for call in r.truth
        if call.get("stream_usage_sent") is not False
    )
    return ours, theirs


def show(result: Result) -> None:
    print(f"{result.family}/{result.name}: {result.usage_spans} spans with usage")
    for call in result.truth:
        print("  truth ", [call[name] for name in _TRUE_TOKENS], call["response_id"], call.get("stream_usage_sent"))
    for found in result.rows:
        merged = found.call.merged
        print("  ledger", list(found.tokens), merged.response_id or "-", merged.request_id or "-", merged.status)
        for witness in found.call.witnesses:
            o = witness.evidence.observation
            tokens = row(SettledCall(o, witness.evidence, ())).tokens
            print(
                f"     {witness.role:9} {witness.reason:12} {o.dialect}/{o.scope_name} {o.role} {o.operation}"
                f" {o.request_model}|{o.response_model} {list(tokens)} id={o.response_id or '-'} {o.status}"
                f" {o.trace_id.hex()[:6]}:{o.span_id.hex()[:4]}<{o.parent_span_id.hex()[:4]} {o.notes}"
            )


_LOST: Final = (
    # Why the wire does not hold the answer: families, scenarios (patterns), reason.
    ("*", "*_stream_abandoned", "the stream was abandoned: the emitter saw the first output token only"),
    ("*", "*_stream_midfail", "the stream broke: the emitter saw the first output token only, or none"),
    ("otel_official_llamaindex", "*", "no span of a model call is emitted, only agent and tool spans"),
    (
        "otel_openai_v2",
        "openai_host_xai",
        "neither cached nor reasoning tokens are written; xAI bills reasoning beside them",
    ),
    ("otel_openai_v2", "*", "the emitter writes no cached tokens: the input is right, its split is not"),
    ("js_otel_openai", "*", "the emitter writes no cached tokens: the input is right, its split is not"),
    (
        "js_traceloop",
        "*stream*",
        "the emitter guesses the usage of streams, and nothing tells guesses from measurements",
    ),
    ("js_traceloop", "*", "the emitter writes no cached tokens: the input is right, its split is not"),
    ("js_vercel_ai_v5", "*", "the emitter writes no cached tokens of OpenAI: the input is right, its split is not"),
    ("openinference_mistral*", "*", "the emitter writes no cached tokens: the input is right, its split is not"),
    ("openllmetry_cohere", "*", "the emitter writes no cached tokens: the input is right, its split is not"),
    ("openllmetry_openai", "*cache_write", "the emitter writes no cache writes: the input is right, its split is not"),
    ("*bedrock", "bedrock_invoke_claude*", "InvokeModel: the emitter writes neither cache reads nor cache writes"),
    ("otel_botocore", "bedrock_invoke_claude*", "InvokeModel: the emitter writes neither cache reads nor cache writes"),
    ("openlit", "openai_host_xai", "the emitter writes no reasoning tokens, which xAI bills beside the output"),
    ("openllmetry_mistral", "mistral_embed", "one emitter has the usage, the other the id, in two traces"),
)


UNEXPLAINED: Final = "unexplained"


def reason(result: Result) -> str:
    """Why a scenario falls short."""
    for family, scenario, why in _LOST:
        if fnmatch(result.family, family) and fnmatch(result.name, scenario):
            return why
    return UNEXPLAINED


_ABOUT: Final = """
{total} scenarios of {families} families of emitters were captured from real libraries against a local server that keeps
its own billing log (`coding_agents_from_docs` was written after documentation). This page compares what the ledger
shows with what that server billed.
"""
_ABOUT_FAMILIES: Final = """
Families named `double_*` and `*_plus_*` run two instrumentations at once, so that each call is witnessed twice or more.
Where the wire holds no usage at all, the ledger has to show none: that counts as right. Times, resources and prompts of
the captures are the lab's; response ids are unique per scenario.
"""


def page(results: Sequence[Result]) -> str:
    """The public conformance page, in Markdown."""
    ours, theirs = sums(results)
    total, counted, right = len(results), sum(r.count_ok for r in results), sum(r.tokens_ok for r in results)
    families = len({r.family for r in results})
    lines = [
        "# Conformance",
        "",
        "Written by `scripts/conformance.py`; do not edit.",
        "",
        *textwrap.wrap(_ABOUT.format(total=total, families=families).strip(), 120),
        "",
        "| | |",
        "|---|---|",
        f"| scenarios with exactly the billed calls | {counted} of {total} ({counted / total:.1%}) |",
        f"| scenarios with the right tokens in every class | {right} of {total} ({right / total:.1%}) |",
        f"| tokens in the ledger over tokens billed | {ours / max(theirs, 1):.3f} |",
        "",
        *textwrap.wrap(_ABOUT_FAMILIES.strip(), 120),
        "",
        "## By family",
        "",
        "| family | dialects | scenarios | calls right | tokens right |",
        "|---|---|---|---|---|",
    ]
    by_family: dict[str, list[Result]] = collections.defaultdict(list)
    for result in results:
        by_family[result.family].append(result)
    for name, group in sorted(by_family.items()):
        dialects = sorted({w.evidence.observation.dialect for r in group for row in r.rows for w in row.call.witnesses})
        spoken = ", ".join(f"`{dialect}`" for dialect in dialects)
        counts = f"{sum(r.count_ok for r in group)} | {sum(r.tokens_ok for r in group)}"
        lines.append(f"| {name} | {spoken} | {len(group)} | {counts} |")
    lines += [
        "",
        "## What falls short, and why",
        "",
        "Input / cache read / cache write / output, billed and in the ledger (– is unknown).",
        "",
        "| scenario | billed | ledger | why |",
        "|---|---|---|---|",
    ]
    for result in results:
        if not (result.count_ok and result.tokens_ok):
            billed = "<br>".join(_figures([call[name] for name in _TRUE_TOKENS]) for call in result.truth)
            shown = "<br>".join(_figures(row.tokens) for row in result.rows) or "no call"
            lines.append(f"| {result.family}/{result.name} | {billed} | {shown} | {reason(result)} |")
    return "\n".join(lines) + "\n"


def _figures(tokens: Sequence[int | None]) -> str:
    return " / ".join("–" if value is None else str(value) for value in tokens)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", type=Path)
    parser.add_argument("--family", action="append", default=[], help="score only this family (repeatable)")
    parser.add_argument("--list", action="store_true", help="print every scenario that falls short")
    parser.add_argument("--show", help="print the evidence of FAMILY/SCENARIO, or of every one that falls short: 'bad'")
    parser.add_argument("--page", type=Path, help="write the public conformance page there")
    args = parser.parse_args()
    families = list(args.family)
    if args.show and "/" in args.show:
        families = [args.show.partition("/")[0]]
    results = score(args.captures, families)
    for result in results:
        is_bad = not (result.count_ok and result.tokens_ok)
        if args.show == f"{result.family}/{result.name}" or (args.show == "bad" and is_bad):
            show(result)
        elif args.list and is_bad:
            what = "tokens" if result.count_ok else "count"
            print(f"{result.family}/{result.name}: {what}: {len(result.truth)} billed, ledger {len(result.rows)}")
    if args.page:
        args.page.write_text(page(results))
    by_family: dict[str, list[Result]] = collections.defaultdict(list)
    for result in results:
        by_family[result.family].append(result)
    for name, group in sorted(by_family.items()):
        counted, right = sum(r.count_ok for r in group), sum(r.tokens_ok for r in group)
        print(f"{name:50} {len(group):4} scenarios  count {counted:4}  tokens {right:4}")
    total, counted, right = len(results), sum(r.count_ok for r in results), sum(r.tokens_ok for r in results)
    ours, theirs = sums(results)
    share = ours / max(theirs, 1)
    print(f"all: {total} scenarios  count {counted / total:.1%}  tokens {right / total:.1%}  sum {share:.3f}")
    short = [r for r in results if not (r.count_ok and r.tokens_ok)]
    unexplained = [f"{r.family}/{r.name}" for r in short if reason(r) == UNEXPLAINED]
    print(
        f"{len(short)} fall short because the wire does not hold the answer; unexplained: {len(unexplained)}",
        *unexplained,
    )
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
