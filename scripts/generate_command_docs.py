"""Writes docs/commands.md from the command line's own help, so that the two cannot differ.

python scripts/generate_command_docs.py            # write
python scripts/generate_command_docs.py --check    # exit 1 when the file is not up to date
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Final

import typer

from spanledger.cli.app import build

PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "commands.md"
HEAD: Final = """# Commands

Written by `scripts/generate_command_docs.py` from the commands' own help; do not edit.

Every option can also be given as an environment variable or as a key in `spanledger.toml` (in the working directory, or
named by `--config` / `SPANLEDGER_CONFIG`). The command line wins over the environment, the environment over the file.
Keys at the top of the file hold for every command that has the option; a table holds for one command:

```toml
data = "/var/lib/spanledger"

[serve]
otlp_grpc = "0.0.0.0:4317"
```

A mistake of the user's ends a command with one line on standard error and exit code 2; a task that failed, with 1.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_commands(typer.main.get_command(build()), "spanledger")]).rstrip() + "\n"


def _commands(group: Any, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield f"## {path} {name}\n\n{_plain(command.help)}\n"
            yield from _commands(command, f"{path} {name}")
        else:
            yield from _command(command, f"{path} {name}")


def _command(command: Any, path: str) -> Iterator[str]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    shown = " ".join(f"{each.name.upper()}{'...' if each.nargs != 1 else ''}" for each in arguments)
    yield f"## {path}\n"
    yield f"    {path} [OPTIONS]{' ' + shown if shown else ''}\n"
    yield f"{_plain(command.help)}\n"
    for each in arguments:
        yield f"- `{each.name.upper()}`: {each.help}"
    if arguments:
        yield ""
    options = [each for each in command.params if each.param_type_name == "option" and each.name != "help"]
    if options:
        yield "| option | default | variable | |\n|---|---|---|---|"
        for each in options:
            flags = ", ".join(f"`{flag}`" for flag in [*each.opts, *each.secondary_opts])
            variable = f"`{each.envvar}`" if each.envvar else ""
            yield f"| {flags} | {_default(each.default)} | {variable} | {_plain(each.help)} |"
        yield ""


def _default(value: Any) -> str:
    if callable(value):
        value = value()
    if isinstance(value, Enum):
        value = value.value
    if value is None or value in ("", False) or value == []:
        return ""
    return f"`{'on' if value is True else value}`"


def _plain(text: str | None) -> str:
    return inspect.cleandoc(text or "").replace("|", "\\|") if text else ""


def main() -> int:
    """Write the page, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == page():
        return 0
    sys.stderr.write("docs/commands.md is out of date: python scripts/generate_command_docs.py\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
