"""The command ``spanledger``: assembles the commands, reads the config file, prints errors in one line.

Every command imports what it needs when it runs, so that ``spanledger --help`` answers at once.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from spanledger.cli import config, output
from spanledger.cli.commands import (
    alerts,
    bills,
    connections,
    demo,
    doctor,
    explain,
    export,
    import_,
    periods,
    prices,
    prices_implied,
    query,
    reconcile,
    report,
    reprice,
    serve,
    sync,
    tokens,
)
from spanledger.cli.errors import CommandError
from spanledger.cli.options import option

ABOUT: Final = "Know what LLM calls cost, to the cent, and prove it against the invoice."


def build() -> typer.Typer:
    """The application with every command."""
    app = typer.Typer(
        name="spanledger",
        help=ABOUT,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    app.command("serve")(serve.serve)
    app.command("demo")(demo.demo)
    app.command("import")(import_.import_)
    app.command("query")(query.query)
    app.command("explain")(explain.explain)
    app.command("doctor")(doctor.doctor)
    app.command("reconcile")(reconcile.reconcile)
    app.command("report")(report.report)
    app.add_typer(connections.group(), name="connections")
    app.command("sync")(sync.sync)
    _group(
        app,
        "bills",
        "Bills as files, exchange rates, and reading again what was kept.",
        {"import": bills.import_, "reparse": bills.reparse, "rates": bills.rates},
    )
    _group(
        app,
        "alerts",
        "Budgets and alerts: what is on, how everything stands, whether messages arrive.",
        {"list": alerts.list_, "check": alerts.check, "test": alerts.test},
    )
    _group(app, "export", "Spend as files for other tools.", {"focus": export.focus})
    _group(
        app,
        "periods",
        "Close periods, reopen them with a reason, verify their statements.",
        {
            "close": periods.close,
            "reopen": periods.reopen,
            "list": periods.list_,
            "show": periods.show,
            "verify": periods.verify,
        },
    )
    _group(
        app,
        "prices",
        "The price book: rates, their arithmetic, what has none, contracts.",
        {
            "show": prices.show,
            "explain": prices.explain,
            "unknown": prices.unknown,
            "audit": prices.audit,
            "implied": prices_implied.implied,
            "override": prices.override,
            "refresh": prices.refresh,
        },
    )
    app.command("reprice")(reprice.reprice)
    _group(
        app,
        "tokens",
        "API tokens, each for one organisation.",
        {"create": tokens.create, "list": tokens.list_, "revoke": tokens.revoke},
    )
    return app


def _group(app: typer.Typer, name: str, about: str, commands: Mapping[str, Callable[..., object]]) -> None:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=about)
    for command, function in commands.items():
        group.command(command)(function)
    app.add_typer(group, name=name)


def _print_version(wanted: bool) -> None:
    if wanted:
        output.say(version("spanledger"))
        raise typer.Exit


def _root(
    ctx: typer.Context,
    config_file: Annotated[
        Path | None,
        option("--config", "Config file with the same options as keys (default: ./spanledger.toml where it exists)."),
    ] = None,
    show_version: Annotated[
        bool, typer.Option("--version", help="Print the version and stop.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    del show_version  # done before anything else
    ctx.default_map = config.load(config_file, command_tree(ctx.command))
    ctx.obj = config.found(config_file)


def command_tree(command: Any) -> dict[str, Any]:
    """Every command below ``command`` with its options, for the config file; groups nest."""
    return {
        name: command_tree(below) if hasattr(below, "commands") else config.Options(option_keys(below))
        for name, below in command.commands.items()
    }


def option_keys(command: Any) -> dict[str, str]:
    """A command's options: the key in the config file (the long flag with underscores) → the parameter's name."""
    return {
        max(parameter.opts, key=len).lstrip("-").replace("-", "_"): parameter.name
        for parameter in command.params
        if parameter.param_type_name == "option" and parameter.name != "help"
    }


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors are one line on standard error."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="spanledger: %(message)s")
    command = typer.main.get_command(build())
    result: object = 0
    try:
        with output.until_the_reader_leaves():
            result = _invoke(command, arguments)
    except CommandError as error:
        return _complain(str(error), error.exit_code)
    except typer.TyperException as error:
        return _complain(_usage(error), 2)
    except typer.Abort:
        return _complain("stopped", 130)
    return result if isinstance(result, int) else 0


def _invoke(command: Any, arguments: Sequence[str]) -> object:
    try:
        return command.main(args=list(arguments), prog_name="spanledger", standalone_mode=False)
    except SystemExit as stop:
        # How Typer ends where nobody reads the output any more.
        raise BrokenPipeError from stop


def _usage(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "spanledger"
    # "Value error" says where in the parser it was found, not what is wrong.
    text = " ".join(error.format_message().split()).replace("Value error, ", "")
    if not text:  # "no arguments" has printed the help already
        return f"say what to do: {path} --help"
    return f"{text.rstrip('.')} (see {path} --help)"


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"spanledger: {' '.join(message.split())}\n")
    return code
