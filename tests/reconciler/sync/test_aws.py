"""AWS Bedrock: signed requests, HTTP 400 throttling, many services, exports by manifest."""

from __future__ import annotations

import gzip
import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from fakes.aws import KEY_ID, SECRET, FakeCostExplorer, FakeS3, failure
from fakes.base import Answer

from spanledger.reconciler.errors import State

DAY = date(2026, 11, 3)
EDITION = "Claude 4.6 Sonnet (Amazon Bedrock Edition)"


@pytest.fixture
def fake() -> FakeCostExplorer:
    return FakeCostExplorer()


@pytest.fixture
def bedrock(rig, fake):
    return rig(
        fake, "aws_bedrock", settings={"access_key_id": KEY_ID}, secrets={"secret_access_key": SECRET}, attempts=3
    )


def test_every_service_of_bedrock_with_units_by_meter(bedrock, fake):
    """Native meters count thousands; a Marketplace unit is unknown; credits and tax are their own lines."""
    fake.final = {DAY}
    fake.groups[DAY] = [
        ("Usage", "USE1-Nova2.0Lite-input-tokens-flex", "Amazon Bedrock", "1.2345678901", "411.522", "N/A"),
        ("Usage", "USW2-anthropic.claude-opus-4-8-mantle-cache-write-tokens-global-standard", "Amazon Bedrock Service",
         "1.2E-7", "0.001", "N/A"),
        ("Usage", "USE1-Claude4.6Sonnet-cache-read-input-token-count-batch", EDITION, "2", "3", "N/A"),
        ("Usage", "USW2-MP:USW2_output_tokens_standard-Units", EDITION, "5", "7", "N/A"),
        ("Usage", "USE1-Guardrail-ContentPolicy", "Amazon Bedrock", "0.5", "10", "N/A"),
        ("Usage", "USE1-BoxUsage", "Amazon EC2", "99", "1", "Hrs"),
        ("Credit", "", "Amazon Bedrock", "-3", "0", "N/A"),
        ("Tax", "", "Amazon Bedrock", "0.9", "0", "N/A"),
    ]  # fmt: skip
    report = bedrock.sync("2026-11-01", "2026-11-05")["cost"]
    assert report.state is State.OK, report.detail
    assert bedrock.lines("model, token_class, service_tier, is_batch, quantity, unit, amount, charge, is_final") == [
        ("", "", "", None, None, "", Decimal("-3"), "credit", True),
        ("", "", "", None, None, "", Decimal("0.9"), "tax", True),
        ("", "guardrails", "", False, 10, "units", Decimal("0.5"), "usage", True),
        ("Claude 4.6 Sonnet", "output_text", "standard", False, None, "", Decimal(5), "usage", True),
        ("Claude4.6Sonnet", "cache_read", "", True, 3000, "tokens", Decimal(2), "usage", True),
        ("Nova2.0Lite", "input_uncached", "flex", False, 411522, "tokens", Decimal("1.2345678901"), "usage", True),
        ("anthropic.claude-opus-4-8", "cache_write_5m", "standard", False, 1, "tokens", Decimal("0.00000012"), "usage",
         True),
    ]  # fmt: skip


def test_pages_throttling_with_400_and_a_wrong_signature(bedrock, fake):
    """NextPageToken is followed; ThrottlingException is retried; a wrong secret is not."""
    fake.page_days = 2
    for day in range(1, 5):
        fake.groups[date(2026, 11, day)] = [("Usage", "USE1-NovaPro-output-tokens", "Amazon Bedrock", "1", "1", "N/A")]
    fake.fail_next(failure("ThrottlingException", "Rate exceeded"))
    report = bedrock.sync("2026-11-01", "2026-11-05")["cost"]
    assert (report.state, report.retries, bedrock.total()) == (State.OK, 1, 4)
    assert len(fake.questions) == 1 + 2 * 2
    fake.fail_next(failure("AccessDeniedException", "User: arn:aws:iam::1:user/x is not authorized"))
    report = bedrock.sync("2026-11-01", "2026-11-05")["cost"]
    assert (report.state, "ce:GetCostAndUsage" in report.detail) == (State.PERMISSION_MISSING, True)


def test_a_wrong_key_is_told_apart(rig, fake):
    """The secret does not fit the key: auth_failed, the secret itself unsaid."""
    made = rig(fake, "aws_bedrock", settings={"access_key_id": KEY_ID}, secrets={"secret_access_key": "wrong-secret"})
    report = made.sync("2026-11-01", "2026-11-05")["cost"]
    assert (report.state, "wrong-secret" in report.detail) == (State.AUTH_FAILED, False)


def test_estimated_flips_to_final(bedrock, fake):
    """The provider's own word goes before any rule of ours."""
    fake.groups[DAY] = [("Usage", "USE1-NovaPro-output-tokens", "Amazon Bedrock", "1", "1", "N/A")]
    bedrock.sync("2026-11-03", "2026-11-04")
    assert bedrock.lines("is_final") == [(False,)]
    fake.final = {DAY}
    bedrock.sync("2026-11-03", "2026-11-04")
    assert bedrock.lines("is_final") == [(True,)]


CUR_ROW = {
    "bill_invoice_id": "",
    "bill_billing_period_start_date": "2026-11-01T00:00:00.000Z",
    "line_item_line_item_type": "Usage",
    "line_item_product_code": "AmazonBedrock",
    "line_item_usage_type": "USE1-Claude4.6Sonnet-input-tokens",
    "line_item_operation": "InvokeModelInference",
    "line_item_usage_start_date": "2026-11-03T10:00:00.000Z",
    "line_item_usage_end_date": "2026-11-03T11:00:00.000Z",
    "line_item_usage_amount": "12.5",
    "line_item_unblended_cost": "0.0375",
    "line_item_currency_code": "USD",
    "line_item_usage_account_id": "123456789012",
    "line_item_resource_id": "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc",
    "line_item_iam_principal": "arn:aws:iam::123456789012:role/web",
    "pricing_unit": "1K tokens",
    "product_product_name": "Amazon Bedrock",
}


def cur_csv(*rows: dict[str, str]) -> bytes:
    lines = [",".join(CUR_ROW), *(",".join({**CUR_ROW, **row}.values()) for row in rows)]
    return gzip.compress("\n".join(lines).encode())


def test_cur_reads_exactly_the_manifests_files(rig):
    """A stale file beside the manifest does not count; hours are summed; other services are left out."""
    fake = FakeS3()
    data = "bucket/cur/llm/data/BILLING_PERIOD=2026-11"
    fake.objects = {
        "bucket/cur/llm/metadata/BILLING_PERIOD=2026-11/llm-Manifest.json": json.dumps(
            {"exportName": "llm", "billingPeriod": "2026-11", "dataFiles": [f"s3://{data}/llm-00001.csv.gz"]}
        ).encode(),
        f"{data}/llm-00001.csv.gz": cur_csv(
            {},
            {"line_item_usage_start_date": "2026-11-03T23:00:00.000Z",
             "line_item_usage_end_date": "2026-11-04T00:00:00Z"},
            {"line_item_product_code": "AmazonEC2", "product_product_name": "EC2", "line_item_unblended_cost": "99",
             "line_item_usage_type": "BoxUsage"},
            {"line_item_line_item_type": "Credit", "line_item_unblended_cost": "-0.01", "bill_invoice_id": "INV1"},
            {"line_item_line_item_type": "Tax", "line_item_unblended_cost": "0.02"},
        ),
        f"{data}/llm-stale.csv.gz": cur_csv({"line_item_unblended_cost": "1000"}),
    }  # fmt: skip
    made = rig(
        fake,
        "aws_bedrock",
        settings={"access_key_id": KEY_ID, "source": "cur", "export": "s3://bucket/cur/llm"},
        secrets={"secret_access_key": SECRET},
    )
    report = made.sync()["cost"]
    assert report.state is State.OK, report.detail
    assert made.lines("toString(period_start), model, token_class, quantity, amount, charge, is_final, project") == [
        ("2026-11-03 00:00:00.000", "Claude4.6Sonnet", "", None, Decimal("-0.01"), "credit", True, "123456789012"),
        ("2026-11-03 00:00:00.000", "Claude4.6Sonnet", "", None, Decimal("0.02"), "tax", False, "123456789012"),
        ("2026-11-03 00:00:00.000", "Claude4.6Sonnet", "input_uncached", 25000, Decimal("0.075"), "usage", False,
         "123456789012"),
    ]  # fmt: skip


def test_marketplace_rows_name_the_model_in_a_map_and_count_in_units(rig, tmp_path: Path):
    """CUR 2.0's ``product`` is a map; what a unit is, no column says: the tokens are unknown, never units as tokens."""
    folder = tmp_path / "BILLING_PERIOD=2026-11"
    folder.mkdir()
    row = {
        **{name: value for name, value in CUR_ROW.items() if name != "product_product_name"},
        "line_item_product_code": "bx2vd3nkbvy3qx",
        "line_item_usage_type": "USE1-MP:USE1_OutputTokenCount-Units",
        "pricing_unit": "Units",
    }
    product = {"product_name": EDITION, "region": "us-east-1"}
    kind = pa.map_(pa.string(), pa.string())
    table = pa.table({**{name: [value] for name, value in row.items()}, "product": pa.array([product], kind)})
    pyarrow.parquet.write_table(table, folder / "x-00001.parquet")
    made = rig(None, "aws_bedrock", settings={"source": "cur", "export": str(tmp_path)}, hosts={"x": FakeS3()})
    report = made.sync()["cost"]
    assert (report.state, report.notes) == (State.OK, {"without_a_number_of_tokens": 1})
    assert made.lines("model, token_class, amount, quantity, unit, dimensions['quantity']") == [
        ("Claude 4.6 Sonnet", "output_text", Decimal("0.0375"), None, "", "12.5 Units")
    ]


@pytest.mark.parametrize(
    ("code", "said", "state", "words"),
    [
        (
            "InvalidSignatureException",
            "Signature expired: 20261120T120000Z is now earlier than",
            "auth_failed",
            "clock",
        ),
        ("RequestExpired", "Request has expired", "auth_failed", "clock"),
        ("DataUnavailableException", "no data for this range", "degraded", "DataUnavailableException"),
        ("InvalidSignatureException", "The request signature does not match", "auth_failed", "refused the credentials"),
    ],
)
def test_refusals_say_what_to_mend(bedrock, fake, code, said, state, words):
    """A wrong clock is not a wrong key."""
    fake.fail_next(failure(code, said))
    report = bedrock.sync("2026-11-01", "2026-11-05")["cost"]
    assert (report.state.value, words in report.detail, report.retries) == (state, True, 0), report.detail


def test_a_bucket_in_another_region(rig):
    """The option to set."""
    fake = FakeS3()
    moved = b"<Error><Code>PermanentRedirect</Code><Message>must be addressed elsewhere</Message></Error>"
    fake.fail_next(Answer(301, moved))
    settings = {"access_key_id": KEY_ID, "source": "cur", "export": "s3://bucket/cur/llm"}
    made = rig(fake, "aws_bedrock", settings=settings, secrets={"secret_access_key": SECRET})
    report = made.sync()["cost"]
    assert (report.state, "set --region" in report.detail) == (State.DEGRADED, True)


def test_a_month_whose_export_is_gone_keeps_its_bill(rig):
    """A bucket's lifecycle removes old exports, and a deeper pull finds nothing there: what was billed stays billed."""
    fake = FakeS3()
    for month in ("10", "11"):
        data = f"bucket/cur/llm/data/BILLING_PERIOD=2026-{month}/llm-00001.csv.gz"
        manifest = f"bucket/cur/llm/metadata/BILLING_PERIOD=2026-{month}/llm-Manifest.json"
        fake.objects[manifest] = json.dumps({"dataFiles": [f"s3://{data}"]}).encode()
        fake.objects[data] = cur_csv(
            {
                "bill_billing_period_start_date": f"2026-{month}-01T00:00:00Z",
                "line_item_usage_start_date": f"2026-{month}-03T10:00:00Z",
                "line_item_usage_end_date": f"2026-{month}-03T11:00:00Z",
            }
        )
    made = rig(
        fake,
        "aws_bedrock",
        settings={"access_key_id": KEY_ID, "source": "cur", "export": "s3://bucket/cur/llm"},
        secrets={"secret_access_key": SECRET},
    )
    made.sync("2026-09-01")
    before = made.lines()
    assert len(before) == 2
    for name in [name for name in fake.objects if "2026-10" in name]:
        del fake.objects[name]
    made.clock.advance(days=1)
    report = made.sync("2026-09-01")["cost"]
    assert (report.state, report.notes["kept_without_an_export"]) == (State.OK, 1)
    assert "1 lines kept without an export" in report.detail
    assert made.lines() == before


def test_focus_parquet_in_a_folder(rig, tmp_path: Path):
    """Decimal and floating-point columns of Parquet arrive with the digits that were written."""
    folder = tmp_path / "data" / "BILLING_PERIOD=2026-11"
    folder.mkdir(parents=True)
    table = pa.table(
        {
            "BilledCost": [0.1, 1.25],
            "BillingCurrency": ["USD", "USD"],
            "BillingPeriodStart": ["2026-11-01T00:00:00Z"] * 2,
            "ChargeCategory": ["Usage", "Usage"],
            "ChargePeriodStart": ["2026-11-03T00:00:00Z", "2026-11-03T01:00:00Z"],
            "ChargePeriodEnd": ["2026-11-03T01:00:00Z", "2026-11-03T02:00:00Z"],
            "ServiceName": ["Amazon Bedrock", "Amazon Elastic Compute Cloud"],
            "ProviderName": ["AWS", "AWS"],
            "x_UsageType": ["USE1-NovaPro-output-tokens", "USE1-BoxUsage"],
            "ConsumedQuantity": pa.array([Decimal("2.5"), Decimal(1)], pa.decimal128(20, 6)),
            "ConsumedUnit": ["1K tokens", "Hours"],
        }
    )
    pyarrow.parquet.write_table(table, folder / "x-00001.snappy.parquet")
    made = rig(None, "aws_bedrock", settings={"source": "focus", "export": str(tmp_path)}, hosts={"x": FakeS3()})
    report = made.sync()["cost"]
    assert report.state is State.OK, report.detail
    assert made.lines("model, token_class, quantity, amount") == [("NovaPro", "output_text", 2500, Decimal("0.1"))]
