"""Prices by command: explained to the last digit, kept, overridden, and calls priced anew without losing the old."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal as D
from pathlib import Path

import pytest

from spanledger.cli.app import run
from spanledger.ledger.client import StoreTarget, connect
from spanledger.ledger.store import Ledger
from spanledger.semconv.observation import Observation
from spanledger.semconv.prices import PriceBook
from spanledger.semconv.usage import Usage

START = int(datetime(2026, 9, 3, 12, tzinfo=UTC).timestamp()) * 10**9


@dataclass
class Store:
    path: Path

    def ingest(self, *observations: Observation) -> None:
        ledger = Ledger.open(StoreTarget.embedded(self.path), PriceBook())
        try:
            ledger.ingest(observations)
        finally:
            ledger.close()

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        client = connect(StoreTarget.embedded(self.path))
        try:
            return [tuple(row) for row in client.query(sql).result_rows]
        finally:
            client.close()


def call(number: int, model: str = "gpt-4o-mini", org: str = "default", **more: object) -> Observation:
    fields: dict[str, object] = {
        "org_id": org,
        "trace_id": number.to_bytes(16, "big"),
        "span_id": number.to_bytes(8, "big"),
        "dialect": "test",
        "received_ns": START,
        "started_ns": START + number,
        "ended_ns": START + number + 10**9,
        "provider": "openai",
        "operation": "chat",
        "request_model": model,
        "response_model": model,
        "response_id": f"chatcmpl-{org}-{number}",
        "usage": Usage(input_uncached=1_123, cache_read=2_048, output_text=207),
        "service_name": "api",
    }
    return Observation(**(fields | more))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("prices"))
    store.ingest(
        call(1),
        call(2, claimed_cost_usd=D("0.00059985")),  # the cached tokens at the full rate
        call(3, claimed_cost_usd=D("0.00044625")),
        call(4, "my-own-model"),
        call(5, "gpt-4o-mimi"),
    )
    return store


def spanledger(store: Store, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run([*arguments, "--data", str(store.path)])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_call_is_explained_from_the_recorded_rates(store: Store, capsys: pytest.CaptureFixture[str]):
    ((call_id, price_id),) = store.rows(
        "SELECT call_id, price_id FROM spanledger.calls WHERE response_id = 'chatcmpl-default-1'"
    )
    code, out, _ = spanledger(store, capsys, "prices", "explain", str(call_id)[:12])
    assert code == 0
    assert "input_uncached: 1,123 x $0.15 / 1,000,000 tokens = $0.00016845" in out
    assert "cache_read: 2,048 x $0.075 / 1,000,000 tokens = $0.0001536" in out
    assert "total = $0.00044625 (list)" in out
    assert store.rows(f"SELECT count() > 0 FROM spanledger.prices WHERE price_id = '{price_id}'") == [(True,)]


def test_an_explanation_is_one_document_for_scripts(store: Store, capsys: pytest.CaptureFixture[str]):
    ((call_id,),) = store.rows("SELECT call_id FROM spanledger.calls WHERE response_id = 'chatcmpl-default-2'")
    code, out, _ = spanledger(store, capsys, "prices", "explain", str(call_id), "--json")
    assert code == 0
    found = json.loads(out)
    assert (found["call_id"], found["cost_usd"], found["claimed_cost_usd"]) == (call_id, "0.00044625", "0.00059985")
    assert found["parts"][1] == {
        "class": "cache_read",
        "quantity": 2_048,
        "rate_usd": "0.075",
        "per": 1_000_000,
        "unit": "tokens",
        "cost_usd": "0.0001536",
    }
    assert sum(D(part["cost_usd"]) for part in found["parts"]) == D(found["cost_usd"])
    assert (found["rates"]["provider"], found["rates"]["model"]) == ("openai", "gpt-4o-mini")


def test_an_unknown_call_is_one_line(store: Store, capsys: pytest.CaptureFixture[str]):
    code, _, err = spanledger(store, capsys, "prices", "explain", "ffffffffffffffff")
    assert code == 2
    assert err.count("\n") == 1
    assert "no call has an id" in err


def test_what_has_no_price_is_listed_with_near_names(store: Store, capsys: pytest.CaptureFixture[str]):
    code, out, _ = spanledger(store, capsys, "prices", "unknown", "--json")
    assert code == 0
    found = {row["model"]: row for row in json.loads(out)}
    assert found.keys() == {"my-own-model", "gpt-4o-mimi"}
    assert found["gpt-4o-mimi"]["number"] == 1
    assert "openai/gpt-4o-mini" in found["gpt-4o-mimi"]["nearest"]


def test_claims_are_compared_and_the_mistake_is_named(store: Store, capsys: pytest.CaptureFixture[str]):
    code, out, _ = spanledger(store, capsys, "prices", "audit", "--json")
    assert code == 0
    found = {row["because"]: (row["calls"], row["difference_usd"]) for row in json.loads(out)}
    assert found == {"cached tokens at the full rate": (1, "0.0001536"), "equal": (1, "0")}


def test_rates_are_shown(store: Store, capsys: pytest.CaptureFixture[str]):
    code, out, _ = spanledger(store, capsys, "prices", "show", "gpt-4o-mini", "--provider", "openai", "--json")
    assert code == 0
    assert ("cache_read", "0.075") in {(r["class"], r["usd"]) for r in json.loads(out) if r["model"] == "gpt-4o-mini"}


def test_a_dearer_place_of_inference_goes_all_the_way(store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    claude = {
        "org": "placed",
        "model": "claude-opus-5",
        "provider": "anthropic",
        "usage": Usage(input_uncached=1_000, output_text=100),
    }
    ignored = D("0.0075")
    store.ingest(
        call(31, **claude, inference_geo="us", claimed_cost_usd=ignored),
        call(32, **claude, inference_geo="global"),
        call(33, **claude | {"provider": "google_vertex"}, server_address="us-east5-aiplatform.googleapis.com"),
    )
    costs = "SELECT cost_usd, cost_status FROM spanledger.call_costs WHERE org_id = 'placed' ORDER BY started_at"
    # 1,000 x 5 + 100 x 25 USD a million, a tenth more in the United States
    assert store.rows(costs)[:2] == [(D("0.00825"), "list"), (ignored, "list")]
    ((call_id, geo),) = store.rows(
        "SELECT call_id, inference_geo FROM spanledger.call_costs WHERE org_id = 'placed' AND claimed_cost_usd > 0"
    )
    assert geo == "us"
    _, out, _ = spanledger(store, capsys, "prices", "explain", str(call_id), "--org", "placed")
    assert "input_uncached: 1,000 x $5.5 / 1,000,000 tokens = $0.0055" in out
    assert "inference_geo us" in out
    # the third call was recorded without its place, as before places were read: pricing anew reads it off the host
    assert store.rows(costs)[2] == (ignored, "bounded")
    reprice = ["reprice", "--since", "2026-09-03", "--until", "2026-09-03", "--org", "placed", "--json"]
    code, out, _ = spanledger(store, capsys, *reprice)
    assert code == 0
    assert [(row["provider"], row["calls"], row["new_usd"]) for row in json.loads(out)] == [
        ("google_vertex", 1, "0.00825")
    ]
    assert store.rows(costs) == [(D("0.00825"), "list"), (ignored, "list"), (D("0.00825"), "list")]
    _, out, _ = spanledger(store, capsys, "prices", "audit", "--org", "placed", "--json")
    assert [row["because"] for row in json.loads(out)] == ["the place of inference ignored"]


def test_a_provider_may_be_spelt_as_spans_spell_it(store: Store, capsys: pytest.CaptureFixture[str]):
    code, out, _ = spanledger(store, capsys, "prices", "show", "gpt-4o-mini", "--provider", "azure.ai.openai", "--json")
    assert code == 0
    assert {row["provider"] for row in json.loads(out)} == {"azure_openai"}


def test_a_discount_is_written_and_priced_anew(store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    store.ingest(call(11, org="acme"), call(12, "in-house", org="acme"))
    file = tmp_path / "prices.toml"
    override = ["prices", "override", "--prices", str(file), "--provider", "openai", "--model", "gpt-4o-mini"]
    assert run([*override, "--discount", "10%", "--from", "2026-09-01"]) == 0
    with file.open("a") as text:
        text.write('\n[[rates]]\nprovider = "openai"\nmodel = "in-house"\nper_million = { input = 1, output = 2 }\n')
    capsys.readouterr()
    reprice = ["reprice", "--since", "2026-09-03", "--until", "2026-09-03", "--org", "acme", "--prices", str(file)]
    code, out, err = spanledger(store, capsys, *reprice, "--dry-run", "--json")
    assert code == 0, err
    wanted = {("gpt-4o-mini", "0.00044625", "0.000401625"), ("in-house", None, "0.003585")}
    assert {(r["model"], r["old_usd"], r["new_usd"]) for r in json.loads(out)} == wanted
    before = "SELECT sum(cost_usd) FROM spanledger.calls WHERE org_id = 'acme'"
    assert store.rows(before) == [(D("0.00044625"),)]
    code, out, _ = spanledger(store, capsys, *reprice, "--json")
    assert {(r["model"], r["old_usd"], r["new_usd"]) for r in json.loads(out)} == wanted
    assert store.rows(before) == [(D("0.003986625"),)]
    assert store.rows(
        "SELECT cost_usd, reason FROM spanledger.calls_history WHERE org_id = 'acme' AND model = 'gpt-4o-mini'"
    ) == [(D("0.00044625"), "repriced")]
    assert store.rows("SELECT sum(cost_usd) FROM spanledger.usage_by_day WHERE org_id = 'acme'") == [
        (D("0.003986625"),)
    ]
    assert "Nothing changes" in spanledger(store, capsys, *reprice)[1]


def test_counters_do_not_go_down_when_prices_do(store: Store, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    store.ingest(call(21, org="cheap"))
    total = "SELECT sum(value) FROM spanledger.counters WHERE org_id = 'cheap' AND metric = 'llm_cost_usd_total'"
    before = store.rows(total)
    file = tmp_path / "prices.toml"
    override = ["prices", "override", "--prices", str(file), "--provider", "openai", "--discount", "50%"]
    run([*override, "--from", "2026-09-01"])
    reprice = ["reprice", "--since", "2026-09-03", "--org", "cheap", "--prices", str(file)]
    assert spanledger(store, capsys, *reprice)[0] == 0
    assert before == [(D("0.00044625"),)]
    assert store.rows(total) == before


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["reprice", "--since", "yesterday"], "--since: not a day"),
        (["reprice", "--since", "2026-09-03", "--until", "2026-09-01"], "swap them"),
        (["prices", "show", "no-such-model-anywhere"], "nearest"),
        (["prices", "show", "gpt-4o", "--provider", "nobody"], "--provider: the price book has no prices of 'nobody'"),
        (["prices", "audit", "--limit", "-1"], "--limit"),
        (["prices", "unknown", "--prices", "missing.toml"], "missing.toml"),
    ],
)
def test_user_errors_are_one_line(store: Store, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str):
    code, _, err = spanledger(store, capsys, *arguments)
    assert code == 2
    assert err.count("\n") == 1
    assert says in err


def test_a_wrong_discount_leaves_the_file_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    file = tmp_path / "prices.toml"
    file.write_text("# mine\n")
    override = ["prices", "override", "--prices", str(file), "--provider", "openai", "--from", "2026-09-01"]
    assert run([*override, "--discount", "a lot"]) == 2
    assert "not a percentage" in capsys.readouterr().err
    assert file.read_text() == "# mine\n"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.toml", None, "nothing was written: {file}:4: provider: unknown provider 'opnai'"),
        ("latin.toml", "# schön\n".encode("latin-1"), "nothing was written: {file}:1: file: is not UTF-8 text"),
        ("prices.yaml", b"discounts: []\n", "{file}: rules are appended to a .toml file"),
        ("absent/prices.toml", None, "nothing was written: "),
    ],
)
def test_a_refused_override_leaves_everything_as_it_was(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, content: bytes | None, says: str
):
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    before = sorted(tmp_path.rglob("*"))
    override = ["prices", "override", "--prices", str(file), "--provider", "opnai", "--from", "2026-09-01"]
    assert run([*override, "--discount", "4%"]) == 2
    err = capsys.readouterr().err
    assert says.format(file=file) in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert content is None or file.read_bytes() == content
