"""Batch results and generation records become exact observations of single calls, once each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fakes.anthropic import FakeAnthropic
from fakes.aws import KEY_ID, SECRET, FakeBedrock, FakeS3
from fakes.base import Answer, answer, transport
from fakes.batches import (
    FakeAnthropicBatches,
    FakeGeminiBatches,
    FakeMistralBatches,
    FakeOpenAIBatches,
    FakeXaiBatches,
    Split,
)
from fakes.google import TABLE, FakeGoogle
from fakes.mistral import FakeMistral
from fakes.openai import FakeOpenAI
from fakes.openrouter import FakeOpenRouter
from fakes.xai import FakeXai

from spanledger.ledger.client import StoreTarget
from spanledger.ledger.store import Ledger
from spanledger.reconciler.connections import Connection
from spanledger.reconciler.errors import ConfigError, State
from spanledger.reconciler.service import Bills
from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.usage import Usage

DONE = int(datetime(2026, 11, 18, 9, tzinfo=UTC).timestamp())


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    opened = Ledger.open(StoreTarget.embedded(tmp_path_factory.mktemp("ledger")), prices=PriceBook())
    yield opened
    opened.close()


def bills(ledger: Ledger, clock: Any, fake: Any, keys: dict[str, str], hosts: Any = None) -> Bills:
    return Bills.on(
        ledger.client,
        keys,
        clock=clock,
        ingest=lambda found: ledger.ingest(found, []),
        http=lambda: httpx.Client(transport=transport(fake, hosts=hosts)),
    )


def connection(org: str, connector: str, keys: dict[str, str], **settings: str) -> Connection:
    return Connection(
        org_id=org,
        name="prod",
        connector=connector,
        settings={"requests_per_second": "1000", **settings},
        secrets={name.lower(): f"env:{name}" for name in keys},
    )


def calls(ledger: Ledger, org: str, columns: str) -> list[tuple[Any, ...]]:
    sql = f"SELECT {columns} FROM spanledger.calls WHERE org_id = {{org:String}} ORDER BY ALL"
    return [tuple(row) for row in ledger.client.query(sql, parameters={"org": org}).result_rows]


def openai_line(number: int, **body: Any) -> dict[str, Any]:
    return {
        "id": f"batch_req_{number}",
        "custom_id": f"task-{number}",
        "response": {
            "status_code": 200,
            "request_id": f"req_{number}",
            "body": {
                "id": f"chatcmpl-{number}", "object": "chat.completion", "created": DONE, "model": "gpt-4o-2024-08-06",
                "usage": {
                    "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
                    "prompt_tokens_details": {"cached_tokens": 40},
                    "completion_tokens_details": {"reasoning_tokens": 5},
                },
                **body,
            },
        },
        "error": None,
    }  # fmt: skip


def test_openai_batches_are_read_once_and_join_what_the_application_saw(ledger, clock, org):
    """Disjoint classes, batch id and flag; a second pull reads nothing; the application's own span is the same call."""
    batches = FakeOpenAIBatches()
    batches.batches = [
        {"id": "batch_2", "status": "in_progress", "endpoint": "/v1/chat/completions", "created_at": DONE},
        {
            "id": "batch_1", "status": "completed", "endpoint": "/v1/chat/completions", "created_at": DONE - 9000,
            "completed_at": DONE, "output_file_id": "file-1",
        },
        {"id": "batch_0", "status": "completed", "created_at": 1_600_000_000, "output_file_id": "file-0"},
    ]  # fmt: skip
    failed = openai_line(3)
    failed["response"]["status_code"] = 429
    failed["response"]["body"] = {"error": {"code": "rate_limit_exceeded", "message": "x"}}
    batches.files["file-1"] = [openai_line(1), openai_line(2), failed]
    keys = {"ADMIN_KEY": "sk-admin-fake", "API_KEY": batches.key}
    made = bills(ledger, clock, Split(FakeOpenAI(), batches), keys)
    prod = connection(org, "openai", keys)
    ledger.ingest(
        [
            Observation(
                org_id=org, trace_id=b"1" * 16, span_id=b"2" * 8, started_ns=(DONE - 60) * 10**9,
                ended_ns=(DONE - 59) * 10**9, received_ns=DONE * 10**9, provider="openai", operation="chat",
                response_model="gpt-4o-2024-08-06", response_id="chatcmpl-1", team_id="search", is_batch=True,
                usage=Usage(input_uncached=60, cache_read=40, output_text=15, reasoning=5),
            )
        ],
        [],
    )  # fmt: skip
    reports = {report.stream: report for report in made.sync(prod, streams=frozenset({"batches"}))}
    assert (reports["batches"].state, reports["batches"].lines) == (State.OK, 3)
    columns = (
        "response_id, input_uncached_tokens, cache_read_tokens, output_tokens, reasoning_tokens, is_batch, batch_id, "
        "status"
    )
    assert calls(ledger, org, columns) == [
        ("", None, None, None, None, True, "batch_1", "error"),
        ("chatcmpl-1", 60, 40, 20, 5, True, "batch_1", "ok"),
        ("chatcmpl-2", 60, 40, 20, 5, True, "batch_1", "ok"),
    ]
    assert calls(ledger, org, "response_id, team_id") == [("", ""), ("chatcmpl-1", "search"), ("chatcmpl-2", "")]
    asked = len(batches.asked("/files/"))
    (again,) = made.sync(prod, streams=frozenset({"batches"}))
    assert (again.lines, again.slots_unchanged, len(batches.asked("/files/"))) == (0, 1, asked)


def test_groq_and_azure_batches_are_openais_elsewhere(ledger, clock, org):
    """Groq at its own path and without pages, newest or not; Azure at the resource, with its own header."""
    batch = {
        "id": "batch_1", "status": "completed", "endpoint": "/v1/chat/completions", "created_at": DONE - 9000,
        "completed_at": DONE, "output_file_id": "file-1",
    }  # fmt: skip
    groq = FakeOpenAIBatches("gsk_fake", "/openai/v1", pages=False)
    groq.batches = [{**batch, "id": "old", "created_at": 1_600_000_000}, batch]
    groq.files["file-1"] = [openai_line(1, model="llama-3.3-70b-versatile", service_tier="on_demand")]
    made = bills(ledger, clock, groq, {"API_KEY": groq.key})
    mine = connection(org, "groq", {"API_KEY": groq.key})
    assert made.test(mine, pin=False).is_usable
    for read, again in ((1, 0), (0, 1)):
        (report,) = made.sync(mine)
        assert (report.state, report.lines, report.slots_unchanged) == (State.OK, read, again), report.detail
    with pytest.raises(ConfigError, match="no such stream; it has batches"):
        made.sync(mine, streams=frozenset({"costs"}))
    azure = FakeOpenAIBatches("azure-fake", "/openai/v1", "api-key")
    azure.batches, azure.files = [batch], {"file-1": [openai_line(2, model="gpt-4.1-2025-04-14")]}
    made = bills(ledger, clock, azure, {"API_KEY": azure.key, "CLIENT_SECRET": "s"})
    url = "https://acme.openai.azure.com/openai/v1"
    settings = {"tenant_id": "t", "client_id": "c", "scope": "/subscriptions/x", "resource_url": url}
    ours = replace(connection(org, "azure_openai", {"API_KEY": "", "CLIENT_SECRET": ""}, **settings), name="azure")
    (report,) = made.sync(ours, streams=frozenset({"batches"}))
    assert (report.state, report.lines) == (State.OK, 1), report.detail
    assert {question.host for question in azure.questions} == {"acme.openai.azure.com"}
    assert calls(
        ledger, org, "provider, response_model, batch_id, is_batch, input_uncached_tokens, reasoning_tokens"
    ) == [
        ("azure_openai", "gpt-4.1-2025-04-14", "batch_1", True, 60, 5),
        ("groq", "llama-3.3-70b-versatile", "batch_1", True, 60, 5),
    ]
    wrong = replace(ours, settings={name: value for name, value in ours.settings.items() if name != "resource_url"})
    with pytest.raises(ConfigError, match="--resource-url"):
        made.sync(wrong, streams=frozenset({"batches"}))


def test_gemini_batches_in_files_and_inline(ledger, clock, org):
    """Disjoint classes of usageMetadata; answers with their ids, errors without; once each; a wrong key is told."""
    gemini = FakeGeminiBatches()
    about = {
        "model": "models/gemini-2.5-flash", "state": "BATCH_STATE_SUCCEEDED", "createTime": "2026-11-18T01:00:00Z",
        "endTime": "2026-11-18T09:00:00Z",
    }  # fmt: skip
    usage = {
        "promptTokenCount": 100, "cachedContentTokenCount": 40, "candidatesTokenCount": 20, "thoughtsTokenCount": 5,
        "totalTokenCount": 125, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 90},
                                                        {"modality": "AUDIO", "tokenCount": 10}],
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 40}],
    }  # fmt: skip
    said = {"candidates": [{}], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash", "responseId": "r-1"}
    inline = {"inlinedResponses": [{"response": {**said, "responseId": "r-2"}, "metadata": {"key": "k"}}]}
    gemini.batches = [
        {"name": "batches/running", "metadata": {**about, "state": "BATCH_STATE_RUNNING"}},
        {"name": "batches/file", "done": True, "metadata": {**about, "output": {"responsesFile": "files/out-1"}}},
        {"name": "batches/inline", "done": True, "metadata": {**about, "output": {"inlinedResponses": inline}}},
        {"name": "batches/old", "done": True, "metadata": {**about, "createTime": "2025-01-01T00:00:00Z",
                                                           "output": {"responsesFile": "files/none"}}},
    ]  # fmt: skip
    gemini.files["files/out-1"] = [
        {"key": "a", "response": said},
        {"key": "b", "error": {"code": 8, "message": "out of quota"}},
    ]
    google = FakeGoogle()
    keys = {"API_KEY": gemini.key, "SERVICE_ACCOUNT_KEY": google.key_file}
    made = bills(ledger, clock, Split(google, gemini), keys)
    mine = connection(org, "google", keys, table=TABLE)
    assert made.test(mine, pin=False).is_usable
    for read, again in ((3, 0), (0, 2)):
        (report,) = made.sync(mine, streams=frozenset({"batches"}))
        assert (report.state, report.lines, report.slots_unchanged) == (State.OK, read, again), report.detail
    columns = (
        "response_id, provider, response_model, batch_id, status, input_uncached_tokens, cache_read_tokens, "
        "usage['input_audio'], output_tokens, reasoning_tokens"
    )
    read = ("gemini-2.5-flash", "batches/file", "ok", 50, 40, 10, 25, 5)
    assert calls(ledger, org, columns) == [
        ("", "google", "gemini-2.5-flash", "batches/file", "error", None, None, 0, None, None),
        ("r-1", "google", *read),
        ("r-2", "google", "gemini-2.5-flash", "batches/inline", "ok", 50, 40, 10, 25, 5),
    ]
    gemini.key = "AIza-other"
    (report,) = made.sync(mine, streams=frozenset({"batches"}))
    assert (report.state, "Gemini refused the key" in report.detail) == (State.AUTH_FAILED, True)


def test_bedrock_batches_from_the_buckets_of_two_regions(ledger, clock, org):
    """Signed for each service and region; the usage of Anthropic's, Nova's and Llama's own documents; once each."""
    east, west, store, store_west = FakeBedrock(), FakeBedrock("us-west-2"), FakeS3(), FakeS3("us-west-2")
    hosts = {
        "bedrock.us-east-1.amazonaws.com": east, "bedrock.us-west-2.amazonaws.com": west,
        "s3.us-east-1.amazonaws.com": store, "s3.us-west-2.amazonaws.com": store_west,
    }  # fmt: skip

    def job(number: int, model: str, status: str = "Completed") -> dict[str, Any]:
        return {
            "jobArn": f"arn:aws:bedrock:us-east-1:1:model-invocation-job/job{number}", "modelId": model,
            "status": status, "submitTime": "2026-11-18T01:00:00Z", "endTime": "2026-11-18T09:00:00Z",
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://out/batch results/"}},
        }  # fmt: skip

    def lines(*records: dict[str, Any]) -> bytes:
        return "\n".join(json.dumps(record) for record in records).encode()

    east.jobs = [
        job(3, "amazon.nova-pro-v1:0", "InProgress"),
        job(2, "amazon.nova-pro-v1:0"),
        job(1, "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-haiku-4-5-v1:0", "PartiallyCompleted"),
        {**job(0, "amazon.nova-pro-v1:0"), "submitTime": "2025-01-01T00:00:00Z"},
    ]
    west.jobs = [job(4, "meta.llama3-3-70b-instruct-v1:0")]
    claude = {"id": "msg_bdrk_1", "model": "claude-haiku-4-5", "usage": {"input_tokens": 10, "output_tokens": 5,
                                                                         "cache_read_input_tokens": 20}}  # fmt: skip
    nova = {"output": {}, "usage": {"inputTokens": 7, "outputTokens": 3, "cacheReadInputTokenCount": 2}}
    store.objects = {
        "out/batch results/job1/in-1.jsonl.out": lines({"recordId": "a", "modelOutput": claude}),
        "out/batch results/job1/in-2.jsonl.out": lines(
            {"recordId": "b", "error": {"errorCode": 400, "errorMessage": "x"}}
        ),
        "out/batch results/job1/manifest.json.out": b"{}",
        "out/batch results/job2/in-1.jsonl.out": lines({"recordId": "a", "modelOutput": nova}),
        "out/batch results/job22/in-1.jsonl.out": lines({"recordId": "z", "modelOutput": nova}),
    }
    llama = {"generation": "x", "prompt_token_count": 11, "generation_token_count": 4}
    store_west.objects = {"out/batch results/job4/in.jsonl.out": lines({"recordId": "a", "modelOutput": llama})}
    made = bills(ledger, clock, east, {"SECRET_ACCESS_KEY": SECRET}, hosts)
    keys = {"SECRET_ACCESS_KEY": SECRET}
    mine = connection(org, "aws_bedrock", keys, access_key_id=KEY_ID, batches="us-east-1, us-west-2")
    assert mine.reads_calls
    for read, again in ((4, 0), (0, 3)):
        (report,) = made.sync(mine, streams=frozenset({"batches"}))
        assert (report.state, report.lines, report.slots_unchanged) == (State.OK, read, again), report.detail
    columns = "batch_id, response_id, response_model, status, input_uncached_tokens, cache_read_tokens, output_tokens"
    assert calls(ledger, org, columns) == [
        ("job1", "", "anthropic.claude-haiku-4-5-v1:0", "error", None, None, None),
        ("job1", "msg_bdrk_1", "claude-haiku-4-5", "ok", 10, 20, 5),
        ("job2", "", "amazon.nova-pro-v1:0", "ok", 7, 2, 3),
        ("job4", "", "meta.llama3-3-70b-instruct-v1:0", "ok", 11, None, 4),
    ]
    east.fail_next(answer({"message": "not authorized"}, 403, x_amzn_errortype="AccessDeniedException:http://x/"))
    (report,) = made.sync(mine, streams=frozenset({"batches"}))
    assert (report.state, "bedrock:ListModelInvocationJobs" in report.detail) == (State.PERMISSION_MISSING, True)
    with pytest.raises(ConfigError, match="no region"):
        made.sync(replace(mine, settings={**mine.settings, "batches": "Ohio"}))


def test_without_a_ledger_at_hand_calls_are_left_to_the_server(ledger, clock, org):
    """A command beside a running server says so, and asks the provider nothing."""
    groq = FakeOpenAIBatches("gsk_fake", "/openai/v1", pages=False)
    made = bills(ledger, clock, groq, {"API_KEY": groq.key})
    made.ingest = None
    (report,) = made.sync(connection(org, "groq", {"API_KEY": groq.key}))
    assert (report.stream, report.state, "left to the server" in report.detail) == ("batches", State.OK, True)
    assert not groq.questions


def test_a_result_file_that_is_cut_off_is_read_again(ledger, clock, org):
    """Nothing of it is remembered as read; the next run takes it whole."""
    groq = FakeOpenAIBatches("gsk_fake", "/openai/v1", pages=False)
    groq.batches = [
        {
            "id": "b",
            "status": "completed",
            "endpoint": "/v1/chat/completions",
            "created_at": DONE,
            "output_file_id": "f",
        }
    ]
    groq.files["f"] = [openai_line(1), openai_line(2)]
    whole = "\n".join(json.dumps(line) for line in groq.files["f"]).encode()
    groq.fail_next(Answer(200, whole[:-30]), when=lambda question: question.path.endswith("/content"))
    made = bills(ledger, clock, groq, {"API_KEY": groq.key})
    mine = connection(org, "groq", {"API_KEY": groq.key})
    (report,) = made.sync(mine)
    assert (report.state, "cut off in the middle" in report.detail) == (State.DEGRADED, True)
    (report,) = made.sync(mine)
    assert (report.state, report.lines) == (State.OK, 2)
    assert calls(ledger, org, "response_id") == [("chatcmpl-1",), ("chatcmpl-2",)]


def test_anthropic_batches(ledger, clock, org):
    """Messages with their cache split; canceled requests leave nothing; the tier is batch."""
    batches = FakeAnthropicBatches()
    batches.batches = [
        {
            "id": "msgbatch_1", "processing_status": "ended", "created_at": "2026-11-18T01:00:00Z",
            "ended_at": "2026-11-18T09:00:00Z", "results_url": "https://api.anthropic.com/x",
        }
    ]  # fmt: skip
    usage = {
        "input_tokens": 10, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 7,
        "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3}, "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 2}, "service_tier": "batch",
        "server_tool_use": {"web_search_requests": 1}, "inference_geo": "us",
        "iterations": [{"type": "message"}, {"type": "advisor_message", "model": "claude-opus-5"}],
    }  # fmt: skip
    message = {"id": "msg_1", "model": "claude-opus-4-1-20250805", "usage": usage, "stop_reason": "end_turn"}
    batches.results["msgbatch_1"] = [
        {"custom_id": "a", "result": {"type": "succeeded", "message": message}},
        {"custom_id": "b", "result": {"type": "canceled"}},
        {
            "custom_id": "c",
            "result": {"type": "errored", "error": {"type": "error", "error": {"type": "overloaded_error"}}},
        },
    ]
    keys = {"ADMIN_KEY": "sk-ant-admin01-fake", "API_KEY": batches.key}
    made = bills(ledger, clock, Split(FakeAnthropic(), batches), keys)
    (report,) = made.sync(connection(org, "anthropic", keys), streams=frozenset({"batches"}))
    assert (report.state, report.lines) == (State.OK, 2), report.detail
    columns = (
        "response_id, input_uncached_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens, "
        "reasoning_tokens, web_searches, service_tier"
    )
    assert calls(ledger, org, columns)[1] == ("msg_1", 10, 20, 4, 3, 2, 1, "batch")
    assert calls(ledger, org, "cost_status, usage['advisor_messages']")[0] == ("bounded", 1)
    placed = (
        "SELECT inference_geo FROM spanledger.call_costs WHERE org_id = {org:String} ORDER BY started_at, inference_geo"
    )
    assert ledger.client.query(placed, {"org": org}).result_rows == [("",), ("us",)]


def test_mistral_batches_over_many_pages(ledger, clock, org):
    """A hundred unfinished jobs on the first page, one with results on the second; they are read once."""
    batches = FakeMistralBatches()
    job = {"object": "batch", "endpoint": "/v1/chat/completions", "created_at": DONE - 9000, "output_file": None}
    batches.jobs = [{**job, "id": f"job-{number}", "status": "RUNNING"} for number in range(100)]
    batches.jobs.append({**job, "id": "job-100", "status": "SUCCESS", "completed_at": DONE, "output_file": "file-1"})
    batches.files["file-1"] = [openai_line(1, model="mistral-large-2512")]
    keys = {"ADMIN_KEY": "mistral-admin-fake", "API_KEY": batches.key}
    made = bills(ledger, clock, Split(FakeMistral(), batches), keys)
    mine = connection(org, "mistral", keys)
    assert made.test(mine, pin=False).is_usable
    for read, again in ((1, 0), (0, 1)):
        (report,) = made.sync(mine, streams=frozenset({"batches"}))
        assert (report.state, report.lines, report.slots_unchanged) == (State.OK, read, again), report.detail
    columns = "provider, response_model, batch_id, is_batch, input_uncached_tokens, cache_read_tokens"
    assert calls(ledger, org, columns) == [("mistral", "mistral-large-2512", "job-100", True, 60, 40)]


def test_a_list_of_jobs_that_repeats_its_page_ends(ledger, clock, org):
    """A hundred jobs again and again, whatever page is asked for."""
    batches = FakeMistralBatches()
    job = {"object": "batch", "endpoint": "/v1/chat/completions", "created_at": DONE - 9000, "status": "RUNNING"}
    batches.jobs = [{**job, "id": f"job-{number % 100}"} for number in range(100_000)]
    keys = {"ADMIN_KEY": "mistral-admin-fake", "API_KEY": batches.key}
    made = bills(ledger, clock, Split(FakeMistral(), batches), keys)
    (report,) = made.sync(connection(org, "mistral", keys), streams=frozenset({"batches"}))
    assert (report.state, len(batches.asked("/jobs"))) == (State.OK, 2)


def test_xai_batches_say_what_each_call_was_charged(ledger, clock, org):
    """Ticks become the call's exact cost; reasoning that the total counts apart is output; failures leave nothing."""
    batches = FakeXaiBatches()
    done = {"num_requests": 2, "num_pending": 0, "num_success": 1, "num_error": 1}
    batches.batches = [
        {"batch_id": "batch_2", "create_time": "2026-11-18T09:00:00Z", "state": {"num_requests": 2, "num_pending": 1}},
        {"batch_id": "batch_1", "create_time": "2026-11-18T09:00:00Z", "state": done, "name": "nightly"},
        {"batch_id": "batch_0", "create_time": "2025-11-18T09:00:00Z", "state": done},
    ]  # fmt: skip
    usage = {
        "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 125, "cost_in_usd_ticks": 37756000,
        "prompt_tokens_details": {"cached_tokens": 40}, "completion_tokens_details": {"reasoning_tokens": 5},
    }  # fmt: skip
    completion = {"id": "c-1", "object": "chat.completion", "created": DONE, "model": "grok-4-0709", "usage": usage}
    batches.results["batch_1"] = [
        {"batch_request_id": "a", "batch_result": {"response": {"chat_get_completion": completion}}},
        {"batch_request_id": "b", "batch_result": {"error": {"code": 13, "message": "internal"}}},
    ]
    keys = {"MANAGEMENT_KEY": "xai-mgmt-fake", "API_KEY": batches.key}
    made = bills(ledger, clock, Split(FakeXai(), batches), keys)
    mine = connection(org, "xai", keys)
    assert made.test(mine, pin=False).is_usable
    (report,) = made.sync(mine, streams=frozenset({"batches"}))
    assert (report.state, report.lines) == (State.OK, 1), report.detail
    columns = (
        "response_id, input_uncached_tokens, cache_read_tokens, output_tokens, reasoning_tokens, cost_usd, cost_status"
    )
    assert calls(ledger, org, columns) == [("c-1", 60, 40, 25, 5, Decimal("0.0037756"), "exact")]


def test_openrouter_says_what_a_call_cost(ledger, clock, org):
    """A call without an exact cost is looked up by its generation id; the next run asks no more."""
    router = FakeOpenRouter()
    other = FakeOpenRouter(key="sk-or-v1-app")
    other.generations["gen-1"] = {
        "created_at": "2026-11-18T09:00:00Z", "model": "openai/gpt-4.1", "native_tokens_prompt": 50,
        "native_tokens_completion": 25, "native_tokens_reasoning": 5, "native_tokens_cached": 10,
        "total_cost": 0.000123, "streamed": True, "generation_time": 1200,
    }  # fmt: skip
    keys = {"MANAGEMENT_KEY": router.key, "API_KEY": "sk-or-v1-app"}
    made = bills(ledger, clock, Split(router, other), keys)
    for number in (1, 2):
        ledger.ingest(
            [
                Observation(
                    org_id=org, trace_id=bytes([number]) * 16, span_id=bytes([number]) * 8, started_ns=DONE * 10**9,
                    ended_ns=(DONE + 1) * 10**9, received_ns=DONE * 10**9, provider="openrouter", operation="chat",
                    response_model="openai/gpt-4.1", response_id=f"gen-{number}",
                    usage=Usage(input_uncached=48, output_text=24),
                )
            ],
            [],
        )  # fmt: skip
    prod = connection(org, "openrouter", keys, by_key="off")
    (report,) = made.sync(prod, streams=frozenset({"generations"}))
    assert (report.state, report.lines) == (State.OK, 1), report.detail
    found = calls(ledger, org, "response_id, cost_usd, cost_status, cache_read_tokens")
    assert found[0] == ("gen-1", Decimal("0.000123"), "exact", 10)
    assert found[1][2] != "exact"


def test_a_wrong_ordinary_key_spoils_only_its_own_stream(ledger, clock, org):
    """The bill is pulled all the same."""
    batches = FakeOpenAIBatches(key="other")
    keys = {"ADMIN_KEY": "sk-admin-fake", "API_KEY": "sk-proj-fake"}
    made = bills(ledger, clock, Split(FakeOpenAI(), batches), keys)
    reports = {report.stream: report.state for report in made.sync(connection(org, "openai", keys))}
    assert reports.pop("batches") is State.AUTH_FAILED
    assert set(reports.values()) == {State.OK}


@pytest.mark.parametrize(
    ("connector", "admin", "ordinary"),
    [
        ("openai", FakeOpenAI(), FakeOpenAIBatches()),
        ("anthropic", FakeAnthropic(), FakeAnthropicBatches()),
        ("openrouter", FakeOpenRouter(), FakeOpenRouter(key="sk-or-v1-app")),
    ],
)
def test_a_trial_tries_the_ordinary_key_too(ledger, clock, org, connector, admin, ordinary):
    """It works; a revoked one is told apart from the admin key, which still does."""
    first = "MANAGEMENT_KEY" if connector == "openrouter" else "ADMIN_KEY"
    keys = {first: admin.key, "API_KEY": ordinary.key}
    made = bills(ledger, clock, Split(admin, ordinary), keys)
    mine = connection(org, connector, keys)
    assert made.test(mine, pin=False).is_usable
    ordinary.key = "revoked"
    report = made.test(mine, pin=False)
    *bill, calls_of = report.streams
    assert (calls_of.state, {each.state for each in bill}) == (State.AUTH_FAILED, {State.OK})
    assert calls_of.permission in calls_of.detail
    assert report.setup
