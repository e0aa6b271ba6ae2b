"""The documentation names everything there is, names nothing that is not, and its examples run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from spanledger.cli import config
from spanledger.cli.app import build, command_tree
from spanledger.exporters import metrics

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])
DOCS = "\n".join(page.read_text() for page in PAGES)
SOURCES = [
    path for part in config.__file__.split("/cli/spanledger")[:1] for path in Path(part).glob("*/spanledger/**/*.py")
]
COMMAND = typer.main.get_command(build())


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Every fenced block of a language: (page and line, text)."""
    for page in PAGES:
        text = page.read_text()
        for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            yield f"{page.relative_to(ROOT)}:{text[: found.start()].count(chr(10)) + 1}", found[1]


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Every ``spanledger ...`` in a shell block, as words; what stands behind a pipe or a redirection is not ours."""
    shell = [(place, text.replace("\\\n", " ").splitlines()) for place, text in blocks("bash")]
    for place, text in blocks("console"):  # commands behind a prompt, between their output
        lines = text.replace("\\\n", " ").splitlines()
        shell.append((place, [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]))
    for place, lines in shell:
        for line in lines:
            lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;>")
            lexer.whitespace_split = True
            lexer.commenters = "#"
            part: list[str] = []
            for word in [*lexer, ";"]:
                if word[0] in "|&;>":
                    if part and part[0] in ("spanledger", ".venv/bin/spanledger"):
                        yield place, part[1:]
                    part = []
                else:
                    part.append(word)


def cases(found: list[tuple[str, Any]]) -> pytest.MarkDecorator:
    """One test for each example, named by its place."""
    return pytest.mark.parametrize(("place", "example"), found, ids=[place for place, _ in found])


def leaf(words: list[str]) -> tuple[Any, list[str]]:
    """The command that a command line names, and the rest of its words."""
    command: Any = COMMAND
    rest = list(words)
    while hasattr(command, "commands") and rest and rest[0] in command.commands:
        command = command.commands[rest.pop(0)]
    return command, rest


def test_the_command_reference_is_up_to_date() -> None:
    script = ROOT / "scripts" / "generate_command_docs.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@cases(list(command_lines()))
def test_documented_commands_exist(place: str, example: list[str]) -> None:
    """Each shown command line parses: the command, its options, the number of its arguments."""
    command, rest = leaf(example)
    assert not hasattr(command, "commands") or not rest or rest[0].startswith("-"), (
        f"{place}: no such command: {example}"
    )
    if not hasattr(command, "commands"):
        command.make_context("spanledger", rest).close()


def test_every_environment_variable_is_documented() -> None:
    named = set()
    for path in SOURCES:
        named |= set(re.findall(r"\bSPANLEDGER_[A-Z0-9_]*[A-Z0-9]\b", path.read_text()))
    assert named
    assert sorted(name for name in named if not re.search(rf"\b{name}\b", DOCS)) == []


def test_every_documented_variable_exists() -> None:
    sources = "\n".join(path.read_text() for path in SOURCES)
    shown = set(re.findall(r"\bSPANLEDGER_[A-Z0-9_]*[A-Z0-9]\b", DOCS))
    flags = {parameter.envvar for command in leaves(COMMAND) for parameter in command.params} | {"SPANLEDGER_CONFIG"}
    assert sorted(name for name in shown if name not in flags and not re.search(rf"\b{name}\b", sources)) == []


def leaves(command: Any) -> Iterator[Any]:
    for below in command.commands.values():
        if hasattr(below, "commands"):
            yield from leaves(below)
        else:
            yield below


def test_every_metric_is_documented() -> None:
    families = [value for value in vars(metrics).values() if isinstance(value, metrics.Family)]
    names = {family.name for family in families} | {stat.family.name for stat in metrics.STATS}
    assert len(names) > 10
    assert sorted(name for name in names if name not in DOCS) == []


def test_every_table_is_documented(serve: Callable[..., Any]) -> None:
    """Tables by name, and of the views, which are for everybody, each column."""
    page = (ROOT / "docs" / "tables.md").read_text()
    served = serve()
    tables = served.sql("SELECT name, engine FROM system.tables WHERE database = 'spanledger'")
    assert {"calls", "bill_lines", "counters"} <= {table["name"] for table in tables}
    assert sorted(table["name"] for table in tables if f"`{table['name']}`" not in page) == []
    views = ", ".join(f"'{table['name']}'" for table in tables if table["engine"] == "View")
    columns = served.sql(f"SELECT table, name FROM system.columns WHERE database = 'spanledger' AND table IN ({views})")
    assert sorted({column["name"] for column in columns if f"`{column['name']}`" not in page}) == []


def test_links_lead_somewhere() -> None:
    links = [
        (page, target) for page in PAGES for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    ]
    local = [(page, target) for page, target in links if "://" not in target]
    assert [
        f"{page.relative_to(ROOT)}: {target}" for page, target in local if not (page.parent / target).exists()
    ] == []


def test_the_index_names_every_page() -> None:
    """Pages about single connectors are named by the page about sync."""
    index = (ROOT / "docs" / "index.md").read_text()
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index] == ["index.md"]


@cases([(place, text) for place, text in blocks("toml") if set(tomllib.loads(text)) & set(COMMAND.commands)])
def test_documented_config_files_load(place: str, example: str, tmp_path: Path) -> None:
    file = tmp_path / "spanledger.toml"
    file.write_text(example)
    assert config.load(file, command_tree(COMMAND)), place


@cases(list(blocks("python")))
def test_documented_python_compiles(place: str, example: str) -> None:
    compile(example, place, "exec")


def test_documented_sql_runs(serve: Callable[..., Any]) -> None:
    statements = [(place, text) for place, text in blocks("sql")]
    statements += [(place, leaf(words)[1][-1]) for place, words in command_lines() if words[:1] == ["query"]]
    assert len(statements) > 5
    served = serve()
    wrong = []
    for place, statement in statements:
        for single in filter(str.strip, statement.split(";")):
            try:
                served.sql(re.sub(r"\$__timeFilter\(\w+\)", "1", single))  # what Grafana puts in
            except ValueError as error:
                wrong.append(f"{place}: {error}")
    assert wrong == []


def test_the_readme_shows_what_the_demo_prints() -> None:
    readme = (ROOT / "README.md").read_text()
    shown = readme.split("<!-- output of the demo -->\n```text\n")[1].split("\n```")[0]
    done = subprocess.run(
        [sys.executable, "-m", "spanledger.cli.main", "demo"], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = "\n".join(line.rstrip() for line in done.stdout.splitlines())
    assert shown in printed


def test_both_readme_commands_are_one_line() -> None:
    """CI runs the second one exactly as it stands there."""
    readme = (ROOT / "README.md").read_text()
    for marker in ("run the demo", "run the tests"):
        block = readme.split(f"<!-- {marker} -->\n```bash\n")[1].split("```")[0]
        assert block.count("\n") == 1
        assert block.startswith("python3 -m venv .venv && ")
