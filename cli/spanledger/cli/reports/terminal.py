"""A report in the terminal: tables with small bars."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Final

from spanledger.cli import output
from spanledger.cli.reports.sections import Document, Section, is_number, length, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from decimal import Decimal

    from spanledger.cli.reports.sections import Record

BAR: Final = 24
"""Cells of the longest bar."""
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
SCRAP: Final = 12
"""A column of texts is not made narrower than this."""
GAP: Final = 3
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

    screen = output.console()
    shown_records = section.records[:ROWS]
    more = len(section.records) - len(shown_records)
    if _least_width(section) > screen.width:
        for line in cards(section, shown_records, screen.width):
            output.say(line)
        _say_more(more)
        return
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for column in section.columns:
        right = is_number(column)
        drawn.add_column(column.title, justify="right" if right else "left", no_wrap=right, overflow="fold")
    if section.bar:
        drawn.add_column("", no_wrap=True)
    for record in shown_records:
        cells = [escape(shown(column, record)) for column in section.columns]
        drawn.add_row(*cells, *([bar(length(section, record))] if section.bar else []))
    screen.print(drawn)
    _say_more(more)


def _say_more(more: int) -> None:
    if more > 0:
        output.say(f"  and {more} more: --format csv, json or html shows all")


def _least_width(section: Section) -> int:
    """How wide a terminal must be for a table that can still be read: numbers whole, texts not broken into scraps."""
    widths: list[int] = []
    for column in section.columns:
        longest = max(len(shown(column, record)) for record in section.records[:ROWS])
        widths.append(max(len(column.title), longest if is_number(column) else min(longest, SCRAP)))
    return sum(widths) + GAP * (len(widths) - 1) + (GAP + BAR if section.bar else 0)


def cards(section: Section, records: Sequence[Record], width: int) -> Iterator[str]:
    """Each record as lines ``title  value``, for a terminal that is too narrow for a table."""
    left = max(len(column.title) for column in section.columns) + 4
    for number, record in enumerate(records):
        if number:
            yield ""
        for column in section.columns:
            first, *rest = wrap(shown(column, record), max(SCRAP, width - left)) or [""]
            yield f"  {column.title:<{left - 4}}  {first}"
            yield from (" " * left + line for line in rest)


def bar(share: Decimal) -> str:
    """A bar in eighths of a cell; what is not 0 is seen. Negative ones are hollow."""
    eighths = int((abs(share) * BAR * 8).to_integral_value())
    if share and not eighths:
        eighths = 1
    if share < 0:
        return "░" * max(1, eighths // 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
