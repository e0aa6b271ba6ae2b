"""``spanledger connections add``: one subcommand per connector, made from what the connector declares."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
import typer.core

from spanledger.cli import options, output
from spanledger.cli.commands.connections_show import print_trial
from spanledger.cli.errors import CommandError, UserError
from spanledger.cli.options import option
from spanledger.cli.reconciler import bills

if TYPE_CHECKING:
    from spanledger.reconciler.connector import ConnectorSpec
    from spanledger.reconciler.service import Bills


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


def adding() -> None:
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
    for setting in spec.settings:
        if setting.required and setting.name not in settings and sys.stdin.isatty():
            settings[setting.name] = input(f"{setting.help}: ").strip()
    references = _references(spec, values)
    with bills(values["data"], values["clickhouse"], make=True) as found:
        connection = Connection(
            org_id=values["org"],
            name=values["name"],
            connector=spec.name,
            base_url=values["base_url"],
            settings=settings,
            secrets=_sealed(spec, references, values, found),
        )
        check(connection)
        if any(each.name == connection.name for each in found.connections.all(connection.org_id)):
            raise UserError(
                f"there is a connection {connection.name!r} already: choose another --name, or remove it, or rotate it"
            )
        report = found.test(connection, pin=False) if values["run_test"] else None
        if report is not None and report.problem:
            print_trial(report, as_json=values["as_json"])
            raise CommandError(f"{connection.name} was not added (--no-test adds it all the same)")
        if report is not None:
            connection = replace(connection, account=report.account_id)
        found.connections.put(connection)
    if report is not None:
        print_trial(report, as_json=values["as_json"])
    elif values["as_json"]:
        output.print_json({"connection": connection.name, "connector": spec.name})
    if not values["as_json"]:
        output.say(f"{connection.name} is added; pull its bills with: spanledger sync {connection.name}")
    return 0


_STDIN: Final = "stdin"


def _references(spec: ConnectorSpec, values: Mapping[str, Any]) -> dict[str, str]:
    """Where each secret is found; `_STDIN` where it is yet to be read. Raises `UserError`."""
    from spanledger.reconciler.errors import ConfigError
    from spanledger.reconciler.secrets.references import check_reference

    references: dict[str, str] = {}
    for secret in spec.secrets:
        flag = "--" + secret.name.replace("_", "-")
        variable, path = str(values[f"{secret.name}_env"]), str(values[f"{secret.name}_file"])
        given = {
            f"{flag}-env": f"env:{variable}" if variable else "",
            f"{flag}-file": f"file:{Path(path).resolve()}" if path else "",
            f"{flag}-ref": str(values[f"{secret.name}_ref"]),
            f"{flag}-stdin": _STDIN if values[f"{secret.name}_stdin"] else "",
        }
        named = [name for name, reference in given.items() if reference]
        if len(named) > 1:
            raise UserError(f"give one of {' and '.join(named)}")
        if path and not Path(path).is_file():
            # Not repeated: somebody may have given the secret itself.
            raise UserError(f"{flag}-file names no file; it takes a path, never the secret itself")
        if named:
            references[secret.name] = given[named[0]]
        elif secret.required and sys.stdin.isatty():
            references[secret.name] = _STDIN
    try:
        for reference in references.values():
            if reference != _STDIN:
                check_reference(reference)
    except ConfigError as error:
        raise UserError(str(error)) from error
    return references


def _sealed(
    spec: ConnectorSpec, references: Mapping[str, str], values: Mapping[str, Any], found: Bills
) -> dict[str, str]:
    """The references, with those secrets sealed that come from standard input or a prompt."""
    from spanledger.reconciler.secrets.secret import Secret

    whole = dict(references)
    for secret in spec.secrets:
        if whole.get(secret.name) == _STDIN:
            found.check_master_key()
            flag = f"--{secret.name.replace('_', '-')}-stdin"
            fresh = Secret(from_stdin(flag, secret.help))
            whole[secret.name] = found.seal(values["org"], values["name"], secret.name, fresh)
    return whole


def from_stdin(option_name: str, what: str) -> str:
    """A secret from standard input: asked for without an echo on a terminal, else one line or one JSON document.

    Raises:
        UserError: there is nothing.
    """
    if sys.stdin.isatty():
        from getpass import getpass

        value = getpass(f"{what}: ")
    else:
        value = sys.stdin.readline()
        if value.lstrip().startswith("{"):
            value += sys.stdin.read()
    if not value.strip():
        raise UserError(f"{option_name}: standard input is empty")
    return value.strip()
