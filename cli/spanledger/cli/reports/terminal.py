"""A report in the terminal: tables with small bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spanledger.cli import output
from spanledger.cli.reports.sections import Document, Section, is_number, length, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from decimal import Decimal

BAR: Final = 24
"""Cells of the longest bar."""
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
ROWS: Final = 30
"""A terminal shows so many rows of a section; the other formats show all."""


def show(document: Document) -> None:
    """Print a report."""
    for line in lines(document):
        output.say(line)
    for section in document.sections:
        output.say("")
        table(section)


def lines(document: Document) -> Iterator[str]:
    """What stands above the tables."""
    yield document.title
    yield document.subtitle
    yield ""
    width = max([len("2026-11 will cost"), *(len(name) for name, _, _ in document.facts)])
    for name, value, remark in document.facts:
        yield f"  {name:<{width}}  {value}{'  (' + remark + ')' if remark else ''}"
    for problem in document.problems:
        yield f"  note: {problem}"


def table(section: Section) -> None:
    """Print one section with its notes."""
    output.say(section.title)
    if section.records:
        _rows(section)
    else:
        output.say(f"  {section.empty}")
    for note in section.notes:
        output.say(f"  {note}")


def _rows(section: Section) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in section.columns:
        right = is_number(column)
        drawn.add_column(column.title, justify="right" if right else "left", no_wrap=right, overflow="fold")
    if section.bar:
        drawn.add_column("", no_wrap=True)
    for record in section.records[:ROWS]:
        cells = [escape(shown(column, record)) for column in section.columns]
        drawn.add_row(*cells, *([bar(length(section, record))] if section.bar else []))
    output.console().print(drawn)
    if len(section.records) > ROWS:
        output.say(f"  and {len(section.records) - ROWS} more: --format csv, json or html shows all")


def bar(share: Decimal) -> str:
    """A bar in eighths of a cell; what is not 0 is seen. Negative ones are hollow."""
    eighths = int((abs(share) * BAR * 8).to_integral_value())
    if share and not eighths:
        eighths = 1
    if share < 0:
        return "░" * max(1, eighths // 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
