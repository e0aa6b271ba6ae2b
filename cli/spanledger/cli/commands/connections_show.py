"""What ``spanledger connections`` prints about connections and trials of them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from spanledger.cli import output

if TYPE_CHECKING:
    from spanledger.reconciler.connections import Connection
    from spanledger.reconciler.service import StreamHealth, TrialReport


def ages(connection: Connection, now: datetime) -> dict[str, timedelta]:
    """How long ago each secret was given here."""
    given = {secret: connection.given_at(secret) for secret in connection.secrets}
    return {secret: now - moment for secret, moment in given.items() if moment is not None}


def days(age: timedelta | None) -> str:
    """An age for people."""
    return "" if age is None else f"{age.days} days"


def minute(moment: datetime | None) -> str:
    """An instant for people, UTC."""
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def record(
    connection: Connection, health: list[StreamHealth], following: datetime | None, now: datetime
) -> dict[str, object]:
    """A connection for scripts; ``following`` is its next pull."""
    return {
        "org": connection.org_id,
        "name": connection.name,
        "connector": connection.connector,
        "base_url": connection.base_url,
        "settings": dict(connection.settings),
        "secrets": {name: _shown(reference) for name, reference in connection.secrets.items()},
        "secret_age_days": {name: age.days for name, age in ages(connection, now).items()},
        "account": connection.account,
        "next_pull": following,
        "streams": [
            {
                "stream": entry.stream,
                "state": entry.state.value,
                "detail": entry.detail,
                "finished_at": entry.finished_at,
                "last_success": entry.last_success,
            }
            for entry in health
        ],
    }


def _shown(reference: str) -> str:
    """A reference for people: of a sealed secret only the master key's id."""
    if reference.startswith("sealed:"):
        from spanledger.reconciler.secrets.envelope import sealed_key_id

        return f"sealed with {sealed_key_id(reference.removeprefix('sealed:')) or 'an unknown key'}"
    return reference


def worst(health: list[StreamHealth]) -> str:
    """Every state of the streams that is not ok."""
    states = sorted({entry.state.value for entry in health if entry.state.value != "ok"})
    return ", ".join(states) if states else "ok" if health else "never pulled"


def last_pull(health: list[StreamHealth]) -> datetime | None:
    """When a stream was pulled last."""
    return max((entry.finished_at for entry in health), default=None)


def trial(report: TrialReport) -> dict[str, object]:
    """A trial for scripts."""
    return {
        "connection": report.connection,
        "connector": report.connector,
        "account": {"id": report.account_id, "name": report.account_name},
        "usable": report.is_usable,
        "problem": report.problem,
        "streams": [
            {"stream": each.stream, "state": each.state.value, "detail": each.detail, "needs": each.permission}
            for each in report.streams
        ],
        "setup": list(report.setup),
    }


def print_trial(report: TrialReport, *, as_json: bool) -> None:
    """What works, what is missing, and the steps to mend it."""
    if as_json:
        output.print_json(trial(report))
        return
    account = " ".join(part for part in (report.account_name, report.account_id) if part)
    output.say(f"{report.connection} ({report.connector})" + (f": {account}" if account else ""))
    if report.problem:
        output.say(f"  {report.problem}")
    for each in report.streams:
        mark = "works" if each.state.value == "ok" else each.state.value
        output.say(f"  {each.stream:<32} {mark}" + (f": {each.detail}" if each.detail else ""))
        if each.state.value == "permission_missing" and each.permission:
            output.say(f"  {'':<32} needs {each.permission}")
    for number, step in enumerate(report.setup, start=1):
        output.say(f"  {number}. {step}")
