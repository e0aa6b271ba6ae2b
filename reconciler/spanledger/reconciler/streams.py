"""What a connector is made of: streams that answer for a window of days with lines.

A connector is authentication plus streams; a stream is "which request first", "which request next" and "which lines
does this page hold". Everything else (retries, budget, slices, replacement, raw copies, cursors) is the engine's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol

from spanledger.reconciler.bill_line import BillLine, Kind
from spanledger.reconciler.documents import load
from spanledger.reconciler.errors import PermanentSyncError, State
from spanledger.reconciler.http.api import Api
from spanledger.reconciler.http.messages import ApiRequest, ApiResponse
from spanledger.reconciler.windows import Grain, Window

MAX_PAGES: Final = 100_000
"""No window has this many pages: a provider that keeps paging is looping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a stream is pulled.

    Attributes:
        trailing_days: how far back every nightly pull goes: the provider may restate that many days.
        hot_days: how far back the pulls in between go.
        hourly: whether there are pulls in between: some providers charge per request, or ask for one a day.
        slice_days: how many days one slice asks for and replaces.
        final_after: a day that ended this long ago is taken as final when the provider has no mark of its own.
        history_days: how far back the provider answers at all; ``None`` when it does not say.
        earliest: the first day that the provider has at all.
        expected_delay: data of a day should be there this long after the day's end.
        deep_days: on these days of a month the nightly pull goes back to the start of the previous month.
        grain: the slot that is replaced as a whole.
        zone: where the provider's days begin.
        by_period: whether a slot is answered by pages of its own (`Page.period`): one without any was not answered, for
            its export does not exist (any more), and keeps what it has.
    """

    trailing_days: int
    hot_days: int = 3
    hourly: bool = True
    slice_days: int = 31
    final_after: timedelta = timedelta(days=3)
    history_days: int | None = None
    earliest: date | None = None
    expected_delay: timedelta = timedelta(hours=36)
    deep_days: tuple[int, ...] = ()
    grain: Grain = Grain.DAY
    zone: str = "UTC"
    by_period: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One response, or one file, as a parser sees it.

    Attributes:
        body: its content; ``b""`` when ``file`` holds it.
        document: the decoded content of a JSON response.
        request: the question; holds what the parser may need of it.
        fetched_at: when it came.
        url, status, content_type: where from, for the kept copy.
        file: a local file with the content, for bodies that do not belong in memory.
        period: the billing period that a file stands for.
    """

    body: bytes
    document: Any
    request: ApiRequest
    fetched_at: datetime
    url: str = ""
    status: int = 200
    content_type: str = ""
    file: Path | None = None
    period: str = ""

    @classmethod
    def of(cls, response: ApiResponse) -> Page:
        return cls(
            body=response.body,
            document=response.document,
            request=response.request,
            fetched_at=response.fetched_at,
            url=response.url,
            status=response.status,
            content_type=response.headers.get("content-type", ""),
        )


@dataclass(slots=True)
class Context:
    """What a parser is given beside the page, and where it leaves remarks.

    Attributes:
        window: the days that were asked for.
        now: when the pull began.
        notes: counts by kind of what could not be read in full; shown to the user.
        delayed_until: the provider's own watermark, when it is older than it should be.
        sums: what a parser adds up over the pages of one pull, under keys of its own.
    """

    window: Window
    now: datetime
    notes: Counter[str] = field(default_factory=Counter[str])
    delayed_until: datetime | None = None
    sums: dict[tuple[str, ...], dict[str, Decimal]] = field(default_factory=dict[tuple[str, ...], dict[str, Decimal]])


class Stream(Protocol):
    """One kind of report of a provider."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def permission(self) -> str:
        """The scope or role that it needs, in the provider's words."""
        ...

    @property
    def grouped_by(self) -> Sequence[str]:
        """The dimensions that its requests ask for."""
        ...

    def pull(self, api: Api, window: Window) -> Iterable[Page]:
        """Everything that the provider says about a window, page by page.

        Raises:
            SyncError: it cannot be had.
            TruncatedError: the provider says that it left something out.
        """
        ...

    def reads(self, page: Page) -> bool:
        """Whether a kept page of this stream's name was this stream's (two APIs may serve one stream)."""
        ...

    def parse(self, page: Page, context: Context) -> Iterable[BillLine]:
        """The lines of a page. Pure: the same page gives the same lines, also months later from the kept copy.

        Raises:
            ShapeError: the page is not what the provider documents.
            MoneyError: an amount is not a number.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PagedStream:
    """A stream of paged HTTP responses.

    Attributes:
        opening: the opening requests for a window; each is followed to its last page before the next.
        next_page: the request after a page, ``None`` after the last one. Raises `TruncatedError` where the provider
            says that it left something out.
        lines: see `Stream.parse`.
        path: part of the requests' path, where two streams share a name.
    """

    name: str
    kind: Kind
    policy: Policy
    permission: str = ""
    grouped_by: Sequence[str] = ()
    opening: Callable[[Window], Iterable[ApiRequest]]
    next_page: Callable[[Page], ApiRequest | None]
    lines: Callable[[Page, Context], Iterable[BillLine]]
    path: str = ""

    def reads(self, page: Page) -> bool:
        return self.path in page.request.path

    def pull(self, api: Api, window: Window) -> Iterable[Page]:
        for opening in self.opening(window):
            yield from follow(api, opening, self.next_page)

    def parse(self, page: Page, context: Context) -> Iterable[BillLine]:
        return self.lines(page, context)


def last_page(page: Page) -> None:
    """For reports that come in one page."""
    del page


def follow(api: Api, opening: ApiRequest, next_page: Callable[[Page], ApiRequest | None]) -> Iterator[Page]:
    """Every page from ``opening`` on.

    Raises:
        SyncError: see `Api.send`; a cursor that does not move is a `PermanentSyncError`.
    """
    seen: set[tuple[object, ...]] = set()
    request: ApiRequest | None = opening
    while request is not None:
        identity = request.identity()
        if identity in seen or len(seen) >= MAX_PAGES:
            raise PermanentSyncError(
                State.DEGRADED,
                f"{api.name} repeated a page cursor for {request.path}; stopped, and nothing was taken over",
            )
        seen.add(identity)
        page = Page.of(api.send(request))
        yield page
        request = next_page(page)
        del page  # not kept while the next one comes


def page_context(page: Page) -> dict[str, Any]:
    """What a parser needs beside the body, as JSON, to be kept with it."""
    request = page.request
    return {
        "period": page.period,
        "method": request.method,
        "path": request.path,
        "params": [list(pair) for pair in request.params],
        "json": request.json,
        "reads": request.reads,
    }


def kept_page(
    body: bytes, context: Mapping[str, Any], fetched_at: datetime, *, url: str = "", content_type: str = ""
) -> Page:
    """The page again from its kept copy."""
    request = ApiRequest(
        method=str(context.get("method", "GET")),
        path=str(context.get("path", "/")),
        params=tuple((str(name), str(value)) for name, value in context.get("params", ())),
        json=context.get("json"),
        reads=str(context.get("reads", "json")),
    )
    document = load(body) if request.reads == "json" and body else None
    return Page(
        body=body,
        document=document,
        request=request,
        fetched_at=fetched_at,
        url=url,
        content_type=content_type,
        period=str(context.get("period", "")),
    )
