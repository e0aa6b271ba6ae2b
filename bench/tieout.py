"""How long a large month takes to tie out: 100 million calls, two providers, costs without quantities, usage reports.

    taskset -c 0,1 python bench/tieout.py                     # 100 million calls
    taskset -c 0,1 python bench/tieout.py --projects 10       # a smaller company

The rollups of the month are made by the store itself, as the ledger would have written them, and the bill from them:
costs by day, project, model and class, usage by key, tier and batch, too. The bill has a project that nobody
instrumented, a discount on one model, a credit and tax; the tie-out must name them to the cent, or this script fails.
Reported are wall time, CPU time and the peak of the memory of a process that does nothing but the tie-out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from spanledger.ledger.client import StoreTarget, connect
from spanledger.ledger.migrate import migrate
from spanledger.reconciler.clock import SystemClock
from spanledger.reconciler.tieout.items import ResidualName
from spanledger.reconciler.tieout.model_names import ModelNames
from spanledger.reconciler.tieout.report import tie_out_period
from spanledger.reconciler.tieout.run import Period

DAYS: Final = 30
MODELS: Final = {"openai": 12, "anthropic": 8}
KEYS, TEAMS, FEATURES, TIERS = 2, 2, 4, 2
DISCOUNT: Final = Decimal("0.9")

ROLLUPS: Final = """
INSERT INTO spanledger.usage_by_day_settled
    (bucket, org_id, provider, model, team_id, feature, service_name, environment, project, workspace,
     api_key_fingerprint, operation, service_tier, is_batch, cost_status, calls, errors, unpriced_calls, input_tokens,
     output_tokens, usage, class_cost_usd, cost_usd, cost_low_usd, cost_high_usd, version)
WITH
    {models} AS models, {projects} AS projects,
    number % {tiers} AS tier, intDiv(number, {tiers}) AS n1,
    n1 % {features} AS feature_no, intDiv(n1, {features}) AS n2,
    n2 % {teams} AS team_no, intDiv(n2, {teams}) AS n3,
    n3 % {keys} AS key_no, intDiv(n3, {keys}) AS n4,
    n4 % projects AS project_no, intDiv(n4, projects) AS n5,
    n5 % models AS model_no, intDiv(n5, models) AS day_no,
    toUInt64({calls} + cityHash64(number) % 21 - 10) AS count,
    count * (900 + cityHash64(number, 1) % 400) AS plain,
    count * (cityHash64(number, 2) % 3000) AS cached,
    count * (100 + cityHash64(number, 3) % 300) AS output,
    toDecimal128(0.0000001, 12) * (5 + model_no) AS rate,
    toDecimal128(plain, 12) * rate AS plain_cost,
    toDecimal128(cached, 12) * rate / 10 AS cached_cost,
    toDecimal128(output, 12) * rate * 5 AS output_cost
SELECT
    toDateTime('2026-09-01 00:00:00', 'UTC') + toIntervalDay(day_no) AS bucket,
    'acme', '{provider}', concat('{provider}-model-', toString(model_no), '-2026-01-15'),
    concat('team-', toString(project_no * 2 + team_no)), concat('feature-', toString(feature_no)), 'api', 'production',
    if('{provider}' = 'openai', concat('proj_', toString(project_no)), ''),
    if('{provider}' = 'openai', '', concat('wrkspc_', toString(project_no))),
    concat('fp-', toString(key_no)), 'chat', if(tier = 0, 'default', 'flex'), tier = 1 AND key_no = 1, 'list',
    count, 0, 0, plain + cached, output,
    map('input_uncached', plain, 'cache_read', cached, 'output_text', output),
    map('input_uncached', plain_cost, 'cache_read', cached_cost, 'output_text', output_cost),
    plain_cost + cached_cost + output_cost AS cost, cost, cost, 1
FROM numbers({rows})
"""

LINES: Final = """
INSERT INTO spanledger.bill_line_versions
    (org_id, connection, stream, slot, version, provider, kind, period_start, period_end, model, token_class, project,
     workspace, api_key, service_tier, is_batch, line_item, quantity, unit, amount, currency, amount_usd, charge,
     is_final, source_id, fetched_at)
SELECT
    'acme', '{provider}', '{kind}', toString(toDate(bucket)), 1, '{provider}', '{kind}', bucket,
    bucket + toIntervalDay(1), replaceOne(model, '-2026-01-15', ''), class, project_, workspace_, {key}, {tier},
    {batch},
    concat(model, ', ', class), {quantity}, 'tokens', {amount} AS money, 'USD', money, 'usage', 1,
    concat('page-', toString(cityHash64(bucket, model, class, project_, workspace_) % 1000)), now64(3)
FROM
(
    SELECT bucket, model, api_key_fingerprint, service_tier, is_batch, arrayJoin(mapKeys(usage)) AS class,
        usage[class] AS quantity, class_cost_usd[class] AS cost,
        -- The first project's calls once more, under the name of one that nobody instrumented.
        arrayJoin(if(project IN ('proj_0') OR workspace IN ('wrkspc_0'), ['', '_unseen'], [''])) AS suffix,
        if(project = '', '', concat(project, suffix)) AS project_,
        if(workspace = '', '', concat(workspace, suffix)) AS workspace_
    FROM spanledger.usage_by_day
    WHERE provider = '{provider}'
)
GROUP BY bucket, model, class, project_, workspace_{grain}
"""


def fill(path: Path, projects: int) -> tuple[int, dict[str, dict[ResidualName, Decimal]]]:
    """Make the month; returns its calls, and what the tie-out must find of each provider."""
    client = connect(StoreTarget.embedded(path))
    migrate(client)
    client.command("SET max_memory_usage = 0")
    expected: dict[str, dict[ResidualName, Decimal]] = {}
    per_row = 100_000_000 // (DAYS * sum(MODELS.values()) * 40 * KEYS * TEAMS * FEATURES * TIERS)
    for provider, models in MODELS.items():
        rows = DAYS * models * projects * KEYS * TEAMS * FEATURES * TIERS
        client.command(
            ROLLUPS.format(
                provider=provider, models=models, projects=projects, tiers=TIERS, features=FEATURES, teams=TEAMS,
                keys=KEYS, calls=per_row, rows=rows,
            )
        )  # fmt: skip
        first = f"{provider}-model-0-2026-01-15"
        amount = f"sum(cost) * if(model = '{first}', toDecimal128('{DISCOUNT}', 12), toDecimal128('1', 12))"
        for kind, grain in (("cost", ""), ("usage", ", api_key_fingerprint, service_tier, is_batch")):
            costs = kind == "cost"
            client.command(
                LINES.format(
                    provider=provider, kind=kind, grain=grain,
                    key="''" if costs else "concat('key_', api_key_fingerprint)",
                    tier="''" if costs else "service_tier", batch="NULL" if costs else "is_batch",
                    quantity="NULL" if costs else "sum(quantity)", amount=amount if costs else "NULL",
                )
            )  # fmt: skip
        for charge, money in (("credit", "-1250"), ("tax", "321.09")):
            client.command(
                "INSERT INTO spanledger.bill_line_versions (org_id, connection, stream, slot, version, provider, kind, "
                "period_start, period_end, amount, currency, amount_usd, charge, is_final, source_id) SELECT 'acme', "
                f"'{provider}', 'cost', '2026-09-30', 1, '{provider}', 'cost', '2026-09-30', '2026-10-01', {money}, "
                f"'USD', {money}, '{charge}', 1, '{charge}'"
            )
        for kind in ("cost", "usage"):
            client.command(
                "INSERT INTO spanledger.bill_slots "
                "(org_id, connection, stream, slot, version, run_id, is_final, fetched_at) "
                f"SELECT 'acme', '{provider}', '{kind}', toString(toDate('2026-09-01') + number), 1, 'r', 1, now64(3) "
                f"FROM numbers({DAYS})"
            )
        unseen, unseen_discounted, discounted = client.query(
            "SELECT sumIf(cost_usd, is_first), sumIf(cost_usd, is_first AND model = {first:String}), "
            "sumIf(cost_usd, model = {first:String}) "
            "FROM (SELECT *, project = 'proj_0' OR workspace = 'wrkspc_0' AS is_first "
            "FROM spanledger.usage_by_day WHERE provider = {provider:String})",
            parameters={"first": first, "provider": provider},
        ).first_row
        expected[provider] = {
            ResidualName.MISSING_TELEMETRY: unseen - unseen_discounted * (1 - DISCOUNT),
            ResidualName.RATE_DIFFERENCE: discounted * (DISCOUNT - 1),
            ResidualName.CREDITS_AND_DISCOUNTS: Decimal(-1250),
            ResidualName.TAX: Decimal("321.09"),
        }
    calls, rows = client.query("SELECT sum(calls), count() FROM spanledger.usage_by_day").first_row
    lines = client.query("SELECT count() FROM spanledger.bill_lines").first_row[0]
    print(f"{calls:,} calls in {rows:,} rollup rows, {lines:,} bill lines", flush=True)
    client.close()
    return calls, expected


def measure(path: Path, answer: Any) -> None:
    """The tie-out, alone in its process."""
    client = connect(StoreTarget.embedded(path))
    wall, cpu = time.perf_counter(), time.process_time()
    period, today = Period.parse("2026-09"), date(2026, 11, 20)
    tied = tie_out_period(client, org_id="acme", period=period, names=ModelNames(), clock=SystemClock(), today=today)
    took = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    client.close()
    found = {r.connection: (r.residuals(), r.billed_usd - r.booked_usd, len(r.findings)) for r in tied.results}
    answer.put((took, peak, found))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--projects", type=int, default=40, help="at each provider; 40 make 100 million calls")
    options = parser.parse_args()
    processes = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        began = time.perf_counter()
        _, expected = fill(path, options.projects)
        print(f"made in {time.perf_counter() - began:.0f} s", flush=True)
        answer = processes.Queue()
        worker = processes.Process(target=measure, args=(path, answer))
        worker.start()
        (wall, cpu), peak, found = answer.get()
        worker.join()
    print(f"tied out in {wall:.1f} s, {cpu:.1f} s CPU, peak memory {peak:,.0f} MiB")
    wrong = 0
    for provider, (residuals, difference, findings) in found.items():
        print(f"{provider}: billed - booked {difference:,.2f} in {findings:,} findings")
        for name in sorted(residuals.keys() | expected[provider].keys()):
            amount, wanted = residuals.get(name, Decimal(0)), expected[provider].get(name, Decimal(0))
            print(f"  {name.value:22} {amount:16,.2f}  injected {wanted:16,.2f}")
            wrong += abs(amount - wanted) >= Decimal("0.01")
        wrong += sum(residuals.values()) != difference
    print("every fault is named to the cent" if not wrong else "WRONG")
    return 1 if wrong or wall >= 60 or peak >= 2048 else 0


if __name__ == "__main__":
    sys.exit(main())
