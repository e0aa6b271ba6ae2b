"""``spanledger connections``: accounts at providers, whose bills are pulled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spanledger.cli import options, output
from spanledger.cli.commands.connections_add import AddGroup, adding, from_stdin
from spanledger.cli.commands.connections_show import (
    ages,
    days,
    last_pull,
    minute,
    print_trial,
    record,
    trial,
    worst,
)
from spanledger.cli.errors import CommandError, UserError
from spanledger.cli.options import option
from spanledger.cli.reconciler import bills, chosen

if TYPE_CHECKING:
    from spanledger.reconciler.connections import Connection
    from spanledger.reconciler.service import Bills

Name = Annotated[str, typer.Argument(help="The connection's name, as `spanledger connections list` shows it.")]
OptionalName = Annotated[str, typer.Argument(help="One connection (default: all).")]


def group() -> typer.Typer:
    """The command group ``connections``."""
    app = typer.Typer(
        no_args_is_help=True, rich_markup_mode="rich", help="Accounts at providers, whose bills are pulled."
    )
    providers = typer.Typer(
        cls=AddGroup,
        no_args_is_help=True,
        rich_markup_mode="rich",
        help="Add a connection; each provider has its own options: spanledger connections add openai --help.",
    )
    providers.callback()(adding)
    app.add_typer(providers, name="add")
    app.command("list")(list_)
    app.command("test")(try_)
    app.command("remove")(remove)
    app.command("rotate")(rotate)
    app.command("names")(names)
    return app


def list_(
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> None:
    """List connections: state, last and next pull, age of the keys."""
    from spanledger.reconciler.connections import KEY_AGE
    from spanledger.reconciler.scheduler import next_pull

    with bills(data, clickhouse) as found:
        existing = found.connections.all(org)
        health = found.health(org)
        now = found.clock.now()
    scheduled = _is_scheduled(data, clickhouse)
    states = {each.name: [entry for entry in health if entry.connection == each.name] for each in existing}
    by_hand = {each.name for each in existing if each.settings.get("watch") == "off"}
    following = {
        each.name: next_pull(each, now) if scheduled and each.name not in by_hand else None for each in existing
    }
    if as_json:
        output.print_json([record(each, states[each.name], following[each.name], now) for each in existing])
        return
    if not existing:
        output.say("There are no connections yet: spanledger connections add --help")
        return
    rows = [
        (
            each.name, each.connector, each.account,
            "by hand" if each.name in by_hand else worst(states[each.name]), minute(last_pull(states[each.name])),
            minute(following[each.name]), days(max(ages(each, now).values(), default=None)),
        )
        for each in existing
    ]  # fmt: skip
    output.print_table(("name", "connector", "account", "state", "last pull", "next pull", "key age"), rows)
    for each in existing:
        for entry in states[each.name]:
            if entry.state.value != "ok":
                output.say(f"  {each.name}, {entry.stream}: {entry.state.value}: {entry.detail}")
        for secret, age in ages(each, now).items():
            if age > KEY_AGE:
                output.say(
                    f"  {each.name}, {secret}: {age.days} days old: make a new one, then "
                    f"spanledger connections rotate {each.name} --secret {secret}=REFERENCE"
                )
    if not scheduled:
        output.say("  nothing is pulled by itself: no server with --sync runs here (spanledger serve)")


def _is_scheduled(data: Path, clickhouse: str) -> bool:
    """Whether a server pulls by itself; of a ClickHouse server's ledger it is taken for granted."""
    from spanledger.cli import runtime

    if clickhouse:
        return True
    server = runtime.find(data)
    return server is not None and server.pulls


def try_(
    name: OptionalName = "",
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> int:
    """Try connections: what works, which permission is missing, and how to add it. Exit code 1 when something is."""
    with bills(data, clickhouse) as found:
        reports = [found.test(each) for each in chosen(found, org, [name] if name else [])]
    if as_json:
        output.print_json([trial(report) for report in reports])
    else:
        for report in reports:
            print_trial(report, as_json=False)
    return 0 if all(report.is_usable for report in reports) else 1


def remove(
    name: Name,
    purge: Annotated[bool, option("--purge", "Take its bill lines out of the bill too (their history stays).")] = False,
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
) -> None:
    """Forget a connection and its secrets. Its bill lines stay unless --purge is given."""
    with bills(data, clickhouse) as found:
        connection = found.connections.get(org, name)
        found.connections.remove(connection)
        purged = found.purge(connection) if purge else 0
    output.say(f"{name} is removed" + (f", with the bill lines of {purged} days and months" if purge else ""))


def rotate(
    name: Annotated[str, typer.Argument(help="The connection's name; may be left out with --master-key alone.")] = "",
    secret: Annotated[
        list[str] | None,
        option("--secret", "SECRET=REFERENCE, for example admin_key=env:NEW_KEY; may be given more than once."),
    ] = None,
    stdin: Annotated[str, option("--stdin", "Read this secret from standard input and keep it sealed.")] = "",
    master_key: Annotated[
        bool, option("--master-key", "Seal what is sealed with the current (first) master key instead.")
    ] = False,
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
) -> None:
    """Replace a connection's secret after trying the new one, or move sealed secrets to a new master key.

    With --master-key and no name, all connections of all organisations.
    """
    if not (secret or stdin or master_key):
        raise UserError("say what to rotate: --secret NAME=REFERENCE, --stdin NAME, or --master-key")
    if not name and (secret or stdin):
        raise UserError("say whose secret it is: spanledger connections rotate NAME ...")
    with bills(data, clickhouse) as found:
        connections = [found.connections.get(org, name)] if name else found.connections.all()
        if secret or stdin:
            connections = [_with_new_secrets(found, connections[0], secret or [], stdin)]
        if master_key:
            found.check_master_key()
            connections = [found.rewrap(each) for each in connections if each.has_sealed]
    if name:
        output.say(f"{name} is rotated")
    else:
        output.say(f"{len(connections)} connections are sealed with the current master key")


def _with_new_secrets(found: Bills, connection: Connection, given: list[str], stdin: str) -> Connection:
    """The connection with new secrets, tried and kept."""
    from spanledger.reconciler.connections import check
    from spanledger.reconciler.secrets.secret import Secret

    fresh: dict[str, str] = {}
    for each in given:
        key, equals, reference = each.partition("=")
        if not equals:
            raise UserError("--secret takes NAME=REFERENCE, for example admin_key=env:NEW_KEY")
        fresh[key.replace("-", "_")] = reference
    if stdin:
        found.check_master_key()
        key = stdin.replace("-", "_")
        fresh[key] = found.seal(connection.org_id, connection.name, key, Secret(from_stdin("--stdin", stdin)))
    changed = check(connection.rotated(fresh, found.clock.now()))
    report = found.test(changed, pin=False)
    if report.problem:
        print_trial(report, as_json=False)
        raise CommandError(f"{connection.name} keeps its old secret")
    found.connections.put(changed)
    return changed


def names(
    name: OptionalName = "",
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
) -> None:
    """Fetch the names of projects, workspaces and API keys, so that reports can show them instead of ids."""
    with bills(data, clickhouse) as found:
        for each in chosen(found, org, [name] if name else []):
            output.say(f"{each.name}: {found.learn_names(each)} names")
