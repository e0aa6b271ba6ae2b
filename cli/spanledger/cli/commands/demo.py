"""``spanledger demo``: the whole way of a call, on this machine, without an account."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from spanledger.cli import options, output, runtime
from spanledger.cli.options import option
from spanledger.semconv import money

if TYPE_CHECKING:
    from spanledger.cli.demo.run import Comparison

CREDIT: Final = Decimal("-0.01")


def demo(
    keep: Annotated[bool, option("--keep", "Leave the server and its ledger running, to look around.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show the whole way of a call: real SDKs under auto-instrumentation, the ledger, and the provider's own books.

    Starts a server on a fresh store and a fake OpenAI and Anthropic on loopback; costs nothing, needs no account. Pulls
    the fake providers' bills and ties the ledger out with them. Exits with 1 when the ledger and the provider's books
    differ in a single digit, or when a part of the difference to the bill has no name.
    """
    from spanledger.cli.demo import run
    from spanledger.cli.demo.books import Credit
    from spanledger.cli.demo.provider import FakeProvider

    run.check_needs()
    data = Path(tempfile.mkdtemp(prefix="spanledger-demo-"))
    process = None
    right = False
    try:
        with FakeProvider(seed=1) as provider:
            _step(as_json, f"1. a server on a fresh ledger in {data}")
            process, server = run.start_server(data, detached=keep)
            _step(as_json, f"2. a fake OpenAI and Anthropic on {provider.url}, with books of its own")
            _step(as_json, "3. opentelemetry-instrument python -m spanledger.cli.demo.workload")
            run.run_workload(provider.url, server.listeners["otlp-grpc"])
            run.wait_until_settled(server, data, len(provider.books.calls))
            columns, by_team = run.query(run.BY_TEAM, data)
            comparisons = run.compare(run.query(run.BY_MODEL, data)[1], provider.books)
            _step(
                as_json, "4. spanledger connections add, sync, reconcile: the bills, on which OpenAI grants a credit\n"
            )
            provider.books.credit(Credit("openai", "promotional credit", CREDIT, time.time_ns()))
            tied = run.tie_out(provider, data)
        right = all(each.equal for each in comparisons) and bool(comparisons) and all(_explained(each) for each in tied)
        _show(columns, by_team, comparisons, tied, as_json=as_json)
        if keep and right:
            _next(server, data, as_json=as_json)
        else:
            _step(as_json, "`spanledger demo --keep` leaves the server running, to look around.")
    finally:
        if not (keep and right):
            if process is not None:
                run.stop(process)
            shutil.rmtree(data, ignore_errors=True)
    if not right:
        raise typer.Exit(1)


def _step(as_json: bool, line: str) -> None:
    if not as_json:
        output.say(line)


def _explained(tied: Mapping[str, Any]) -> bool:
    """Whether the named residuals add up to the difference, exactly, and none is called unexplained."""
    residuals = {name: Decimal(amount) for name, amount in tied["residuals"].items()}
    difference = Decimal(tied["billed_usd"]) - Decimal(tied["booked_usd"])
    return sum(residuals.values(), Decimal(0)) == difference and not residuals.get("unexplained")


def _show(
    columns: Sequence[str],
    by_team: Sequence[Sequence[Any]],
    comparisons: Sequence[Comparison],
    tied: Sequence[Mapping[str, Any]],
    *,
    as_json: bool,
) -> None:
    ledger = sum((each.ledger_usd or Decimal(0) for each in comparisons), Decimal(0))
    billed = sum((each.billed_usd for each in comparisons), Decimal(0))
    equal = all(each.equal for each in comparisons)
    if as_json:
        document = {
            "spend": output.records(columns, by_team),
            "models": [asdict(each) | {"equal": each.equal} for each in comparisons],
            "ledger_usd": ledger,
            "provider_usd": billed,
            "equal": equal,
            "tie_out": tied,
        }
        output.print_json(document)
        return
    output.print_table(columns, by_team, title="Spend by team, feature and model (US dollars)")
    output.say("")
    output.print_table(
        ("provider", "model", "calls", "answered", "ledger USD", "books USD", "equal"),
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
    output.say(f"\nledger {money.text(ledger)} USD, provider {money.text(billed)} USD: {verdict}\n")
    output.print_table(
        ("connection", "billed USD", "booked USD", "difference", "why"),
        [_tie_row(each) for each in tied],
        title="The tie-out with the bills",
    )
    output.say("")


def _tie_row(tied: Mapping[str, Any]) -> tuple[object, ...]:
    billed, booked = Decimal(tied["billed_usd"]), Decimal(tied["booked_usd"])
    names = ", ".join(f"{name} {amount}" for name, amount in tied["residuals"].items())
    return tied["name"], billed, booked, billed - booked, names or "nothing to explain"


def _next(server: runtime.RunningServer, data: Path, *, as_json: bool) -> None:
    if as_json:
        return
    http, sql = server.listeners["http"], server.listeners["sql"]
    output.say("It is still running. Open next:")
    output.say(f"  curl -s {http}/metrics | grep llm_")
    output.say(f"  spanledger query --data {data} 'SELECT * FROM calls LIMIT 3'")  # noqa: S608 - printed, not run
    output.say(f"  {sql}/play or any ClickHouse client on {sql}")
    output.say(f"Stop it with: kill {server.pid} && rm -r {data}")
