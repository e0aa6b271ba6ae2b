"""``spanledger demo``: the whole way of a call, on this machine, without an account."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spanledger.cli import options, output, runtime
from spanledger.cli.options import option
from spanledger.semconv import money

if TYPE_CHECKING:
    from spanledger.cli.demo.run import Comparison


def demo(
    keep: Annotated[bool, option("--keep", "Leave the server and its ledger running, to look around.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show the whole way of a call: real SDKs under auto-instrumentation, the ledger, and the provider's own books.

    Starts a server on a fresh store and a fake OpenAI and Anthropic on loopback; costs nothing, needs no account.
    Exits with 1 when the ledger and the provider's own books differ in a single digit.
    """
    from spanledger.cli.demo import run
    from spanledger.cli.demo.provider import FakeProvider

    run.check_needs()
    data = Path(tempfile.mkdtemp(prefix="spanledger-demo-"))
    process = None
    done = False
    try:
        with FakeProvider(seed=1) as provider:
            _step(as_json, f"1. a server on a fresh ledger in {data}")
            process, server = run.start_server(data, detached=keep)
            _step(as_json, f"2. a fake OpenAI and Anthropic on {provider.url}, with books of its own")
            _step(as_json, "3. opentelemetry-instrument python -m spanledger.cli.demo.workload")
            run.run_workload(provider.url, server.listeners["otlp-grpc"])
            billed = provider.books.calls
            run.wait_until_settled(server, data, len(billed))
            columns, by_team = run.query(run.BY_TEAM, data)
            comparisons = run.compare(run.query(run.BY_MODEL, data)[1], provider.books)
        _show(columns, by_team, comparisons, as_json=as_json)
        done = all(comparison.equal for comparison in comparisons) and bool(comparisons)
        if keep:
            _next(server, data, as_json=as_json)
        else:
            _step(as_json, "`spanledger demo --keep` leaves the server running, to look around.")
    finally:
        if process is not None and not (keep and done):
            run.stop(process)
        if not (keep and done):
            shutil.rmtree(data, ignore_errors=True)
    if not done:
        raise typer.Exit(1)


def _step(as_json: bool, line: str) -> None:
    if not as_json:
        output.say(line)


def _show(
    columns: Sequence[str], by_team: Sequence[Sequence[Any]], comparisons: Sequence[Comparison], *, as_json: bool
) -> None:
    ledger = sum((each.ledger_usd or Decimal(0) for each in comparisons), Decimal(0))
    billed = sum((each.billed_usd for each in comparisons), Decimal(0))
    equal = all(each.equal for each in comparisons)
    if as_json:
        document = {
            "spend": output.records(columns, by_team),
            "models": [
                {
                    "provider": each.provider,
                    "model": each.model,
                    "ledger_calls": each.ledger_calls,
                    "billed_calls": each.billed_calls,
                    "ledger_usd": each.ledger_usd,
                    "billed_usd": money.text(each.billed_usd),
                    "equal": each.equal,
                }
                for each in comparisons
            ],
            "ledger_usd": ledger,
            "billed_usd": billed,
            "equal": equal,
        }
        output.print_json(document)
        return
    output.say("")
    output.print_table(columns, by_team, title="Spend by team, feature and model (US dollars)")
    output.say("")
    output.print_table(
        ("provider", "model", "calls", "billed", "ledger USD", "billed USD", "equal"),
        [
            (
                each.provider,
                each.model,
                each.ledger_calls,
                each.billed_calls,
                each.ledger_usd,
                each.billed_usd,
                each.equal,
            )
            for each in comparisons
        ],
        title="The ledger against the provider's own books",
    )
    verdict = "equal to the last digit" if equal else "NOT equal"
    output.say(f"ledger {money.text(ledger)} USD, provider {money.text(billed)} USD: {verdict}\n")


def _next(server: runtime.RunningServer, data: Path, *, as_json: bool) -> None:
    if as_json:
        return
    http, sql = server.listeners["http"], server.listeners["sql"]
    output.say("It is still running. Open next:")
    output.say(f"  curl -s {http}/metrics | grep llm_")
    output.say(f"  spanledger query --data {data} 'SELECT * FROM calls LIMIT 3'")  # noqa: S608 - printed, not run
    output.say(f"  {sql}/play or any ClickHouse client on {sql}")
    output.say(f"Stop it with: kill {server.pid} && rm -r {data}")
