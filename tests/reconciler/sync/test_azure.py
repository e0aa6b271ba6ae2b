"""Azure: tokens, positional rows, POSTed next links, the longest of several waits, exports."""

from __future__ import annotations

import gzip
import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from fakes.azure import SUBSCRIPTION, TENANT, FakeBlobs, FakeCostManagement, FakeEntra
from fakes.base import answer

from spanledger.reconciler.errors import State

DAY = date(2026, 11, 3)
RESOURCE = f"{SUBSCRIPTION}/resourceGroups/RG/providers/Microsoft.CognitiveServices/accounts/AOAI-prod"


@pytest.fixture
def entra() -> FakeEntra:
    return FakeEntra()


@pytest.fixture
def fake(entra) -> FakeCostManagement:
    return FakeCostManagement(entra)


@pytest.fixture
def azure(rig, fake, entra):
    return rig(
        fake,
        "azure_openai",
        settings={"tenant_id": TENANT, "client_id": "app", "scope": SUBSCRIPTION},
        secrets={"client_secret": entra.secret},
        hosts={"login.microsoftonline.com": entra, "management.azure.com": fake},
    )


def test_rows_are_read_through_their_columns(azure, fake):
    """Another column order, floats, two currencies, an unknown meter, a PTU meter."""
    fake.order = ["Currency", "Meter", "UsageDate", "Cost", "ResourceId", "UsageQuantity"]
    fake.rows[DAY] = [
        (2.10333307059661, 841.333, RESOURCE, "gpt 4.1 Inp glbl Tokens", "USD"),
        (1.5, 2, RESOURCE, "GPT 5 Mini cached Inpt Glbl 1M Tokens", "EUR"),
        (30, 24, RESOURCE, "Provisioned Managed Global Unit", "USD"),
        (7, 1, RESOURCE, "Quantum Flux", "USD"),
    ]
    report = azure.sync("2026-11-01", "2026-11-06")["cost"]
    assert (report.state, report.notes["unclassified"], report.notes["without_rate"]) == (State.OK, 1, 1)
    columns = "line_item, model, token_class, quantity, amount, currency, workspace, dimensions['deployment']"
    assert azure.lines(columns) == [
        ("GPT 5 Mini cached Inpt Glbl 1M Tokens", "gpt-5-mini", "cache_read", 2000000, Decimal("1.5"), "EUR",
         "aoai-prod", "global"),
        ("Provisioned Managed Global Unit", "", "provisioned_hours", 24, 30, "USD", "aoai-prod", ""),
        ("Quantum Flux", "", "", 1, 7, "USD", "aoai-prod", ""),
        ("gpt 4.1 Inp glbl Tokens", "gpt-4.1", "input_uncached", 841333, Decimal("2.103333070597"), "USD",
         "aoai-prod", "global"),
    ]  # fmt: skip


def test_next_links_are_posted_with_the_same_body(azure, fake):
    """Three pages; a link to the usual host works behind a gateway's address too."""
    fake.rows[DAY] = [(1, 1, RESOURCE, f"gpt 4.1 Inp glbl Tokens {index}", "USD") for index in range(5)]
    fake.page_rows = 2
    report = azure.sync("2026-11-01", "2026-11-06")["cost"]
    assert (report.lines, report.requests) == (5, 3)
    assert len({question.body for question in fake.questions}) == 1


def test_a_link_to_another_host_is_not_followed(azure, fake):
    """The token stays at home."""
    fake.address = "https://evil.example"
    fake.rows[DAY] = [(1, 1, RESOURCE, f"m{index}", "USD") for index in range(3)]
    fake.page_rows = 2
    report = azure.sync("2026-11-01", "2026-11-06")["cost"]
    assert (report.state, "evil.example" in report.detail) == (State.DEGRADED, True)


def test_no_content_is_an_empty_day(azure):
    """204 replaces what was there with nothing."""
    report = azure.sync("2026-11-01", "2026-11-06")["cost"]
    assert (report.state, report.lines, report.slots_changed) == (State.OK, 0, 5)


def test_the_longest_wait_counts(azure, fake):
    """Several retry-after headers: their maximum."""
    headers = {
        "x-ms-ratelimit-microsoft.costmanagement-qpu-retry-after": "3",
        "x-ms-ratelimit-microsoft.costmanagement-client-retry-after": "11",
        "retry-after": "5",
    }
    fake.fail_next(answer({"error": {"code": "429", "message": "Too many requests. Please retry."}}, 429, **headers))
    report = azure.sync("2026-11-01", "2026-11-06")["cost"]
    assert report.state is State.OK
    assert azure.clock.slept[-1] == 11


def test_a_token_that_dies_on_the_way_is_renewed_once(azure, fake, entra):
    """401 in the middle of a pull: a new token, the same question."""
    fake.rows[DAY] = [(1, 1, RESOURCE, "gpt 4.1 Inp glbl Tokens", "USD")]
    fake.fail_next(answer({"error": {"code": "ExpiredAuthenticationToken", "message": "expired"}}, 401))
    assert azure.sync("2026-11-01", "2026-11-06")["cost"].state is State.OK
    assert len(entra.issued) == 2


def test_a_wrong_secret_and_a_missing_role(azure, fake, entra):
    """Entra's words for the secret, the role's name for the scope."""
    fake.fail_next(answer({"error": {"code": "RBACAccessDenied", "message": "no"}}, 403))
    report = azure.sync("2026-11-01", "2026-11-06")["cost"]
    assert (report.state, "Cost Management Reader" in report.detail) == (State.PERMISSION_MISSING, True)
    entra.secret = "other"
    report = azure.sync("2026-11-01", "2026-11-06")["cost"]
    assert (report.state, "AADSTS7000215" in report.detail) == (State.AUTH_FAILED, True)
    assert "client-secret-fake" not in report.detail


def test_tokens_of_a_meter_that_does_not_say_its_unit_are_unknown(azure, fake):
    """Thousands or millions: the name says neither, so the money counts and the tokens do not."""
    fake.rows[DAY] = [(1.5, 3, RESOURCE, "6-sol ShortCo Cd Inp Std Gl", "USD")]
    report = azure.sync("2026-11-01", "2026-11-06")["cost"]
    assert azure.lines("model, token_class, amount, quantity, unit, dimensions['quantity']") == [
        ("gpt-6-sol", "cache_read", Decimal("1.5"), None, "", "3 units")
    ]
    assert (report.state, report.notes) == (State.OK, {"without_a_number_of_tokens": 1})


def test_a_scope_that_azure_does_not_know(azure, fake):
    """The option to look at, and the role."""
    said = {"error": {"code": "SubscriptionNotFound", "message": "The subscription could not be found."}}
    fake.fail_next(answer(said, 404), when=lambda question: question.path.endswith("/query"))
    report = azure.sync("2026-11-01", "2026-11-06")["cost"]
    assert (report.state, "check --scope" in report.detail) == (State.PERMISSION_MISSING, True)
    assert "Cost Management Reader" in report.detail


FOCUS_HEAD = (
    "BilledCost,BillingCurrency,BillingPeriodStart,BillingPeriodEnd,ChargeCategory,ChargePeriodStart,ChargePeriodEnd,"
    "ServiceName,ProviderName,x_SkuMeterName,ConsumedQuantity,ConsumedUnit"
)


def focus(amount: str, hour: int = 0) -> str:
    return (
        f"{amount},USD,2026-11-01T00:00:00Z,2026-12-01T00:00:00Z,Usage,2026-11-03T{hour:02}:00:00Z,"
        f"2026-11-03T{hour + 1:02}:00:00Z,Azure OpenAI,Microsoft,gpt 4.1 Inp glbl Tokens,1,1K Tokens"
    )


def export(run: str, submitted: str, *rows: str) -> dict[str, bytes]:
    folder = f"exports/focus/20261101-20261130/{run}"
    blob = f"{folder}/part_0_0001.csv.gz"
    manifest = {
        "blobCount": 1,
        "blobs": [{"blobName": blob, "dataRowCount": len(rows)}],
        "exportConfig": {"type": "FocusCost", "dataVersion": "1.2-preview"},
        "runInfo": {"startDate": "2026-11-01T00:00:00", "runId": run, "submittedTime": submitted},
    }
    return {
        blob: gzip.compress("\n".join((FOCUS_HEAD, *rows)).encode()),
        f"{folder}/manifest.json": json.dumps(manifest).encode(),
    }


def test_only_the_newest_run_of_an_export_counts(rig, entra):
    """Two runs of November in the container, listed over several pages; hours become days."""
    blobs = FakeBlobs(entra)
    blobs.blobs = export("aaa", "2026-11-19T07:00:00Z", focus("9")) | export(
        "bbb", "2026-11-20T07:00:00Z", focus("1.25", 0), focus("0.75", 5)
    )
    made = rig(
        blobs,
        "azure_openai",
        settings={
            "tenant_id": TENANT, "client_id": "app", "source": "export",
            "export": "https://acct.blob.core.windows.net/costs/exports/focus",
        },
        secrets={"client_secret": entra.secret},
        hosts={"login.microsoftonline.com": entra, "acct.blob.core.windows.net": blobs},
    )  # fmt: skip
    report = made.sync()["cost"]
    assert report.state is State.OK, report.detail
    assert made.lines("toString(period_start), amount, quantity, unit, model, slot") == [
        ("2026-11-03 00:00:00.000", Decimal(2), 2000, "tokens", "gpt-4.1", "2026-11")
    ]


def test_an_export_folder_on_this_machine(rig, tmp_path: Path):
    """The same layout on disk needs no credential; the user's own meter table holds there, too."""
    for name, body in export("aaa", "2026-11-19T07:00:00Z", focus("9")).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    meters = tmp_path / "meters.csv"
    meters.write_text("meter,model,token_class\ngpt 4.1 Inp glbl Tokens,our-fine-tune,input_audio\n")
    settings = {"source": "export", "export": str(tmp_path), "meters": str(meters)}
    made = rig(None, "azure_openai", settings=settings, hosts={"x": FakeEntra()})
    made.sync()
    assert made.lines("amount, model, token_class") == [(9, "our-fine-tune", "input_audio")]


def test_an_export_folder_that_is_not_there_changes_nothing(rig, tmp_path: Path):
    """A disk that is not mounted is no empty bill."""
    for name, body in export("aaa", "2026-11-19T07:00:00Z", focus("9")).items():
        path = tmp_path / "exported" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    settings = {"source": "export", "export": str(tmp_path / "exported")}
    made = rig(None, "azure_openai", settings=settings, hosts={"x": FakeEntra()})
    made.sync()
    (tmp_path / "exported").rename(tmp_path / "unmounted")
    report = made.sync()["cost"]
    assert (report.state, "is not a folder" in report.detail) == (State.DEGRADED, True)
    (tmp_path / "exported").mkdir()
    assert made.sync()["cost"].notes["kept_without_an_export"] == 1
    assert made.total() == 9
