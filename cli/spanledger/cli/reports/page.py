"""A report as one HTML page that needs nothing else: styles and charts stand in it, nothing is loaded, nothing runs."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from importlib.resources import files
from typing import IO, TYPE_CHECKING, Any, Final

from spanledger.cli.reports.sections import Column, Kind, is_number, length, shown

if TYPE_CHECKING:
    from spanledger.cli.reports.sections import Document, Record, Section

HEIGHT: Final = 120
"""Of the chart by day, in its own units; one day is ten wide."""
LEAST_DAYS: Final = 14
"""A chart of fewer days is as wide as one of these: its columns stay columns."""
CARDS: Final = 5
"""A narrow screen shows rows of more columns, or with sentences in them, as cards."""
LONG: Final = 40
"""Characters of a text from which on it is broken into lines."""
_LEAST: Final = Decimal(1)


def write_html(document: Document, file: IO[str]) -> None:
    """Write the page. Every text is escaped: names come from other people's spans."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(
        files("spanledger.cli.reports").joinpath("page.html.j2").read_text(encoding="utf-8")
    )
    context: dict[str, Any] = {"document": document, "sections": [_section(section) for section in document.sections]}
    file.write(template.render(context) + "\n")


def _section(section: Section) -> dict[str, Any]:
    return {
        "name": section.name,
        "title": section.title,
        "heads": [{"title": column.title, "right": is_number(column)} for column in section.columns],
        "rows": [
            {
                "cells": [
                    {
                        "head": column.title,
                        "text": shown(column, record),
                        "right": is_number(column),
                        "wide": _is_wide(column) or len(shown(column, record)) > LONG,
                    }
                    for column in section.columns
                ],
                "width": f"{abs(length(section, record)) * 100:.2f}",
                "negative": length(section, record) < 0,
            }
            for record in section.records
        ],
        "cards": any(_is_wide(column) for column in section.columns) or len(section.columns) > CARDS,
        "bars": bool(section.bar) and not section.days,
        "chart": _columns(section) if section.days and len(section.records) > 1 else None,
        "notes": section.notes,
        "empty": section.empty,
    }


def _is_wide(column: Column) -> bool:
    return column.kind is Kind.text and column.key in ("what", "mend", "means", "cause")


def _columns(section: Section) -> dict[str, Any]:
    """The geometry of a chart with one column a day."""
    first, *values = section.columns
    cost = next(column for column in values if column.key == section.bar)
    start = _day(section.records[0], first)
    drawn: list[dict[str, Any]] = []
    for record in section.records:
        # Days without calls leave a gap.
        number = (_day(record, first) - start).days
        height = max(length(section, record) * HEIGHT, _LEAST)
        drawn.append(
            {
                "x": number * 10 + 1,
                "y": f"{HEIGHT - height:.2f}",
                "height": f"{height:.2f}",
                "label": f"{shown(first, record)}: {shown(cost, record)} USD",
            }
        )
    days = (_day(section.records[-1], first) - start).days + 1
    begin, end = shown(first, section.records[0]), shown(first, section.records[-1])
    top = f"up to {shown(cost, max(section.records, key=lambda record: length(section, record)))} USD a day"
    return {
        "width": max(LEAST_DAYS, days) * 10,
        "height": HEIGHT,
        "columns": drawn,
        # A short chart does not reach to the right: its last day stands beside the first.
        "captions": [f"{begin} to {end}", top] if days < LEAST_DAYS else [begin, top, end],
        "label": f"{section.title}, US dollars",
    }


def _day(record: Record, column: Column) -> date:
    day = record[column.key]
    assert isinstance(day, date)
    return day
