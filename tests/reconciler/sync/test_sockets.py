"""Each connector through real HTTP servers on this machine, found by its own address settings."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from fakes.anthropic import FakeAnthropic, cost_row
from fakes.aws import KEY_ID, SECRET, FakeCostExplorer, FakeS3
from fakes.azure import SUBSCRIPTION, TENANT, FakeBlobs, FakeCostManagement, FakeEntra
from fakes.base import Fake, serving
from fakes.google import TABLE, Billed, FakeGoogle
from fakes.mistral import FakeMistral
from fakes.openrouter import FakeOpenRouter, row
from fakes.xai import FakeXai

from spanledger.reconciler.errors import State

DAY = date(2026, 11, 18)
DAY_NOON = datetime(2026, 11, 18, 20, tzinfo=UTC)


@contextlib.contextmanager
def on(*fakes: Fake) -> Iterator[list[str]]:
    with contextlib.ExitStack() as servers:
        yield [servers.enter_context(serving(fake)) for fake in fakes]


@pytest.fixture
def pulled(rig):
    """Pull a connection over sockets; the sum of its charges."""

    def pull(connector: str, url: str, secrets: dict[str, str], **settings: str) -> Decimal:
        made = rig(None, connector, secrets=secrets, settings=settings, base_url=url, real=True)
        reports = made.sync("2026-11-17", "2026-11-19")
        assert {report.state for report in reports.values()} == {State.OK}, [r.detail for r in reports.values()]
        return made.total()

    return pull


def test_anthropic(pulled):
    """Analytics, cents."""
    fake = FakeAnthropic()
    fake.cost[DAY] = [cost_row("123.5", "output_tokens")]
    with on(fake) as (url,):
        assert pulled("anthropic", url, {"admin_key": fake.key}) == Decimal("1.235")


def test_xai(pulled):
    """POSTed queries."""
    fake = FakeXai()
    fake.usd = {"Chat grok-4": {DAY: 0.75}}
    with on(fake) as (url,):
        assert pulled("xai", url, {"management_key": fake.key}) == Decimal("0.75")


def test_openrouter(pulled):
    """A base URL with a path."""
    fake = FakeOpenRouter()
    fake.activity[DAY, "hash_a"] = [row("a/b", 0.5)]
    with on(fake) as (url,):
        assert pulled("openrouter", f"{url}/api/v1", {"management_key": fake.key}) == Decimal("0.5")


def test_mistral(pulled):
    """Whole months."""
    fake = FakeMistral()
    fake.documents[2026, 11] = {
        "chat": {"models": {"m": {"cost": [{"timestamp": "2026-11-05T00:00:00Z", "value": 2}]}}}
    }
    with on(fake) as (url,):
        assert pulled("mistral", url, {"admin_key": fake.key}) == 2


def test_azure_query_behind_a_gateway(pulled):
    """Token from one server, query on another whose links name Azure's own host."""
    entra = FakeEntra()
    fake = FakeCostManagement(entra)
    fake.rows[DAY] = [(1, 1, SUBSCRIPTION, f"gpt 4.{index} Inp glbl Tokens", "USD") for index in range(5)]
    fake.page_rows = 2
    with on(entra, fake) as (login, url):
        total = pulled(
            "azure_openai", url, {"client_secret": entra.secret},
            tenant_id=TENANT, client_id="app", scope=SUBSCRIPTION, login_url=login,
        )  # fmt: skip
    assert total == 5


def test_azure_export(pulled):
    """Blobs with dots, slashes and pages of listings."""
    entra = FakeEntra()
    blobs = FakeBlobs(entra)
    folder = "exports/focus/20261101-20261130/run 1"
    head = (
        "BilledCost,BillingCurrency,BillingPeriodStart,ChargeCategory,ChargePeriodStart,ChargePeriodEnd,ServiceName,"
        "ProviderName"
    )
    line = "4,USD,2026-11-01T00:00:00Z,Usage,2026-11-18T00:00:00Z,2026-11-19T00:00:00Z,Azure OpenAI,Microsoft"
    blobs.blobs = {
        f"{folder}/part_0.csv": f"{head}\n{line}\n".encode(),
        f"{folder}/manifest.json": json.dumps(
            {
                "blobs": [{"blobName": f"{folder}/part_0.csv"}],
                "runInfo": {"startDate": "2026-11-01T00:00:00", "submittedTime": "2026-11-19T00:00:00Z"},
            }
        ).encode(),
        f"{folder}/zzz": b"",
    }
    with on(entra, blobs) as (login, url):
        total = pulled(
            "azure_openai", url, {"client_secret": entra.secret}, source="export", tenant_id=TENANT, client_id="app",
            export=f"{url}/costs/exports/focus", login_url=login,
        )  # fmt: skip
    assert total == 4


def test_bedrock_cost_explorer(pulled):
    """The signature covers the gateway's host."""
    fake = FakeCostExplorer()
    fake.groups[DAY] = [("Usage", "USE1-NovaPro-output-tokens", "Amazon Bedrock", "1.5", "1", "N/A")]
    with on(fake) as (url,):
        assert pulled("aws_bedrock", url, {"secret_access_key": SECRET}, access_key_id=KEY_ID) == Decimal("1.5")


def test_bedrock_export(pulled):
    """S3 at another address."""
    fake = FakeS3()
    key = "bucket/cur/llm/data/BILLING_PERIOD=2026-11/a b.csv"
    head = (
        "line_item_line_item_type,line_item_product_code,line_item_usage_start_date,line_item_usage_end_date,"
        "line_item_unblended_cost,line_item_currency_code,bill_billing_period_start_date"
    )
    line = "Usage,AmazonBedrock,2026-11-18T00:00:00Z,2026-11-18T01:00:00Z,2.5,USD,2026-11-01T00:00:00Z"
    fake.objects = {
        key: f"{head}\n{line}\n".encode(),
        "bucket/cur/llm/metadata/BILLING_PERIOD=2026-11/llm-Manifest.json": json.dumps(
            {"dataFiles": [f"s3://{key}"]}
        ).encode(),
    }
    with on(fake) as (url,):
        total = pulled(
            "aws_bedrock", "", {"secret_access_key": SECRET}, access_key_id=KEY_ID, source="cur",
            export="s3://bucket/cur/llm", s3_url=url,
        )  # fmt: skip
    assert total == Decimal("2.5")


def test_google(pulled):
    """Tokens and queries from the same fake at its own address."""
    fake = FakeGoogle()
    fake.rows = [Billed(at=DAY_NOON, sku="Gemini 3 Pro Text Input", cost="3", used="1", day="2026-11-18")]
    with on(fake) as (url,):
        total = pulled("google", url, {"service_account_key": fake.key_file}, table=TABLE, token_url=f"{url}/token")
    assert total == 3
