"""A cloud's cost export as a stream: one slot per billing period, replaced by the period's newest export."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from spanledger.reconciler.bill_line import BillLine, Kind
from spanledger.reconciler.documents import ShapeError
from spanledger.reconciler.errors import ConfigError
from spanledger.reconciler.files.aggregate import by_day
from spanledger.reconciler.files.formats import FormatOptions, reader_for
from spanledger.reconciler.files.rows import Remarks, RowError, Skip
from spanledger.reconciler.files.tables import columns, read_rows, sha256_of
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.http.messages import ApiRequest
from spanledger.reconciler.streams import Context, Page, Policy
from spanledger.reconciler.windows import Grain, Window, next_month

EXPORT_POLICY: Final = Policy(
    trailing_days=45,
    hourly=False,
    slice_days=31,
    grain=Grain.MONTH,
    final_after=timedelta(days=10),
    deep_days=(3, 7, 10),
    by_period=True,
)
"""The current and the previous billing period, every night."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFile:
    """One file of an export: on this machine, or behind a request."""

    name: str
    path: Path | None = None
    request: ApiRequest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """The newest export of one billing period (``2026-11``)."""

    period: str
    files: tuple[ExportFile, ...]


Locate = Callable[[Api, Window], Iterable[Export]]
"""Finds the exports of the billing periods in a window. Raises `SyncError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportStream:
    """Lines of export files. See `spanledger.reconciler.streams.Stream`."""

    name: str
    locate: Locate
    options: FormatOptions
    store_api: Callable[[Api], Api]
    """The connection's API turned towards where the files are."""
    permission: str = ""
    kind: Kind = Kind.COST
    policy: Policy = EXPORT_POLICY
    grouped_by: Sequence[str] = ("file",)

    def pull(self, api: Api, window: Window) -> Iterator[Page]:
        there = self.store_api(api)
        for export in self.locate(there, window):
            known: dict[str, str] = {}
            for file in export.files:
                for page in _page(there, export.period, file, api):
                    assert page.file is not None
                    mark = sha256_of(page.file)
                    if mark in known:
                        raise ShapeError(
                            f"{file.name} and {known[mark]} are the same file, which would count twice; remove one"
                        )
                    known[mark] = file.name
                    yield page

    def reads(self, page: Page) -> bool:
        return bool(page.period)

    def parse(self, page: Page, context: Context) -> Iterator[BillLine]:
        with _as_file(page) as path:
            yield from by_day(self._lines(path, page.url, page.period, context))

    def _lines(self, path: Path, name: str, period: str, context: Context) -> Iterator[BillLine]:
        remarks = Remarks()
        try:
            reader = reader_for(self.options, columns(path, name), name)
            for number, row in read_rows(path, name):
                try:
                    for line in reader.read(row, remarks):
                        line.slot = line.slot or period
                        yield line
                except Skip:
                    continue
                except RowError as error:
                    raise ShapeError(f"{name}, row {number}: {error}") from error
        except ConfigError as error:
            raise ShapeError(str(error)) from error
        context.notes.update(remarks.counts)


def _page(there: Api, period: str, file: ExportFile, api: Api) -> Iterator[Page]:
    request = file.request or ApiRequest(path=f"/{file.name}", reads="bytes")
    if file.path is not None:
        yield Page(
            body=b"",
            document=None,
            request=request,
            fetched_at=api.clock.now(),
            url=file.name,
            file=file.path,
            period=period,
        )
        return
    response = there.send(request)
    try:
        yield Page(
            body=b"",
            document=None,
            request=request,
            fetched_at=response.fetched_at,
            url=file.name,
            file=response.file,
            period=period,
        )
    finally:
        if response.file is not None:
            response.file.unlink(missing_ok=True)


@contextmanager
def _as_file(page: Page) -> Generator[Path, None, None]:
    """The page's content as a file; kept copies come as bytes."""
    if page.file is not None:
        yield page.file
        return
    descriptor, name = tempfile.mkstemp(prefix="spanledger-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(page.body)
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def periods(window: Window) -> Iterator[str]:
    """The billing periods of a window, as slot names."""
    month = window.since.replace(day=1)
    while month < window.until:
        yield f"{month:%Y-%m}"
        month = next_month(month)
