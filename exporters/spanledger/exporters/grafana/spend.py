"""The dashboard "LLM spend": money, tokens and requests by provider, model and organisation, and whether to trust them.

Several exporters may show the same ledger (and one may be scraped twice): every query first takes the highest of equal
series, so that nothing is added up twice.
"""

from __future__ import annotations

from typing import Final

from spanledger.exporters.grafana.model import Dashboard, Panel, Query, Row, Variable

CHOSEN: Final = 'org_id=~"$org_id", provider=~"$provider", model=~"$model"'
CHOSEN_ORG: Final = 'org_id=~"$org_id"'


def _rate(metric: str, by: str, *, window: str = "$__rate_interval", scale: str = "") -> str:
    return f"sum by ({by}) (max by (provider, model, org_id) (rate({metric}{{{CHOSEN}}}[{window}]))){scale}"


def _increase(metric: str, by: str = "") -> str:
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (max by (provider, model, org_id) (increase({metric}{{{CHOSEN}}}[$__range])))"


def _gauge(metric: str, labels: str, by: str = "") -> str:
    grouping = f" by ({by})" if by else ""
    selector = CHOSEN if "model" in labels else CHOSEN_ORG
    return f"sum{grouping} (max by ({labels}) ({metric}{{{selector}}}))"


_USD: Final = "currencyUSD"
_WARN: Final = ((0.0, "green"), (1.0, "orange"))

_TOTALS: Final = Row(
    "Totals",
    [
        Panel(
            title="Spend, last 24 h",
            description="Exact sum from the ledger, whatever the time range. Unpriced calls are not in it: see beside.",
            kind="stat",
            queries=[Query(_gauge("llm_cost_usd_rolling_24h", "org_id"))],
            unit=_USD,
            decimals=2,
            width=4,
            height=4,
        ),
        Panel(
            title="Spend in range",
            description="Growth of the cost counter over the chosen time range, as Prometheus saw it.",
            kind="stat",
            queries=[Query(_increase("llm_cost_usd_total"))],
            unit=_USD,
            decimals=2,
            width=4,
            height=4,
        ),
        Panel(
            title="Requests in range",
            description="Failed ones included.",
            kind="stat",
            queries=[Query(_increase("llm_requests_total"))],
            decimals=0,
            width=4,
            height=4,
        ),
        Panel(
            title="Tokens in range",
            description="Input and output.",
            kind="stat",
            queries=[Query(_increase("llm_tokens_total"))],
            width=4,
            height=4,
        ),
        Panel(
            title="Unpriced calls, last 24 h",
            description="Calls whose cost is unknown (no price, or no usage reported): every sum leaves them out.",
            kind="stat",
            queries=[Query(_gauge("spanledger_unpriced_calls_24h", "provider, model, org_id") + " or vector(0)")],
            decimals=0,
            width=4,
            height=4,
            steps=_WARN,
        ),
        Panel(
            title="Not counted twice, last 24 h",
            description="What duplicate spans would have added to the spend had they been counted.",
            kind="stat",
            queries=[Query(_gauge("spanledger_duplicates_suppressed_usd_24h", "reason, org_id") + " or vector(0)")],
            unit=_USD,
            decimals=2,
            width=4,
            height=4,
        ),
    ],
)

_SPEND: Final = Row(
    "Spend",
    [
        Panel(
            title="Spend per hour, by provider",
            description="US dollars per hour at the current pace.",
            kind="timeseries",
            queries=[Query(_rate("llm_cost_usd_total", "provider", scale=" * 3600"), "{{provider}}")],
            unit=_USD,
            stack=True,
        ),
        Panel(
            title="Spend per hour, by model",
            description="The ten dearest models; US dollars per hour at the current pace.",
            kind="timeseries",
            queries=[Query(f"topk(10, {_rate('llm_cost_usd_total', 'model', scale=' * 3600')})", "{{model}}")],
            unit=_USD,
        ),
        Panel(
            title="Spend of the last 24 h, by organisation",
            description="Rolling, exact from the ledger.",
            kind="timeseries",
            queries=[Query(_gauge("llm_cost_usd_rolling_24h", "org_id", "org_id"), "{{org_id}}")],
            unit=_USD,
        ),
        Panel(
            title="Price per million tokens, by model",
            description="What a million tokens, input and output together, cost on average.",
            kind="timeseries",
            queries=[
                Query(
                    f"{_rate('llm_cost_usd_total', 'model', window='1h', scale=' * 1e6')}"
                    f" / ({_rate('llm_tokens_total', 'model', window='1h')} > 0)",
                    "{{model}}",
                )
            ],
            unit=_USD,
        ),
        Panel(
            title="Spend in range, by organisation, provider and model",
            description="Growth of the cost counter over the chosen time range.",
            kind="table",
            queries=[Query(_increase("llm_cost_usd_total", "org_id, provider, model") + " > 0")],
            unit=_USD,
            width=24,
        ),
    ],
)

_VOLUME: Final = Row(
    "Tokens and requests",
    [
        Panel(
            title="Tokens per second, by model",
            description="Input and output.",
            kind="timeseries",
            queries=[Query(f"topk(10, {_rate('llm_tokens_total', 'model')})", "{{model}}")],
        ),
        Panel(
            title="Tokens per second, by organisation",
            description="Input and output.",
            kind="timeseries",
            queries=[Query(_rate("llm_tokens_total", "org_id"), "{{org_id}}")],
            stack=True,
        ),
        Panel(
            title="Requests per second, by provider",
            description="Failed ones included.",
            kind="timeseries",
            queries=[Query(_rate("llm_requests_total", "provider"), "{{provider}}")],
            unit="reqps",
            stack=True,
        ),
        Panel(
            title="Requests per second, by organisation",
            description="Those whose model nobody told are a line of their own.",
            kind="timeseries",
            queries=[
                Query(_rate("llm_requests_total", "org_id"), "{{org_id}}"),
                Query(
                    "sum by (org_id) (max by (org_id) "
                    f"(rate(llm_requests_unknown_model_total{{{CHOSEN_ORG}}}[$__rate_interval])))",
                    "{{org_id}}, model unknown",
                ),
            ],
            unit="reqps",
        ),
    ],
)

_TRUST: Final = Row(
    "Can these numbers be trusted?",
    [
        Panel(
            title="Unpriced calls of the last 24 h, by model",
            description="Add a price with an override file, then run 'spanledger reprice'.",
            kind="timeseries",
            queries=[
                Query(
                    _gauge("spanledger_unpriced_calls_24h", "provider, model, org_id", "provider, model"),
                    "{{provider}} {{model}}",
                )
            ],
        ),
        Panel(
            title="Duplicates of the last 24 h, by what gave them away",
            description="Spans and events recognised as further evidence of calls counted already.",
            kind="timeseries",
            queries=[Query(_gauge("spanledger_duplicates_suppressed_24h", "reason, org_id", "reason"), "{{reason}}")],
        ),
        Panel(
            title="Ingest lag",
            description="Age of the newest evidence when it reached the ledger.",
            kind="timeseries",
            queries=[Query("max by (instance) (spanledger_ingest_lag_seconds)", "{{instance}}")],
            unit="s",
        ),
        Panel(
            title="Journal",
            description="Bytes received and not yet in the ledger, and where the journal would refuse more.",
            kind="timeseries",
            queries=[
                Query("max by (instance) (spanledger_journal_bytes)", "{{instance}}"),
                Query("max by (instance) (spanledger_journal_limit_bytes)", "{{instance}}, limit"),
            ],
            unit="bytes",
        ),
        Panel(
            title="Refused export requests per second",
            description="By reason. Senders try again after journal_full; all other reasons need somebody's hand.",
            kind="timeseries",
            queries=[
                Query("sum by (reason) (rate(spanledger_refused_requests_total[$__rate_interval]))", "{{reason}}")
            ],
            unit="reqps",
        ),
        Panel(
            title="Counters ahead of the ledger",
            description="Corrections that later growth will use up; cost counters in US dollars.",
            kind="timeseries",
            queries=[
                Query(
                    _gauge("spanledger_counter_adjustment_pending", "metric, org_id", "metric"),
                    "{{metric}}",
                )
            ],
        ),
        Panel(
            title="Scrapes that read the ledger",
            description="0: the store did not answer, and the last known values are shown.",
            kind="timeseries",
            queries=[Query("min by (instance) (spanledger_scrape_success)", "{{instance}}")],
            width=24,
            height=5,
        ),
    ],
)

_PERIODS: Final = "org_id, connection, provider, period"

_BILLS: Final = Row(
    "Do the invoices match?",
    [
        Panel(
            title="Latest tie-out: difference that needs attention",
            description="Share of the larger of invoice and ledger; 'spanledger reconcile' names every cent of it.",
            kind="table",
            queries=[Query(f"max by ({_PERIODS}) (spanledger_tieout_variance_ratio{{{CHOSEN_ORG}}})")],
            unit="percentunit",
            decimals=2,
            height=6,
        ),
        Panel(
            title="Latest tie-out: billed minus booked",
            description="US dollars, expected differences (timing, tax, credits) included.",
            kind="table",
            queries=[Query(f"max by ({_PERIODS}) (spanledger_tieout_difference_usd{{{CHOSEN_ORG}}})")],
            unit=_USD,
            height=6,
        ),
        Panel(
            title="Latest tie-out: coverage",
            description="Share of the invoice that the ledger matches.",
            kind="table",
            queries=[Query(f"max by ({_PERIODS}) (spanledger_tieout_coverage_ratio{{{CHOSEN_ORG}}})")],
            unit="percentunit",
            decimals=1,
            height=6,
        ),
        Panel(
            title="Age of the providers' data",
            description="Time since each stream of a connection was last pulled in full.",
            kind="timeseries",
            queries=[
                Query(
                    f"max by (org_id, connection, stream) (spanledger_sync_age_seconds{{{CHOSEN_ORG}}})",
                    "{{connection}} {{stream}}",
                )
            ],
            unit="s",
            height=6,
        ),
    ],
)


def _budget(what: str) -> str:
    return f"max by (org_id, budget, period) (spanledger_budget_{what}_usd{{{CHOSEN_ORG}}})"


_BUDGETS: Final = Row(
    "Will the budgets hold?",
    [
        Panel(
            title="Budgets: share that is spent",
            description="Of the current day or month (UTC). Budgets stand in spanledger.toml.",
            kind="table",
            queries=[Query(f"{_budget('spent')} / {_budget('limit')}")],
            unit="percentunit",
            decimals=1,
            height=6,
        ),
        Panel(
            title="Budgets: forecast as a share of the limit",
            description="What will be spent by the end of the period at the recent pace; above 100 % it does not hold.",
            kind="table",
            queries=[Query(f"{_budget('forecast')} / {_budget('limit')}")],
            unit="percentunit",
            decimals=1,
            height=6,
        ),
        Panel(
            title="Budgets: spent, forecast and limit",
            description="US dollars; each budget begins at 0 with its period.",
            kind="timeseries",
            queries=[
                Query(_budget(what), f"{{{{budget}}}} ({{{{period}}}}): {what}")
                for what in ("spent", "forecast", "limit")
            ],
            unit=_USD,
            width=24,
        ),
    ],
)

SPEND: Final = Dashboard(
    uid="spanledger-spend",
    title="LLM spend",
    description="What LLM calls cost, by provider, model and organisation, from Spanledger's counters.",
    rows=(_TOTALS, _SPEND, _BUDGETS, _VOLUME, _TRUST, _BILLS),
    variables=(
        Variable(name="org_id", label="Organisation", metric="llm_requests_total"),
        Variable(name="provider", label="Provider", metric="llm_requests_total"),
        Variable(name="model", label="Model", metric="llm_requests_total"),
    ),
)
