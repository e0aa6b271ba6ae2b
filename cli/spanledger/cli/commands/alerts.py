"""``spanledger alerts``: what is watched, what was told, and whether messages arrive."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from spanledger.cli import alerting, options, output
from spanledger.cli.errors import UserError

if TYPE_CHECKING:
    from spanledger.reconciler.alerts.settings import AlertSettings
    from spanledger.reconciler.alerts.standing import BudgetStanding, Standing
    from spanledger.reconciler.alerts.store import AlertState

FIRING: Final = 3
NOT_DELIVERED: Final = 1
_PAST: Final = ("ok", "closed")


def list_(
    everything: Annotated[
        bool, options.option("--all", "Show alerts that are over, too.", env="SPANLEDGER_ALL")
    ] = False,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    json: options.Json = False,
) -> None:
    """List the alerts that `spanledger serve` has told, with the channels that one has not reached yet."""
    from spanledger.cli import access
    from spanledger.reconciler.alerts.store import AlertStore

    with access.client(data, clickhouse) as client, access.readable_errors():
        found = [state for state in AlertStore(client).all() if everything or state.state not in _PAST]
    columns = ("org", "kind", "subject", "state", "since", "title", "undelivered")
    found.sort(key=lambda state: state.changed_at, reverse=True)
    if json:
        output.print_json(output.records(columns, [[*_told(state), list(state.undelivered)] for state in found]))
    elif found:
        output.print_table(columns, [[*_told(state), ", ".join(state.undelivered)] for state in found])
    else:
        output.say("no alert was told yet" if everything else "no alert is on")


def _told(state: AlertState) -> list[object]:
    since = state.changed_at.isoformat(timespec="seconds")
    return [state.org_id, state.kind, state.subject, state.state, since, state.title]


def check(
    ctx: typer.Context,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    json: options.Json = False,
) -> int:
    """Check the config file's budgets and alerts, and show how everything stands now; tells nobody.

    Exit code 0: all is in order; 3: something is an alert.
    """
    from spanledger.cli import access
    from spanledger.reconciler.alerts.read import AlertReader

    wanted = _wanted(ctx)
    now = datetime.now(UTC)
    with access.client(data, clickhouse) as client, access.readable_errors():
        reader = AlertReader(client, wanted)
        budgets = reader.budgets(now)
        standings = reader.standings(budgets, now)
    firing = [standing for standing in standings if standing.state != "ok"]
    if json:
        output.print_json({"budgets": [_budget(each) for each in budgets], "alerts": [_alert(each) for each in firing]})
    else:
        _print(budgets, firing, len(standings), wanted)
    return FIRING if firing else 0


def test(ctx: typer.Context) -> int:
    """Send a test message to every channel of the config file. Exit code 1: one did not take it."""
    from spanledger.cli import access
    from spanledger.reconciler.alerts.channels import Message

    wanted = _wanted(ctx)
    if not wanted.channels():
        raise UserError('there is no channel: add to the config file [alerts] notify = ["env:SLACK_URL"]')
    message = Message("Spanledger: test", "This is a test of spanledger alerts: messages arrive here.")
    failed = 0
    with access.readable_errors():
        channels = alerting.channels()
        for reference in wanted.channels():
            problem = channels.send(reference, message)
            failed += problem is not None
            output.say(f"{reference}: {'sent' if problem is None else problem.removeprefix(f'{reference}: ')}")
    return NOT_DELIVERED if failed else 0


def _wanted(ctx: typer.Context) -> AlertSettings:
    file = ctx.find_object(Path)
    wanted = alerting.settings(file)
    if wanted is None:
        place = f"{file} has" if file else "there is no spanledger.toml here, so there are"
        raise UserError(
            f"{place} no [alerts] and no [[budgets]]: docs/alerts.md shows them, --config names another file"
        )
    return wanted


def _print(budgets: list[BudgetStanding], firing: list[Standing], watched: int, wanted: AlertSettings) -> None:
    from spanledger.reconciler.alerts.rules import percent, plain, usd

    if budgets:
        output.print_table(
            ["budget", "org", "period", "spent", "limit", "used", "forecast", "burn rate"],
            [
                [
                    each.budget.name,
                    each.budget.org_id,
                    each.period,
                    usd(each.spent_usd),
                    usd(each.budget.amount_usd),
                    percent(each.spent_usd / each.budget.amount_usd),
                    None if each.forecast_usd is None else usd(each.forecast_usd),
                    f"{plain(each.burn_rate)}x",
                ]
                for each in budgets
            ],
            right=("spent", "limit", "used", "forecast", "burn rate"),
        )
    for standing in firing:
        output.say(f"{standing.severity.value}: {standing.title} ({standing.org_id})")
        output.say(f"  {standing.text}")
    channels = ", ".join(wanted.channels()) or "none: [alerts] notify is empty"
    are = "is an alert" if len(firing) == 1 else "are alerts"
    output.say(f"{watched} things are watched, {len(firing)} {are}; channels: {channels}")


def _budget(each: BudgetStanding) -> dict[str, object]:
    return {
        "name": each.budget.name,
        "org": each.budget.org_id,
        "period": each.period,
        "where": dict(each.budget.where),
        "spent_usd": each.spent_usd,
        "limit_usd": each.budget.amount_usd,
        "forecast_usd": each.forecast_usd,
        "burn_rate": each.burn_rate,
        "unpriced_calls": each.unpriced_calls,
    }


def _alert(each: Standing) -> dict[str, object]:
    return {
        "org": each.org_id,
        "kind": each.kind.value,
        "subject": each.subject,
        "state": each.state,
        "severity": each.severity.value,
        "title": each.title,
        "text": each.text,
        "value": each.value,
        "threshold": each.threshold,
    }
