"""Parsers against hostile and odd documents, units of money against each other, tables against seen words."""

from __future__ import annotations

import copy
import json
import time
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fakes.openai import cost
from hypothesis import given, settings
from hypothesis import strategies as st
from mypy import api as mypy

from spanledger.reconciler.connectors import connector
from spanledger.reconciler.connectors.openai_line_items import LineItem, read_line_item
from spanledger.reconciler.documents import load
from spanledger.reconciler.errors import SyncError
from spanledger.reconciler.http.messages import ApiRequest
from spanledger.reconciler.meters.azure import read_meter
from spanledger.reconciler.meters.bedrock import read_usage_type
from spanledger.reconciler.meters.google import read_sku
from spanledger.reconciler.streams import Context, Page, Stream
from spanledger.reconciler.units import Cents, Dollars, Money, Nanos, Ticks
from spanledger.reconciler.windows import Window
from spanledger.semconv.money import MoneyError

NOW = datetime(2026, 11, 20, tzinfo=UTC)
WINDOW = Window(date(2026, 11, 1), date(2026, 11, 8))
BUCKET = {"object": "bucket", "start_time": 1793664000, "end_time": 1793750400}
SPECIMENS = json.loads(Path(__file__).with_name("specimens.json").read_text())
"""One answer of each report: connector, settings, stream, request, document."""

each_specimen = pytest.mark.parametrize(
    "specimen", SPECIMENS, ids=[f"{found['connector']}.{found['stream']}" for found in SPECIMENS]
)


def reader_of(specimen: dict[str, Any]) -> Stream:
    return stream_of(specimen["connector"], specimen["settings"], specimen["stream"])


def request_of(specimen: dict[str, Any]) -> ApiRequest:
    asked = specimen["request"]
    params = tuple((name, value) for name, value in asked["params"])
    return ApiRequest(path=asked["path"], params=params, json=asked["json"])


def stream_of(name: str, settings_: dict[str, str], stream: str) -> Stream:
    return next(found for found in connector(name).readers(settings_) if found.name == stream)


def parse(stream: Stream, document: Any, request: ApiRequest) -> list[Any]:
    page = Page(body=b"", document=document, request=request, fetched_at=NOW)
    return list(stream.parse(page, Context(WINDOW, NOW, Counter())))


@each_specimen
def test_the_specimens_are_read(specimen):
    """The untouched documents give lines (what the test below disturbs is worth disturbing)."""
    assert parse(reader_of(specimen), load(json.dumps(specimen["document"])), request_of(specimen))


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(node, dict):
        for key in node:
            found += places(node[key], (*path, key))
    elif isinstance(node, list):
        for index in range(len(node)):
            found += places(node[index], (*path, index))
    return found


ODD = [
    None,
    "",
    "x",
    "null",
    0,
    -1,
    1.5,
    True,
    [],
    {},
    [[]],
    [None],
    {"a": 1},
    "9" * 60,
    "1e400",
    "2026-99-99",
    {"val": []},
]


@each_specimen
def test_any_node_may_be_anything(specimen):
    """Every node of the document replaced by every odd value, or gone: lines or one readable error, no crash."""
    reader, request, document = reader_of(specimen), request_of(specimen), specimen["document"]
    for path in places(document):
        for value in [*ODD, ...]:
            broken = copy.deepcopy(document)
            node = broken
            for step in path[:-1]:
                node = node[step]
            if value is ...:
                del node[path[-1]]
            else:
                node[path[-1]] = value
            try:
                for line in parse(reader, load(json.dumps(broken)), request):
                    assert line.start.tzinfo is UTC
                    assert line.money is None or line.money.currency
            except (SyncError, MoneyError) as error:
                assert "\n" not in str(error)  # noqa: PT017 - one of many, most of which are read


@settings(max_examples=300, deadline=None)
@given(
    number=st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**24), max_value=10**24, places=30),
    as_text=st.booleans(),
)
def test_money_is_exact_from_text_to_line(number, as_text):
    """As JSON text or JSON number, huge or tiny: the line's amount is the text's value."""
    value = json.dumps(str(number)) if as_text else str(number)
    body = json.dumps({"data": [{**BUCKET, "results": [cost("a, input", 0)]}]}).replace(
        '"value": 0', f'"value": {value}'
    )
    (line,) = parse(stream_of("openai", {}, "costs"), load(body), ApiRequest(path="/x"))
    assert line.money.amount == number


def test_nan_and_infinity_are_no_numbers():
    """Neither as JSON constants nor as texts."""
    for constant in ("NaN", "Infinity", "-Infinity"):
        with pytest.raises(ValueError, match="is not a number"):
            load(f'{{"value": {constant}}}')
        with pytest.raises(MoneyError):
            Dollars.read(constant)


def test_units_of_money_convert_exactly():
    """Each by its own factor."""
    assert Dollars.read("1.25").money("usd") == Money(Decimal("1.25"), "USD")
    assert Cents.read("123.78912").money("USD") == Money(Decimal("1.2378912"), "USD")
    assert Ticks(37756000).money() == Money(Decimal("0.0037756"), "USD")
    assert Nanos(-1, -750_000_000).money("eur") == Money(Decimal("-1.75"), "EUR")
    assert Dollars.read("0E-6176").value == 0


def test_mixing_units_does_not_type_check(tmp_path: Path):
    """Cents as dollars, a bare number as money, ticks as cents: the type checker refuses each line."""
    lines = [
        "a: Dollars = Cents.read('1')",
        "b: Money = Dollars.read('1')",
        "c: Money = Decimal(1)",
        "d: Cents = Ticks(1)",
        "e = Dollars.read('1') + Cents.read('1')",
        "f: Decimal = Nanos(1, 1)",
    ]
    head = "from decimal import Decimal\nfrom spanledger.reconciler.units import Cents, Dollars, Money, Nanos, Ticks\n"
    path = tmp_path / "mixed.py"
    path.write_text(head + "\n".join(lines) + "\n")
    out, _, _ = mypy.run(["--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache"), str(path)])
    refused = {int(line.split(":")[1]) for line in out.splitlines() if ": error:" in line}
    assert refused == set(range(3, 3 + len(lines))), out


def test_utc_days_do_not_move_with_the_machines_zone(monkeypatch: pytest.MonkeyPatch):
    """A bucket across the change of the clocks, read in Berlin and in Los Angeles."""
    document = load(json.dumps({"data": [{**BUCKET, "results": [cost("a, input", "1")]}]}))
    seen = set()
    for zone in ("UTC", "Europe/Berlin", "America/Los_Angeles"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        (line,) = parse(stream_of("openai", {}, "costs"), document, ApiRequest(path="/x"))
        seen.add((line.start, WINDOW.slot_of(line.start)))
    monkeypatch.delenv("TZ")
    time.tzset()
    assert seen == {(datetime(2026, 11, 3, tzinfo=UTC), "2026-11-03")}


@pytest.mark.parametrize(
    ("said", "item"),
    [
        ("gpt-4o-mini-2024-07-18, input", LineItem("gpt-4o-mini-2024-07-18", "input_uncached")),
        ("gpt-5.6-luna, cache writes", LineItem("gpt-5.6-luna", "cache_write")),
        ("ft-gpt-4o-2024-08-06, output", LineItem("ft-gpt-4o-2024-08-06", "output_text")),
        ("evals | gpt-4o-mini, cached input", LineItem("gpt-4o-mini", "cache_read", origin="evals")),
        ("gpt-image-2-2026-04-21 image, output", LineItem("gpt-image-2-2026-04-21", "output_image")),
        ("gpt-image-2-2026-04-21 text, input", LineItem("gpt-image-2-2026-04-21", "input_uncached")),
        ("gpt-realtime-2.1-mini-2026-08-28, audio input", LineItem("gpt-realtime-2.1-mini-2026-08-28", "input_audio")),
        (
            "priority | gpt-5.6-sol, output, long context",
            LineItem("gpt-5.6-sol", "output_text", "priority", None, "long"),
        ),
        ("batch | gpt-4o, input", LineItem("gpt-4o", "input_uncached", "", True)),
        ("whisper-1, audio", LineItem("whisper-1", "audio_seconds")),
        ("web search tool calls", LineItem(token_class="web_searches")),
        ("assistants api | file search", LineItem(token_class="file_searches")),
        ("Vector storage", LineItem(token_class="storage")),
        ("input_tokens", LineItem(token_class="input_uncached")),
        ("gpt-6-astra, input_tokens", LineItem("gpt-6-astra", "input_uncached")),
        ("gpt-7, thoughts", LineItem("gpt-7", "")),
        ("mystery", LineItem()),
        ("", LineItem()),
    ],
)
def test_openai_line_items(said, item):
    """Every form that was seen; what was not is left unclassified."""
    assert read_line_item(said) == item


@pytest.mark.parametrize(
    ("name", "model", "token_class", "deployment", "tokens"),
    [
        ("gpt-4o-mini-0718-Inp-glbl Tokens", "gpt-4o-mini-0718", "input_uncached", "global", 1000),
        ("gpt-4o-0806-Outp-regnl Tokens", "gpt-4o-0806", "output_text", "regional", 1000),
        ("gpt 4.1 cached Inp glbl Tokens", "gpt-4.1", "cache_read", "global", 1000),
        ("o4-mini 0416 Inp Data Zone Tokens", "o4-mini-0416", "input_uncached", "data_zone", 1000),
        ("GPT 5 Mini Inpt Glbl 1M Tokens", "gpt-5-mini", "input_uncached", "global", 1_000_000),
        ("5.4 nano Inp Gl 1M Tokens", "gpt-5.4-nano", "input_uncached", "global", 1_000_000),
        ("6-sol ShortCo Cd Inp Std Gl", "gpt-6-sol", "cache_read", "global", None),
        ("R1 Inp glbl Tokens", "r1", "input_uncached", "global", 1000),
        ("Provisioned Managed Global Unit", "", "provisioned_hours", "", 1000),
        ("Standard Speech To Text", "", "", "", 1000),
    ],
)
def test_azure_meters(name, model, token_class, deployment, tokens):
    """Irregular names, word by word."""
    meter = read_meter(name)
    assert (meter.model, meter.token_class) == (model, token_class)
    if token_class and model:
        assert (meter.deployment, meter.tokens_per_unit) == (deployment, tokens)


def test_an_own_meter_table_goes_first():
    """The user knows better."""
    own = {"gpt 4.1 inp glbl tokens": ("my-deployment", "output_text")}
    assert read_meter("gpt 4.1 Inp glbl Tokens", own).model == "my-deployment"


@pytest.mark.parametrize(
    ("said", "model", "token_class", "tier", "is_batch"),
    [
        ("USE1-Claude4.6Sonnet-input-tokens", "Claude4.6Sonnet", "input_uncached", "", False),
        ("USE1-Claude4.6Sonnet-cache-write-input-token-count", "Claude4.6Sonnet", "cache_write_5m", "", False),
        ("USE1-Claude4.6Sonnet-cache-write-1h-input-token-count", "Claude4.6Sonnet", "cache_write_1h", "", False),
        ("USE1-gpt-oss-120b-output-tokens-priority", "gpt-oss-120b", "output_text", "priority", False),
        ("USE1-NovaPro-output-tokens-batch", "NovaPro", "output_text", "", True),
        ("USE1-MP:USE1_InputTokenCount-Units", "", "input_uncached", "", False),
        ("USW2-anthropic.claude-opus-4-8-mantle-cache-write-tokens-global-standard", "anthropic.claude-opus-4-8",
         "cache_write_5m", "standard", False),
        ("USE1-TitanImage-T2I", "", "", "", None),
    ],
)  # fmt: skip
def test_bedrock_usage_types(said, model, token_class, tier, is_batch):
    """Region, model, token type, tier, batch."""
    usage = read_usage_type(said)
    assert (usage.model, usage.token_class, usage.service_tier, usage.is_batch) == (model, token_class, tier, is_batch)


@pytest.mark.parametrize(
    ("said", "model", "token_class"),
    [
        ("Gemini 3 Flash Text Input - Predictions", "gemini-3-flash", "input_uncached"),
        ("Gemini 3 Flash Thinking Text Output - Predictions", "gemini-3-flash", "output_text"),
        ("Gemini 2.5 Pro Text Input Caching (Long)", "gemini-2.5-pro", "cache_read"),
        ("Gemini 2.5 Pro Caching Storage", "gemini-2.5-pro", "storage"),
        (
            "Generate content output token count gemini 2.5 flash lite short non-thinking",
            "gemini-2.5-flash-lite",
            "output_text",
        ),
        ("Generate_content text cached input token count for gemini 3 pro short", "gemini-3-pro", "cache_read"),
        ("EmbedContent input token count for gemini-embedding-2 text", "gemini-embedding-2", "input_uncached"),
        ("Grounding with Google Search", "", "web_searches"),
        ("Claude Sonnet 5 Input Tokens", "claude-sonnet-5", "input_uncached"),
        ("N1 Predefined Instance Core", "", ""),
    ],
)
def test_google_skus(said, model, token_class):
    """Both services' vocabularies."""
    sku = read_sku(said)
    assert (sku.model, sku.token_class) == (model, token_class)
