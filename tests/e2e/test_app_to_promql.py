"""The whole way: an unmodified application, opentelemetry-instrument, OTLP, the ledger, a real Prometheus, PromQL."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest


def token_for(org: str, served: Any, spanledger: Callable[..., Any]) -> str:
    made = spanledger("tokens", "create", "--org", org, "--data", str(served.data))
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


@pytest.mark.parametrize("forwarded", [False, True], ids=["direct", "through rotel"])
def test_promql_gives_what_the_provider_billed(
    forwarded: bool,
    serve: Callable[..., Any],
    spanledger: Callable[..., Any],
    run_app: Callable[..., None],
    billed: Callable[[], Any],
    prometheus: Callable[[str, str], Any],
    request: pytest.FixtureRequest,
    wait_for: Callable[..., Any],
) -> None:
    served = serve()
    token = token_for("acme", served, spanledger)
    otlp = served.url("otlp-grpc")
    if forwarded:
        run_app(request.getfixturevalue("rotel")(otlp, token))
    else:
        run_app(otlp, token)
    accounts = billed()
    calls = sum(account.calls for account in accounts.values())
    wait_for(lambda: served.sql("SELECT count() AS n FROM calls WHERE status = 'ok'")[0]["n"] >= calls, "all calls")

    rows = served.sql(
        "SELECT org_id, response_model AS model, count() AS calls, sum(input_tokens) AS input, "
        "sum(output_tokens) AS output, sum(cost_usd) AS cost FROM calls WHERE status = 'ok' GROUP BY ALL"
    )
    assert {row["org_id"] for row in rows} == {"acme"}
    ledger = {row["model"]: (row["calls"], row["input"], row["output"] or 0, Decimal(row["cost"])) for row in rows}
    assert ledger == {
        model: (account.calls, account.input_tokens, account.output_tokens, account.cost)
        for model, account in accounts.items()
    }

    watching = prometheus(served.url("http"), token)
    dollars = wait_for(lambda: watching.query("sum by (model) (llm_cost_usd_total)"), "the first scrape")
    assert dollars == {(model,): float(account.cost) for model, account in accounts.items()}
    tokens = watching.query('sum by (model) (llm_tokens_total{org_id="acme"})')
    assert tokens == {(m,): float(account.input_tokens + account.output_tokens) for m, account in accounts.items()}
    total = sum((account.cost for account in accounts.values()), Decimal(0))
    assert watching.query("llm_cost_usd_rolling_24h") == {
        key: float(total) for key in watching.query("llm_cost_usd_rolling_24h")
    }


def test_another_organisation_sees_nothing(
    serve: Callable[..., Any],
    spanledger: Callable[..., Any],
    run_app: Callable[..., None],
    wait_for: Callable[..., Any],
) -> None:
    served = serve()
    acme, beta = token_for("acme", served, spanledger), token_for("beta", served, spanledger)
    run_app(served.url("otlp-grpc"), acme)
    served.settle()
    assert 'org_id="acme"' in served.get("/metrics", acme)
    assert "acme" not in served.get("/metrics", beta)


def test_labels_follow_the_calls(serve: Callable[..., Any], run_app: Callable[..., None], fake_provider: Any) -> None:
    served = serve()
    run_app(served.url("otlp-grpc"))
    served.settle()
    rows = served.sql("SELECT DISTINCT team_id, feature, service_name FROM calls ORDER BY team_id, feature")
    assert [(row["team_id"], row["feature"], row["service_name"]) for row in rows] == [
        ("platform", "code-review", "example"),
        ("platform", "nightly-summary", "example"),
        ("search", "ranking", "example"),
        ("support", "chat", "example"),
    ]
    ((total,),) = [tuple(row.values()) for row in served.sql("SELECT sum(cost_usd) AS total FROM calls")]
    assert Decimal(total) == fake_provider.books.total()
    refused = served.sql("SELECT status, error_type, cost_usd FROM calls WHERE status = 'error'")
    assert len(refused) == fake_provider.books.refused == 1
    assert refused[0]["cost_usd"] is None
