"""One answer of every report as its provider documents it, and the lines that it becomes: a table, nothing clever."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import pytest

from spanledger.reconciler.bill_line import BillLine
from spanledger.reconciler.connectors import connector
from spanledger.reconciler.documents import load
from spanledger.reconciler.http.messages import ApiRequest
from spanledger.reconciler.streams import Context, Page
from spanledger.reconciler.windows import Window
from spanledger.semconv.money import text

NOW = datetime(2026, 11, 20, tzinfo=UTC)
WINDOW = Window(date(2026, 11, 1), date(2026, 11, 8))
SINCE, UNTIL = "2026-11-03T00:00:00Z", "2026-11-04T00:00:00Z"


@dataclass(frozen=True)
class Case:
    """``lines``: "class quantity unit", "class amount currency charge"; then what else the line says."""

    connector: str
    stream: str
    document: Any
    lines: tuple[str, ...]
    settings: dict[str, str] = field(default_factory=dict)
    path: str = "/x"
    params: tuple[tuple[str, str], ...] = ()
    json: Any = None

    @property
    def name(self) -> str:
        return f"{self.connector}{self.path if self.path != '/x' else ''}.{self.stream}"


def openai(report: str, result: dict[str, Any], *lines: str) -> Case:
    stream = "costs" if report == "costs" else f"usage.{report}"
    bucket = {"object": "bucket", "start_time": 1793664000, "end_time": 1793750400, "results": [result]}
    document = {"object": "page", "data": [bucket], "has_more": False, "next_page": None}
    return Case("openai", stream, document, lines)


WHO = {"project_id": "proj_1", "user_id": None, "api_key_id": "key_1", "model": "m-1"}
WHOSE = "m-1 proj_1 key_1"

OPENAI = (
    openai(
        "costs",
        {
            "object": "organization.costs.result", "amount": {"value": 0.06, "currency": "usd"},
            "line_item": "priority | gpt-5.6-sol, cached input, long context", "project_id": "proj_1",
            "api_key_id": "key_1", "quantity": 3, "quantity_unit": "1000_tokens",
        },
        "cost cache_read 3000 tokens 0.06 USD usage | gpt-5.6-sol proj_1 key_1 priority context=long",
    ),
    openai(
        "completions",
        {
            "object": "organization.usage.completions.result", "input_tokens": 1000, "input_cached_tokens": 400,
            "input_cache_write_tokens": 100, "input_uncached_tokens": 500, "output_tokens": 500,
            "input_text_tokens": 400, "output_text_tokens": 400, "input_cached_text_tokens": 300,
            "input_audio_tokens": 50, "input_cached_audio_tokens": 50, "output_audio_tokens": 50,
            "input_image_tokens": 50, "input_cached_image_tokens": 50, "output_image_tokens": 50,
            "num_model_requests": 5, **WHO, "batch": True, "service_tier": "flex",
        },
        f"usage input_uncached 400 tokens | {WHOSE} flex batch",
        f"usage input_audio 50 tokens | {WHOSE} flex batch",
        f"usage input_image 50 tokens | {WHOSE} flex batch",
        f"usage cache_read 300 tokens | {WHOSE} flex batch",
        f"usage cache_read_audio 50 tokens | {WHOSE} flex batch",
        f"usage cache_read_image 50 tokens | {WHOSE} flex batch",
        f"usage cache_write 100 tokens | {WHOSE} flex batch",
        f"usage output_text 400 tokens | {WHOSE} flex batch",
        f"usage output_audio 50 tokens | {WHOSE} flex batch",
        f"usage output_image 50 tokens | {WHOSE} flex batch",
        f"usage requests 5 requests | {WHOSE} flex batch",
    ),
    openai(
        "embeddings",
        {"object": "organization.usage.embeddings.result", "input_tokens": 16, "num_model_requests": 2, **WHO},
        f"usage input_uncached 16 tokens | {WHOSE}", f"usage requests 2 requests | {WHOSE}",
    ),
    openai(
        "moderations",
        {"object": "organization.usage.moderations.result", "input_tokens": 9, "num_model_requests": 3, **WHO},
        f"usage moderation_tokens 9 tokens | {WHOSE}", f"usage requests 3 requests | {WHOSE}",
    ),
    openai(
        "images",
        {"object": "organization.usage.images.result", "images": 2, "num_model_requests": 1, **WHO,
         "size": "1024x1024", "source": "image.edit"},
        f"usage images 2 images | {WHOSE} size=1024x1024 source=image.edit",
        f"usage requests 1 requests | {WHOSE} size=1024x1024 source=image.edit",
    ),
    openai(
        "audio_speeches",
        {"object": "organization.usage.audio_speeches.result", "characters": 45, "num_model_requests": 1, **WHO},
        f"usage characters 45 characters | {WHOSE}", f"usage requests 1 requests | {WHOSE}",
    ),
    openai(
        "audio_transcriptions",
        {"object": "organization.usage.audio_transcriptions.result", "seconds": 20, "num_model_requests": 1, **WHO},
        f"usage audio_seconds 20 seconds | {WHOSE}", f"usage requests 1 requests | {WHOSE}",
    ),
    openai(
        "vector_stores",
        {"object": "organization.usage.vector_stores.result", "usage_bytes": 1024, "project_id": "proj_1"},
        "usage storage 1024 bytes | proj_1",
    ),
    openai(
        "code_interpreter_sessions",
        {"object": "organization.usage.code_interpreter_sessions.result", "num_sessions": 1, "project_id": "proj_1"},
        "usage code_interpreter_sessions 1 sessions | proj_1",
    ),
    openai(
        "file_search_calls",
        {"object": "organization.usage.file_searches.result", "num_requests": 2, "project_id": "proj_1",
         "user_id": None, "api_key_id": "key_1", "vector_store_id": "vs_1"},
        "usage file_searches 2 searches | proj_1 key_1 vector_store_id=vs_1",
    ),
    openai(
        "web_search_calls",
        {"object": "organization.usage.web_searches.result", "num_model_requests": 2, "num_requests": 4, **WHO,
         "context_level": "high"},
        f"usage web_searches 4 searches | {WHOSE} context_level=high",
    ),
)  # fmt: skip

TOKENS = {
    "uncached_input_tokens": 1500,
    "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 7},
    "cache_read_input_tokens": 200, "output_tokens": 500, "server_tool_use": {"web_search_requests": 10},
}  # fmt: skip
CLAUDE = {"api_key_id": "apikey_1", "workspace_id": "wrkspc_1", "model": "claude-opus-5-5", "service_tier": "batch",
          "context_window": "0-200k"}  # fmt: skip
OWNER = "claude-opus-5-5 wrkspc_1 apikey_1 batch batch context_window=0-200k"


def analytics(report: str, group: dict[str, Any], values: dict[str, Any], *lines: str) -> Case:
    row = {"starting_at": SINCE, "ending_at": UNTIL, "group": group, report: values}
    document = {"data": [row], "has_more": False, "next_page": None, "data_refreshed_at": "2026-11-19T23:40:00Z"}
    return Case("anthropic", report, document, lines, path=f"/v1/organizations/analytics/{report}")


def bucketed(stream: str, path: str, result: dict[str, Any], *lines: str) -> Case:
    bucket = {"starting_at": SINCE, "ending_at": UNTIL, "results": [result]}
    return Case("anthropic", stream, {"data": [bucket], "has_more": False, "next_page": None}, lines, path=path)


ANTHROPIC = (
    analytics(
        "cost", {**CLAUDE, "cost_type": "tokens", "token_type": "cache_read_input_tokens", "product": None},
        {"amount": "41.2075", "list_amount": "45.7861", "currency": "USD", "requests": None},
        f"cost cache_read 0.412075 USD usage list 0.457861 | {OWNER} cost_type=tokens "
        "token_type=cache_read_input_tokens",
    ),
    analytics(
        "usage", CLAUDE, {**TOKENS, "total_tokens": 3207, "requests": 4},
        f"usage input_uncached 1500 tokens | {OWNER}", f"usage cache_read 200 tokens | {OWNER}",
        f"usage cache_write_5m 7 tokens | {OWNER}", f"usage cache_write_1h 1000 tokens | {OWNER}",
        f"usage output_text 500 tokens | {OWNER}", f"usage web_searches 10 searches | {OWNER}",
        f"usage requests 4 requests | {OWNER}",
    ),
    bucketed(
        "cost", "/v1/organizations/cost_report",
        {"currency": "USD", "amount": "123.78912", "workspace_id": None, "model": "claude-opus-5-5",
         "description": "Claude Opus 5.5 Usage - Input Tokens", "cost_type": "tokens", "context_window": "0-200k",
         "service_tier": "standard", "token_type": "uncached_input_tokens", "inference_geo": "us"},
        "cost input_uncached 1.2378912 USD usage | claude-opus-5-5 standard context_window=0-200k inference_geo=us "
        "cost_type=tokens token_type=uncached_input_tokens",
    ),
    bucketed(
        "usage", "/v1/organizations/usage_report/messages", {**TOKENS, **CLAUDE, "inference_geo": "global"},
        f"usage input_uncached 1500 tokens | {OWNER} inference_geo=global",
        f"usage cache_read 200 tokens | {OWNER} inference_geo=global",
        f"usage cache_write_5m 7 tokens | {OWNER} inference_geo=global",
        f"usage cache_write_1h 1000 tokens | {OWNER} inference_geo=global",
        f"usage output_text 500 tokens | {OWNER} inference_geo=global",
        f"usage web_searches 10 searches | {OWNER} inference_geo=global",
    ),
    Case(
        "anthropic", "claude_code",
        {
            "data": [
                {
                    "date": SINCE, "actor": {"type": "api_actor", "api_key_name": "ci"}, "organization_id": "o",
                    "customer_type": "api", "terminal_type": "vscode", "core_metrics": {"num_sessions": 5},
                    "model_breakdown": [
                        {
                            "model": "claude-opus-5-5",
                            "tokens": {"input": 100, "output": 35, "cache_read": 10, "cache_creation": 5},
                            "estimated_cost": {"currency": "USD", "amount": 1025},
                        }
                    ],
                }
            ],
            "has_more": False, "next_page": None,
        },
        tuple(
            f"usage {name} {count} tokens memo | claude-opus-5-5 actor=ci customer_type=api terminal_type=vscode"
            for name, count in (("input_uncached", 100), ("output_text", 35), ("cache_read", 10), ("cache_write", 5))
        ),
        path="/v1/organizations/usage_report/claude_code",
    ),
)  # fmt: skip

OTHERS = (
    Case(
        "xai", "usage",
        {
            "timeSeries": [
                {
                    "group": ["Chat grok-4-0709"], "groupLabels": ["Chat grok-4-0709"],
                    # The second without a zone: UTC.
                    "dataPoints": [
                        {"timestamp": SINCE, "values": [0.75]}, {"timestamp": "2026-11-04 00:00:00", "values": [1e-10]},
                        {"timestamp": UNTIL, "values": [0]},
                    ],
                }
            ],
            "limitReached": False,
        },
        ("cost - 0.75 USD usage | grok-4-0709", "cost - 0.0000000001 USD usage | grok-4-0709"),
    ),
    Case(
        "xai", "invoice",
        {
            "coreInvoice": {
                "lines": [
                    {"description": "Chat grok-4-0709", "unitType": "Prompt text tokens", "unitPrice": "300",
                     "numUnits": "12500000", "amount": "3750"},
                ],
                "amountBeforeVat": "3750", "amountAfterVat": "4463", "totalWithCorr": {"val": "4463"},
                "prepaidCredits": {"val": "-4500"}, "prepaidCreditsUsed": {"val": "-3750"},
            },
            "effectiveSpendingLimit": "20000", "defaultCredits": "0", "billingCycle": {"year": 2026, "month": 11},
        },
        (
            "usage input_uncached 12500000 tokens | grok-4-0709 unit_type=Prompt text tokens unit_price=300",
            "cost - 7.13 USD tax |",
        ),
    ),
    Case(
        "azure_openai", "cost",
        {
            "id": "q", "name": "q", "type": "Microsoft.CostManagement/Query",
            "properties": {
                "nextLink": None,
                "columns": [
                    {"name": "Cost", "type": "Number"}, {"name": "UsageQuantity", "type": "Number"},
                    {"name": "UsageDate", "type": "Number"}, {"name": "ResourceId", "type": "String"},
                    {"name": "Meter", "type": "String"}, {"name": "Currency", "type": "String"},
                ],
                "rows": [
                    [2.10333307059661, 841.333, 20261103, "/subscriptions/S/resourceGroups/RG/x/accounts/AOAI",
                     "gpt 4.1 Inp glbl Tokens", "USD"],
                ],
            },
        },
        (
            ("cost input_uncached 841333 tokens 2.10333307059661 USD usage | gpt-4.1 s aoai "
            "resource=/subscriptions/s/resourcegroups/rg/x/accounts/aoai resource_group=rg deployment=global"),
        ),
        settings={"scope": "/subscriptions/x", "source": "query", "cost_type": "ActualCost", "cost_column": "Cost",
                  "meter_categories": "Azure OpenAI"},
    ),
    Case(
        "aws_bedrock", "cost",
        {
            "GroupDefinitions": [{"Type": "DIMENSION", "Key": "USAGE_TYPE"}, {"Type": "DIMENSION", "Key": "SERVICE"}],
            "ResultsByTime": [
                {
                    "TimePeriod": {"Start": "2026-11-03", "End": "2026-11-04"}, "Total": {},
                    "Groups": [
                        {"Keys": ["USE1-Claude4.6Sonnet-input-tokens", "Claude 4.6 Sonnet (Amazon Bedrock Edition)"],
                         "Metrics": {"UnblendedCost": {"Amount": "1.2E-7", "Unit": "USD"},
                                     "UsageQuantity": {"Amount": "411.522", "Unit": "N/A"}}},
                    ],
                    "Estimated": True,
                }
            ],
            "DimensionValueAttributes": [],
        },
        (
            ("cost input_uncached 411522 tokens 0.00000012 USD usage | Claude4.6Sonnet open "
            "service=Claude 4.6 Sonnet (Amazon Bedrock Edition) region=USE1"),
        ),
        settings={"source": "ce", "metric": "UnblendedCost"}, path="/",
        json={"GroupBy": [{"Type": "DIMENSION", "Key": "USAGE_TYPE"}, {"Type": "DIMENSION", "Key": "SERVICE"}]},
    ),
    Case(
        "google", "cost",
        {
            "kind": "bigquery#queryResponse", "jobComplete": True, "totalRows": "2", "cacheHit": False,
            "jobReference": {"projectId": "p", "jobId": "job_abc", "location": "US"},
            "schema": {
                "fields": [
                    {"name": name, "type": "STRING", "mode": "NULLABLE"}
                    for name in ("day", "invoice_month", "service", "sku_id", "sku", "project", "region", "currency",
                                 "cost_type", "labels", "resource", "unit", "credit", "amount", "used")
                ]
            },
            "rows": [
                {"f": [{"v": value} for value in row]}
                for row in (
                    ("2026-11-03", "202611", "Vertex AI", "A1", "Gemini 3 Flash Text Input - Predictions", "proj",
                     "us-central1", "USD", "regular", '[{"key":"team","value":"search"}]', None, "count", None,
                     "1.234567", "1000"),
                    ("2026-11-03", "202612", "Gemini API", "B2",
                     "Generate content cached input token count gemini 2.5 flash lite short input text", "proj", None,
                     "USD", "regular", "[]", None, None, "FREE_TIER: free", "-0.5", None),
                )
            ],
        },
        (
            ("cost input_uncached 1000 tokens 1.234567 USD usage | gemini-3-flash proj invoice_month=202611 "
            "service=Vertex AI sku_id=A1 region=us-central1 label.team=search"),
            ("cost cache_read -0.5 USD credit | gemini-2.5-flash-lite proj invoice_month=202612 service=Gemini API "
            "sku_id=B2 sku=Generate content cached input token count gemini 2.5 flash lite short input text"),
        ),
        settings={"table": "p.d.t", "location": "US", "services": "all", "detailed": "off", "max_bytes": "1"},
    ),
    Case(
        "openrouter", "activity",
        {
            "data": [
                {
                    "date": "2026-11-03", "model": "openai/gpt-4.1", "model_permaslug": "openai/gpt-4.1-2025-04-14",
                    "endpoint_id": "e1", "provider_name": "OpenAI", "usage": 0.015, "byok_usage_inference": 0.012,
                    "requests": 5, "prompt_tokens": 50, "completion_tokens": 125, "reasoning_tokens": 25,
                    "cached_tokens": 10,
                }
            ]
        },
        tuple(
            f"{line} | openai/gpt-4.1 hash_a model_permaslug=openai/gpt-4.1-2025-04-14 endpoint_id=e1 "
            "provider_name=OpenAI byok_usage_inference=0.012"
            for line in (
                "cost - 0.015 USD usage", "usage input_uncached 40 tokens", "usage cache_read 10 tokens",
                "usage output_text 100 tokens", "usage reasoning 25 tokens", "usage requests 5 requests",
            )
        ),
        params=(("date", "2026-11-03"), ("api_key_hash", "hash_a")),
    ),
    Case(
        "mistral", "usage",
        {
            "completion": {
                "models": {
                    "mistral-large-2512": {
                        "input": [{"timestamp": SINCE, "value": 123}], "output": [{"timestamp": SINCE, "value": 45}],
                        "cost": [{"timestamp": SINCE, "value": 0.5}],
                    }
                }
            },
            "ocr": {"pages": 7}, "start_date": SINCE, "end_date": UNTIL, "currency": "EUR", "prices": [],
        },
        (
            "usage input_uncached 123 tokens | mistral-large-2512 category=completion",
            "usage output_text 45 tokens | mistral-large-2512 category=completion",
            "cost - 0.5 EUR usage | mistral-large-2512 category=completion",
            "usage pages 7 pages | category=ocr",
        ),
        params=(("month", "11"), ("year", "2026")),
    ),
)  # fmt: skip

CASES = (*OPENAI, *ANTHROPIC, *OTHERS)


def said(line: BillLine) -> str:
    """A line as the table writes it."""
    words = [line.kind.value, line.token_class or "-"]
    if line.quantity is not None:
        words += [text(line.quantity), line.unit]
    if line.money is not None:
        words += [text(line.money.amount), line.money.currency]
    if line.money is not None or line.charge.value != "usage":
        words.append(line.charge.value)
    if line.list_money is not None:
        words += ["list", text(line.list_money.amount)]
    words += ["|", line.model, line.project, line.workspace, line.api_key, line.service_tier]
    words += ["batch" if line.is_batch else ""]
    words += ["open" if line.is_final is False and line.kind == "cost" and line.provider == "aws_bedrock" else ""]
    words += [f"{name}={value}" for name, value in line.dimensions.items()]
    return " ".join(word for word in words if word)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_answer_becomes_its_lines(case):
    """Kind, class, quantity, unit, money, charge, whose it is, and every further dimension."""
    readers = [found for found in connector(case.connector).readers(case.settings) if found.name == case.stream]
    request = ApiRequest(path=case.path, params=case.params, json=case.json)
    page = Page(body=b"", document=load(json.dumps(case.document)), request=request, fetched_at=NOW)
    (reader, *_) = [found for found in readers if found.reads(page)]
    lines = list(reader.parse(page, Context(WINDOW, NOW, Counter())))
    assert [said(line) for line in lines] == list(case.lines)
    assert all(line.end > line.start and line.start.tzinfo is UTC for line in lines)


def test_every_report_of_every_connector_is_in_the_table():
    """A new stream comes with its answer."""
    there = {(case.connector, case.stream) for case in CASES}
    settings = {case.connector: case.settings for case in CASES}
    streams = {(name, found.name) for name, given in settings.items() for found in connector(name).readers(given)}
    assert there == streams
