"""A report as CSV and JSON: exact values, amounts as decimal texts."""

from __future__ import annotations

import csv
import json
from typing import IO, TYPE_CHECKING

from spanledger.cli import output

if TYPE_CHECKING:
    from spanledger.cli.reports.sections import Document, Section


def write_csv(section: Section, file: IO[str]) -> None:
    """One section with a header; unknown values are empty. Text that a spreadsheet would run gets a quote before it."""
    names = list(section.records[0]) if section.records else [column.key for column in section.columns]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for record in section.records:
        writer.writerow([_cell(record.get(name)) for name in names])


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    # A team may be called "=1+1": it must stay a name when a spreadsheet opens the file.
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return output.plain(value)


def to_json(document: Document) -> str:
    """The whole report as one JSON document."""
    body = {
        **document.fields,
        "problems": list(document.problems),
        **{section.name: [dict(record) for record in section.records] for section in document.sections},
    }
    return json.dumps(body, default=output.plain, indent=2, ensure_ascii=False) + "\n"
