"""Importing files by hand: what each row becomes, and then the takeover.

The unit of replacement is the month: importing a corrected file replaces the months that it has lines for. Files that
belong to the same month go in one import, or under different part names.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from spanledger.reconciler.batch import LineBuffer
from spanledger.reconciler.bill_line import BillLine
from spanledger.reconciler.clock import Clock
from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.files.formats import FormatOptions, reader_for
from spanledger.reconciler.files.rows import Remarks, RowError, Skip
from spanledger.reconciler.files.tables import FileError, columns, read_rows, sha256_of
from spanledger.reconciler.fx import FxRates
from spanledger.reconciler.http.messages import ApiRequest
from spanledger.reconciler.slices import raw_response
from spanledger.reconciler.store import BillStore, Place
from spanledger.reconciler.streams import Page
from spanledger.reconciler.takeover import Takeover
from spanledger.reconciler.windows import Grain, Window, next_month
from spanledger.semconv.money import MoneyError, to_ledger

FINAL_AFTER: Final = timedelta(days=10)
"""A month that ended this long ago is taken as final when the file does not say."""
STREAM: Final = "file"


@dataclass(frozen=True, slots=True)
class RowFate:
    """What became of a row: lines, or the reason why there are none. ``mark`` is the SHA-256 of its file."""

    file: str
    number: int
    lines: tuple[BillLine, ...] = ()
    skipped: str = ""
    error: str = ""
    mark: str = ""


@dataclass(slots=True, kw_only=True)
class ImportReport:
    """How an import went."""

    rows: int = 0
    lines: int = 0
    skipped: Counter[str] = field(default_factory=Counter[str])
    errors: list[RowFate] = field(default_factory=list[RowFate])
    months: tuple[str, ...] = ()
    months_changed: int = 0
    notes: Counter[str] = field(default_factory=Counter[str])


def fates(paths: Sequence[Path], options: FormatOptions, remarks: Remarks) -> Iterator[RowFate]:
    """What each row of the files becomes, in order: the dry run.

    Raises:
        FileError: a file cannot be read as a bill at all.
    """
    marks: dict[str, str] = {}
    names = Counter(path.name for path in paths)
    for path in paths:
        name = str(path) if names[path.name] > 1 else path.name
        if not path.is_file():
            raise ConfigError(f"{path}: no such file")
        mark = sha256_of(path)
        if mark in marks:
            raise FileError(f"{name} and {marks[mark]} are the same file, which would count twice; give one of them")
        marks[mark] = name
        reader = reader_for(options, columns(path, name), name)
        for number, row in read_rows(path, name):
            try:
                lines = tuple(reader.read(row, remarks))
                _check_size(lines)
                yield RowFate(name, number, lines, mark=mark)
            except Skip as skip:
                yield RowFate(name, number, skipped=str(skip))
            except (RowError, MoneyError) as error:
                yield RowFate(name, number, error=str(error))


def _check_size(lines: Sequence[BillLine]) -> None:
    """Raises `MoneyError`: a number does not fit the ledger."""
    for line in lines:
        amounts = [money.amount for money in (line.money, line.list_money) if money is not None]
        for value in amounts if line.quantity is None else (*amounts, line.quantity):
            to_ledger(value)


def import_files(
    paths: Sequence[Path],
    options: FormatOptions,
    *,
    store: BillStore,
    clock: Clock,
    org_id: str,
    connection: str,
    part: str = "",
    fx: FxRates | None = None,
) -> ImportReport:
    """Take the files over as the bill of the months that they have lines for.

    Args:
        paths: the files; together they are the months' whole bill (of this part).
        options: how to read them.
        store: where to.
        clock: the time of the import.
        org_id: whose bill.
        connection: the connection's name.
        part: a name for one of several bills of the same months.
        fx: exchange rates.

    Returns:
        A report; when ``errors`` is not empty, nothing was taken over.

    Raises:
        ConfigError: a file cannot be read as a bill.
        StoreError: the store failed; nothing of the import is visible.
    """
    place = Place(org_id, connection, f"{STREAM}.{part}" if part else STREAM)
    now, report, remarks = clock.now(), ImportReport(), Remarks()
    run_id = uuid.uuid4().hex
    takeover = Takeover(
        store=store,
        place=place,
        run_id=run_id,
        version=store.new_version(place),
        now=now,
        buffer=LineBuffer(fx or FxRates(), report.notes),
    )
    for fate in fates(paths, options, remarks):
        report.rows += 1
        if fate.skipped:
            report.skipped[fate.skipped] += 1
        if fate.error:
            report.errors.append(fate)
        if report.errors:
            continue
        for index, line in enumerate(fate.lines):
            month = line.slot or f"{line.start:%Y-%m}"
            is_final = _month_end(month) + FINAL_AFTER <= now.date()
            suffix = f".{index}" if index else ""
            takeover.add(line, month, is_final=is_final, evidence=f"file:{fate.mark[:16]}#{fate.number}{suffix}")
    report.notes.update(remarks.counts)
    if report.errors:
        return report
    for path in paths:
        page = Page(
            body=b"",
            document=None,
            request=ApiRequest(path=f"/{path.name}", reads="bytes"),
            fetched_at=now,
            url=path.name,
            content_type="text/csv",
            file=path,
        )
        takeover.responses.append(raw_response(page))
    months = sorted(takeover.buffer.slots)
    report.months = tuple(months)
    if not months:
        return report
    window = Window(date.fromisoformat(f"{months[0]}-01"), _month_end(months[-1]), Grain.MONTH)
    outcome = takeover.replace(months, since=window.since, until=window.until, empty_is_final=lambda _: False)
    report.lines, report.months_changed = outcome.lines, outcome.slots_changed
    return report


def _month_end(month: str) -> date:
    return next_month(date.fromisoformat(f"{month}-01"))
