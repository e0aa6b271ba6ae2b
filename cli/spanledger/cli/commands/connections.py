"""``spanledger connections``: accounts at providers, whose bills are pulled."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from spanledger.cli import options, output
from spanledger.cli.errors import CommandError, UserError
from spanledger.cli.options import option
from spanledger.cli.reconciler import bills, chosen

if TYPE_CHECKING:
    from spanledger.reconciler.connections import Connection
    from spanledger.reconciler.connector import ConnectorSpec
    from spanledger.reconciler.service import Bills, StreamHealth, TrialReport

Name = Annotated[str, typer.Argument(help="The connection's name, as `spanledger connections list` shows it.")]
OptionalName = Annotated[str, typer.Argument(help="One connection (default: all).")]


class OnDemand(dict[str, Any]):
    """The commands of `AddGroup` by name; made when asked for, and not listed: listing would load every connector."""

    def __contains__(self, name: object) -> bool:
        from spanledger.reconciler.connectors import CONNECTORS

        return any(name == each.spec.name or name in each.spec.aliases for each in CONNECTORS)

    def __getitem__(self, name: str) -> Any:
        from spanledger.reconciler.connectors import connector

        spec = connector(name).spec
        app = typer.Typer(rich_markup_mode="rich", add_completion=False)
        app.command(spec.name)(add_command(spec))
        return typer.main.get_command(app)


class AddGroup(typer.core.TyperGroup):
    """One subcommand per connector, made from what the connector declares."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = OnDemand()

    def list_commands(self, ctx: Any) -> list[str]:
        """The connectors' names."""
        del ctx
        from spanledger.reconciler.connectors import CONNECTORS

        return [each.spec.name for each in CONNECTORS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a connector, by name or alias."""
        del ctx
        from spanledger.reconciler.errors import ConfigError

        try:
            return self.commands[cmd_name]
        except ConfigError as error:
            raise UserError(str(error)) from error


def group() -> typer.Typer:
    """The command group ``connections``."""
    app = typer.Typer(
        no_args_is_help=True, rich_markup_mode="rich", help="Accounts at providers, whose bills are pulled."
    )
    adding = typer.Typer(
        cls=AddGroup,
        no_args_is_help=True,
        rich_markup_mode="rich",
        help="Add a connection; each provider has its own options: spanledger connections add openai --help.",
    )
    adding.callback()(_adding)
    app.add_typer(adding, name="add")
    app.command("list")(list_)
    app.command("test")(try_)
    app.command("remove")(remove)
    app.command("rotate")(rotate)
    app.command("names")(names)
    return app


def _adding() -> None:
    """Add a connection to a provider; each provider has its own options."""


def add_command(spec: ConnectorSpec) -> Callable[..., int]:
    """The function behind ``connections add <connector>``, with an option for each setting and secret."""
    from spanledger.reconciler.connections import COMMON_SETTINGS

    parameters: dict[str, tuple[Any, Any]] = {
        "name": (Annotated[str, option("--name", "What to call it; unique within the organisation.")], spec.name),
        "base_url": (Annotated[str, option("--base-url", f"Instead of {spec.base_url or 'none'} (gateways).")], ""),
    }
    for secret in spec.secrets:
        flag = "--" + secret.name.replace("_", "-")
        parameters[f"{secret.name}_env"] = (
            Annotated[str, option(f"{flag}-env", f"Environment variable that holds {secret.help}.")], "",
        )  # fmt: skip
        parameters[f"{secret.name}_file"] = (Annotated[str, option(f"{flag}-file", "File that holds it.")], "")
        parameters[f"{secret.name}_ref"] = (
            Annotated[str, option(f"{flag}-ref", "Reference: systemd:NAME, aws-sm:ID, gcp-sm:NAME.")], "",
        )  # fmt: skip
        parameters[f"{secret.name}_stdin"] = (
            Annotated[bool, option(f"{flag}-stdin", "Read it from standard input and keep it sealed.")], False,
        )  # fmt: skip
    for setting in (*spec.settings, *COMMON_SETTINGS):
        notes = [f"one of {', '.join(word for word in setting.choices if word)}"] if setting.choices else []
        notes += [f"default {setting.default}"] if setting.default else []
        text = f"{setting.help[:1].upper()}{setting.help[1:]}" + (f" ({'; '.join(notes)})." if notes else ".")
        parameters[setting.name] = (Annotated[str, option("--" + setting.name.replace("_", "-"), text)], "")
    parameters |= {
        "run_test": (Annotated[bool, option("--test/--no-test", "Try it before it is kept.")], True),
        "org": (options.Org, options.DEFAULT_ORG),
        "data": (options.Data, options.DEFAULT_DATA),
        "clickhouse": (options.ClickHouse, ""),
        "as_json": (options.Json, False),
    }

    def add(**values: Any) -> int:
        return _add(spec, values)

    add.__doc__ = "\n\n".join((f"Add a connection to {spec.title}.", *spec.setup))
    add.__annotations__ = {name: kind for name, (kind, _) in parameters.items()}
    signature = inspect.Signature(
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for name, (kind, default) in parameters.items()
        ]
    )
    vars(add)["__signature__"] = signature
    return add


def _add(spec: ConnectorSpec, values: Mapping[str, Any]) -> int:
    from spanledger.reconciler.connections import COMMON_SETTINGS, Connection, check

    settings = {
        setting.name: str(values[setting.name])
        for setting in (*spec.settings, *COMMON_SETTINGS)
        if values[setting.name]
    }
    with bills(values["data"], values["clickhouse"], make=True) as found:
        connection = Connection(
            org_id=values["org"],
            name=values["name"],
            connector=spec.name,
            base_url=values["base_url"],
            settings=settings,
            secrets=_secrets(spec, values, found),
        )
        check(connection)
        if any(each.name == connection.name for each in found.connections.all(connection.org_id)):
            raise UserError(
                f"there is a connection {connection.name!r} already: choose another --name, or remove it, or rotate it"
            )
        report = found.test(connection, pin=False) if values["run_test"] else None
        if report is not None and report.problem:
            _print_trial(report, as_json=values["as_json"])
            raise CommandError(f"{connection.name} was not added (--no-test adds it all the same)")
        if report is not None:
            connection = replace(connection, account=report.account_id)
        found.connections.put(connection)
    if report is not None:
        _print_trial(report, as_json=values["as_json"])
    elif values["as_json"]:
        output.print_json({"connection": connection.name, "connector": spec.name})
    if not values["as_json"]:
        output.say(f"{connection.name} is added; pull its bills with: spanledger sync {connection.name}")
    return 0


def _secrets(spec: ConnectorSpec, values: Mapping[str, Any], found: Bills) -> dict[str, str]:
    from spanledger.reconciler.secrets.secret import Secret

    secrets: dict[str, str] = {}
    for secret in spec.secrets:
        flag = "--" + secret.name.replace("_", "-")
        given = {
            f"{flag}-env": f"env:{values[f'{secret.name}_env']}" if values[f"{secret.name}_env"] else "",
            f"{flag}-file": f"file:{Path(values[f'{secret.name}_file']).resolve()}"
            if values[f"{secret.name}_file"]
            else "",
            f"{flag}-ref": str(values[f"{secret.name}_ref"]),
            f"{flag}-stdin": "stdin" if values[f"{secret.name}_stdin"] else "",
        }
        named = [name for name, reference in given.items() if reference]
        if len(named) > 1:
            raise UserError(f"give one of {' and '.join(named)}")
        if not named:
            continue
        reference = given[named[0]]
        if reference == "stdin":
            reference = found.seal(values["org"], values["name"], secret.name, Secret(_from_stdin(flag)))
        secrets[secret.name] = reference
    return secrets


def _from_stdin(what: str) -> str:
    if sys.stdin.isatty():
        from getpass import getpass

        value = getpass(f"{what.lstrip('-')}: ")
    else:
        value = sys.stdin.readline()
    if not value.strip():
        raise UserError(f"{what}-stdin: standard input is empty")
    return value.strip()


def list_(
    org: options.Org = options.DEFAULT_ORG,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> None:
    """List connections with the state of their last pull."""
    with bills(data, clickhouse) as found:
        existing = found.connections.all(org)
        health = found.health(org)
    states = {each.name: [entry for entry in health if entry.connection == each.name] for each in existing}
    if as_json:
        output.print_json([_record(each, states[each.name]) for each in existing])
        return
    if not existing:
        output.say("There are no connections yet: spanledger connections add --help")
        return
    rows = [
        (each.name, each.connector, each.account, _worst(states[each.name]), _last(states[each.name]))
        for each in existing
    ]
    output.print_table(("name", "connector", "account", "state", "last pull"), rows)
    for each in existing:
        for entry in states[each.name]:
            if entry.state.value != "ok":
                output.say(f"  {each.name}, {entry.stream}: {entry.state.value}: {entry.detail}")


def _record(connection: Connection, health: list[StreamHealth]) -> dict[str, object]:
    return {
        "org": connection.org_id,
        "name": connection.name,
        "connector": connection.connector,
        "base_url": connection.base_url,
        "settings": dict(connection.settings),
        "secrets": {name: _shown(reference) for name, reference in connection.secrets.items()},
        "account": connection.account,
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


def _worst(health: list[StreamHealth]) -> str:
    states = sorted({entry.state.value for entry in health if entry.state.value != "ok"})
    return ", ".join(states) if states else "ok" if health else "never pulled"


def _last(health: list[StreamHealth]) -> datetime | None:
    return max((entry.finished_at for entry in health), default=None)


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
        output.print_json([_trial(report) for report in reports])
    else:
        for report in reports:
            _print_trial(report, as_json=False)
    return 0 if all(report.is_usable for report in reports) else 1


def _trial(report: TrialReport) -> dict[str, object]:
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


def _print_trial(report: TrialReport, *, as_json: bool) -> None:
    if as_json:
        output.print_json(_trial(report))
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
    name: Name,
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
    """Replace a connection's secret after trying the new one, or move its sealed secrets to a new master key."""
    from spanledger.reconciler.connections import check
    from spanledger.reconciler.secrets.secret import Secret

    if not (secret or stdin or master_key):
        raise UserError("say what to rotate: --secret NAME=REFERENCE, --stdin NAME, or --master-key")
    with bills(data, clickhouse) as found:
        connection = found.connections.get(org, name)
        if secret or stdin:
            fresh = dict(connection.secrets)
            for given in secret or []:
                key, equals, reference = given.partition("=")
                if not equals:
                    raise UserError("--secret takes NAME=REFERENCE, for example admin_key=env:NEW_KEY")
                fresh[key.replace("-", "_")] = reference
            if stdin:
                key = stdin.replace("-", "_")
                fresh[key] = found.seal(org, name, key, Secret(_from_stdin("--stdin")))
            connection = check(replace(connection, secrets=fresh))
            report = found.test(connection, pin=False)
            if report.problem:
                _print_trial(report, as_json=False)
                raise CommandError(f"{name} keeps its old secret")
            found.connections.put(connection)
        if master_key:
            found.rewrap(connection)
    output.say(f"{name} is rotated")


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
