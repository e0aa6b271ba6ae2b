"""``spanledger.toml``: the same options as on the command line, for every command.

Order of precedence: command line, environment variable, ``spanledger.toml``, default. Keys at the top of the file hold
for every command that has the option; a table named like a command holds for that command alone::

    data = "/var/lib/spanledger"

    [serve]
    otlp_grpc = "0.0.0.0:4317"
    log_level = "info"

    [tokens.create]
    org = "acme"

``[[budgets]]`` and the keys of ``[alerts]`` are no options of a command; `spanledger.reconciler.alerts.settings` reads
them.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, cast

from spanledger.cli.errors import UserError

DEFAULT_FILE: Final = Path("spanledger.toml")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one command: key in the file (``otlp_grpc``, ``json``) → name of the parameter behind it."""

    parameters: Mapping[str, str]


Tree = Mapping[str, "Options | Tree"]
"""The options of each command, by command name; groups nest."""


def load(path: Path | None, commands: Tree) -> dict[str, Any]:
    """Read the file into click's default map.

    Args:
        path: the file that the user named; None looks for ``spanledger.toml`` in the working directory.
        commands: every command with its option names (as in the file: ``otlp_grpc``).

    Raises:
        UserError: unreadable file, bad TOML, or a key that no command knows.
    """
    file = found(path)
    if file is None:
        return {}
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"config file {file}: {os.strerror(error.errno or 0)}: name a readable file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"config file {file} is not valid TOML: {error}") from error
    return _section(_options_only(document), commands, {}, file, "")


def found(path: Path | None) -> Path | None:
    """The config file: the one that the user named, else ``spanledger.toml`` in the working directory."""
    return path or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)


def _options_only(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is no option of a command: the budgets and what `[alerts]` says beside its commands' tables."""
    kept = {key: value for key, value in document.items() if key != "budgets"}
    if isinstance(kept.get("alerts"), dict):
        table = cast("Mapping[str, Any]", kept["alerts"])
        kept["alerts"] = {key: value for key, value in table.items() if isinstance(value, dict)}
    return kept


def _section(
    table: Mapping[str, Any], commands: Tree, inherited: Mapping[str, Any], file: Path, place: str
) -> dict[str, Any]:
    every_option = _all_options(commands)
    shared = dict(inherited)
    for key, value in table.items():
        if isinstance(value, dict):
            if key not in commands:
                raise _unknown(file, f"table [{place}{key}]", key, commands)
        elif _folded(key) not in every_option:
            raise _unknown(file, f"key {key!r}" + (f" in [{place.rstrip('.')}]" if place else ""), key, every_option)
        else:
            shared[_folded(key)] = value
    result: dict[str, Any] = {}
    for name, below in commands.items():
        section = cast("Mapping[str, Any]", table.get(name, {}))
        if isinstance(below, Options):
            result[name] = _command(section, below, shared, file, f"{place}{name}")
        else:
            result[name] = _section(section, below, shared, file, f"{place}{name}.")
    return result


def _command(
    section: Mapping[str, Any], options: Options, shared: Mapping[str, Any], file: Path, place: str
) -> dict[str, Any]:
    values = {key: value for key, value in shared.items() if key in options.parameters}
    for key, value in section.items():
        if _folded(key) not in options.parameters:
            raise _unknown(file, f"key {key!r} in [{place}]", key, options.parameters)
        values[_folded(key)] = value
    return {options.parameters[key]: value for key, value in values.items()}


def _all_options(commands: Tree) -> frozenset[str]:
    found: set[str] = set()
    for below in commands.values():
        found |= set(below.parameters) if isinstance(below, Options) else _all_options(below)
    return frozenset(found)


def _folded(key: str) -> str:
    return key.replace("-", "_")


def _unknown(file: Path, what: str, key: str, known: Iterable[str]) -> UserError:
    names = sorted(known)
    near = get_close_matches(_folded(key), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(names)}"
    return UserError(f"config file {file}: unknown {what}: {hint}")
