"""``spanledger import``: OTLP files into the ledger, through the running server or by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from spanledger.cli import options, output, pricing, runtime
from spanledger.cli.errors import CommandError, UserError
from spanledger.cli.sql import load

if TYPE_CHECKING:
    from spanledger.collector.importing import ImportProgress, ImportSummary, Sink
    from spanledger.collector.stats import Stats

SETTLE_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Way:
    """A way into the ledger.

    Attributes:
        sink: where requests go.
        settle: waits for at most the given seconds until everything is in the ledger; whether it is.
        stats: the pipeline's counters; ``None`` when a server has them, beside those of everybody else's records.
        calls: counts the calls of the org; ``None`` when a server has the store.
    """

    sink: Sink
    settle: Callable[[float], bool]
    stats: Stats | None = None
    calls: Callable[[], int] | None = None


def import_(
    paths: Annotated[
        list[Path], typer.Argument(help="OTLP files, or folders of them: protobuf, JSON, JSON lines, gzip or zstd.")
    ],
    org: options.Org = options.DEFAULT_ORG,
    prices: pricing.Prices = None,
    data: options.Data = options.DEFAULT_DATA,
    clickhouse: options.ClickHouse = "",
    as_json: options.Json = False,
) -> int:
    """Load OTLP files through the same pipeline as live traffic.

    The format is told by content. Loading a file again changes nothing. While a server runs on --data, the files go
    through that server. Exit code 1 when something in the files could not be read.
    """
    if not org:
        raise UserError("--org is empty: name the organisation that the calls belong to")
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise UserError(f"{missing[0]}: there is no such file or folder")
    with _way(org, data, clickhouse, prices) as way:
        before = way.stats.copy() if way.stats is not None else None
        calls = way.calls() if way.calls is not None else 0
        summary = _load(paths, way, quiet=as_json)
        if way.stats is not None and before is not None:
            summary.add_outcome(before, way.stats.copy())
        if way.calls is not None:
            summary.calls = way.calls() - calls
    if as_json:
        output.print_json(summary.as_dict())
    else:
        left_out = f"; {summary.metrics:,} metrics left out, they repeat what spans say" if summary.metrics else ""
        output.say(f"{summary.files} files: {summary.spans:,} spans, {summary.logs:,} log records taken{left_out}")
        if summary.about_calls is not None:
            output.say(
                f"{summary.about_calls:,} are about model calls, {summary.known_before:,} of them were known before; "
                f"{summary.dropped:,} are about something else"
            )
        if summary.calls is not None:
            output.say(
                f"{summary.calls:,} calls more in the ledger; "
                f"{summary.merged:,} records are further witnesses, details or sums of calls"
            )
        for reason, count in summary.refused.most_common():
            output.warn(f"not read, {count} times: {reason}")
    return 1 if summary.refused else 0


def _load(paths: Sequence[Path], way: Way, *, quiet: bool) -> ImportSummary:
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn

    from spanledger.collector.errors import PermanentError
    from spanledger.collector.importing import import_files

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with output.bars(*columns, quiet=quiet) as bar:
        task = bar.add_task("reading", total=None)

        def show(progress: ImportProgress) -> None:
            text = progress.waiting_for or progress.file.name
            bar.update(task, completed=progress.done_bytes, total=progress.total_bytes, description=text)

        try:
            summary = import_files(paths, way.sink, progress=show)
        except PermanentError as error:
            raise CommandError(str(error)) from error
        bar.update(task, description="settling")
        deadline = time.monotonic() + SETTLE_SECONDS
        while not way.settle(2.0):
            if time.monotonic() > deadline:
                raise CommandError("the journal is not worked off yet; nothing is lost, it goes on with the next start")
    return summary


@contextmanager
def _way(org: str, data: Path, clickhouse: str, prices: Path | None) -> Generator[Way]:
    from spanledger.collector.importing import JournalSink, OtlpHttpSink

    server = runtime.find(data)
    if server is not None:
        sink = OtlpHttpSink(f"{server.control_url}/otlp", f"{server.secret}.{org}")

        def settle(seconds: float) -> bool:
            return bool(json.loads(server.post("/settle", {"seconds": str(seconds)}, b"")[1])["settled"])

        yield Way(sink, settle)
        return
    from spanledger.cli.access import readable_errors
    from spanledger.cli.ingest import open_ingest
    from spanledger.ledger.client import StoreTarget

    with readable_errors():
        target = StoreTarget.server(clickhouse) if clickhouse else StoreTarget.embedded(data)
        with open_ingest(data, target, left=lambda: 0.0, prices=prices) as ingest:

            def settle_here(seconds: float) -> bool:
                done = ingest.pipeline.wait_idle(seconds)
                if not done and ingest.pipeline.store_trouble:
                    raise CommandError(
                        f"the store takes nothing: {ingest.pipeline.store_trouble}; the journal keeps it"
                    )
                return done

            def calls() -> int:
                return int(ingest.ledger.query(load("count_calls"), {"org": org}).result_rows[0][0])

            yield Way(JournalSink(ingest.journal, org), settle_here, ingest.stats, calls)
